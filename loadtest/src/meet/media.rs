//! What a participant sends: a voice, a camera in one or several sizes, a screen.

use std::time::{Duration, Instant};

use anyhow::Context;
use broletto_protocol::{Codec, Publishing, Source};
use str0m::Rtc;
use str0m::format::Codec as WireCodec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::scenario::Camera;
use crate::payload::{Picture, Stamp, frame, redundant, voice};

const VOICE_PERIOD: Duration = Duration::from_millis(20);
/// Sampling instants of Opus in a millisecond (RFC 7587).
const VOICE_TICKS: u64 = 48;
/// Who does not talk sends one packet in 400 ms, as Opus with DTX does.
const PAUSE_PERIODS: u32 = 20;
/// Levels of a voice and of silence, in -dBov (RFC 6464).
const VOICE: i8 = 30;
const SILENCE: i8 = 127;
/// A key frame is so many times as large as others.
const KEY_FRAME_FACTOR: usize = 3;
/// What is due longer than this is left out: the tester is not fast enough.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// Size, bits a second, frames a second.
struct Quality(u16, u16, usize, u32);

const SMALL: Quality = Quality(320, 180, 150_000, 25);
const MIDDLE: Quality = Quality(640, 360, 500_000, 25);
const LARGE: Quality = Quality(1_280, 720, 1_500_000, 25);
const SLIDES: Quality = Quality(1_280, 720, 400_000, 5);

/// The RIDs of a camera (PROTOCOL.md, "Sending").
pub(super) fn rids(camera: Camera) -> Vec<&'static str> {
    match camera {
        Camera::None | Camera::Single => Vec::new(),
        Camera::Simulcast => vec!["q", "h", "f"],
    }
}

pub(super) struct Sender {
    publisher: u32,
    begun: Instant,
    publishing: Publishing,
    codec: Codec,
    voice: Option<Voice>,
    films: Vec<Film>,
    pub packets: u64,
    /// Frames that were left out because the tester was late.
    pub skipped: u64,
}

struct Voice {
    mid: Mid,
    next_at: Instant,
    frame: u32,
    /// Periods since the last packet of a pause.
    paused: u32,
    /// The frame before, which goes along with the next one where the server takes it.
    before: Vec<Vec<u8>>,
}

/// One encoding of a camera or of a screen.
struct Film {
    mid: Mid,
    source: Source,
    rid: Option<Rid>,
    encoding: u8,
    quality: &'static Quality,
    /// Somebody wants it.
    wanted: bool,
    key_frame_wanted: bool,
    next_at: Instant,
    frame: u32,
    number: u64,
}

impl Sender {
    pub(super) fn new(publisher: u32, begun: Instant, codec: Codec) -> Self {
        let publishing = Publishing::default();
        Sender { publisher, begun, publishing, codec, voice: None, films: Vec::new(), packets: 0, skipped: 0 }
    }

    pub(super) fn add_voice(&mut self, mid: Mid) {
        self.voice = Some(Voice { mid, next_at: Instant::now(), frame: 0, paused: 0, before: Vec::new() });
    }

    pub(super) fn add_film(&mut self, mid: Mid, source: Source, camera: Camera) {
        let qualities: &[&'static Quality] = match (source, camera) {
            (Source::Screen, _) => &[&SLIDES],
            (_, Camera::Simulcast) => &[&SMALL, &MIDDLE, &LARGE],
            (_, Camera::Single) => &[&MIDDLE],
            (_, Camera::None) => &[],
        };
        let single = qualities.len() == 1;
        for (encoding, quality) in qualities.iter().enumerate() {
            self.films.push(Film {
                mid,
                source,
                rid: (!single).then(|| rids(camera)[encoding].into()),
                encoding: encoding as u8,
                quality,
                wanted: true,
                key_frame_wanted: true,
                next_at: Instant::now(),
                frame: 0,
                number: 0,
            });
        }
    }

