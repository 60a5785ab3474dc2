//! Time on the wire (RFC 3550 section 4), and how it is told from `now`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From 1900 to 1970.
const EPOCH_SECONDS: u64 = 2_208_988_800;
/// From where times wrap, in 2036, to where the others begin: seconds below are of the next era.
const ERA: u64 = 1 << 32;

/// Seconds since 1900 in the upper 32 bits, which wrap in 2036, their fraction in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Times before 1970 become 1970.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = (since.as_secs() + EPOCH_SECONDS) % ERA;
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime((seconds << 32) | fraction)
    }

    /// Times below 1970 are taken to be of the era that begins in 2036.
    pub fn to_system(self) -> SystemTime {
        let seconds = self.0 >> 32;
        let era = if seconds < EPOCH_SECONDS { ERA } else { 0 };
        // Rounded to the nearest, so that a time of ours comes back as it was.
        let nanos = ((self.0 & 0xffff_ffff) * 1_000_000_000 + (1 << 31)) >> 32;
        UNIX_EPOCH + Duration::from_secs(seconds + era - EPOCH_SECONDS) + Duration::from_nanos(nanos)
    }

    /// The middle 32 bits, in 2^-16 s: how reports name a time.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// What the wall showed at some `Instant`.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    pub instant: Instant,
    pub time: SystemTime,
}

impl WallClock {
    /// It runs on evenly, whatever happens to the wall.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        let time = match now.checked_duration_since(self.instant) {
            Some(since) => self.time.checked_add(since),
            None => self.time.checked_sub(self.instant.saturating_duration_since(now)),
        };
        NtpTime::from_system(time.unwrap_or(self.time))
    }
}

/// A span of 2^-16 s, as reports tell delays. What is longer than 65,535 s is cut off there.
pub fn to_short(span: Duration) -> u32 {
    let short = (span.as_nanos() << 16) / 1_000_000_000;
    u32::try_from(short).unwrap_or(u32::MAX)
}

pub fn from_short(short: u32) -> Duration {
    Duration::from_nanos((u64::from(short) * 1_000_000_000) >> 16)
}

/// How long it took to a peer and back: from when we sent the report that it names, to now, without
/// the `delay` that the peer kept it (RFC 3550 section 6.4.1). None: it names none, or claims to have
/// kept it longer than that.
pub(crate) fn round_trip(now: NtpTime, last_report: u32, delay: u32) -> Option<Duration> {
    let span = now.middle().wrapping_sub(last_report).wrapping_sub(delay);
    (last_report != 0 && span.cast_signed() >= 0).then(|| from_short(span))
}

/// A span in ticks of a stream's clock.
pub(crate) fn ticks(span: Duration, clock_rate: u32) -> u64 {
    let rate = u64::from(clock_rate);
    span.as_secs().saturating_mul(rate).saturating_add(u64::from(span.subsec_nanos()) * rate / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wall_is_read_at_now() {
        let instant = Instant::now() + Duration::from_secs(100);
        let wall = WallClock { instant, time: UNIX_EPOCH + Duration::from_secs(1_000) };
        let after = wall.ntp(instant + Duration::from_millis(1_500));
        assert_eq!(after.0, (EPOCH_SECONDS + 1_001) << 32 | 1 << 31);
        assert_eq!(after.middle(), (((EPOCH_SECONDS + 1_001) as u32) << 16) | 0x8000);
        let before = wall.ntp(instant - Duration::from_secs(1));
        assert_eq!(before.0, (EPOCH_SECONDS + 999) << 32);
    }

    #[test]
    fn a_round_trip_is_without_the_peers_delay() {
        let sent = NtpTime(u64::MAX << 32);
        let now = NtpTime(sent.0.wrapping_add(3 << 32));
        assert_eq!(round_trip(now, sent.middle(), 1 << 16), Some(Duration::from_secs(2)));
        assert_eq!(round_trip(now, sent.middle(), 4 << 16), None, "it cannot have kept it so long");
        assert_eq!(round_trip(now, 0, 0), None, "it had no report");
    }

    proptest! {
        #[test]
        fn times_come_back(nanos in 0..4_294_967_296_000_000_000_u64) {
            let time = UNIX_EPOCH + Duration::from_nanos(nanos);
            prop_assert_eq!(NtpTime::from_system(time).to_system(), time);
        }

        #[test]
        fn spans_come_back(short: u32) {
            let back = to_short(from_short(short));
            prop_assert!(short - back <= 1);
        }

        #[test]
        fn no_time_panics(time: u64) {
            NtpTime(time).to_system();
        }
    }
}
