//! What a peer sends: RTP is opened, told apart, and put in order of numbers; what is missing is asked
//! for again.

use std::time::{Duration, Instant};

use broletto_control::Codec;
use broletto_rtp::extension::{self, Extension, ExtensionIds, Values};
use broletto_rtp::feedback::ArrivalRecorder;
use broletto_rtp::packet::{self, Header};
use broletto_rtp::receive::ReceiveStream;
use broletto_rtp::rtcp::{self, ReportBlock, SenderReport};
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

#[derive(Debug)]
struct Stream {
    role: Role,
    receive: ReceiveStream,
}

/// What the peer asked for and was asked for, since it came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub nacks: u64,
    pub plis: u64,
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
    pub counts: Counts,
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
            arrivals: ArrivalRecorder::default(),
            loss: IncomingLoss::default(),
            capture: CaptureClock::new(now),
            key_frames_wanted: Vec::new(),
            numbers: Vec::new(),
            counts: Counts::default(),
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
        let known = self.streams.iter().position(|stream| stream.receive.ssrc() == ssrc);
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
            self.arrivals.note(number, now);
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
                (self.stream(ssrc, role, codec, sequence_number, now), payload_type)
            }
        };
        let codec = self.formats.codec(media_type)?;
        let stream = &mut self.streams[main];
        let number = match format {
            Format::Repair(_) => {
                let (original, repaired) = packet::repaired(&payload)?;
                let start = payload.len() - repaired.len();
                payload = payload.slice(start..payload.len());
                stream.receive.handle_repair(original, now)
            }
            _ => {
                let number = stream.receive.handle_packet(sequence_number, timestamp, now);
                if let Some(number) = number {
                    self.loss.note(ssrc, number);
                }
                number
            }
        };
        // What comes twice, and what is padding only, was needed for its number.
        let sequence_number = number.filter(|_| !payload.is_empty())?;
        let report = stream.receive.last_sender_report().map(|(time, timestamp)| Report { time, timestamp });
        let captured_at = self.capture.captured_at(report, timestamp, clock_rate(codec), now);
        let descriptor = values.dependency_descriptor.map(|bytes| {
            let start = bytes.as_ptr() as usize - datagram.as_ptr() as usize;
            shared.slice(start..start + bytes.len())
        });
        let Role { mid, rid, .. } = stream.role;
        Some(Arrived {
            ssrc: stream.receive.ssrc(),
            mid,
            rid,
            sequence_number,
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
}
