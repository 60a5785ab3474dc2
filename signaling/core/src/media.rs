//! What participants offer, publish and wish to see.

use std::time::{Duration, Instant};

use broletto_control::{ConsumerId, ControlError, Request, RequestId, Response, RouterId, TransportId};
use broletto_protocol::client::{ReceiveSlot, SendSlot, Show, ViewSlot};
use broletto_protocol::server::{ErrorCode, ServerMessage};
use broletto_protocol::{Publishing, Source};

use crate::conference::{Reply, Seat, Timer};
use crate::error::ClientError;
use crate::out::Link;
use crate::participant::{Consumer, Media, Offering, ReplyTo};
use crate::{Conference, Event, Now, convert, moderation, pool, roles};

/// For how long a client waits for the answer to its offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

impl Conference {
    #[allow(clippy::too_many_arguments)] // They are the fields of one message.
    pub(crate) fn offer(
        &mut self,
        seat: &Seat,
        reply_to: ReplyTo,
        sdp: String,
        fresh: bool,
        send: Vec<SendSlot>,
        receive: Vec<ReceiveSlot>,
        now: Now,
    ) -> Result<Reply, ClientError> {
        pool::check(&send, &receive, &self.config.limits)?;
        if self.out.link == Link::Refused {
            return Err(ClientError::new(
                ErrorCode::Unavailable,
                "no media server takes requests of this one",
            ));
        }
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let participant = room.participants.get(&seat.participant).expect("a seat is a participant's");
        // Who was more before keeps its m-lines, which are paused.
        let has = |slot: &SendSlot| {
            let media = participant.media.as_ref().filter(|_| !fresh);
            let mut known = media.iter().flat_map(|media| &media.producers);
            known.any(|one| one.mid == slot.mid && one.source == slot.source)
        };
        if !roles::may_publish(participant.role) && !send.iter().all(has) {
            return Err(ClientError::field(ErrorCode::Forbidden, "send", "a viewer sends nothing"));
        }
        if participant.offering.is_some() {
            return Err(ClientError::new(ErrorCode::State, "the offer before is still being answered"));
        }
        let former = match (fresh, &participant.media) {
            (true, _) => None,
            (false, Some(media)) => Some(media),
            (false, None) => {
                let message = "there is nothing to renegotiate: make a fresh offer";
                return Err(ClientError::field(ErrorCode::State, "fresh", message));
            }
        };
        let media = pool::media(former, send, receive, participant.publishing, || self.out.new_id());
        let router = match room.router {
            Some(router) => router,
            None => {
                let router = RouterId(self.out.new_id());
                room.router = Some(router);
                self.routers.insert(router, seat.room.clone());
                self.out.save_room(room);
                router
            }
        };
        self.tell_router(&seat.room);
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let transport = media.transport;
        let (producers, consumers) = (pool::producer_slots(&media), pool::consumer_slots(&media, room));
        let request = Request::Offer { router, transport, sdp, producers, consumers };
        let request = self.out.offer(seat.clone(), request);
        let until = now.instant + OFFER_TIMEOUT;
        self.transports.insert(transport, seat.clone());
        self.timers.insert((until, Timer::Offer(seat.clone())));
        let participant = room.participants.get_mut(&seat.participant).expect("a seat is a participant's");
        participant.offering = Some(Offering { request, media, reply_to, until, closed: false });
        Ok(Reply::Elsewhere)
    }

