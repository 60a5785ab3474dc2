//! The one task that owns the [`Conference`], and the one that carries out what it says.
//!
//! Two tasks, so that the conference never waits for the disk: the second puts all state that
//! waits into one transaction, and only then lets out what was said after it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broletto_control::Frame;
use broletto_protocol::parse::ParseError;
use broletto_protocol::rest::{CreateRoom, Room};
use broletto_protocol::{ClientFrame, ServerFrame};
use broletto_signaling_core::{
    Conference, ConnectionId, HttpRequestId, NewRoom, NewSession, Now, Output, RestError, SessionError,
    SessionPatch, SessionReply, Totals,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::metrics::Metrics;
use crate::node_link::RequestSender;
use crate::store::{Changes, Store};

/// What may wait for the conference. A session that finds the queue full waits with it.
const COMMANDS_MAX: usize = 4_096;
/// What may wait to be carried out. The conference waits when there is more.
const STEPS_MAX: usize = 16_384;
/// Steps whose state goes into one transaction.
const BATCH_MAX: usize = 1_024;
/// Keys whose changes are kept while the database refuses them: more than rooms and participants
/// at one time.
const UNSAVED_MAX: usize = 65_536;
/// Messages that may wait for one client; one that reads slower is disconnected. Whoever resumes is
/// told 200 chat messages at once.
pub const OUTGOING_MAX: usize = 512;

enum Command {
    Connected { connection: ConnectionId, source: IpAddr, client: Client },
    Client { connection: ConnectionId, frame: Result<ClientFrame, ParseError> },
    Disconnected { connection: ConnectionId },
    NodeConnected,
    NodeLost,
    Node(Frame),
    CreateRoom { body: CreateRoom, source: IpAddr, reply: oneshot::Sender<Result<NewRoom, RestError>> },
    ReadRoom { id: String, token: Option<String>, reply: oneshot::Sender<Result<Room, RestError>> },
    EndRoom { id: String, token: Option<String>, reply: oneshot::Sender<Result<(), RestError>> },
    OfferSession { new: NewSession, reply: SessionSender },
    PatchSession { patch: SessionPatch, reply: SessionSender },
    EndSession { room: String, session: String, reply: oneshot::Sender<Result<(), SessionError>> },
    Shutdown,
}

type SessionSender = oneshot::Sender<Result<SessionReply, SessionError>>;

/// Where messages for a client go.
pub struct Client {
    pub outgoing: mpsc::Sender<ServerFrame>,
    /// Set when the client read too slowly and messages were lost.
    pub overflowed: Arc<AtomicBool>,
}

/// What the conference said, or what may happen once all it said before is carried out.
enum Step {
    Register { connection: ConnectionId, client: Client },
    Forget { connection: ConnectionId },
    Await { request: HttpRequestId, reply: SessionSender },
    Output(Box<Output>),
    Reply(Box<dyn FnOnce() + Send>),
}

/// The conference as the rest of the program sees it.
#[derive(Clone)]
pub struct ConferenceHandle {
    commands: mpsc::Sender<Command>,
    totals: watch::Receiver<Totals>,
}

/// The conference task has ended, as it does when the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the server is stopping")]
pub struct Stopping;

pub struct Tasks {
    pub conference: JoinHandle<()>,
    pub executor: JoinHandle<()>,
}

/// Starts both tasks. They end after [`ConferenceHandle::shut_down`], once all is carried out.
pub fn start(
    conference: Conference,
    store: Store,
    to_node: RequestSender,
    metrics: Arc<Metrics>,
) -> (ConferenceHandle, Tasks) {
    let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
    let (steps, to_do) = mpsc::channel(STEPS_MAX);
    let (totals_sender, totals) = watch::channel(conference.totals());
    let tasks = Tasks {
        conference: tokio::spawn(own(conference, waiting, steps, totals_sender)),
        executor: tokio::spawn(Executor::new(store, to_node, metrics).run(to_do)),
    };
    (ConferenceHandle { commands, totals }, tasks)
}

/// The present time, by both clocks.
pub fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    Now { instant: Instant::now(), unix_ms }
}

impl ConferenceHandle {
    pub async fn connected(
        &self,
        connection: ConnectionId,
        source: IpAddr,
        client: Client,
    ) -> Result<(), Stopping> {
        self.send(Command::Connected { connection, source, client }).await
    }

    pub async fn client(
        &self,
        connection: ConnectionId,
        frame: Result<ClientFrame, ParseError>,
    ) -> Result<(), Stopping> {
        self.send(Command::Client { connection, frame }).await
    }

