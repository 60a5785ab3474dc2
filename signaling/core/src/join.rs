//! How participants come, break off, come back and go.

use broletto_control::Request;
use broletto_protocol::server::{ClosedReason, ErrorCode, Limits as ClientLimits, ServerMessage};
use broletto_protocol::{Kind, MESSAGE_BYTES_MAX, NAME_CHARS_MAX, Role, VERSION, VERSION_MIN};

use crate::conference::{Reply, Seat, Timer};
use crate::error::ClientError;
use crate::lobby::must_wait;
use crate::participant::{Participant, Presence};
use crate::{
    Conference, ConnectionId, Event, Grant, Leave, Now, Refusal, RoomEnd, chance, ice, roles, state, text,
    token,
};

/// Somebody whose name and role are settled, and who is not in the room yet.
pub(crate) struct Newcomer {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

impl Conference {
    pub(crate) fn join(
        &mut self,
        connection: ConnectionId,
        version: u32,
        room: Option<String>,
        token: Option<String>,
        name: Option<String>,
        now: Now,
    ) -> Result<Reply, ClientError> {
        self.check_newcomer(connection, version)?;
        let grant = match &token {
            Some(token) => Some(self.open_grant(token, now)?),
            None => None,
        };
        // The name is judged before the room is looked for, so that the answer to a bad one does
        // not tell whether the room exists (W3).
        let name = grant.as_ref().and_then(|grant| grant.name.clone()).or(name).unwrap_or_default();
        let name =
            text::name(&name, NAME_CHARS_MAX).map_err(|message| ClientError::invalid("name", message))?;
        let (room, role) = self.admit(connection, room.as_deref(), grant, now)?;
        let newcomer = Newcomer { name, kind: Kind::Browser, role };
        let home = self.rooms.get(&room).expect("whoever is admitted is admitted to a room");
        if must_wait(home.lobby, home.locked, role) {
            return self.wait(connection, room, newcomer, now);
        }
        if self.places_free(&room) == 0 {
            self.out.event(Event::Refused { why: Refusal::RoomFull });
            let capacity = self.config.limits.participants_per_room_max;
            return Err(ClientError::new(ErrorCode::Limit, format!("a room takes {capacity} participants")));
        }
        let id = self.out.new_id();
        let seat = self.seat_newcomer(room, Participant::new(id, newcomer, Presence::Connected(connection)));
        Ok(Reply::Now(Box::new(self.seat_down(connection, seat, now))))
    }

    /// Puts somebody into the room, and tells the others.
    pub(crate) fn seat_newcomer(&mut self, room: String, mut participant: Participant) -> Seat {
        let home = self.rooms.get_mut(&room).expect("whoever is admitted is admitted to a room");
        if let Some(at) = home.unused_at.take() {
            self.timers.remove(&(at, Timer::RoomUnused(room.clone())));
        }
        home.joined = true;
        if home.participants.is_empty() {
            self.rooms_live += 1;
        }
        participant.chat_from = home.chat.last_serial();
        let message = ServerMessage::ParticipantJoined { participant: participant.public() };
        self.out.broadcast(home, None, &message);
        let seat = Seat { room, participant: participant.id };
        home.participants.insert(participant.id, participant);
        self.participants += 1;
        self.out.event(Event::ParticipantJoined);
        seat
    }

    fn check_newcomer(&self, connection: ConnectionId, version: u32) -> Result<(), ClientError> {
        if !(VERSION_MIN..=VERSION).contains(&version) {
            let message = format!("this server speaks versions {VERSION_MIN} to {VERSION}, not {version}");
            return Err(ClientError::field(ErrorCode::Version, "version", message));
        }
        let link = self.connections.get(&connection);
        match link.and_then(|link| link.seat.as_ref().or(link.waiting.as_ref())) {
            Some(_) => Err(ClientError::new(ErrorCode::State, "this WebSocket has joined already")),
            None => Ok(()),
        }
    }

    fn open_grant(&mut self, token: &str, now: Now) -> Result<Grant, ClientError> {
        self.grant(token, now).map_err(|_| {
            self.out.event(Event::Refused { why: Refusal::Token });
            ClientError::not_admitted()
        })
    }

