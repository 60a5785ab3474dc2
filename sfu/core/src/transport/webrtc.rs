//! A browser's transport. str0m does ICE-lite, DTLS and SDP; once DTLS gave the keys, RTP and RTCP
//! are [`Receiver`]'s and [`Sender`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broletto_control::{
    Codec, ConsumerId, ControlError, ProducerSlot, TransportId, TransportState, TransportStats,
};
use broletto_rtp::feedback::TransportFeedback;
use broletto_rtp::ntp::WallClock;
use broletto_rtp::rtcp::{self, Packet as Rtcp, ReportBlock, write};
use broletto_rtp::srtp::RTCP_GROWTH_BYTES_MAX;
use rand::rngs::StdRng;
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::ice::StunMessage;
use str0m::media::Mid;
use str0m::net::{self, Receive};
use str0m::{Event, IceCreds, Input, Rtc};

use super::answer;
use super::codecs::{add_codecs, extensions, payload_types, takes_descriptors};
use super::formats::extension_ids;
use super::keys::{self, SessionKeys};
use super::offer::{MediaLine, Offer};
use super::path::{Path, Paths, announced, bound, candidate, wire_protocol};
use super::receiver::{Arrived, OUR_SSRC, Receiver};
use super::sender::{Sender, StreamSetup};
use crate::buffer::Buffers;
use crate::consumer::{Consumer, Packet};
use crate::demux::Kind;
use crate::io::{Class, Limits, LocalAddress, Protocol, Received};
use crate::outbox::{Outbox, Way};
use crate::stats::{Dropped, WorkerStats};

/// Consent is refreshed every 5 s, give or take a fifth (RFC 7675 section 5.1). Whoever was not
/// heard at all for so long is probably gone.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Whoever was lost may come back within this time.
const GRACE: Duration = Duration::from_secs(30);
/// Time from the offer to the first connection.
const CONNECTING_MAX: Duration = Duration::from_secs(30);
pub(crate) const STATS_INTERVAL: Duration = Duration::from_secs(2);
/// How often senders and receivers report (RFC 3550 section 6.2 allows more, with this bandwidth).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A compound is sent before it becomes longer than this.
const COMPOUND_BYTES_MAX: usize = 1_100;
/// An error of one datagram is the peer's; as many in a row without a good one are ours.
const POLL_ERRORS_MAX: u32 = 8;
/// Rounds of str0m that one poll may take, should its deadline never leave the past.
const POLL_ROUNDS_MAX: usize = 8;
/// A path is suspected to be narrow for so long after its estimate fell by a tenth at once.
const FALL_LASTS: Duration = Duration::from_secs(3);
/// In the first seconds the estimate is a guess that probes are to replace: they go this far at
/// least, or the first pictures would wait for what the path has had all along.
const FIRST_USEFUL_BPS: u64 = 2_000_000;
const FIRST_PROBES: Duration = Duration::from_secs(3);
/// The next deadline is not nearer than this.
const TIMER_MIN: Duration = Duration::from_micros(250);

/// What all the transports of a worker share.
pub(crate) struct Environment {
    pub crypto: Arc<CryptoProvider>,
    pub certificate: DtlsCert,
    pub addresses: Vec<LocalAddress>,
    pub limits: Limits,
    pub clock: WallClock,
}

/// What a transport tells its router.
#[derive(Debug)]
pub(crate) enum TransportEvent {
    Packet(Arrived),
    /// The receiver of this m-line lost the picture: PLI or FIR.
    KeyFrameRequested(Mid),
    EstimateFell,
    Connected,
    /// [`WebRtc::snapshot`] is due.
    Stats,
}

/// Why a transport is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    TimedOut,
    Failed(String),
}

/// An incoming stream that was seen, and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub ssrc: u32,
    /// Slot of the router's producers, and the encoding of it.
    pub producer: usize,
    pub encoding: usize,
}

/// Slot of a producer, and the index of a consumer that shows or plays it.
#[derive(Debug, Clone, Copy)]
struct Route {
    producer: usize,
    consumer: usize,
}

