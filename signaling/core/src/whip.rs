//! Those who publish by WHIP (RFC 9725) and watch by WHEP (draft-ietf-wish-whep): participants
//! without a WebSocket, who are there for as long as their media is.
//!
//! A session is named by a secret, the last part of its address. Only its hash is kept, where those
//! of the WebSocket's participants keep the secret that they resume by.

use broletto_control::TransportState;
use broletto_protocol::client::{ReceiveSlot, SendSlot, Show};
use broletto_protocol::rest::ApiError;
use broletto_protocol::server::{ErrorCode, IceServer};
use broletto_protocol::{Kind, MediaKind, NAME_CHARS_MAX, ParticipantId, Publishing, Role, Source};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::conference::{Seat, Timer};
use crate::error::ClientError;
use crate::join::Newcomer;
use crate::lobby::must_wait;
use crate::moderation::forbidden_source;
use crate::participant::{Participant, Presence, ReplyTo};
use crate::room::Room;
use crate::{Conference, Event, Leave, Now, Refusal, chance, ice, roles, sdp, text};

/// Video m-lines of one who watches: the speaker, a shared screen, and others who spoke.
const SPEAKER_LINE: usize = 0;
const SCREEN_LINE: usize = 1;
/// Digits of an entity-tag: half of a hash, which nobody needs to find.
const ETAG_CHARS: usize = 32;

/// Names one HTTP request whose answer is an output. Chosen by the shell, and never used twice in a
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpRequestId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// To publish.
    Whip,
    /// To watch.
    Whep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    pub door: Door,
    /// Room id.
    pub room: String,
    pub token: Option<String>,
    /// As others see it; that of the token wins, and without either it is the door's.
    pub name: Option<String>,
    /// The offer.
    pub sdp: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPatch {
    pub room: String,
    /// The secret.
    pub session: String,
    /// Of `If-Match`: entity-tags, or `*`.
    pub if_match: Option<String>,
    /// `application/trickle-ice-sdpfrag` (RFC 8840).
    pub fragment: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SessionReply {
    Created {
        /// The secret.
        session: String,
        sdp: String,
        etag: String,
        ice_servers: Vec<IceServer>,
    },
    /// Candidates need not be told: the node is ICE-lite.
    Trickled,
    Restarted {
        fragment: String,
        etag: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    #[error("{field}: {message}")]
    Invalid { field: String, message: String },
    /// No such room or session, or not for this one: they cannot be told apart (W3).
    #[error("there is nothing here, or it is not for you")]
    NotFound,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the answer before is still being made")]
    Busy,
    #[error("an If-Match header is needed (RFC 9725, section 4.3.1)")]
    NoPrecondition,
    #[error("ICE was restarted since: the If-Match header names an older state")]
    Stale,
    #[error("{0}; try again later")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl SessionError {
    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            SessionError::Invalid { .. } => 422,
            SessionError::NotFound => 404,
            SessionError::Forbidden(_) => 403,
            SessionError::Busy => 409,
            SessionError::NoPrecondition => 428,
            SessionError::Stale => 412,
            SessionError::Unavailable(_) => 503,
            SessionError::Internal(_) => 500,
        }
    }

    pub fn api_error(&self) -> ApiError {
        let (code, field) = match self {
            SessionError::Invalid { field, .. } => ("invalid", Some(field.clone())),
            SessionError::NotFound => ("not_found", None),
            SessionError::Forbidden(_) => ("forbidden", None),
            SessionError::Busy => ("state", None),
            SessionError::NoPrecondition | SessionError::Stale => ("precondition", None),
            SessionError::Unavailable(_) => ("unavailable", None),
            SessionError::Internal(_) => ("internal", None),
        };
        ApiError { code: code.to_owned(), field, message: self.to_string() }
    }
}

impl From<ClientError> for SessionError {
    fn from(error: ClientError) -> Self {
        // The field is one of a message that this client did not write: it sent an SDP.
        let ClientError { code, field: _, message } = error;
        match code {
            ErrorCode::Invalid | ErrorCode::Limit | ErrorCode::Malformed | ErrorCode::Version => {
                SessionError::Invalid { field: "sdp".to_owned(), message }
            }
            ErrorCode::NotAdmitted | ErrorCode::NotResumable => SessionError::NotFound,
            ErrorCode::Forbidden => SessionError::Forbidden("the role does not allow this"),
            ErrorCode::State => SessionError::Busy,
            ErrorCode::Unavailable => SessionError::Unavailable(message),
            ErrorCode::Internal => SessionError::Internal(message),
        }
    }
}

