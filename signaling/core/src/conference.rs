//! All rooms of this instance.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use broletto_control::Frame;
use broletto_protocol::ClientFrame;
use broletto_protocol::parse::ParseError;
use broletto_protocol::rest::{CreateRoom, Room};
use thiserror::Error;

use crate::{Config, ConnectionId, NewRoom, Now, OpenToken, Output, RestError, Totals};

#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("record {key:?} cannot be read: {source}")]
    Record { key: String, source: serde_json::Error },
}

pub struct Conference {
    outputs: VecDeque<Output>,
}

impl Conference {
    /// `saved` is every record that an earlier process saved and did not remove; `seed` comes from
    /// the operating system's randomness.
    pub fn new(
        _config: Config,
        _open_token: OpenToken,
        _seed: [u8; 32],
        _saved: impl IntoIterator<Item = (String, String)>,
        _now: Now,
    ) -> Result<Self, RestoreError> {
        Ok(Conference { outputs: VecDeque::new() })
    }

    /// A WebSocket was opened, from this source address.
    pub fn handle_connected(&mut self, _connection: ConnectionId, _source: IpAddr, _now: Now) {}

    /// A text message came; the shell has read it with [`broletto_protocol::parse::client_frame`].
    pub fn handle_client(
        &mut self,
        _connection: ConnectionId,
        _frame: Result<ClientFrame, ParseError>,
        _now: Now,
    ) {
    }

    /// The WebSocket is gone.
    pub fn handle_disconnected(&mut self, _connection: ConnectionId, _now: Now) {}

    /// The way to the node is open.
    pub fn handle_node_connected(&mut self, _now: Now) {}

    pub fn handle_node_lost(&mut self, _now: Now) {}

    pub fn handle_node(&mut self, _frame: Frame, _now: Now) {}

    pub fn handle_timeout(&mut self, _now: Now) {}

    /// The process is about to end: clients are told to resume, and everything is kept.
    pub fn handle_shutdown(&mut self, _now: Now) {}

    /// `POST /api/v1/rooms`.
    pub fn create_room(
        &mut self,
        _body: CreateRoom,
        _source: IpAddr,
        _now: Now,
    ) -> Result<NewRoom, RestError> {
        Err(RestError::NotFound)
    }

    /// `GET /api/v1/rooms/{id}`, with the bearer token of the request.
    pub fn read_room(&self, _id: &str, _token: Option<&str>, _now: Now) -> Result<Room, RestError> {
        Err(RestError::NotFound)
    }

    /// `DELETE /api/v1/rooms/{id}`.
    pub fn end_room(&mut self, _id: &str, _token: Option<&str>, _now: Now) -> Result<(), RestError> {
        Err(RestError::NotFound)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