pub(crate) struct WebRtc {
    pub id: TransportId,
    pub consumers: Vec<Consumer>,
    /// Which consumers have which sources: all that the hot loop looks through.
    routes: Vec<Route>,
    /// How many of its router's packets it was offered.
    pub packets_taken: u64,
    /// Slots of the router's producers that come in here.
    pub producers: Vec<usize>,
    pub streams: Vec<Stream>,
    pub state: TransportState,
    pub failure: Option<Failure>,
    /// It is in the worker's list of transports to poll.
    pub dirty: bool,
    /// The deadline under which the worker has noted it.
    pub noted_deadline: Option<Instant>,
    pub stats: TransportStats,
    /// What the timestamps of all its consumers show, and when.
    pub media_time: (Duration, Instant),
    /// Tests make the next packet panic here.
    #[cfg(test)]
    pub panic_next: bool,
    rtc: Rtc,
    credentials: IceCreds,
    fingerprint: String,
    remote_credentials: (String, String),
    cname: String,
    keys: SessionKeys,
    receiver: Receiver,
    sender: Sender,
    /// M-lines that offered redundant audio.
    red_mids: Vec<Mid>,
    paths: Paths,
    /// str0m has something to be polled for.
    stirred: bool,
    /// When str0m wants to be polled.
    rtc_at: Instant,
    report_at: Instant,
    stats_at: Instant,
    /// RTCP that is being written or read, and the feedback that was read.
    compound: Vec<u8>,
    blocks: Vec<ReportBlock>,
    feedback: TransportFeedback,
    made_at: Instant,
    heard_at: Instant,
    /// Since when it is disconnected.
    lost_at: Option<Instant>,
    deadline: Option<Instant>,
    poll_errors: u32,
    estimate_fell_at: Option<Instant>,
    connected_at: Option<Instant>,
    /// Requests for key frames that the peer sent.
    plis_in: u64,
}

impl WebRtc {
    pub fn new(
        id: TransportId,
        credentials: IceCreds,
        video_codecs: &[Codec],
        environment: &Environment,
        random: &mut StdRng,
        now: Instant,
    ) -> Self {
        let mut config = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_crypto_provider(environment.crypto.clone())
            .set_dtls_cert(environment.certificate.clone())
            .set_local_ice_credentials(credentials.clone())
            .set_extension_map(extensions())
            .clear_codecs();
        add_codecs(config.codec_config(), video_codecs);
        let (mut rtc, keys) = keys::capture(random, || config.build(now));
        for address in &environment.addresses {
            if let Some(candidate) = candidate(address) {
                rtc.add_local_candidate(candidate);
            }
        }
        let limits = &environment.limits;
        WebRtc {
            id,
            consumers: Vec::new(),
            routes: Vec::new(),
            packets_taken: 0,
            producers: Vec::new(),
            streams: Vec::new(),
            state: TransportState::Connecting,
            failure: None,
            dirty: false,
            noted_deadline: None,
            stats: TransportStats::default(),
            media_time: (Duration::ZERO, now),
            #[cfg(test)]
            panic_next: false,
            rtc,
            credentials,
            fingerprint: String::new(),
            remote_credentials: Default::default(),
            cname: String::new(),
            keys,
            // A stream and its retransmissions for each encoding, and the one that probes.
            receiver: Receiver::new(2 * limits.producers_max * limits.encodings_max + 1, now),
            sender: Sender::new(environment.clock, now),
            red_mids: Vec::new(),
            paths: Paths::default(),
            stirred: true,
            rtc_at: now,
            report_at: now + REPORT_INTERVAL,
            stats_at: now + STATS_INTERVAL,
            compound: Vec::new(),
            blocks: Vec::new(),
            feedback: TransportFeedback::default(),
            made_at: now,
            heard_at: now,
            lost_at: None,
            deadline: None,
            poll_errors: 0,
            estimate_fell_at: None,
            connected_at: None,
            plis_in: 0,
        }
    }

    /// Our ICE credentials, whose ufrag the demultiplexer knows.
    pub fn credentials(&self) -> &IceCreds {
        &self.credentials
    }

