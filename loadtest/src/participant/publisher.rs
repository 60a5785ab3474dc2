//! A participant that sends synthetic media.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use broletto_control::Codec;

use super::dtls::Cipher;
use super::payload::{self, Picture, Stamp, wall_clock};
use super::rtcp::{self, Message};
use super::rtp;
use super::session::{Kind, RIDS, Session, Wish};
use crate::udp::{self, Inbox};

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Packets of an encoding that say which m-line and encoding they are of, until the far side must know.
const NAMED_PACKETS: u64 = 200;
/// Frames that a publisher that was late makes up for; those before are left out.
const LATE_FRAMES_MAX: u32 = 8;
/// Sizes of a simulcast, from the smallest; a single encoding has the last.
const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1_280, 720)];

/// What a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Media {
    Audio {
        /// Of a payload.
        bytes: usize,
    },
    Video {
        codec: Codec,
        /// In three sizes, each with half the packets of the next.
        simulcast: bool,
        packets_per_frame: usize,
        /// Of a payload.
        bytes: usize,
    },
}

impl Media {
    pub fn codec(self) -> Codec {
        match self {
            Media::Audio { .. } => Codec::Opus,
            Media::Video { codec, .. } => codec,
        }
    }

    fn clock_rate(self) -> u32 {
        match self {
            Media::Audio { .. } => 48_000,
            Media::Video { .. } => 90_000,
        }
    }
}

/// What was sent, of all encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    pub packets: u64,
    pub key_frames: u64,
    /// That the kernel did not take.
    pub refused: u64,
    /// That the far side asked for again; there is no history here.
    pub nacked: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Sent) {
        self.packets += other.packets;
        self.key_frames += other.key_frames;
        self.refused += other.refused;
        self.nacked += other.nacked;
    }
}

pub struct Publisher {
    pub session: Session,
    number: u32,
    media: Media,
    interval: Duration,
    mid: String,
    encodings: Vec<Encoding>,
    next_frame: Option<Instant>,
    report_at: Instant,
    started: Instant,
    sent: Sent,
    stopped: bool,
}

struct Encoding {
    /// As it was negotiated, which is known once media starts.
    ssrc: u32,
    rid: Option<&'static str>,
    picture: Option<Picture>,
    packets_per_frame: usize,
    sequence_number: u64,
    frame: u32,
    counter: u64,
    bytes: u32,
    key_frame_wanted: bool,
}

impl Publisher {
    /// `number` is in its stamps; `interval` is from frame to frame.
    pub fn new(
        ip: IpAddr,
        cipher: Cipher,
        media: Media,
        number: u32,
        interval: Duration,
        now: Instant,
    ) -> anyhow::Result<(Publisher, String)> {
        let (video, simulcast) = match media {
            Media::Audio { .. } => (None, false),
            Media::Video { codec, simulcast, .. } => (Some(codec), simulcast),
        };
        let mut session = Session::new(ip, cipher, video, now)?;
        let (offer, mids) = session.offer(&[Wish { audio: video.is_none(), sends: true, simulcast }]);
        let mid = mids.into_iter().next().context("an offer has an m-line")?;
        let rids: Vec<Option<&str>> = if simulcast { RIDS.map(Some).into() } else { vec![None] };
        let mut encodings = Vec::new();
        for (step, rid) in rids.iter().rev().enumerate() {
            let (picture, packets_per_frame) = match media {
                Media::Audio { .. } => (None, 1),
                Media::Video { codec, packets_per_frame, .. } => {
                    let (width, height) = SIZES[SIZES.len() - 1 - step];
                    (Some(Picture { codec, width, height }), (packets_per_frame >> step).max(1))
                }
            };
            encodings.push(Encoding {
                ssrc: 0,
                rid: *rid,
                picture,
                packets_per_frame,
                sequence_number: 1_000 * u64::from(number % 60) + 1,
                frame: 0,
                counter: 0,
                bytes: 0,
                key_frame_wanted: true,
            });
        }
        let publisher = Publisher {
            session,
            number,
            media,
            interval,
            mid,
            encodings,
            next_frame: None,
            report_at: now + REPORT_EVERY,
            started: now,
            sent: Sent::default(),
            stopped: false,
        };
        Ok((publisher, offer))
    }

    pub fn mid(&self) -> &str {
        &self.mid
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Sends from now on, the first frame after `offset`, at the rate that the interval says.
    pub fn start(&mut self, now: Instant, offset: Duration) {
        for encoding in &mut self.encodings {
            encoding.ssrc = self.session.ssrc(&self.mid, encoding.rid).unwrap_or(encoding.ssrc);
        }
        self.next_frame = Some(now + offset);
    }

    /// Sends no media any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// When [`Publisher::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        let frame = self.next_frame.filter(|_| self.session.is_connected() && !self.stopped);
        frame.map_or(self.session.deadline(), |frame| frame.min(self.session.deadline()))
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.deadline() <= now {
            self.session.handle_timeout(now);
        }
        if !self.session.is_connected() || self.stopped {
            return;
        }
        while let Some(at) = self.next_frame.filter(|at| *at <= now) {
            if now - at > self.interval * LATE_FRAMES_MAX {
                self.next_frame = Some(now);
                continue;
            }
            for index in 0..self.encodings.len() {
                self.send_frame(index, at);
            }
            self.next_frame = Some(at + self.interval);
        }
        if self.report_at <= now && self.next_frame.is_some() {
            self.report_at = now + REPORT_EVERY;
            self.report(now);
        }
    }

