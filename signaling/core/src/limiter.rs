//! Who may try how often.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

// A whole administration may stand behind one address, where many mistype the same code at the same
// minute. What stays free is 5,760 codes a day of 10^9: beside a thousand rooms, who tries them all
// day long finds one in half a year.

/// The failure that locks a source first; each one more doubles its lock.
const FAILURES_FREE: u32 = 20;
const LOCK_MAX: Duration = Duration::from_secs(64);
/// One failure is forgiven for each of these that pass without another.
const FORGIVENESS: Duration = Duration::from_secs(15);
const ROOMS_WINDOW: Duration = Duration::from_secs(3_600);

/// Lets `burst` events pass at once and one more each `interval` (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// When everything that passed is paid for.
    paid_at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Allowance { paid_at: now }
    }

    pub(crate) fn take(&mut self, interval: Duration, burst: u32, now: Instant) -> bool {
        let paid_at = self.paid_at.max(now) + interval;
        let passes = paid_at - now <= interval * burst;
        if passes {
            self.paid_at = paid_at;
        }
        passes
    }
}

/// Lets news out at once, and then no more often than each interval: what comes sooner is told
/// together, when the interval has passed.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    free_at: Option<Instant>,
    awaited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// Tell when this time has come.
    At(Instant),
    /// It was said before when to tell.
    Awaited,
}

impl Pace {
    pub(crate) fn ask(&mut self, interval: Duration, now: Instant) -> Turn {
        if self.awaited {
            return Turn::Awaited;
        }
        match self.free_at.filter(|at| *at > now) {
            Some(at) => {
                self.awaited = true;
                Turn::At(at)
            }
            None => {
                self.free_at = Some(now + interval);
                Turn::Now
            }
        }
    }

    /// The time has come.
    pub(crate) fn passed(&mut self, interval: Duration, now: Instant) {
        self.awaited = false;
        self.free_at = Some(now + interval);
    }
}

/// What is remembered of the addresses that failed to join or made rooms. Who forgets a code now
/// and then is not slowed; who tries codes is, the more the longer.
pub(crate) struct Sources {
    entries: HashMap<IpAddr, Entry>,
    /// By when each was last touched, so that the table can forget the oldest.
    by_age: BTreeSet<(Instant, IpAddr)>,
    entries_max: usize,
}

struct Entry {
    touched_at: Instant,
    failures: u32,
    failed_at: Instant,
    locked_until: Instant,
    rooms: Allowance,
}

impl Sources {
    pub(crate) fn new(entries_max: usize) -> Self {
        Sources { entries: HashMap::new(), by_age: BTreeSet::new(), entries_max: entries_max.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// For how long the source is still locked.
    pub(crate) fn locked_for(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let entry = self.entries.get(&network(source))?;
        entry.locked_until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    pub(crate) fn failed(&mut self, source: IpAddr, now: Instant) {
        let entry = self.touch(source, now);
        let forgiven = now.saturating_duration_since(entry.failed_at).as_secs() / FORGIVENESS.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        entry.failures = entry.failures.saturating_sub(forgiven).saturating_add(1);
        entry.failed_at = now;
        if let Some(beyond) = entry.failures.checked_sub(FAILURES_FREE) {
            let lock = Duration::from_secs(1 << beyond.min(16)).min(LOCK_MAX);
            entry.locked_until = now + lock;
        }
    }

    /// Whether the source may make one more room.
    pub(crate) fn may_make_room(&mut self, source: IpAddr, per_hour_max: u32, now: Instant) -> bool {
        let interval = ROOMS_WINDOW / per_hour_max.max(1);
        self.touch(source, now).rooms.take(interval, per_hour_max, now)
    }

    fn touch(&mut self, source: IpAddr, now: Instant) -> &mut Entry {
        let source = network(source);
        match self.entries.get(&source) {
            Some(entry) => {
                self.by_age.remove(&(entry.touched_at, source));
            }
            None if self.entries.len() >= self.entries_max => {
                let (_, oldest) = self.by_age.pop_first().expect("each entry has its age");
                self.entries.remove(&oldest);
            }
            None => {}
        }
        self.by_age.insert((now, source));
        let entry = self.entries.entry(source).or_insert_with(|| Entry {
            touched_at: now,
            failures: 0,
            failed_at: now,
            locked_until: now,
            rooms: Allowance::new(now),
        });
        entry.touched_at = now;
        entry
    }
}

/// A household has one IPv4 address but a whole IPv6 /64.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        Instant::now()
    }

    #[test]
    fn w3_each_failure_beyond_the_twentieth_doubles_the_lock() {
        let (mut sources, source, now) = (Sources::new(8), "192.0.2.1".parse().unwrap(), start());
        for _ in 1..FAILURES_FREE {
            sources.failed(source, now);
        }
        assert_eq!(sources.locked_for(source, now), None);
        for lock_s in [1, 2, 4, 8] {
            sources.failed(source, now);
            assert_eq!(sources.locked_for(source, now), Some(Duration::from_secs(lock_s)));
        }
        assert_eq!(sources.locked_for(source, now + Duration::from_secs(8)), None);
        assert_eq!(sources.locked_for("192.0.2.2".parse().unwrap(), now), None);
        let later = now + FORGIVENESS * 8;
        sources.failed(source, later);
        assert_eq!(sources.locked_for(source, later), None, "forgiven");
        for _ in 0..100 {
            sources.failed(source, later);
        }
        assert_eq!(sources.locked_for(source, later), Some(LOCK_MAX));
    }

    #[test]
    fn w3_an_ipv6_source_is_its_network() {
        let (mut sources, now) = (Sources::new(8), start());
        for host in 1..=FAILURES_FREE {
            sources.failed(format!("2001:db8::{host}").parse().unwrap(), now);
        }
        assert!(sources.locked_for("2001:db8::77".parse().unwrap(), now).is_some());
        assert!(sources.locked_for("2001:db8:0:1::77".parse().unwrap(), now).is_none());
        assert_eq!(sources.len(), 1);
    }

    #[test]
    fn the_table_forgets_the_source_that_was_quiet_longest() {
        let (mut sources, now) = (Sources::new(2), start());
        for (second, host) in [(0, 1), (1, 2), (2, 1), (3, 3)] {
            let source = IpAddr::from([192, 0, 2, host]);
            for _ in 0..FAILURES_FREE {
                sources.failed(source, now + Duration::from_secs(second));
            }
        }
        let locked = |host: u8| {
            sources.locked_for(IpAddr::from([192, 0, 2, host]), now + Duration::from_millis(1_500)).is_some()
        };
        assert_eq!([locked(1), locked(2), locked(3)], [true, false, true]);
        assert_eq!(sources.len(), 2);
    }

    #[test]
    fn news_that_come_fast_are_gathered() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut pace = Pace::default();
        assert_eq!(pace.ask(second, now), Turn::Now);
        assert_eq!(pace.ask(second, now), Turn::At(now + second));
        assert_eq!(pace.ask(second, now + second / 2), Turn::Awaited);
        pace.passed(second, now + second);
        assert_eq!(pace.ask(second, now + second), Turn::At(now + second * 2));
        pace.passed(second, now + second * 2);
        assert_eq!(pace.ask(second, now + second * 3), Turn::Now);
    }

    #[test]
    fn an_allowance_lets_a_burst_pass_and_then_a_rate() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut allowance = Allowance::new(now);
        let passed = (0..10).filter(|_| allowance.take(second, 3, now)).count();
        assert_eq!(passed, 3);
        assert!(allowance.take(second, 3, now + second));
        assert!(!allowance.take(second, 3, now + second));
    }
}
