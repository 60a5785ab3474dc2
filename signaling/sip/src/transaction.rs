//! Transactions (RFC 3261, section 17, as corrected by RFC 6026).
//!
//! ```text
//! INVITE client   Calling ─1xx→ Proceeding ─2xx→ Accepted (M)   ─3xx-6xx→ Completed (D)
//! other client    Trying  ─1xx→ Proceeding ─final→ Completed (K)
//! INVITE server   Proceeding ─2xx→ Accepted (L)   ─3xx-6xx→ Completed (G, H) ─ACK→ Confirmed (I)
//! other server    Trying ─1xx→ Proceeding ─final→ Completed (J)
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::flow::Flow;
use crate::headers::{Headers, name};
use crate::io::Outbox;
use crate::message::{Head, Request, Response};
use crate::method::Method;
use crate::timers::{GIVE_UP, T1, T2, T4, Timer};

/// For how long an INVITE may have provisional responses only. Section 17.1.1.2 leaves it to the caller,
/// and a proxy's timer C (section 16.6) is above three minutes: peers repeat 1xx each minute.
const PROCEEDING_MAX: Duration = Duration::from_secs(300);

/// What every branch of RFC 3261 begins with (section 8.1.1.7).
pub(crate) const MAGIC_COOKIE: &str = "z9hG4bK";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TransactionId(pub(crate) u64);

/// The transactions of one agent. `O` is who made a request, and gets its responses.
#[derive(Debug)]
pub(crate) struct Transactions<O> {
    servers: HashMap<TransactionId, Server>,
    server_keys: HashMap<String, TransactionId>,
    clients: HashMap<TransactionId, Client<O>>,
    client_keys: HashMap<String, TransactionId>,
    next: u64,
}