    pub async fn disconnected(&self, connection: ConnectionId) -> Result<(), Stopping> {
        self.send(Command::Disconnected { connection }).await
    }

    pub async fn node_connected(&self) -> Result<(), Stopping> {
        self.send(Command::NodeConnected).await
    }

    pub async fn node_lost(&self) -> Result<(), Stopping> {
        self.send(Command::NodeLost).await
    }

    pub async fn node(&self, frame: Frame) -> Result<(), Stopping> {
        self.send(Command::Node(frame)).await
    }

    pub async fn create_room(
        &self,
        body: CreateRoom,
        source: IpAddr,
    ) -> Result<Result<NewRoom, RestError>, Stopping> {
        self.ask(|reply| Command::CreateRoom { body, source, reply }).await
    }

    pub async fn read_room(
        &self,
        id: String,
        token: Option<String>,
    ) -> Result<Result<Room, RestError>, Stopping> {
        self.ask(|reply| Command::ReadRoom { id, token, reply }).await
    }

    pub async fn end_room(
        &self,
        id: String,
        token: Option<String>,
    ) -> Result<Result<(), RestError>, Stopping> {
        self.ask(|reply| Command::EndRoom { id, token, reply }).await
    }

    pub async fn offer_session(
        &self,
        new: NewSession,
    ) -> Result<Result<SessionReply, SessionError>, Stopping> {
        self.ask(|reply| Command::OfferSession { new, reply }).await
    }

    pub async fn patch_session(
        &self,
        patch: SessionPatch,
    ) -> Result<Result<SessionReply, SessionError>, Stopping> {
        self.ask(|reply| Command::PatchSession { patch, reply }).await
    }

    pub async fn end_session(
        &self,
        room: String,
        session: String,
    ) -> Result<Result<(), SessionError>, Stopping> {
        self.ask(|reply| Command::EndSession { room, session, reply }).await
    }

    /// Tells every client to resume, saves, and ends both tasks.
    pub async fn shut_down(&self) -> Result<(), Stopping> {
        self.send(Command::Shutdown).await
    }

    pub fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    async fn send(&self, command: Command) -> Result<(), Stopping> {
        self.commands.send(command).await.map_err(|_| Stopping)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| Stopping)
    }
}

async fn own(
    mut conference: Conference,
    mut commands: mpsc::Receiver<Command>,
    steps: mpsc::Sender<Step>,
    totals: watch::Sender<Totals>,
) {
    let mut running = true;
    while running {
        let deadline = conference.poll_timeout();
        let command = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => Some(command),
                None => return,
            },
            () = until(deadline) => None,
        };
        running = !matches!(command, Some(Command::Shutdown));
        let (before, after) = match command {
            Some(command) => handle(&mut conference, command),
            None => {
                conference.handle_timeout(now());
                (None, None)
            }
        };
        let outputs =
            std::iter::from_fn(|| conference.poll_output().map(|output| Step::Output(Box::new(output))));
        for step in before.into_iter().chain(outputs).chain(after) {
            if steps.send(step).await.is_err() {
                return error!("the task that carries out what the conference says has ended");
            }
        }
        totals.send_if_modified(|totals| std::mem::replace(totals, conference.totals()) != *totals);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Gives a command to the conference. Returns what must be done before and after its outputs.
fn handle(conference: &mut Conference, command: Command) -> (Option<Step>, Option<Step>) {
    let now = now();
    match command {
        Command::Connected { connection, source, client } => {
            conference.handle_connected(connection, source, now);
            (Some(Step::Register { connection, client }), None)
        }
        Command::Client { connection, frame } => {
            conference.handle_client(connection, frame, now);
            (None, None)
        }
        Command::Disconnected { connection } => {
            conference.handle_disconnected(connection, now);
            (Some(Step::Forget { connection }), None)
        }
        Command::NodeConnected => {
            conference.handle_node_connected(now);
            (None, None)
        }
        Command::NodeLost => {
            conference.handle_node_lost(now);
            (None, None)
        }
        Command::Node(frame) => {
            conference.handle_node(frame, now);
            (None, None)
        }
        Command::CreateRoom { body, source, reply } => {
            (None, Some(reply_with(reply, conference.create_room(body, source, now))))
        }
        Command::ReadRoom { id, token, reply } => {
            (None, Some(reply_with(reply, conference.read_room(&id, token.as_deref(), now))))
        }
        Command::EndRoom { id, token, reply } => {
            (None, Some(reply_with(reply, conference.end_room(&id, token.as_deref(), now))))
        }
        Command::OfferSession { new, reply } => {
            let request = next_request();
            conference.handle_session_offer(request, new, now);
            (Some(Step::Await { request, reply }), None)
        }
        Command::PatchSession { patch, reply } => {
            let request = next_request();
            conference.handle_session_patch(request, patch, now);
            (Some(Step::Await { request, reply }), None)
        }
        Command::EndSession { room, session, reply } => {
            (None, Some(reply_with(reply, conference.end_session(&room, &session, now))))
        }
        Command::Shutdown => {
            conference.handle_shutdown(now);
            (None, None)
        }
    }
}

