//! How good voices and pictures were for those who got them. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::payload::Stamp;

/// Frames whose intervals make the average (W3C webrtc-stats, `freezeCount`).
const FREEZE_WINDOW: usize = 30;
const FREEZE_MIN: Duration = Duration::from_millis(150);
/// A voice that comes so much later than others do is of no use to who plays it.
const LATE_MAX: Duration = Duration::from_millis(200);
/// A frame of Opus, which is known when it has ended.
const VOICE_FRAME: Duration = Duration::from_millis(20);
/// For what is missing to be sent again, and between two wishes for a key frame.
const ASK_AFTER: Duration = Duration::from_millis(250);
const ASK_PERIOD: Duration = Duration::from_millis(500);
/// The longest that a player holds pictures back, and how fast that falls, a second in a second.
const HOLD_MAX: Duration = Duration::from_millis(500);
const HOLD_FALL: f64 = 0.01;
/// Pictures that are being put together.
const PARTIAL_MAX: usize = 64;

/// Mean opinion score of a voice: `loss` is the share, 0 to 1, that is missing, `delay` that from
/// mouth to ear.
pub fn mos(delay: Duration, loss: f64) -> f64 {
    let percent = loss * 100.0;
    // Below 0 the formula rises again (ITU-T G.107, annex B).
    let r = (93.2 - delay_impairment(delay) - 95.0 * percent / (percent + 10.0)).max(0.0);
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
}

/// The usual short form of Id in ITU-T G.107: it grows faster where people begin to talk at once.
fn delay_impairment(delay: Duration) -> f64 {
    let ms = delay.as_secs_f64() * 1e3;
    0.024 * ms + 0.11 * (ms - 177.3).max(0.0)
}

/// One slot of voices.
#[derive(Debug, Default)]
pub struct VoiceMeter {
    first: Option<u64>,
    last: u64,
    /// How long each packet was on its way, by its number.
    ways: BTreeMap<u64, Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoiceQuality {
    pub packets: u64,
    /// Share of packets that did not come, or too late.
    pub loss: f64,
    /// From mouth to ear, where the player waits for 95 of 100 packets.
    pub delay: Duration,
    pub mos: f64,
}

impl VoiceMeter {
    /// `number` is the extended sequence number of the slot, in which a server leaves no gap but for
    /// what was lost.
    pub fn handle_packet(&mut self, number: u64, way: Duration) {
        let first = *self.first.get_or_insert(number);
        if number >= first {
            self.last = self.last.max(number);
            self.ways.entry(number).or_insert(way);
        }
    }

    /// None: nothing came.
    pub fn quality(&self) -> Option<VoiceQuality> {
        let expected = self.last - self.first? + 1;
        let mut ways: Vec<Duration> = self.ways.values().copied().collect();
        ways.sort();
        let usual = ways[ways.len() / 2];
        let in_time = ways.iter().filter(|way| **way <= usual + LATE_MAX).count() as u64;
        let buffered = ways[(ways.len() * 95 / 100).min(ways.len() - 1)].min(usual + LATE_MAX);
        let loss = 1.0 - in_time as f64 / expected as f64;
        let delay = buffered + VOICE_FRAME;
        Some(VoiceQuality { packets: expected, loss, delay, mos: mos(delay, loss) })
    }
}

/// One slot of pictures.
#[derive(Debug, Default)]
pub struct PictureMeter {
    /// Packets that have come of pictures that are not whole yet.
    partial: BTreeMap<Picture, u16>,
    /// Pictures that are whole and wait for one before them.
    waiting: BTreeMap<Picture, Waiting>,
    shown: Option<Picture>,
    /// When the last one was shown, or the slot got its source.
    since: Option<Duration>,
    /// For how long after they were made pictures are held back, so that late ones come in time.
    hold: Duration,
    held_at: Duration,
    asked_at: Option<Duration>,
    intervals: VecDeque<Duration>,
    pub quality: PictureQuality,
}

/// Publisher, encoding, frame.
type Picture = (u32, u8, u32);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    came: Duration,
    made: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PictureQuality {
    pub frames: u64,
    pub freezes: u32,
    pub frozen: Duration,
    /// In which there should have been pictures.
    pub watched: Duration,
    /// The longest time without a new one.
    pub gap: Duration,
}

impl PictureMeter {
    /// From now on this slot should show something, or nothing. All times count from the same moment.
    pub fn handle_source(&mut self, present: bool, now: Duration) {
        self.end(now);
        self.since = present.then_some(now);
        self.intervals.clear();
        self.partial.clear();
        self.waiting.clear();
    }

