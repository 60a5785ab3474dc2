//! Hands, reactions and real-time text: how people show themselves without speaking.

use broletto_protocol::server::{ErrorCode, ServerMessage};
use broletto_protocol::{ParticipantId, Reaction, TEXT_CHARS_MAX};

use crate::conference::{Reply, Seat};
use crate::error::ClientError;
use crate::{Conference, roles, text};

impl Conference {
    pub(crate) fn hand(
        &mut self,
        seat: &Seat,
        raised: bool,
        of: Option<ParticipantId>,
    ) -> Result<Reply, ClientError> {
        let own = ParticipantId(seat.participant.to_string());
        let Some(other) = of.filter(|id| *id != own) else {
            self.set_hand(seat, raised);
            return Reply::ok();
        };
        let participant = self.participant(seat).expect("a seat is a participant's");
        if !roles::may_moderate(participant.role) {
            return Err(ClientError::field(
                ErrorCode::Forbidden,
                "participant",
                "only a moderator lowers the hands of others",
            ));
        }
        if raised {
            return Err(ClientError::invalid("raised", "a hand is raised by its owner only"));
        }
        // The hand of one who is gone is down.
        if let Some(other) = self.seat_of(&seat.room, &other) {
            self.set_hand(&other, false);
        }
        Reply::ok()
    }

    fn set_hand(&mut self, seat: &Seat, raised: bool) {
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let highest = room.participants.values().filter_map(|one| one.hand).max();
        let participant = room.participants.get_mut(&seat.participant).expect("a seat is a participant's");
        if participant.hand.is_some() == raised {
            return;
        }
        participant.hand = raised.then(|| highest.unwrap_or(0) + 1);
        self.out.save_participant(room, seat.participant);
        self.broadcast_changed(seat, true);
    }

    pub(crate) fn react(&mut self, seat: &Seat, reaction: Reaction) -> Result<Reply, ClientError> {
        let room = self.rooms.get(&seat.room).expect("a seat is in a room");
        let participant = ParticipantId(seat.participant.to_string());
        self.out.broadcast(room, None, &ServerMessage::Reaction { participant, reaction });
        Reply::ok()
    }

    /// Never forbidden: who cannot speak has no other voice.
    pub(crate) fn text_line(&mut self, seat: &Seat, text: String, done: bool) -> Result<Reply, ClientError> {
        text::typed(&text, TEXT_CHARS_MAX).map_err(|message| ClientError::invalid("text", message))?;
        let room = self.rooms.get(&seat.room).expect("a seat is in a room");
        let participant = ParticipantId(seat.participant.to_string());
        let line = ServerMessage::TextLine { participant, text, done };
        self.out.broadcast(room, Some(seat.participant), &line);
        Reply::ok()
    }
}
