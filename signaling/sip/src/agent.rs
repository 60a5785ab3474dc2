//! The entry: messages, commands and time in; messages, events and the next deadline out.
//!
//! After any call of a `handle_*` or a command, drain [`Agent::poll_output`] until it gives nothing.

mod admission;
mod commands;
mod connections;
mod in_call;
mod registrations;
mod requests;
mod responses;
mod sessions;
mod subscriptions;

use std::collections::HashMap;
use std::time::Instant;

use crate::call::Call;
use crate::dial_out::Ledger;
use crate::dialog;
use crate::digest::{Nonces, Secret};
use crate::flow::Flow;
use crate::guard::{Guard, Verdict};
use crate::headers::{Headers, name};
use crate::io::{CallId, Config, Counters, Event, Outbox, Output};
use crate::message::{self, Message, ParseError, Request, Response};
use crate::method::Method;
use crate::random::Random;
use crate::registrar::{Binding, Registrar};
use crate::timers::Timer;
use crate::transaction::{Known, MAGIC_COOKIE, Transactions};
use crate::trunk::{self, TrunkId};

use connections::Connections;
use registrations::Registered;

/// A SIP user agent for many calls, with its registrar. Sans IO; knows no room.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    random: Random,
    out: Outbox,
    transactions: Transactions<Owner>,
    calls: HashMap<CallId, Call>,
    /// Our tags, each of one call.
    tags: HashMap<String, CallId>,
    next_call: u64,
    accounts: HashMap<String, Secret>,
    registrar: Registrar,
    nonces: Nonces,
    guard: Guard,
    connections: Connections,
    registrations: Vec<Registered>,
    ledger: Ledger,
    draining: bool,
    counters: Counters,
}

/// Who made a request, and gets its responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Call(CallId),
    Registration(usize),
    /// It was sent for good manners only.
    Nobody,
}

/// What this server takes (RFC 3261, section 20.5).
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REGISTER, SUBSCRIBE";
const EXTENSIONS: [&str; 3] = ["100rel", "timer", "outbound"];
/// RFC 3581: our Vias ask for the port that they are seen with.
const RPORT: &str = "rport";

