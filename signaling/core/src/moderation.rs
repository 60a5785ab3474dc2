//! What moderators do to others and to the room. Who asks follows from the WebSocket alone (W5).

use std::collections::BTreeSet;

use broletto_control::Id;
use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use broletto_protocol::{Allowed, Lobby, ParticipantId, Publishing, Role, Source};

use crate::conference::{Reply, Seat};
use crate::error::ClientError;
use crate::{Conference, Event, Leave, Moderation, Now, roles};

/// More than fit in front of anybody.
const SPOTLIGHT_MAX: usize = 8;

impl Conference {
    pub(crate) fn check_moderator(&mut self, seat: &Seat) -> Result<(), ClientError> {
        let participant = self.participant(seat).expect("a seat is a participant's");
        match roles::may_moderate(participant.role) {
            true => Ok(()),
            false => Err(ClientError::new(ErrorCode::Forbidden, "this is for moderators")),
        }
    }

    pub(crate) fn mute(
        &mut self,
        seat: &Seat,
        participants: &[ParticipantId],
        sources: &[Source],
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        let chosen: BTreeSet<Id> = participants.iter().filter_map(|id| id.0.parse().ok()).collect();
        for participant in chosen {
            let target = Seat { room: seat.room.clone(), participant };
            if self.switch_off(seat, &target, sources) {
                self.moderated(Moderation::Mute, &target);
            }
        }
        Reply::ok()
    }

    /// Switches sources of `target` off, at the node too, and tells it who did. Whether any was on;
    /// if so, the caller tells the others.
    fn switch_off(&mut self, by: &Seat, target: &Seat, sources: &[Source]) -> bool {
        let Some(participant) = self.participant(target) else { return false };
        let (publishing, off) = without(participant.publishing, sources);
        if off.is_empty() {
            return false;
        }
        participant.publishing = publishing;
        let connection = participant.connection();
        self.pause_producers(target);
        if let Some(connection) = connection {
            let by = ParticipantId(by.participant.to_string());
            self.out.tell(connection, None, ServerMessage::Muted { by, sources: off });
        }
        true
    }

    /// A participant is another one now: that is saved, told to everyone, and counted.
    fn moderated(&mut self, what: Moderation, target: &Seat) {
        let room = self.rooms.get(&target.room).expect("a seat is in a room");
        self.out.save_participant(room, target.participant);
        self.broadcast_changed(target, true);
        self.out.event(Event::Moderated { what });
    }

    pub(crate) fn expel(
        &mut self,
        seat: &Seat,
        target: &ParticipantId,
        now: Now,
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        if target.0.parse() == Ok(seat.participant) {
            return Err(ClientError::invalid("participant", "leave by `leave`"));
        }
        // Whoever is gone meanwhile need not be removed.
        let Some(target) = self.seat_of(&seat.room, target) else { return Reply::ok() };
        if let Some(connection) = self.participant(&target).and_then(|one| one.connection()) {
            self.close(connection, ClosedReason::Removed);
        }
        self.remove_participant(&target, Leave::Removed, now);
        self.out.event(Event::Moderated { what: Moderation::Remove });
        Reply::ok()
    }

    pub(crate) fn set_role(
        &mut self,
        seat: &Seat,
        target: &ParticipantId,
        role: Role,
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        let Some(target) = self.seat_of(&seat.room, target) else {
            return Err(ClientError::invalid("participant", "nobody in the room has this id"));
        };
        if target == *seat && role != Role::Moderator && !self.is_moderated_without(seat) {
            let message = "the room would be left without a moderator: make somebody else one first";
            return Err(ClientError::field(ErrorCode::State, "role", message));
        }
        let participant = self.participant(&target).expect("its seat was just found");
        let before = std::mem::replace(&mut participant.role, role);
        if before == role {
            return Reply::ok();
        }
        let connection = participant.connection();
        if !roles::may_publish(role) {
            self.switch_off(seat, &target, &Source::ALL);
        }
        self.moderated(Moderation::SetRole, &target);
        let room = self.rooms.get(&seat.room).expect("a seat is in a room");
        if let (Role::Moderator, Some(connection)) = (role, connection) {
            self.out.tell(connection, None, ServerMessage::Lobby { waiting: room.waiting_list() });
        }
        Reply::ok()
    }

    /// Whether another moderator is there. One who may never resume does not count.
    fn is_moderated_without(&self, seat: &Seat) -> bool {
        let room = self.rooms.get(&seat.room).expect("a seat is in a room");
        let mut others = room.participants.values().filter(|one| one.id != seat.participant);
        others.any(|one| roles::may_moderate(one.role) && one.connection().is_some())
    }

