//! A participant on the `webrtc` crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_protocol::client::{ClientMessage, ReceiveSlot, SendSlot};
use broletto_protocol::server::ServerMessage;
use broletto_protocol::{Codec, MediaKind, ParticipantId, Publishing, Source};
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RtpCodecKind,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder,
    register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, RtpTransceiver};

use super::judge::{Arrival, Last};
use crate::client::Session;
use crate::payload::{Picture, Stamp, frame, voice};

const PATIENCE: Duration = Duration::from_secs(20);
/// Packets that have come and were not looked at.
const ARRIVALS_MAX: usize = 16_384;
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Sampling instants between frames of 20 ms and 40 ms (RFC 7587, and 90 kHz for pictures).
const VOICE_TICKS: u32 = 960;
const PICTURE_TICKS: u32 = 3_600;
/// A second has one, so that whoever comes waits no longer.
const FRAMES_PER_KEY_FRAME: u32 = 25;
const FRAME_BYTES: usize = 1_500;

pub(super) struct Participant {
    pub id: ParticipantId,
    pub session: Session,
    connection: Arc<dyn PeerConnection>,
    connected: watch::Receiver<RTCPeerConnectionState>,
}

struct Events {
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
    arrivals: mpsc::Sender<Arrival>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let arrivals = self.arrivals.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                let arrival = Arrival {
                    ssrc: packet.header.ssrc,
                    payload_type: packet.header.payload_type,
                    sequence_number: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    stamp: Stamp::read(&packet.payload),
                };
                if arrivals.send(arrival).await.is_err() {
                    return;
                }
            }
        });
    }
}

struct Connection {
    peer: Arc<dyn PeerConnection>,
    gathered: watch::Receiver<bool>,
    state: watch::Receiver<RTCPeerConnectionState>,
    arrivals: mpsc::Receiver<Arrival>,
}

async fn connection() -> anyhow::Result<Connection> {
    let mut media = MediaEngine::default();
    media.register_default_codecs()?;
    for (uri, kind) in
        [(AUDIO_LEVEL, RtpCodecKind::Audio), (MID, RtpCodecKind::Audio), (MID, RtpCodecKind::Video)]
    {
        let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        media.register_header_extension(extension, kind, None)?;
    }
    let interceptors = register_default_interceptors(Registry::new(), &mut media)?;
    let (gathered, has_gathered) = watch::channel(false);
    let (state, states) = watch::channel(RTCPeerConnectionState::New);
    let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let peer = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(SettingEngineBuilder::new().with_include_loopback_candidate(true).build())
        .with_handler(Arc::new(Events { gathered, state, arrivals: sender }))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await?;
    Ok(Connection { peer: Arc::new(peer), gathered: has_gathered, state: states, arrivals })
}

impl Participant {
    /// Joins and offers; the answer is returned too.
    async fn join(
        server: SocketAddr,
        room: &str,
        name: &str,
        mut connection: Connection,
        slots: impl FnOnce() -> (Vec<SendSlot>, Vec<ReceiveSlot>),
    ) -> anyhow::Result<(Participant, mpsc::Receiver<Arrival>, String)> {
        let mut session = Session::open(server).await?;
        let ServerMessage::Joined { you, .. } = session.join(room, name).await? else {
            bail!("a join is answered by joined");
        };
        let _ = timeout(PATIENCE, connection.gathered.wait_for(|gathered| *gathered))
            .await
            .context("the addresses are not gathered")?;
        let offer = connection.peer.local_description().await.context("there is an offer")?;
        let (send, receive) = slots();
        let offer = ClientMessage::Offer { sdp: offer.sdp, fresh: true, send, receive };
        let ServerMessage::Answer { sdp } = session.ask(offer).await? else {
            bail!("an offer is answered by answer");
        };
        connection.peer.set_remote_description(RTCSessionDescription::answer(sdp.clone())?).await?;
        let (connection, state, arrivals) = (connection.peer, connection.state, connection.arrivals);
        let mut participant = Participant { id: you, session, connection, connected: state };
        participant.connect().await?;
        Ok((participant, arrivals, sdp))
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let connected = |state: &RTCPeerConnectionState| *state == RTCPeerConnectionState::Connected;
        let came_up = matches!(timeout(PATIENCE, self.connected.wait_for(connected)).await, Ok(Ok(_)));
        if !came_up {
            bail!("ICE and DTLS do not come up: {}", *self.connected.borrow());
        }
        Ok(())
    }

