//! The control side of a node, sans IO: who may ask, which worker does it, and what is remembered.
//!
//! Requests come in from links (control connections); what a worker must do goes out with a
//! [`Ticket`], and its answer comes back with the same ticket. Requests and answers of one worker
//! keep their order, which is all that the tables below rely on.

mod call;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use broletto_control::{
    CloseReason, ControlError, Epoch, Frame, Generation, Notification, Request, RequestFrame, Response,
    ResponseFrame, RouterId, RouterWish, TransportId, VERSION, VERSION_MIN,
};

use call::{Call, Effect, Origin};
use store::ResponseStore;

/// How long a router stays that no signaling process claims.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// Requests that workers have not answered yet.
pub const CALLS_MAX: usize = 4_096;
/// Control connections at a time.
pub const LINKS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Names the node for logs.
    pub name: String,
    pub workers: u16,
    /// On the whole node.
    pub routers_max: usize,
}

/// One control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Joins a worker's answer to what asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    call: u64,
    worker: u16,
}

#[derive(Debug)]
pub enum NodeOutput {
    ToWorker { worker: u16, ticket: Ticket, request: Request },
    Send { link: LinkId, frame: Frame },
}

#[derive(Debug)]
struct Link {
    /// Said `Hello` with a version that this node speaks.
    greeted: bool,
    /// Of its latest request but `Hello`; a link of a lower epoch than the node's hears nothing.
    epoch: Option<Epoch>,
}

/// A router as the node knows it. The worker alone knows what it does.
#[derive(Debug, Clone)]
struct RouterEntry {
    worker: u16,
    /// Highest epoch that claimed it.
    epoch: Epoch,
    transports: BTreeSet<TransportId>,
    /// None: its signaling process is connected.
    unclaimed_since: Option<Instant>,
}

pub struct Node {
    config: NodeConfig,
    links: BTreeMap<LinkId, Link>,
    /// Highest epoch of any request; lower ones are refused (C2).
    epoch: Epoch,
    /// Of the last `Sync` of this epoch.
    generation: Option<Generation>,
    draining: bool,
    routers: BTreeMap<RouterId, RouterEntry>,
    /// Which router a transport is on.
    transports: BTreeMap<TransportId, RouterId>,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    responses: ResponseStore,
    outputs: VecDeque<NodeOutput>,
}

