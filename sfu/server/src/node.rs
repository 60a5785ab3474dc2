//! A running node: the control thread, which knows who asks and which worker does it.
//!
//! The control thread has a runtime of its own, so that it answers (and its heartbeat goes on) however
//! busy the packet threads and the rest of the program are.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use broletto_control::{ControlError, Frame};
use broletto_sfu_core::Worker;
use broletto_sfu_core::io::{LocalAddress, Protocol, WorkerConfig};
use broletto_sfu_core::node::{LinkId, Node, NodeConfig, NodeOutput};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::{ConfigError, SfuConfig};
use crate::control_server::{ControlServer, TlsError};
use crate::metrics::Metrics;
use crate::outbox::WorkerEvent;
use crate::sys::{interfaces, udp::UdpSocket};
use crate::tcp::{Admission, AdmissionLimits, Handover, Listener};
use crate::worker_thread::{self, Command, CommandSender, WorkerHandle, WorkerSetup};

/// Frames that a link holds for signaling. One that lets it fill up is closed: it connects again and
/// syncs, and knows the truth.
const LINK_FRAMES_MAX: usize = 8_192;
/// Events of all workers that wait for the control thread.
const EVENTS_MAX: usize = 8_192;
/// Requests and links that wait for the control thread.
const MESSAGES_MAX: usize = 1_024;
/// How often the workers' heartbeats are looked at.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// From here on a worker counts as stuck in the log.
const SILENCE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("media.bind: no address of this machine is of a family that is to be bound")]
    NoAddress,
    #[error("media.{key}: {protocol} {address} cannot be bound: {source}")]
    Bind { key: &'static str, protocol: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the media plane cannot start: {0}")]
    System(#[from] io::Error),
}

/// A control connection in this process. It ends, and `frames` with it, when the node stops or when
/// `frames` is not read for too long; open another one then, say hello and sync.
#[derive(Debug)]
pub struct Link {
    /// Only requests are taken; another frame ends the link.
    pub requests: mpsc::Sender<Frame>,
    /// Responses and notifications.
    pub frames: mpsc::Receiver<Frame>,
}

/// Opens links to a node.
#[derive(Debug, Clone)]
pub(crate) struct LinkOpener(mpsc::Sender<Message>);

/// A node that runs until [`NodeHandle::shutdown`], or until this is dropped.
#[derive(Debug)]
pub struct NodeHandle {
    opener: LinkOpener,
    metrics: Metrics,
    addresses: Vec<LocalAddress>,
    control_address: Option<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Message {
    Open { requests: mpsc::Receiver<Frame>, frames: mpsc::Sender<Frame> },
    Request { link: LinkId, frame: Frame },
    Closed { link: LinkId },
    Drain,
    Stop,
}

/// Checks the configuration, binds every port and starts the threads. No runtime is needed.
pub fn start(config: SfuConfig) -> Result<NodeHandle, StartError> {
    config.validate()?;
    let mut interfaces = interfaces::addresses()?;
    // An IPv6 address that is still being checked for duplicates cannot be bound.
    interfaces.retain(|ip| std::net::UdpSocket::bind((*ip, 0)).is_ok());
    let metrics = Metrics::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();

    let sockets = bind_workers(&config, &interfaces)?;
    let admission = Admission::new(AdmissionLimits {
        connections_max: config.limits.tcp_connections,
        connections_per_source_max: config.limits.tcp_connections_per_source,
        pending_max: config.limits.tcp_connections_pending,
    });
    let mut listeners = Vec::new();
    for address in bound(sockets.iter().flat_map(|worker| &worker.addresses), Protocol::Tcp) {
        let listener = Listener::bind(address, admission.clone(), metrics.clone())
            .map_err(|source| StartError::Bind { key: "udp_port_base", protocol: "TCP", address, source })?;
        listeners.push(listener);
    }
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let opener = LinkOpener(sender);
    let control = match &config.control {
        Some(control) => Some(ControlServer::bind(control, opener.clone(), metrics.clone())?),
        None => None,
    };
    let control_address = control.as_ref().map(ControlServer::address);

    let addresses = sockets.iter().flat_map(|worker| worker.addresses.clone()).collect();
    let (events_sender, events) = mpsc::channel(EVENTS_MAX);
    let mut workers = Vec::new();
    for (index, WorkerSockets { sockets, addresses }) in (0..).zip(sockets) {
        let metrics = metrics.worker(index);
        let limits = config.limits.of_worker();
        let setup = WorkerSetup {
            index,
            sockets,
            addresses: addresses.clone(),
            events: events_sender.clone(),
            metrics,
        };
        workers.push(worker_thread::spawn(setup, move |now| {
            let (addresses, seed) = (addresses.clone(), rand::random());
            let wall_time = SystemTime::now();
            Worker::new(WorkerConfig { index, addresses, limits, seed, wall_time }, now)
        })?);
    }
    metrics.workers.set(workers.len() as i64);
    let node = Node::new(NodeConfig {
        name: config.name.clone(),
        workers: workers.len() as u16,
        routers_max: config.limits.routers_per_worker.saturating_mul(workers.len()),
    });
    let control_thread = ControlThread {
        node,
        senders: workers.iter().map(WorkerHandle::sender).collect(),
        workers,
        links: BTreeMap::new(),
        next_link: 0,
        opener: opener.clone(),
        metrics: metrics.clone(),
    };
    drop(context);
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        control_thread.run(runtime, messages, events, listeners, control);
    })?;
    tracing::info!(node = config.name, workers = config.worker_count(), "the media plane is up");
    Ok(NodeHandle { opener, metrics, addresses, control_address, thread: Some(thread) })
}