    pub(super) async fn leave(self) {
        self.session.leave().await;
        // Nothing depends on how it ends.
        let _ = self.connection.close().await;
    }
}

/// One that sends one stream.
pub(super) struct Publisher {
    pub participant: Participant,
    level: watch::Sender<u8>,
    start: Option<oneshot::Sender<()>>,
    stop: watch::Sender<bool>,
    sending: Sending,
}

struct Sending(JoinHandle<anyhow::Result<Last>>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a publisher sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    pub publisher: u32,
    /// None: a voice.
    pub picture: Option<Picture>,
}

impl Feed {
    fn kind(self) -> RtpCodecKind {
        if self.picture.is_some() { RtpCodecKind::Video } else { RtpCodecKind::Audio }
    }

    fn source(self) -> Source {
        if self.picture.is_some() { Source::Camera } else { Source::Microphone }
    }

    /// As SDP calls it.
    fn encoding(self) -> &'static str {
        match self.picture.map(|picture| picture.codec) {
            None => "opus",
            Some(Codec::H264) => "H264",
            Some(Codec::Vp8) => "VP8",
            Some(Codec::Vp9) => "VP9",
            Some(Codec::Av1) => "AV1",
        }
    }

    fn ssrc(self) -> u32 {
        0x0b0b_0000 | self.publisher
    }
}

impl Publisher {
    pub(super) async fn join(server: SocketAddr, room: &str, feed: Feed) -> anyhow::Result<Publisher> {
        let connection = connection().await?;
        let (name, source) = (feed.encoding(), feed.source());
        let codec = RTCRtpCodec {
            mime_type: format!("{}/{name}", if feed.picture.is_some() { "video" } else { "audio" }),
            clock_rate: if feed.picture.is_some() { 90_000 } else { 48_000 },
            channels: if feed.picture.is_some() { 0 } else { 2 },
            ..RTCRtpCodec::default()
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            format!("stream-{}", feed.publisher),
            format!("track-{}", feed.publisher),
            name.to_owned(),
            feed.kind(),
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(feed.ssrc()),
                    ..RTCRtpCodingParameters::default()
                },
                active: true,
                codec,
                ..RTCRtpEncodingParameters::default()
            }],
        )));
        let init = direction(RTCRtpTransceiverDirection::Sendonly);
        let local: Arc<dyn TrackLocal> = track.clone();
        let transceiver = connection.peer.add_transceiver_from_track(local, Some(init)).await?;
        let mid = offer(&connection, &transceiver).await?;
        let slots = || (vec![SendSlot { mid: mid.clone(), source }], Vec::new());
        let name = format!("publisher {}", feed.publisher);
        let (mut participant, _, answer) = Participant::join(server, room, &name, connection, slots).await?;
        let publishing = match source {
            Source::Microphone => Publishing { microphone: true, ..Publishing::default() },
            _ => Publishing { camera: true, ..Publishing::default() },
        };
        participant.session.ask(ClientMessage::Publish { publishing }).await?;

        let payload_type = payload_type(&answer, feed.encoding())
            .with_context(|| format!("{} is not in the answer:\n{answer}", feed.encoding()))?;
        let sender = transceiver.sender().await?.context("who publishes has a sender")?;
        let extensions = sender.get_parameters().await?.rtp_parameters.header_extensions;
        let id = |uri| extensions.iter().find(|one| one.uri == uri).map(|one| one.id as u8);
        let (level, levels) = watch::channel(0);
        let (start, started) = oneshot::channel();
        let (stop, stopped) = watch::channel(false);
        let wire = Wire { payload_type, mid: id(MID).map(|id| (id, mid)), audio_level: id(AUDIO_LEVEL) };
        let sending = Sending(tokio::spawn(send(track, feed, wire, started, levels, stopped)));
        Ok(Publisher { participant, level, start: Some(start), stop, sending })
    }

    /// In -dBov, of a voice.
    pub(super) fn level(&self, level: u8) {
        self.level.send_replace(level);
    }

    pub(super) fn start(&mut self) {
        if let Some(start) = self.start.take() {
            // If sending has ended, `stop` says why.
            let _ = start.send(());
        }
    }

    pub(super) async fn stop(&mut self) -> anyhow::Result<Last> {
        self.stop.send_replace(true);
        (&mut self.sending.0).await?
    }
}