impl Node {
    pub fn new(config: NodeConfig) -> Self {
        assert!(config.workers > 0, "a node has at least one worker");
        Node {
            config,
            links: BTreeMap::new(),
            epoch: Epoch::default(),
            generation: None,
            draining: false,
            routers: BTreeMap::new(),
            transports: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            responses: ResponseStore::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A control connection came. False: there are too many, and it must be closed.
    pub fn handle_link_opened(&mut self, link: LinkId) -> bool {
        if self.links.len() >= LINKS_MAX {
            return false;
        }
        self.links.insert(link, Link { greeted: false, epoch: None });
        true
    }

    pub fn handle_link_closed(&mut self, link: LinkId, now: Instant) {
        self.links.remove(&link);
        if !self.owner_is_connected() {
            self.disown(|_| true, now);
        }
    }

    pub fn handle_request(&mut self, link: LinkId, frame: RequestFrame, now: Instant) {
        let origin = Origin { link, id: frame.id, epoch: frame.epoch };
        if let Request::Hello { version } = frame.request {
            let result = self.greet(link, version);
            return self.respond(origin, result);
        }
        if let Err(error) = self.admit(link, frame.epoch, now) {
            return self.respond(origin, Err(error));
        }
        if let Some(result) = self.responses.get(frame.id) {
            let result = result.clone();
            return self.respond(origin, result);
        }
        if let Some(call) = self.calls.values_mut().find(|call| call.is_for(frame.epoch, frame.id)) {
            // Asked again over a new connection while the worker is still at it.
            call.origin = Some(origin);
            return;
        }
        if let Err(error) = self.dispatch(origin, frame.request) {
            self.conclude(origin, Err(error));
        }
    }

    /// The answer of a worker. One that nobody waits for is ignored.
    pub fn handle_worker_response(
        &mut self,
        ticket: Ticket,
        result: Result<Response, ControlError>,
        now: Instant,
    ) {
        let Some(call) = self.calls.get_mut(&ticket.call) else { return };
        if !call.waiting.remove(&ticket.worker) {
            return;
        }
        let effect = call.effect.clone();
        let succeeded = result.is_ok();
        call.merge(result);
        self.apply(effect, ticket.worker, succeeded, now);
        if self.calls.get(&ticket.call).is_some_and(|call| call.waiting.is_empty()) {
            let call = self.calls.remove(&ticket.call).expect("it was there in the line above");
            if let Some(origin) = call.origin {
                let result = self.with_claims(call.result);
                self.conclude(origin, result);
            }
        }
    }

    /// Passes on what a worker tells, and learns from it.
    pub fn handle_worker_notification(&mut self, notification: Notification) {
        match &notification {
            Notification::TransportClosed { transport, .. } => self.forget_transport(*transport),
            Notification::RouterAbandoned { router } => drop(self.forget_router(*router)),
            Notification::TransportState { .. }
            | Notification::ProducerLive { .. }
            | Notification::ProducerDemand { .. }
            | Notification::ConsumerSource { .. }
            | Notification::Speakers { .. }
            | Notification::TransportStats { .. } => {}
        }
        self.notify(notification);
    }

    /// A worker lost everything it had; its routers and transports are gone.
    pub fn handle_worker_restarted(&mut self, worker: u16) {
        let routers: Vec<_> = self.routers_of(worker).map(|(router, _)| *router).collect();
        for router in routers {
            let Some(entry) = self.forget_router(router) else { continue };
            for transport in entry.transports {
                let message = "the worker of this transport was restarted after a fault".to_owned();
                let reason = CloseReason::Failed { message };
                self.notify(Notification::TransportClosed { transport, reason });
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let is_due = |entry: &RouterEntry| {
            entry.unclaimed_since.is_some_and(|since| now.duration_since(since) >= ABANDONED_AFTER)
        };
        let due: Vec<_> =
            self.routers.iter().filter(|(_, entry)| is_due(entry)).map(|(router, _)| *router).collect();
        for router in due {
            if self.calls.len() >= CALLS_MAX {
                return;
            }
            let Some(entry) = self.forget_router(router) else { continue };
            let worker = entry.worker;
            self.call(None, Effect::Abandon { router, entry }, [(worker, Request::CloseRouter { router })]);
        }
    }

    /// When [`Node::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.routers.values().filter_map(|entry| entry.unclaimed_since).min().map(|at| at + ABANDONED_AFTER)
    }

    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front()
    }

    /// As by [`Request::Drain`].
    pub fn drain(&mut self) {
        self.draining = true;
    }

    pub fn router_count(&self) -> usize {
        self.routers.len()
    }

    pub fn transport_count(&self) -> usize {
        self.transports.len()
    }
}

/// Who may ask.
impl Node {
    /// `Hello` is never fenced: it is how a signaling process learns which epoch to take.
    fn greet(&mut self, link: LinkId, version: u32) -> Result<Response, ControlError> {
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(ControlError::Version { min: VERSION_MIN, max: VERSION, got: version });
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.greeted = true;
        }
        Ok(Response::Hello {
            version,
            node: self.config.name.clone(),
            epoch_max: self.epoch,
            workers: self.config.workers.into(),
        })
    }

    fn admit(&mut self, link: LinkId, epoch: Epoch, now: Instant) -> Result<(), ControlError> {
        let Some(link) = self.links.get_mut(&link).filter(|link| link.greeted) else {
            return Err(ControlError::invalid("request", "the first request on a connection is hello"));
        };
        if epoch < self.epoch {
            return Err(ControlError::Fenced { got: epoch, highest: self.epoch });
        }
        link.epoch = Some(epoch);
        if epoch > self.epoch {
            self.epoch = epoch;
            self.generation = None;
            self.responses.clear();
            self.disown(|entry| entry.epoch < epoch, now);
        }
        // The owner is back after its connection broke, and with it what it had claimed.
        for entry in self.routers.values_mut().filter(|entry| entry.epoch == epoch) {
            entry.unclaimed_since = None;
        }
        Ok(())
    }

    fn owner_is_connected(&self) -> bool {
        self.links.values().any(|link| link.epoch == Some(self.epoch))
    }

    fn disown(&mut self, which: impl Fn(&RouterEntry) -> bool, now: Instant) {
        for entry in self.routers.values_mut().filter(|entry| which(entry)) {
            entry.unclaimed_since.get_or_insert(now);
        }
    }
}

/// Which worker does it.
impl Node {
    fn dispatch(&mut self, origin: Origin, request: Request) -> Result<(), ControlError> {
        if self.calls.len() >= CALLS_MAX {
            let reason = format!("{CALLS_MAX} requests are waiting for its workers");
            return Err(ControlError::Unavailable { reason });
        }
        match request {
            Request::Hello { .. } => unreachable!("it was answered before anything was checked"),
            Request::Drain => {
                self.draining = true;
                self.conclude(origin, Ok(Response::Done));
            }
            Request::List => {
                let requests = (0..self.config.workers).map(|worker| (worker, Request::List));
                self.call(Some(origin), Effect::None, requests.collect::<Vec<_>>());
            }
            Request::Sync { generation, routers } => self.sync(origin, generation, routers)?,
            Request::CreateRouter { router, .. } => {
                let (worker, created) = match self.routers.get_mut(&router) {
                    Some(entry) => {
                        entry.epoch = origin.epoch;
                        entry.unclaimed_since = None;
                        (entry.worker, false)
                    }
                    None => (self.place(router, origin.epoch)?, true),
                };
                let effect = if created { Effect::CreateRouter { router } } else { Effect::None };
                self.call(Some(origin), effect, [(worker, request)]);
            }
            Request::CloseRouter { router } => {
                let worker = self.worker_of(router)?;
                self.call(Some(origin), Effect::CloseRouter { router }, [(worker, request)]);
            }
            Request::SetCodecs { router, .. } => {
                let worker = self.worker_of(router)?;
                self.call(Some(origin), Effect::None, [(worker, request)]);
            }
            Request::Offer { router, transport, .. } => {
                let worker = self.worker_of(router)?;
                let created = self.reserve(router, transport)?;
                let effect = Effect::Offer { router, transport, created };
                self.call(Some(origin), effect, [(worker, request)]);
            }
            Request::CloseTransport { transport } => {
                let worker = self.worker_of_transport(transport)?;
                self.call(Some(origin), Effect::CloseTransport { transport }, [(worker, request)]);
            }
            Request::PauseProducer { transport, .. } | Request::SetConsumers { transport, .. } => {
                let worker = self.worker_of_transport(transport)?;
                self.call(Some(origin), Effect::None, [(worker, request)]);
            }
        }
        Ok(())
    }

