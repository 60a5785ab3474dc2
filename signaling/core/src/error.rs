//! Why a client's message was refused.

use broletto_protocol::server::{ErrorCode, ServerMessage};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientError {
    pub(crate) code: ErrorCode,
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

impl ClientError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ClientError { code, field: None, message: message.into() }
    }

    pub(crate) fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        ClientError { code, field: Some(field.into()), message: message.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        ClientError::field(ErrorCode::Invalid, field, message)
    }

    /// The same words whether the room is missing or forbidden (W3).
    pub(crate) fn not_admitted() -> Self {
        ClientError::new(ErrorCode::NotAdmitted, "no such room, or not for you")
    }

    pub(crate) fn into_message(self) -> ServerMessage {
        let ClientError { code, field, message } = self;
        ServerMessage::Error { code, field, message }
    }
}
