//! Chat. What was said is kept in memory only, for those whose WebSocket breaks, and for no longer
//! than somebody is in the room.

use std::collections::VecDeque;

use broletto_control::{Epoch, Id};
use broletto_protocol::server::{ErrorCode, ServerMessage};
use broletto_protocol::{CHAT_CHARS_MAX, ParticipantId};

use crate::conference::{Reply, Seat};
use crate::error::ClientError;
use crate::{Conference, ConnectionId, Now, roles, text};

/// Messages of a room that are kept, and bytes of their texts: many rooms may be full of them.
const KEPT_MAX: usize = 200;
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// What was said in a room.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    last_serial: u64,
    kept: VecDeque<Said>,
    kept_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Said {
    serial: u64,
    from: Id,
    name: String,
    text: String,
    at_ms: u64,
    to: Option<Id>,
}

impl Chat {
    /// Whoever comes now sees what comes after.
    pub(crate) fn last_serial(&self) -> u64 {
        self.last_serial
    }

    /// Above all that were given before, by earlier processes too: those had lower epochs, and no
    /// room sees 2^32 messages in one. Clients that read it into a double need fewer than 2^21
    /// epochs, which is a restart each minute for four years.
    fn next_serial(&self, epoch: Epoch) -> u64 {
        (self.last_serial + 1).max((u64::from(epoch.0) << 32) + 1)
    }

    fn keep(&mut self, said: Said) {
        self.last_serial = said.serial;
        self.kept_bytes += said.text.len();
        self.kept.push_back(said);
        while self.kept.len() > KEPT_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.kept_bytes -= oldest.text.len();
        }
    }

    /// Nobody is left who could ask for it.
    pub(crate) fn forget(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// What `reader` may see of what came after `serial`.
    fn after(&self, serial: u64, reader: Id) -> impl Iterator<Item = &Said> {
        let for_reader = move |said: &&Said| said.to.is_none_or(|to| to == reader) || said.from == reader;
        self.kept.iter().filter(move |said| said.serial > serial).filter(for_reader)
    }
}

impl Said {
    fn message(&self) -> ServerMessage {
        ServerMessage::ChatMessage {
            serial: self.serial,
            participant: ParticipantId(self.from.to_string()),
            name: self.name.clone(),
            text: self.text.clone(),
            at_ms: self.at_ms,
            to: self.to.map(|to| ParticipantId(to.to_string())),
        }
    }
}

impl Conference {
    pub(crate) fn chat(
        &mut self,
        seat: &Seat,
        text: String,
        to: Option<ParticipantId>,
        now: Now,
    ) -> Result<Reply, ClientError> {
        text::passage(&text, CHAT_CHARS_MAX).map_err(|message| ClientError::invalid("text", message))?;
        let to = match to {
            None => None,
            Some(to) => match self.seat_of(&seat.room, &to) {
                Some(other) if other != *seat => Some(other.participant),
                Some(_) => return Err(ClientError::invalid("to", "this is yourself")),
                None => return Err(ClientError::invalid("to", "nobody in the room has this id")),
            },
        };
        let epoch = self.out.epoch();
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let sender = room.participants.get(&seat.participant).expect("a seat is a participant's");
        if !room.allowed.chat && !roles::may_moderate(sender.role) {
            return Err(ClientError::new(ErrorCode::Forbidden, "the room does not allow to chat"));
        }
        let (serial, name) = (room.chat.next_serial(epoch), sender.name.clone());
        let said = Said { serial, from: seat.participant, name, text, at_ms: now.unix_ms, to };
        let message = said.message();
        room.chat.keep(said);
        let hears = |id: Id| to.is_none_or(|to| to == id) || id == seat.participant;
        for hearer in room.participants.values().filter(|one| hears(one.id)) {
            if let Some(connection) = hearer.connection() {
                self.out.tell(connection, None, message.clone());
            }
        }
        Reply::ok()
    }

    /// What the participant has missed, `after` being the last that its client has.
    pub(crate) fn chat_again(&mut self, connection: ConnectionId, after: Option<u64>) {
        let Some(seat) = self.connections.get(&connection).and_then(|link| link.seat.as_ref()) else {
            return;
        };
        let Some(room) = self.rooms.get(&seat.room) else { return };
        let Some(participant) = room.participants.get(&seat.participant) else { return };
        let after = after.unwrap_or(0).max(participant.chat_from);
        for said in room.chat.after(after, participant.id) {
            self.out.tell(connection, None, said.message());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u32) -> Id {
        Id::new(Epoch(1), serial)
    }

    fn said(chat: &Chat, text: &str, to: Option<Id>) -> Said {
        let (serial, text) = (chat.next_serial(Epoch(3)), text.to_owned());
        Said { serial, from: id(1), name: "Ada".to_owned(), text, at_ms: 0, to }
    }

    #[test]
    fn serials_rise_and_those_of_a_later_process_are_above() {
        let mut chat = Chat::default();
        assert_eq!(chat.next_serial(Epoch(3)), (3 << 32) + 1);
        chat.keep(said(&chat, "x", None));
        assert_eq!(chat.next_serial(Epoch(3)), (3 << 32) + 2);
        chat.forget();
        assert_eq!(chat.next_serial(Epoch(3)), (3 << 32) + 2);
        assert!(Chat::default().next_serial(Epoch(4)) > chat.next_serial(Epoch(3)));
    }

    #[test]
    fn what_is_kept_is_bounded_by_number_and_by_bytes() {
        let mut chat = Chat::default();
        for _ in 0..KEPT_MAX + 5 {
            chat.keep(said(&chat, "short", None));
        }
        let (first, last) = ((3 << 32) + 6, (3 << 32) + 205);
        assert_eq!(chat.kept.front().map(|one| one.serial), Some(first));
        assert_eq!((chat.kept.len(), chat.last_serial()), (KEPT_MAX, last));
        let long = "€".repeat(CHAT_CHARS_MAX);
        for _ in 0..KEPT_MAX {
            chat.keep(said(&chat, &long, None));
        }
        assert_eq!(chat.kept.len(), KEPT_BYTES_MAX / long.len());
        assert!(chat.kept_bytes <= KEPT_BYTES_MAX);
    }

    #[test]
    fn a_private_message_is_for_two() {
        let mut chat = Chat::default();
        for to in [None, Some(id(2)), None] {
            chat.keep(said(&chat, "x", to));
        }
        let first = chat.kept[0].serial;
        for (reader, after, count) in
            [(1, 0, 3), (2, 0, 3), (3, 0, 2), (2, first, 2), (3, first, 1), (2, first + 2, 0)]
        {
            assert_eq!(chat.after(after, id(reader)).count(), count, "{reader} after {after}");
        }
    }
}