    pub(super) fn set_publishing(&mut self, publishing: Publishing) {
        let before = std::mem::replace(&mut self.publishing, publishing);
        let now = Instant::now();
        if let Some(voice) = self.voice.iter_mut().find(|_| publishing.microphone && !before.microphone) {
            voice.next_at = now;
        }
        for film in &mut self.films {
            if publishing.is_on(film.source) && !before.is_on(film.source) {
                // What is switched on anew is wanted until it is told otherwise.
                (film.wanted, film.key_frame_wanted) = (true, true);
                // Encoders of one camera are not quite in step.
                film.next_at = now + Duration::from_millis(u64::from(film.encoding) * 3);
            }
        }
    }

    pub(super) fn set_codec(&mut self, codec: Codec) {
        if self.codec != codec {
            self.codec = codec;
            self.films.iter_mut().for_each(|film| film.key_frame_wanted = true);
        }
    }

    pub(super) fn set_demand(&mut self, source: Source, layers: &[u8]) {
        for film in self.films.iter_mut().filter(|film| film.source == source) {
            let wanted = layers.contains(&film.encoding);
            // An encoder that starts anew starts with a key frame.
            film.key_frame_wanted |= wanted && !film.wanted;
            film.wanted = wanted;
        }
    }

    pub(super) fn want_key_frame(&mut self, mid: Mid, rid: Option<Rid>) {
        let of = self.films.iter_mut().filter(|film| film.mid == mid && (film.rid == rid || rid.is_none()));
        of.for_each(|film| film.key_frame_wanted = true);
    }