    /// Every worker gets its part, an empty one too: what it has and the wish does not name goes.
    fn sync(
        &mut self,
        origin: Origin,
        generation: Generation,
        wishes: Vec<RouterWish>,
    ) -> Result<(), ControlError> {
        if let Some(last) = self.generation.filter(|last| generation < *last) {
            return Err(ControlError::StaleSync { got: generation, last });
        }
        if wishes.len() > self.config.routers_max {
            let (what, max) = ("routers".to_owned(), self.config.routers_max);
            return Err(ControlError::Limit { what, max, got: wishes.len() });
        }
        self.generation = Some(generation);

        let named: BTreeSet<_> = wishes.iter().map(|wish| wish.router).collect();
        let kept: BTreeSet<_> =
            wishes.iter().flat_map(|wish| &wish.transports).map(|wish| wish.transport).collect();
        let absent_routers = self.routers.keys().filter(|router| !named.contains(router)).copied().collect();
        let absent_transports =
            self.transports.keys().filter(|transport| !kept.contains(transport)).copied().collect();

        let mut parts: Vec<Vec<RouterWish>> = vec![Vec::new(); self.config.workers.into()];
        for wish in wishes {
            let worker = match self.routers.get_mut(&wish.router) {
                Some(entry) => {
                    entry.epoch = origin.epoch;
                    entry.unclaimed_since = None;
                    entry.worker
                }
                None => self.insert(wish.router, origin.epoch),
            };
            parts[usize::from(worker)].push(wish);
        }
        let requests =
            (0u16..).zip(parts).map(|(worker, routers)| (worker, Request::Sync { generation, routers }));
        let effect = Effect::Sync { absent_routers, absent_transports };
        self.call(Some(origin), effect, requests.collect::<Vec<_>>());
        Ok(())
    }

