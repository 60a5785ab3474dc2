//! A browser's transport: ICE-lite, DTLS and SRTP by str0m in RTP mode.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broletto_control::{
    Codec, ConsumerId, ControlError, ProducerSlot, TransportId, TransportState, TransportStats,
};
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::ice::StunMessage;
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{self, Receive};
use str0m::rtp::{Extension, RtpPacket, Ssrc};
use str0m::{Event, IceCreds, Input, Rtc};

use super::answer;
use super::codecs::{add_codecs, codec, extensions, payload_types, takes_descriptors};
use super::loss::IncomingLoss;
use super::offer::{MediaLine, Offer};
use super::path::{Path, Paths, announced, bound, candidate, wire_protocol};
use super::ssrcs::{Role, RoleExtensions, Ssrcs};
use super::stats::{Counters, Counts};
use crate::allocator::ESTIMATE_START_BPS;
use crate::capture::{CaptureClock, Report};
use crate::consumer::{Consumer, Packet};
use crate::demux::Kind;
use crate::io::{Class, Limits, LocalAddress, Protocol, Received};
use crate::outbox::{Outbox, Way};
use crate::stats::WorkerStats;

/// Consent is refreshed every 5 s, give or take a fifth (RFC 7675 section 5.1). Whoever was not
/// heard at all for so long is probably gone.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Whoever was lost may come back within this time.
const GRACE: Duration = Duration::from_secs(30);
/// Time from the offer to the first connection.
const CONNECTING_MAX: Duration = Duration::from_secs(30);
/// How much video is kept for retransmission: as many packets, no older than this.
const HISTORY_PACKETS: usize = 1_024;
const HISTORY_AGE: Duration = Duration::from_secs(2);
/// Share of what is sent that may be retransmissions, before they are given up.
const RETRANSMISSION_SHARE_MAX: f32 = 0.2;
pub(crate) const STATS_INTERVAL: Duration = Duration::from_secs(2);
/// An error of one datagram is the peer's; as many in a row without a good one are ours.
const POLL_ERRORS_MAX: u32 = 8;
/// Rounds of str0m that one poll may take, should its deadline never leave the past.
const POLL_ROUNDS_MAX: usize = 8;
/// Loss beyond this is of a path that is too full, and not of a bad one.
const LOSS_TOLERATED: f64 = 0.1;
/// A path is suspected to be narrow for so long after its estimate fell by a tenth at once.
const FALL_LASTS: Duration = Duration::from_secs(3);
/// How long a packet of video may wait for the pacer.
const QUEUE_MAX: Duration = Duration::from_millis(250);
/// Probes go no further beyond the estimate than this, or they would push audio out of the queues of
/// a narrow path.
const PROBE_FACTOR: u64 = 2;
/// In the first seconds the estimate is a guess that probes are to replace: they go this far at
/// least, or the first pictures would wait for what the path has had all along.
const FIRST_DESIRED_BPS: u64 = 1_500_000;
const FIRST_PROBES: Duration = Duration::from_secs(3);
/// The next deadline is not nearer than this.
const TIMER_MIN: Duration = Duration::from_micros(250);

/// What all the transports of a worker share.
pub(crate) struct Environment {
    pub crypto: Arc<CryptoProvider>,
    pub certificate: DtlsCert,
    pub addresses: Vec<LocalAddress>,
    pub limits: Limits,
}

/// What a transport tells its router.
#[derive(Debug)]
pub(crate) enum TransportEvent {
    Packet(Box<RtpPacket>),
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
    pub ssrc: Ssrc,
    /// Slot of the router's producers, and the encoding of it.
    pub producer: usize,
    pub encoding: usize,
}

