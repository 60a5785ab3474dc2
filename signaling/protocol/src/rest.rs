//! Bodies of the REST interface. All are JSON; the OpenAPI description at
//! `/api/v1/openapi.json` is made from these types.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Codec, Lobby};

/// Body of `POST /api/v1/rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateRoom {
    /// At most 120 characters.
    pub title: String,
    /// In order of preference. Left out: H.264, then VP8.
    pub video_codecs: Option<Vec<Codec>>,
    /// Left out: as the server is configured.
    pub lobby: Option<Lobby>,
}

/// Answer to `POST /api/v1/rooms` (201).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedRoom {
    #[serde(flatten)]
    pub room: Room,
    /// Signed grant that makes its bearer a moderator of the room: as `token` of `join`, and as
    /// `Authorization: Bearer` of the REST interface.
    pub moderator_token: String,
}

/// Answer to `GET /api/v1/rooms/{id}`, which needs a token for the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Room {
    /// 128 bits of chance, in lower-case base32 (RFC 4648 alphabet, no padding).
    pub id: String,
    /// For people to type and to dial.
    pub code: String,
    pub title: String,
    pub video_codecs: Vec<Codec>,
    /// Address to give to others.
    pub url: String,
    /// How many take part now.
    pub participants: u32,
}

/// Body of every answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// A word for programs, such as `not_found`.
    pub code: String,
    /// The field that is wrong, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// In English, for developers.
    pub message: String,
}