    pub fn handle_packet(&mut self, stamp: Stamp, now: Duration) {
        let picture = (stamp.publisher, stamp.encoding, stamp.frame);
        let made = Duration::from_micros(stamp.made_us);
        let came = self.partial.entry(picture).or_default();
        *came += 1;
        if *came < stamp.packets {
            if self.partial.len() > PARTIAL_MAX {
                self.partial.pop_first();
            }
            return;
        }
        self.partial.remove(&picture);
        // A player shows what it can decode: a key frame, or what follows the picture before.
        let of_shown = self.shown.filter(|shown| (shown.0, shown.1) == (picture.0, picture.1));
        if of_shown.is_some_and(|shown| picture.2 <= shown.2) {
            return;
        }
        if stamp.key_frame || of_shown.is_some_and(|shown| picture.2 == shown.2 + 1) {
            self.show(picture, made, now);
        } else {
            self.waiting.insert(picture, Waiting { came: now, made });
            if self.waiting.len() > PARTIAL_MAX {
                self.waiting.pop_first();
            }
        }
    }

    /// Whether the player has to ask for a key frame: what it has cannot be shown, and what is missing
    /// should have been sent again by now.
    pub fn asks_for_key_frame(&mut self, now: Duration) -> bool {
        let waits = self.waiting.values().any(|one| now.saturating_sub(one.came) >= ASK_AFTER);
        let asks = waits && self.asked_at.is_none_or(|at| now.saturating_sub(at) >= ASK_PERIOD);
        if asks {
            self.asked_at = Some(now);
        }
        asks
    }

    /// Nothing more is watched.
    pub fn end(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.wait(now.saturating_sub(since));
        }
    }

    /// And what has waited for it.
    fn show(&mut self, picture: Picture, made: Duration, now: Duration) {
        let (mut next, mut made) = (picture, Some(made));
        while let Some(of) = made {
            self.shown = Some(next);
            self.count(of, now);
            next.2 = next.2.wrapping_add(1);
            made = self.waiting.remove(&next).map(|waiting| waiting.made);
        }
        // What is older than what is shown, or of another source, is not waited for any more.
        let same = |other: &Picture| (other.0, other.1) == (picture.0, picture.1) && other.2 >= next.2;
        self.waiting.retain(|other, _| same(other));
    }

    fn count(&mut self, made: Duration, now: Duration) {
        self.quality.frames += 1;
        // As a player does: a late picture makes it hold the next ones longer, and as long as none is
        // late it holds them less and less.
        let less = now.saturating_sub(self.held_at).mul_f64(HOLD_FALL);
        self.held_at = now;
        let way = now.saturating_sub(made);
        self.hold = self.hold.saturating_sub(less).max(way).min(HOLD_MAX);
        let shown_at = now.max(made + self.hold);
        if let Some(since) = self.since {
            let interval = shown_at.saturating_sub(since);
            self.wait(interval);
            self.intervals.push_back(interval);
            if self.intervals.len() > FREEZE_WINDOW {
                self.intervals.pop_front();
            }
        }
        self.since = self.since.max(Some(shown_at));
    }

    fn wait(&mut self, interval: Duration) {
        self.quality.watched += interval;
        self.quality.gap = self.quality.gap.max(interval);
        let count = self.intervals.len() as u32;
        if count > 0 {
            let average = self.intervals.iter().sum::<Duration>() / count;
            if interval >= (3 * average).max(average + FREEZE_MIN) {
                self.quality.freezes += 1;
                self.quality.frozen += interval;
            }
        }
    }
}

impl PictureQuality {
    pub fn frames_per_second(&self) -> f64 {
        self.frames as f64 / self.watched.as_secs_f64()
    }