pub(crate) struct WebRtc {
    pub id: TransportId,
    pub consumers: Vec<Consumer>,
    /// Slots of the router's producers that come in here.
    pub producers: Vec<usize>,
    pub streams: Vec<Stream>,
    pub state: TransportState,
    pub failure: Option<Failure>,
    /// It is in the worker's list of transports to poll.
    pub dirty: bool,
    /// The deadline under which the worker has noted it.
    pub noted_deadline: Option<Instant>,
    pub estimate_bps: Option<u64>,
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
    /// What each payload type carries, redundant audio included.
    codecs: [Option<Codec>; 128],
    red: Option<Pt>,
    /// M-lines that offered redundant audio.
    red_mids: Vec<Mid>,
    capture: CaptureClock,
    incoming_loss: IncomingLoss,
    paths: Paths,
    ssrcs: Ssrcs,
    role_extensions: RoleExtensions,
    /// Of the datagram that came, if it is RTP.
    arriving: Option<u32>,
    /// The datagram that came is of a stream that is known: it gives a packet if it is genuine
    /// and new.
    packet_expected: bool,
    made_at: Instant,
    heard_at: Instant,
    /// Since when it is disconnected.
    lost_at: Option<Instant>,
    deadline: Option<Instant>,
    poll_errors: u32,
    desired_bps: u64,
    estimate_fell_at: Option<Instant>,
    connected_at: Option<Instant>,
    counters: Counters,
}

impl WebRtc {
    pub fn new(
        id: TransportId,
        credentials: IceCreds,
        video_codecs: &[Codec],
        environment: &Environment,
        now: Instant,
    ) -> Self {
        let mut config = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_crypto_provider(environment.crypto.clone())
            .set_dtls_cert(environment.certificate.clone())
            .set_local_ice_credentials(credentials.clone())
            .set_stats_interval(Some(STATS_INTERVAL))
            .enable_bwe(Some(Bitrate::bps(ESTIMATE_START_BPS)))
            .set_extension_map(extensions())
            .clear_codecs();
        add_codecs(config.codec_config(), video_codecs);
        let mut rtc = config.build(now);
        for address in &environment.addresses {
            if let Some(candidate) = candidate(address) {
                rtc.add_local_candidate(candidate);
            }
        }
        let limits = &environment.limits;
        WebRtc {
            id,
            consumers: Vec::new(),
            producers: Vec::new(),
            streams: Vec::new(),
            state: TransportState::Connecting,
            failure: None,
            dirty: false,
            noted_deadline: None,
            estimate_bps: None,
            stats: TransportStats::default(),
            media_time: (Duration::ZERO, now),
            #[cfg(test)]
            panic_next: false,
            rtc,
            credentials,
            fingerprint: String::new(),
            remote_credentials: Default::default(),
            codecs: [None; 128],
            red: None,
            red_mids: Vec::new(),
            capture: CaptureClock::new(now),
            incoming_loss: IncomingLoss::default(),
            paths: Paths::default(),
            // A stream and its retransmissions for each encoding, and the one that probes.
            ssrcs: Ssrcs::new(2 * limits.producers_max * limits.encodings_max + 1),
            role_extensions: RoleExtensions::default(),
            arriving: None,
            packet_expected: false,
            made_at: now,
            heard_at: now,
            lost_at: None,
            counters: Counters::default(),
            deadline: None,
            poll_errors: 0,
            desired_bps: 0,
            estimate_fell_at: None,
            connected_at: None,
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
        let id = |extension: Extension| {
            let mut lines = offer.lines.iter().filter_map(|line| self.rtc.media(line.mid.as_str().into()));
            lines.find_map(|media| media.remote_extmap().id_of(extension.clone()))
        };
        self.role_extensions = RoleExtensions {
            mid: id(Extension::RtpMid),
            rid: id(Extension::RtpStreamId),
            repaired_rid: id(Extension::RepairedRtpStreamId),
        };
        self.codecs = [None; 128];
        self.red = None;
        for params in self.rtc.codec_config().params() {
            let codec = codec(params.spec().codec);
            self.codecs[usize::from(*params.pt()) & 127] = codec;
            if let Some(red) = params.red() {
                self.codecs[usize::from(*red) & 127] = codec;
                self.red = Some(red);
            }
        }
        let is_red = |line: &&MediaLine| line.red;
        self.red_mids = offer.lines.iter().filter(is_red).map(|line| line.mid.as_str().into()).collect();
        Ok(answer::finish(&answer.to_sdp_string(), offer, producers, video_codecs, &self.credentials))
    }

    /// To be called after each negotiation, for every consumer.
    pub fn bind_consumers(&mut self) {
        for consumer in &mut self.consumers {
            let red = self.red_mids.contains(&consumer.mid);
            consumer.payload_types = payload_types(&self.rtc, consumer.mid, red);
            consumer.takes_descriptors = takes_descriptors(&self.rtc, consumer.mid);
            let mut api = self.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(consumer.mid, None) else { continue };
            let ssrc = stream.ssrc();
            if consumer.ssrc.replace(ssrc) == Some(ssrc) {
                continue;
            }
            if !consumer.audio {
                stream.set_rtx_cache(HISTORY_PACKETS, HISTORY_AGE, Some(RETRANSMISSION_SHARE_MAX));
            }
        }
    }

    /// Video codecs that the peer takes on this m-line, whichever its direction.
    pub fn video_codecs_of(&self, mid: &str) -> Vec<Codec> {
        let payload_types = payload_types(&self.rtc, mid.into(), false);
        let all = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];
        all.into_iter().filter(|codec| payload_types.of(*codec).is_some()).collect()
    }