    /// Takes what came for it.
    pub fn receive(&mut self, inbox: &mut Inbox, now: Instant) {
        while matches!(inbox.receive(&self.session.socket), Ok(1..)) {
            inbox.for_each(|datagram| match Kind::of(datagram.contents) {
                Kind::Session => self.session.handle_datagram(datagram.source, datagram.contents, now),
                Kind::Rtcp => {
                    let opened = self.session.srtp().and_then(|srtp| srtp.open_rtcp(datagram.contents).ok());
                    rtcp::parse(opened.unwrap_or(&[]), |message| match message {
                        Message::KeyFrameRequest { ssrc } => {
                            let of = self.encodings.iter_mut().find(|encoding| encoding.ssrc == ssrc);
                            if let Some(encoding) = of {
                                encoding.key_frame_wanted = true;
                            }
                        }
                        Message::Nack { packets, .. } => self.sent.nacked += u64::from(packets),
                        Message::SenderReport { .. } => {}
                    });
                }
                Kind::Rtp => {}
            });
        }
    }

    fn timestamp(&self, at: Instant) -> u32 {
        let elapsed = at.saturating_duration_since(self.started).as_nanos();
        (elapsed * u128::from(self.media.clock_rate()) / 1_000_000_000) as u32
    }

    fn send_frame(&mut self, index: usize, at: Instant) {
        let timestamp = self.timestamp(at);
        let Some(line) = self.session.lines().iter().find(|line| line.mid == self.mid) else { return };
        let Some(payload_type) = line.payload_type(self.media.codec()) else { return };
        let ids = line.extensions;
        let encoding = &mut self.encodings[index];
        let key_frame = std::mem::take(&mut encoding.key_frame_wanted);
        encoding.frame += 1;
        let payloads = match (self.media, encoding.picture) {
            (Media::Video { bytes, .. }, Some(picture)) => {
                payload::frame(picture, encoding.frame, key_frame, encoding.packets_per_frame, bytes)
            }
            (Media::Audio { bytes } | Media::Video { bytes, .. }, _) => vec![payload::opus(bytes)],
        };
        self.sent.key_frames += u64::from(key_frame && encoding.picture.is_some());
        let last = payloads.len() - 1;
        let mut packets = Vec::with_capacity(payloads.len());
        for (nth, mut payload) in payloads.into_iter().enumerate() {
            encoding.sequence_number += 1;
            encoding.counter += 1;
            encoding.bytes = encoding.bytes.wrapping_add(payload.len() as u32);
            let source = self.number << 2 | index as u32;
            let stamp = Stamp { sent_at: wall_clock(), source, counter: encoding.counter };
            stamp.write(&mut payload);
            let mut extensions: Vec<(u8, &[u8])> = Vec::with_capacity(3);
            if encoding.counter <= NAMED_PACKETS {
                extensions.extend(ids.mid.map(|id| (id, self.mid.as_bytes())));
                extensions.extend(ids.rid.and_then(|id| Some((id, encoding.rid?.as_bytes()))));
            }
            if encoding.picture.is_none() {
                // A voice (RFC 6464), at -30 dBov.
                extensions.extend(ids.audio_level.map(|id| (id, &[0x80 | 30][..])));
            }
            let marker = nth == last && encoding.picture.is_some();
            let mut packet = Vec::with_capacity(payload.len() + 64);
            let number = encoding.sequence_number;
            rtp::write(&mut packet, (payload_type, marker), number, timestamp, encoding.ssrc, &extensions);
            packet.extend(payload);
            if let Some(srtp) = self.session.srtp() {
                srtp.seal_rtp(&mut packet, number);
            }
            packets.push(packet);
        }
        let Some(remote) = self.session.remote() else { return };
        let taken = udp::send_all(&self.session.socket, remote, &packets).unwrap_or(0);
        self.sent.packets += taken as u64;
        self.sent.refused += (packets.len() - taken) as u64;
    }

    fn report(&mut self, now: Instant) {
        let timestamp = self.timestamp(now);
        for index in 0..self.encodings.len() {
            let encoding = &self.encodings[index];
            let mut report = Vec::with_capacity(64);
            let (packets, bytes) = (encoding.counter as u32, encoding.bytes);
            rtcp::sender_report(&mut report, encoding.ssrc, wall_clock(), timestamp, packets, bytes);
            // One that is lost is followed by another.
            let _ = self.session.send_rtcp(report);
        }
    }
}
