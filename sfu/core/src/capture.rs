//! When a participant captured what it sends, by our clock.
//!
//! Its sender reports (RFC 3550 section 6.4.1) tie the timestamps of each stream to one clock of
//! its own. That clock is moved to ours by one offset for the whole participant: the time that the
//! quickest of its packets took. It is too large by what the shortest way takes, and by the same
//! for voice and picture, which is all that matters to those who put them together again.
//!
//! ```text
//!              timestamp        its clock          our clock
//! sender report  960 000  <->   10:00:00.000
//! packet         964 800   ->   10:00:00.100  ->   .100 + offset
//! ```

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the quickest packet counts, at least; at most twice as long. Clocks drift apart, and
/// paths change.
const WINDOW: Duration = Duration::from_secs(10);
/// A packet that took so much longer than the quickest says nothing: its clock was set anew.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// What a sender report says of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// By the participant's clock.
    pub time: SystemTime,
    /// In ticks of the stream's clock, at that time.
    pub timestamp: u32,
}

/// The offset of one participant's clock.
#[derive(Debug)]
pub struct CaptureClock {
    /// From which our time is counted.
    origin: Instant,
    /// Our time minus the participant's, in nanoseconds, of the quickest packet in this window and
    /// in the one before.
    quickest: [Option<i128>; 2],
    window_until: Instant,
}

impl CaptureClock {
    pub fn new(now: Instant) -> Self {
        CaptureClock { origin: now, quickest: [None; 2], window_until: now + WINDOW }
    }

    /// When the media of a packet that came at `arrived` was captured: not later than it came.
    /// Before the first report of its stream, that is when it came.
    pub fn captured_at(
        &mut self,
        report: Option<Report>,
        timestamp: u32,
        clock_rate: u32,
        arrived: Instant,
    ) -> Instant {
        let Some(report) = report else { return arrived };
        let Ok(reported) = report.time.duration_since(UNIX_EPOCH) else { return arrived };
        let ticks = timestamp.wrapping_sub(report.timestamp).cast_signed();
        let theirs = reported.as_nanos().cast_signed()
            + i128::from(ticks) * 1_000_000_000 / i128::from(clock_rate.max(1));
        let ours = arrived.saturating_duration_since(self.origin).as_nanos().cast_signed();
        let offset = self.note(ours - theirs, arrived);
        let took = Duration::from_nanos(u64::try_from(ours - theirs - offset).unwrap_or(0));
        if took > DELAY_MAX {
            return arrived;
        }
        arrived.checked_sub(took).unwrap_or(arrived)
    }

    /// Returns the smallest offset of both windows.
    fn note(&mut self, offset: i128, now: Instant) -> i128 {
        if now >= self.window_until {
            let long_ago = now.saturating_duration_since(self.window_until) >= WINDOW;
            self.quickest = [None, if long_ago { None } else { self.quickest[0] }];
            self.window_until = now + WINDOW;
        }
        let quickest = self.quickest[0].map_or(offset, |quickest| quickest.min(offset));
        self.quickest[0] = Some(quickest);
        self.quickest[1].map_or(quickest, |before| before.min(quickest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const VOICE: u32 = 48_000;
    const PICTURE: u32 = 90_000;

    /// A participant whose clock shows something else, at the start of the test.
    fn their_start() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(3_900_000_000)
    }

    #[test]
    fn before_the_first_report_it_is_when_the_packet_came() {
        let now = Instant::now();
        let mut clock = CaptureClock::new(now);
        assert_eq!(clock.captured_at(None, 1, VOICE, now + MILLISECOND), now + MILLISECOND);
    }

    #[test]
    fn voice_and_picture_have_one_offset_though_the_picture_takes_longer() {
        let start = Instant::now();
        let mut clock = CaptureClock::new(start);
        let voice = Report { time: their_start(), timestamp: u32::MAX - 100 };
        let picture = Report { time: their_start() + 7 * MILLISECOND, timestamp: 5 };
        for frame in 1..100_u32 {
            // Both captured at the same time, 20 ms a frame; the voice takes 30 ms and the picture 90.
            let captured = start + frame * 20 * MILLISECOND;
            let said = clock.captured_at(
                Some(voice),
                voice.timestamp.wrapping_add(frame * 960),
                VOICE,
                captured + 30 * MILLISECOND,
            );
            let ticks = (frame * 1_800).wrapping_sub(630);
            let seen = clock.captured_at(
                Some(picture),
                picture.timestamp.wrapping_add(ticks),
                PICTURE,
                captured + 90 * MILLISECOND,
            );
            let apart = said.max(seen) - said.min(seen);
            assert!(apart < MILLISECOND, "{apart:?} in frame {frame}");
            assert_eq!(said, captured + 30 * MILLISECOND);
        }
    }

    #[test]
    fn it_is_never_in_the_future_and_follows_a_clock_that_drifts() {
        let start = Instant::now();
        let mut clock = CaptureClock::new(start);
        for second in 0..3_600_u32 {
            let arrived = start + second * 1_000 * MILLISECOND;
            // Their clock loses 100 µs a second.
            let time = their_start() + second * Duration::from_micros(999_900);
            let captured = clock.captured_at(Some(Report { time, timestamp: 0 }), 0, PICTURE, arrived);
            assert!(captured <= arrived);
            assert!(arrived - captured <= Duration::from_micros(2_100), "{:?}", arrived - captured);
        }
    }

    #[test]
    fn nonsense_is_no_capture_time() {
        let start = Instant::now();
        let mut clock = CaptureClock::new(start);
        let honest = Report { time: their_start(), timestamp: 0 };
        assert_eq!(clock.captured_at(Some(honest), 0, PICTURE, start), start);
        for time in [UNIX_EPOCH, their_start() - 60_000 * MILLISECOND] {
            let report = Report { time, timestamp: 0 };
            assert_eq!(clock.captured_at(Some(report), 0, PICTURE, start + MILLISECOND), start + MILLISECOND);
        }
        let before = UNIX_EPOCH - 1_000 * MILLISECOND;
        let report = Report { time: before, timestamp: 0 };
        assert_eq!(clock.captured_at(Some(report), 0, 0, start + MILLISECOND), start + MILLISECOND);
        // A clock that is set far ahead takes the offset with it, and the old streams wait for theirs.
        let ahead = Report { time: their_start() + 60_000 * MILLISECOND, timestamp: 0 };
        assert_eq!(clock.captured_at(Some(ahead), 0, PICTURE, start + MILLISECOND), start + MILLISECOND);
        assert_eq!(clock.captured_at(Some(honest), 0, PICTURE, start + MILLISECOND), start + MILLISECOND);
    }
}
