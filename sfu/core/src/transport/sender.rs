//! What is sent to a peer: paced, numbered for the transport, sealed, kept to be sent again.
//!
//! It is the one owner of what is sealed with the transport's keys: str0m, which shook hands for
//! them, never saw them.
//!
//! ```text
//! consumers --> queue --> Pacer --> flush: header, number, seal --> outbox, by groups
//! NACK --> history --------^   |
//!                              +--> history, Estimator <-- transport-wide feedback
//! ```

use std::time::{Duration, Instant};

use broletto_rtp::congestion::{Class as Priority, Config, Estimator, Kind, Pacer, PacerConfig, Released};
use broletto_rtp::extension::{AudioLevel, Extension, ExtensionIds, Values, abs_send_time};
use broletto_rtp::feedback::TransportFeedback;
use broletto_rtp::ntp::WallClock;
use broletto_rtp::packet::{FIXED_HEADER_BYTES, Header, RTX_BYTES, mark_padded, repair_prefix};
use broletto_rtp::rtcp::{Nack, ReportBlock, SenderReport};
use broletto_rtp::send::{Resend, SendConfig, SendStream, Sent};
use broletto_rtp::srtp::{MasterKey, SealError, Sealer, StreamSealer, Unsealed};
use str0m::media::Mid;

use super::formats::Formats;
use super::group::{Sized, first_group};
use crate::allocator::ESTIMATE_START_BPS;
use crate::codec::dependency::BYTES_MAX as DESCRIPTOR_BYTES_MAX;
use crate::egress::Outgoing;
use crate::io::Class;
use crate::outbox::{Outbox, Way};

/// How much video is kept for retransmission: as many packets, no older than this. What comes later
/// than that is of no use to a player, and history is most of what a participant costs.
const HISTORY_PACKETS: usize = 1_024;
const HISTORY_AGE: Duration = Duration::from_secs(1);
/// Share of what is sent that may be sent again, before what is asked for is given up.
const RESEND_PERCENT: u8 = 20;
/// Before the first report tells.
const RTT_ASSUMED: Duration = Duration::from_millis(100);
/// Packets that are looked at together to be grouped: as many as the pacer lets out at once.
const BATCH_MAX: usize = 8;
/// Room for a header with all its extensions.
const HEADER_BYTES_MAX: usize = 384;
const _: () = assert!(HEADER_BYTES_MAX > FIXED_HEADER_BYTES + 4 + 64 + DESCRIPTOR_BYTES_MAX);
/// What a packet is longer than its payload on the path, about: headers of IP, UDP and RTP, the tag.
const OVERHEAD_BYTES: usize = 28 + 12 + 16 + 16;
const IP_UDP_BYTES: usize = 28;
/// Of AES-GCM; that of AES-CM is six bytes shorter.
const TAG_BYTES: usize = 16;
/// The longest padding of a packet is 255 bytes.
const PADDING_BYTES_MAX: usize = 240;

/// An outgoing stream, as it was negotiated.
#[derive(Debug, Clone)]
pub(super) struct StreamSetup {
    pub mid: Mid,
    pub audio: bool,
    pub ssrc: u32,
    /// Of its retransmissions, if the peer takes any.
    pub repair_ssrc: Option<u32>,
    /// As the peer has them in this m-line.
    pub ids: ExtensionIds,
    /// Where the numbers of its retransmissions start.
    pub rtx_number: u16,
}

struct Stream {
    setup: StreamSetup,
    sealer: Option<StreamSealer>,
    repair_sealer: Option<StreamSealer>,
    history: SendStream<Outgoing>,
    /// The peer has reported on it, and so knows which m-line it is of.
    known: bool,
    /// Payload type of what was sent last, under whose retransmissions padding goes.
    payload_type: u8,
    sent_since_report: bool,
}

impl Stream {
    fn priority(&self) -> Priority {
        if self.setup.audio { Priority::Audio } else { Priority::Video }
    }

    fn class(&self) -> Class {
        if self.setup.audio { Class::Audio } else { Class::Video }
    }
}