/// What is kept of a session beside its participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HttpSession {
    /// As it was last answered: a restart of ICE is the same offer with other credentials.
    pub(crate) offer: String,
}

impl HttpSession {
    /// Names the state of ICE, in its quotes (RFC 9110, section 8.8.3).
    fn etag(&self) -> String {
        let credentials = self.credentials().map(|one| format!("{} {}", one.ufrag, one.password));
        format!("\"{}\"", &chance::hash(&credentials.unwrap_or_default())[..ETAG_CHARS])
    }

    fn credentials(&self) -> Option<sdp::Credentials> {
        sdp::credentials(&self.offer).ok().flatten()
    }
}

/// Whom the node's answer to an offer is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpOffer {
    request: HttpRequestId,
    /// As it will be kept if the node takes it.
    offer: String,
    /// None: a restart of a session that is there.
    created: Option<Created>,
}

#[derive(Debug, Clone, PartialEq)]
struct Created {
    session: String,
    ice_servers: Vec<IceServer>,
}

impl Door {
    fn kind(self) -> Kind {
        match self {
            Door::Whip => Kind::Whip,
            Door::Whep => Kind::Whep,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Door::Whip => "WHIP",
            Door::Whep => "WHEP",
        }
    }

    /// Which m-lines of the offer are used. The others are answered inactive.
    fn slots(self, lines: Vec<sdp::Line>) -> Result<(Vec<SendSlot>, Vec<ReceiveSlot>), SessionError> {
        let source = |kind| match kind {
            MediaKind::Audio => Source::Microphone,
            MediaKind::Video => Source::Camera,
        };
        let (mut send, mut receive) = (Vec::new(), Vec::new());
        for sdp::Line { mid, kind, sends, receives } in lines {
            match self {
                Door::Whip if sends => send.push(SendSlot { mid, source: source(kind) }),
                Door::Whep if receives => receive.push(ReceiveSlot { mid, kind }),
                Door::Whip | Door::Whep => {}
            }
        }
        let invalid = |message: &str| {
            Err(SessionError::Invalid { field: "sdp".to_owned(), message: message.to_owned() })
        };
        let twice = |source| send.iter().filter(|slot| slot.source == source).count() > 1;
        match self {
            Door::Whip if send.is_empty() => invalid("no m-line of it sends"),
            Door::Whip if twice(Source::Microphone) || twice(Source::Camera) => {
                invalid("one audio and one video m-line may send (RFC 9725, section 4.4.2)")
            }
            Door::Whep if receive.is_empty() => invalid("no m-line of it receives"),
            Door::Whip | Door::Whep => Ok((send, receive)),
        }
    }
}

/// Nobody can wait over HTTP for a moderator's word, be it on who comes in or on what is sent.
fn check_entry(room: &Room, role: Role, publishing: Publishing) -> Result<(), SessionError> {
    if must_wait(room.lobby, room.locked, role) {
        return Err(SessionError::Forbidden("a moderator would have to admit this one, who cannot wait"));
    }
    let nothing = Publishing::default();
    if !roles::may_moderate(role) && forbidden_source(room.allowed, nothing, publishing).is_some() {
        return Err(SessionError::Forbidden("the room does not allow what is sent"));
    }
    Ok(())
}

impl Conference {
    /// `POST /api/v1/whip/{room}` and `/api/v1/whep/{room}`.
    pub fn handle_session_offer(&mut self, request: HttpRequestId, new: NewSession, now: Now) {
        if let Err(error) = self.open_session(request, new, now) {
            self.out.answer(request, Err(error));
        }
        self.see_off(now);
    }