#[derive(Debug)]
struct Server {
    key: String,
    state: ServerState,
    invite: bool,
    /// Where responses go (RFC 3261, section 18.2.2, and RFC 3581).
    flow: Flow,
    response: Vec<u8>,
    interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerState {
    Trying,
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
}

#[derive(Debug)]
struct Client<O> {
    key: String,
    state: ClientState,
    request: Request,
    flow: Flow,
    interval: Duration,
    owner: O,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientState {
    /// Calling, of an INVITE.
    Trying,
    Proceeding,
    Accepted,
    Completed,
}

/// What a request is to the transactions that there are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// It came before, or is an ACK of a refusal: it has been dealt with.
    Absorbed,
}

impl<O: Clone> Transactions<O> {
    pub(crate) fn new() -> Self {
        Transactions {
            servers: HashMap::new(),
            server_keys: HashMap::new(),
            clients: HashMap::new(),
            client_keys: HashMap::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Matches a request (section 17.2.3) and answers it again if it came before.
    pub(crate) fn receive(&mut self, request: &Request, out: &mut Outbox, now: Instant) -> Known {
        let Some(id) = self.server_keys.get(&server_key(request, &request.method)).copied() else {
            return Known::New;
        };
        let server = self.servers.get_mut(&id).expect("keys and transactions are made together");
        match (server.state, request.method == Method::Ack) {
            // The ACK of a 2xx is a matter of the dialog.
            (ServerState::Accepted, true) => return Known::New,
            (ServerState::Completed, true) => {
                server.state = ServerState::Confirmed;
                let linger = if server.flow.transport.is_reliable() { Duration::ZERO } else { T4 };
                out.timers.cancel(Timer::Retransmit(id));
                out.timers.set(Timer::State(id), now + linger);
            }
            (ServerState::Proceeding | ServerState::Completed, false) => {
                out.send(server.flow, server.response.clone());
            }
            (ServerState::Trying | ServerState::Proceeding | ServerState::Confirmed, true)
            | (ServerState::Trying | ServerState::Accepted | ServerState::Confirmed, false) => {}
        }
        Known::Absorbed
    }

    /// The INVITE that a CANCEL means (section 9.2).
    pub(crate) fn cancelled(&self, cancel: &Request) -> Option<TransactionId> {
        self.server_keys.get(&server_key(cancel, &Method::Invite)).copied()
    }

    /// Begins a transaction for a request that will be answered.
    pub(crate) fn serve(&mut self, request: &Request, flow: Flow) -> TransactionId {
        let key = server_key(request, &request.method);
        let id = self.next_id();
        self.server_keys.insert(key.clone(), id);
        let invite = request.method == Method::Invite;
        let server =
            Server { key, state: ServerState::Trying, invite, flow, response: Vec::new(), interval: T1 };
        self.servers.insert(id, server);
        id
    }

    /// Sends a response. A transaction that has its final response, or is gone, sends no other.
    pub(crate) fn respond(&mut self, id: TransactionId, response: &Response, out: &mut Outbox, now: Instant) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        match server.state {
            ServerState::Trying | ServerState::Proceeding => {}
            ServerState::Accepted | ServerState::Completed | ServerState::Confirmed => return,
        }
        server.response = response.bytes();
        out.send(server.flow, server.response.clone());
        let reliable = server.flow.transport.is_reliable();
        (server.state, server.interval) = match (response.is_final(), server.invite, response.is_success()) {
            (false, _, _) => (ServerState::Proceeding, T1),
            (true, true, true) => {
                // Timer L. The dialog repeats the response until its ACK comes.
                out.timers.set(Timer::State(id), now + GIVE_UP);
                (ServerState::Accepted, T1)
            }
            (true, true, false) => {
                if !reliable {
                    out.timers.set(Timer::Retransmit(id), now + T1);
                }
                out.timers.set(Timer::State(id), now + GIVE_UP);
                (ServerState::Completed, T1)
            }
            (true, false, _) => {
                let linger = if reliable { Duration::ZERO } else { GIVE_UP };
                out.timers.set(Timer::State(id), now + linger);
                (ServerState::Completed, T1)
            }
        };
    }

    /// Where the responses of a transaction go.
    pub(crate) fn flow_of(&self, id: TransactionId) -> Option<Flow> {
        self.servers.get(&id).map(|server| server.flow)
    }

    /// Sends a request, whose topmost Via has a fresh branch, and repeats it as the transport needs.
    pub(crate) fn request(
        &mut self,
        request: Request,
        flow: Flow,
        owner: O,
        out: &mut Outbox,
        now: Instant,
    ) -> TransactionId {
        let id = self.next_id();
        let key = client_key(&request.head);
        out.send(flow, request.bytes());
        if !flow.transport.is_reliable() {
            out.timers.set(Timer::Retransmit(id), now + T1);
        }
        out.timers.set(Timer::State(id), now + GIVE_UP);
        self.client_keys.insert(key.clone(), id);
        self.clients
            .insert(id, Client { key, state: ClientState::Trying, request, flow, interval: T1, owner });
        id
    }

    /// The request of a client transaction that still runs, and its way.
    pub(crate) fn sent(&self, id: TransactionId) -> Option<(&Request, Flow)> {
        self.clients.get(&id).map(|client| (&client.request, client.flow))
    }

    /// Matches a response (section 17.1.3). Gives it to the owner, unless it has been given before.
    pub(crate) fn response(
        &mut self,
        response: &Response,
        out: &mut Outbox,
        now: Instant,
    ) -> Option<(TransactionId, O)> {
        let id = *self.client_keys.get(&client_key(&response.head))?;
        let client = self.clients.get_mut(&id).expect("keys and transactions are made together");
        let invite = client.request.method == Method::Invite;
        let reliable = client.flow.transport.is_reliable();
        match (client.state, response.is_final(), invite, response.is_success()) {
            (ClientState::Trying | ClientState::Proceeding, false, true, _) => {
                client.state = ClientState::Proceeding;
                out.timers.cancel(Timer::Retransmit(id));
                out.timers.set(Timer::State(id), now + PROCEEDING_MAX);
            }
            (ClientState::Trying | ClientState::Proceeding, false, false, _) => {
                client.state = ClientState::Proceeding;
                client.interval = T2;
            }
            (ClientState::Trying | ClientState::Proceeding | ClientState::Accepted, true, true, true) => {
                // Timer M. Responses of other branches of a fork come until then.
                if client.state != ClientState::Accepted {
                    client.state = ClientState::Accepted;
                    out.timers.cancel(Timer::Retransmit(id));
                    out.timers.set(Timer::State(id), now + GIVE_UP);
                }
            }
            (ClientState::Trying | ClientState::Proceeding, true, true, false) => {
                client.state = ClientState::Completed;
                out.timers.cancel(Timer::Retransmit(id));
                let linger = if reliable { Duration::ZERO } else { GIVE_UP };
                out.timers.set(Timer::State(id), now + linger);
                out.send(client.flow, acknowledgement(&client.request, response).bytes());
            }
            (ClientState::Completed, true, true, false) => {
                out.send(client.flow, acknowledgement(&client.request, response).bytes());
                return None;
            }
            (ClientState::Trying | ClientState::Proceeding, true, false, _) => {
                client.state = ClientState::Completed;
                out.timers.cancel(Timer::Retransmit(id));
                let linger = if reliable { Duration::ZERO } else { T4 };
                out.timers.set(Timer::State(id), now + linger);
            }
            (ClientState::Completed, _, _, _) | (ClientState::Accepted, _, _, _) => return None,
        }
        Some((id, client.owner.clone()))
    }

    /// Timers A, E and G.
    pub(crate) fn retransmit(&mut self, id: TransactionId, out: &mut Outbox, now: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            let invite = client.request.method == Method::Invite;
            match client.state {
                ClientState::Trying | ClientState::Proceeding => {}
                ClientState::Accepted | ClientState::Completed => return,
            }
            let doubled = client.interval * 2;
            client.interval = if invite { doubled } else { doubled.min(T2) };
            out.send(client.flow, client.request.bytes());
            out.timers.set(Timer::Retransmit(id), now + client.interval);
        } else if let Some(server) = self.servers.get_mut(&id)
            && server.state == ServerState::Completed
        {
            server.interval = (server.interval * 2).min(T2);
            out.send(server.flow, server.response.clone());
            out.timers.set(Timer::Retransmit(id), now + server.interval);
        }
    }

