//! A worker: all the routers that live on one thread, and the way from a datagram to its session.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use broletto_control::{
    Codec, ControlError, Notification, Request, Response, RouterConfig, RouterId, RouterSummary, RouterWish,
    TransportId,
};
use broletto_rtp::ntp::WallClock;
use rand::SeedableRng;
use rand::rngs::StdRng;
use str0m::ice::StunMessage;

use crate::buffer::Buffers;
use crate::demux::{Demux, Kind, SessionKey};
use crate::io::{Output, Received, WorkerConfig};
use crate::outbox::Outbox;
use crate::router::{Context, Router, TICK};
use crate::slab::Slab;
use crate::stats::WorkerStats;
use crate::transport::{Environment, crypto_provider};

/// The shortest binding request that has all that RFC 8445 section 7.1 asks for, and is not
/// shorter than its answer (M2).
const STUN_REQUEST_BYTES_MIN: usize = 76;

/// The routers of one thread. Nothing in it is shared with another worker.
pub struct Worker {
    index: u16,
    environment: Environment,
    routers: Slab<Router>,
    by_router: HashMap<RouterId, usize>,
    by_transport: HashMap<TransportId, RouterId>,
    demux: Demux,
    outbox: Outbox,
    buffers: Buffers,
    dirty: Vec<SessionKey>,
    undelivered: Vec<usize>,
    deadlines: BTreeSet<(Instant, SessionKey)>,
    ticks: BTreeSet<(Instant, usize)>,
    random: StdRng,
    /// The latest time that was given.
    now: Instant,
}

impl Worker {
    pub fn new(config: WorkerConfig, now: Instant) -> Self {
        let crypto = Arc::new(crypto_provider());
        let certificate = crypto.dtls_provider.generate_certificate();
        Worker {
            index: config.index,
            environment: Environment {
                certificate: certificate.expect("the crypto library can make certificates"),
                crypto,
                addresses: config.addresses,
                limits: config.limits,
                clock: WallClock { instant: now, time: config.wall_time },
            },
            routers: Slab::default(),
            by_router: HashMap::new(),
            by_transport: HashMap::new(),
            demux: Demux::default(),
            outbox: Outbox::default(),
            buffers: Buffers::default(),
            dirty: Vec::new(),
            undelivered: Vec::new(),
            deadlines: BTreeSet::new(),
            ticks: BTreeSet::new(),
            random: StdRng::from_seed(config.seed),
            now,
        }
    }

    /// Takes every request but `Hello` and `Drain`, which are the node's. A `Sync` names the routers
    /// of this worker only, and what it does not name is closed; `List` answers with this worker's.
    pub fn handle_request(&mut self, request: Request, now: Instant) -> Result<Response, ControlError> {
        self.advance(now);
        while let Some(slot) = self.undelivered.pop() {
            self.with_router(slot, Router::deliver_all);
        }
        match request {
            Request::CreateRouter { router, config } => self.create_router(router, config),
            Request::CloseRouter { router } => {
                let slot = self.router_slot(router)?;
                self.close_router(slot);
                Ok(Response::Done)
            }
            Request::SetCodecs { router, video_codecs } => {
                check_codecs("video_codecs", &video_codecs)?;
                let slot = self.router_slot(router)?;
                self.with_router(slot, |router, _| router.config.video_codecs = video_codecs);
                Ok(Response::Done)
            }
            Request::Offer { router, transport, sdp, producers, consumers } => {
                let slot = self.router_slot(router)?;
                if self.by_transport.get(&transport).is_some_and(|other| *other != router) {
                    let what = "transport".to_owned();
                    return Err(ControlError::Taken { what, id: transport.0.to_string() });
                }
                let answered = catch_unwind(AssertUnwindSafe(|| {
                    self.with_router(slot, |router, cx| {
                        router.handle_offer(transport, &sdp, &producers, &consumers, cx)
                    })
                }));
                let Ok(Some(answer)) = answered else {
                    self.outbox.stats.panics += 1;
                    self.with_router(slot, |router, cx| {
                        if let Some(session) = router.slot_of(transport) {
                            router.end_session(session, cx);
                        }
                    });
                    let message = "a fault of ours ended this session".to_owned();
                    return Err(ControlError::Internal { message });
                };
                self.by_transport.extend(answer.is_ok().then_some((transport, router)));
                answer
            }
            Request::CloseTransport { transport } => {
                let (slot, session) = self.session(transport)?;
                self.with_router(slot, |router, cx| router.close_transport(session, cx));
                self.by_transport.remove(&transport);
                Ok(Response::Done)
            }
            Request::PauseProducer { transport, producer, paused } => {
                let (slot, session) = self.session(transport)?;
                let result =
                    self.with_router(slot, |router, cx| router.pause_producer(session, producer, paused, cx));
                result.unwrap_or(Ok(())).map(|()| Response::Done)
            }
            Request::SetConsumers { transport, wishes } => {
                let (slot, session) = self.session(transport)?;
                let result = self.with_router(slot, |router, cx| router.set_consumers(session, &wishes, cx));
                result.unwrap_or(Ok(())).map(|()| Response::Done)
            }
            Request::Sync { routers, .. } => Ok(self.sync(routers)),
            Request::List => Ok(Response::Routers { routers: self.summaries() }),
            Request::Hello { .. } | Request::Drain => {
                Err(ControlError::Internal { message: "a worker was asked what is the node's".into() })
            }
        }
    }

