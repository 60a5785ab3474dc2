//! One participant of a scenario.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_protocol::client::{ClientMessage, ReceiveSlot, SendSlot};
use broletto_protocol::server::{ServerMessage, Slot, SlotSource};
use broletto_protocol::{MediaKind, ParticipantId, Publishing, Source};
use str0m::config::DtlsCert;
use str0m::media::{KeyframeRequestKind, MediaKind as WireKind, Mid};
use str0m::rtp::RtpPacket;

use super::media::{Sender, rids};
use super::scenario::{Camera, Change, Group};
use super::slots::{Roster, Wishes};
use crate::client::Session;
use crate::link::LinkConfig;
use crate::link_text::LinkChange;
use crate::payload::{Stamp, blocks};
use crate::peer::{Happening, Line, Peer};
use crate::quality::{PictureMeter, PictureQuality, VoiceMeter, VoiceQuality};

const AUDIO_SLOTS: usize = 3;
/// For ICE and DTLS after the answer.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(30);
/// As PROTOCOL.md asks for.
const PING_PERIOD: Duration = Duration::from_secs(20);
/// A slot of voices that had fewer packets says little about them: two seconds' worth.
const VOICE_PACKETS_MIN: u64 = 100;
/// Pictures that were watched for less are not judged.
const WATCHED_MIN: Duration = Duration::from_secs(2);

pub(super) struct Plan {
    pub server: SocketAddr,
    pub room: String,
    pub name: String,
    /// In stamps.
    pub publisher: u32,
    pub group: Group,
    /// On top of the group's links, up and down.
    pub extra: (LinkChange, LinkChange),
    pub talk: Duration,
    /// Whose turn it is to talk, of how many.
    pub turn: (u32, u32),
    pub certificate: DtlsCert,
    pub seed: u64,
    /// Where all times count from.
    pub begun: Instant,
    pub leaves_at: Instant,
    /// Packets with media that came to anybody.
    pub received: Rc<Cell<u64>>,
}

/// What it was like.
pub(super) struct Outcome {
    pub join: Duration,
    pub voices: Vec<VoiceQuality>,
    /// Of all slots together; the gap is the longest of any. None: nothing was watched.
    pub pictures: Option<PictureQuality>,
    /// Packets that were not as they were sent.
    pub damaged: u64,
}

/// While it takes part.
struct Present {
    plan: Plan,
    session: Session,
    peer: Peer,
    you: ParticipantId,
    sender: Sender,
    roster: Roster,
    wishes: Wishes,
    links: (LinkConfig, LinkConfig),
    publishing: Publishing,
    voices: HashMap<Mid, VoiceMeter>,
    pictures: HashMap<Mid, (PictureMeter, Option<SlotSource>)>,
    /// What is still to be done, the last first.
    changes: Vec<Change>,
    damaged: u64,
}