    /// Addresses that passed an ICE check.
    pub fn addresses(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> {
        self.paths.addresses()
    }

    /// The answer. `fresh` credentials are taken when the offer restarts ICE (RFC 8445 section 9).
    pub fn negotiate(
        &mut self,
        offer: &Offer,
        producers: &[ProducerSlot],
        video_codecs: &[Codec],
        fresh: IceCreds,
    ) -> Result<String, ControlError> {
        if !self.fingerprint.is_empty() && self.fingerprint != offer.fingerprint {
            return Err(ControlError::invalid("sdp", "a=fingerprint is not that of the first offer"));
        }
        let failed = |error: &dyn std::fmt::Display| ControlError::invalid("sdp", error.to_string());
        let sdp = SdpOffer::from_sdp_string(&offer.text).map_err(|error| failed(&error))?;
        let answer = self.rtc.sdp_api().accept_offer(sdp).map_err(|error| failed(&error))?;

        let remote_credentials = (offer.ufrag.clone(), offer.password.clone());
        let restarted = !self.fingerprint.is_empty() && remote_credentials != self.remote_credentials;
        if restarted {
            // str0m drew random ones, which lack the worker's index.
            self.rtc.direct_api().set_local_ice_credentials(fresh.clone());
            self.credentials = fresh;
        }
        self.remote_credentials = remote_credentials;
        self.fingerprint.clone_from(&offer.fingerprint);
        self.receiver.negotiate(&self.rtc, offer);
        let is_red = |line: &&MediaLine| line.red;
        self.red_mids = offer.lines.iter().filter(is_red).map(|line| line.mid.as_str().into()).collect();
        self.stirred = true;
        let answer = answer.to_sdp_string();
        if self.cname.is_empty() {
            let mut attributes = answer.lines().filter_map(|line| line.split_once(" cname:"));
            self.cname = attributes.next().map(|(_, cname)| cname.trim().to_owned()).unwrap_or_default();
        }
        Ok(answer::finish(&answer, offer, producers, video_codecs, &self.credentials))
    }

    /// To be called after each negotiation, for every consumer. `rtx_number` draws where the numbers
    /// of retransmissions start.
    pub fn bind_consumers(&mut self, mut rtx_number: impl FnMut() -> u16) {
        for consumer in &mut self.consumers {
            let red = self.red_mids.contains(&consumer.mid);
            consumer.payload_types = payload_types(&self.rtc, consumer.mid, red);
            consumer.takes_descriptors = takes_descriptors(&self.rtc, consumer.mid);
            let ids = extension_ids(&self.rtc, consumer.mid);
            let mut api = self.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(consumer.mid, None) else { continue };
            let setup = StreamSetup {
                mid: consumer.mid,
                audio: consumer.audio,
                ssrc: *stream.ssrc(),
                repair_ssrc: stream.rtx().map(|ssrc| *ssrc),
                ids,
                // The roll-over counter is not known to one who misses the first.
                rtx_number: rtx_number() & 0x7fff,
            };
            consumer.stream = Some(self.sender.bind(setup));
        }
    }

    /// Video codecs that the peer takes on this m-line, whichever its direction.
    pub fn video_codecs_of(&self, mid: &str) -> Vec<Codec> {
        let payload_types = payload_types(&self.rtc, mid.into(), false);
        let all = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];
        all.into_iter().filter(|codec| payload_types.of(*codec).is_some()).collect()
    }

    pub fn consumer_index(&self, id: ConsumerId) -> Option<usize> {
        self.consumers.iter().position(|consumer| consumer.id == id)
    }