    fn place(&mut self, router: RouterId, epoch: Epoch) -> Result<u16, ControlError> {
        if self.draining {
            return Err(draining());
        }
        if self.routers.len() >= self.config.routers_max {
            let (what, max) = ("routers".to_owned(), self.config.routers_max);
            return Err(ControlError::Limit { what, max, got: max + 1 });
        }
        Ok(self.insert(router, epoch))
    }

    /// On the worker with the fewest transports, then the fewest routers, then the lowest index.
    fn insert(&mut self, router: RouterId, epoch: Epoch) -> u16 {
        let load = |worker: &u16| {
            let transports = self.routers_of(*worker).map(|(_, entry)| entry.transports.len()).sum::<usize>();
            (transports, self.routers_of(*worker).count())
        };
        let worker = (0..self.config.workers).min_by_key(load).expect("a node has at least one worker");
        let transports = BTreeSet::new();
        self.routers.insert(router, RouterEntry { worker, epoch, transports, unclaimed_since: None });
        worker
    }

    /// Notes at once where a transport is going to be, so that requests right behind the offer find
    /// it. True: it is new.
    fn reserve(&mut self, router: RouterId, transport: TransportId) -> Result<bool, ControlError> {
        match self.transports.get(&transport) {
            Some(owner) if *owner == router => return Ok(false),
            Some(_) => {
                let id = transport.0.to_string();
                return Err(ControlError::Taken { what: "transport".to_owned(), id });
            }
            None if self.draining => return Err(draining()),
            None => {}
        }
        self.remember_transport(router, transport);
        Ok(true)
    }

    fn worker_of(&self, router: RouterId) -> Result<u16, ControlError> {
        let entry = self.routers.get(&router).ok_or_else(|| ControlError::unknown("router", router.0))?;
        Ok(entry.worker)
    }

    fn worker_of_transport(&self, transport: TransportId) -> Result<u16, ControlError> {
        let unknown = || ControlError::unknown("transport", transport.0);
        self.worker_of(*self.transports.get(&transport).ok_or_else(unknown)?).map_err(|_| unknown())
    }

    fn routers_of(&self, worker: u16) -> impl Iterator<Item = (&RouterId, &RouterEntry)> {
        self.routers.iter().filter(move |(_, entry)| entry.worker == worker)
    }
}

/// What is remembered.
impl Node {
    fn call(
        &mut self,
        origin: Option<Origin>,
        effect: Effect,
        requests: impl IntoIterator<Item = (u16, Request)>,
    ) {
        let id = self.next_call;
        self.next_call += 1;
        let mut waiting = BTreeSet::new();
        for (worker, request) in requests {
            waiting.insert(worker);
            let ticket = Ticket { call: id, worker };
            self.outputs.push_back(NodeOutput::ToWorker { worker, ticket, request });
        }
        self.calls.insert(id, Call::new(origin, effect, waiting));
    }

