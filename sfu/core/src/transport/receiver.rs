//! What a peer sends: RTP is opened, told apart, and put in order of numbers; what is missing is asked
//! for again.

use std::time::{Duration, Instant};

use broletto_control::Codec;
use broletto_rtp::extension::{self, Extension, ExtensionIds, Values};
use broletto_rtp::feedback::ArrivalRecorder;
use broletto_rtp::packet::{self, Header};
use broletto_rtp::receive::{Arrival, ReceiveConfig, ReceiveStream};
use broletto_rtp::rtcp::{ReportBlock, SenderReport, write};
use broletto_rtp::srtp::{MasterKey, OpenError, Opener};
use str0m::Rtc;
use str0m::media::{Mid, Rid};

use super::formats::{Format, Formats, clock_rate, extension_ids};
use super::loss::IncomingLoss;
use super::offer::Offer;
use super::ssrcs::{Role, Ssrcs, claim_of};
use crate::buffer::{Buffers, Shared};
use crate::capture::{CaptureClock, Report};
use crate::stats::Dropped;

/// A packet of media, as its publisher sent it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub ssrc: u32,
    pub mid: Mid,
    pub rid: Option<Rid>,
    /// Extended. A retransmission has that of the original.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub codec: Codec,
    /// It carries older frames before its own (RFC 2198).
    pub is_redundant: bool,
    /// In -dBov, and whether it is voice (RFC 6464).
    pub audio_level: Option<(u8, bool)>,
    /// By our clock.
    pub captured_at: Instant,
    pub payload: Shared,
    pub descriptor: Option<Shared>,
}

/// Under which we speak of the peer's streams, as browsers do that send nothing.
pub(super) const OUR_SSRC: u32 = 1;
/// Told with a NACK or a report as long as nothing is known of the way.
const RTT_ASSUMED: Duration = Duration::from_millis(100);

/// An incoming stream of media. Those of retransmissions have no state of their own.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    role: Role,
    receive: ReceiveStream,
}

pub(super) struct Receiver {
    opener: Option<Opener>,
    formats: Formats,
    ids: ExtensionIds,
    ssrcs: Ssrcs,
    /// SSRCs that the offer names. Other peers tell by header extensions.
    declared: Vec<(u32, Role)>,
    streams: Vec<Stream>,
    arrivals: ArrivalRecorder,
    loss: IncomingLoss,
    capture: CaptureClock,
    /// Streams that a key frame is to be asked of.
    key_frames_wanted: Vec<u32>,
    numbers: Vec<u16>,
    /// Requests that were sent.
    pub nacks: u64,
    pub plis: u64,
}

impl Receiver {
    pub fn new(ssrcs_max: usize, now: Instant) -> Self {
        Receiver {
            opener: None,
            formats: Formats::default(),
            ids: ExtensionIds::default(),
            ssrcs: Ssrcs::new(ssrcs_max),
            declared: Vec::new(),
            streams: Vec::new(),
            arrivals: ArrivalRecorder::new(OUR_SSRC),
            loss: IncomingLoss::default(),
            capture: CaptureClock::new(now),
            key_frames_wanted: Vec::new(),
            numbers: Vec::new(),
            nacks: 0,
            plis: 0,
        }
    }

    /// To be called after each negotiation.
    pub fn negotiate(&mut self, rtc: &Rtc, offer: &Offer) {
        self.formats = Formats::negotiated(rtc);
        self.ids = ExtensionIds::default();
        self.declared.clear();
        for line in &offer.lines {
            let mid: Mid = line.mid.as_str().into();
            let of_line = extension_ids(rtc, mid);
            for extension in Extension::ALL {
                if let Some(id) = of_line.id(extension) {
                    // They mean the same in all m-lines; the first word counts where they do not.
                    let _ = self.ids.set(extension, id);
                }
            }
            // The offer does not say which rid an SSRC has.
            let declared = line.ssrcs.iter().filter(|_| line.rids.is_empty());
            let role = |repairs| Role { mid, rid: None, repairs };
            self.declared.extend(declared.map(|(ssrc, repairs)| (*ssrc, role(*repairs))));
        }
    }