    pub(crate) fn put_in_front(
        &mut self,
        seat: &Seat,
        participants: &[ParticipantId],
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        if participants.len() > SPOTLIGHT_MAX {
            let message = format!("at most {SPOTLIGHT_MAX}, and {} came", participants.len());
            return Err(ClientError::field(ErrorCode::Limit, "participants", message));
        }
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let mut spotlight = Vec::<Id>::with_capacity(participants.len());
        for id in participants.iter().filter_map(|id| id.0.parse().ok()) {
            if room.participants.contains_key(&id) && !spotlight.contains(&id) {
                spotlight.push(id);
            }
        }
        if room.spotlight != spotlight {
            room.spotlight = spotlight;
            self.out.event(Event::Moderated { what: Moderation::Spotlight });
            self.room_changed(&seat.room);
        }
        Reply::ok()
    }

    pub(crate) fn set_room(
        &mut self,
        seat: &Seat,
        lobby: Option<Lobby>,
        locked: Option<bool>,
        allowed: Option<Allowed>,
        now: Now,
    ) -> Result<Reply, ClientError> {
        self.check_moderator(seat)?;
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let before = (room.lobby, room.locked, room.allowed);
        room.lobby = lobby.unwrap_or(room.lobby);
        room.locked = locked.unwrap_or(room.locked);
        room.allowed = allowed.unwrap_or(room.allowed);
        if before != (room.lobby, room.locked, room.allowed) {
            self.out.event(Event::Moderated { what: Moderation::SetRoom });
            self.room_changed(&seat.room);
            self.reconsider_lobby(&seat.room, now);
        }
        Reply::ok()
    }

    /// Saves what the room is now, and tells everyone.
    pub(crate) fn room_changed(&mut self, room: &str) {
        let Some(room) = self.rooms.get(room) else { return };
        self.out.save_room(room);
        let room_info = room.public(&self.config.public_url);
        self.out.broadcast(room, None, &ServerMessage::RoomChanged { room: room_info });
    }

    pub(crate) fn seat_of(&self, room: &str, id: &ParticipantId) -> Option<Seat> {
        let participant = id.0.parse().ok()?;
        let there = self.rooms.get(room)?.participants.contains_key(&participant);
        there.then(|| Seat { room: room.to_owned(), participant })
    }
}

/// `publishing` with these sources off, and those of them that were on.
fn without(mut publishing: Publishing, sources: &[Source]) -> (Publishing, Vec<Source>) {
    let mut off = Vec::new();
    for &source in sources {
        if publishing.is_on(source) {
            publishing.switch_off(source);
            off.push(source);
        }
    }
    (publishing, off)
}

/// The first source that `wished` would switch on and the room does not allow.
pub(crate) fn forbidden_source(allowed: Allowed, before: Publishing, wished: Publishing) -> Option<Source> {
    let turned_on = |source: &Source| wished.is_on(*source) && !before.is_on(*source);
    Source::ALL.into_iter().filter(turned_on).find(|source| !allowed.may_publish(*source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_is_switched_off_once() {
        let both = Publishing { microphone: true, camera: true, ..Publishing::default() };
        let camera = Publishing { camera: true, ..Publishing::default() };
        for (sources, left, off) in [
            (&[][..], both, &[][..]),
            (&[Source::Microphone, Source::Microphone], camera, &[Source::Microphone]),
            (&[Source::Screen, Source::Microphone], camera, &[Source::Microphone]),
            (&Source::ALL, Publishing::default(), &[Source::Microphone, Source::Camera]),
        ] {
            assert_eq!(without(both, sources), (left, off.to_vec()), "{sources:?}");
        }
    }

    #[test]
    fn what_is_not_allowed_stays_on_and_is_not_switched_on() {
        let quiet = Allowed { microphone: false, screen: false, ..Allowed::default() };
        let (none, voice) = (Publishing::default(), Publishing { microphone: true, ..Publishing::default() });
        let sound = Publishing { screen_audio: true, ..voice };
        for (before, wished, refused) in [
            (none, voice, Some(Source::Microphone)),
            (voice, voice, None),
            (voice, none, None),
            (voice, sound, Some(Source::ScreenAudio)),
            (none, Publishing { camera: true, ..none }, None),
        ] {
            assert_eq!(forbidden_source(quiet, before, wished), refused, "{before:?} {wished:?}");
            assert_eq!(forbidden_source(Allowed::default(), before, wished), None);
        }
    }
}
