//! A worker and its participants over an emulated network, in virtual time: nothing sleeps, and a
//! seed makes every run the same.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod media;
pub mod peer;
pub mod report;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use broletto_control::{
    Codec, ConsumerRule, ConsumerSlot, ConsumerWish, ControlError, Epoch, Id, Notification, ProducerId,
    ProducerSlot, Request, Response, RouterConfig, RouterId, TransportId, VideoSize,
};
use broletto_sfu_core::Worker;
use broletto_sfu_core::io::{Limits, LocalAddress, Output, Protocol, Received, Transmit, WorkerConfig};

#[allow(unused_imports, reason = "each test uses a part of it")]
pub use peer::{Camera, Layer, Peer, Plan};

pub const WORKER_INDEX: u16 = 3;

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub worker: Worker,
    pub router: RouterId,
    pub peers: Vec<Peer>,
    pub notifications: Vec<(Duration, Notification)>,
    /// What the worker sent to addresses where nobody is.
    pub strays: Vec<Transmit>,
    /// When something was last sent to an address.
    pub sent_at: BTreeMap<SocketAddr, Duration>,
    /// Called around all that the worker does while the world runs, for what measures it.
    pub before_worker: fn(),
    pub after_worker: fn(),
    serial: u32,
}

impl World {
    pub fn new() -> Self {
        World::with(Limits::default(), &[Codec::H264, Codec::Vp8])
    }

    pub fn with(limits: Limits, video_codecs: &[Codec]) -> Self {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        let start = Instant::now();
        let config = WorkerConfig {
            index: WORKER_INDEX,
            addresses: vec![
                LocalAddress { protocol: Protocol::Udp, bound: bound(), announced: announced() },
                LocalAddress { protocol: Protocol::Tcp, bound: bound(), announced: announced() },
            ],
            limits,
            seed: [7; 32],
            wall_time: std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        let mut world = World {
            start,
            now: start,
            worker: Worker::new(config, start),
            router: RouterId(Id::new(Epoch(1), 0)),
            peers: Vec::new(),
            notifications: Vec::new(),
            strays: Vec::new(),
            sent_at: BTreeMap::new(),
            before_worker: || {},
            after_worker: || {},
            serial: 0,
        };
        let router = world.router;
        let config = router_config(video_codecs);
        world.request(Request::CreateRouter { router, config }).expect("a router is made");
        world
    }

    pub fn id(&mut self) -> Id {
        self.serial += 1;
        Id::new(Epoch(1), self.serial)
    }

    pub fn request(&mut self, request: Request) -> Result<Response, ControlError> {
        let response = self.worker.handle_request(request, self.now);
        self.collect();
        response
    }

    /// A peer whose slots follow the speakers.
    pub fn join(&mut self, plan: Plan) -> usize {
        let index = self.add(plan, 100);
        self.offer(index).expect("the offer is good");
        index
    }

    /// A peer that has not said anything yet.
    pub fn add(&mut self, plan: Plan, first: u16) -> usize {
        let transport = TransportId(self.id());
        let index = self.peers.len();
        let seed = 1_000 + index as u64;
        self.peers.push(Peer::new(transport, index as u16, plan, first, seed, self.now));
        index
    }

    /// Offers what the peer's plan says, and takes the answer.
    pub fn offer(&mut self, index: usize) -> Result<(String, Vec<Codec>), ControlError> {
        let mut serial = self.serial;
        let sdp = self.peers[index].offer(|| {
            serial += 1;
            Id::new(Epoch(1), serial)
        });
        self.serial = serial;
        self.negotiate(index, sdp)
    }

    pub fn negotiate(&mut self, index: usize, sdp: String) -> Result<(String, Vec<Codec>), ControlError> {
        let request = self.offer_of(index, sdp);
        let Response::Answer { sdp, video_codecs } = self.request(request)? else {
            unreachable!("an offer is answered");
        };
        self.peers[index].accept(&sdp);
        Ok((sdp, video_codecs))
    }

    pub fn offer_of(&self, index: usize, sdp: String) -> Request {
        let peer = &self.peers[index];
        let producers = peer.outlets.iter().map(|outlet| ProducerSlot {
            mid: outlet.mid.to_string(),
            producer: outlet.producer,
            content: outlet.content,
            paused: false,
        });
        let consumers = peer.inlets.iter().map(|inlet| ConsumerSlot {
            mid: inlet.mid.to_string(),
            consumer: inlet.consumer,
            rule: ConsumerRule::Speaker,
        });
        Request::Offer {
            router: self.router,
            transport: peer.transport,
            sdp,
            producers: producers.collect(),
            consumers: consumers.collect(),
        }
    }

    pub fn pin(&mut self, index: usize, slot: usize, producer: ProducerId, size: Option<VideoSize>) {
        self.wish(index, slot, ConsumerRule::Producer { producer }, size);
    }

    /// Sets the rule of a video slot.
    pub fn wish(&mut self, index: usize, slot: usize, rule: ConsumerRule, size: Option<VideoSize>) {
        let peer = &self.peers[index];
        let wish = ConsumerWish { consumer: peer.inlet(false, slot).consumer, rule, size };
        let request = Request::SetConsumers { transport: peer.transport, wishes: vec![wish] };
        self.request(request).expect("the consumer is there");
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.next_event().clamp(self.now, end);
            self.step();
        }
    }

