//! A participant: a str0m peer in RTP mode that does what a browser does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use broletto_control::{Codec, ConsumerId, Content, ProducerId, TransportId};
use broletto_loadtest::link::{Link, LinkConfig};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec as WireCodec;
use str0m::media::{Direction, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::media::{self, Picture, Stamp};
use super::report::Received;

const AUDIO_FRAME: Duration = Duration::from_millis(20);

/// One encoding of a camera.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    pub width: u16,
    pub height: u16,
    pub bitrate_bps: u64,
}

impl Layer {
    pub const SMALL: Layer = Layer { width: 320, height: 180, bitrate_bps: 150_000 };
    pub const MIDDLE: Layer = Layer { width: 640, height: 360, bitrate_bps: 500_000 };
    pub const LARGE: Layer = Layer { width: 1280, height: 720, bitrate_bps: 1_500_000 };
}

#[derive(Debug, Clone)]
pub struct Camera {
    pub codec: Codec,
    /// From the smallest.
    pub layers: Vec<Layer>,
    pub frames_per_second: u32,
}

impl Camera {
    pub fn simulcast(codec: Codec) -> Self {
        Camera { codec, layers: vec![Layer::SMALL, Layer::MIDDLE, Layer::LARGE], frames_per_second: 25 }
    }

    pub fn single(codec: Codec, layer: Layer) -> Self {
        Camera { codec, layers: vec![layer], frames_per_second: 25 }
    }
}

/// What a peer brings, and what it can take.
#[derive(Debug, Clone)]
pub struct Plan {
    pub microphone: bool,
    pub camera: Option<Camera>,
    pub audio_slots: usize,
    pub video_slots: usize,
    pub up: LinkConfig,
    pub down: LinkConfig,
    /// Video codecs of the peer.
    pub codecs: Vec<Codec>,
    /// It sends and takes redundant audio (RFC 2198).
    pub red: bool,
    /// What its encoders need from capture to packet: voice, and picture.
    pub encoding: (Duration, Duration),
}

impl Default for Plan {
    fn default() -> Self {
        let link = LinkConfig { delay: Duration::from_millis(10), ..LinkConfig::default() };
        Plan {
            microphone: true,
            camera: Some(Camera::single(Codec::Vp8, Layer::MIDDLE)),
            audio_slots: 3,
            video_slots: 4,
            up: link,
            down: link,
            codecs: vec![Codec::Vp8, Codec::H264],
            red: false,
            encoding: (Duration::ZERO, Duration::ZERO),
        }
    }
}

/// An m-line that sends.
#[derive(Debug, Clone)]
pub struct Outlet {
    pub mid: Mid,
    pub producer: ProducerId,
    pub content: Content,
}

/// An m-line that receives.
#[derive(Debug, Clone)]
pub struct Inlet {
    pub mid: Mid,
    pub consumer: ConsumerId,
    pub audio: bool,
}

pub struct Peer {
    pub transport: TransportId,
    pub index: u16,
    /// As the worker sees it.
    pub address: SocketAddr,
    /// As the peer knows it.
    local: SocketAddr,
    pub rtc: Rtc,
    pub up: Link,
    pub down: Link,
    pub outlets: Vec<Outlet>,
    pub inlets: Vec<Inlet>,
    pub received: BTreeMap<Mid, Received>,
    pub connected: bool,
    /// Key frames that the far side asked for, by encoding.
    pub key_frames_asked: Vec<u32>,
    /// Level of the microphone in -dBov; None: nothing is sent.
    pub voice: Option<u8>,
    pub camera_on: bool,
    /// Encodings that it does not send though it could, by index.
    pub resting: Vec<usize>,
    pub camera_codec: Codec,
    /// Its feedback tells nothing of its path: what is sent to it counts as received at once, or all
    /// together whenever so much time has passed. What the path does to it is only measured.
    pub lie: Option<Duration>,
    pub(super) held: Vec<Vec<u8>>,
    pub(super) release_at: Instant,
    /// Bytes that the worker sent to it.
    pub bytes_offered: u64,
    /// It neither sends nor takes anything: the cable is out.
    pub unplugged: bool,
    pub datagrams_sent: u64,
    /// The last datagram of RTP that was sent.
    pub rtp_sent: Vec<u8>,
    /// The last one of STUN.
    pub stun_sent: Vec<u8>,
    pub plan: Plan,
    pub deadline: Instant,
    pub(super) pending: Option<SdpPendingOffer>,
    camera: Vec<Encoder>,
    audio_at: Instant,
    audio_frame: u32,
    audio_first: u16,
}

