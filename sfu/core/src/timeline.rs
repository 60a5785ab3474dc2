//! The timestamps of one consumer's stream, whatever its source is just now.
//!
//! They show when the media was captured, by one clock for all the streams of a transport: from a
//! common start on, a second is 48,000 ticks of any voice and 90,000 of any picture. So a receiver
//! can put the voice and the picture of a participant together by their timestamps alone, also in
//! the moment after a slot was switched to another source, when no sender report has come yet.
//!
//! Within a source its own steps are kept. A source whose steps leave the line (its clock drifts,
//! or its first sender report came late) is led back to it: at once where it paused, and a picture
//! also little by little while it runs.

use std::time::{Duration, Instant};

/// The clock rate of every video format.
const VIDEO_CLOCK_RATE: u32 = 90_000;
/// The longest pause that timestamps show, in ticks: from half the range on, time would seem to
/// run backwards.
const PAUSE_TICKS_MAX: u64 = 1 << 30;
/// How far the source may be from the line.
const TOLERANCE: Duration = Duration::from_millis(10);
/// A running picture moves by so much in each interval, which nobody sees.
const NUDGE: Duration = Duration::from_millis(5);
const NUDGE_INTERVAL: Duration = Duration::from_secs(1);
/// After so long a pause (of a voice that was silent) nobody notices a step.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Timeline {
    clock_rate: u32,
    first: u32,
    /// When the timestamp was `first`. None: the first packet says so.
    since: Option<Instant>,
    /// Output minus input, wrapping.
    offset: u32,
    /// The latest timestamp that was sent, its input, and when it was captured.
    latest: Option<Latest>,
    /// Before this input another offset was in force, which packets that come late still get.
    before: Option<(u32, u32)>,
    moved_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Latest {
    output: u32,
    input: u32,
    at: Instant,
}

impl Timeline {
    pub fn new(clock_rate: u32, first: u32) -> Self {
        Timeline { clock_rate, first, since: None, offset: 0, latest: None, before: None, moved_at: None }
    }

    /// The first timestamp is that of this moment, and not that of the first packet.
    pub fn count_from(&mut self, since: Instant) {
        self.since = Some(since);
    }

    /// A source, or another encoding of it, begins with a packet that was captured `at`.
    pub fn start(&mut self, input: u32, at: Instant) {
        let line = self.line(at);
        let output = match self.latest {
            None => line,
            Some(latest) if self.ticks(at.saturating_duration_since(latest.at)) >= PAUSE_TICKS_MAX => {
                let output = latest.output.wrapping_add(PAUSE_TICKS_MAX as u32);
                (self.first, self.since) = (output, Some(at));
                output
            }
            Some(latest) if is_after(line, latest.output) => line,
            Some(latest) => latest.output.wrapping_add(1),
        };
        self.offset = output.wrapping_sub(input);
        // A repetition of the last timestamp would be taken for the same picture.
        self.latest = Some(Latest { output: output.wrapping_sub(1), input: input.wrapping_sub(1), at });
        self.before = None;
        self.moved_at = Some(at);
    }

    /// The timestamp of a packet of the present source that was captured `at`.
    pub fn output(&mut self, input: u32, at: Instant) -> u32 {
        if let Some(latest) = self.latest.filter(|latest| is_after(input, latest.input)) {
            self.lead_back(latest, input, at);
            self.latest = Some(Latest { output: input.wrapping_add(self.offset), input, at });
        }
        self.late_output(input)
    }

    /// The same without taking note of it.
    pub fn late_output(&self, input: u32) -> u32 {
        let offset = match self.before {
            Some((until, offset)) if is_after(until, input) => offset,
            _ => self.offset,
        };
        input.wrapping_add(offset)
    }

    fn lead_back(&mut self, latest: Latest, input: u32, at: Instant) {
        let error = i64::from(self.line(at).wrapping_sub(input.wrapping_add(self.offset)).cast_signed());
        if error.unsigned_abs() <= self.ticks(TOLERANCE) {
            return;
        }
        let pauses = u64::from(input.wrapping_sub(latest.input)) >= self.ticks(PAUSE);
        let rested = self.moved_at.is_none_or(|moved| at.saturating_duration_since(moved) >= NUDGE_INTERVAL);
        let step = if pauses {
            error
        } else if self.clock_rate == VIDEO_CLOCK_RATE && rested {
            let nudge = self.ticks(NUDGE).cast_signed();
            error.clamp(-nudge, nudge)
        } else {
            return;
        };
        let offset = self.offset.wrapping_add(step as u32);
        if is_after(input.wrapping_add(offset), latest.output) {
            self.before = Some((input, std::mem::replace(&mut self.offset, offset)));
            self.moved_at = Some(at);
        }
    }

