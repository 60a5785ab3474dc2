//! A participant that receives, and tells the sender how: transport-wide feedback, receiver reports
//! and requests for lost packets, as a browser does.
//!
//! Packets are counted by their headers. Only a subscriber that opens them sees what is inside, and
//! so how long they took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::payload::{Stamp, wall_clock};
use super::rtcp::{self, Arrivals, Message, ReportBlock};
use super::rtp;
use super::session::{Kind, Session};
use crate::udp::{Datagram, Inbox};

const FEEDBACK_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long the request for a packet may wait for others.
const NACK_WITHIN: Duration = Duration::from_millis(20);
const NACKS_MAX: usize = 256;
/// Streams of one subscriber, retransmissions included.
const STREAMS_MAX: usize = 256;
/// What is longer behind its header has media in it: padding is 255 bytes at most (RFC 3550 section
/// 5.1), and a seal 16.
const PADDING_SEALED_BYTES_MAX: usize = 255 + 16;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// Opens media and reads its stamps.
    pub opens: bool,
    /// Transport-wide feedback.
    pub feedback: bool,
    /// One packet of so many is asked for again, as if it had been lost; 0: none.
    pub nack_one_in: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Media, without what was sent again, in packets.
    pub packets: u64,
    pub bytes: u64,
    /// That came twice, or again by RTX.
    pub repeated: u64,
    /// Probes and other packets without media.
    pub padding: u64,
    /// Numbers that were left out.
    pub lost: u64,
    /// That could not be opened.
    pub forged: u64,
    /// That were opened, and had a stamp.
    pub stamped: u64,
    /// That a source sent between others that came from it, as their stamps tell.
    pub missing: u64,
}

impl std::ops::AddAssign for Received {
    fn add_assign(&mut self, other: Received) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.repeated += other.repeated;
        self.padding += other.padding;
        self.lost += other.lost;
        self.forged += other.forged;
        self.stamped += other.stamped;
        self.missing += other.missing;
    }
}

pub struct Subscriber {
    pub session: Session,
    behaviour: Behaviour,
    /// The sender of its reports.
    ssrc: u32,
    streams: Vec<Stream>,
    arrivals: Arrivals,
    received: Received,
    /// What was lost and missing before [`Subscriber::begin`].
    before: (u64, u64),
    feedback_at: Instant,
    report_at: Instant,
    nack_at: Option<Instant>,
    dice: Dice,
}

struct Stream {
    ssrc: u32,
    audio: bool,
    first: u64,
    highest: u64,
    packets: u64,
    /// Of the last receiver report.
    reported: (u64, u64),
    sender_report: Option<(u32, Instant)>,
    wanted: Vec<u16>,
    run: Option<Run>,
}

/// Packets of one source.
#[derive(Debug, Clone, Copy)]
struct Run {
    source: u32,
    first: u64,
    last: u64,
    packets: u64,
}

impl Run {
    fn missing(self) -> u64 {
        (self.last - self.first + 1).saturating_sub(self.packets)
    }
}

impl Stream {
    fn new(header: &rtp::Header, audio: bool) -> Self {
        let first = u64::from(header.sequence_number);
        Stream {
            ssrc: header.ssrc,
            audio,
            first,
            highest: first,
            packets: 0,
            reported: (0, 0),
            sender_report: None,
            wanted: Vec::new(),
            run: None,
        }
    }

    fn note(&mut self, header: &rtp::Header) {
        self.highest = self.highest.max(rtp::extend(header.sequence_number, self.highest));
        self.packets += 1;
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.packets)
    }
}

impl Subscriber {
    pub fn new(session: Session, behaviour: Behaviour, number: u32, now: Instant) -> Self {
        // Not all at once.
        let phase = Duration::from_micros(u64::from(number % 100) * 1_000);
        Subscriber {
            session,
            behaviour,
            ssrc: number + 1,
            streams: Vec::new(),
            arrivals: Arrivals::default(),
            received: Received::default(),
            before: (0, 0),
            feedback_at: now + phase,
            report_at: now + phase,
            nack_at: None,
            dice: Dice(u64::from(number) + 1),
        }
    }

