//! All rooms of this instance: the tables, and the way in of every input. What the inputs mean
//! stands in `join`, `lobby`, `media`, `moderation`, `presence`, `chat`, `node` and `rest`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use broletto_control::{Epoch, Id, RouterId, TransportId};
use broletto_protocol::ClientFrame;
use broletto_protocol::client::ClientMessage;
use broletto_protocol::parse::ParseError;
use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use thiserror::Error;

use crate::chat::Chat;
use crate::error::ClientError;
use crate::io::message_name;
use crate::join::Newcomer;
use crate::limiter::{Allowance, Pace, Sources};
use crate::out::{Link, Out};
use crate::participant::{Participant, Presence, ReplyTo};
use crate::room::Room;
use crate::state::{self, ParticipantRecord, Record, RoomRecord};
use crate::{Config, ConnectionId, Event, Leave, Now, OpenToken, Output, Refusal, RoomEnd, Totals};

/// A client pings every 20 s; three missed, and its WebSocket is taken to be dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// For how long a WebSocket may stay open without a participant.
const JOIN_WITHIN: Duration = Duration::from_secs(15);
/// Messages that a client may send on average and at once.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
const MESSAGE_BURST: u32 = 100;
/// Malformed messages after which a WebSocket is closed.
const MALFORMED_MAX: u32 = 10;

#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("record {key:?} cannot be read: {source}")]
    Record { key: String, source: serde_json::Error },
}

pub struct Conference {
    pub(crate) config: Config,
    pub(crate) open_token: OpenToken,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) out: Out,
    pub(crate) rooms: BTreeMap<String, Room>,
    /// Code to room id.
    pub(crate) codes: HashMap<String, String>,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    /// Whom the hash of a resume secret names.
    pub(crate) resumable: HashMap<String, Seat>,
    /// Whose transport a notification is about; those that an unanswered offer makes included.
    pub(crate) transports: HashMap<TransportId, Seat>,
    pub(crate) routers: HashMap<RouterId, String>,
    pub(crate) sources: Sources,
    /// Rooms with somebody in them.
    pub(crate) rooms_live: usize,
    /// In all rooms.
    pub(crate) participants: usize,
    /// In all lobbies.
    pub(crate) waiting: usize,
    pub(crate) timers: BTreeSet<(Instant, Timer)>,
    /// Sessions over HTTP whose media was lost; empty between inputs.
    pub(crate) leaving: Vec<Seat>,
}

/// A participant's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) room: String,
    pub(crate) participant: Id,
}

pub(crate) struct Connection {
    pub(crate) source: IpAddr,
    heard_at: Instant,
    opened_at: Instant,
    allowance: Allowance,
    malformed: u32,
    pub(crate) seat: Option<Seat>,
    /// Its place in a lobby: the seat that it gets when it is admitted.
    pub(crate) waiting: Option<Seat>,
    /// It resumed, and nothing was heard since that shows that the client has the new secret.
    pub(crate) resumed: bool,
}

/// Every deadline there is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The client may have fallen silent, or never joined.
    Silence(ConnectionId),
    /// A participant whose WebSocket broke has not resumed.
    Resume(Seat),
    /// The node has not answered an offer.
    Offer(Seat),
    /// Nobody has used the room for long.
    RoomUnused(String),
    /// The room's moderators are told who waits.
    Lobby(String),
    /// The room is told of networks that became better or worse.
    Quality(String),
}

/// What a handled message is answered with.
pub(crate) enum Reply {
    Now(Box<ServerMessage>),
    /// The reply was sent already, or comes when the node has answered.
    Elsewhere,
}

impl Reply {
    pub(crate) fn ok() -> Result<Self, ClientError> {
        Ok(Reply::Now(Box::new(ServerMessage::Ok)))
    }
}

impl Conference {
    /// `saved` is every record that an earlier process saved and did not remove; `seed` comes from
    /// the operating system's randomness.
    pub fn new(
        config: Config,
        open_token: OpenToken,
        seed: [u8; 32],
        saved: impl IntoIterator<Item = (String, String)>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let (mut epoch, mut rooms, mut participants) = (Epoch(0), Vec::new(), Vec::new());
        for (key, value) in saved {
            match state::read(&key, &value).map_err(|source| RestoreError::Record { key, source })? {
                Some(Record::Epoch(record)) => epoch = record.epoch,
                Some(Record::Room(record)) => rooms.push(record),
                Some(Record::Participant(record)) => participants.push(record),
                None => {}
            }
        }
        let mut conference = Conference {
            open_token,
            rng: ChaCha12Rng::from_seed(seed),
            out: Out::new(Epoch(epoch.0.saturating_add(1))),
            rooms: BTreeMap::new(),
            codes: HashMap::new(),
            connections: HashMap::new(),
            resumable: HashMap::new(),
            transports: HashMap::new(),
            routers: HashMap::new(),
            sources: Sources::new(config.limits.sources_max),
            rooms_live: 0,
            participants: 0,
            waiting: 0,
            timers: BTreeSet::new(),
            leaving: Vec::new(),
            config,
        };
        for record in rooms {
            conference.restore_room(record);
        }
        for record in participants {
            conference.restore_participant(record, now);
        }
        conference.start_restored_rooms(now);
        Ok(conference)
    }