/// What was agreed on.
struct Wire {
    payload_type: u8,
    mid: Option<(u8, String)>,
    audio_level: Option<u8>,
}

async fn send(
    track: Arc<TrackLocalStaticRTP>,
    feed: Feed,
    wire: Wire,
    started: oneshot::Receiver<()>,
    level: watch::Receiver<u8>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Last> {
    started.await.context("nothing was sent")?;
    let period = Duration::from_millis(if feed.picture.is_some() { 40 } else { 20 });
    let ticks = if feed.picture.is_some() { PICTURE_TICKS } else { VOICE_TICKS };
    let mut due = interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut last = Last { publisher: feed.publisher, frame: 0 };
    // Both wrap soon.
    let (mut sequence_number, mut timestamp) = (65_500_u16, u32::MAX - 20 * ticks);
    while !*stopped.borrow() {
        due.tick().await;
        last.frame += 1;
        let stamp = Stamp {
            publisher: feed.publisher,
            encoding: 0,
            key_frame: feed.picture.is_none() || last.frame % FRAMES_PER_KEY_FRAME == 1,
            frame: last.frame,
            packet: 0,
            packets: 1,
            made_us: begun.elapsed().as_micros() as u64,
        };
        let payloads = match feed.picture {
            Some(picture) => frame(picture, FRAME_BYTES * if stamp.key_frame { 3 } else { 1 }, stamp),
            None => vec![voice(stamp)],
        };
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let mut header = rtp::header::Header {
                version: 2,
                marker: feed.picture.is_some() && index + 1 == count,
                payload_type: wire.payload_type,
                sequence_number,
                timestamp,
                ssrc: feed.ssrc(),
                ..rtp::header::Header::default()
            };
            if let Some((id, mid)) = &wire.mid {
                header.set_extension(*id, Bytes::from(mid.clone()))?;
            }
            if let Some(id) = wire.audio_level {
                let level = *level.borrow();
                header.set_extension(id, Bytes::from(vec![level | if level < 60 { 0x80 } else { 0 }]))?;
            }
            track.write_rtp(rtp::Packet { header, payload: payload.into() }).await?;
            sequence_number = sequence_number.wrapping_add(1);
        }
        timestamp = timestamp.wrapping_add(ticks);
    }
    Ok(last)
}

/// One with one slot.
pub(super) struct Receiver {
    pub participant: Participant,
    pub mid: String,
    pub arrivals: mpsc::Receiver<Arrival>,
}

impl Receiver {
    pub(super) async fn join(server: SocketAddr, room: &str, pictures: bool) -> anyhow::Result<Receiver> {
        let connection = connection().await?;
        let (wire_kind, kind) = match pictures {
            true => (RtpCodecKind::Video, MediaKind::Video),
            false => (RtpCodecKind::Audio, MediaKind::Audio),
        };
        let init = direction(RTCRtpTransceiverDirection::Recvonly);
        let transceiver = connection.peer.add_transceiver_from_kind(wire_kind, Some(init)).await?;
        let mid = offer(&connection, &transceiver).await?;
        let slots = || (Vec::new(), vec![ReceiveSlot { mid: mid.clone(), kind }]);
        let (participant, arrivals, _) =
            Participant::join(server, room, "receiver", connection, slots).await?;
        Ok(Receiver { participant, mid, arrivals })
    }
}

fn direction(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() }
}

/// Makes the offer, and tells the `mid` of its m-line.
async fn offer(connection: &Connection, transceiver: &Arc<dyn RtpTransceiver>) -> anyhow::Result<String> {
    let offer = connection.peer.create_offer(None).await?;
    connection.peer.set_local_description(offer).await?;
    transceiver.mid().await?.context("an m-line that was offered has a mid")
}

/// The first payload type of that name in an answer.
fn payload_type(answer: &str, encoding: &str) -> Option<u8> {
    let maps = answer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    let found = maps.filter(|(_, map)| map.split('/').next().is_some_and(|name| name == encoding));
    found.filter_map(|(payload_type, _)| payload_type.parse().ok()).next()
}