impl Plan {
    pub(super) async fn take_part(self) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let leaves_at = self.leaves_at;
        let mut present = self.join().await?;
        let join = started.elapsed();
        present.attend(leaves_at).await?;
        Ok(present.leave(join).await)
    }

    async fn join(self) -> anyhow::Result<Present> {
        let mut session = Session::open(self.server).await.context("WebSocket")?;
        let ServerMessage::Joined { you, room, participants, .. } =
            session.join(&self.room, &self.name).await.context("join")?
        else {
            bail!("join: not answered by joined");
        };
        let group = &self.group;
        let up = self.extra.0.apply(group.up.apply(LinkConfig::default()));
        let down = self.extra.1.apply(group.down.apply(LinkConfig::default()));
        let mut peer = Peer::new(self.server, self.certificate.clone(), up, down, self.seed).await?;
        let shares = group.screen || group.change.iter().any(|change| change.screen == Some(true));
        let mut sends = vec![(Source::Microphone, Line::Sends(WireKind::Audio, Vec::new()))];
        if group.camera != Camera::None {
            sends.push((Source::Camera, Line::Sends(WireKind::Video, rids(group.camera))));
        }
        if shares {
            sends.push((Source::Screen, Line::Sends(WireKind::Video, Vec::new())));
        }
        let kinds = [MediaKind::Audio; AUDIO_SLOTS].into_iter();
        let kinds: Vec<MediaKind> = kinds.chain((0..=group.sees).map(|_| MediaKind::Video)).collect();
        let receives = kinds.iter().map(|kind| match kind {
            MediaKind::Audio => Line::Receives(WireKind::Audio),
            MediaKind::Video => Line::Receives(WireKind::Video),
        });
        let lines: Vec<Line> = sends.iter().map(|(_, line)| line.clone()).chain(receives).collect();
        let (sdp, mids) = peer.offer(&lines)?;
        let (sending, receiving) = mids.split_at(sends.len());
        let send = sends.iter().zip(sending);
        let send =
            send.map(|((source, _), mid)| SendSlot { mid: mid.to_string(), source: *source }).collect();
        let receive = kinds.iter().zip(receiving);
        let receive = receive.map(|(kind, mid)| ReceiveSlot { mid: mid.to_string(), kind: *kind }).collect();
        let offer = ClientMessage::Offer { sdp, fresh: true, send, receive };
        let ServerMessage::Answer { sdp } = session.ask(offer).await.context("offer")? else {
            bail!("offer: not answered by answer");
        };
        peer.accept(&sdp)?;

        let mut sender = Sender::new(self.publisher, self.begun, room.video_codec);
        for ((source, _), mid) in sends.iter().zip(sending) {
            match source {
                Source::Microphone => sender.add_voice(*mid),
                other => sender.add_film(*mid, *other, group.camera),
            }
        }
        let (audio, video) = receiving.split_at(AUDIO_SLOTS);
        let wishes = Wishes::new(video.iter().map(Mid::to_string).collect(), group.tile);
        let mut changes = group.change.clone();
        changes.sort_by(|a, b| b.at_s.total_cmp(&a.at_s));
        let publishing = Publishing {
            microphone: group.microphone,
            camera: group.camera != Camera::None,
            screen: group.screen,
            screen_audio: false,
        };
        let mut present = Present {
            roster: Roster::new(&participants, &you),
            session,
            peer,
            you,
            sender,
            wishes,
            links: (up, down),
            publishing,
            voices: audio.iter().map(|mid| (*mid, VoiceMeter::default())).collect(),
            pictures: video.iter().map(|mid| (*mid, Default::default())).collect(),
            changes,
            damaged: 0,
            plan: self,
        };
        present.connect().await?;
        present.publish(publishing).await?;
        present.wish().await?;
        Ok(present)
    }
}

impl Present {
    async fn connect(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + MEDIA_TIMEOUT;
        loop {
            match self.peer.next(until).await? {
                Some(Happening::Connected) => return Ok(()),
                Some(happening) => self.handle_media(happening)?,
                None => bail!("media: not connected in time"),
            }
        }
    }