    fn open_session(
        &mut self,
        request: HttpRequestId,
        new: NewSession,
        now: Now,
    ) -> Result<(), SessionError> {
        let NewSession { door, room, token, name, sdp } = new;
        // What is sent is judged before the room is looked for, so that the answer to a mistake does
        // not tell whether the room exists (W3).
        let invalid = |field: &str, message| SessionError::Invalid { field: field.to_owned(), message };
        let offered = sdp::offer(&sdp).map_err(|message| invalid("sdp", message))?;
        let (send, receive) = door.slots(offered.lines)?;
        let grant = match &token {
            Some(token) => Some(self.grant(token, now).map_err(|_| {
                self.out.event(Event::Refused { why: Refusal::Token });
                SessionError::NotFound
            })?),
            None => None,
        };
        let name = grant.as_ref().and_then(|grant| grant.name.clone()).or(name);
        let name = text::name(name.as_deref().unwrap_or(door.name()), NAME_CHARS_MAX)
            .map_err(|message| invalid("name", message))?;
        let role = grant.as_ref().map_or(Role::Guest, |grant| grant.role);
        let home = self
            .rooms
            .get(&room)
            .filter(|home| grant.is_none_or(|grant| grant.room == home.id && grant.tenant == home.tenant));
        let Some(home) = home else {
            self.out.event(Event::Refused { why: Refusal::NotAdmitted });
            return Err(SessionError::NotFound);
        };
        let sends = |source| send.iter().any(|slot| slot.source == source);
        let publishing = Publishing {
            microphone: sends(Source::Microphone),
            camera: sends(Source::Camera),
            ..Publishing::default()
        };
        check_entry(home, role, publishing)?;
        if door == Door::Whip && !roles::may_publish(role) {
            return Err(SessionError::Forbidden("a viewer sends nothing"));
        }
        let capacity = self.config.limits.participants_per_room_max;
        if home.participants.len() >= capacity {
            self.out.event(Event::Refused { why: Refusal::RoomFull });
            return Err(SessionError::Unavailable(format!("a room takes {capacity} participants")));
        }
        let role = match door {
            Door::Whip => role,
            Door::Whep => Role::Viewer,
        };
        let session = chance::secret(&mut self.rng);
        let id = self.out.new_id();
        let resume_hash = chance::hash(&session);
        let presence = Presence::Media { connected: false };
        let participant = Participant {
            publishing,
            resume_hash: resume_hash.clone(),
            http: Some(HttpSession { offer: sdp.clone() }),
            ..Participant::new(id, Newcomer { name, kind: door.kind(), role }, presence)
        };
        let seat = self.seat_newcomer(room, participant);
        self.resumable.insert(resume_hash, seat.clone());
        let ice_servers = ice::servers(&self.config, id, now);
        let created = Some(Created { session, ice_servers });
        let reply_to = ReplyTo::Http(HttpOffer { request, offer: sdp.clone(), created });
        let offered = self.offer(&seat, reply_to, sdp, true, send, receive, now);
        offered.map(drop).map_err(|error| {
            self.remove_participant(&seat, Leave::MediaLost, now);
            error.into()
        })
    }

    /// `PATCH` of a session: candidates, which are not needed, or a restart of ICE.
    pub fn handle_session_patch(&mut self, request: HttpRequestId, patch: SessionPatch, now: Now) {
        match self.patch_session(request, patch, now) {
            Ok(Some(reply)) => self.out.answer(request, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.out.answer(request, Err(error)),
        }
        self.see_off(now);
    }

    /// None: the reply comes when the node has answered.
    fn patch_session(
        &mut self,
        request: HttpRequestId,
        patch: SessionPatch,
        now: Now,
    ) -> Result<Option<SessionReply>, SessionError> {
        let SessionPatch { room, session, if_match, fragment } = patch;
        let seat = self.session_seat(&room, &session)?;
        let participant = self.participant(&seat).expect("the seat of a session is a participant's");
        let http = participant.http.as_ref().expect("its seat is a session's");
        let etag = http.etag();
        let if_match = if_match.ok_or(SessionError::NoPrecondition)?;
        if !if_match.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag) {
            return Err(SessionError::Stale);
        }
        let fresh = sdp::credentials(&fragment)
            .map_err(|message| SessionError::Invalid { field: "sdp".to_owned(), message })?;
        let Some(fresh) = fresh.filter(|fresh| Some(fresh) != http.credentials().as_ref()) else {
            return Ok(Some(SessionReply::Trickled));
        };
        let offer = sdp::with_credentials(&http.offer, &fresh);
        let media = participant.media.as_ref().ok_or(SessionError::Busy)?;
        let send = media.producers.iter().map(|one| SendSlot { mid: one.mid.clone(), source: one.source });
        let receive = media.consumers.iter().map(|one| ReceiveSlot { mid: one.mid.clone(), kind: one.kind });
        let (send, receive) = (send.collect(), receive.collect());
        let reply_to = ReplyTo::Http(HttpOffer { request, offer: offer.clone(), created: None });
        self.offer(&seat, reply_to, offer, false, send, receive, now)?;
        Ok(None)
    }

