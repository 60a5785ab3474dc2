//! A worker's thread: its sockets, its run loop, and nothing that another thread could hold up.

mod connections;
mod guarded;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broletto_control::{ControlError, Generation, Request, Response};
use broletto_sfu_core::Worker;
use broletto_sfu_core::io::{LocalAddress, Output, Protocol, Received, Transmit};
use broletto_sfu_core::node::Ticket;
use broletto_sfu_core::stats::WorkerStats;
use tokio::sync::mpsc;

use crate::egress::Egress;
use crate::metrics::WorkerMetrics;
use crate::outbox::{Outbox, WorkerEvent};
use crate::sys::poll::{Event, Poller, Waker};
use crate::sys::udp::{ReceiveBatch, SendBatch, UdpSocket};
use crate::tcp::Handover;
use connections::Connections;
use guarded::Guarded;

/// Requests and connections that wait for the thread.
const COMMANDS_MAX: usize = 1_024;
/// Of those, how many are taken before packets have their turn again.
const COMMANDS_PER_TURN: usize = 32;
/// Batches from one socket before the others have their turn.
const BATCHES_PER_TURN: usize = 4;
/// Transmits that are sent together: as many as a processor's cache holds from when they are written
/// to when the kernel reads them.
const TRANSMITS_MAX: usize = 16;
/// Outputs taken before packets have their turn again.
const OUTPUTS_PER_TURN: usize = 65_536;
/// The longest wait, so that the heartbeat goes on.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// While notifications wait for room, and after a fault.
const WAIT_RETRY: Duration = Duration::from_millis(20);
/// How often TCP connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const TOKEN_WAKER: u64 = 0;
/// Sockets are numbered from here, TCP connections from [`connections::TOKEN_FIRST`].
const TOKEN_SOCKETS: u64 = 1;

/// What runs on the thread; see [`Worker`] for the contract.
pub(crate) trait MediaPlane {
    fn handle_request(&mut self, request: Request, now: Instant) -> Result<Response, ControlError>;
    fn handle_received(&mut self, received: Received<'_>, now: Instant);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_output(&mut self) -> Option<Output>;
    /// Takes back the contents of a transmit that was sent.
    fn reuse(&mut self, contents: Vec<u8>);
    fn poll_timeout(&mut self) -> Option<Instant>;
    /// What was counted since it was made.
    fn stats(&self) -> WorkerStats;
}

impl MediaPlane for Worker {
    fn handle_request(&mut self, request: Request, now: Instant) -> Result<Response, ControlError> {
        Worker::handle_request(self, request, now)
    }