impl Agent {
    /// `seed` makes tags and nonces; it comes from the system's source of chance.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Agent {
        let mut random = Random::new(seed);
        let nonces = Nonces::new(random.bytes(), config.limits.nonces_max, now);
        let mut agent = Agent {
            registrar: Registrar::new(config.registrar),
            nonces,
            guard: Guard::new(config.limits.sources_max),
            connections: Connections::default(),
            registrations: Vec::new(),
            random,
            out: Outbox::default(),
            transactions: Transactions::new(),
            calls: HashMap::new(),
            tags: HashMap::new(),
            next_call: 0,
            accounts: HashMap::new(),
            ledger: Ledger::default(),
            draining: false,
            counters: Counters::default(),
            config,
        };
        agent.begin_registrations(now);
        agent
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, bytes: &[u8], source: std::net::SocketAddr, now: Instant) {
        // A keep-alive has no answer over UDP.
        if bytes.iter().all(|byte| b"\r\n\0 ".contains(byte)) {
            return;
        }
        self.handle_message(bytes, Flow::udp(source), now);
    }

    /// A deadline of [`Agent::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        // A timer that sets itself again at once would never end this loop; there are no more timers to
        // serve than were there at its beginning.
        for _ in 0..self.out.timers.len() {
            let Some(timer) = self.out.timers.expired(now) else { return };
            self.expired(timer, now);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.out.timers.next()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Calls and transactions that there are.
    pub fn load(&self) -> (usize, usize) {
        (self.calls.len(), self.transactions.len())
    }

    /// The devices of an account, to call one of them.
    pub fn bindings(&self, user: &str) -> &[Binding] {
        self.registrar.bindings(user)
    }

    /// Adds an account, changes its password, or (None) removes it with its devices.
    pub fn set_account(&mut self, user: &str, secret: Option<Secret>) {
        match secret {
            Some(secret) => {
                self.accounts.insert(user.to_owned(), secret);
            }
            None => {
                self.accounts.remove(user);
                if !self.registrar.bindings(user).is_empty() {
                    self.registrar.remove(user);
                    self.tell_bindings(user.to_owned());
                }
            }
        }
        self.set_expiry();
    }

    /// From now on new calls are sent elsewhere, by 503; those that there are go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    fn handle_message(&mut self, bytes: &[u8], source: Flow, now: Instant) {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.handle_request(request, source, now),
            Ok(Message::Response(response)) => self.handle_response(response, source, now),
            Err(ParseError::Silent(_)) => self.counters.malformed += 1,
            Err(ParseError::Answer { status, reason, via, headers }) => {
                self.counters.malformed += 1;
                if self.may_be_answered(source, now) {
                    let tag = self.random.token();
                    let bytes = message::refusal(status, reason, &headers, &tag, &self.config.product);
                    let port = via.port.unwrap_or(source.transport.default_port());
                    let mut flow = source;
                    if source.transport == crate::Transport::Udp && !via.params.has(RPORT) {
                        flow.address.set_port(port);
                    }
                    self.out.send(flow, bytes);
                }
            }
        }
    }

    fn handle_request(&mut self, mut request: Request, source: Flow, now: Instant) {
        let flow = dialog::response_flow(&mut request, source);
        match self.transactions.receive(&request, &mut self.out, now) {
            Known::Absorbed => return,
            Known::New => {}
        }
        if request.method == Method::Cancel {
            return self.cancel(&request, flow, now);
        }
        if let Some(tag) = request.head.to.tag() {
            let call = self.tags.get(tag).copied();
            let call = call.filter(|id| self.calls.get(id).is_some_and(|call| call.owns(&request.head)));
            if let Some(call) = call {
                return self.request_in_call(call, request, source, flow, now);
            }
        }
        if request.method == Method::Ack {
            // Of a refusal that was made without a state, or of nothing.
            return;
        }
        match self.verdict(source, now) {
            Verdict::Pass => {}
            Verdict::Refuse => {
                self.counters.limited += 1;
                let mut response = self.response(&request, 503);
                response.headers.push(name::RETRY_AFTER, 30);
                return self.out.send(flow, response.bytes());
            }
            Verdict::Drop => {
                self.counters.dropped += 1;
                return;
            }
        }
        if let Err(refused) = self.request_outside(request, source, flow, now) {
            self.counters.refused += 1;
            self.out.send(flow, refused.bytes());
        }
    }

    fn expired(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Retransmit(id) => self.transactions.retransmit(id, &mut self.out, now),
            Timer::State(id) => {
                let request = self.transactions.sent(id).map(|(request, _)| request.clone());
                if let Some(owner) = self.transactions.end(id, &mut self.out)
                    && let Some(request) = request
                {
                    // RFC 3261, section 8.1.3.1: as if 408 had come.
                    let timeout = Response::to(&request, 408, None);
                    self.response_of(id, owner, request, timeout, None, now);
                }
            }
            Timer::Success(call) => self.repeat_success(call, now),
            Timer::Reliable(call) => self.repeat_reliable(call, now),
            Timer::Ringing(call) => self.ringing_too_long(call, now),
            Timer::Session(call) => self.session_due(call, now),
            Timer::Glare(call) => self.out.event(Event::OfferRefused { call, status: 491 }),
            Timer::Ending(call) => self.forget(call),
            Timer::Connection(connection) => self.connection_idle(connection, now),
            Timer::Expiry => self.expire(now),
            Timer::Registration(index) => self.register(index, now),
        }
    }

    fn expire(&mut self, now: Instant) {
        for user in self.registrar.expire(now) {
            self.tell_bindings(user);
        }
        self.set_expiry();
    }

    fn set_expiry(&mut self) {
        match self.registrar.next_expiry() {
            Some(at) => self.out.timers.set(Timer::Expiry, at),
            None => self.out.timers.cancel(Timer::Expiry),
        }
    }

    fn tell_bindings(&mut self, user: String) {
        let count = self.registrar.bindings(&user).len();
        self.out.event(Event::Bindings { user, count });
    }

    fn verdict(&mut self, source: Flow, now: Instant) -> Verdict {
        let limits = &self.config.limits;
        let rate = if self.trunk(source).is_some() { limits.requests_of_trunk } else { limits.requests };
        self.guard.judge(source.address.ip(), rate, limits.refusals, now)
    }

    fn may_be_answered(&mut self, source: Flow, now: Instant) -> bool {
        let verdict = self.verdict(source, now);
        match verdict {
            Verdict::Pass | Verdict::Refuse => true,
            Verdict::Drop => {
                self.counters.dropped += 1;
                false
            }
        }
    }

    fn trunk(&self, source: Flow) -> Option<TrunkId> {
        let names = self.connections.names(source.connection);
        trunk::identify(&self.config.trunks, source.address.ip(), source.transport, names)
    }

    /// A response with what all of ours have, outside of dialogs.
    fn response(&self, request: &Request, status: u16) -> Response {
        let tag = self.nonces.tag(&request.head);
        self.response_with_tag(request, status, &tag)
    }

    fn response_with_tag(&self, request: &Request, status: u16, tag: &str) -> Response {
        let mut response = Response::to(request, status, Some(tag));
        response.headers.push(name::SERVER, &self.config.product);
        response
    }

    /// Our address, as the peer of this flow reaches it.
    fn announced(&self, flow: Flow, trunk: Option<TrunkId>) -> Option<(String, u16)> {
        let same = |announced: &&crate::Announced| announced.transport == flow.transport;
        let v6 = flow.address.ip().to_canonical().is_ipv6();
        let fitting = self.config.announced.iter().filter(same);
        let family = fitting.clone().find(|announced| announced.host.starts_with('[') == v6);
        let announced = family.or_else(|| fitting.clone().next())?;
        let host = trunk.and_then(|id| self.config.trunks.get(id.0)?.announced_host.clone());
        Some((host.unwrap_or_else(|| announced.host.clone()), announced.port))
    }

    /// Our Contact in a call. `isfocus` says that it is a conference (RFC 4579, section 5.2).
    fn contact(&self, flow: Flow, trunk: Option<TrunkId>, user: &str) -> String {
        let (host, port) = self.announced(flow, trunk).unwrap_or_else(|| ("invalid".to_owned(), 5060));
        let transport = match flow.transport {
            crate::Transport::Udp => "",
            crate::Transport::Tcp => ";transport=tcp",
            crate::Transport::Tls => ";transport=tls",
        };
        format!("<sip:{user}@{host}:{port}{transport}>;isfocus")
    }

    /// Puts our Via in front, with a branch of its own.
    fn stamp(&mut self, request: &mut Request, flow: Flow, trunk: Option<TrunkId>) {
        let (host, port) = self.announced(flow, trunk).unwrap_or_else(|| ("invalid".to_owned(), 5060));
        let via = &mut request.head.via;
        via.transport = flow.transport.to_string();
        (via.host, via.port) = (host, Some(port));
        via.params = crate::scan::Params::default();
        via.params.set("branch", Some(format!("{MAGIC_COOKIE}{}", self.random.token())));
        via.params.set(RPORT, None);
        request.headers.remove(name::VIA);
        request.headers.push_front(name::VIA, &request.head.via);
        request.headers.set(name::USER_AGENT, &self.config.product);
    }

    /// Ends what is left of a call.
    fn forget(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.tags.remove(call.dialog.local_tag());
        if let Some(subscription) = &call.subscription {
            // It is the tag of the call where it shares its dialog, which is gone already.
            self.tags.remove(subscription.dialog.local_tag());
        }
        for timer in [
            Timer::Success(id),
            Timer::Reliable(id),
            Timer::Ringing(id),
            Timer::Session(id),
            Timer::Glare(id),
            Timer::Ending(id),
        ] {
            self.out.timers.cancel(timer);
        }
    }

    fn ended(&mut self, id: CallId, reason: crate::EndReason) {
        if self.calls.contains_key(&id) {
            self.forget(id);
            self.out.event(Event::Ended { call: id, reason });
        }
    }
}

/// Fields that tell what we can do.
fn abilities(headers: &mut Headers) {
    headers.push(name::ALLOW, ALLOW);
    headers.push(name::SUPPORTED, "100rel, timer");
}
