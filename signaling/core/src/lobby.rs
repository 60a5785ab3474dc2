//! The lobby: who waits until a moderator decides. Whoever waits is told nothing of the room: not
//! its title, not who is in it, not even its id (W3, W4).

use std::time::Duration;

use broletto_control::Id;
use broletto_protocol::server::{self, ClosedReason, ErrorCode, ServerMessage};
use broletto_protocol::{Lobby, ParticipantId, Role};

use crate::conference::{Reply, Seat, Timer};
use crate::error::ClientError;
use crate::join::Newcomer;
use crate::limiter::Turn;
use crate::participant::{Participant, Presence};
use crate::room::Room;
use crate::{Conference, ConnectionId, Event, LobbyStep, Now, Refusal};

/// The whole list is told, so those who come and go all the time must not make moderators read it
/// as often.
const LISTS_INTERVAL: Duration = Duration::from_millis(300);

/// Somebody in the lobby.
pub(crate) struct Waiting {
    /// Becomes the participant's.
    pub(crate) id: Id,
    pub(crate) connection: ConnectionId,
    pub(crate) newcomer: Newcomer,
}

impl Waiting {
    pub(crate) fn public(&self) -> server::Waiting {
        let Newcomer { name, kind, .. } = &self.newcomer;
        server::Waiting { id: ParticipantId(self.id.to_string()), name: name.clone(), kind: *kind }
    }
}

/// Whether one of this role waits for a moderator's word.
pub(crate) fn must_wait(lobby: Lobby, locked: bool, role: Role) -> bool {
    match (role, lobby) {
        (Role::Moderator, _) => false,
        (Role::Viewer | Role::Guest | Role::Participant, Lobby::Everyone) => true,
        (Role::Viewer | Role::Guest, Lobby::Guests) => true,
        (Role::Participant, Lobby::Guests) => locked,
        (Role::Viewer | Role::Guest | Role::Participant, Lobby::Off) => locked,
    }
}

impl Conference {
    pub(crate) fn wait(
        &mut self,
        connection: ConnectionId,
        room: String,
        newcomer: Newcomer,
        now: Now,
    ) -> Result<Reply, ClientError> {
        let waiting_max = self.config.limits.waiting_per_room_max;
        let home = self.rooms.get_mut(&room).expect("whoever is admitted is admitted to a room");
        if home.waiting.len() >= waiting_max {
            self.out.event(Event::Refused { why: Refusal::LobbyFull });
            return Err(ClientError::new(ErrorCode::Limit, "too many wait already; try again later"));
        }
        let id = self.out.new_id();
        home.waiting.insert(id, Waiting { id, connection, newcomer });
        self.waiting += 1;
        if let Some(link) = self.connections.get_mut(&connection) {
            link.waiting = Some(Seat { room: room.clone(), participant: id });
        }
        self.out.event(Event::Lobby { step: LobbyStep::Came });
        self.lobby_changed(&room, now);
        Ok(Reply::Now(Box::new(ServerMessage::Waiting)))
    }

    /// A moderator lets these in.
    pub(crate) fn let_in(
        &mut self,
        seat: &Seat,
        chosen: &[ParticipantId],
        now: Now,
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        let room = self.rooms.get(&seat.room).expect("a seat is in a room");
        let chosen = room.waiting_of(chosen);
        if chosen.len() > self.places_free(&seat.room) {
            let message = format!("the room has {} places left", self.places_free(&seat.room));
            return Err(ClientError::field(ErrorCode::Limit, "waiting", message));
        }
        self.seat_waiting(&seat.room, &chosen, now);
        Reply::ok()
    }

    /// A moderator sends these away.
    pub(crate) fn turn_away(
        &mut self,
        seat: &Seat,
        chosen: &[ParticipantId],
        now: Now,
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let chosen = room.waiting_of(chosen);
        let refused: Vec<_> = chosen.iter().filter_map(|id| room.waiting.remove(id)).collect();
        self.dismiss(&refused, ClosedReason::Refused, LobbyStep::Refused);
        if !refused.is_empty() {
            self.lobby_changed(&seat.room, now);
        }
        Reply::ok()
    }

    /// Closes the WebSockets of some who were taken off the list.
    fn dismiss(&mut self, gone: &[Waiting], reason: ClosedReason, step: LobbyStep) {
        for waiting in gone {
            self.waiting -= 1;
            self.close(waiting.connection, reason);
            self.out.event(Event::Lobby { step });
        }
    }