    /// Brings the tables to what a worker has done.
    fn apply(&mut self, effect: Effect, worker: u16, succeeded: bool, now: Instant) {
        match effect {
            Effect::None => {}
            Effect::CreateRouter { router } if !succeeded => {
                self.forget_router(router);
            }
            Effect::CreateRouter { .. } => {}
            Effect::CloseRouter { router } if succeeded => {
                self.forget_router(router);
            }
            Effect::CloseRouter { .. } => {}
            Effect::Offer { router, transport, .. } if succeeded => {
                self.remember_transport(router, transport)
            }
            Effect::Offer { transport, created, .. } => {
                if created {
                    self.forget_transport(transport);
                }
            }
            Effect::CloseTransport { transport } if succeeded => self.forget_transport(transport),
            Effect::CloseTransport { .. } => {}
            Effect::Sync { absent_routers, absent_transports } if succeeded => {
                let is_here = |node: &Node, router| node.worker_of(router) == Ok(worker);
                for transport in absent_transports {
                    let router = self.transports.get(&transport).copied();
                    if router.is_some_and(|router| is_here(self, router)) {
                        self.forget_transport(transport);
                    }
                }
                for router in absent_routers {
                    if is_here(self, router) {
                        self.forget_router(router);
                    }
                }
            }
            Effect::Sync { .. } => {}
            Effect::Abandon { router, .. } if succeeded => {
                self.notify(Notification::RouterAbandoned { router });
            }
            Effect::Abandon { router, entry } => {
                // The worker could not take the request; try again after the same time.
                let entry = RouterEntry { unclaimed_since: Some(now), ..entry };
                self.transports.extend(entry.transports.iter().map(|transport| (*transport, router)));
                self.routers.entry(router).or_insert(entry);
            }
        }
    }

    fn remember_transport(&mut self, router: RouterId, transport: TransportId) {
        let Some(entry) = self.routers.get_mut(&router) else { return };
        entry.transports.insert(transport);
        self.transports.insert(transport, router);
    }

    fn forget_transport(&mut self, transport: TransportId) {
        let router = self.transports.remove(&transport);
        if let Some(entry) = router.and_then(|router| self.routers.get_mut(&router)) {
            entry.transports.remove(&transport);
        }
    }

    fn forget_router(&mut self, router: RouterId) -> Option<RouterEntry> {
        let entry = self.routers.remove(&router)?;
        for transport in &entry.transports {
            self.transports.remove(transport);
        }
        Some(entry)
    }

    /// A worker does not know who claimed its routers; the node does.
    fn with_claims(&self, result: Result<Response, ControlError>) -> Result<Response, ControlError> {
        let Ok(Response::Routers { mut routers }) = result else { return result };
        for summary in &mut routers {
            if let Some(entry) = self.routers.get(&summary.router) {
                summary.epoch = entry.epoch;
            }
        }
        routers.sort_by_key(|summary| summary.router);
        Ok(Response::Routers { routers })
    }

    /// Answers, and keeps the answer for when the same id comes again.
    fn conclude(&mut self, origin: Origin, result: Result<Response, ControlError>) {
        if origin.epoch == self.epoch {
            self.responses.insert(origin.id, result.clone());
        }
        self.respond(origin, result);
    }

    fn respond(&mut self, origin: Origin, result: Result<Response, ControlError>) {
        let Origin { link, id, epoch } = origin;
        if self.links.contains_key(&link) {
            let frame = Frame::Response(ResponseFrame { id, epoch, result });
            self.outputs.push_back(NodeOutput::Send { link, frame });
        }
    }

    fn notify(&mut self, notification: Notification) {
        let owners = self.links.iter().filter(|(_, link)| link.epoch == Some(self.epoch));
        self.outputs.extend(owners.map(|(link, _)| {
            let frame = Frame::Notification { notification: notification.clone() };
            NodeOutput::Send { link: *link, frame }
        }));
    }
}

fn draining() -> ControlError {
    ControlError::Unavailable { reason: "it is draining".to_owned() }
}

#[cfg(test)]
mod tests;
