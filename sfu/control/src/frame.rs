//! The envelope around requests, responses and notifications.

use serde::{Deserialize, Serialize};

use crate::{ControlError, Epoch, Notification, Request, RequestId, Response};

/// Version of this protocol. A node accepts this one and the one before it.
pub const VERSION: u32 = 1;
/// The oldest version a node still accepts.
pub const VERSION_MIN: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum Frame {
    Request(RequestFrame),
    Response(ResponseFrame),
    Notification { notification: Notification },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Unique within the epoch. The same id again gets the response that was given before.
    pub id: RequestId,
    pub epoch: Epoch,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseFrame {
    pub id: RequestId,
    pub epoch: Epoch,
    pub result: Result<Response, ControlError>,
}