    /// Whether the request carries the session's password (RFC 8445 section 7.3).
    pub fn is_genuine(&self, message: &StunMessage<'_>, environment: &Environment) -> bool {
        let hmac = environment.crypto.sha1_hmac_provider;
        let remote_ufrag = message.split_username().map(|(_, remote)| remote);
        remote_ufrag == Some(self.remote_credentials.0.as_str())
            && message.verify(self.credentials.pass.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts))
    }

    /// Where its ICE-TCP connections came in.
    pub fn tcp_bound(&self, environment: &Environment, remote: SocketAddr) -> Option<SocketAddr> {
        let same_family = |address: &&LocalAddress| {
            address.protocol == Protocol::Tcp && address.bound.is_ipv4() == remote.is_ipv4()
        };
        environment.addresses.iter().find(same_family).map(|address| address.bound)
    }

    /// As [`Paths::note_check`].
    pub fn note_check(
        &mut self,
        received: &Received<'_>,
        nominates: bool,
        now: Instant,
    ) -> Result<Option<(Protocol, SocketAddr)>, ()> {
        self.heard_at = now;
        self.paths.note_check(received, nominates, now)
    }

    /// As [`Paths::owns`].
    pub fn owns(&self, protocol: Protocol, remote: SocketAddr, now: Instant) -> bool {
        self.paths.owns(protocol, remote, now)
    }

    /// A datagram of this session: STUN that is genuine, or anything from a checked address.
    #[allow(clippy::too_many_arguments, reason = "each is borrowed from another part of the worker")]
    pub fn handle_received(
        &mut self,
        kind: Kind,
        received: &Received<'_>,
        environment: &Environment,
        buffers: &mut Buffers,
        stats: &mut WorkerStats,
        events: &mut Vec<TransportEvent>,
        now: Instant,
    ) {
        self.heard_at = now;
        self.stats.bytes_in += received.contents.len() as u64;
        match kind {
            Kind::Rtp => {
                self.stats.packets_in += 1;
                let packet = self.receiver.handle_rtp(received.contents, buffers, &mut stats.dropped, now);
                events.extend(packet.map(TransportEvent::Packet));
            }
            Kind::Rtcp => self.handle_rtcp(received.contents, &mut stats.dropped, events, now),
            Kind::Stun | Kind::Dtls => self.handle_handshake(received, environment, stats, now),
        }
    }

    fn handle_handshake(
        &mut self,
        received: &Received<'_>,
        environment: &Environment,
        stats: &mut WorkerStats,
        now: Instant,
    ) {
        self.stirred = true;
        let Some(destination) = announced(&environment.addresses, received) else {
            stats.dropped.malformed += 1;
            return;
        };
        let protocol = wire_protocol(received.protocol);
        let Ok(receive) = Receive::new(protocol, received.source, destination, received.contents) else {
            stats.dropped.malformed += 1;
            return;
        };
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) || self.rtc.handle_input(input).is_err() {
            stats.dropped.malformed += 1;
        }
        if !self.rtc.is_alive() {
            self.fail("the DTLS connection failed");
        }
    }

    fn handle_rtcp(
        &mut self,
        datagram: &[u8],
        dropped: &mut Dropped,
        events: &mut Vec<TransportEvent>,
        now: Instant,
    ) {
        let mut compound = std::mem::take(&mut self.compound);
        let opened = self.receiver.open_rtcp(datagram, &mut compound, dropped);
        for packet in opened.into_iter().flat_map(rtcp::parse) {
            match packet {
                Ok(Rtcp::SenderReport(packet)) => {
                    self.receiver.handle_sender_report(packet.report, now);
                    self.sender.handle_reports(packet.blocks(), now);
                }
                Ok(Rtcp::ReceiverReport(packet)) => self.sender.handle_reports(packet.blocks(), now),
                Ok(Rtcp::Nack(nack)) => self.sender.handle_nack(&nack, now),
                Ok(Rtcp::Pli(packet)) => self.handle_key_frame_request(packet.media_ssrc, events),
                Ok(Rtcp::Fir(packet)) => {
                    packet.entries().for_each(|(ssrc, _)| self.handle_key_frame_request(ssrc, events));
                }
                Ok(Rtcp::TransportFeedback(packet)) => match packet.decode_into(&mut self.feedback) {
                    Ok(()) => self.handle_feedback(events, now),
                    Err(_) => dropped.malformed += 1,
                },
                // A REMB is a mere claim, and the estimate is made from transport-wide feedback (M7).
                // Who is there is signaling's to know, and the rest asks for nothing.
                Ok(
                    Rtcp::Remb(_)
                    | Rtcp::Bye(_)
                    | Rtcp::Descriptions(_)
                    | Rtcp::Tmmbr(_)
                    | Rtcp::Tmmbn(_)
                    | Rtcp::ExtendedReport(_),
                ) => {}
                Err(_) => dropped.malformed += 1,
            }
        }
        self.compound = compound;
    }

    fn handle_key_frame_request(&mut self, ssrc: u32, events: &mut Vec<TransportEvent>) {
        self.plis_in += 1;
        events.extend(self.sender.mid_of(ssrc).map(TransportEvent::KeyFrameRequested));
    }

    fn handle_feedback(&mut self, events: &mut Vec<TransportEvent>, now: Instant) {
        let before = self.sender.estimate_bps();
        if !self.sender.handle_feedback(&self.feedback, now) {
            return;
        }
        let is_steep =
            before.zip(self.sender.estimate_bps()).is_some_and(|(before, now)| now < before / 10 * 9);
        if is_steep && !self.begins(now) {
            self.estimate_fell_at = Some(now);
        }
        events.push(TransportEvent::EstimateFell);
    }

    /// A deadline came, or something was queued.
    pub fn advance(&mut self, now: Instant) {
        if self.rtc_at <= now {
            self.advance_rtc(now);
        }
    }

    fn advance_rtc(&mut self, now: Instant) {
        self.stirred = true;
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.poll_errors += 1;
        }
    }

    /// Takes what str0m has, and sends what is due: datagrams go to the outbox, what the router is to
    /// know to `events`.
    pub fn poll(
        &mut self,
        environment: &Environment,
        outbox: &mut Outbox,
        events: &mut Vec<TransportEvent>,
        now: Instant,
    ) {
        for _ in 0..POLL_ROUNDS_MAX {
            if !std::mem::take(&mut self.stirred) {
                break;
            }
            self.rtc_at = self.drain(environment, outbox, events, now);
            if self.rtc_at > now || self.failure.is_some() {
                break;
            }
            self.advance_rtc(now);
        }
        if self.connected_at.is_some() {
            self.send(outbox, events, now);
        }
        let media = self.connected_at.is_some().then(|| self.media_timeout(now)).flatten();
        let at = media.map_or(self.rtc_at, |at| at.min(self.rtc_at));
        self.deadline = Some(at.max(now + TIMER_MIN));
    }

    /// When [`WebRtc::advance`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn media_timeout(&self, now: Instant) -> Option<Instant> {
        let reports = Some(self.report_at.min(self.stats_at));
        [reports, self.sender.poll_timeout(now), self.receiver.poll_timeout(now)].into_iter().flatten().min()
    }

    /// Where all but answers to checks goes. None: the peer has not agreed to be sent to.
    fn way(&mut self, dropped: &mut Dropped, now: Instant) -> Option<Way> {
        let Path { protocol, bound, remote } = self.paths.selected()?;
        if !self.paths.has_consent(now) {
            dropped.without_consent += 1;
            return None;
        }
        Some(Way { protocol, source: bound, destination: remote })
    }

    /// Media and RTCP that is due.
    fn send(&mut self, outbox: &mut Outbox, events: &mut Vec<TransportEvent>, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (media, feedback) =
            (is_due(self.sender.poll_timeout(now)), is_due(self.receiver.poll_timeout(now)));
        let reports = self.report_at <= now;
        if self.stats_at <= now {
            self.stats_at = now + STATS_INTERVAL;
            self.stats.rtt_ms = self.sender.rtt().map(|rtt| rtt.as_secs_f32() * 1_000.0);
            self.stats.loss_out = self.sender.loss();
            self.stats.loss_in = self.receiver.take_loss();
            events.push(TransportEvent::Stats);
        }
        if !(media || feedback || reports) {
            return;
        }
        let Some(way) = self.way(&mut outbox.stats.dropped, now) else {
            self.report_at = self.report_at.max(now + REPORT_INTERVAL);
            self.sender.discard(now);
            let mut unsent = outbox.buffer();
            self.receiver.write_feedback(self.sender.rtt(), &mut unsent, now);
            return outbox.reuse(unsent);
        };
        if media {
            let consumers = &mut self.consumers;
            self.sender.flush(way, self.receiver.formats(), outbox, now, |stream| {
                let of_stream = consumers.iter_mut().filter(|consumer| consumer.stream == Some(stream));
                of_stream.for_each(Consumer::restart);
            });
        }
        if reports {
            self.report_at = now + REPORT_INTERVAL;
            self.write_reports(way, outbox, now);
        }
        if feedback {
            let mut compound = outbox.buffer();
            self.receiver.write_feedback(self.sender.rtt(), &mut compound, now);
            self.send_rtcp(compound, way, outbox);
        }
    }

    fn write_reports(&mut self, way: Way, outbox: &mut Outbox, now: Instant) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.clear();
        self.receiver.report_blocks(&mut blocks, now);
        let mut compound = outbox.buffer();
        let mut first = None;
        let reports: Vec<_> = self.sender.reports(now).collect();
        for report in &reports {
            if compound.len() > COMPOUND_BYTES_MAX {
                let whole = std::mem::replace(&mut compound, outbox.buffer());
                self.send_rtcp(whole, way, outbox);
            }
            write::sender_report(&mut compound, report, if first.is_none() { &blocks } else { &[] });
            first.get_or_insert(report.ssrc);
        }
        if first.is_none() {
            write::receiver_report(&mut compound, OUR_SSRC, &blocks);
        }
        write::description(&mut compound, first.unwrap_or(OUR_SSRC), &self.cname);
        self.send_rtcp(compound, way, outbox);
        self.blocks = blocks;
    }

    fn send_rtcp(&mut self, mut compound: Vec<u8>, way: Way, outbox: &mut Outbox) {
        compound.reserve(RTCP_GROWTH_BYTES_MAX);
        if compound.is_empty() || self.sender.seal_rtcp(&mut compound).is_err() {
            return outbox.reuse(compound);
        }
        self.stats.bytes_out += compound.len() as u64;
        outbox.datagram(way, Class::Control, compound);
    }

    fn drain(
        &mut self,
        environment: &Environment,
        outbox: &mut Outbox,
        events: &mut Vec<TransportEvent>,
        now: Instant,
    ) -> Instant {
        loop {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(deadline)) => {
                    if !self.rtc.is_alive() {
                        self.fail("the DTLS connection was closed");
                    }
                    return deadline;
                }
                Ok(str0m::Output::Transmit(transmit)) => self.transmit(transmit, environment, outbox, now),
                Ok(str0m::Output::Event(event)) => self.handle_event(event, events, now),
                Err(error) => {
                    self.poll_errors += 1;
                    if !self.rtc.is_alive() || self.poll_errors >= POLL_ERRORS_MAX {
                        self.fail(&error.to_string());
                        return now + GRACE;
                    }
                }
            }
        }
    }

    fn transmit(
        &mut self,
        transmit: net::Transmit,
        environment: &Environment,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let protocol = match transmit.proto {
            net::Protocol::Udp => Protocol::Udp,
            net::Protocol::Tcp | net::Protocol::SslTcp | net::Protocol::Tls => Protocol::Tcp,
        };
        let Some(bound) = bound(&environment.addresses, protocol, transmit.source) else { return };
        let mut path = Path { protocol, bound, remote: transmit.destination };
        let contents: Vec<u8> = transmit.contents.into();
        let kind = Kind::of(&contents);
        // Answers to checks go where the checks came from; all else takes the chosen path.
        if kind != Some(Kind::Stun) {
            path = self.paths.select(path);
            if !self.paths.has_consent(now) {
                outbox.stats.dropped.without_consent += 1;
                return;
            }
        }
        if matches!(kind, Some(Kind::Rtp | Kind::Rtcp)) {
            // It has no key of ours to seal it with.
            outbox.stats.dropped.not_ours += 1;
            return;
        }
        self.stats.bytes_out += contents.len() as u64;
        let Path { protocol, bound, remote } = path;
        outbox.datagram(Way { protocol, source: bound, destination: remote }, Class::Control, contents);
    }

    fn handle_event(&mut self, event: Event, events: &mut Vec<TransportEvent>, now: Instant) {
        match event {
            Event::Connected => {
                if self.connected_at.is_none() {
                    let Some(keys) = self.keys.take() else {
                        return self.fail("the DTLS connection gave no keys");
                    };
                    self.sender.set_key(keys.ours);
                    self.receiver.set_key(keys.theirs);
                    self.connected_at = Some(now);
                    self.report_at = now + REPORT_INTERVAL;
                    self.stats_at = now + STATS_INTERVAL;
                }
                events.push(TransportEvent::Connected);
            }
            Event::Closed => self.fail("the peer closed the DTLS connection"),
            // The rest is of media, which does not go through str0m, or repeats the negotiation.
            _ => {}
        }
    }

    /// Judges by the time whether the peer is there. Returns the state if it changed.
    pub fn update_state(&mut self, now: Instant) -> Option<TransportState> {
        let silent = now.saturating_duration_since(self.heard_at) >= SILENT_AFTER;
        let state = match self.state {
            TransportState::Connecting => {
                if now.saturating_duration_since(self.made_at) >= CONNECTING_MAX {
                    self.failure.get_or_insert(Failure::TimedOut);
                }
                return None;
            }
            _ if silent || !self.paths.has_consent(now) => TransportState::Disconnected,
            _ => TransportState::Connected,
        };
        match state {
            TransportState::Disconnected => {
                let lost_at = *self.lost_at.get_or_insert(now);
                if now.saturating_duration_since(lost_at) >= GRACE {
                    self.failure.get_or_insert(Failure::TimedOut);
                }
            }
            TransportState::Connecting | TransportState::Connected => self.lost_at = None,
        }
        self.enter(state)
    }

    /// Returns the state if it is a new one.
    pub fn enter(&mut self, state: TransportState) -> Option<TransportState> {
        if self.state == state {
            return None;
        }
        self.state = state;
        if state == TransportState::Connected {
            // The receiver has missed what was not sent: its pictures start anew.
            self.consumers.iter_mut().for_each(Consumer::restart);
        }
        Some(state)
    }

    /// Gives a consumer another source, which is a slot of the router's producers.
    pub fn switch_source(&mut self, consumer: usize, source: Option<usize>, encodings: usize) {
        self.consumers[consumer].switch_source(source, encodings);
        self.routes.clear();
        let routes = self.consumers.iter().enumerate();
        self.routes.extend(
            routes.filter_map(|(consumer, of)| of.source.map(|producer| Route { producer, consumer })),
        );
    }

    pub fn has_stream(&self, ssrc: u32) -> bool {
        self.streams.iter().any(|stream| stream.ssrc == ssrc)
    }

    /// Hands a packet to the consumers of its producer. Returns to how many.
    pub fn forward(&mut self, producer: usize, packet: &Packet, now: Instant) -> u64 {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panic_next), "a panic that a test asked for");
        if self.state != TransportState::Connected {
            return 0;
        }
        let mut forwarded = 0;
        for route in self.routes.iter().filter(|route| route.producer == producer) {
            let consumer = &mut self.consumers[route.consumer];
            let Some(stream) = consumer.stream else { continue };
            let Some(outgoing) = consumer.forward(packet, now) else { continue };
            forwarded += u64::from(self.sender.queue(stream, outgoing, packet.captured_at, now));
        }
        forwarded
    }

    pub fn request_key_frame(&mut self, ssrc: u32) {
        self.receiver.request_key_frame(ssrc);
    }

    /// What the path is believed to carry.
    pub fn estimate_bps(&self) -> Option<u64> {
        self.sender.estimate_bps()
    }

    /// Whether what its path carries is only being found out.
    fn begins(&self, now: Instant) -> bool {
        self.connected_at.is_none_or(|at| now.saturating_duration_since(at) < FIRST_PROBES)
    }

    fn estimate_fell_lately(&self, now: Instant) -> bool {
        self.estimate_fell_at.is_some_and(|at| now.saturating_duration_since(at) < FALL_LASTS)
    }

    /// Whether more waits in the pacer than the path takes in time: what is added would only come later.
    pub fn is_congested(&self, now: Instant) -> bool {
        self.estimate_fell_lately(now) && self.sender.is_congested()
    }

    /// How much would be of use.
    pub fn set_useful(&mut self, useful_bps: u64, now: Instant) {
        let first = self.begins(now) && useful_bps > 0;
        self.sender.set_useful(if first { useful_bps.max(FIRST_USEFUL_BPS) } else { useful_bps });
    }

    pub fn snapshot(&self) -> TransportStats {
        TransportStats {
            estimate_bps: self.estimate_bps(),
            packets_out: self.sender.packets,
            bytes_out: self.stats.bytes_out + self.sender.bytes,
            nacks_in: self.sender.nacks,
            plis_in: self.plis_in,
            nacks_out: self.receiver.nacks,
            plis_out: self.receiver.plis,
            ..self.stats.clone()
        }
    }

    /// Tells the peer that this is the end.
    pub fn close(&mut self, environment: &Environment, outbox: &mut Outbox, now: Instant) {
        if self.rtc.close().is_ok() {
            let mut events = Vec::new();
            self.advance_rtc(now);
            self.drain(environment, outbox, &mut events, now);
        }
    }

    pub fn fail(&mut self, message: &str) {
        self.failure.get_or_insert(Failure::Failed(message.to_owned()));
    }
}