    /// The room ends, for those who wait too.
    pub(crate) fn end_lobby(&mut self, room: &str) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let gone: Vec<_> = std::mem::take(&mut room.waiting).into_values().collect();
        self.dismiss(&gone, ClosedReason::RoomEnded, LobbyStep::Left);
    }

    /// Somebody who waited is gone.
    pub(crate) fn stop_waiting(&mut self, place: Option<Seat>, now: Now) {
        let Some(Seat { room, participant: id }) = place else { return };
        let known = self.rooms.get_mut(&room).and_then(|room| room.waiting.remove(&id));
        if known.is_some() {
            self.waiting -= 1;
            self.out.event(Event::Lobby { step: LobbyStep::Left });
            self.lobby_changed(&room, now);
        }
    }

    /// Lets in those whom nothing holds back any more, first come, first served, as far as there
    /// are places.
    pub(crate) fn reconsider_lobby(&mut self, room: &str, now: Now) {
        let places = self.places_free(room);
        let Some(home) = self.rooms.get(room) else { return };
        let free = |waiting: &&Waiting| !must_wait(home.lobby, home.locked, waiting.newcomer.role);
        let chosen: Vec<_> =
            home.waiting.values().filter(free).map(|waiting| waiting.id).take(places).collect();
        self.seat_waiting(room, &chosen, now);
    }

    fn seat_waiting(&mut self, room: &str, chosen: &[Id], now: Now) {
        for id in chosen {
            let Some(home) = self.rooms.get_mut(room) else { return };
            let Some(Waiting { id, connection, newcomer }) = home.waiting.remove(id) else { continue };
            self.waiting -= 1;
            if let Some(link) = self.connections.get_mut(&connection) {
                link.waiting = None;
            }
            self.out.event(Event::Lobby { step: LobbyStep::Admitted });
            let participant = Participant::new(id, newcomer, Presence::Connected(connection));
            let seat = self.seat_newcomer(room.to_owned(), participant);
            let joined = self.seat_down(connection, seat, now);
            self.out.tell(connection, None, joined);
        }
        if !chosen.is_empty() {
            self.lobby_changed(room, now);
        }
    }

    pub(crate) fn places_free(&self, room: &str) -> usize {
        let taken = self.rooms.get(room).map_or(0, |room| room.participants.len());
        self.config.limits.participants_per_room_max.saturating_sub(taken)
    }

    /// Tells moderators the list, now or soon.
    fn lobby_changed(&mut self, room: &str, now: Now) {
        let Some(home) = self.rooms.get_mut(room) else { return };
        match home.lobby_pace.ask(LISTS_INTERVAL, now.instant) {
            Turn::Now => self.tell_lobby(room),
            Turn::At(at) => {
                self.timers.insert((at, Timer::Lobby(room.to_owned())));
            }
            Turn::Awaited => {}
        }
    }

    pub(crate) fn lobby_due(&mut self, room: &str, now: Now) {
        if let Some(home) = self.rooms.get_mut(room) {
            home.lobby_pace.passed(LISTS_INTERVAL, now.instant);
            self.tell_lobby(room);
        }
    }

    fn tell_lobby(&mut self, room: &str) {
        let Some(room) = self.rooms.get(room) else { return };
        let moderators = room.participants.values().filter(|one| one.role == Role::Moderator);
        for connection in moderators.filter_map(|moderator| moderator.connection()) {
            self.out.tell(connection, None, ServerMessage::Lobby { waiting: room.waiting_list() });
        }
    }
}

impl Room {
    /// As moderators are told, in order of arrival.
    pub(crate) fn waiting_list(&self) -> Vec<server::Waiting> {
        self.waiting.values().map(Waiting::public).collect()
    }

    /// Those of the ids that somebody waits by, each once.
    fn waiting_of(&self, ids: &[ParticipantId]) -> Vec<Id> {
        let mut known: Vec<Id> = ids.iter().filter_map(|id| id.0.parse().ok()).collect();
        known.retain(|id| self.waiting.contains_key(id));
        known.sort_unstable();
        known.dedup();
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w4_who_waits_follows_from_the_room_and_the_role() {
        use Lobby::*;
        use Role::*;
        let rows = [
            // lobby, locked: viewer, guest, participant, moderator
            (Off, false, [false, false, false, false]),
            (Guests, false, [true, true, false, false]),
            (Everyone, false, [true, true, true, false]),
            (Off, true, [true, true, true, false]),
            (Guests, true, [true, true, true, false]),
            (Everyone, true, [true, true, true, false]),
        ];
        for (lobby, locked, expected) in rows {
            let waits = [Viewer, Guest, Participant, Moderator].map(|role| must_wait(lobby, locked, role));
            assert_eq!(waits, expected, "{lobby:?}, locked: {locked}");
        }
    }
}
