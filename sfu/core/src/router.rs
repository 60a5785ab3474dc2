//! The media of one room: its transports, and the way of a packet from a producer to its consumers.

mod delivery;
mod demands;
mod rules;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use broletto_control::{
    CloseReason, Notification, ProducerId, RouterConfig, RouterId, SpeakerLevel, TransportId, TransportState,
};
use rand::rngs::StdRng;
use str0m::media::Mid;

use crate::allocator::{self, Demand};
use crate::buffer::Buffers;
use crate::consumer::Packet;
use crate::demux::{Demux, Kind, SessionKey};
use crate::io::Received;
use crate::key_frame::Reason;
use crate::outbox::Outbox;
use crate::packet::IncomingPacket;
use crate::producer::Producer;
use crate::red::Redundant;
use crate::slab::Slab;
use crate::speaker::Speakers;
use crate::transport::{Arrived, Environment, Failure, Stream, TransportEvent, WebRtc};
use delivery::Waiting;

/// How often time is looked at where no packet does it: lost peers, silent producers, speakers,
/// allocation.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// What a session is told that ended by a panic (M6).
const FAULT: &str = "a fault of ours ended this session";
/// Audio with older frames in it takes twice the room: on a path that carries less than this, in bits
/// a second, the picture needs it more.
const REDUNDANCY_BPS_MIN: u64 = 500_000;

/// What the worker lends to its routers.
pub(crate) struct Context<'a> {
    pub environment: &'a Environment,
    pub demux: &'a mut Demux,
    pub outbox: &'a mut Outbox,
    pub buffers: &'a mut Buffers,
    /// Sessions whose transport has something to do.
    pub dirty: &'a mut Vec<SessionKey>,
    /// Slots of routers where packets wait for the turns of their transports.
    pub undelivered: &'a mut Vec<usize>,
    /// When transports want to be advanced.
    pub deadlines: &'a mut BTreeSet<(Instant, SessionKey)>,
    pub random: &'a mut StdRng,
    /// Index of the worker on its node.
    pub worker: u16,
    pub now: Instant,
}

impl Context<'_> {
    /// The transport has something to do.
    fn note_dirty(&mut self, router: usize, slot: usize, transport: &mut WebRtc) {
        if !std::mem::replace(&mut transport.dirty, true) {
            self.dirty.push(SessionKey { router, transport: slot });
        }
    }
}

pub(crate) struct Router {
    pub id: RouterId,
    pub config: RouterConfig,
    /// When [`Router::handle_tick`] is due. None: there is nobody in the room.
    pub tick_at: Option<Instant>,
    /// The tick that the worker has noted.
    pub noted_tick: Option<Instant>,
    /// Its own slot in the worker.
    slot: usize,
    transports: Slab<WebRtc>,
    producers: Slab<Producer>,
    by_transport: HashMap<TransportId, usize>,
    by_producer: HashMap<ProducerId, usize>,
    speakers: Speakers,
    /// As they were notified last.
    levels: Vec<SpeakerLevel>,
    audible: Vec<ProducerId>,
    /// Consumers may have to get other sources.
    sources_stale: bool,
    /// Transports whose consumers may have to get other layers.
    layers_stale: BTreeSet<usize>,
    /// Other encodings of producers may be wanted than their publishers were told.
    demands_stale: bool,
    full_tick_at: Instant,
    events: Vec<TransportEvent>,
    waiting: Waiting,
}

impl Router {
    pub fn new(id: RouterId, config: RouterConfig, slot: usize, now: Instant) -> Self {
        Router {
            id,
            config,
            tick_at: None,
            noted_tick: None,
            slot,
            transports: Slab::default(),
            producers: Slab::default(),
            by_transport: HashMap::new(),
            by_producer: HashMap::new(),
            speakers: Speakers::default(),
            levels: Vec::new(),
            audible: Vec::new(),
            sources_stale: false,
            layers_stale: BTreeSet::new(),
            demands_stale: false,
            full_tick_at: now,
            events: Vec::new(),
            waiting: Waiting::default(),
        }
    }