    fn restore_room(&mut self, record: RoomRecord) {
        let RoomRecord { tenant, id, code, title, video_codecs, router, joined, empty_since_unix_s, .. } =
            record;
        let RoomRecord { lobby, locked, allowed, spotlight, .. } = record;
        let Some(&video_codec) = video_codecs.first() else { return };
        self.codes.insert(code.clone(), id.clone());
        let room = Room {
            tenant,
            id: id.clone(),
            code,
            title,
            video_codecs,
            video_codec,
            router,
            router_told: false,
            joined,
            empty_since_unix_s,
            unused_at: None,
            participants: BTreeMap::new(),
            lobby,
            locked,
            allowed,
            spotlight,
            waiting: BTreeMap::new(),
            lobby_pace: Pace::default(),
            quality_pace: Pace::default(),
            chat: Chat::default(),
            producers: HashMap::new(),
        };
        self.rooms.insert(id, room);
    }

    fn restore_participant(&mut self, record: ParticipantRecord, now: Now) {
        let ParticipantRecord { room, id, name, kind, role, publishing, resume_hash, .. } = record;
        let (former_hash, media, http, hand) = (record.former_hash, record.media, record.http, record.hand);
        // The room may have been removed just before the process ended.
        let Some(home) = self.rooms.get_mut(&room) else { return };
        if http.is_some() && media.is_none() {
            // Its offer was not answered: nobody knows of the session.
            return self.out.remove(state::participant_key(home, id));
        }
        let seat = Seat { room, participant: id };
        let until = now.instant + self.config.resume_grace;
        self.timers.insert((until, Timer::Resume(seat.clone())));
        for hash in former_hash.iter().chain([&resume_hash]) {
            self.resumable.insert(hash.clone(), seat.clone());
        }
        if let Some(media) = &media {
            self.transports.insert(media.transport, seat);
        }
        let presence = Presence::Awaited(until);
        let newcomer = Newcomer { name, kind, role };
        let participant = Participant {
            publishing,
            hand,
            resume_hash,
            former_hash,
            http,
            ..Participant::new(id, newcomer, presence)
        };
        home.joined = true;
        home.participants.insert(id, participant);
        home.set_media(id, media);
        self.participants += 1;
    }

    fn start_restored_rooms(&mut self, now: Now) {
        for room in self.rooms.values_mut() {
            // Who left just before the process ended.
            room.spotlight.retain(|id| room.participants.contains_key(id));
            if !room.participants.is_empty() {
                self.rooms_live += 1;
            } else {
                room.router = None;
                let empty_for = Duration::from_secs(now.unix_s().saturating_sub(room.empty_since_unix_s));
                let lifetime = match room.joined {
                    true => self.config.room_lifetime,
                    false => self.config.unjoined_room_lifetime,
                };
                let at = now.instant + lifetime.saturating_sub(empty_for);
                room.unused_at = Some(at);
                self.timers.insert((at, Timer::RoomUnused(room.id.clone())));
            }
            room.video_codec = room.policy_codec();
            self.routers.extend(room.router.map(|router| (router, room.id.clone())));
        }
    }

    /// A WebSocket was opened, from this source address.
    pub fn handle_connected(&mut self, connection: ConnectionId, source: IpAddr, now: Now) {
        if self.connections.len() >= self.config.limits.connections_max {
            self.out.event(Event::Refused { why: Refusal::Connections });
            let error = ClientError::new(ErrorCode::Limit, "the server has no room for more connections");
            self.out.tell(connection, None, error.into_message());
            self.out.close_client(connection);
            return;
        }
        let link = Connection {
            source,
            heard_at: now.instant,
            opened_at: now.instant,
            allowance: Allowance::new(now.instant),
            malformed: 0,
            seat: None,
            waiting: None,
            resumed: false,
        };
        self.connections.insert(connection, link);
        self.timers.insert((now.instant + JOIN_WITHIN, Timer::Silence(connection)));
    }