impl NodeHandle {
    pub fn link(&self) -> Link {
        self.opener.open()
    }

    /// For the operations listener: `prometheus::TextEncoder` writes what `gather` gives.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sockets of all workers, and what clients are told of them.
    pub fn addresses(&self) -> &[LocalAddress] {
        &self.addresses
    }

    /// Where the control server listens, if there is one.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// Takes no new transports from now on, as by `Request::Drain`.
    pub fn drain(&self) {
        self.opener.tell(Message::Drain);
    }

    /// Says goodbye to every peer, closes the sockets and waits for the threads, which takes
    /// milliseconds.
    pub fn shutdown(self) {}
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.opener.tell(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl LinkOpener {
    pub(crate) fn open(&self) -> Link {
        let (requests, request_receiver) = mpsc::channel(MESSAGES_MAX);
        let (frame_sender, frames) = mpsc::channel(LINK_FRAMES_MAX);
        self.tell(Message::Open { requests: request_receiver, frames: frame_sender });
        Link { requests, frames }
    }

    /// Waits in a thread of no runtime; the control thread never stays away for long.
    fn tell(&self, mut message: Message) {
        use tokio::sync::mpsc::error::TrySendError;
        while let Err(TrySendError::Full(back)) = self.0.try_send(message) {
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct WorkerSockets {
    sockets: Vec<UdpSocket>,
    addresses: Vec<LocalAddress>,
}

fn bind_workers(config: &SfuConfig, interfaces: &[IpAddr]) -> Result<Vec<WorkerSockets>, StartError> {
    let mut workers = Vec::new();
    for worker in 0..config.worker_count() {
        let addresses = config.local_addresses(worker, interfaces);
        if addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        let sockets = bound(&addresses, Protocol::Udp).into_iter().map(|address| {
            UdpSocket::bind(address).map_err(|source| StartError::Bind {
                key: "udp_port_base",
                protocol: "UDP",
                address,
                source,
            })
        });
        workers.push(WorkerSockets { sockets: sockets.collect::<Result<_, _>>()?, addresses });
    }
    Ok(workers)
}

/// What is to be bound, each address once.
fn bound<'a>(addresses: impl IntoIterator<Item = &'a LocalAddress>, protocol: Protocol) -> Vec<SocketAddr> {
    let mut bound = Vec::new();
    for address in addresses.into_iter().filter(|address| address.protocol == protocol) {
        if !bound.contains(&address.bound) {
            bound.push(address.bound);
        }
    }
    bound
}

struct OpenLink {
    frames: mpsc::Sender<Frame>,
    /// Passes requests on; it holds a sender too, so the link ends when both are gone.
    task: AbortHandle,
}

struct ControlThread {
    node: Node,
    senders: Vec<CommandSender>,
    workers: Vec<WorkerHandle>,
    links: BTreeMap<LinkId, OpenLink>,
    next_link: u64,
    opener: LinkOpener,
    metrics: Metrics,
}

impl ControlThread {
    fn run(
        mut self,
        runtime: Runtime,
        mut messages: mpsc::Receiver<Message>,
        mut events: mpsc::Receiver<WorkerEvent>,
        listeners: Vec<Listener>,
        control: Option<ControlServer>,
    ) {
        runtime.block_on(async {
            let senders = self.senders.clone();
            let deliver = Arc::new(move |worker: u16, handover: Handover| {
                let sender = senders.get(usize::from(worker));
                sender.is_some_and(|sender| sender.send(Command::Tcp(Box::new(handover))))
            });
            for listener in listeners {
                tokio::spawn(listener.run(deliver.clone()));
            }
            if let Some(control) = control {
                tokio::spawn(control.run());
            }
            self.serve(&mut messages, &mut events).await;
        });
        // Stop first, so that no connection comes to a worker that is gone; then say goodbye.
        drop(runtime);
        self.workers.drain(..).for_each(WorkerHandle::stop);
        tracing::info!("the media plane is down");
    }

    async fn serve(
        &mut self,
        messages: &mut mpsc::Receiver<Message>,
        events: &mut mpsc::Receiver<WorkerEvent>,
    ) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(message) = messages.recv() => match message {
                    Message::Open { requests, frames } => self.open(requests, frames),
                    Message::Request { link, frame } => self.handle_frame(link, frame),
                    Message::Closed { link } => self.close(link),
                    Message::Drain => self.node.drain(),
                    Message::Stop => return,
                },
                Some(event) = events.recv() => self.handle_event(event),
                _ = heartbeat.tick() => {
                    self.check_workers();
                    self.node.handle_timeout(Instant::now());
                }
            }
            self.pump();
        }
    }

    fn open(&mut self, mut requests: mpsc::Receiver<Frame>, frames: mpsc::Sender<Frame>) {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        if !self.node.handle_link_opened(link) {
            self.metrics.links_refused.with_label_values(&["too_many"]).inc();
            return;
        }
        let (messages, sender) = (self.opener.0.clone(), frames.clone());
        let task = tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    frame = requests.recv() => frame,
                    // Nobody listens any more.
                    _ = frames.closed() => None,
                };
                let Some(frame) = frame else { break };
                if messages.send(Message::Request { link, frame }).await.is_err() {
                    return;
                }
            }
            let _ = messages.send(Message::Closed { link }).await;
        });
        self.links.insert(link, OpenLink { frames: sender, task: task.abort_handle() });
    }

    fn handle_frame(&mut self, link: LinkId, frame: Frame) {
        if !self.links.contains_key(&link) {
            return;
        }
        match frame {
            Frame::Request(request) => self.node.handle_request(link, request, Instant::now()),
            Frame::Response(_) | Frame::Notification { .. } => {
                tracing::warn!("a control connection sent what only a node sends");
                self.close(link);
            }
        }
    }

    fn handle_event(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Response { ticket, result } => {
                self.node.handle_worker_response(ticket, result, Instant::now());
            }
            WorkerEvent::Notification(notification) => self.node.handle_worker_notification(notification),
            WorkerEvent::Restarted { worker } => self.node.handle_worker_restarted(worker),
        }
    }

    fn pump(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                NodeOutput::ToWorker { worker, ticket, request } => {
                    if !self.senders[usize::from(worker)].send(Command::Request { ticket, request }) {
                        self.metrics.requests_refused.inc();
                        let reason = format!("worker {worker} has no room for more requests");
                        let refused = Err(ControlError::Unavailable { reason });
                        self.node.handle_worker_response(ticket, refused, Instant::now());
                    }
                }
                NodeOutput::Send { link, frame } => {
                    let Some(open) = self.links.get(&link) else { continue };
                    if open.frames.try_send(frame).is_err() {
                        tracing::warn!("a control connection that does not read is cut");
                        self.metrics.links_refused.with_label_values(&["not_reading"]).inc();
                        self.close(link);
                    }
                }
            }
        }
        self.metrics.routers.set(self.node.router_count() as i64);
        self.metrics.transports.set(self.node.transport_count() as i64);
        self.metrics.links.set(self.links.len() as i64);
    }

    fn close(&mut self, link: LinkId) {
        if let Some(open) = self.links.remove(&link) {
            open.task.abort();
            self.node.handle_link_closed(link, Instant::now());
        }
    }

    fn check_workers(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            let silence = worker.silence();
            self.metrics.silence_ms.with_label_values(&[&index.to_string()]).set(silence.as_millis() as i64);
            if silence > SILENCE_MAX {
                tracing::warn!(worker = index, silence_ms = silence.as_millis() as u64, "a worker is stuck");
            }
        }
    }
}

#[cfg(test)]
mod tests;