    /// The state of a transaction has ended. Gives the owner of one that was never answered.
    pub(crate) fn end(&mut self, id: TransactionId, out: &mut Outbox) -> Option<O> {
        out.timers.cancel(Timer::Retransmit(id));
        out.timers.cancel(Timer::State(id));
        if let Some(server) = self.servers.remove(&id) {
            self.server_keys.remove(&server.key);
            return None;
        }
        let client = self.clients.remove(&id)?;
        self.client_keys.remove(&client.key);
        match client.state {
            ClientState::Trying | ClientState::Proceeding => Some(client.owner),
            ClientState::Accepted | ClientState::Completed => None,
        }
    }

    fn next_id(&mut self) -> TransactionId {
        self.next += 1;
        TransactionId(self.next)
    }
}

/// What makes two requests one (section 17.2.3). An ACK of a refusal belongs to its INVITE.
fn server_key(request: &Request, method: &Method) -> String {
    let head = &request.head;
    let method = if *method == Method::Ack { &Method::Invite } else { method };
    let sent_by = format!("{}:{}", head.via.host.to_ascii_lowercase(), head.via.port.unwrap_or(0));
    match head.via.branch() {
        Some(branch) if branch.starts_with(MAGIC_COOKIE) && branch.len() > MAGIC_COOKIE.len() => {
            format!("{method} {branch} {sent_by}")
        }
        // As RFC 2543 had it. The tag of the To is left out: the ACK has one and the INVITE has not.
        _ => {
            let tag = head.from.tag().unwrap_or_default();
            format!("{method} {} {tag} {} {} {sent_by}", head.call_id, head.cseq.number, request.uri)
        }
    }
}

fn client_key(head: &Head) -> String {
    format!("{} {}", head.cseq.method, head.via.branch().unwrap_or_default())
}

/// The ACK of a refusal (section 17.1.1.3).
fn acknowledgement(invite: &Request, response: &Response) -> Request {
    let mut headers = Headers::default();
    headers.push(name::VIA, &invite.head.via);
    headers.push(name::MAX_FORWARDS, 70);
    for route in invite.headers.all(name::ROUTE) {
        headers.push(name::ROUTE, route);
    }
    let mut head = invite.head.clone();
    head.to = response.head.to.clone();
    head.cseq.method = Method::Ack;
    headers.push(name::FROM, &head.from);
    headers.push(name::TO, &head.to);
    headers.push(name::CALL_ID, &head.call_id);
    headers.push(name::CSEQ, &head.cseq);
    Request { method: Method::Ack, uri: invite.uri.clone(), head, headers, body: Vec::new() }
}