    /// Losses count from here on: until a server knows what a path carries, it may leave out pictures.
    pub fn begin(&mut self) {
        self.before = self.losses();
    }

    pub fn received(&self) -> Received {
        let (lost, missing) = self.losses();
        let (lost_before, missing_before) = self.before;
        Received {
            lost: lost.saturating_sub(lost_before),
            missing: missing.saturating_sub(missing_before),
            ..self.received
        }
    }

    fn losses(&self) -> (u64, u64) {
        let lost = self.streams.iter().map(Stream::lost).sum();
        let runs = self.streams.iter().filter_map(|stream| stream.run);
        (lost, self.received.missing + runs.map(Run::missing).sum::<u64>())
    }

    /// Streams of media that came.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// When [`Subscriber::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        if !self.session.is_connected() {
            return self.session.deadline();
        }
        let nack = self.nack_at.unwrap_or(self.feedback_at);
        self.session.deadline().min(self.feedback_at).min(nack)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.deadline() <= now {
            self.session.handle_timeout(now);
        }
        if !self.session.is_connected() {
            return;
        }
        if self.nack_at.is_some_and(|at| at <= now) {
            self.nack_at = None;
            self.send_nacks();
        }
        if self.feedback_at <= now {
            self.feedback_at += FEEDBACK_EVERY;
            if self.feedback_at <= now {
                self.feedback_at = now + FEEDBACK_EVERY;
            }
            self.send_reports(now);
        }
    }

    /// Takes what came for it. `latency` gets the nanoseconds from sender to here of what is opened.
    pub fn receive(&mut self, inbox: &mut Inbox, latency: &mut Histogram<u64>, now: Instant) {
        while let Ok(count @ 1..) = inbox.receive(&self.session.socket) {
            inbox.for_each(|datagram| self.handle_datagram(datagram, latency, now));
            if count < crate::udp::BATCH {
                return;
            }
        }
    }

    fn handle_datagram(&mut self, datagram: Datagram<'_>, latency: &mut Histogram<u64>, now: Instant) {
        match Kind::of(datagram.contents) {
            Kind::Session => self.session.handle_datagram(datagram.source, datagram.contents, now),
            Kind::Rtp => self.handle_media(datagram, latency),
            Kind::Rtcp => self.handle_reports(datagram.contents, now),
        }
    }

    fn handle_media(&mut self, datagram: Datagram<'_>, latency: &mut Histogram<u64>) {
        let contents = datagram.contents;
        let Some(header) = rtp::Header::parse(contents) else { return };
        let at = datagram.at.unwrap_or_else(wall_clock);
        let Some(line) = self.session.lines().iter().find(|line| line.has(header.payload_type)) else {
            return;
        };
        let (repairs, audio) = (line.is_repair(header.payload_type), line.audio);
        let number = line.extensions.transport_wide.filter(|_| self.behaviour.feedback);
        let number = number.and_then(|id| header.extension(contents, id));
        if let Some(number) = number.and_then(|number| number.try_into().ok()) {
            self.arrivals.note(u16::from_be_bytes(number), at);
        }
        self.received.bytes += contents.len() as u64;
        if repairs {
            // Probes have the dress of retransmissions, and are padded or very long.
            self.received.repeated += 1;
            return;
        }
        // A sender may make packets alike long by padding, and probe a path by padding alone.
        let mut has_media =
            !header.padded || contents.len() - header.payload_offset > PADDING_SEALED_BYTES_MAX;
        let mut stamp = None;
        if self.behaviour.opens {
            let Some(srtp) = self.session.srtp() else { return };
            let Ok((payload, _)) = srtp.open_rtp(contents, &header) else {
                self.received.forged += 1;
                return;
            };
            let media = rtp::without_padding(payload, &header);
            has_media = !media.is_empty();
            stamp = Stamp::read(media);
        }
        if !has_media {
            self.received.padding += 1;
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == header.ssrc) {
                stream.note(&header);
            }
            return;
        }
        if let Some(stamp) = stamp {
            // What took longer than can be told is told as the longest.
            latency.saturating_record(at.saturating_sub(stamp.sent_at).as_nanos() as u64);
        }
        self.note(&header, audio, stamp);
    }

    fn note(&mut self, header: &rtp::Header, audio: bool, stamp: Option<Stamp>) {
        let index = match self.streams.iter().position(|stream| stream.ssrc == header.ssrc) {
            Some(index) => index,
            None if self.streams.len() >= STREAMS_MAX => return,
            None => {
                self.streams.push(Stream::new(header, audio));
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        stream.note(header);
        self.received.packets += 1;
        if let Some(Stamp { source, counter, .. }) = stamp {
            self.received.stamped += 1;
            match &mut stream.run {
                Some(run) if run.source == source => {
                    run.last = run.last.max(counter);
                    run.packets += 1;
                }
                run => {
                    let ended = run.replace(Run { source, first: counter, last: counter, packets: 1 });
                    self.received.missing += ended.map_or(0, Run::missing);
                }
            }
        }
        let one_in = self.behaviour.nack_one_in;
        // Browsers do not ask for audio again.
        if one_in > 0 && !stream.audio && self.dice.throw(one_in) && stream.wanted.len() < NACKS_MAX {
            stream.wanted.push(header.sequence_number);
            self.nack_at.get_or_insert(Instant::now() + NACK_WITHIN);
        }
    }

    fn handle_reports(&mut self, contents: &mut [u8], now: Instant) {
        let Some(srtp) = self.session.srtp() else { return };
        let Ok(compound) = srtp.open_rtcp(contents) else {
            self.received.forged += 1;
            return;
        };
        rtcp::parse(compound, |message| {
            if let Message::SenderReport { ssrc, ntp_middle } = message
                && let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc)
            {
                stream.sender_report = Some((ntp_middle, now));
            }
        });
    }

    fn send_nacks(&mut self) {
        for index in 0..self.streams.len() {
            let mut wanted = std::mem::take(&mut self.streams[index].wanted);
            if wanted.is_empty() {
                continue;
            }
            let mut message = Vec::with_capacity(16 + 4 * wanted.len());
            rtcp::nack(&mut message, self.ssrc, self.streams[index].ssrc, &wanted);
            // One that is lost is a packet that is lost, as on any path.
            let _ = self.session.send_rtcp(message);
            wanted.clear();
            self.streams[index].wanted = wanted;
        }
    }

    fn send_reports(&mut self, now: Instant) {
        let mut report = Vec::new();
        if self.report_at <= now {
            self.report_at = now + REPORT_EVERY;
            let blocks: Vec<_> = self.streams.iter_mut().map(|stream| stream.report(now)).collect();
            rtcp::receiver_report(&mut report, self.ssrc, &blocks);
        }
        let media = self.streams.first().map_or(0, |stream| stream.ssrc);
        let (ssrc, session) = (self.ssrc, &mut self.session);
        self.arrivals.write(ssrc, media, |message| {
            let mut compound = std::mem::take(&mut report);
            compound.extend(message);
            // Feedback that is lost is followed by more.
            let _ = session.send_rtcp(compound);
        });
        if !report.is_empty() {
            let _ = self.session.send_rtcp(report);
        }
    }
}

impl Stream {
    fn report(&mut self, now: Instant) -> ReportBlock {
        let (expected, packets) = (self.expected(), self.packets);
        let interval = expected.saturating_sub(self.reported.0);
        let lost = interval.saturating_sub(packets.saturating_sub(self.reported.1));
        self.reported = (expected, packets);
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
            lost: self.lost() as u32,
            highest: self.highest as u32,
            last_report: self.sender_report.map(|(middle, at)| (middle, now.saturating_duration_since(at))),
        }
    }
}

/// A generator (xorshift64*) that makes each run the same.
struct Dice(u64);

impl Dice {
    /// True once in so many.
    fn throw(&mut self, one_in: u32) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32).is_multiple_of(one_in)
    }
}