    /// A text message came; the shell has read it with [`broletto_protocol::parse::client_frame`].
    pub fn handle_client(
        &mut self,
        connection: ConnectionId,
        frame: Result<ClientFrame, ParseError>,
        now: Now,
    ) {
        let Some(link) = self.connections.get_mut(&connection) else { return };
        link.heard_at = now.instant;
        if !link.allowance.take(MESSAGE_INTERVAL, MESSAGE_BURST, now.instant) {
            let error = ClientError::new(ErrorCode::Limit, "too many messages a second");
            return self.break_off(connection, None, error, now);
        }
        let ClientFrame { id, message } = match frame {
            Ok(frame) => frame,
            Err(error) => return self.malformed(connection, error, now),
        };
        self.resume_confirmed(connection);
        let name = message_name(&message);
        match self.client_message(connection, id, message, now) {
            Ok(Reply::Now(message)) => self.out.tell(connection, Some(id), *message),
            Ok(Reply::Elsewhere) => {}
            Err(error) => {
                self.out.event(Event::ClientError { code: error.code, message: name });
                self.out.tell(connection, Some(id), error.into_message());
            }
        }
    }

    fn client_message(
        &mut self,
        connection: ConnectionId,
        id: u64,
        message: ClientMessage,
        now: Now,
    ) -> Result<Reply, ClientError> {
        match message {
            ClientMessage::Join { version, room, token, name } => {
                self.join(connection, version, room, token, name, now)
            }
            ClientMessage::Resume { version, resume, chat_after } => {
                let joined = self.resume(connection, version, &resume, now)?;
                self.out.tell(connection, Some(id), joined);
                self.chat_again(connection, chat_after);
                Ok(Reply::Elsewhere)
            }
            ClientMessage::Offer { sdp, fresh, send, receive } => {
                let seat = self.seat(connection)?;
                self.offer(&seat, ReplyTo::Message(id), sdp, fresh, send, receive, now)
            }
            ClientMessage::Publish { publishing } => {
                let seat = self.seat(connection)?;
                self.publish(&seat, publishing)
            }
            ClientMessage::View { slots } => {
                let seat = self.seat(connection)?;
                self.view(&seat, slots)
            }
            ClientMessage::Leave {} => {
                let waiting = self.connections.get_mut(&connection).and_then(|link| link.waiting.take());
                let seat = if waiting.is_none() { Some(self.seat(connection)?) } else { None };
                self.out.tell(connection, Some(id), ServerMessage::Ok);
                self.close(connection, ClosedReason::Left);
                self.stop_waiting(waiting, now);
                if let Some(seat) = seat {
                    self.remove_participant(&seat, Leave::Asked, now);
                }
                Ok(Reply::Elsewhere)
            }
            ClientMessage::Ping {} => Ok(Reply::Now(Box::new(ServerMessage::Pong))),
            ClientMessage::Text { text, done } => {
                let seat = self.seat(connection)?;
                self.text_line(&seat, text, done)
            }
            ClientMessage::Hand { raised, participant } => {
                let seat = self.seat(connection)?;
                self.hand(&seat, raised, participant)
            }
            ClientMessage::React { reaction } => {
                let seat = self.seat(connection)?;
                self.react(&seat, reaction)
            }
            ClientMessage::Chat { text, to } => {
                let seat = self.seat(connection)?;
                self.chat(&seat, text, to, now)
            }
            ClientMessage::Admit { waiting } => {
                let seat = self.seat(connection)?;
                self.let_in(&seat, &waiting, now)
            }
            ClientMessage::Refuse { waiting } => {
                let seat = self.seat(connection)?;
                self.turn_away(&seat, &waiting, now)
            }
            ClientMessage::Mute { participants, sources } => {
                let seat = self.seat(connection)?;
                self.mute(&seat, &participants, &sources)
            }
            ClientMessage::RemoveParticipant { participant } => {
                let seat = self.seat(connection)?;
                self.expel(&seat, &participant, now)
            }
            ClientMessage::SetRole { participant, role } => {
                let seat = self.seat(connection)?;
                self.set_role(&seat, &participant, role)
            }
            ClientMessage::Spotlight { participants } => {
                let seat = self.seat(connection)?;
                self.put_in_front(&seat, &participants)
            }
            ClientMessage::SetRoom { lobby, locked, allowed } => {
                let seat = self.seat(connection)?;
                self.set_room(&seat, lobby, locked, allowed, now)
            }
        }
    }

