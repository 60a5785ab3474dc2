//! What the node answers and notifies.

use broletto_control::{
    CloseReason, ConsumerId, ControlError, Frame, Notification, ProducerId, Response, RouterId, SpeakerLevel,
    TransportId, VERSION, VERSION_MIN,
};
use broletto_protocol::Source;
use broletto_protocol::server::{ServerMessage, SlotSource, Speaker};

use crate::conference::Seat;
use crate::out::{Link, Pending};
use crate::participant::Media;
use crate::{Conference, Event, Now, convert};

impl Conference {
    /// The way to the node is open.
    pub fn handle_node_connected(&mut self, _now: Now) {
        self.forget_what_was_told();
        self.out.node_connected();
    }

    /// The way to the node is gone. Its media may well go on.
    pub fn handle_node_lost(&mut self, _now: Now) {
        self.forget_what_was_told();
        self.out.node_lost();
    }

    fn forget_what_was_told(&mut self) {
        for room in self.rooms.values_mut() {
            room.router_told = false;
        }
    }

    pub fn handle_node(&mut self, frame: Frame, now: Now) {
        match frame {
            Frame::Response(frame) => match self.out.answered(frame.id) {
                Some(Pending::Hello) => self.hello_answered(frame.result),
                Some(Pending::Sync) => self.sync_answered(frame.result),
                Some(Pending::Offer { seat, .. }) => self.offer_answered(&seat, frame.id, frame.result),
                Some(Pending::Command) => self.command_answered(frame.result),
                None => self.out.event(Event::NodeFrameStale),
            },
            Frame::Notification { notification } => self.notification(notification, now),
            Frame::Request(_) => {
                self.out.event(Event::NodeError { message: "a node asks nothing of signaling".to_owned() });
            }
        }
        self.see_off(now);
    }

    fn hello_answered(&mut self, result: Result<Response, ControlError>) {
        let refusal = match result {
            Ok(Response::Hello { version, epoch_max, .. }) if (VERSION_MIN..=VERSION).contains(&version) => {
                if self.out.node_greeted(epoch_max) {
                    return self.synchronise();
                }
                format!("{epoch_max:?} of another signaling process has taken the node over")
            }
            Ok(other) => format!("the greeting was answered by {other:?}"),
            Err(error) => error.to_string(),
        };
        self.out.link = Link::Refused;
        self.out.event(Event::NodeError { message: refusal });
    }

    /// Tells the node the whole wished state, then what it had not answered before it was lost.
    fn synchronise(&mut self) {
        let routers = self.rooms.values().filter_map(|room| room.router_wish()).collect();
        self.out.sync(routers);
        for (seat, request) in self.out.unanswered_offers() {
            self.tell_router(&seat.room);
            self.out.send_offer_again(request);
        }
    }

    fn sync_answered(&mut self, result: Result<Response, ControlError>) {
        match result {
            Ok(Response::Synced { missing }) => {
                for transport in missing {
                    self.transport_lost(transport);
                }
            }
            Ok(other) => {
                let message = format!("the wished state was answered by {other:?}");
                self.out.event(Event::NodeError { message });
            }
            Err(error) => self.command_answered(Err(error)),
        }
    }

    fn command_answered(&mut self, result: Result<Response, ControlError>) {
        let Err(error) = result else { return };
        if let ControlError::Fenced { .. } = error {
            // A zombie must not go on steering a node that another process owns (C2).
            self.out.link = Link::Refused;
        }
        self.out.event(Event::NodeError { message: error.to_string() });
    }

    fn notification(&mut self, notification: Notification, now: Now) {
        match notification {
            Notification::TransportState { transport, state } => {
                let Some(seat) = self.transports.get(&transport).cloned() else {
                    return self.out.event(Event::NodeFrameStale);
                };
                let connection = self.participant(&seat).and_then(|participant| participant.connection());
                if let Some(connection) = connection {
                    let state = convert::media_state(state);
                    self.out.tell(connection, None, ServerMessage::Media { state });
                }
                self.session_state(&seat, state);
            }
            Notification::TransportClosed { transport, reason } => {
                if let CloseReason::Failed { message } = reason {
                    self.out.event(Event::NodeError { message });
                }
                self.transport_closed(transport);
            }
            // The roster tells what participants say of themselves; a tile without packets shows
            // in the slots.
            Notification::ProducerLive { .. } => {}
            Notification::ProducerDemand { transport, producer, layers } => {
                self.producer_demand(transport, producer, layers);
            }
            Notification::ConsumerSource { transport, consumer, source } => {
                self.consumer_source(transport, consumer, source);
            }
            Notification::Speakers { router, speakers } => self.speakers(router, speakers),
            Notification::TransportStats { transport, stats } => {
                self.quality_measured(transport, &stats, now);
                self.out.event(Event::TransportStats { transport, stats });
            }
            Notification::RouterAbandoned { router } => self.router_abandoned(router),
        }
    }

    fn transport_closed(&mut self, transport: TransportId) {
        let offering = match self.transports.get(&transport).cloned() {
            Some(seat) => self.participant(&seat).and_then(|participant| participant.offering.as_mut()),
            None => None,
        };
        if let Some(offering) = offering.filter(|offering| offering.media.transport == transport) {
            offering.closed = true;
        }
        self.transport_lost(transport);
    }