/// A packet in the pacer.
#[derive(Debug)]
struct Queued {
    stream: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Media(Outgoing),
    Repair(Outgoing),
    /// So many bytes of nothing, to find out what the path carries.
    Padding(u8),
}

/// A packet of a batch whose header is written.
#[derive(Debug, Clone, Copy, Default)]
struct Headed {
    head: usize,
    /// On its stream, or on that of its retransmissions.
    sequence_number: u64,
    transport_number: Option<u64>,
    /// Header and payload, padding included.
    plain_bytes: usize,
}

pub(super) struct Sender {
    sealer: Option<Sealer>,
    streams: Vec<Stream>,
    pacer: Pacer<Queued>,
    estimator: Estimator,
    /// The peer gives the feedback that the estimate is made from.
    estimates: bool,
    /// When the estimator wants to be advanced.
    estimator_at: Option<Instant>,
    transport_number: u64,
    clock: WallClock,
    rtt: Option<Duration>,
    /// By the last reports.
    loss: Option<f32>,
    batch: Vec<Released<Queued>>,
    heads: Box<[[u8; HEADER_BYTES_MAX]; BATCH_MAX]>,
    resends: Vec<Resend<Outgoing>>,
    pub nacks: u64,
    pub packets: u64,
    pub bytes: u64,
}