    pub fn codec_of(&self, payload_type: Pt) -> Option<Codec> {
        self.codecs[usize::from(*payload_type) & 127]
    }

    pub fn consumer_index(&self, id: ConsumerId) -> Option<usize> {
        self.consumers.iter().position(|consumer| consumer.id == id)
    }

    /// Whether a packet of this type carries older frames before its own (RFC 2198).
    pub fn is_redundant(&self, payload_type: Pt) -> bool {
        self.red == Some(payload_type)
    }

    /// When the media of a packet of this peer was captured, by our clock.
    pub fn captured_at(&mut self, packet: &RtpPacket) -> Instant {
        let report = packet
            .last_sender_info
            .map(|info| Report { time: info.ntp_time, timestamp: info.rtp_time.numer() as u32 });
        let clock_rate = packet.time.frequency().get();
        self.capture.captured_at(report, packet.header.timestamp, clock_rate, packet.timestamp)
    }

    /// The m-line and rid that an incoming stream belongs to.
    pub fn origin_of(&mut self, ssrc: Ssrc) -> Option<(Mid, Option<Rid>)> {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        Some((stream.mid(), stream.rid()))
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
    pub fn handle_received(
        &mut self,
        kind: Kind,
        received: &Received<'_>,
        environment: &Environment,
        stats: &mut WorkerStats,
        now: Instant,
    ) {
        self.heard_at = now;
        self.packet_expected = false;
        self.arriving = None;
        self.stats.bytes_in += received.contents.len() as u64;
        self.stats.packets_in += u64::from(kind == Kind::Rtp);
        if kind == Kind::Rtp {
            let Some(ssrc) = self.admit_ssrc(received.contents, now) else {
                stats.dropped.ssrc_refused += 1;
                return;
            };
            // Retransmissions are not asked about: padding among them is no packet.
            self.packet_expected = self.streams.iter().any(|stream| stream.ssrc == ssrc);
        }
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

    fn admit_ssrc(&mut self, contents: &[u8], now: Instant) -> Option<Ssrc> {
        let ssrc = u32::from_be_bytes(contents.get(8..12)?.try_into().ok()?);
        let is_repair = self.codec_of(contents[1].into()).is_none();
        let claim = self.role_extensions.claim_of(contents, is_repair);
        self.arriving = Some(ssrc);
        self.ssrcs.admit(ssrc, claim, now).then(|| ssrc.into())
    }

    /// str0m handed out a packet, so the datagram that came is authentic.
    fn prove_ssrc(&mut self, main: Ssrc, sequence_number: u64, now: Instant) {
        let Some(ssrc) = self.arriving.take() else { return };
        if *main == ssrc {
            self.incoming_loss.note(main, sequence_number);
        }
        if let Some((mid, rid)) = self.origin_of(main) {
            self.ssrcs.prove(ssrc, Role { mid, rid, repairs: *main != ssrc }, now);
        }
    }

    /// Media was written, or a deadline came: str0m moves on to `now`.
    pub fn advance(&mut self, now: Instant) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.poll_errors += 1;
        }
    }