fn next_request() -> HttpRequestId {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    HttpRequestId(SERIAL.fetch_add(1, Ordering::Relaxed))
}

fn reply_with<T: Send + 'static>(reply: oneshot::Sender<T>, answer: T) -> Step {
    // Whoever asked may have gone.
    Step::Reply(Box::new(move || drop(reply.send(answer))))
}

struct Executor {
    store: Store,
    to_node: RequestSender,
    metrics: Arc<Metrics>,
    clients: HashMap<ConnectionId, Client>,
    /// HTTP requests whose answer the conference gives within the time of an offer.
    requests: HashMap<HttpRequestId, SessionSender>,
    /// What the database has not taken yet. The latest change of a key takes the place of others.
    unsaved: Changes,
}

impl Executor {
    fn new(store: Store, to_node: RequestSender, metrics: Arc<Metrics>) -> Self {
        Executor {
            store,
            to_node,
            metrics,
            clients: HashMap::new(),
            requests: HashMap::new(),
            unsaved: Changes::new(),
        }
    }

    async fn run(mut self, mut steps: mpsc::Receiver<Step>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while steps.recv_many(&mut batch, BATCH_MAX).await > 0 {
            // Saved earlier than it was said is fine; later is not.
            let (changes, rest) = split(batch.drain(..));
            if !changes.is_empty() {
                self.unsaved.extend(changes);
                self.save().await;
            }
            for step in rest {
                self.carry_out(step);
            }
        }
        if !self.unsaved.is_empty() {
            self.save().await;
        }
    }

    /// What fails is written again with the next changes. The meeting goes on meanwhile; only a
    /// restart would miss it.
    async fn save(&mut self) {
        let Err(error) = self.store.write(&self.unsaved).await else {
            self.unsaved.clear();
            return;
        };
        self.metrics.saves_failed.inc();
        error!(%error, changes = self.unsaved.len(), "live state was not saved");
        while self.unsaved.len() > UNSAVED_MAX {
            self.unsaved.pop_last();
            self.metrics.saves_dropped.inc();
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Register { connection, client } => {
                self.clients.insert(connection, client);
            }
            Step::Forget { connection } => {
                self.clients.remove(&connection);
            }
            Step::Await { request, reply } => {
                self.requests.insert(request, reply);
            }
            Step::Reply(reply) => reply(),
            Step::Output(output) => self.carry_out_output(*output),
        }
    }

    fn carry_out_output(&mut self, output: Output) {
        match output {
            Output::ToClient { connection, frame } => self.deliver(connection, frame),
            Output::ToHttp { request, reply } => {
                if let Some(sender) = self.requests.remove(&request) {
                    // Whoever asked may have gone.
                    drop(sender.send(reply));
                }
            }
            // The session sends what waits and closes when its sender is gone.
            Output::CloseClient { connection } => {
                self.clients.remove(&connection);
            }
            Output::ToNode(frame) => {
                if !self.to_node.send(frame) {
                    self.metrics.node_requests_dropped.inc();
                    warn!("a request to the node was dropped: too many wait");
                }
            }
            Output::Event(event) => self.metrics.event(&event),
            // They went to the store before.
            Output::Save { .. } | Output::Remove { .. } => {}
        }
    }

    fn deliver(&mut self, connection: ConnectionId, frame: ServerFrame) {
        let Some(client) = self.clients.get(&connection) else { return };
        if client.outgoing.try_send(frame).is_err() {
            client.overflowed.store(true, Ordering::Relaxed);
            self.clients.remove(&connection);
            self.metrics.clients_overflowed.inc();
        }
    }
}