    /// What the timestamp of media is that was captured `at`.
    fn line(&mut self, at: Instant) -> u32 {
        let since = *self.since.get_or_insert(at);
        let ahead = self.ticks(at.saturating_duration_since(since)) as u32;
        let behind = self.ticks(since.saturating_duration_since(at)) as u32;
        self.first.wrapping_add(ahead).wrapping_sub(behind)
    }

    fn ticks(&self, duration: Duration) -> u64 {
        (duration.as_micros() * u128::from(self.clock_rate) / 1_000_000) as u64
    }
}

/// Of two numbers that wrap, whether `a` comes after `b`.
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Milliseconds that a timestamp is away from the line that starts at 0.
    fn off_ms(timestamp: u32, clock_rate: u32, at: Duration) -> f64 {
        let line = (at.as_micros() as u64 * u64::from(clock_rate) / 1_000_000) as u32;
        f64::from(timestamp.wrapping_sub(line).cast_signed()) * 1_000.0 / f64::from(clock_rate)
    }

    #[test]
    fn voice_and_picture_show_one_time_also_right_after_a_switch() {
        let start = Instant::now();
        let mut voice = Timeline::new(48_000, 0);
        let mut picture = Timeline::new(90_000, 0);
        voice.count_from(start);
        picture.count_from(start);
        for (switch, captured) in [40, 4_017, 9_300, 9_433].into_iter().enumerate() {
            let at = Duration::from_millis(captured);
            voice.start(77_777 * switch as u32, start + at);
            picture.start(u32::MAX - 5_000 * switch as u32, start + at);
            let said = voice.output(77_777 * switch as u32, start + at);
            let seen = picture.output(u32::MAX - 5_000 * switch as u32, start + at);
            assert!(off_ms(said, 48_000, at).abs() < 0.1, "voice, switch {switch}");
            assert!(off_ms(seen, 90_000, at).abs() < 0.1, "picture, switch {switch}");
        }
    }

    #[test]
    fn a_picture_that_left_the_line_is_led_back_little_by_little() {
        let start = Instant::now();
        let mut timeline = Timeline::new(90_000, 0);
        timeline.count_from(start);
        timeline.start(0, start);
        let mut last = 0;
        for frame in 1..30 * 20_u32 {
            // From the first second on it turns out that it was captured 40 ms before.
            let steady = frame * 100 * MILLISECOND / 3;
            let at = if frame < 30 { steady } else { steady - 40 * MILLISECOND };
            let output = timeline.output(frame * 3_000, start + at);
            let step = output.wrapping_sub(last);
            assert!((3_000 - 450..=3_000).contains(&step), "a step of {step}");
            last = output;
            if frame > 30 * 9 {
                assert!(off_ms(output, 90_000, at).abs() <= 10.1, "{}", off_ms(output, 90_000, at));
            }
        }
        // A packet that was lost and comes late belongs to its picture.
        let late = timeline.late_output(27 * 3_000);
        let known = timeline.before.map(|(until, _)| until);
        assert!(known.is_some_and(|until| until > 27 * 3_000));
        assert_eq!(late.wrapping_sub(27 * 3_000), timeline.before.expect("it moved").1);
    }

    #[test]
    fn a_voice_steps_in_a_pause_only() {
        let start = Instant::now();
        let mut timeline = Timeline::new(48_000, 0);
        timeline.count_from(start);
        timeline.start(0, start);
        let behind = 30 * MILLISECOND;
        for packet in 1..500_u32 {
            let at = start + packet * 20 * MILLISECOND + behind;
            assert_eq!(timeline.output(packet * 960, at), packet * 960);
        }
        let at = 500 * 20 * MILLISECOND + 400 * MILLISECOND + behind;
        let after = timeline.output(500 * 960 + 19_200, start + at);
        assert!(off_ms(after, 48_000, at).abs() < 0.1);
    }

    #[test]
    fn time_never_goes_back() {
        let start = Instant::now();
        let mut timeline = Timeline::new(90_000, 0);
        timeline.start(5, start + 100 * MILLISECOND);
        let first = timeline.output(5, start + 100 * MILLISECOND);
        // The next source was captured before the last one.
        timeline.start(900, start);
        let second = timeline.output(900, start);
        assert!(is_after(second, first));
    }
}
