//! TCP and TLS connections: framing, keep-alive, and when they are closed (S5).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::Agent;
use crate::flow::{ConnectionId, Flow, Transport};
use crate::framing::{Frame, Framing};
use crate::guard::network;
use crate::io::Output;
use crate::timers::Timer;

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: HashMap<ConnectionId, Connection>,
}

#[derive(Debug)]
struct Connection {
    flow: Flow,
    /// In the certificate of the peer, which the shell has verified.
    names: Vec<String>,
    framing: Framing,
    /// When the last whole message came.
    message_at: Option<Instant>,
    /// When the message began that has not ended, or the connection that has had none.
    begun_at: Instant,
}

impl Connections {
    pub(super) fn names(&self, connection: Option<ConnectionId>) -> &[String] {
        connection.and_then(|id| self.open.get(&id)).map_or(&[], |connection| &connection.names)
    }
}

impl Agent {
    /// A connection was accepted, or one that a [`Output::Send`] needed was opened. `names` are those of
    /// the certificate of the peer, if it had one and the shell has verified it.
    pub fn handle_connected(
        &mut self,
        id: ConnectionId,
        transport: Transport,
        address: SocketAddr,
        names: Vec<String>,
        now: Instant,
    ) {
        let limits = &self.config.limits;
        let source = network(address.ip());
        let of_source =
            self.connections.open.values().filter(|other| network(other.flow.address.ip()) == source).count();
        if self.connections.open.len() >= limits.connections_max
            || of_source >= limits.connections_per_source_max
        {
            self.counters.connections_refused += 1;
            return self.out.outputs.push_back(Output::Close(id));
        }
        let flow = Flow { transport, address, connection: Some(id) };
        let connection =
            Connection { flow, names, framing: Framing::default(), message_at: None, begun_at: now };
        self.connections.open.insert(id, connection);
        self.out.timers.set(Timer::Connection(id), now + limits.connection_message);
    }

    pub fn handle_stream(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        let Some(connection) = self.connections.open.get_mut(&id) else { return };
        // The time for a first message counts from the beginning, whatever pings come before it.
        if connection.message_at.is_some() && !connection.framing.is_within() {
            connection.begun_at = now;
        }
        connection.framing.push(bytes);
        // What a message does may close the connection.
        while let Some(connection) = self.connections.open.get_mut(&id) {
            let flow = connection.flow;
            match connection.framing.poll() {
                Ok(Some(Frame::Message(message))) => {
                    (connection.message_at, connection.begun_at) = (Some(now), now);
                    self.handle_message(&message, flow, now);
                }
                // A keep-alive counts: whoever sends it wants the connection (RFC 5626, section 4.4.1). It
                // does not count for a connection that has never had a message.
                Ok(Some(Frame::Ping)) => {
                    connection.message_at = connection.message_at.map(|_| now);
                    self.out.send(flow, b"\r\n".to_vec());
                }
                Ok(None) => break,
                Err(_) => {
                    self.counters.malformed += 1;
                    return self.close(id);
                }
            }
        }
        if self.connections.open.contains_key(&id) {
            self.set_connection_timer(id, now);
        }
    }

    /// The peer closed it, or it broke.
    pub fn handle_disconnected(&mut self, id: ConnectionId) {
        if self.connections.open.remove(&id).is_none() {
            return;
        }
        self.out.timers.cancel(Timer::Connection(id));
        for call in self.calls.values_mut() {
            call.dialog.disconnected(id);
        }
        for user in self.registrar.disconnected(id) {
            self.tell_bindings(user);
        }
        self.set_expiry();
    }

    fn close(&mut self, id: ConnectionId) {
        self.handle_disconnected(id);
        self.out.outputs.push_back(Output::Close(id));
    }

    pub(super) fn connection_idle(&mut self, id: ConnectionId, now: Instant) {
        let limits = self.config.limits;
        let Some(connection) = self.connections.open.get(&id) else { return };
        let stuck = connection.message_at.is_none() || connection.framing.is_within();
        let late = stuck && now >= connection.begun_at + limits.connection_message;
        let idle = connection.message_at.is_some_and(|at| now >= at + limits.connection_idle);
        if late || idle && !self.is_in_use(id) {
            return self.close(id);
        }
        self.set_connection_timer(id, now);
    }

    fn set_connection_timer(&mut self, id: ConnectionId, now: Instant) {
        let limits = &self.config.limits;
        let Some(connection) = self.connections.open.get(&id) else { return };
        let at = if connection.message_at.is_none() || connection.framing.is_within() {
            connection.begun_at + limits.connection_message
        } else {
            let idle = connection.message_at.unwrap_or(now) + limits.connection_idle;
            if idle > now { idle } else { now + limits.connection_idle }
        };
        self.out.timers.set(Timer::Connection(id), at);
    }

    fn is_in_use(&self, id: ConnectionId) -> bool {
        let used = |flow: Flow| flow.connection == Some(id);
        self.calls.values().any(|call| used(call.dialog.flow())) || self.registrar.uses(id)
    }
}