    /// The room and the role in it. Only codes can be guessed, so only they are counted and locked:
    /// nobody can shut out those who follow a link, or bring a token, from the same address.
    fn admit(
        &mut self,
        connection: ConnectionId,
        room: Option<&str>,
        grant: Option<Grant>,
        now: Now,
    ) -> Result<(String, Role), ClientError> {
        let source = self.connections.get(&connection).map(|link| link.source);
        let locked = source.and_then(|source| self.sources.locked_for(source, now.instant));
        let typed = grant.is_none() && room.is_some_and(|room| text::code(room).is_some());
        if let (true, Some(left)) = (typed, locked) {
            self.out.event(Event::Refused { why: Refusal::TooManyFailures });
            let message = format!("too many failed attempts; try again in {} s", left.as_secs() + 1);
            return Err(ClientError::new(ErrorCode::Limit, message));
        }
        let named = room.and_then(|room| self.find_room(room));
        let admitted = match (grant, room) {
            (Some(grant), room) => {
                let exists = self.rooms.get(&grant.room).is_some_and(|room| room.tenant == grant.tenant);
                let same = room.is_none() || named == Some(grant.room.as_str());
                (exists && same).then_some((grant.room, grant.role))
            }
            (None, _) => named.map(|room| (room.to_owned(), Role::Guest)),
        };
        admitted.ok_or_else(|| {
            if let (true, Some(source)) = (typed, source) {
                self.sources.failed(source, now.instant);
            }
            self.out.event(Event::Refused { why: Refusal::NotAdmitted });
            ClientError::not_admitted()
        })
    }

    /// By id, or by code as people type it.
    fn find_room(&self, room: &str) -> Option<&str> {
        let by_id = self.rooms.get_key_value(room).map(|(id, _)| id);
        by_id.or_else(|| self.codes.get(&text::code(room)?)).map(String::as_str)
    }

    /// What the bearer of a token may do.
    pub(crate) fn grant(&self, token: &str, now: Now) -> Result<Grant, token::TokenError> {
        token::grant((self.open_token)(token)?, &self.config.audience, now.unix_s())
    }

    pub(crate) fn resume(
        &mut self,
        connection: ConnectionId,
        version: u32,
        secret: &str,
        now: Now,
    ) -> Result<ServerMessage, ClientError> {
        self.check_newcomer(connection, version)?;
        let hash = chance::hash(secret);
        let seat = self.resumable.get(&hash).cloned();
        // A session over HTTP has no WebSocket to come back on.
        let by_socket = |seat: &Seat| self.participant(seat).is_some_and(|one| one.http.is_none());
        let Some(seat) = seat.filter(by_socket) else {
            self.out.event(Event::Refused { why: Refusal::NotResumable });
            return Err(ClientError::new(ErrorCode::NotResumable, "unknown, used or expired: join again"));
        };
        // The old WebSocket may not have noticed yet that it is dead.
        if let Some(old) = self.participant(&seat).and_then(|participant| participant.connection()) {
            self.close(old, ClosedReason::Replaced);
            self.detach(Some(seat.clone()), now);
        }
        let participant = self.participant(&seat).expect("a resumable participant is in its room");
        let presence = std::mem::replace(&mut participant.presence, Presence::Connected(connection));
        if let Presence::Awaited(until) = presence {
            self.timers.remove(&(until, Timer::Resume(seat.clone())));
        }
        // Only the secret that the client has shown to know stays good beside the new one.
        let participant = self.participant(&seat).expect("a resumable participant is in its room");
        let mut known = vec![std::mem::take(&mut participant.resume_hash)];
        known.extend(participant.former_hash.replace(hash.clone()));
        for other in known.iter().filter(|other| **other != hash) {
            self.resumable.remove(other);
        }
        if let Some(link) = self.connections.get_mut(&connection) {
            link.resumed = true;
        }
        self.broadcast_changed(&seat, false);
        self.out.event(Event::ParticipantResumed);
        Ok(self.seat_down(connection, seat, now))
    }

    /// The client speaks after its resume, so it has the new secret: the former one is used up.
    pub(crate) fn resume_confirmed(&mut self, connection: ConnectionId) {
        let Some(link) = self.connections.get_mut(&connection) else { return };
        if !std::mem::take(&mut link.resumed) {
            return;
        }
        let Some(seat) = link.seat.clone() else { return };
        self.demand_again(&seat);
        let Seat { room, participant: id } = seat;
        let Some(room) = self.rooms.get_mut(&room) else { return };
        let Some(participant) = room.participants.get_mut(&id) else { return };
        if let Some(former) = participant.former_hash.take() {
            self.resumable.remove(&former);
            self.out.save_participant(room, id);
        }
    }

    /// Joins the WebSocket and the participant, with a new resume secret.
    pub(crate) fn seat_down(&mut self, connection: ConnectionId, seat: Seat, now: Now) -> ServerMessage {
        let secret = chance::secret(&mut self.rng);
        let hash = chance::hash(&secret);
        if let Some(link) = self.connections.get_mut(&connection) {
            link.seat = Some(seat.clone());
        }
        let home = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let participant = home.participants.get_mut(&seat.participant).expect("a seat is a participant's");
        participant.resume_hash.clone_from(&hash);
        let (you, slots, media) = (participant.public_id(), participant.slots(), participant.media.is_some());
        let waiting = if roles::may_moderate(participant.role) { home.waiting_list() } else { Vec::new() };
        self.out.save_participant(home, seat.participant);
        let limits = ClientLimits {
            audio_slots_max: self.config.limits.audio_slots_max,
            video_slots_max: self.config.limits.video_slots_max,
            message_bytes_max: MESSAGE_BYTES_MAX,
        };
        let joined = ServerMessage::Joined {
            version: VERSION,
            you,
            resume: secret,
            resume_s: u32::try_from(self.config.resume_grace.as_secs()).unwrap_or(u32::MAX),
            room: home.public(&self.config.public_url),
            participants: home.participants.values().map(Participant::public).collect(),
            slots,
            limits,
            ice_servers: ice::servers(&self.config, seat.participant, now),
            media,
            waiting,
        };
        self.resumable.insert(hash, seat);
        joined
    }