    /// Takes anything that came in from the network. What is malformed, forged or from a source
    /// that passed no ICE check is dropped and counted.
    pub fn handle_received(&mut self, received: Received<'_>, now: Instant) {
        self.advance(now);
        let stats = &mut self.outbox.stats;
        stats.datagrams_in += 1;
        stats.bytes_in += received.contents.len() as u64;
        let session = match Kind::of(received.contents) {
            None => {
                stats.dropped.unknown_kind += 1;
                return;
            }
            Some(Kind::Stun) => self.check(&received).map(|session| (session, Kind::Stun)),
            Some(kind) => {
                let session = self.demux.session_of(received.protocol, received.source);
                self.outbox.stats.dropped.unknown_source += u64::from(session.is_none());
                session.map(|session| (session, kind))
            }
        };
        let Some((session, kind)) = session else { return };
        self.with_session(session, |router, cx| {
            router.handle_received(session.transport, kind, &received, cx);
        });
    }

    /// To be called at [`Worker::poll_timeout`] at the latest; more often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        while let Some((_, session)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            self.with_session(session, |router, cx| router.handle_deadline(session.transport, cx));
        }
        while let Some((_, slot)) = self.ticks.first().copied().filter(|(at, _)| *at <= now) {
            let ticked = catch_unwind(AssertUnwindSafe(|| self.with_router(slot, Router::handle_tick)));
            if ticked.is_err() {
                self.outbox.stats.panics += 1;
                self.with_router(slot, |router, cx| router.tick_at = Some(cx.now + TICK));
            }
        }
    }

    /// What is to be done, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outbox.pop() {
                if let Output::Notification(Notification::TransportClosed { transport, .. }) = &output {
                    self.forget_transport(*transport);
                }
                return Some(output);
            }
            let Some(session) = self.dirty.pop() else {
                while let Some(slot) = self.undelivered.pop() {
                    self.with_router(slot, |router, _| router.forget_delivered());
                }
                return None;
            };
            self.with_session(session, |router, cx| router.handle_dirty(session.transport, cx));
        }
    }

    /// Takes back the contents of a [`crate::io::Transmit`] that was sent.
    pub fn reuse(&mut self, contents: Vec<u8>) {
        self.outbox.reuse(contents);
    }

    /// When [`Worker::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let tick = self.ticks.first().map(|(at, _)| *at);
        deadline.into_iter().chain(tick).min()
    }

    pub fn stats(&self) -> &WorkerStats {
        &self.outbox.stats
    }

    /// The next packet for a consumer of this transport panics.
    #[cfg(test)]
    pub(crate) fn panic_at_next_packet(&mut self, transport: TransportId) {
        let (slot, session) = self.session(transport).expect("the test has the transport");
        self.with_router(slot, |router, _| {
            router.transport_mut(session).expect("it was found").panic_next = true;
        });
    }

    /// The session that a STUN message is for, if it is a genuine binding request: its address
    /// counts as checked from now on.
    fn check(&mut self, received: &Received<'_>) -> Option<SessionKey> {
        let dropped = &mut self.outbox.stats.dropped;
        let message = StunMessage::parse(received.contents).ok();
        let request = message.filter(|message| {
            message.is_binding_request() && received.contents.len() >= STUN_REQUEST_BYTES_MIN
        });
        let session = request.as_ref().and_then(|request| {
            let (ours, _) = request.split_username()?;
            self.demux.session_of_ufrag(ours)
        });
        let (Some(request), Some(session)) = (request, session) else {
            dropped.stun_unknown += 1;
            return None;
        };
        let (protocol, source) = (received.protocol, received.source);
        let other = self.demux.session_of(protocol, source).filter(|other| *other != session);
        let transport_of = |routers: &'_ Slab<Router>, key: SessionKey, now| {
            let transport = routers.get(key.router).and_then(|router| router.transport(key.transport));
            transport.is_some_and(|transport| transport.owns(protocol, source, now))
        };
        // A participant could claim the address of another, by a forged source, to cut him off.
        let in_use = other.is_some_and(|other| transport_of(&self.routers, other, self.now));
        let router = self.routers.get_mut(session.router)?;
        let transport = router.transport_mut(session.transport)?;
        if !transport.is_genuine(&request, &self.environment) {
            dropped.stun_forged += 1;
            return None;
        }
        let checked =
            if in_use { Err(()) } else { transport.note_check(received, request.use_candidate(), self.now) };
        match checked {
            Ok(gone) => {
                if let Some((protocol, remote)) = gone {
                    self.demux.remove_address(protocol, remote, session);
                }
                self.demux.insert_address(protocol, source, session);
                Some(session)
            }
            Err(()) => {
                dropped.address_refused += 1;
                None
            }
        }
    }

    fn create_router(&mut self, id: RouterId, config: RouterConfig) -> Result<Response, ControlError> {
        check_codecs("config.video_codecs", &config.video_codecs)?;
        if config.opaque {
            let message = "rooms with end-to-end encryption are not forwarded yet";
            return Err(ControlError::invalid("config.opaque", message));
        }
        if let Some(slot) = self.by_router.get(&id) {
            let known = self.routers.get(*slot).is_some_and(|router| router.config == config);
            let taken = ControlError::Taken { what: "router".to_owned(), id: id.0.to_string() };
            return if known { Ok(Response::Done) } else { Err(taken) };
        }
        let (max, got) = (self.environment.limits.routers_max, self.routers.len() + 1);
        if got > max {
            return Err(ControlError::Limit { what: "routers of a worker".to_owned(), max, got });
        }
        let slot = self.routers.next_index();
        self.routers.insert(Router::new(id, config, slot, self.now));
        self.by_router.insert(id, slot);
        Ok(Response::Done)
    }

    fn close_router(&mut self, slot: usize) {
        self.with_router(slot, Router::close_all);
        if let Some(router) = self.routers.remove(slot) {
            self.by_router.remove(&router.id);
            self.by_transport.retain(|_, on| *on != router.id);
            if let Some(at) = router.tick_at {
                self.ticks.remove(&(at, slot));
            }
        }
    }

    fn sync(&mut self, wished: Vec<RouterWish>) -> Response {
        let named: HashSet<RouterId> = wished.iter().map(|wish| wish.router).collect();
        let absent: Vec<usize> = self
            .routers
            .iter()
            .filter(|(_, router)| !named.contains(&router.id))
            .map(|(slot, _)| slot)
            .collect();
        absent.into_iter().for_each(|slot| self.close_router(slot));

        let mut missing = Vec::new();
        for wish in wished {
            let Some(slot) = self.by_router.get(&wish.router).copied() else {
                missing.extend(wish.transports.iter().map(|wish| wish.transport));
                // What cannot be made now is refused when its transports offer again.
                let _ = self.create_router(wish.router, wish.config);
                continue;
            };
            let wanted: HashSet<TransportId> = wish.transports.iter().map(|wish| wish.transport).collect();
            let mut gone = Vec::new();
            self.with_router(slot, |router, cx| {
                router.config = wish.config;
                for id in router.transport_ids() {
                    if let Some(session) = router.slot_of(id).filter(|_| !wanted.contains(&id)) {
                        router.close_transport(session, cx);
                        gone.push(id);
                    }
                }
                for wish in &wish.transports {
                    match router.slot_of(wish.transport) {
                        Some(session) => router.apply_wish(session, wish, cx),
                        None => missing.push(wish.transport),
                    }
                }
                router.notify_all(cx);
            });
            gone.iter().for_each(|id| _ = self.by_transport.remove(id));
        }
        Response::Synced { missing }
    }

    fn summaries(&self) -> Vec<RouterSummary> {
        let mut summaries: Vec<RouterSummary> = self
            .routers
            .iter()
            .map(|(_, router)| RouterSummary {
                router: router.id,
                // The node knows who claimed it since.
                epoch: router.id.0.epoch,
                transports: router.transport_ids(),
            })
            .collect();
        summaries.sort_by_key(|summary| summary.router);
        summaries
    }

    /// Unless it was offered again meanwhile.
    fn forget_transport(&mut self, transport: TransportId) {
        if self.session(transport).is_err() {
            self.by_transport.remove(&transport);
        }
    }

    fn router_slot(&self, router: RouterId) -> Result<usize, ControlError> {
        let slot = self.by_router.get(&router).copied();
        slot.ok_or_else(|| ControlError::unknown("router", router.0))
    }

    /// Slots of a transport's router and of the transport.
    fn session(&self, transport: TransportId) -> Result<(usize, usize), ControlError> {
        let find = || {
            let slot = *self.by_router.get(self.by_transport.get(&transport)?)?;
            Some((slot, self.routers.get(slot)?.slot_of(transport)?))
        };
        find().ok_or_else(|| ControlError::unknown("transport", transport.0))
    }

    /// Does something for one session. A panic in it ends that session and no other (M6).
    fn with_session(&mut self, session: SessionKey, work: impl FnOnce(&mut Router, &mut Context<'_>)) {
        let result = catch_unwind(AssertUnwindSafe(|| self.with_router(session.router, work)));
        if result.is_err() {
            self.outbox.stats.panics += 1;
            self.with_router(session.router, |router, cx| router.end_session(session.transport, cx));
        }
    }

    fn with_router<R>(
        &mut self,
        slot: usize,
        work: impl FnOnce(&mut Router, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let router = self.routers.get_mut(slot)?;
        let mut cx = Context {
            environment: &self.environment,
            demux: &mut self.demux,
            outbox: &mut self.outbox,
            buffers: &mut self.buffers,
            dirty: &mut self.dirty,
            undelivered: &mut self.undelivered,
            deadlines: &mut self.deadlines,
            random: &mut self.random,
            worker: self.index,
            now: self.now,
        };
        let result = work(router, &mut cx);
        if router.noted_tick != router.tick_at {
            if let Some(at) = std::mem::replace(&mut router.noted_tick, router.tick_at) {
                self.ticks.remove(&(at, slot));
            }
            self.ticks.extend(router.tick_at.map(|at| (at, slot)));
        }
        Some(result)
    }

    /// Time never runs backwards in here, whatever the shell says.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}

/// A router of video without a codec that we forward would show nothing to anybody.
fn check_codecs(field: &str, video_codecs: &[Codec]) -> Result<(), ControlError> {
    if video_codecs.is_empty() || video_codecs.iter().any(|codec| *codec != Codec::Opus) {
        return Ok(());
    }
    Err(ControlError::invalid(field, format!("one of them is of video, not only {video_codecs:?}")))
}
