//! Many participants on one thread, which asks their sockets in turn: nothing wakes the thread when a
//! packet comes, because waking somebody is work of whoever sends.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::kernel::{self, ProcessClock};
use crate::participant::publisher::Sent;
use crate::participant::{Publisher, Received, Subscriber};
use crate::udp::Inbox;

/// Between two rounds over all sockets: as much for each participant, and this at least. The kernel
/// notes when packets come, so that it may be long.
const ROUND_MIN: Duration = Duration::from_millis(2);
const ROUND_OF_EACH: Duration = Duration::from_micros(20);
/// The longest latency that is told apart.
const LATENCY_NS_MAX: u64 = 10_000_000_000;

/// What the crowd saw up to now.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub at: Instant,
    /// Of the process that was named, at the same moment.
    pub process_cpu: Duration,
    /// Of the crowd's own thread.
    pub own_cpu: Duration,
    pub publishers_connected: usize,
    pub subscribers_connected: usize,
    /// Why the first of the sessions that broke did so.
    pub failure: Option<String>,
    pub sent: Sent,
    pub received: Received,
    /// Streams of media that came to the subscriber that has the fewest.
    pub streams_min: usize,
    pub streams: usize,
    /// Nanoseconds from sender to receiver, since [`Crowd::begin`].
    pub latency: Histogram<u64>,
}

impl Snapshot {
    /// Infinite if nothing came meanwhile.
    pub fn cpu_ns_per_packet_since(&self, earlier: &Snapshot) -> f64 {
        let packets = self.received.packets - earlier.received.packets;
        self.process_cpu.saturating_sub(earlier.process_cpu).as_nanos() as f64 / packets as f64
    }
}

pub struct Crowd {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

enum Order {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
    Start,
    Stop,
    Begin,
    Snapshot(Sender<anyhow::Result<Snapshot>>),
}

impl Crowd {
    /// `process` is the one whose processor time snapshots tell; `processor`, where the thread stays.
    pub fn start(process: u32, processor: Option<usize>) -> anyhow::Result<Crowd> {
        let (orders, receiver) = channel();
        let clock = ProcessClock::of(process).context("the server's processor time cannot be read")?;
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(move || {
            if let Some(processor) = processor {
                // Without it the figures are a little less steady.
                let _ = kernel::pin(0, processor);
            }
            Members::new(clock).run(&receiver);
        })?;
        Ok(Crowd { orders, thread })
    }

    pub fn add_publisher(&self, publisher: Publisher) -> anyhow::Result<()> {
        self.order(Order::Publisher(Box::new(publisher)))
    }

    pub fn add_subscriber(&self, subscriber: Subscriber) -> anyhow::Result<()> {
        self.order(Order::Subscriber(Box::new(subscriber)))
    }

    /// All publishers send, at even distances.
    pub fn start_media(&self) -> anyhow::Result<()> {
        self.order(Order::Start)
    }

    pub fn stop_media(&self) -> anyhow::Result<()> {
        self.order(Order::Stop)
    }

    /// Latency and losses count from here on.
    pub fn begin(&self) -> anyhow::Result<()> {
        self.order(Order::Begin)
    }

    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let (sender, receiver) = channel();
        self.order(Order::Snapshot(sender))?;
        receiver.recv().context("the participants' thread ended")?
    }

    /// Says goodbye for all.
    pub fn end(self) -> anyhow::Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow::anyhow!("the participants' thread panicked"))
    }

    fn order(&self, order: Order) -> anyhow::Result<()> {
        self.orders.send(order).ok().context("the participants' thread ended")
    }
}

struct Members {
    clock: ProcessClock,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    inbox: Inbox,
    latency: Histogram<u64>,
}

impl Members {
    fn new(clock: ProcessClock) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are good");
        Members { clock, publishers: Vec::new(), subscribers: Vec::new(), inbox: Inbox::new(), latency }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        let mut round_at = Instant::now();
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.handle(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        self.close();
                        return;
                    }
                }
            }
            let now = Instant::now();
            if round_at <= now {
                let members = (self.publishers.len() + self.subscribers.len()) as u32;
                round_at = now + ROUND_MIN.max(ROUND_OF_EACH * members);
                self.receive();
            }
            let due = self.send_due(Instant::now());
            let pause = due.min(round_at).saturating_duration_since(Instant::now());
            std::thread::sleep(pause);
        }
    }

    fn receive(&mut self) {
        let now = Instant::now();
        for publisher in &mut self.publishers {
            publisher.receive(&mut self.inbox, now);
        }
        for subscriber in &mut self.subscribers {
            subscriber.receive(&mut self.inbox, &mut self.latency, now);
        }
    }

    /// When the next is due.
    fn send_due(&mut self, now: Instant) -> Instant {
        let mut next = now + Duration::from_secs(1);
        for publisher in &mut self.publishers {
            if publisher.deadline() <= now {
                publisher.handle_timeout(now);
            }
            next = next.min(publisher.deadline());
        }
        for subscriber in &mut self.subscribers {
            if subscriber.deadline() <= now {
                subscriber.handle_timeout(now);
            }
            next = next.min(subscriber.deadline());
        }
        next
    }

    fn handle(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Publisher(publisher) => self.publishers.push(*publisher),
            Order::Subscriber(subscriber) => self.subscribers.push(*subscriber),
            Order::Start => {
                let count = self.publishers.len() as u32;
                for (index, publisher) in self.publishers.iter_mut().enumerate() {
                    publisher.start(now, publisher.interval() * index as u32 / count);
                }
            }
            Order::Stop => self.publishers.iter_mut().for_each(Publisher::stop),
            Order::Begin => {
                self.latency.reset();
                self.subscribers.iter_mut().for_each(Subscriber::begin);
            }
            Order::Snapshot(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(self.snapshot());
            }
        }
    }

    fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        // What was sent is also received, as far as it goes.
        self.receive();
        let mut sent = Sent::default();
        self.publishers.iter().for_each(|publisher| sent += publisher.sent());
        let mut received = Received::default();
        self.subscribers.iter().for_each(|subscriber| received += subscriber.received());
        let sessions = self.publishers.iter().map(|publisher| &publisher.session);
        let mut sessions = sessions.chain(self.subscribers.iter().map(|subscriber| &subscriber.session));
        let streams = self.subscribers.iter().map(Subscriber::streams);
        Ok(Snapshot {
            at: Instant::now(),
            process_cpu: self.clock.time().context("the server has ended")?,
            own_cpu: ProcessClock::of_thread().time()?,
            publishers_connected: self.publishers.iter().filter(|p| p.session.is_connected()).count(),
            subscribers_connected: self.subscribers.iter().filter(|s| s.session.is_connected()).count(),
            failure: sessions.find_map(|session| session.failure().map(str::to_owned)),
            sent,
            received,
            streams_min: streams.clone().min().unwrap_or(0),
            streams: streams.sum(),
            latency: self.latency.clone(),
        })
    }

    fn close(&mut self) {
        let now = Instant::now();
        self.publishers.iter_mut().for_each(|publisher| publisher.session.close(now));
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.session.close(now));
    }
}