    /// When [`Sender::send`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let voice = self.voice.iter().filter(|_| self.publishing.microphone).map(|voice| voice.next_at);
        let films = self.films.iter().filter(|film| self.is_on(film)).map(|film| film.next_at);
        voice.chain(films).min()
    }

    /// VP9 and AV1 are one encoding, at full size (PROTOCOL.md, "Sending").
    fn is_on(&self, film: &Film) -> bool {
        let layered = matches!(self.codec, Codec::Vp9 | Codec::Av1);
        self.publishing.is_on(film.source) && film.wanted && !(layered && film.encoding > 0)
    }

    /// Sends what is due. Whether anything was.
    pub(super) fn send(&mut self, rtc: &mut Rtc, now: Instant, speaking: bool) -> anyhow::Result<bool> {
        let before = self.packets;
        self.speak(rtc, now, speaking)?;
        for index in 0..self.films.len() {
            self.film(rtc, now, index)?;
        }
        Ok(self.packets > before)
    }

    fn speak(&mut self, rtc: &mut Rtc, now: Instant, speaking: bool) -> anyhow::Result<()> {
        let Some(voice_line) = &mut self.voice else { return Ok(()) };
        if !self.publishing.microphone {
            voice_line.next_at = now;
            voice_line.before.clear();
            return Ok(());
        }
        while voice_line.next_at <= now {
            let at = voice_line.next_at;
            voice_line.next_at += VOICE_PERIOD;
            if !speaking {
                voice_line.paused = (voice_line.paused + 1) % PAUSE_PERIODS;
                voice_line.before.clear();
                if voice_line.paused > 0 {
                    continue;
                }
            }
            voice_line.frame += 1;
            if now - at > BEHIND_MAX {
                self.skipped += 1;
                continue;
            }
            let Some(payload_type) = payload_type(rtc, voice_line.mid, WireCodec::Opus) else { continue };
            let made_us = at.saturating_duration_since(self.begun).as_micros() as u64;
            let stamp = Stamp {
                publisher: self.publisher,
                encoding: 0,
                key_frame: true,
                frame: voice_line.frame,
                packet: 0,
                packets: 1,
                made_us,
            };
            let extensions = ExtensionValues {
                audio_level: Some(-(if speaking { VOICE } else { SILENCE })),
                voice_activity: Some(speaking),
                ..ExtensionValues::default()
            };
            let number = u64::from(voice_line.frame);
            let ticks = (made_us / 1_000 * VOICE_TICKS) as u32;
            let payload = voice(stamp);
            let (on_wire, whole) = match redundant_type(rtc, payload_type) {
                Some(red) => (red, redundant(*payload_type, &voice_line.before, &payload)),
                None => (payload_type, payload.clone()),
            };
            voice_line.before = vec![payload];
            let packet = RtpWrite::new(on_wire, number.into(), ticks, at, whole);
            let mut api = rtc.direct_api();
            let stream =
                api.stream_tx_by_mid(voice_line.mid, None).context("a line that sends has a stream")?;
            stream.write_rtp(packet.ext_vals(extensions).nackable(true));
            self.packets += 1;
        }
        Ok(())
    }

    fn film(&mut self, rtc: &mut Rtc, now: Instant, index: usize) -> anyhow::Result<()> {
        let on = self.is_on(&self.films[index]);
        let codec = self.codec;
        let layered = matches!(codec, Codec::Vp9 | Codec::Av1);
        let film = &mut self.films[index];
        let quality = if layered && film.source == Source::Camera && film.rid.is_some() {
            &LARGE
        } else {
            film.quality
        };
        let Quality(width, height, bits_per_second, frames_per_second) = *quality;
        let interval = Duration::from_secs(1) / frames_per_second;
        if !on {
            film.next_at = film.next_at.max(now);
            film.key_frame_wanted = true;
            return Ok(());
        }
        let Some(payload_type) = payload_type(rtc, film.mid, wire(codec)) else {
            film.next_at = film.next_at.max(now + interval);
            return Ok(());
        };
        while film.next_at <= now {
            let at = film.next_at;
            film.next_at += interval;
            if now - at > BEHIND_MAX {
                self.skipped += 1;
                continue;
            }
            film.frame += 1;
            let key_frame = std::mem::take(&mut film.key_frame_wanted);
            let mean = bits_per_second / 8 / frames_per_second as usize;
            let bytes = if key_frame { mean * KEY_FRAME_FACTOR } else { mean };
            let made = at.saturating_duration_since(self.begun);
            let stamp = Stamp {
                publisher: self.publisher,
                encoding: film.encoding | if film.source == Source::Screen { 0x80 } else { 0 },
                key_frame,
                frame: film.frame,
                packet: 0,
                packets: 1,
                made_us: made.as_micros() as u64,
            };
            let ticks = (made.as_micros() as u64 * 9 / 100) as u32;
            let payloads = frame(Picture { codec, width, height }, bytes, stamp);
            let count = payloads.len();
            let mut api = rtc.direct_api();
            let stream =
                api.stream_tx_by_mid(film.mid, film.rid).context("a line that sends has a stream")?;
            for (nth, payload) in payloads.into_iter().enumerate() {
                film.number += 1;
                let packet = RtpWrite::new(payload_type, film.number.into(), ticks, at, payload);
                stream.write_rtp(packet.marker(nth + 1 == count).nackable(true));
                self.packets += 1;
            }
        }
        Ok(())
    }
}

fn wire(codec: Codec) -> WireCodec {
    match codec {
        Codec::H264 => WireCodec::H264,
        Codec::Vp8 => WireCodec::Vp8,
        Codec::Vp9 => WireCodec::Vp9,
        Codec::Av1 => WireCodec::Av1,
    }
}

fn payload_type(rtc: &Rtc, mid: Mid, codec: WireCodec) -> Option<Pt> {
    let media = rtc.media(mid)?;
    let params = rtc.codec_config().params().iter();
    let mut fitting =
        params.filter(|one| one.spec().codec == codec && media.remote_pts().contains(&one.pt()));
    fitting.next().map(|params| params.pt())
}

/// Of redundant audio (RFC 2198), if the server takes it.
fn redundant_type(rtc: &Rtc, opus: Pt) -> Option<Pt> {
    rtc.codec_config().params().iter().find(|params| params.pt() == opus)?.red()
}