impl Sender {
    pub fn new(clock: WallClock, now: Instant) -> Self {
        let start_bps = ESTIMATE_START_BPS;
        Sender {
            sealer: None,
            streams: Vec::new(),
            pacer: Pacer::new(PacerConfig::default()),
            estimator: Estimator::new(Config { start_bps, ..Config::default() }, now),
            estimates: false,
            estimator_at: None,
            transport_number: 0,
            clock,
            rtt: None,
            loss: None,
            batch: Vec::with_capacity(BATCH_MAX),
            heads: Box::new([[0; HEADER_BYTES_MAX]; BATCH_MAX]),
            resends: Vec::new(),
            nacks: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// The index of a stream, which is a new one if its SSRC is.
    pub fn bind(&mut self, setup: StreamSetup) -> usize {
        self.estimates |= setup.ids.id(Extension::TransportNumber).is_some();
        let ssrc = setup.ssrc;
        let index = match self.streams.iter().position(|stream| stream.setup.ssrc == ssrc) {
            Some(index) => {
                self.streams[index].setup = setup;
                index
            }
            None => {
                let history = SendStream::new(SendConfig {
                    ssrc,
                    clock_rate: if setup.audio { 48_000 } else { 90_000 },
                    history_packets: HISTORY_PACKETS,
                    history_age: HISTORY_AGE,
                    resend_percent: RESEND_PERCENT,
                    rtx_number: setup.rtx_number,
                });
                self.streams.push(Stream {
                    setup,
                    sealer: None,
                    repair_sealer: None,
                    history,
                    known: false,
                    payload_type: 0,
                    sent_since_report: false,
                });
                self.streams.len() - 1
            }
        };
        self.own_streams();
        index
    }

    pub fn set_key(&mut self, key: MasterKey) {
        self.sealer.get_or_insert_with(|| Sealer::new(key));
        self.own_streams();
    }

    /// Each stream gets the one right to be sealed. One that has none sends nothing.
    fn own_streams(&mut self) {
        let Some(sealer) = &mut self.sealer else { return };
        for stream in &mut self.streams {
            if stream.sealer.is_none() {
                stream.sealer = sealer.stream(stream.setup.ssrc).ok();
            }
            if let (Some(ssrc), None) = (stream.setup.repair_ssrc, &stream.repair_sealer) {
                stream.repair_sealer = sealer.stream(ssrc).ok();
            }
        }
    }

    /// Seals RTCP, whose index is counted here too.
    pub fn seal_rtcp(&mut self, compound: &mut Vec<u8>) -> Result<(), SealError> {
        match &mut self.sealer {
            Some(sealer) => sealer.seal_rtcp(compound),
            None => Err(SealError::Exhausted),
        }
    }

    pub fn mid_of(&self, ssrc: u32) -> Option<Mid> {
        self.streams
            .iter()
            .map(|stream| &stream.setup)
            .find(|setup| setup.ssrc == ssrc)
            .map(|setup| setup.mid)
    }

    pub fn queue(&mut self, stream: usize, packet: Outgoing, captured_at: Instant, now: Instant) -> bool {
        let Some(of) = self.streams.get_mut(stream).filter(|stream| stream.sealer.is_some()) else {
            return false;
        };
        if !packet.payload.is_empty() {
            of.history.note_captured(captured_at, packet.timestamp);
        }
        let frame = (stream as u64) << 32 | u64::from(packet.timestamp);
        let (priority, bytes) = (of.priority(), packet.payload.len() + OVERHEAD_BYTES);
        self.pacer.push(Queued { stream, content: Content::Media(packet) }, priority, bytes, frame, now);
        true
    }

    pub fn handle_nack(&mut self, nack: &Nack<'_>, now: Instant) {
        self.nacks += 1;
        let rtt = self.rtt().unwrap_or(RTT_ASSUMED);
        let ssrc = nack.media_ssrc;
        let found = self.streams.iter_mut().enumerate().find(|(_, stream)| stream.setup.ssrc == ssrc);
        let Some((index, stream)) = found else { return };
        if stream.repair_sealer.is_none() {
            return;
        }
        stream.history.handle_nack(nack.numbers(), rtt, now, &mut self.resends);
        for Resend { packet, .. } in self.resends.drain(..) {
            let (bytes, frame) = (packet.payload.len() + OVERHEAD_BYTES, packet.timestamp.into());
            let queued = Queued { stream: index, content: Content::Repair(packet) };
            self.pacer.push(queued, Priority::Retransmission, bytes, frame, now);
        }
    }

    /// What the peer reports of our streams, by one message.
    pub fn handle_reports(&mut self, blocks: impl Iterator<Item = ReportBlock>, now: Instant) {
        let (mut rtt, mut loss): (Option<Duration>, Option<f32>) = (None, None);
        for block in blocks {
            let found = self.streams.iter_mut().find(|stream| stream.setup.ssrc == block.ssrc);
            let Some(stream) = found else { continue };
            let Some(report) = stream.history.handle_report_block(&block, &self.clock, now) else { continue };
            stream.known = true;
            rtt = report.rtt.into_iter().chain(rtt).min();
            let lost = f32::from(report.fraction_lost) / 256.0;
            loss = Some(loss.map_or(lost, |worst| worst.max(lost)));
        }
        self.rtt = rtt.or(self.rtt);
        self.loss = loss.or(self.loss);
        if let Some(loss) = loss {
            self.estimator.handle_loss_report(loss, rtt, now);
            self.note_estimator();
        }
    }

    /// Returns whether the estimate fell.
    pub fn handle_feedback(&mut self, feedback: &TransportFeedback, now: Instant) -> bool {
        let before = self.estimator.estimate_bps();
        self.estimator.handle_feedback(feedback, now);
        self.note_estimator();
        self.estimator.estimate_bps() < before
    }

    /// More than this is of no use, with all reserves that climbing asks for.
    pub fn set_useful(&mut self, useful_bps: u64) {
        self.estimator.set_useful(useful_bps);
        self.note_estimator();
    }

    /// None: nothing is known of the path.
    pub fn estimate_bps(&self) -> Option<u64> {
        (self.estimates && self.sealer.is_some()).then(|| self.estimator.estimate_bps())
    }

    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.or(self.estimator.rtt())
    }

    /// Share of what was sent lately that did not come, 0 to 1, of the worst stream.
    pub fn loss(&self) -> Option<f32> {
        self.loss
    }

    /// As [`Pacer::is_congested`].
    pub fn is_congested(&self) -> bool {
        self.pacer.is_congested()
    }

    /// The estimator was told something.
    fn note_estimator(&mut self) {
        self.pacer.set_pace(self.estimator.pace());
        self.estimator_at = self.estimator.poll_timeout().filter(|_| self.estimates);
    }

    /// Reports of the streams that were sent since the last ones.
    pub fn reports(&mut self, now: Instant) -> impl Iterator<Item = SenderReport> {
        let clock = self.clock;
        self.streams.iter_mut().filter_map(move |stream| {
            let sent = std::mem::take(&mut stream.sent_since_report);
            stream.history.forget(now);
            sent.then(|| stream.history.sender_report(&clock, now)).flatten()
        })
    }

    /// When [`Sender::flush`] has something to do.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.sealer.as_ref()?;
        self.pacer.timeout(now).into_iter().chain(self.estimator_at).min()
    }