struct Encoder {
    picture: Picture,
    rid: Option<Rid>,
    bitrate_bps: u64,
    frame: u32,
    sequence_number: u64,
    timestamp: u32,
    key_frame_wanted: bool,
    next_at: Instant,
}

impl Peer {
    /// `first` is where sequence numbers start.
    pub fn new(transport: TransportId, index: u16, plan: Plan, first: u16, seed: u64, now: Instant) -> Self {
        let mut config = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, plan.red);
        for codec in &plan.codecs {
            config = match codec {
                Codec::Vp8 => config.enable_vp8(true),
                Codec::H264 => config.enable_h264(true),
                other => unreachable!("peers have no {other:?}"),
            };
        }
        let mut rtc = config.build(now);
        let address = address(index, 0);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("the address is a host's"));
        let layers = plan.camera.iter().flat_map(|camera| {
            let single = camera.layers.len() == 1;
            camera.layers.iter().enumerate().map(move |(layer, of)| Encoder {
                picture: Picture { codec: camera.codec, width: of.width, height: of.height },
                rid: (!single).then(|| ["q", "h", "f"][layer].into()),
                bitrate_bps: of.bitrate_bps,
                frame: u32::from(first),
                sequence_number: u64::from(first),
                timestamp: timestamp_first(first),
                key_frame_wanted: true,
                // Encoders of one camera are not quite in step.
                next_at: now + Duration::from_millis(layer as u64),
            })
        });
        let camera: Vec<Encoder> = layers.collect();
        Peer {
            transport,
            index,
            address,
            local: address,
            rtc,
            up: Link::new(plan.up, seed),
            down: Link::new(plan.down, seed ^ 0x5eed),
            outlets: Vec::new(),
            inlets: Vec::new(),
            received: BTreeMap::new(),
            connected: false,
            key_frames_asked: vec![0; camera.len()],
            voice: Some(40),
            camera_on: true,
            resting: Vec::new(),
            camera_codec: plan.camera.as_ref().map_or(Codec::Vp8, |camera| camera.codec),
            lie: None,
            held: Vec::new(),
            release_at: now,
            bytes_offered: 0,
            unplugged: false,
            datagrams_sent: 0,
            rtp_sent: Vec::new(),
            stun_sent: Vec::new(),
            plan,
            deadline: now,
            pending: None,
            camera,
            audio_at: now,
            audio_frame: 0,
            audio_first: first,
        }
    }

    /// An offer with an m-line for each outlet and inlet that is not there yet.
    pub fn offer(&mut self, mut id: impl FnMut() -> broletto_control::Id) -> String {
        let mut api = self.rtc.sdp_api();
        if self.outlets.is_empty() {
            if self.plan.microphone {
                let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
                let (producer, content) = (ProducerId(id()), Content::Microphone);
                self.outlets.push(Outlet { mid, producer, content });
            }
            if let Some(camera) = &self.plan.camera {
                let rids = self.camera.iter().filter_map(|encoder| encoder.rid);
                let send = rids.map(|rid| SimulcastLayer::new(&rid)).collect();
                let simulcast = (camera.layers.len() > 1).then_some(Simulcast { send, recv: vec![] });
                let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast);
                let (producer, content) = (ProducerId(id()), Content::Camera);
                self.outlets.push(Outlet { mid, producer, content });
            }
        }
        for (audio, slots) in [(true, self.plan.audio_slots), (false, self.plan.video_slots)] {
            let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
            let there = self.inlets.iter().filter(|inlet| inlet.audio == audio).count();
            for _ in there..slots {
                let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                self.inlets.push(Inlet { mid, consumer: ConsumerId(id()), audio });
            }
        }
        let (offer, pending) = api.apply().expect("something was added");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    pub fn restart_ice(&mut self) -> String {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().expect("a restart is a change");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("our answers parse");
        let pending = self.pending.take().expect("there was an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("our answers fit the offer");
        self.deadline = self.deadline.min(self.audio_at);
    }

    /// A NAT on the way gives it another port, and the peer does not know.
    pub fn rebind(&mut self, port: u16) {
        self.address = address(self.index, port);
    }

    pub fn producer(&self, content: Content) -> ProducerId {
        let outlet = self.outlets.iter().find(|outlet| outlet.content == content);
        outlet.expect("the peer sends it").producer
    }

    pub fn inlet(&self, audio: bool, index: usize) -> &Inlet {
        let mut inlets = self.inlets.iter().filter(|inlet| inlet.audio == audio);
        inlets.nth(index).expect("the peer has so many slots")
    }

    pub fn received(&self, audio: bool, index: usize) -> &Received {
        static NOTHING: std::sync::LazyLock<Received> = std::sync::LazyLock::new(Received::default);
        self.received.get(&self.inlet(audio, index).mid).unwrap_or(&NOTHING)
    }

    /// What came before does not matter any more.
    pub fn forget_received(&mut self) {
        self.received.values_mut().for_each(Received::forget);
    }

    pub fn handle_datagram(&mut self, source: SocketAddr, contents: &[u8], now: Instant) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, contents) else { return };
        self.rtc.handle_input(Input::Receive(now, receive)).expect("the worker sends what is right");
        self.deadline = now;
    }

    /// Makes media that is due and takes out what str0m has to send.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        if self.connected {
            self.speak(now);
            self.film(now);
        }
        self.rtc.handle_input(Input::Timeout(now)).expect("time goes on");
        loop {
            match self.rtc.poll_output().expect("str0m has no error to tell") {
                Output::Timeout(at) => {
                    self.deadline = at.max(now + Duration::from_micros(100));
                    break;
                }
                Output::Transmit(transmit) => {
                    self.datagrams_sent += 1;
                    match (transmit.contents[0], transmit.contents[1]) {
                        (0..=3, _) => self.stun_sent = transmit.contents.to_vec(),
                        (128..=191, 192..=223) => {}
                        (128..=191, _) => self.rtp_sent = transmit.contents.to_vec(),
                        _ => {}
                    }
                    out.push(transmit);
                }
                Output::Event(event) => self.handle_event(event, now),
            }
        }
        if self.connected {
            let next = self.camera.iter().map(|encoder| encoder.next_at).chain([self.audio_at]).min();
            self.deadline = self.deadline.min(next.expect("there is a microphone's"));
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.audio_at = now;
                for (layer, encoder) in self.camera.iter_mut().enumerate() {
                    encoder.next_at = now + Duration::from_millis(layer as u64);
                }
            }
            Event::RtpPacket(packet) => {
                let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|stream| stream.mid());
                let mid = mid.expect("a packet belongs to a stream");
                self.received.entry(mid).or_default().push(&packet, now);
            }
            Event::KeyframeRequest(request) => {
                let mut encoders = self.camera.iter_mut().enumerate();
                if let Some((layer, encoder)) = encoders.find(|(_, encoder)| encoder.rid == request.rid) {
                    encoder.key_frame_wanted = true;
                    self.key_frames_asked[layer] += 1;
                }
            }
            _ => {}
        }
    }

    pub fn ask_for_key_frame(&mut self, mid: Mid) {
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
        }
    }

    /// A REMB: a claim of how much may be sent.
    pub fn claim(&mut self, mid: Mid, bitrate: str0m::bwe::Bitrate) {
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_remb(bitrate);
        }
    }

    fn payload_type(&self, mid: Mid, codec: Codec) -> Option<Pt> {
        let media = self.rtc.media(mid)?;
        let wire = match codec {
            Codec::Opus => WireCodec::Opus,
            Codec::H264 => WireCodec::H264,
            Codec::Vp8 => WireCodec::Vp8,
            other => unreachable!("peers have no {other:?}"),
        };
        let params = self.rtc.codec_config().params().iter();
        let mut fitting = params.filter(|p| p.spec().codec == wire && media.remote_pts().contains(&p.pt()));
        fitting.next().map(|params| params.pt())
    }

    /// The payload type of redundant audio, if the far side takes it.
    fn redundant(&self, mid: Mid, opus: Pt) -> Option<Pt> {
        self.rtc.media(mid)?;
        let mut params = self.rtc.codec_config().params().iter();
        params.find(|params| params.pt() == opus).filter(|_| self.plan.red)?.red()
    }

    fn speak(&mut self, now: Instant) {
        while self.audio_at <= now {
            let at = self.audio_at;
            self.audio_at += AUDIO_FRAME;
            let outlet = self.outlets.iter().find(|outlet| outlet.content == Content::Microphone);
            let (Some(mid), Some(level)) = (outlet.map(|outlet| outlet.mid), self.voice) else { continue };
            let Some(payload_type) = self.payload_type(mid, Codec::Opus) else { continue };
            self.audio_frame += 1;
            let sequence_number = u64::from(self.audio_first) + u64::from(self.audio_frame);
            let extensions = ExtensionValues {
                audio_level: Some(-(level as i8)),
                voice_activity: Some(level < 60),
                ..ExtensionValues::default()
            };
            let payload = media::audio(self.index, self.audio_frame);
            let (payload_type, payload) = match self.redundant(mid, payload_type) {
                Some(red) => (red, media::redundant(*payload_type, self.index, self.audio_frame)),
                None => (payload_type, payload),
            };
            let packet = RtpWrite::new(
                payload_type,
                sequence_number.into(),
                timestamp_first(self.audio_first).wrapping_add(self.audio_frame * 960),
                at.checked_sub(self.plan.encoding.0).unwrap_or(at),
                payload,
            );
            let mut api = self.rtc.direct_api();
            let stream = api.stream_tx_by_mid(mid, None).expect("what was offered has a stream");
            stream.write_rtp(packet.ext_vals(extensions));
        }
    }

    fn film(&mut self, now: Instant) {
        let (Some(camera), true) = (&self.plan.camera, self.camera_on) else {
            self.camera
                .iter_mut()
                .for_each(|encoder| encoder.next_at = encoder.next_at.max(now + AUDIO_FRAME));
            return;
        };
        let outlet = self.outlets.iter().find(|outlet| outlet.content == Content::Camera);
        let mid = outlet.expect("who has a camera has its m-line").mid;
        let codec = self.camera_codec;
        let Some(payload_type) = self.payload_type(mid, codec) else { return };
        let interval = Duration::from_secs(1) / camera.frames_per_second;
        for (layer, encoder) in self.camera.iter_mut().enumerate() {
            if self.resting.contains(&layer) {
                encoder.next_at = encoder.next_at.max(now + interval);
                // An encoder that starts anew starts with a key frame.
                encoder.key_frame_wanted = true;
                continue;
            }
            while encoder.next_at <= now {
                if encoder.picture.codec != codec {
                    encoder.picture.codec = codec;
                    encoder.key_frame_wanted = true;
                }
                let key_frame = std::mem::take(&mut encoder.key_frame_wanted);
                encoder.frame += 1;
                encoder.timestamp = encoder.timestamp.wrapping_add(90_000 / camera.frames_per_second);
                let mean = encoder.bitrate_bps as usize / 8 / camera.frames_per_second as usize;
                let bytes = if key_frame { mean * 3 } else { mean };
                let stamp = Stamp {
                    publisher: self.index,
                    encoding: layer as u8,
                    key_frame,
                    frame: encoder.frame,
                    packet: 0,
                    packets: 0,
                    codec,
                };
                let payloads = media::frame(encoder.picture, bytes, stamp);
                let mut api = self.rtc.direct_api();
                let stream = api.stream_tx_by_mid(mid, encoder.rid).expect("what was offered has a stream");
                let last = payloads.len() - 1;
                for (index, payload) in payloads.into_iter().enumerate() {
                    encoder.sequence_number += 1;
                    let (number, time) = (encoder.sequence_number.into(), encoder.timestamp);
                    let captured =
                        encoder.next_at.checked_sub(self.plan.encoding.1).unwrap_or(encoder.next_at);
                    let packet = RtpWrite::new(payload_type, number, time, captured, payload);
                    stream.write_rtp(packet.marker(index == last).nackable(true));
                }
                encoder.next_at += interval;
            }
        }
    }
}

/// Such that timestamps wrap when the sequence numbers after `first` have just wrapped, at one packet
/// in 20 ms.
fn timestamp_first(first: u16) -> u32 {
    0_u32.wrapping_sub((65_536 - u32::from(first)) * 1_000)
}

fn address(index: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, (index >> 8) as u8, index as u8], 4_000 + port))
}