    /// Makes the node know the room's router, if it may not.
    pub(crate) fn tell_router(&mut self, room: &str) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        if let (Some(router), false, Link::Up) = (room.router, room.router_told, self.out.link) {
            room.router_told = true;
            self.out.command(Request::CreateRouter { router, config: room.router_config() });
        }
    }

    pub(crate) fn offer_answered(
        &mut self,
        seat: &Seat,
        request: RequestId,
        result: Result<Response, ControlError>,
    ) {
        let Some(participant) = self.participant(seat) else { return };
        let Some(offering) = participant.offering.take_if(|offering| offering.request == request) else {
            return self.out.event(Event::NodeFrameStale);
        };
        let renegotiated =
            participant.media.as_ref().is_some_and(|media| media.transport == offering.media.transport);
        self.timers.remove(&(offering.until, Timer::Offer(seat.clone())));
        let mut lost = false;
        let error = match result {
            Ok(Response::Answer { .. }) if offering.closed => {
                // A node that was restarted meanwhile has made it anew.
                self.out.command(Request::CloseTransport { transport: offering.media.transport });
                ClientError::new(ErrorCode::Unavailable, "the media server lost the connection")
            }
            Ok(Response::Answer { sdp, video_codecs }) => {
                let mut media = offering.media;
                media.video_codecs = video_codecs.into_iter().filter_map(convert::video_codec).collect();
                self.answer_offer(seat, offering.reply_to, Ok(sdp));
                return self.install_media(seat, media);
            }
            Ok(_) => {
                self.out.event(Event::NodeError { message: "an offer was not answered by an answer".into() });
                ClientError::new(ErrorCode::Internal, "the media server could not take the offer")
            }
            Err(error) => {
                lost = renegotiated && matches!(error, ControlError::Unknown { .. });
                self.out.event(Event::NodeError { message: error.to_string() });
                convert::offer_refused(error)
            }
        };
        let transport = offering.media.transport;
        if !renegotiated {
            self.transports.remove(&transport);
        }
        self.answer_offer(seat, offering.reply_to, Err(error));
        if lost {
            self.transport_lost(transport);
        } else if renegotiated {
            self.keep_wishes(seat, &offering.media);
        }
    }

    /// The node refused to change the m-lines: what the client wished meanwhile of those that stay as
    /// they were holds all the same, for it was told so.
    fn keep_wishes(&mut self, seat: &Seat, refused: &Media) {
        // Who came over HTTP wishes nothing by itself.
        let Some(participant) = self.participant(seat).filter(|one| one.http.is_none()) else { return };
        let consumers = participant.media.iter_mut().flat_map(|media| &mut media.consumers);
        let mut touched = Vec::new();
        for consumer in consumers {
            let same = refused.consumers.iter().find(|one| one.consumer == consumer.consumer);
            let Some(Consumer { wish, size, .. }) = same else { continue };
            if (&consumer.wish, &consumer.size) != (wish, size) {
                (consumer.wish, consumer.size) = (wish.clone(), *size);
                touched.push(consumer.consumer);
            }
        }
        if !touched.is_empty() {
            self.tell_wishes(seat, &touched);
        }
    }

    /// Tells the node what these consumers of the participant are to show now.
    pub(crate) fn tell_wishes(&mut self, seat: &Seat, touched: &[ConsumerId]) {
        let Some(room) = self.rooms.get(&seat.room) else { return };
        let Some(participant) = room.participants.get(&seat.participant) else { return };
        let Some(media) = &participant.media else { return };
        let consumers = media.consumers.iter().filter(|one| touched.contains(&one.consumer));
        let wishes = consumers.map(|consumer| consumer.wish(room)).collect();
        self.out.command(Request::SetConsumers { transport: media.transport, wishes });
        self.out.save_participant(room, seat.participant);
    }

    /// The transport whose m-lines an offer was to change is gone.
    pub(crate) fn refuse_renegotiation(&mut self, seat: &Seat, transport: TransportId) {
        let Some(participant) = self.participant(seat) else { return };
        let Some(offering) = participant.offering.take_if(|offering| offering.media.transport == transport)
        else {
            return;
        };
        self.timers.remove(&(offering.until, Timer::Offer(seat.clone())));
        self.out.abandon_offer(offering.request, Some(transport));
        let error = ClientError::new(ErrorCode::Unavailable, "the media server lost the connection");
        self.answer_offer(seat, offering.reply_to, Err(error));
    }

    pub(crate) fn offer_timed_out(&mut self, seat: &Seat, at: Instant) {
        let Some(participant) = self.participant(seat) else { return };
        let Some(offering) = participant.offering.as_ref().filter(|offering| offering.until == at) else {
            return;
        };
        let reply_to = offering.reply_to.clone();
        self.abandon_offer(seat);
        if let ReplyTo::Message(_) = reply_to {
            let error = ClientError::new(ErrorCode::Unavailable, "the media server does not answer");
            self.answer_offer(seat, reply_to, Err(error));
        }
    }

    fn answer_offer(&mut self, seat: &Seat, reply_to: ReplyTo, result: Result<String, ClientError>) {
        let connection = self.participant(seat).and_then(|participant| participant.connection());
        match (reply_to, connection) {
            (ReplyTo::Message(id), Some(connection)) => {
                let message = match result {
                    Ok(sdp) => ServerMessage::Answer { sdp },
                    Err(error) => error.into_message(),
                };
                self.out.tell(connection, Some(id), message);
            }
            (ReplyTo::Message(_), None) => {}
            (ReplyTo::Http(offer), _) => self.session_offer_answered(seat, offer, result),
        }
    }

    /// Nobody waits on a WebSocket for the answer to the participant's offer any more; who waits for
    /// that of an HTTP request hears that it will not come.
    pub(crate) fn abandon_offer(&mut self, seat: &Seat) {
        let Some(participant) = self.participant(seat) else { return };
        let Some(offering) = participant.offering.take() else { return };
        let reply_to = offering.reply_to.clone();
        let current = participant.media.as_ref().filter(|one| one.transport == offering.media.transport);
        let video_codecs = current.map(|media| media.video_codecs.clone());
        self.timers.remove(&(offering.until, Timer::Offer(seat.clone())));
        match video_codecs {
            // The node has, or soon will have, what the renegotiation named: to keep its ids lets
            // the client repeat it.
            Some(video_codecs) => {
                self.out.abandon_offer(offering.request, None);
                self.install_media(seat, Media { video_codecs, ..offering.media });
            }
            None => {
                self.transports.remove(&offering.media.transport);
                self.out.abandon_offer(offering.request, Some(offering.media.transport));
            }
        }
        if let ReplyTo::Http(_) = reply_to {
            let error = ClientError::new(ErrorCode::Unavailable, "the media server does not answer");
            self.answer_offer(seat, reply_to, Err(error));
        }
    }

    /// The node has taken the offer: from now on this is the participant's media.
    fn install_media(&mut self, seat: &Seat, media: Media) {
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        let transport = media.transport;
        let former = room.set_media(seat.participant, Some(media));
        let renegotiated = former.as_ref().is_some_and(|former| former.transport == transport);
        if let Some(former) = former
            && !renegotiated
        {
            self.transports.remove(&former.transport);
            self.out.command(Request::CloseTransport { transport: former.transport });
        }
        // What the participant said while its offer was on its way.
        self.pause_producers(seat);
        let Some(room) = self.rooms.get(&seat.room) else { return };
        let Some(participant) = room.participants.get(&seat.participant) else { return };
        let Some(media) = &participant.media else { return };
        // The node has those of a fresh offer as they begin. What it was told of the others since the
        // offer was written is not known here, so it is told all of them.
        let touched = |consumer: &&Consumer| renegotiated || !consumer.is_as_it_began();
        let wishes: Vec<_> =
            media.consumers.iter().filter(touched).map(|consumer| consumer.wish(room)).collect();
        if !wishes.is_empty() {
            self.out.command(Request::SetConsumers { transport, wishes });
        }
        for request in room.rewired(seat.participant) {
            self.out.command(request);
        }
        let slots: Vec<_> = participant.slots().into_iter().filter(|slot| slot.shows.is_some()).collect();
        if let (Some(connection), false) = (participant.connection(), slots.is_empty()) {
            self.out.tell(connection, None, ServerMessage::Slots { slots });
        }
        self.out.save_participant(room, seat.participant);
        self.refresh_codec(&seat.room);
        self.direct_watchers(&seat.room);
    }

    pub(crate) fn publish(&mut self, seat: &Seat, publishing: Publishing) -> Result<Reply, ClientError> {
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let allowed = room.allowed;
        let participant = room.participants.get_mut(&seat.participant).expect("a seat is a participant's");
        let any = Source::ALL.iter().any(|&source| publishing.is_on(source));
        if any && !roles::may_publish(participant.role) {
            return Err(ClientError::field(ErrorCode::Forbidden, "publishing", "a viewer sends nothing"));
        }
        if !roles::may_moderate(participant.role)
            && let Some(source) = moderation::forbidden_source(allowed, participant.publishing, publishing)
        {
            let field = format!("publishing.{}", source.word());
            return Err(ClientError::field(ErrorCode::Forbidden, field, "the room does not allow it"));
        }
        if participant.publishing != publishing {
            participant.publishing = publishing;
            self.pause_producers(seat);
            let room = self.rooms.get(&seat.room).expect("a seat is in a room");
            self.out.save_participant(room, seat.participant);
            self.broadcast_changed(seat, true);
        }
        Reply::ok()
    }

    /// Tells the node which producers to pause and to run, where that has changed.
    pub(crate) fn pause_producers(&mut self, seat: &Seat) {
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        let Some(participant) = room.participants.get_mut(&seat.participant) else { return };
        let Some(media) = &mut participant.media else { return };
        for one in &mut media.producers {
            let paused = !participant.publishing.is_on(one.source);
            if one.paused != paused {
                one.paused = paused;
                let (transport, producer) = (media.transport, one.producer);
                self.out.command(Request::PauseProducer { transport, producer, paused });
            }
        }
    }

    pub(crate) fn view(&mut self, seat: &Seat, slots: Vec<ViewSlot>) -> Result<Reply, ClientError> {
        let limits = &self.config.limits;
        let slots_max = usize::from(limits.audio_slots_max) + usize::from(limits.video_slots_max);
        if slots.len() > slots_max {
            let message = format!("at most {slots_max} slots, and {} came", slots.len());
            return Err(ClientError::field(ErrorCode::Limit, "slots", message));
        }
        let room = self.rooms.get_mut(&seat.room).expect("a seat is in a room");
        let participant = room.participants.get_mut(&seat.participant).expect("a seat is a participant's");
        let (own, on_its_way) = (participant.public_id(), participant.offering.is_some());
        let Some(media) = participant.newest_media() else {
            return Err(ClientError::new(ErrorCode::State, "there are no slots before an offer"));
        };
        let mut wishes = Vec::with_capacity(slots.len());
        for (index, ViewSlot { mid, show, width, height }) in slots.into_iter().enumerate() {
            let invalid =
                |field: &str, message: &str| ClientError::invalid(format!("slots[{index}].{field}"), message);
            let Some(slot) = media.consumers.iter().position(|consumer| consumer.mid == mid) else {
                return Err(invalid("mid", "the offer named no such m-line in `receive`"));
            };
            if let Show::Participant { participant, source } = &show {
                if source.kind() != media.consumers[slot].kind {
                    return Err(invalid("show.source", "the slot is of the other kind, audio or video"));
                }
                if participant.0.parse::<broletto_control::Id>().is_err() {
                    return Err(invalid("show.participant", "not the id of a participant"));
                }
                if *participant == own {
                    return Err(invalid("show.participant", "nobody is sent their own streams"));
                }
            }
            let size = match (width, height) {
                (None, None) => None,
                (Some(width), Some(height)) if width > 0 && height > 0 => Some((width, height)),
                _ => return Err(invalid("width", "width and height are both left out or both above 0")),
            };
            wishes.push((slot, show, size));
        }
        let touched: Vec<_> = wishes.iter().map(|(slot, ..)| *slot).collect();
        for (slot, show, size) in wishes {
            media.consumers[slot].wish = show;
            media.consumers[slot].size = size;
        }
        if !on_its_way {
            let room = self.rooms.get(&seat.room).expect("a seat is in a room");
            let media = room.participants.get(&seat.participant).and_then(|one| one.media.as_ref());
            let media = media.expect("without an offer on its way the newest media is the present");
            let wishes: Vec<_> = touched.into_iter().map(|slot| media.consumers[slot].wish(room)).collect();
            if !wishes.is_empty() {
                self.out.command(Request::SetConsumers { transport: media.transport, wishes });
                self.out.save_participant(room, seat.participant);
            }
        }
        Reply::ok()
    }

    /// Tells publishers and the node when the policy asks for another codec.
    pub(crate) fn refresh_codec(&mut self, room: &str) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let codec = room.policy_codec();
        if room.video_codec == codec {
            return;
        }
        room.video_codec = codec;
        if let (Some(router), true) = (room.router, room.router_told) {
            self.out.command(Request::SetCodecs { router, video_codecs: room.control_codecs() });
        }
        self.out.broadcast(room, None, &ServerMessage::VideoCodec { codec });
    }
}