    /// `DELETE` of a session.
    pub fn end_session(&mut self, room: &str, session: &str, now: Now) -> Result<(), SessionError> {
        let seat = self.session_seat(room, session)?;
        self.remove_participant(&seat, Leave::Asked, now);
        Ok(())
    }

    fn session_seat(&mut self, room: &str, session: &str) -> Result<Seat, SessionError> {
        let seat = self.resumable.get(&chance::hash(session)).filter(|seat| seat.room == room).cloned();
        let seat = seat.ok_or(SessionError::NotFound)?;
        match self.participant(&seat).is_some_and(|participant| participant.http.is_some()) {
            true => Ok(seat),
            false => Err(SessionError::NotFound),
        }
    }

    /// The node has answered the offer of a session, or nobody will.
    pub(crate) fn session_offer_answered(
        &mut self,
        seat: &Seat,
        http: HttpOffer,
        result: Result<String, ClientError>,
    ) {
        let HttpOffer { request, offer, created } = http;
        let Some(participant) = self.participant(seat) else { return };
        let reply = match (result, created) {
            (Ok(sdp), created) => {
                let session = HttpSession { offer };
                let etag = session.etag();
                participant.http = Some(session);
                Ok(match created {
                    Some(Created { session, ice_servers }) => {
                        SessionReply::Created { session, sdp, etag, ice_servers }
                    }
                    None => SessionReply::Restarted { fragment: sdp::ice_fragment(&sdp), etag },
                })
            }
            (Err(error), created) => {
                if created.is_some() {
                    self.leaving.push(seat.clone());
                }
                Err(error.into())
            }
        };
        self.out.answer(request, reply);
    }

    /// The media of a session came up, or was lost; or the node tells that it is still there.
    pub(crate) fn session_state(&mut self, seat: &Seat, state: TransportState) {
        let Some(participant) = self.participant(seat).filter(|one| one.http.is_some()) else { return };
        let presence = Presence::Media { connected: state == TransportState::Connected };
        let before = std::mem::replace(&mut participant.presence, presence);
        if let Presence::Awaited(until) = before {
            self.timers.remove(&(until, Timer::Resume(seat.clone())));
        }
        if before != presence {
            self.broadcast_changed(seat, false);
        }
    }

    /// Sessions whose media is gone leave: nobody can be asked for another offer.
    pub(crate) fn see_off(&mut self, now: Now) {
        for seat in std::mem::take(&mut self.leaving) {
            self.remove_participant(&seat, Leave::MediaLost, now);
        }
    }

    /// Shows those who watch by WHEP the screen that is shared now.
    pub(crate) fn direct_watchers(&mut self, room: &str) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let sharing = room.participants.values().filter(|one| one.sends(Source::Screen));
        let screens: Vec<ParticipantId> = sharing.map(Participant::public_id).collect();
        let mut directed = Vec::new();
        for watcher in room.participants.values_mut().filter(|one| one.kind == Kind::Whep) {
            let Some(media) = &mut watcher.media else { continue };
            let mut video: Vec<_> =
                media.consumers.iter_mut().filter(|one| one.kind == MediaKind::Video).collect();
            let count = video.len();
            let mut touched = Vec::new();
            for (index, consumer) in video.iter_mut().enumerate() {
                let wish = watched(index, count, &consumer.wish, &screens);
                if consumer.wish != wish {
                    consumer.wish = wish;
                    touched.push(consumer.consumer);
                }
            }
            if !touched.is_empty() {
                directed.push((Seat { room: room.id.clone(), participant: watcher.id }, touched));
            }
        }
        for (watcher, touched) in directed {
            self.tell_wishes(&watcher, &touched);
        }
    }
}

/// What the video m-line of this index shows, of `count`. A screen that is shown goes on until it is
/// no longer shared.
fn watched(index: usize, count: usize, shown: &Show, screens: &[ParticipantId]) -> Show {
    let goes_on = match shown {
        Show::Participant { participant, .. } => screens.iter().find(|screen| *screen == participant),
        Show::Off | Show::Speaker => None,
    };
    let screen = goes_on
        .or(screens.first())
        .map(|participant| Show::Participant { participant: participant.clone(), source: Source::Screen });
    match index {
        SPEAKER_LINE if count == 1 => screen.unwrap_or(Show::Speaker),
        SCREEN_LINE => screen.unwrap_or(Show::Off),
        _ => Show::Speaker,
    }
}
