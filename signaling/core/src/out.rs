//! What is on its way out, and the link to the node.

use std::collections::{BTreeMap, VecDeque};

use broletto_control::{
    Epoch, Generation, Id, Request, RequestFrame, RequestId, RouterWish, TransportId, VERSION,
};
use broletto_protocol::{ServerFrame, ServerMessage};

use crate::conference::Seat;
use crate::room::Room;
use crate::{ConnectionId, Event, HttpRequestId, Output, SessionError, SessionReply, state};

/// Requests without an answer that are remembered; beyond it the node is taken to be stuck, and
/// the oldest is forgotten.
const PENDING_MAX: usize = 65_536;

pub(crate) struct Out {
    pub(crate) queue: VecDeque<Output>,
    pub(crate) link: Link,
    epoch: Epoch,
    /// Last serial number given within the epoch.
    serial: u32,
    /// Whether a node's epoch was ever compared with ours: only then may ours still rise.
    greeted: bool,
    request: RequestId,
    generation: Generation,
    pending: BTreeMap<RequestId, Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Down,
    /// `Hello` was sent.
    Greeting,
    Up,
    /// Connected, but the node speaks another version, or another process has taken over (C2).
    Refused,
}

/// What to do with a response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pending {
    Hello,
    Sync,
    /// Kept whole, to be sent again if the node is lost before it answers.
    Offer {
        seat: Seat,
        frame: Box<RequestFrame>,
    },
    /// Nobody waits for it.
    Command,
}

impl Out {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let mut out = Out {
            queue: VecDeque::new(),
            link: Link::Down,
            epoch,
            serial: 0,
            greeted: false,
            request: RequestId(0),
            generation: Generation(0),
            pending: BTreeMap::new(),
        };
        out.save_epoch();
        out
    }

    pub(crate) fn tell(&mut self, connection: ConnectionId, reply_to: Option<u64>, message: ServerMessage) {
        self.queue.push_back(Output::ToClient { connection, frame: ServerFrame { reply_to, message } });
    }

    pub(crate) fn answer(&mut self, request: HttpRequestId, reply: Result<SessionReply, SessionError>) {
        self.queue.push_back(Output::ToHttp { request, reply });
    }

    /// To everyone in the room who is connected, but not to `except`.
    pub(crate) fn broadcast(&mut self, room: &Room, except: Option<Id>, message: &ServerMessage) {
        for participant in room.participants.values().filter(|one| Some(one.id) != except) {
            if let Some(connection) = participant.connection() {
                self.tell(connection, None, message.clone());
            }
        }
    }

    pub(crate) fn close_client(&mut self, connection: ConnectionId) {
        self.queue.push_back(Output::CloseClient { connection });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    pub(crate) fn save_room(&mut self, room: &Room) {
        let (key, value) = (state::room_key(room), state::room_value(room));
        self.queue.push_back(Output::Save { key, value });
    }

    pub(crate) fn save_participant(&mut self, room: &Room, id: Id) {
        let Some(participant) = room.participants.get(&id) else { return };
        let (key, value) = (state::participant_key(room, id), state::participant_value(room, participant));
        self.queue.push_back(Output::Save { key, value });
    }

    pub(crate) fn remove(&mut self, key: String) {
        self.queue.push_back(Output::Remove { key });
    }

    /// An id that was never used before.
    pub(crate) fn new_id(&mut self) -> Id {
        match self.serial.checked_add(1) {
            Some(serial) => self.serial = serial,
            None => self.raise_epoch(Epoch(self.epoch.0 + 1)),
        }
        Id::new(self.epoch, self.serial)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn raise_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.serial = 1;
        self.save_epoch();
    }

    fn save_epoch(&mut self) {
        let (key, value) = (state::EPOCH_KEY.to_owned(), state::epoch_value(self.epoch));
        self.queue.push_back(Output::Save { key, value });
    }

    pub(crate) fn node_connected(&mut self) {
        self.node_lost();
        self.link = Link::Greeting;
        let hello = self.frame(Request::Hello { version: VERSION });
        self.send(hello, Pending::Hello);
    }

    /// The `Sync` after the next greeting says again whatever was not answered, except offers.
    pub(crate) fn node_lost(&mut self) {
        self.link = Link::Down;
        self.pending.retain(|_, pending| matches!(pending, Pending::Offer { .. }));
    }

    /// False: another process with a higher epoch owns the node by now. Only before its first
    /// greeting may a process step above what a node reports.
    pub(crate) fn node_greeted(&mut self, epoch_max: Epoch) -> bool {
        if epoch_max > self.epoch && self.greeted {
            self.link = Link::Refused;
            return false;
        }
        if epoch_max >= self.epoch && !self.greeted {
            self.raise_epoch(Epoch(epoch_max.0.saturating_add(1)));
        }
        self.greeted = true;
        self.link = Link::Up;
        true
    }

    pub(crate) fn sync(&mut self, routers: Vec<RouterWish>) {
        self.generation.0 += 1;
        let sync = self.frame(Request::Sync { generation: self.generation, routers });
        self.send(sync, Pending::Sync);
    }

    /// A request whose effect stands in the wished state too, so that it need not be repeated.
    pub(crate) fn command(&mut self, request: Request) {
        if self.link == Link::Up {
            let frame = self.frame(request);
            self.send(frame, Pending::Command);
        }
    }

    /// Sent at once, or when the node is there.
    pub(crate) fn offer(&mut self, seat: Seat, request: Request) -> RequestId {
        let frame = self.frame(request);
        let id = frame.id;
        let pending = Pending::Offer { seat, frame: Box::new(frame.clone()) };
        if self.link == Link::Up {
            self.send(frame, pending);
        } else {
            self.remember(id, pending);
        }
        id
    }

    pub(crate) fn unanswered_offers(&self) -> Vec<(Seat, RequestId)> {
        let offer = |(id, pending): (&RequestId, &Pending)| match pending {
            Pending::Offer { seat, .. } => Some((seat.clone(), *id)),
            Pending::Hello | Pending::Sync | Pending::Command => None,
        };
        self.pending.iter().filter_map(offer).collect()
    }

    /// Under the same request id: a node that has answered it before repeats its answer.
    pub(crate) fn send_offer_again(&mut self, id: RequestId) {
        if let Some(Pending::Offer { frame, .. }) = self.pending.get_mut(&id) {
            frame.epoch = self.epoch;
            self.queue.push_back(Output::ToNode(RequestFrame::clone(frame)));
        }
    }

    /// Nobody waits for the answer any more. If the offer was to make `transport`, it goes.
    pub(crate) fn abandon_offer(&mut self, id: RequestId, transport: Option<TransportId>) {
        self.pending.remove(&id);
        if let Some(transport) = transport {
            self.command(Request::CloseTransport { transport });
        }
    }

    pub(crate) fn answered(&mut self, id: RequestId) -> Option<Pending> {
        self.pending.remove(&id)
    }

    fn frame(&mut self, request: Request) -> RequestFrame {
        self.request.0 += 1;
        RequestFrame { id: self.request, epoch: self.epoch, request }
    }

    fn send(&mut self, frame: RequestFrame, pending: Pending) {
        self.remember(frame.id, pending);
        self.queue.push_back(Output::ToNode(frame));
    }

    fn remember(&mut self, id: RequestId, pending: Pending) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_first();
            self.event(Event::NodeError { message: "the node does not answer".to_owned() });
        }
        self.pending.insert(id, pending);
    }
}