    pub fn transport(&self, slot: usize) -> Option<&WebRtc> {
        self.transports.get(slot)
    }

    pub fn transport_mut(&mut self, slot: usize) -> Option<&mut WebRtc> {
        self.transports.get_mut(slot)
    }

    pub fn transport_ids(&self) -> Vec<TransportId> {
        let mut ids: Vec<TransportId> = self.by_transport.keys().copied().collect();
        ids.sort();
        ids
    }

    /// A datagram of one of its sessions, whose source was checked.
    pub fn handle_received(
        &mut self,
        slot: usize,
        kind: Kind,
        received: &Received<'_>,
        cx: &mut Context<'_>,
    ) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        let mut events = std::mem::take(&mut self.events);
        let stats = &mut cx.outbox.stats;
        transport.handle_received(kind, received, cx.environment, cx.buffers, stats, &mut events, cx.now);
        self.events = events;
        self.poll_transport(slot, cx);
        self.settle(cx);
    }

    pub fn handle_deadline(&mut self, slot: usize, cx: &mut Context<'_>) {
        if let Some(transport) = self.transports.get_mut(slot) {
            transport.noted_deadline = None;
        }
        self.handle_dirty(slot, cx);
    }

    /// A session's deadline came, or something was written to it.
    pub fn handle_dirty(&mut self, slot: usize, cx: &mut Context<'_>) {
        self.deliver(slot, cx);
        let Some(transport) = self.transports.get_mut(slot) else { return };
        transport.dirty = false;
        transport.advance(cx.now);
        self.poll_transport(slot, cx);
        self.settle(cx);
    }

    pub fn handle_tick(&mut self, cx: &mut Context<'_>) {
        self.tick_at = None;
        if self.full_tick_at <= cx.now {
            self.full_tick_at = cx.now + TICK;
            self.update_transports(cx);
            self.update_producers(cx);
            self.update_speakers(cx);
            self.layers_stale.extend(self.transports.iter().map(|(slot, _)| slot));
        }
        self.settle(cx);
        self.poll_key_frames(cx);
    }

    /// Does what packets and requests made necessary.
    pub fn settle(&mut self, cx: &mut Context<'_>) {
        if self.sources_stale || !self.layers_stale.is_empty() {
            self.deliver_all(cx);
        }
        if std::mem::take(&mut self.sources_stale) {
            self.choose_sources(cx);
        }
        while let Some(slot) = self.layers_stale.pop_first() {
            self.allocate(slot, cx);
            self.demands_stale = true;
        }
        if std::mem::take(&mut self.demands_stale) {
            self.update_demands(cx);
        }
        if self.transports.len() == 0 {
            self.tick_at = None;
        } else if self.tick_at.is_none() {
            self.tick_at = Some(self.full_tick_at.max(cx.now));
        }
    }

    /// After a panic in it.
    pub fn end_session(&mut self, slot: usize, cx: &mut Context<'_>) {
        if let Some(transport) = self.transports.get_mut(slot) {
            transport.fail(FAULT);
        }
        self.remove_if_failed(slot, cx);
        self.settle(cx);
    }

    fn remove_if_failed(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get(slot) else { return };
        let (id, reason) = match transport.failure.clone() {
            None => return,
            Some(Failure::TimedOut) => (transport.id, CloseReason::TimedOut),
            Some(Failure::Failed(message)) => (transport.id, CloseReason::Failed { message }),
        };
        tracing::info!(router = %self.id.0, transport = %id.0, ?reason, "transport closed");
        self.remove_transport(slot, cx);
        cx.outbox.notify(Notification::TransportClosed { transport: id, reason });
    }

    fn poll_transport(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        let mut events = std::mem::take(&mut self.events);
        transport.poll(cx.environment, cx.outbox, &mut events, cx.now);
        note_deadline(transport, SessionKey { router: self.slot, transport: slot }, cx);
        for event in events.drain(..) {
            match event {
                TransportEvent::Packet(packet) => self.handle_packet(slot, packet, cx),
                TransportEvent::KeyFrameRequested(mid) => self.handle_key_frame_request(slot, mid, cx),
                TransportEvent::EstimateFell => _ = self.layers_stale.insert(slot),
                TransportEvent::Connected => self.handle_connected(slot, cx),
                TransportEvent::Stats => self.notify_stats(slot, cx),
            }
        }
        self.events = events;
        self.remove_if_failed(slot, cx);
    }

    fn handle_connected(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        if let Some(state) = transport.enter(TransportState::Connected) {
            let transport = transport.id;
            tracing::info!(router = %self.id.0, transport = %transport.0, "transport connected");
            cx.outbox.notify(Notification::TransportState { transport, state });
            self.layers_stale.insert(slot);
        }
    }

    fn handle_packet(&mut self, slot: usize, packet: Arrived, cx: &mut Context<'_>) {
        if self.transports.get(slot).is_some_and(|transport| !transport.has_stream(packet.ssrc)) {
            self.deliver_all(cx);
        }
        let Some(stream) = self.stream_of(slot, &packet) else {
            cx.outbox.stats.dropped.rtp_refused += 1;
            return;
        };
        let codec = packet.codec;
        let Some(producer) = self.producers.get_mut(stream.producer) else { return };
        if producer.paused {
            cx.outbox.stats.dropped.paused += 1;
            return;
        }
        let redundant = match packet.is_redundant.then(|| Redundant::parse(&packet.payload)) {
            Some(None) => {
                cx.outbox.stats.dropped.payload_malformed += 1;
                return;
            }
            parsed => parsed.flatten(),
        };
        let inspector = &mut producer.encodings[stream.encoding].inspector;
        let Ok(info) = inspector.inspect(codec, &packet.payload, packet.descriptor.as_deref()) else {
            cx.outbox.stats.dropped.payload_malformed += 1;
            return;
        };
        let structure = packet.descriptor.as_ref().and(inspector.structure().cloned());
        // Older frames are left out where the path is narrow, which is where it is counted on.
        let bytes = redundant.as_ref().map_or(packet.payload.len(), |one| one.primary(&packet.payload).len());
        let appeared = producer.note_packet(stream.encoding, &info, bytes, cx.now);
        if producer.codec.replace(codec) != Some(codec) {
            self.sources_stale = true;
        }
        if let (Some((level, is_voice)), broletto_control::Content::Microphone) =
            (packet.audio_level, producer.content)
        {
            self.speakers.handle_level(producer.id, level, Some(is_voice), cx.now);
            // Waiting for the next tick would make the picture come later than it must.
            self.sources_stale |= self.speakers.handle_timeout(cx.now);
        }
        if appeared {
            self.layers_stale.extend(producer.consumers.iter().map(|key| key.transport));
            if let Some(live) = producer.update_live(cx.now) {
                cx.outbox.notify(Notification::ProducerLive { producer: producer.id, live });
            }
        }
        let (payload, redundant) = match redundant {
            Some(redundant) => {
                let primary = packet.payload.slice(redundant.primary_at()..packet.payload.len());
                (primary, Some((redundant, packet.payload)))
            }
            None => (packet.payload, None),
        };
        let packet = Packet {
            incoming: IncomingPacket {
                encoding: stream.encoding as u8,
                sequence_number: packet.sequence_number,
                timestamp: packet.timestamp,
                info,
            },
            codec,
            marker: packet.marker,
            audio_level: packet.audio_level,
            captured_at: packet.captured_at,
            payload,
            redundant,
            descriptor: packet.descriptor,
            structure,
        };
        self.await_turns(stream.producer, packet, cx);
    }

    /// Which encoding of which producer a packet belongs to.
    fn stream_of(&mut self, slot: usize, packet: &Arrived) -> Option<Stream> {
        let transport = self.transports.get_mut(slot)?;
        let ssrc = packet.ssrc;
        if let Some(stream) = transport.streams.iter().find(|stream| stream.ssrc == ssrc) {
            return Some(*stream);
        }
        let (mid, rid) = (packet.mid, packet.rid);
        let producers = &mut self.producers;
        let producer = *transport
            .producers
            .iter()
            .find(|producer| producers.get(**producer).is_some_and(|producer| producer.mid == mid))?;
        let encoding = producers.get(producer)?.encoding_of(rid)?;
        let stream = Stream { ssrc, producer, encoding };
        let same = |other: &Stream| (other.producer, other.encoding) == (producer, encoding);
        let replaced = transport.streams.iter().any(same);
        transport.streams.retain(|other| !same(other));
        transport.streams.push(stream);

        let producer = producers.get_mut(producer)?;
        producer.encodings[encoding].ssrc = Some(ssrc);
        if replaced {
            // The numbers of another stream have nothing to do with those before.
            let (consumers, encodings) = (producer.consumers.clone(), producer.encodings.len());
            for key in consumers {
                let Some(transport) = self.transports.get_mut(key.transport) else { continue };
                transport.consumers[key.consumer].switch_source(Some(stream.producer), encodings);
                self.layers_stale.insert(key.transport);
            }
        }
        Some(stream)
    }

    fn handle_key_frame_request(&mut self, slot: usize, mid: Mid, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get(slot) else { return };
        let Some(consumer) = transport.consumers.iter().find(|consumer| consumer.mid == mid) else { return };
        let (Some(source), Some(encoding)) = (consumer.source, consumer.encoding_shown()) else { return };
        self.request_key_frame(source, encoding, Reason::Lost, cx);
    }

    fn request_key_frame(&mut self, producer: usize, encoding: usize, reason: Reason, cx: &mut Context<'_>) {
        let Some(producer) = self.producers.get_mut(producer) else { return };
        let Some(encoding) = producer.encodings.get_mut(encoding) else { return };
        let Some(ssrc) = encoding.ssrc else { return };
        encoding.key_frames.request(reason, cx.now);
        if encoding.key_frames.poll(cx.now) {
            let slot = producer.transport;
            let Some(transport) = self.transports.get_mut(slot) else { return };
            transport.request_key_frame(ssrc);
            cx.note_dirty(self.slot, slot, transport);
        } else if let Some(due) = encoding.key_frames.poll_timeout() {
            self.tick_at = Some(self.tick_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Sends the key-frame requests that are due, and sets the next tick by those that are not.
    fn poll_key_frames(&mut self, cx: &mut Context<'_>) {
        let mut next = self.full_tick_at;
        for (_, producer) in self.producers.iter_mut() {
            for encoding in &mut producer.encodings {
                let due = encoding.key_frames.poll(cx.now);
                if let (true, Some(ssrc)) = (due, encoding.ssrc) {
                    let Some(transport) = self.transports.get_mut(producer.transport) else { continue };
                    transport.request_key_frame(ssrc);
                    cx.note_dirty(self.slot, producer.transport, transport);
                }
                if let Some(due) = encoding.key_frames.poll_timeout() {
                    next = next.min(due);
                }
            }
        }
        self.tick_at = (self.transports.len() > 0).then_some(next);
    }

    fn update_transports(&mut self, cx: &mut Context<'_>) {
        for (slot, transport) in self.transports.iter_mut() {
            if let Some(state) = transport.update_state(cx.now) {
                tracing::info!(router = %self.id.0, transport = %transport.id.0, ?state, "transport");
                cx.outbox.notify(Notification::TransportState { transport: transport.id, state });
                self.layers_stale.insert(slot);
            }
        }
        let slots: Vec<usize> = self.transports.iter().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.remove_if_failed(slot, cx));
    }

    fn update_producers(&mut self, cx: &mut Context<'_>) {
        for (_, producer) in self.producers.iter_mut() {
            producer.measure(cx.now);
            if let Some(live) = producer.update_live(cx.now) {
                cx.outbox.notify(Notification::ProducerLive { producer: producer.id, live });
            }
        }
        self.demands_stale = true;
    }

    fn update_speakers(&mut self, cx: &mut Context<'_>) {
        self.sources_stale |= self.speakers.handle_timeout(cx.now);
        let audible = self.speakers.audible_order();
        self.sources_stale |= audible != self.audible;
        self.audible = audible;
        if let Some(levels) = self.speakers.poll_levels(cx.now) {
            self.levels.clone_from(&levels);
            cx.outbox.notify(Notification::Speakers { router: self.id, speakers: levels });
        }
    }

    /// What each consumer of a transport is to get of its source.
    fn allocate(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get_mut(slot) else { return };
        let mut flowing = Vec::with_capacity(transport.consumers.len());
        for index in 0..transport.consumers.len() {
            let source = transport.consumers[index].source;
            let Some(producer) = source.and_then(|source| self.producers.get(source)) else { continue };
            let stopped = producer.paused || (!producer.is_audio() && transport.is_congested(cx.now));
            let encodings = if stopped { Vec::new() } else { producer.available(cx.now) };
            flowing.push((index, producer.content, encodings));
        }
        let demands: Vec<Demand<'_>> = flowing
            .iter()
            .map(|(index, content, encodings)| {
                let consumer = &transport.consumers[*index];
                Demand {
                    content: *content,
                    tile: consumer.size,
                    encodings,
                    current: consumer.current(),
                    may_climb: consumer.may_climb(cx.now),
                }
            })
            .collect();
        let estimate_bps = transport.estimate_bps();
        let redundancy = estimate_bps.is_none_or(|bps| bps >= REDUNDANCY_BPS_MIN);
        transport.consumers.iter_mut().for_each(|consumer| consumer.redundancy = redundancy);
        let allocation = allocator::allocate(estimate_bps, &demands);
        tracing::trace!(transport = %transport.id.0, estimate_bps, ?allocation, ?demands, "allocated");
        transport.set_useful(allocation.desired_bps, cx.now);

        let mut wanted = Vec::new();
        let allotted = allocation.targets.into_iter().zip(allocation.limited);
        for ((index, content, _), (target, limited)) in flowing.iter().zip(allotted) {
            let consumer = &mut transport.consumers[*index];
            if content.is_audio() {
                continue;
            }
            consumer.set_target(target, limited, cx.now);
            if let (Some(source), Some(encoding)) = (consumer.source, consumer.key_frame_wanted()) {
                wanted.push((source, encoding));
            }
        }
        if transport.state == TransportState::Connected {
            for (source, encoding) in wanted {
                self.request_key_frame(source, encoding, Reason::Switch, cx);
            }
        }
    }

    fn notify_stats(&mut self, slot: usize, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get(slot) else { return };
        let mut stats = transport.snapshot();
        for producer in &transport.producers {
            if let Some(producer) = self.producers.get_mut(*producer) {
                stats.producers.push(producer.stats(cx.now));
            }
        }
        cx.outbox.notify(Notification::TransportStats { transport: transport.id, stats });
    }
}

/// Sees to it that the worker comes back when the transport wants it. A deadline that moved further
/// away stays noted: coming early does no harm, and costs less than noting each move.
fn note_deadline(transport: &mut WebRtc, key: SessionKey, cx: &mut Context<'_>) {
    let Some(deadline) = transport.deadline() else { return };
    if transport.noted_deadline.is_some_and(|noted| noted <= deadline && noted > cx.now) {
        return;
    }
    if let Some(noted) = transport.noted_deadline.replace(deadline) {
        cx.deadlines.remove(&(noted, key));
    }
    cx.deadlines.insert((deadline, key));
}