    /// Sends what is due. Returns the streams of which something was dropped, because it waited for
    /// too long.
    pub fn flush(
        &mut self,
        way: Way,
        formats: &Formats,
        outbox: &mut Outbox,
        now: Instant,
        mut dropped: impl FnMut(usize),
    ) {
        if self.sealer.is_none() {
            return;
        }
        self.probe(now);
        loop {
            while self.batch.len() < BATCH_MAX {
                match self.pacer.poll(now) {
                    Some(released) => self.batch.push(released),
                    None if self.pad(now) => {}
                    None => break,
                }
            }
            if self.batch.is_empty() {
                break;
            }
            self.send_batch(way, formats, outbox, now);
        }
        while let Some(queued) = self.pacer.poll_dropped() {
            if matches!(queued.content, Content::Media(_)) {
                dropped(queued.stream);
            }
        }
    }

    /// The peer cannot be sent to: what waits is of no use later.
    pub fn discard(&mut self, now: Instant) {
        self.pacer = Pacer::new(PacerConfig::default());
        self.estimator.handle_timeout(now);
        self.note_estimator();
    }

    fn probe(&mut self, now: Instant) {
        if !self.estimates {
            return;
        }
        self.estimator.handle_timeout(now);
        if self.padded_stream().is_some()
            && let Some(probe) = self.estimator.poll_probe(now)
        {
            self.pacer.begin_probe(probe, now);
        }
        self.note_estimator();
    }

    /// The stream whose retransmissions can carry padding: the one that was sent last.
    fn padded_stream(&self) -> Option<usize> {
        let can = |stream: &Stream| {
            stream.repair_sealer.is_some()
                && stream.payload_type != 0
                && stream.setup.ids.id(Extension::TransportNumber).is_some()
        };
        self.streams.iter().position(can)
    }

    /// Whether padding was queued for a probe that has nothing else to send.
    fn pad(&mut self, now: Instant) -> bool {
        let Some(bytes) = self.pacer.padding_wanted(now) else { return false };
        let Some(stream) = self.padded_stream() else { return false };
        // A packet that was sent already is as good as nothing, and has more room than padding.
        let content = match self.streams[stream].history.latest().filter(|_| bytes > PADDING_BYTES_MAX) {
            Some(Resend { packet, .. }) => Content::Repair(packet),
            None => Content::Padding(bytes.clamp(1, PADDING_BYTES_MAX) as u8),
        };
        let bytes = match &content {
            Content::Media(packet) | Content::Repair(packet) => packet.payload.len(),
            Content::Padding(bytes) => usize::from(*bytes),
        };
        self.pacer.push(Queued { stream, content }, Priority::Padding, bytes + OVERHEAD_BYTES, 0, now);
        true
    }