    pub fn set_key(&mut self, key: MasterKey) {
        self.opener.get_or_insert_with(|| Opener::new(key));
    }

    pub fn formats(&self) -> &Formats {
        &self.formats
    }

    /// None: it was no media, or was refused and counted.
    pub fn handle_rtp(
        &mut self,
        datagram: &[u8],
        buffers: &mut Buffers,
        dropped: &mut Dropped,
        now: Instant,
    ) -> Option<Arrived> {
        let Ok(clear) = packet::Packet::parse(datagram) else {
            dropped.malformed += 1;
            return None;
        };
        let values = clear.extensions.map(|block| extension::parse(&self.ids, block)).unwrap_or_default();
        let Header { ssrc, payload_type, .. } = clear.header;
        let format = self.formats.get(payload_type);
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let claim = match known {
            Some(index) => Some(self.streams[index].role),
            None => self.claim(&values, format, ssrc),
        };
        if !self.ssrcs.admit(ssrc, claim, now) {
            dropped.ssrc_refused += 1;
            return None;
        }
        let (Some(format), Some(role), Some(opener)) = (format, claim, &mut self.opener) else {
            dropped.rtp_refused += 1;
            return None;
        };
        let mut result = Err(OpenError::Forged);
        let shared = buffers.fill(|buffer| {
            result = opener.open_rtp(datagram, clear.header_length, buffer);
            result.as_ref().ok().map(|opened| opened.length)
        });
        let Some(shared) = shared else {
            dropped.rtp_refused += 1;
            return None;
        };
        self.ssrcs.prove(ssrc, role, now);
        if let Some(number) = values.transport_number {
            self.arrivals.note(ssrc, number, now);
        }
        self.take(clear, values, format, role, shared, datagram, dropped, now)
    }

    #[allow(clippy::too_many_arguments, reason = "all are parts of one packet")]
    fn take(
        &mut self,
        clear: packet::Packet<'_>,
        values: Values<'_>,
        format: Format,
        role: Role,
        shared: Shared,
        datagram: &[u8],
        dropped: &mut Dropped,
        now: Instant,
    ) -> Option<Arrived> {
        let mut end = shared.len();
        if clear.has_padding {
            let Ok(kept) = packet::strip_padding(&shared[clear.header_length..]) else {
                dropped.malformed += 1;
                return None;
            };
            end = clear.header_length + kept.len();
        }
        let mut payload = shared.slice(clear.header_length..end);
        let Header { ssrc, marker, sequence_number, timestamp, payload_type } = clear.header;
        let (main, media_type) = match format {
            Format::Repair(repaired) => (self.repaired_by(role)?, repaired),
            Format::Media(_) | Format::Redundant => {
                let codec = self.formats.codec(payload_type)?;
                (self.stream(ssrc, role, codec), payload_type)
            }
        };
        let codec = self.formats.codec(media_type)?;
        let stream = &mut self.streams[main];
        let arrival = match format {
            Format::Repair(_) => {
                let (original, repaired) = packet::repaired(&payload)?;
                let start = payload.len() - repaired.len();
                payload = payload.slice(start..payload.len());
                stream.receive.handle_repair(original, now)
            }
            _ => stream.receive.handle_packet(sequence_number, timestamp, payload.len(), now),
        };
        if let (Arrival::New(number) | Arrival::Padding(number), Format::Media(_) | Format::Redundant) =
            (arrival, format)
        {
            self.loss.note(ssrc, number);
        }
        let number = match arrival {
            Arrival::New(number) => number,
            Arrival::Padding(_) => return None,
            Arrival::Duplicate | Arrival::Stray => {
                // Publishers send again what came to find out what their path carries.
                dropped.rtp_refused += u64::from(!matches!(format, Format::Repair(_)));
                return None;
            }
        };
        let report = stream
            .receive
            .sender_report()
            .map(|(report, _)| Report { time: report.time.to_system(), timestamp: report.timestamp });
        let captured_at = self.capture.captured_at(report, timestamp, clock_rate(codec), now);
        let descriptor = values.dependency_descriptor.map(|bytes| {
            let start = bytes.as_ptr() as usize - datagram.as_ptr() as usize;
            shared.slice(start..start + bytes.len())
        });
        let Role { mid, rid, .. } = stream.role;
        Some(Arrived {
            ssrc: stream.ssrc,
            mid,
            rid,
            sequence_number: number,
            timestamp,
            marker,
            codec,
            is_redundant: format == Format::Redundant,
            audio_level: values.audio_level.map(|level| (level.level, level.is_voice)),
            captured_at,
            payload,
            descriptor,
        })
    }

