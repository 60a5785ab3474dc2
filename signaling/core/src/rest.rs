//! The operations of the REST interface on rooms.

use broletto_protocol::rest::{ApiError, Room};
use thiserror::Error;

use crate::Claims;

/// A new room, and the claims that the shell signs for its moderator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoom {
    pub room: Room,
    pub moderator: Claims,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestError {
    #[error("{field}: {message}")]
    Invalid { field: &'static str, message: String },
    /// No such room, no token, or one that is not for it: they cannot be told apart (W3).
    #[error("there is no such room, or the token does not open it")]
    NotFound,
    #[error("the token's role does not allow this")]
    Forbidden,
    #[error("too many rooms: {message}")]
    Limit { message: String, retry_after_s: Option<u64> },
}

impl RestError {
    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            RestError::Invalid { .. } => 422,
            RestError::NotFound => 404,
            RestError::Forbidden => 403,
            RestError::Limit { .. } => 429,
        }
    }

    pub fn api_error(&self) -> ApiError {
        let (code, field) = match self {
            RestError::Invalid { field, .. } => ("invalid", Some((*field).to_owned())),
            RestError::NotFound => ("not_found", None),
            RestError::Forbidden => ("forbidden", None),
            RestError::Limit { .. } => ("limit", None),
        };
        ApiError { code: code.to_owned(), field, message: self.to_string() }
    }
}