    /// The participant's WebSocket is gone; its media goes on, and it may resume.
    pub(crate) fn detach(&mut self, seat: Option<Seat>, now: Now) {
        let Some(seat) = seat else { return };
        self.abandon_offer(&seat);
        let until = now.instant + self.config.resume_grace;
        let Some(participant) = self.participant(&seat) else { return };
        participant.presence = Presence::Awaited(until);
        self.timers.insert((until, Timer::Resume(seat.clone())));
        self.broadcast_changed(&seat, false);
    }

    /// Tells the room how the participant is now; itself too if `everyone`.
    pub(crate) fn broadcast_changed(&mut self, seat: &Seat, everyone: bool) {
        let Some(room) = self.rooms.get(&seat.room) else { return };
        let Some(participant) = room.participants.get(&seat.participant) else { return };
        let message = ServerMessage::ParticipantChanged { participant: participant.public() };
        let except = if everyone { None } else { Some(seat.participant) };
        self.out.broadcast(room, except, &message);
        self.direct_watchers(&seat.room);
    }

    pub(crate) fn remove_participant(&mut self, seat: &Seat, how: Leave, now: Now) {
        self.abandon_offer(seat);
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        let former = room.set_media(seat.participant, None);
        let Some(participant) = room.participants.remove(&seat.participant) else { return };
        self.participants -= 1;
        for hash in participant.resume_hashes() {
            self.resumable.remove(hash);
        }
        if let Presence::Awaited(until) = participant.presence {
            self.timers.remove(&(until, Timer::Resume(seat.clone())));
        }
        if let Some(media) = former {
            self.transports.remove(&media.transport);
            self.out.command(Request::CloseTransport { transport: media.transport });
        }
        let gone = participant.public_id();
        room.forget(&gone, &mut self.out);
        self.out.broadcast(room, None, &ServerMessage::ParticipantLeft { participant: gone });
        self.out.remove(state::participant_key(room, seat.participant));
        self.out.event(Event::ParticipantLeft { how });
        self.direct_watchers(&seat.room);
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        let in_front = room.spotlight.len();
        room.spotlight.retain(|id| *id != seat.participant);
        let spotlight_changed = room.spotlight.len() < in_front;
        if !room.participants.is_empty() {
            if spotlight_changed {
                self.room_changed(&seat.room);
            }
            self.refresh_codec(&seat.room);
            return self.reconsider_lobby(&seat.room, now);
        }
        room.chat.forget();
        if let Some(router) = room.router.take() {
            self.routers.remove(&router);
            self.out.command(Request::CloseRouter { router });
        }
        self.rooms_live -= 1;
        room.router_told = false;
        room.video_codec = room.policy_codec();
        room.empty_since_unix_s = now.unix_s();
        let unused_at = now.instant + self.config.room_lifetime;
        room.unused_at = Some(unused_at);
        self.timers.insert((unused_at, Timer::RoomUnused(seat.room.clone())));
        self.out.save_room(room);
        self.reconsider_lobby(&seat.room, now);
    }

    pub(crate) fn remove_room(&mut self, id: &str, how: RoomEnd, now: Now) {
        self.end_lobby(id);
        let Some(room) = self.rooms.get_mut(id) else { return };
        let members: Vec<_> = room.participants.keys().copied().collect();
        // Every WebSocket is closed first, so that nobody is told how the roster shrinks.
        let mut connections = Vec::with_capacity(members.len());
        for participant in room.participants.values_mut() {
            if let Presence::Connected(connection) = participant.presence {
                participant.presence = Presence::Awaited(now.instant);
                connections.push(connection);
            }
        }
        for connection in connections {
            self.close(connection, ClosedReason::RoomEnded);
        }
        for participant in members {
            let seat = Seat { room: id.to_owned(), participant };
            self.remove_participant(&seat, Leave::RoomEnded, now);
        }
        let Some(room) = self.rooms.remove(id) else { return };
        if let Some(at) = room.unused_at {
            self.timers.remove(&(at, Timer::RoomUnused(id.to_owned())));
        }
        self.codes.remove(&room.code);
        self.out.remove(state::room_key(&room));
        self.out.event(Event::RoomEnded { how });
    }
}