    async fn attend(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut pings = tokio::time::interval(PING_PERIOD);
        pings.reset();
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            self.change(now).await?;
            let speaking = self.is_speaking(now);
            if self.sender.send(&mut self.peer.rtc, now, speaking)? {
                self.peer.wake();
            }
            let change = self.changes.last().map(|change| self.plan.begun + at(change));
            let due = [self.sender.due(), change].into_iter().flatten().fold(until, Instant::min);
            tokio::select! {
                happening = self.peer.next(due) => if let Some(happening) = happening? {
                    self.handle_media(happening)?;
                },
                message = self.session.news() => {
                    let message = message.context("WebSocket")?;
                    self.handle_message(message).await?;
                }
                _ = pings.tick() => drop(self.session.send(ClientMessage::Ping {}).await.context("ping")?),
            }
        }
    }

    /// Each talks for a while, one after the other.
    fn is_speaking(&self, now: Instant) -> bool {
        let (turn, of) = self.plan.turn;
        let since = now.saturating_duration_since(self.plan.begun);
        (since.as_micros() / self.plan.talk.as_micros().max(1)) % u128::from(of) == u128::from(turn)
    }

    async fn change(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(change) = self.changes.pop_if(|change| self.plan.begun + at(change) <= now) {
            let (up, down) = self.links;
            self.links = (change.up.apply(up), change.down.apply(down));
            self.peer.set_links(self.links.0, self.links.1);
            let before = self.publishing;
            let publishing = Publishing {
                microphone: change.microphone.unwrap_or(before.microphone),
                camera: change.camera.unwrap_or(before.camera),
                screen: change.screen.unwrap_or(before.screen),
                ..before
            };
            if publishing != before {
                self.publish(publishing).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, publishing: Publishing) -> anyhow::Result<()> {
        self.session.send(ClientMessage::Publish { publishing }).await.context("publish")?;
        self.publishing = publishing;
        self.sender.set_publishing(publishing);
        Ok(())
    }

    async fn wish(&mut self) -> anyhow::Result<()> {
        let slots = self.wishes.update(&self.roster);
        if !slots.is_empty() {
            self.session.send(ClientMessage::View { slots }).await.context("view")?;
        }
        Ok(())
    }

    fn since_begun(&self) -> Duration {
        Instant::now().saturating_duration_since(self.plan.begun)
    }

    fn handle_media(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Packet(mid, packet) => self.handle_packet(mid, &packet),
            Happening::KeyFrameWanted(mid, rid) => self.sender.want_key_frame(mid, rid),
            Happening::Connected => {}
            Happening::Lost => bail!("media: lost"),
        }
        Ok(())
    }

    fn handle_packet(&mut self, mid: Mid, packet: &RtpPacket) {
        // Probes of the path may be padding alone.
        if packet.payload.is_empty() {
            return;
        }
        self.plan.received.set(self.plan.received.get() + 1);
        let now = self.since_begun();
        if self.voices.contains_key(&mid) {
            return self.handle_voice(mid, packet, now);
        }
        let Some(stamp) = Stamp::read(&packet.payload) else {
            self.damaged += 1;
            return;
        };
        if let Some((picture, _)) = self.pictures.get_mut(&mid) {
            picture.handle_packet(stamp, now);
            if picture.asks_for_key_frame(now) {
                if let Some(stream) = self.peer.rtc.direct_api().stream_rx_by_mid(mid, None) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
                self.peer.wake();
            }
        }
    }

    fn handle_voice(&mut self, mid: Mid, packet: &RtpPacket, now: Duration) {
        let mut params = self.peer.rtc.codec_config().params().iter();
        let is_redundant = params.any(|params| params.red() == Some(packet.header.payload_type));
        let voices =
            if is_redundant { blocks(&packet.payload) } else { Some(vec![(0, &packet.payload[..])]) };
        let Some(voices) = voices else {
            self.damaged += 1;
            return;
        };
        let meter = self.voices.entry(mid).or_default();
        for (before, voice) in voices {
            match (Stamp::read(voice), packet.seq_no.checked_sub(before)) {
                (Some(stamp), Some(number)) => {
                    meter.handle_packet(number, now.saturating_sub(Duration::from_micros(stamp.made_us)));
                }
                (Some(_), None) => {}
                (None, _) => self.damaged += 1,
            }
        }
    }

    async fn handle_message(&mut self, message: ServerMessage) -> anyhow::Result<()> {
        match message {
            ServerMessage::ParticipantJoined { participant }
            | ServerMessage::ParticipantChanged { participant } => {
                self.roster.handle(&participant, &self.you);
                self.wish().await?;
            }
            ServerMessage::ParticipantLeft { participant } => {
                self.roster.remove(&participant);
                self.wish().await?;
            }
            ServerMessage::Slots { slots } => self.handle_slots(slots),
            ServerMessage::VideoCodec { codec } => self.sender.set_codec(codec),
            ServerMessage::Demand { source, layers } => self.sender.set_demand(source, &layers),
            ServerMessage::OfferNeeded => bail!("media: the server lost it"),
            ServerMessage::Closed { reason } => bail!("WebSocket: closed, {reason:?}"),
            ServerMessage::Error { code, message, .. } => bail!("refused: {code:?}, {message}"),
            // What it does not look at.
            _ => {}
        }
        Ok(())
    }

    fn handle_slots(&mut self, slots: Vec<Slot>) {
        let now = self.since_begun();
        for slot in slots {
            let picture = self.pictures.iter_mut().find(|(mid, _)| mid.to_string() == slot.mid);
            if let Some((_, (meter, shown))) = picture.filter(|(_, (_, shown))| *shown != slot.shows) {
                meter.handle_source(slot.shows.is_some(), now);
                *shown = slot.shows;
            }
        }
    }

    async fn leave(mut self, join: Duration) -> Outcome {
        let now = self.since_begun();
        self.session.leave().await;
        let voices = self.voices.values().filter_map(VoiceMeter::quality);
        let voices = voices.filter(|voice| voice.packets >= VOICE_PACKETS_MIN).collect();
        let mut all = PictureQuality::default();
        for (meter, _) in self.pictures.values_mut() {
            meter.end(now);
            let PictureQuality { frames, freezes, frozen, watched, gap } = meter.quality;
            all.frames += frames;
            all.freezes += freezes;
            all.frozen += frozen;
            all.watched += watched;
            all.gap = all.gap.max(gap);
        }
        let pictures = (all.watched >= WATCHED_MIN).then_some(all);
        Outcome { join, voices, pictures, damaged: self.damaged }
    }
}

fn at(change: &Change) -> Duration {
    Duration::from_secs_f64(change.at_s)
}