    /// The node has this transport no longer: its client must offer again.
    pub(crate) fn transport_lost(&mut self, transport: TransportId) {
        let Some(seat) = self.transports.get(&transport).cloned() else {
            return self.out.event(Event::NodeFrameStale);
        };
        let Some(participant) = self.participant(&seat) else { return };
        if participant.media.as_ref().is_none_or(|media| media.transport != transport) {
            // It is still being made: its answer, or the refusal, is to come.
            return;
        }
        let (connection, public_id) = (participant.connection(), participant.public_id());
        if participant.http.is_some() {
            self.leaving.push(seat.clone());
        }
        self.refuse_renegotiation(&seat, transport);
        self.transports.remove(&transport);
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        room.set_media(seat.participant, None);
        room.forget_sources(&public_id, &mut self.out);
        if let Some(connection) = connection {
            self.out.tell(connection, None, ServerMessage::OfferNeeded);
        }
        self.out.save_participant(room, seat.participant);
        self.refresh_codec(&seat.room);
        self.direct_watchers(&seat.room);
    }

    fn router_abandoned(&mut self, router: RouterId) {
        let Some(room) = self.routers.get(&router).and_then(|room| self.rooms.get_mut(room)) else {
            return self.out.event(Event::NodeFrameStale);
        };
        room.router_told = false;
        let media = room.participants.values().filter_map(|one| one.media.as_ref());
        let transports: Vec<_> = media.map(|media| media.transport).collect();
        for transport in transports {
            self.transport_lost(transport);
        }
    }

    fn consumer_source(&mut self, transport: TransportId, consumer: ConsumerId, source: Option<ProducerId>) {
        let Some(Seat { room, participant }) = self.transports.get(&transport) else {
            return self.out.event(Event::NodeFrameStale);
        };
        let Some(room) = self.rooms.get_mut(room) else { return };
        // A producer that is not known any more left a moment ago: the slot is empty.
        let shows = source.and_then(|source| room.producers.get(&source).cloned());
        let Some(participant) = room.participants.get_mut(participant) else { return };
        let connection = participant.connection();
        if let Some(offering) = &mut participant.offering {
            set_shows(&mut offering.media, transport, consumer, &shows);
        }
        let media = participant.media.as_mut();
        let told = media.is_some_and(|media| set_shows(media, transport, consumer, &shows));
        if let (true, Some(connection)) = (told, connection) {
            let consumers = participant.media.iter().flat_map(|media| &media.consumers);
            let slots = consumers.filter(|one| one.consumer == consumer).map(|one| one.slot()).collect();
            self.out.tell(connection, None, ServerMessage::Slots { slots });
        }
    }

    /// Tells a publisher which layers of its own source somebody sees.
    fn producer_demand(&mut self, transport: TransportId, producer: ProducerId, layers: Vec<u8>) {
        let Some(seat) = self.transports.get(&transport).cloned() else {
            return self.out.event(Event::NodeFrameStale);
        };
        let Some(participant) = self.participant(&seat) else { return };
        let connection = participant.connection();
        // What an offer on its way names takes the place of what is there.
        if let Some(offering) = &mut participant.offering {
            set_asked(&mut offering.media, transport, producer, &layers);
        }
        let media = participant.media.as_mut();
        let source = media.and_then(|media| set_asked(media, transport, producer, &layers));
        if let (Some(source), Some(connection)) = (source, connection) {
            self.out.tell(connection, None, ServerMessage::Demand { source, layers });
        }
    }

    /// To one that was away when it was told.
    pub(crate) fn demand_again(&mut self, seat: &Seat) {
        let Some(participant) = self.participant(seat) else { return };
        let Some(connection) = participant.connection() else { return };
        let producers = participant.media.iter().flat_map(|media| &media.producers);
        let told = producers.filter_map(|owned| Some((owned.source, owned.asked.clone()?)));
        for (source, layers) in told.collect::<Vec<_>>() {
            self.out.tell(connection, None, ServerMessage::Demand { source, layers });
        }
    }

    fn speakers(&mut self, router: RouterId, levels: Vec<SpeakerLevel>) {
        let Some(room) = self.routers.get(&router).and_then(|room| self.rooms.get(room)) else {
            return self.out.event(Event::NodeFrameStale);
        };
        let mut speakers: Vec<Speaker> = Vec::with_capacity(levels.len());
        for SpeakerLevel { producer, level } in levels {
            let Some(owner) = room.producers.get(&producer) else { continue };
            // A voice and the sound of the same participant's screen are one speaker, the louder.
            if !speakers.iter().any(|speaker| speaker.participant == owner.participant) {
                speakers.push(Speaker { participant: owner.participant.clone(), level });
            }
        }
        self.out.broadcast(room, None, &ServerMessage::Speakers { speakers });
    }
}

/// What the producer carries, if it is one of this media.
fn set_asked(
    media: &mut Media,
    transport: TransportId,
    producer: ProducerId,
    layers: &[u8],
) -> Option<Source> {
    if media.transport != transport {
        return None;
    }
    let owned = media.producers.iter_mut().find(|owned| owned.producer == producer)?;
    owned.asked = Some(layers.to_vec());
    Some(owned.source)
}

/// Whether that changed anything.
fn set_shows(
    media: &mut Media,
    transport: TransportId,
    consumer: ConsumerId,
    shows: &Option<SlotSource>,
) -> bool {
    if media.transport != transport {
        return false;
    }
    let Some(slot) = media.consumers.iter_mut().find(|one| one.consumer == consumer) else { return false };
    let changed = !slot.told || slot.shows != *shows;
    slot.told = true;
    slot.shows.clone_from(shows);
    changed
}