/// Takes what must be saved out of the steps.
fn split(steps: impl Iterator<Item = Step>) -> (Changes, Vec<Step>) {
    let (mut changes, mut rest) = (Changes::new(), Vec::new());
    for step in steps {
        let Step::Output(output) = step else {
            rest.push(step);
            continue;
        };
        match *output {
            Output::Save { key, value } => {
                changes.insert(key, Some(value));
            }
            Output::Remove { key } => {
                changes.insert(key, None);
            }
            output => rest.push(Step::Output(Box::new(output))),
        }
    }
    (changes, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_link::{self, Requests};
    use crate::scratch::Scratch;
    use broletto_protocol::ServerMessage;

    async fn executor(dir: &Scratch) -> (Executor, Requests) {
        let store = Store::open(dir.path()).await.expect("opened");
        let (to_node, requests) = node_link::requests(1);
        let metrics = Arc::new(Metrics::new());
        (Executor::new(store, to_node, metrics), requests)
    }

    fn client(room: usize) -> (Client, mpsc::Receiver<ServerFrame>, Arc<AtomicBool>) {
        let (outgoing, received) = mpsc::channel(room);
        let overflowed = Arc::new(AtomicBool::new(false));
        (Client { outgoing, overflowed: Arc::clone(&overflowed) }, received, overflowed)
    }

    fn pong(connection: ConnectionId) -> Step {
        let frame = ServerFrame { reply_to: None, message: ServerMessage::Pong };
        Step::Output(Box::new(Output::ToClient { connection, frame }))
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_let_go_and_nobody_else_notices() {
        let dir = Scratch::new("slow-client");
        let (mut executor, _requests) = executor(&dir).await;
        let (slow, fast) = (ConnectionId(1), ConnectionId(2));
        let (client_slow, mut received_slow, overflowed) = client(1);
        let (client_fast, mut received_fast, fine) = client(2);
        executor.carry_out(Step::Register { connection: slow, client: client_slow });
        executor.carry_out(Step::Register { connection: fast, client: client_fast });
        for connection in [slow, fast, slow, fast] {
            executor.carry_out(pong(connection));
        }
        assert!(overflowed.load(Ordering::Relaxed) && !fine.load(Ordering::Relaxed));
        assert_eq!(executor.metrics.clients_overflowed.get(), 1);
        assert!(received_slow.recv().await.is_some());
        assert!(received_slow.recv().await.is_none(), "its session sees the end of the queue");
        assert!(received_fast.recv().await.is_some() && received_fast.recv().await.is_some());
    }

    #[tokio::test]
    async fn what_was_said_after_a_save_is_let_out_when_it_is_on_disk() {
        let dir = Scratch::new("save-first");
        let (executor, _requests) = executor(&dir).await;
        let store = executor.store.clone();
        let (steps, to_do) = mpsc::channel(8);
        let save = Output::Save { key: "room/a".to_owned(), value: "1".to_owned() };
        steps.send(Step::Output(Box::new(save))).await.expect("room");
        let (reply, answer) = oneshot::channel();
        steps.send(reply_with(reply, ())).await.expect("room");
        let running = tokio::spawn(executor.run(to_do));
        answer.await.expect("a reply");
        let saved = store.live_state().await.expect("read");
        assert_eq!(saved, [("room/a".to_owned(), "1".to_owned())]);
        drop(steps);
        running.await.expect("it ends when nobody can say anything any more");
    }

    #[tokio::test]
    async fn what_the_database_refused_is_written_with_the_next_changes() {
        let dir = Scratch::new("save-again");
        let (mut executor, _requests) = executor(&dir).await;
        let store = executor.store.clone();
        let change = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        executor.unsaved.extend([change("room/a", Some("1")), change("room/b", Some("1"))]);
        store.execute("ALTER TABLE live_state RENAME TO away").await;
        executor.save().await;
        assert_eq!(executor.metrics.saves_failed.get(), 1);
        store.execute("ALTER TABLE away RENAME TO live_state").await;

        let (steps, to_do) = mpsc::channel(8);
        let (save, remove) = (
            Output::Save { key: "room/a".to_owned(), value: "2".to_owned() },
            Output::Remove { key: "room/c".to_owned() },
        );
        for output in [save, remove] {
            steps.send(Step::Output(Box::new(output))).await.expect("room");
        }
        drop(steps);
        executor.run(to_do).await;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(store.live_state().await.expect("read"), [pair("room/a", "2"), pair("room/b", "1")]);
    }

    #[tokio::test]
    async fn what_waits_for_a_broken_database_is_bounded() {
        let dir = Scratch::new("save-bound");
        let (mut executor, _requests) = executor(&dir).await;
        executor.store.close().await;
        executor.unsaved.extend((0..UNSAVED_MAX + 3).map(|index| (format!("room/{index}"), None)));
        executor.save().await;
        assert_eq!((executor.unsaved.len(), executor.metrics.saves_dropped.get()), (UNSAVED_MAX, 3));
    }
}