    fn send_batch(&mut self, way: Way, formats: &Formats, outbox: &mut Outbox, now: Instant) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut headed = [Headed::default(); BATCH_MAX];
        let mut sizes = [Sized { bytes: 0, class: Class::Video }; BATCH_MAX];
        // What cannot be written goes no further.
        batch.retain(|released| self.can_send(&released.item, formats));
        for (index, released) in batch.iter().enumerate() {
            headed[index] = self.write_head(index, &released.item, formats, now);
            sizes[index] = self.size(&released.item, headed[index].head);
        }
        let mut start = 0;
        while start < batch.len() {
            let group = first_group(&sizes[start..batch.len()]);
            let end = start + group.packets;
            let mut buffer = outbox.buffer();
            for (index, at) in (start..end).enumerate() {
                let padding = group.padding(index, sizes[at].bytes);
                self.append(at, &batch[at].item, &mut headed[at], padding, &mut buffer);
            }
            if self.seal(&batch[start..end], &headed[start..end], &mut buffer) {
                self.bytes += buffer.len() as u64;
                outbox.group(way, sizes[start].class, group.segment_bytes, buffer);
            } else {
                debug_assert!(false, "what is sealed was checked before");
                headed[start..end].fill(Headed::default());
                outbox.reuse(buffer);
            }
            start = end;
        }
        for (released, headed) in batch.drain(..).zip(headed) {
            if headed.head > 0 {
                self.note_sent(released, headed, now);
            }
        }
        self.batch = batch;
        // Silence counts from what was sent first.
        self.note_estimator();
    }

    fn can_send(&self, queued: &Queued, formats: &Formats) -> bool {
        let stream = &self.streams[queued.stream];
        match &queued.content {
            Content::Media(_) => stream.sealer.is_some(),
            Content::Repair(packet) => {
                stream.repair_sealer.is_some() && formats.repair_of(packet.payload_type).is_some()
            }
            Content::Padding(_) => {
                stream.repair_sealer.is_some() && formats.repair_of(stream.payload_type).is_some()
            }
        }
    }

    fn size(&self, queued: &Queued, head: usize) -> Sized {
        let stream = &self.streams[queued.stream];
        let tag = stream.sealer.as_ref().map_or(0, StreamSealer::tag_bytes);
        let payload = match &queued.content {
            Content::Media(packet) => packet.payload.len(),
            Content::Repair(packet) => RTX_BYTES + packet.payload.len(),
            Content::Padding(bytes) => usize::from(*bytes),
        };
        Sized { bytes: head + payload + tag, class: stream.class() }
    }

    fn write_head(&mut self, index: usize, queued: &Queued, formats: &Formats, now: Instant) -> Headed {
        let stream = &mut self.streams[queued.stream];
        let ids = &stream.setup.ids;
        let transport_number = ids.id(Extension::TransportNumber).map(|_| self.transport_number);
        self.transport_number += u64::from(transport_number.is_some());
        let mut values = Values {
            mid: (!stream.known).then(|| &*stream.setup.mid),
            transport_number: transport_number.map(|number| number as u16),
            abs_send_time: transport_number
                .is_none()
                .then(|| abs_send_time(now.saturating_duration_since(self.clock.instant))),
            ..Values::default()
        };
        let (header, sequence_number) = match &queued.content {
            Content::Media(packet) => {
                values.audio_level =
                    packet.audio_level.map(|(level, is_voice)| AudioLevel { level, is_voice });
                (header(packet, packet.payload_type, packet.sequence_number, stream.setup.ssrc), None)
            }
            Content::Repair(packet) => {
                let number = stream.history.next_rtx_number();
                let payload_type = formats.repair_of(packet.payload_type).unwrap_or_default();
                let ssrc = stream.setup.repair_ssrc.unwrap_or_default();
                (header(packet, payload_type, number, ssrc), Some(number))
            }
            Content::Padding(_) => {
                let number = stream.history.next_rtx_number();
                let header = Header {
                    marker: false,
                    payload_type: formats.repair_of(stream.payload_type).unwrap_or_default(),
                    sequence_number: number as u16,
                    timestamp: 0,
                    ssrc: stream.setup.repair_ssrc.unwrap_or_default(),
                };
                (header, Some(number))
            }
        };
        let sequence_number = sequence_number.unwrap_or(match &queued.content {
            Content::Media(packet) => packet.sequence_number,
            Content::Repair(_) | Content::Padding(_) => 0,
        });
        let head = &mut self.heads[index];
        let head = match &queued.content {
            Content::Media(packet) | Content::Repair(packet) if packet.descriptor.is_some() => {
                let mut bytes = [0; DESCRIPTOR_BYTES_MAX];
                let written = packet.descriptor.map_or(0, |of| of.write(&packet.payload, &mut bytes));
                values.dependency_descriptor = Some(&bytes[..written]).filter(|bytes| !bytes.is_empty());
                header.write(ids, &values, head)
            }
            _ => header.write(ids, &values, head),
        };
        let head = head.unwrap_or(0);
        Headed { head, sequence_number, transport_number, plain_bytes: 0 }
    }

    /// Appends the packet, with room for its tag.
    fn append(
        &mut self,
        index: usize,
        queued: &Queued,
        headed: &mut Headed,
        padding: usize,
        buffer: &mut Vec<u8>,
    ) {
        let start = buffer.len();
        let head = &mut self.heads[index][..headed.head];
        let padding = match queued.content {
            Content::Padding(bytes) => padding + usize::from(bytes),
            Content::Media(_) | Content::Repair(_) => padding,
        };
        if padding > 0 {
            mark_padded(head);
        }
        buffer.extend_from_slice(head);
        if let Content::Repair(packet) = &queued.content {
            buffer.extend(repair_prefix(packet.sequence_number as u16));
        }
        if let Content::Media(packet) | Content::Repair(packet) = &queued.content {
            let at = buffer.len();
            buffer.extend_from_slice(&packet.payload);
            packet.edit.apply(&mut buffer[at..]);
        }
        if padding > 0 {
            buffer.resize(buffer.len() + padding, 0);
            *buffer.last_mut().expect("padding was appended") = padding as u8;
        }
        headed.plain_bytes = buffer.len() - start;
        let tag = self.streams[queued.stream].sealer.as_ref().map_or(0, StreamSealer::tag_bytes);
        buffer.resize(buffer.len() + tag, 0);
    }

    /// Seals packets that lie one after the other, those of one stream together.
    fn seal(&mut self, packets: &[Released<Queued>], headed: &[Headed], mut rest: &mut [u8]) -> bool {
        let owner = |released: &Released<Queued>| {
            (released.item.stream, matches!(released.item.content, Content::Media(_)))
        };
        let mut at = 0;
        while at < packets.len() {
            let (index, is_media) = owner(&packets[at]);
            let run = packets[at..].iter().take_while(|other| owner(other) == (index, is_media)).count();
            let stream = &mut self.streams[index];
            let sealer = if is_media { &mut stream.sealer } else { &mut stream.repair_sealer };
            let Some(sealer) = sealer else { return false };
            let tag = sealer.tag_bytes();
            let unsealed = headed[at..at + run].iter().map(|headed| {
                let (out, behind) = std::mem::take(&mut rest).split_at_mut(headed.plain_bytes + tag);
                rest = behind;
                Unsealed {
                    out,
                    header_length: headed.head,
                    plain_length: headed.plain_bytes,
                    sequence_number: headed.sequence_number,
                }
            });
            if sealer.seal_rtp_group(unsealed).is_err() {
                return false;
            }
            at += run;
        }
        true
    }

    fn note_sent(&mut self, released: Released<Queued>, headed: Headed, now: Instant) {
        let stream = &mut self.streams[released.item.stream];
        let kind = match (released.class, stream.setup.audio) {
            (Priority::Padding, _) => Kind::Padding,
            (Priority::Retransmission, _) => Kind::Retransmission,
            (_, true) => Kind::Audio,
            (_, false) => Kind::Media,
        };
        if let Some(number) = headed.transport_number {
            let bytes = headed.plain_bytes + TAG_BYTES + IP_UDP_BYTES;
            self.estimator.note_sent(number, bytes, kind, released.cluster, now);
        }
        self.packets += 1;
        if let Content::Media(packet) = released.item.content {
            stream.sent_since_report = true;
            stream.payload_type = packet.payload_type;
            let sent = Sent { sequence_number: packet.sequence_number, payload_bytes: packet.payload.len() };
            let kept = stream.repair_sealer.is_some() && !stream.setup.audio;
            stream.history.handle_sent(sent, kept.then_some(packet), now);
        }
    }
}

fn header(packet: &Outgoing, payload_type: u8, sequence_number: u64, ssrc: u32) -> Header {
    Header {
        marker: packet.marker,
        payload_type,
        sequence_number: sequence_number as u16,
        timestamp: packet.timestamp,
        ssrc,
    }
}