    fn handle_received(&mut self, received: Received<'_>, now: Instant) {
        Worker::handle_received(self, received, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Worker::handle_timeout(self, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Worker::poll_output(self)
    }

    fn reuse(&mut self, contents: Vec<u8>) {
        Worker::reuse(self, contents);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Worker::poll_timeout(self)
    }

    fn stats(&self) -> WorkerStats {
        *Worker::stats(self)
    }
}

pub(crate) enum Command {
    Request { ticket: Ticket, request: Request },
    Tcp(Box<Handover>),
    Stop,
}

/// The other threads' end.
pub(crate) struct WorkerHandle {
    commands: SyncSender<Command>,
    waker: Waker,
    /// Milliseconds from the start of the thread to its last turn.
    beat: Arc<AtomicU64>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

/// The part of it that can be given away.
#[derive(Clone)]
pub(crate) struct CommandSender {
    commands: SyncSender<Command>,
    waker: Waker,
}

impl CommandSender {
    /// False: the thread has no room, or is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.commands.try_send(command).is_ok();
        if sent {
            self.waker.wake();
        }
        sent
    }
}

impl WorkerHandle {
    pub(crate) fn sender(&self) -> CommandSender {
        CommandSender { commands: self.commands.clone(), waker: self.waker.clone() }
    }

    /// How long ago the thread's loop last went round.
    pub(crate) fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }

    /// Closes what the worker has and waits for its thread.
    pub(crate) fn stop(mut self) {
        // A full queue is being emptied, or the thread is gone and the send fails at once.
        let _ = self.commands.send(Command::Stop);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a worker's thread is made of.
pub(crate) struct WorkerSetup {
    pub(crate) index: u16,
    pub(crate) sockets: Vec<UdpSocket>,
    /// All that are announced; those of TCP name where its packets come in.
    pub(crate) addresses: Vec<LocalAddress>,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    pub(crate) metrics: WorkerMetrics,
}

/// `make` is called on the new thread, and again when a worker has to be replaced.
pub(crate) fn spawn<M, F>(setup: WorkerSetup, make: F) -> io::Result<WorkerHandle>
where
    M: MediaPlane,
    F: Fn(Instant) -> M + Send + 'static,
{
    let (commands, receiver) = sync_channel(COMMANDS_MAX);
    let poller = Poller::new()?;
    let waker = Waker::new()?;
    poller.add(&waker, TOKEN_WAKER)?;
    for (token, socket) in (TOKEN_SOCKETS..).zip(&setup.sockets) {
        poller.add(socket, token)?;
    }
    let (beat, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let thread = std::thread::Builder::new().name(format!("worker {}", setup.index)).spawn({
        let (waker, beat) = (waker.clone(), beat.clone());
        move || WorkerThread::new(setup, make, poller, waker, receiver).run(&beat, started)
    })?;
    Ok(WorkerHandle { commands, waker, beat, started, thread: Some(thread) })
}

struct WorkerThread<M, F> {
    index: u16,
    guarded: Guarded<M, F>,
    poller: Poller,
    waker: Waker,
    commands: Receiver<Command>,
    outbox: Outbox,
    sockets: Vec<Egress>,
    connections: Connections,
    receive: ReceiveBatch,
    send: SendBatch,
    transmits: Vec<Transmit>,
    /// Contents of what was sent, on their way back to the worker.
    spent: Vec<Vec<u8>>,
    metrics: WorkerMetrics,
    /// What the worker had counted when it was last looked at.
    stats: WorkerStats,
    next_sweep: Instant,
    stopping: bool,
}

impl<M: MediaPlane, F: Fn(Instant) -> M> WorkerThread<M, F> {
    fn new(setup: WorkerSetup, make: F, poller: Poller, waker: Waker, commands: Receiver<Command>) -> Self {
        let now = Instant::now();
        WorkerThread {
            index: setup.index,
            guarded: Guarded::new(make, setup.metrics.clone(), now),
            poller,
            waker,
            commands,
            outbox: Outbox::new(setup.events),
            sockets: setup.sockets.into_iter().map(Egress::new).collect(),
            connections: Connections::new(&setup.addresses),
            receive: ReceiveBatch::new(),
            send: SendBatch::new(),
            transmits: Vec::with_capacity(TRANSMITS_MAX),
            spent: Vec::with_capacity(TRANSMITS_MAX),
            metrics: setup.metrics,
            stats: WorkerStats::default(),
            next_sweep: now + SWEEP_EVERY,
            stopping: false,
        }
    }

    fn run(mut self, beat: &AtomicU64, started: Instant) {
        let mut events = Vec::new();
        let mut wait = Duration::ZERO;
        while !self.stopping {
            match self.poller.wait(wait) {
                Ok(ready) => events.extend(ready),
                Err(error) => {
                    // Nothing that this loop does makes epoll fail; do not spin if it does.
                    tracing::error!(worker = self.index, %error, "waiting for packets failed");
                    std::thread::sleep(WAIT_RETRY);
                }
            }
            let now = Instant::now();
            beat.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
            for event in events.drain(..) {
                self.handle_event(event, now);
            }
            if self.deadline().is_some_and(|deadline| deadline <= now) {
                self.guarded.call(now, |plane| plane.handle_timeout(now));
            }
            let more = self.pump(now);
            self.sweep(now);
            wait = self.wait(now, more);
        }
        self.close();
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event.token {
            TOKEN_WAKER => self.handle_commands(now),
            token if token >= connections::TOKEN_FIRST => self.handle_connection(event, now),
            token => {
                let index = (token - TOKEN_SOCKETS) as usize;
                if event.writable {
                    self.sockets[index].flush(&mut self.spent, &mut self.send, &self.metrics);
                    self.reuse_spent(now);
                    self.watch_writable(index);
                }
                if event.readable {
                    self.handle_socket(index, now);
                }
            }
        }
    }

    fn handle_commands(&mut self, now: Instant) {
        self.waker.reset();
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else { return };
            match command {
                Command::Request { ticket, request } => {
                    let result = self.guarded.call(now, |plane| plane.handle_request(request, now));
                    let result = result.unwrap_or_else(|| {
                        Err(ControlError::Internal { message: "a fault of ours ended the request".into() })
                    });
                    // What the request set off is told before its answer, and the answer comes
                    // before anything that is set off later.
                    self.pump(now);
                    self.outbox.push(WorkerEvent::Response { ticket, result }, &self.metrics);
                }
                Command::Tcp(handover) => self.handle_handover(*handover, now),
                Command::Stop => {
                    self.stopping = true;
                    return;
                }
            }
        }
        self.waker.wake();
    }

    fn handle_socket(&mut self, index: usize, now: Instant) {
        self.receive_from(index, now);
        self.pump(now);
    }

    /// Takes what is there and what comes meanwhile: the packets of a frame come one after the other,
    /// and those that are sent together cost less.
    fn receive_from(&mut self, index: usize, now: Instant) {
        let destination = self.sockets[index].local_address();
        for _ in 0..BATCHES_PER_TURN {
            let taken = match self.receive.receive(self.sockets[index].socket()) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(worker = self.index, %error, "packets could not be received");
                    return;
                }
            };
            let (mut packets, mut bytes) = (0, 0);
            for datagram in self.receive.datagrams() {
                let Some(datagram) = datagram else {
                    self.metrics.dropped_too_long.inc();
                    continue;
                };
                (packets, bytes) = (packets + 1, bytes + datagram.contents.len());
                let (source, contents) = (datagram.source, datagram.contents);
                let received = Received { protocol: Protocol::Udp, source, destination, contents };
                self.guarded.call(now, |plane| plane.handle_received(received, now));
            }
            self.metrics.udp_packets_received.inc_by(packets);
            self.metrics.udp_bytes_received.inc_by(bytes as u64);
            // What comes alone is mostly feedback or a voice, which nothing follows; the rest of a frame
            // makes the socket readable again.
            if taken == 1 {
                return;
            }
        }
    }

    /// Does what the worker wants done. True: there is more.
    fn pump(&mut self, now: Instant) -> bool {
        let mut more = true;
        for _ in 0..OUTPUTS_PER_TURN {
            let Some(Some(output)) = self.guarded.call(now, |plane| plane.poll_output()) else {
                more = false;
                break;
            };
            match output {
                Output::Transmit(transmit) => match transmit.protocol {
                    Protocol::Udp => {
                        self.transmits.push(transmit);
                        if self.transmits.len() >= TRANSMITS_MAX {
                            self.send_transmits(now);
                        }
                    }
                    Protocol::Tcp => {
                        self.connections.send(&transmit, &self.metrics);
                        self.spent.push(transmit.contents);
                    }
                },
                Output::Notification(notification) => {
                    self.outbox.push(WorkerEvent::Notification(notification), &self.metrics);
                }
                Output::CloseTcp { source, destination } => {
                    self.connections.close((destination, source), now, &self.poller, &self.metrics);
                }
            }
        }
        if self.guarded.take_replaced() {
            self.outbox.push(WorkerEvent::Restarted { worker: self.index }, &self.metrics);
        }
        self.send_transmits(now);
        self.connections.flush(now, &self.poller, &self.metrics);
        more
    }

    fn send_transmits(&mut self, now: Instant) {
        while let Some(first) = self.transmits.first() {
            let source = first.source;
            let run = self.transmits.iter().take_while(|transmit| transmit.source == source).count();
            let others = self.transmits.split_off(run);
            match self.sockets.iter().position(|socket| socket.local_address() == source) {
                Some(index) => {
                    let socket = &mut self.sockets[index];
                    socket.send(&mut self.transmits, &mut self.spent, &mut self.send, &self.metrics);
                    if socket.is_blocked() {
                        self.watch_writable(index);
                    }
                }
                None => {
                    let datagrams = self.transmits.iter().map(|transmit| transmit.datagrams().len());
                    self.metrics.dropped_no_socket.inc_by(datagrams.sum::<usize>() as u64);
                    self.transmits.clear();
                }
            }
            if !others.is_empty() {
                self.transmits = others;
            }
        }
        self.reuse_spent(now);
    }

    fn reuse_spent(&mut self, now: Instant) {
        let spent = &mut self.spent;
        self.guarded.call(now, |plane| spent.drain(..).for_each(|contents| plane.reuse(contents)));
    }

    fn watch_writable(&self, index: usize) {
        let socket = &self.sockets[index];
        if let Err(error) = self.poller.modify(socket, TOKEN_SOCKETS + index as u64, socket.is_blocked()) {
            tracing::error!(worker = self.index, %error, "a socket cannot be watched");
        }
    }

    fn handle_handover(&mut self, handover: Handover, now: Instant) {
        let Some((token, first)) = self.connections.open(handover, now, &self.poller, &self.metrics) else {
            return;
        };
        self.guarded.call(now, |plane| plane.handle_received(first.as_received(), now));
        // Packets behind the first frame are in its reader, which no event would tell of.
        self.handle_connection(Event { token, readable: true, writable: false }, now);
    }

    fn handle_connection(&mut self, event: Event, now: Instant) {
        if event.readable {
            let packets = self.connections.read(event.token, now, &self.poller, &self.metrics);
            for packet in &packets {
                self.guarded.call(now, |plane| plane.handle_received(packet.as_received(), now));
            }
        }
        if event.writable {
            self.connections.mark_writable(event.token);
        }
        self.pump(now);
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.guarded.call(Instant::now(), |plane| plane.poll_timeout()).flatten()
    }

    fn sweep(&mut self, now: Instant) {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_EVERY;
            self.connections.sweep(now, &self.poller, &self.metrics);
            self.record_stats(now);
        }
    }

