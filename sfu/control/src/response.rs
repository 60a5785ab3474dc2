//! What a node answers.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Codec, Epoch, Generation, RouterId, TransportId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Response {
    /// To `Hello`. `version` is the one both will speak; `node` names the node for logs;
    /// `epoch_max` is the highest epoch the node has seen.
    Hello {
        version: u32,
        node: String,
        epoch_max: Epoch,
        workers: usize,
    },
    /// To `Offer`.
    Answer {
        sdp: String,
        /// Video codecs that the offer can both send and receive.
        video_codecs: Vec<Codec>,
    },
    /// To `Sync`: wished transports that this node does not have. Their clients must offer again.
    Synced {
        missing: Vec<TransportId>,
    },
    Routers {
        routers: Vec<RouterSummary>,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSummary {
    pub router: RouterId,
    /// Highest epoch that claimed the router.
    pub epoch: Epoch,
    pub transports: Vec<TransportId>,
}

/// Why a request was refused. The text of each says what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ControlError {
    #[error("this node speaks versions {min} to {max} of the control protocol, not {got}")]
    Version { min: u32, max: u32, got: u32 },
    #[error("epoch {got:?} is fenced off: this node has seen epoch {highest:?}")]
    Fenced { got: Epoch, highest: Epoch },
    #[error("sync generation {got:?} is older than {last:?}")]
    StaleSync { got: Generation, last: Generation },
    /// `what` is router, transport, producer or consumer.
    #[error("there is no {what} {id}")]
    Unknown { what: String, id: String },
    #[error("{what} {id} is already in use by another {what}")]
    Taken { what: String, id: String },
    /// `field` is a path into the request, such as `sdp` or `producers[2].mid`.
    #[error("{field}: {message}")]
    Invalid { field: String, message: String },
    #[error("at most {max} {what}, and {got} were asked for")]
    Limit { what: String, max: usize, got: usize },
    #[error("this node takes no new transports: {reason}")]
    Unavailable { reason: String },
    #[error("the media plane failed: {message}")]
    Internal { message: String },
}

impl ControlError {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        ControlError::Invalid { field: field.into(), message: message.into() }
    }

    pub fn unknown(what: &str, id: impl std::fmt::Display) -> Self {
        ControlError::Unknown { what: what.to_owned(), id: id.to_string() }
    }
}