    /// Share of the time, 0 to 1.
    pub fn freeze_ratio(&self) -> f64 {
        self.frozen.as_secs_f64() / self.watched.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_score_falls_with_loss_and_with_delay() {
        assert!((mos(Duration::ZERO, 0.0) - 4.41).abs() < 0.01, "{}", mos(Duration::ZERO, 0.0));
        // 5 % cost 31.7 of R, 300 ms cost 20.7.
        assert!((mos(Duration::ZERO, 0.05) - 3.17).abs() < 0.03, "{}", mos(Duration::ZERO, 0.05));
        assert!((mos(300 * MILLISECOND, 0.0) - 3.70).abs() < 0.05, "{}", mos(300 * MILLISECOND, 0.0));
        assert_eq!(mos(Duration::from_secs(2), 1.0), 1.0);
    }

    #[test]
    fn a_voice_that_is_missing_or_late_is_lost() {
        let mut meter = VoiceMeter::default();
        for number in (0..1_000).filter(|number| number % 100 != 50) {
            let way = if number % 100 == 60 { 300 } else { 40 };
            meter.handle_packet(65_000 + number, way * MILLISECOND);
        }
        let quality = meter.quality().expect("something came");
        assert_eq!(quality.packets, 1_000);
        assert!((quality.loss - 0.02).abs() < 1e-9, "{quality:?}");
        assert_eq!(quality.delay, 60 * MILLISECOND);
        assert!(VoiceMeter::default().quality().is_none());
    }

    fn stamp(frame: u32, packet: u16, key_frame: bool) -> Stamp {
        Stamp {
            publisher: 1,
            encoding: 0,
            key_frame,
            frame,
            packet,
            packets: 2,
            made_us: u64::from(frame) * 40_000,
        }
    }

    /// Frames of two packets each, 40 ms apart, but for those of which `lost` is true.
    fn film(meter: &mut PictureMeter, frames: u32, lost: impl Fn(u32, u16) -> bool) {
        for frame in 0..frames {
            for packet in (0..2).filter(|packet| !lost(frame, *packet)) {
                meter.handle_packet(stamp(frame, packet, frame % 50 == 0), frame * 40 * MILLISECOND);
            }
        }
        meter.end(frames * 40 * MILLISECOND);
    }

    #[test]
    fn a_smooth_picture_does_not_freeze() {
        let mut meter = PictureMeter::default();
        meter.handle_source(true, Duration::ZERO);
        film(&mut meter, 100, |_, _| false);
        let quality = meter.quality;
        assert_eq!((quality.frames, quality.freezes, quality.gap), (100, 0, 40 * MILLISECOND));
        assert!((quality.frames_per_second() - 25.0).abs() < 0.01, "{quality:?}");
    }

    #[test]
    fn after_a_loss_the_picture_stands_until_the_next_key_frame() {
        let mut meter = PictureMeter::default();
        meter.handle_source(true, Duration::ZERO);
        film(&mut meter, 150, |frame, packet| (frame, packet) == (80, 1));
        let quality = meter.quality;
        assert_eq!(quality.frames, 130);
        // Frame 79 was the last before frame 100.
        assert_eq!((quality.freezes, quality.frozen), (1, 21 * 40 * MILLISECOND));
        assert_eq!(quality.gap, 21 * 40 * MILLISECOND);
        assert!((quality.freeze_ratio() - 0.84 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_picture_that_comes_late_lets_those_go_on_that_waited_for_it() {
        let mut meter = PictureMeter::default();
        meter.handle_source(true, Duration::ZERO);
        film(&mut meter, 50, |frame, _| frame == 40);
        assert_eq!(meter.quality.frames, 40);
        assert!(meter.asks_for_key_frame(2_000 * MILLISECOND));
        assert!(!meter.asks_for_key_frame(2_100 * MILLISECOND), "not again at once");
        for packet in [0, 1] {
            meter.handle_packet(stamp(40, packet, false), 2_200 * MILLISECOND);
        }
        assert_eq!(meter.quality.frames, 50);
        assert!(!meter.asks_for_key_frame(9_000 * MILLISECOND));
        // And what comes again is not shown again.
        for packet in [0, 1] {
            meter.handle_packet(stamp(40, packet, false), 2_300 * MILLISECOND);
        }
        assert_eq!(meter.quality.frames, 50);
    }

    #[test]
    fn a_player_learns_to_wait_for_late_pictures() {
        let mut meter = PictureMeter::default();
        meter.handle_source(true, Duration::ZERO);
        // Every tenth picture comes 230 ms after it was made.
        let way = |frame: u32| if frame % 10 == 9 { 230 } else { 20 };
        let mut order: Vec<u32> = (0..500).collect();
        order.sort_by_key(|frame| frame * 40 + way(*frame));
        for frame in order {
            let now = (frame * 40 + way(frame)) * MILLISECOND;
            for packet in [0, 1] {
                meter.handle_packet(stamp(frame, packet, frame == 0), now);
            }
        }
        assert_eq!((meter.quality.frames, meter.quality.freezes), (500, 1), "{:?}", meter.quality);
    }

    #[test]
    fn a_slot_that_has_nothing_to_show_does_not_freeze() {
        let mut meter = PictureMeter::default();
        meter.handle_source(true, Duration::ZERO);
        film(&mut meter, 50, |_, _| false);
        meter.handle_source(false, Duration::from_secs(2));
        meter.handle_source(true, Duration::from_secs(60));
        for packet in [0, 1] {
            meter.handle_packet(stamp(1_500, packet, true), Duration::from_secs(60));
        }
        assert_eq!((meter.quality.freezes, meter.quality.watched), (0, Duration::from_secs(2)));
    }
}