    fn record_stats(&mut self, now: Instant) {
        if let Some(stats) = self.guarded.call(now, |plane| plane.stats()) {
            self.metrics.record(&std::mem::replace(&mut self.stats, stats), &stats);
        }
    }

    fn wait(&mut self, now: Instant, more: bool) -> Duration {
        if more {
            return Duration::ZERO;
        }
        let mut wait = WAIT_MAX;
        if let Some(deadline) = self.deadline() {
            wait = wait.min(deadline.saturating_duration_since(now));
        }
        if !self.outbox.flush() {
            wait = wait.min(WAIT_RETRY);
        }
        // A worker whose every call fails must not keep a processor busy.
        if self.guarded.failed_within(WAIT_RETRY, now) { wait.max(WAIT_RETRY) } else { wait }
    }

    /// Says goodbye to every peer.
    fn close(&mut self) {
        let now = Instant::now();
        let nothing = Request::Sync { generation: Generation(u64::MAX), routers: Vec::new() };
        self.guarded.call(now, |plane| plane.handle_request(nothing, now).is_ok());
        self.pump(now);
        for socket in &mut self.sockets {
            socket.flush(&mut self.spent, &mut self.send, &self.metrics);
        }
        self.outbox.flush();
        self.record_stats(now);
    }
}

#[cfg(test)]
mod tests;
