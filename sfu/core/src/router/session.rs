//! Transports as they come, change and go by request.

use std::time::Duration;

use broletto_control::{
    Codec, ConsumerSlot, ConsumerWish, Content, ControlError, Notification, ProducerId, ProducerSlot,
    Response, TransportId, TransportWish,
};
use rand::Rng;
use str0m::IceCreds;

use super::{Context, Router};
use crate::consumer::Consumer;
use crate::demux::SessionKey;
use crate::io::Protocol;
use crate::producer::Producer;
use crate::transport::{Offer, WebRtc};
use crate::ufrag;

/// Of a ufrag after the worker's index, and of a password. RFC 8839 section 5.4 asks for 24 and
/// 128 bits of randomness; each character has six.
const UFRAG_RANDOM_LENGTH: usize = 12;
const PASSWORD_LENGTH: usize = 32;
/// Timestamps of a transport start somewhere in the first half day, which is what they can show.
const MEDIA_TIME_MS_MAX: u64 = 12 * 60 * 60 * 1_000;
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Router {
    pub fn slot_of(&self, transport: TransportId) -> Option<usize> {
        self.by_transport.get(&transport).copied()
    }

    pub fn handle_offer(
        &mut self,
        id: TransportId,
        sdp: &str,
        producers: &[ProducerSlot],
        consumers: &[ConsumerSlot],
        cx: &mut Context<'_>,
    ) -> Result<Response, ControlError> {
        let limits = &cx.environment.limits;
        let offer = Offer::parse(sdp, producers, consumers, limits)?;
        let slot = match self.slot_of(id) {
            Some(slot) => slot,
            None => {
                let (max, got) = (limits.transports_per_router_max, self.transports.len() + 1);
                if got > max {
                    let what = "transports of a router".to_owned();
                    return Err(ControlError::Limit { what, max, got });
                }
                self.transports.next_index()
            }
        };
        self.check_ids(slot, producers, consumers)?;

        let fresh = credentials(cx);
        let known = self.slot_of(id).is_some();
        let answer = if known {
            let transport = self.transports.get_mut(slot).expect("a known transport has a slot");
            let before = transport.credentials().ufrag.clone();
            let answer = transport.negotiate(&offer, producers, &self.config.video_codecs, fresh)?;
            cx.demux.remove_ufrag(&before);
            answer
        } else {
            let video_codecs = &self.config.video_codecs;
            let mut transport =
                WebRtc::new(id, fresh.clone(), video_codecs, cx.environment, cx.random, cx.now);
            transport.media_time.0 = Duration::from_millis(cx.random.random_range(0..MEDIA_TIME_MS_MAX));
            let answer = transport.negotiate(&offer, producers, video_codecs, fresh)?;
            self.transports.insert(transport);
            self.by_transport.insert(id, slot);
            answer
        };
        let transport = self.transports.get(slot).expect("it was inserted or known");
        let ufrag = transport.credentials().ufrag.clone();
        cx.demux.insert_ufrag(ufrag, SessionKey { router: self.slot, transport: slot });

        self.update_producers_of(slot, &offer, producers, cx);
        self.update_consumers_of(slot, &offer, consumers, cx);
        let video_codecs = self.video_codecs_of(slot, &offer);
        self.sources_stale = true;
        self.mark_dirty(slot, cx);
        self.settle(cx);
        Ok(Response::Answer { sdp: answer, video_codecs })
    }

    pub fn pause_producer(
        &mut self,
        slot: usize,
        id: ProducerId,
        paused: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), ControlError> {
        let found = self.by_producer.get(&id).and_then(|producer| self.producers.get_mut(*producer));
        let producer = found
            .filter(|producer| producer.transport == slot)
            .ok_or_else(|| ControlError::unknown("producer", id.0))?;
        if producer.paused != paused {
            producer.paused = paused;
            producer.restart(cx.now);
            if paused {
                self.speakers.silence(id);
            }
            self.sources_stale = true;
        }
        self.settle(cx);
        Ok(())
    }

    pub fn set_consumers(
        &mut self,
        slot: usize,
        wishes: &[ConsumerWish],
        cx: &mut Context<'_>,
    ) -> Result<(), ControlError> {
        let Some(transport) = self.transports.get_mut(slot) else { return Ok(()) };
        for wish in wishes {
            if transport.consumer_index(wish.consumer).is_none() {
                return Err(ControlError::unknown("consumer", wish.consumer.0));
            }
        }
        for wish in wishes {
            let index = transport.consumer_index(wish.consumer).expect("each was found above");
            transport.consumers[index].rule = wish.rule;
            transport.consumers[index].size = wish.size;
        }
        self.sources_stale = true;
        self.layers_stale.insert(slot);
        self.settle(cx);
        Ok(())
    }

    /// The part of a `Sync` that is about one transport. What it wishes of producers and consumers
    /// that are not there (any more) comes with the next offer.
    pub fn apply_wish(&mut self, slot: usize, wish: &TransportWish, cx: &mut Context<'_>) {
        let producers = self.transports.get(slot).map(|transport| transport.producers.clone());
        for producer in producers.into_iter().flatten() {
            let Some(id) = self.producers.get(producer).map(|producer| producer.id) else { continue };
            let paused = self.pause_producer(slot, id, wish.paused.contains(&id), cx);
            debug_assert!(paused.is_ok(), "the producers of a transport are its own");
        }
        let Some(transport) = self.transports.get(slot) else { return };
        let known = wish.wishes.iter().filter(|wish| transport.consumer_index(wish.consumer).is_some());
        let known: Vec<ConsumerWish> = known.copied().collect();
        let set = self.set_consumers(slot, &known, cx);
        debug_assert!(set.is_ok(), "unknown consumers were left out");
    }

    /// Tells everything that was told before (again, to a signaling process that may be new).
    pub fn notify_all(&mut self, cx: &mut Context<'_>) {
        for (_, transport) in self.transports.iter() {
            let (id, state) = (transport.id, transport.state);
            cx.outbox.notify(Notification::TransportState { transport: id, state });
            for consumer in &transport.consumers {
                let (consumer, source) = (consumer.id, consumer.notified);
                cx.outbox.notify(Notification::ConsumerSource { transport: id, consumer, source });
            }
        }
        for (_, producer) in self.producers.iter() {
            cx.outbox.notify(Notification::ProducerLive { producer: producer.id, live: producer.live });
        }
        self.notify_demands(cx);
        let speakers = self.levels.clone();
        cx.outbox.notify(Notification::Speakers { router: self.id, speakers });
    }

    /// By request: the peer is told, signaling knows.
    pub fn close_transport(&mut self, slot: usize, cx: &mut Context<'_>) {
        if let Some(transport) = self.transports.get_mut(slot) {
            transport.close(cx.environment, cx.outbox, cx.now);
        }
        self.remove_transport(slot, cx);
        self.settle(cx);
    }

    pub fn close_all(&mut self, cx: &mut Context<'_>) {
        let slots: Vec<usize> = self.transports.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close_transport(slot, cx);
        }
    }

    pub(super) fn remove_transport(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.remove(slot) else { return };
        let key = SessionKey { router: self.slot, transport: slot };
        self.by_transport.remove(&transport.id);
        cx.demux.remove_ufrag(&transport.credentials().ufrag);
        for (protocol, remote) in transport.addresses() {
            cx.demux.remove_address(protocol, remote, key);
            let tcp = (protocol == Protocol::Tcp).then(|| transport.tcp_bound(cx.environment, remote));
            if let Some(bound) = tcp.flatten() {
                cx.outbox.close_tcp(bound, remote);
            }
        }
        if let Some(noted) = transport.noted_deadline {
            cx.deadlines.remove(&(noted, key));
        }
        for producer in &transport.producers {
            self.remove_producer(*producer);
        }
        for (_, producer) in self.producers.iter_mut() {
            producer.consumers.retain(|consumer| consumer.transport != slot);
        }
        self.layers_stale.remove(&slot);
        self.sources_stale = true;
    }

    fn remove_producer(&mut self, slot: usize) {
        let Some(producer) = self.producers.remove(slot) else { return };
        self.by_producer.remove(&producer.id);
        self.speakers.remove(producer.id);
        self.audible.retain(|audible| *audible != producer.id);
        for key in producer.consumers {
            if let Some(transport) = self.transports.get_mut(key.transport) {
                transport.switch_source(key.consumer, None, 0);
            }
        }
        self.sources_stale = true;
    }

    /// Slots keep their ids, and an id belongs to one slot.
    fn check_ids(
        &self,
        slot: usize,
        producers: &[ProducerSlot],
        consumers: &[ConsumerSlot],
    ) -> Result<(), ControlError> {
        let taken = |what: &str, id: String| ControlError::Taken { what: what.to_owned(), id };
        for (index, wished) in producers.iter().enumerate() {
            let known = self.by_producer.get(&wished.producer).and_then(|slot| self.producers.get(*slot));
            let moved = known.is_some_and(|known| known.transport != slot || *known.mid != *wished.mid);
            if moved || producers[..index].iter().any(|other| other.producer == wished.producer) {
                return Err(taken("producer", wished.producer.0.to_string()));
            }
        }
        let known = self.transports.get(slot).map_or(&[][..], |transport| &transport.consumers);
        for (index, wished) in consumers.iter().enumerate() {
            let moved =
                known.iter().any(|known| (known.id == wished.consumer) != (*known.mid == *wished.mid));
            if moved || consumers[..index].iter().any(|other| other.consumer == wished.consumer) {
                return Err(taken("consumer", wished.consumer.0.to_string()));
            }
        }
        Ok(())
    }

    fn update_producers_of(
        &mut self,
        slot: usize,
        offer: &Offer,
        wished: &[ProducerSlot],
        cx: &mut Context<'_>,
    ) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        let (kept, gone): (Vec<usize>, Vec<usize>) = transport.producers.iter().partition(|producer| {
            let producer = self.producers.get(**producer);
            producer.is_some_and(|producer| wished.iter().any(|slot| slot.producer == producer.id))
        });
        transport.producers = kept;
        transport.streams.retain(|stream| !gone.contains(&stream.producer));
        gone.into_iter().for_each(|producer| self.remove_producer(producer));

        for wished in wished {
            if self.by_producer.contains_key(&wished.producer) {
                continue;
            }
            let Some(line) = offer.line(&wished.mid) else { continue };
            let mid = wished.mid.as_str().into();
            let mut producer = Producer::new(wished.producer, slot, mid, wished.content, &line.rids, cx.now);
            producer.paused = wished.paused;
            let index = self.producers.insert(producer);
            self.by_producer.insert(wished.producer, index);
            if wished.content == Content::Microphone {
                self.speakers.add(wished.producer, cx.now);
                self.audible.push(wished.producer);
            }
            if let Some(transport) = self.transports.get_mut(slot) {
                transport.producers.push(index);
            }
        }
    }

    fn update_consumers_of(
        &mut self,
        slot: usize,
        offer: &Offer,
        wished: &[ConsumerSlot],
        cx: &mut Context<'_>,
    ) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        for consumer in &mut transport.consumers {
            if !wished.iter().any(|slot| slot.consumer == consumer.id) {
                consumer.rule = broletto_control::ConsumerRule::Off;
            }
        }
        for wished in wished {
            if transport.consumer_index(wished.consumer).is_some() {
                continue;
            }
            let Some(line) = offer.line(&wished.mid) else { continue };
            let sequence_number = cx.random.random();
            let mid = wished.mid.as_str().into();
            let (time, since) = transport.media_time;
            let mut consumer = Consumer::new(wished.consumer, mid, line.audio, sequence_number, time, since);
            consumer.rule = wished.rule;
            transport.consumers.push(consumer);
        }
        transport.bind_consumers(|| cx.random.random());
    }

    /// What the peer can both send and receive. An offer that only does one of them says nothing
    /// about the other.
    fn video_codecs_of(&self, slot: usize, offer: &Offer) -> Vec<Codec> {
        let Some(transport) = self.transports.get(slot) else { return Vec::new() };
        let all = |codec: &Codec, direction: fn(&crate::transport::MediaLine) -> bool| {
            let lines = offer.lines.iter().filter(|line| !line.audio && direction(line));
            lines.into_iter().all(|line| transport.video_codecs_of(&line.mid).contains(codec))
        };
        let can = |codec: &&Codec| all(codec, |line| line.sends) && all(codec, |line| line.receives);
        let has_video = offer.lines.iter().any(|line| !line.audio && (line.sends || line.receives));
        self.config.video_codecs.iter().filter(|_| has_video).filter(can).copied().collect()
    }

    fn mark_dirty(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        cx.note_dirty(self.slot, slot, transport);
    }
}

fn credentials(cx: &mut Context<'_>) -> IceCreds {
    let mut random = |length: usize| -> String {
        (0..length).map(|_| char::from(ICE_CHARS[cx.random.random_range(0..ICE_CHARS.len())])).collect()
    };
    let (ufrag, pass) = (random(UFRAG_RANDOM_LENGTH), random(PASSWORD_LENGTH));
    IceCreds { ufrag: ufrag::compose(cx.worker, &ufrag), pass }
}