    pub fn run_ms(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    /// Puts a datagram into the worker as if it had come from `source`.
    pub fn inject(&mut self, source: SocketAddr, contents: &[u8]) {
        let received = Received { protocol: Protocol::Udp, source, destination: bound(), contents };
        let now = self.now;
        self.in_worker(|worker| worker.handle_received(received, now));
        self.collect();
    }

    /// The states that were notified of a peer.
    pub fn notified(&self, is_wanted: impl Fn(&Notification) -> bool) -> Vec<(Duration, Notification)> {
        self.notifications.iter().filter(|(_, notification)| is_wanted(notification)).cloned().collect()
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn next_event(&mut self) -> Instant {
        let peers = self.peers.iter().flat_map(|peer| {
            let held = (!peer.held.is_empty()).then_some(peer.release_at);
            [Some(peer.deadline), peer.up.poll_timeout(), peer.down.poll_timeout(), held]
                .into_iter()
                .flatten()
        });
        let next = peers.chain(self.worker.poll_timeout()).min();
        // Nothing that is due may be put off for ever.
        next.unwrap_or(self.now + Duration::from_millis(100)).max(self.now + Duration::from_nanos(1))
    }

    fn step(&mut self) {
        let now = self.now;
        let mut out = Vec::new();
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            let mut arrived: Vec<Vec<u8>> = Vec::new();
            while let Some(contents) = peer.down.poll_packet(now) {
                arrived.extend(peer.lie.is_none().then_some(contents));
            }
            if peer.release_at <= now {
                arrived.append(&mut peer.held);
            }
            for contents in arrived {
                if !peer.unplugged {
                    peer.handle_datagram(announced(), &contents, now);
                    // str0m keeps one packet until it is polled.
                    peer.advance(now, &mut out);
                }
            }
            if peer.deadline <= now {
                peer.advance(now, &mut out);
            }
            for transmit in out.drain(..) {
                if !peer.unplugged {
                    peer.up.handle_packet(now, transmit.contents.into());
                }
            }
            while let Some(contents) = self.peers[index].up.poll_packet(now) {
                let source = self.peers[index].address;
                let received =
                    Received { protocol: Protocol::Udp, source, destination: bound(), contents: &contents };
                self.in_worker(|worker| worker.handle_received(received, now));
            }
        }
        if self.in_worker(Worker::poll_timeout).is_some_and(|at| at <= now) {
            self.in_worker(|worker| worker.handle_timeout(now));
        }
        self.collect();
    }

    fn in_worker<R>(&mut self, work: impl FnOnce(&mut Worker) -> R) -> R {
        (self.before_worker)();
        let result = work(&mut self.worker);
        (self.after_worker)();
        result
    }

    fn collect(&mut self) {
        while let Some(output) = self.in_worker(Worker::poll_output) {
            match output {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.source, bound(), "what is sent leaves from a bound address");
                    self.sent_at.insert(transmit.destination, self.now - self.start);
                    let to = |peer: &&mut Peer| peer.address == transmit.destination;
                    match self.peers.iter_mut().find(to) {
                        Some(peer) => {
                            peer.bytes_offered += transmit.contents.len() as u64;
                            for datagram in transmit.datagrams() {
                                if let Some(hold) = peer.lie {
                                    if peer.held.is_empty() {
                                        peer.release_at = self.now + hold;
                                    }
                                    peer.held.push(datagram.to_vec());
                                }
                                peer.down.handle_packet(self.now, datagram.to_vec());
                            }
                            self.in_worker(|worker| worker.reuse(transmit.contents));
                        }
                        None => self.strays.push(transmit),
                    }
                }
                Output::Notification(notification) => {
                    self.notifications.push((self.now - self.start, notification));
                }
                Output::CloseTcp { .. } => {}
            }
        }
    }
}

pub fn router_config(video_codecs: &[Codec]) -> RouterConfig {
    RouterConfig { tenant: "default".into(), video_codecs: video_codecs.to_vec(), opaque: false }
}

pub fn bound() -> SocketAddr {
    SocketAddr::from(([192, 168, 0, 1], 7_000))
}

/// As behind a 1:1 NAT.
pub fn announced() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 7_000))
}

pub fn size(width: u16, height: u16) -> Option<VideoSize> {
    Some(VideoSize { width, height })
}