    /// Takes what str0m has: datagrams go to the outbox, what the router is to know to `events`.
    pub fn poll(
        &mut self,
        environment: &Environment,
        outbox: &mut Outbox,
        events: &mut Vec<TransportEvent>,
        now: Instant,
    ) {
        for _ in 0..POLL_ROUNDS_MAX {
            let deadline = self.drain(environment, outbox, events, now);
            outbox.stats.dropped.rtp_refused += u64::from(std::mem::take(&mut self.packet_expected));
            self.deadline = Some(deadline.max(now + TIMER_MIN));
            if deadline > now || self.failure.is_some() {
                break;
            }
            self.advance(now);
        }
    }

    /// When [`WebRtc::advance`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
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
        let class = match kind {
            Some(Kind::Rtp) => match self.codecs[usize::from(contents[1] & 0x7f)] {
                Some(Codec::Opus) => Class::Audio,
                _ => Class::Video,
            },
            _ => Class::Control,
        };
        self.stats.packets_out += u64::from(kind == Some(Kind::Rtp));
        self.stats.bytes_out += contents.len() as u64;
        let Path { protocol, bound, remote } = path;
        outbox.datagram(Way { protocol, source: bound, destination: remote }, class, contents);
    }

    fn handle_event(&mut self, event: Event, events: &mut Vec<TransportEvent>, now: Instant) {
        match event {
            Event::RtpPacket(packet) => {
                self.poll_errors = 0;
                self.prove_ssrc(packet.header.ssrc, *packet.seq_no, now);
                self.packet_expected = false;
                events.push(TransportEvent::Packet(Box::new(packet)));
            }
            Event::KeyframeRequest(request) => events.push(TransportEvent::KeyFrameRequested(request.mid)),
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                let estimate_bps = estimate.as_u64();
                let before = self.estimate_bps.replace(estimate_bps);
                let is_guess = self.begins(now);
                if !is_guess && before.is_some_and(|before| estimate_bps < before / 10 * 9) {
                    self.estimate_fell_at = Some(now);
                }
                if before.is_none_or(|before| estimate_bps < before) {
                    events.push(TransportEvent::EstimateFell);
                }
            }
            Event::Connected => {
                self.connected_at.get_or_insert(now);
                events.push(TransportEvent::Connected);
            }
            Event::MediaEgressStats(media) => {
                let counts = Counts { nacks: media.nacks, plis: media.plis + media.firs };
                self.counters.note(media.mid, media.rid, true, counts);
            }
            Event::MediaIngressStats(media) => {
                let counts = Counts { nacks: media.nacks, plis: media.plis + media.firs };
                self.counters.note(media.mid, media.rid, false, counts);
            }
            Event::PeerStats(peer) => {
                self.stats.rtt_ms = peer.rtt.map(|rtt| rtt.as_secs_f32() * 1000.0);
                self.stats.loss_out = peer.egress_loss_fraction;
                self.stats.loss_in = self.incoming_loss.take();
                events.push(TransportEvent::Stats);
            }
            Event::Closed => self.fail("the peer closed the DTLS connection"),
            // A REMB is a mere claim, and the estimate is made from transport-wide feedback (M7).
            // The rest is of data channels and of the frame mode, or repeats the negotiation.
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

    /// Hands a packet to one of the consumers. Returns whether it was sent.
    pub fn forward(&mut self, consumer: usize, packet: &Packet, now: Instant) -> bool {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panic_next), "a panic that a test asked for");
        if self.state != TransportState::Connected {
            return false;
        }
        self.consumers[consumer].forward(packet, &mut self.rtc, now)
    }

    pub fn request_key_frame(&mut self, ssrc: Ssrc) {
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// What the path is believed to carry. The estimator takes seconds to see that a path has
    /// narrowed, and meanwhile what is lost on it tells more.
    pub fn usable_bps(&self) -> Option<u64> {
        let loss = f64::from(self.stats.loss_out.unwrap_or(0.0));
        let share = if loss > LOSS_TOLERATED { 1.0 - loss.min(1.0) } else { 1.0 };
        self.estimate_bps.map(|estimate_bps| (estimate_bps as f64 * share) as u64)
    }

    /// Whether what its path carries is only being found out.
    fn begins(&self, now: Instant) -> bool {
        self.connected_at.is_none_or(|at| now.saturating_duration_since(at) < FIRST_PROBES)
    }

    fn estimate_fell_lately(&self, now: Instant) -> bool {
        self.estimate_fell_at.is_some_and(|at| now.saturating_duration_since(at) < FALL_LASTS)
    }

    /// Whether more packets of a consumer wait in the pacer than the path takes in time: what is
    /// added would only come later.
    pub fn is_congested(&mut self, consumer: usize, now: Instant) -> bool {
        let Some(ssrc) = self.consumers[consumer].ssrc else { return false };
        let Some(estimate_bps) = self.estimate_bps else { return false };
        if !self.estimate_fell_lately(now) {
            return false;
        }
        let mut api = self.rtc.direct_api();
        let queue = api.stream_tx(&ssrc).and_then(|stream| stream.queue_info());
        queue.is_some_and(|queue| {
            let is_fresh = now.saturating_duration_since(queue.created_at()) < QUEUE_MAX;
            let takes_bits = estimate_bps as u128 * QUEUE_MAX.as_millis() / 1_000;
            is_fresh && queue.byte_size() as u128 * 8 > takes_bits
        })
    }

    /// How much is worth probing for. Each rise makes str0m probe at once, and what is wished for
    /// moves with every frame: only a step that matters counts, and none while the path narrows.
    pub fn set_desired(&mut self, desired_bps: u64, now: Instant) {
        let desired_bps = match self.begins(now) && desired_bps > 0 {
            true => desired_bps.max(FIRST_DESIRED_BPS),
            false => desired_bps,
        };
        let known_bps = self.desired_bps.max(self.estimate_bps.unwrap_or(0));
        let narrows = self.estimate_fell_lately(now);
        let ceiling_bps = if narrows {
            known_bps
        } else {
            self.estimate_bps.map_or(u64::MAX, |known| known.saturating_mul(PROBE_FACTOR))
        };
        let desired_bps = desired_bps.min(ceiling_bps);
        let (low, high) = (self.desired_bps * 3 / 4, self.desired_bps * 5 / 4);
        if (low..=high).contains(&desired_bps) && self.desired_bps > 0 {
            return;
        }
        self.desired_bps = desired_bps;
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(desired_bps));
    }

    pub fn snapshot(&self) -> TransportStats {
        let (received, sent) = self.counters.totals();
        TransportStats {
            estimate_bps: self.estimate_bps,
            nacks_in: sent.nacks,
            plis_in: sent.plis,
            nacks_out: received.nacks,
            plis_out: received.plis,
            ..self.stats.clone()
        }
    }

    /// Tells the peer that this is the end.
    pub fn close(&mut self, environment: &Environment, outbox: &mut Outbox, now: Instant) {
        if self.rtc.close().is_ok() {
            let mut events = Vec::new();
            self.advance(now);
            self.drain(environment, outbox, &mut events, now);
        }
    }

    pub fn fail(&mut self, message: &str) {
        self.failure.get_or_insert(Failure::Failed(message.to_owned()));
    }
}