    fn seat(&self, connection: ConnectionId) -> Result<Seat, ClientError> {
        let link = self.connections.get(&connection);
        link.and_then(|link| link.seat.clone()).ok_or_else(|| {
            let waits = link.is_some_and(|link| link.waiting.is_some());
            let message = if waits { "wait until a moderator admits you" } else { "join or resume first" };
            ClientError::new(ErrorCode::State, message)
        })
    }

    fn malformed(&mut self, connection: ConnectionId, error: ParseError, now: Now) {
        let Some(link) = self.connections.get_mut(&connection) else { return };
        link.malformed += 1;
        let too_many = link.malformed >= MALFORMED_MAX;
        self.out.event(Event::ClientError { code: ErrorCode::Malformed, message: "unreadable" });
        let ParseError { id, message } = error;
        let error = ClientError::new(ErrorCode::Malformed, message);
        // Without an id the client cannot know which of its messages was lost.
        if too_many || id.is_none() {
            return self.break_off(connection, id, error, now);
        }
        self.out.tell(connection, id, error.into_message());
    }

    /// Ends the WebSocket of a client that broke the protocol. Its participant may resume.
    fn break_off(&mut self, connection: ConnectionId, reply_to: Option<u64>, error: ClientError, now: Now) {
        self.out.tell(connection, reply_to, error.into_message());
        let link = self.close(connection, ClosedReason::Protocol);
        self.ended(link, now);
    }

    /// Says the last message on a WebSocket; gives what was known of it.
    pub(crate) fn close(&mut self, connection: ConnectionId, reason: ClosedReason) -> Option<Connection> {
        let link = self.connections.remove(&connection)?;
        self.out.tell(connection, None, ServerMessage::Closed { reason });
        self.out.close_client(connection);
        Some(link)
    }

    /// A participant may come back on another WebSocket; who waits loses the place.
    fn ended(&mut self, link: Option<Connection>, now: Now) {
        let Some(link) = link else { return };
        self.stop_waiting(link.waiting, now);
        self.detach(link.seat, now);
    }

    /// The WebSocket is gone.
    pub fn handle_disconnected(&mut self, connection: ConnectionId, now: Now) {
        let link = self.connections.remove(&connection);
        self.ended(link, now);
    }

    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now.instant
        {
            let (at, timer) = self.timers.pop_first().expect("the first was just seen");
            match timer {
                Timer::Silence(connection) => self.check_silence(connection, now),
                Timer::Resume(seat) => {
                    let awaited = |one: &mut Participant| one.presence == Presence::Awaited(at);
                    if self.participant(&seat).is_some_and(awaited) {
                        self.remove_participant(&seat, Leave::ResumeTimedOut, now);
                    }
                }
                Timer::Offer(seat) => self.offer_timed_out(&seat, at),
                Timer::RoomUnused(room) => {
                    let unused = |room: &Room| room.unused_at == Some(at);
                    if self.rooms.get(&room).is_some_and(unused) {
                        self.remove_room(&room, RoomEnd::Unused, now);
                    }
                }
                Timer::Lobby(room) => self.lobby_due(&room, now),
                Timer::Quality(room) => self.quality_due(&room, now),
            }
        }
        self.see_off(now);
    }

    fn check_silence(&mut self, connection: ConnectionId, now: Now) {
        let Some(link) = self.connections.get(&connection) else { return };
        let until = match link.seat.as_ref().or(link.waiting.as_ref()) {
            Some(_) => link.heard_at + SILENCE_MAX,
            None => link.opened_at + JOIN_WITHIN,
        };
        if until > now.instant {
            self.timers.insert((until, Timer::Silence(connection)));
            return;
        }
        let link = self.close(connection, ClosedReason::Protocol);
        self.ended(link, now);
    }

    /// The process is about to end: clients are told to resume, and everything is kept.
    pub fn handle_shutdown(&mut self, _now: Now) {
        let mut connections: Vec<_> = self.connections.keys().copied().collect();
        connections.sort_unstable();
        for connection in connections {
            self.close(connection, ClosedReason::Restarting);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.queue.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.len(),
            rooms: self.rooms.len(),
            rooms_live: self.rooms_live,
            participants: self.participants,
            waiting: self.waiting,
            sources: self.sources.len(),
            node_connected: self.out.link == Link::Up,
        }
    }

    pub(crate) fn participant(&mut self, seat: &Seat) -> Option<&mut Participant> {
        self.rooms.get_mut(&seat.room)?.participants.get_mut(&seat.participant)
    }
}
