//! The operations of the REST interface on rooms.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use broletto_protocol::rest::{ApiError, CreateRoom, Room};
use broletto_protocol::{Allowed, Codec, Role, TITLE_CHARS_MAX};
use thiserror::Error;

use crate::chat::Chat;
use crate::conference::Timer;
use crate::limiter::Pace;
use crate::lobby::must_wait;
use crate::token::Audience;
use crate::{
    Claims, Conference, Event, Grant, Now, Refusal, RoomEnd, TENANT_DEFAULT, chance, roles, room, text,
};

/// Codes that are drawn before it is admitted that none is free.
const CODE_DRAWS_MAX: usize = 64;

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

impl Conference {
    /// `POST /api/v1/rooms`.
    pub fn create_room(&mut self, body: CreateRoom, source: IpAddr, now: Now) -> Result<NewRoom, RestError> {
        let CreateRoom { title, video_codecs, lobby } = body;
        let title = text::line(&title, TITLE_CHARS_MAX)
            .map_err(|message| RestError::Invalid { field: "title", message })?;
        let video_codecs = self.room_codecs(video_codecs)?;
        let tenant = TENANT_DEFAULT;
        let limits = &self.config.limits;
        let quota = limits.rooms_per_tenant_max;
        if self.rooms.values().filter(|room| room.tenant == tenant).count() >= quota {
            self.out.event(Event::Refused { why: Refusal::RoomQuota });
            let message = format!("there are {quota} already, the quota of the tenant");
            return Err(RestError::Limit { message, retry_after_s: None });
        }
        let per_hour_max = limits.rooms_per_source_hour_max;
        if !self.sources.may_make_room(source, per_hour_max, now.instant) {
            self.out.event(Event::Refused { why: Refusal::RoomRate });
            let message = format!("{per_hour_max} an hour from one address");
            let retry_after_s = Some(3_600 / u64::from(per_hour_max.max(1)));
            return Err(RestError::Limit { message, retry_after_s });
        }
        let free = (0..CODE_DRAWS_MAX)
            .map(|_| chance::code(&mut self.rng))
            .find(|code| !self.codes.contains_key(code));
        let Some(code) = free else {
            return Err(RestError::Limit { message: "no code is free".to_owned(), retry_after_s: None });
        };
        let id = chance::room_id(&mut self.rng);
        let unused_at = now.instant + self.config.unjoined_room_lifetime;
        let room = room::Room {
            tenant: tenant.to_owned(),
            id: id.clone(),
            code: code.clone(),
            title,
            video_codec: video_codecs[0],
            video_codecs,
            router: None,
            router_told: false,
            joined: false,
            empty_since_unix_s: now.unix_s(),
            unused_at: Some(unused_at),
            participants: BTreeMap::new(),
            lobby: lobby.unwrap_or(self.config.lobby),
            locked: false,
            allowed: Allowed::default(),
            spotlight: Vec::new(),
            waiting: BTreeMap::new(),
            lobby_pace: Pace::default(),
            quality_pace: Pace::default(),
            chat: Chat::default(),
            producers: HashMap::new(),
        };
        self.timers.insert((unused_at, Timer::RoomUnused(id.clone())));
        self.out.save_room(&room);
        self.out.event(Event::RoomCreated);
        let moderator = Claims {
            aud: Audience::One(self.config.audience.clone()),
            exp: now.unix_s().saturating_add(self.config.moderator_token_lifetime.as_secs()),
            nbf: now.unix_s(),
            tenant: Some(tenant.to_owned()),
            room: id.clone(),
            role: Role::Moderator,
            name: None,
        };
        let body = room.rest(&self.config.public_url);
        self.codes.insert(code, id.clone());
        self.rooms.insert(id, room);
        Ok(NewRoom { room: body, moderator })
    }

    fn room_codecs(&self, wished: Option<Vec<Codec>>) -> Result<Vec<Codec>, RestError> {
        let Some(wished) = wished else { return Ok(self.config.video_codecs.clone()) };
        let invalid = |message: String| Err(RestError::Invalid { field: "video_codecs", message });
        if wished.is_empty() {
            return invalid("at least one".to_owned());
        }
        if wished.iter().collect::<HashSet<_>>().len() != wished.len() {
            return invalid("each codec stands once".to_owned());
        }
        match wished.iter().find(|codec| !self.config.video_codecs.contains(codec)) {
            Some(codec) => invalid(format!("this server does not forward {codec:?}").to_lowercase()),
            None => Ok(wished),
        }
    }

    /// `GET /api/v1/rooms/{id}`, with the bearer token of the request. Whoever would wait in the lobby
    /// learns nothing of the room here either (W4).
    pub fn read_room(&self, id: &str, token: Option<&str>, now: Now) -> Result<Room, RestError> {
        let (room, grant) = self.open_room(id, token, now)?;
        if must_wait(room.lobby, room.locked, grant.role) {
            return Err(RestError::Forbidden);
        }
        Ok(room.rest(&self.config.public_url))
    }

    /// `DELETE /api/v1/rooms/{id}`.
    pub fn end_room(&mut self, id: &str, token: Option<&str>, now: Now) -> Result<(), RestError> {
        let (_, grant) = self.open_room(id, token, now)?;
        if !roles::may_end_room(grant.role) {
            return Err(RestError::Forbidden);
        }
        self.remove_room(id, RoomEnd::ByModerator, now);
        Ok(())
    }

    fn open_room(&self, id: &str, token: Option<&str>, now: Now) -> Result<(&room::Room, Grant), RestError> {
        let grant = token.and_then(|token| self.grant(token, now).ok()).ok_or(RestError::NotFound)?;
        let room = self.rooms.get(id).ok_or(RestError::NotFound)?;
        if grant.room != room.id || grant.tenant != room.tenant {
            return Err(RestError::NotFound);
        }
        Ok((room, grant))
    }
}