    /// What a packet of an SSRC that is not known claims to be.
    fn claim(&self, values: &Values<'_>, format: Option<Format>, ssrc: u32) -> Option<Role> {
        let is_repair = matches!(format, Some(Format::Repair(_)));
        let declared = || self.declared.iter().find(|(declared, _)| *declared == ssrc).map(|(_, role)| *role);
        // Browsers leave the extensions away once they know that they were understood.
        claim_of(values, is_repair).or_else(declared).or_else(|| self.ssrcs.role_of(ssrc))
    }

    /// The stream of media that retransmissions of this role are of.
    fn repaired_by(&self, role: Role) -> Option<usize> {
        let main = Role { repairs: false, ..role };
        self.streams.iter().position(|stream| stream.role == main)
    }

    /// Index of the stream that an authentic packet is of. One that had its role before is over.
    fn stream(&mut self, ssrc: u32, role: Role, codec: Codec) -> usize {
        if let Some(index) = self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            return index;
        }
        self.streams.retain(|stream| stream.role != role);
        let has_nack = codec != Codec::Opus;
        let receive = ReceiveStream::new(ReceiveConfig { ssrc, clock_rate: clock_rate(codec), has_nack });
        self.streams.push(Stream { ssrc, role, receive });
        self.streams.len() - 1
    }

    /// Opens a compound into `out`. None: it was refused and counted.
    pub fn open_rtcp<'a>(
        &mut self,
        datagram: &[u8],
        out: &'a mut Vec<u8>,
        dropped: &mut Dropped,
    ) -> Option<&'a [u8]> {
        out.resize(datagram.len(), 0);
        let opened = self.opener.as_mut().and_then(|opener| opener.open_rtcp(datagram, out).ok());
        dropped.rtcp_refused += u64::from(opened.is_none());
        out.get(..opened?)
    }

    pub fn handle_sender_report(&mut self, report: SenderReport, now: Instant) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == report.ssrc) {
            stream.receive.handle_sender_report(report, now);
        }
    }

    pub fn request_key_frame(&mut self, ssrc: u32) {
        if !self.key_frames_wanted.contains(&ssrc) {
            self.key_frames_wanted.push(ssrc);
        }
    }

    /// Appends what is to be told at once: requests for packets and key frames, and what arrived.
    pub fn write_feedback(&mut self, rtt: Option<Duration>, out: &mut Vec<u8>, now: Instant) {
        for ssrc in self.key_frames_wanted.drain(..) {
            write::pli(out, OUR_SSRC, ssrc);
            self.plis += 1;
        }
        for stream in &mut self.streams {
            self.numbers.clear();
            stream.receive.poll_nacks(rtt.unwrap_or(RTT_ASSUMED), now, &mut self.numbers);
            if !self.numbers.is_empty() {
                write::nack(out, OUR_SSRC, stream.ssrc, self.numbers.iter().copied());
                self.nacks += 1;
            }
        }
        while let Some(feedback) = self.arrivals.poll(now) {
            write::transport_feedback(out, feedback);
        }
    }

    pub fn report_blocks(&mut self, blocks: &mut Vec<ReportBlock>, now: Instant) {
        blocks.extend(self.streams.iter_mut().filter_map(|stream| stream.receive.report(now)));
    }

    /// As [`IncomingLoss::take`].
    pub fn take_loss(&mut self) -> Option<f32> {
        self.loss.take()
    }

    /// When [`Receiver::write_feedback`] has something to tell.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let key_frame = (!self.key_frames_wanted.is_empty()).then_some(now);
        let nacks = self.streams.iter().filter_map(|stream| stream.receive.poll_timeout());
        nacks.chain(self.arrivals.poll_timeout()).chain(key_frame).min()
    }
}
