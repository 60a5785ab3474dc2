//! How much a source may ask, and what happens to who guesses passwords (S5).

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Lets `burst` events pass at once, and one more each `interval` (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub interval: Duration,
    pub burst: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// When everything that passed is paid for.
    paid_at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Allowance { paid_at: now }
    }

    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let paid_at = self.paid_at.max(now) + rate.interval;
        let passes = paid_at - now <= rate.interval * rate.burst;
        if passes {
            self.paid_at = paid_at;
        }
        passes
    }
}

/// What is done with a request that belongs to no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It is answered without a state, by 503.
    Refuse,
    /// It is not answered at all: whoever asks so much gets no more work out of us.
    Drop,
}

/// Wrong passwords that are free. A system whose password was changed tries again for hours.
const FAILURES_FREE: u32 = 10;
const LOCK_MAX: Duration = Duration::from_secs(300);
/// One failure is forgiven for each of these that pass without another.
const FORGIVENESS: Duration = Duration::from_secs(60);

/// What is remembered of sources; the one that was quiet longest is forgotten first.
#[derive(Debug)]
pub(crate) struct Guard {
    entries: HashMap<IpAddr, Entry>,
    by_age: BTreeSet<(Instant, IpAddr)>,
    entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    touched_at: Instant,
    requests: Allowance,
    refusals: Allowance,
    failures: u32,
    failed_at: Instant,
    locked_until: Instant,
}

impl Guard {
    pub(crate) fn new(entries_max: usize) -> Self {
        Guard { entries: HashMap::new(), by_age: BTreeSet::new(), entries_max: entries_max.max(1) }
    }

    pub(crate) fn judge(&mut self, source: IpAddr, requests: Rate, refusals: Rate, now: Instant) -> Verdict {
        let entry = self.touch(source, now);
        if entry.requests.take(requests, now) {
            Verdict::Pass
        } else if entry.refusals.take(refusals, now) {
            Verdict::Refuse
        } else {
            Verdict::Drop
        }
    }

    /// For how long passwords of this source are not looked at.
    pub(crate) fn locked_for(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let entry = self.entries.get(&network(source))?;
        entry.locked_until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A wrong password, or an unknown user.
    pub(crate) fn failed(&mut self, source: IpAddr, now: Instant) {
        let entry = self.touch(source, now);
        let forgiven = now.saturating_duration_since(entry.failed_at).as_secs() / FORGIVENESS.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        entry.failures = entry.failures.saturating_sub(forgiven).saturating_add(1);
        entry.failed_at = now;
        if let Some(beyond) = entry.failures.checked_sub(FAILURES_FREE) {
            entry.locked_until = now + Duration::from_secs(1 << beyond.min(16)).min(LOCK_MAX);
        }
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
            requests: Allowance::new(now),
            refusals: Allowance::new(now),
            failures: 0,
            failed_at: now,
            locked_until: now,
        });
        entry.touched_at = now;
        entry
    }
}

/// A household has one IPv4 address but a whole IPv6 /64.
pub(crate) fn network(source: IpAddr) -> IpAddr {
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn s5_a_source_is_refused_and_then_ignored_and_no_other_with_it() {
        let (mut guard, now) = (Guard::new(8), start());
        let rate = |burst| Rate { interval: SECOND, burst };
        let mut judge = |source: &str, now| guard.judge(source.parse().unwrap(), rate(3), rate(2), now);
        let verdicts: Vec<_> = (0..7).map(|_| judge("192.0.2.1", now)).collect();
        use Verdict::{Drop, Pass, Refuse};
        assert_eq!(verdicts, [Pass, Pass, Pass, Refuse, Refuse, Drop, Drop]);
        assert_eq!(judge("192.0.2.2", now), Pass);
        assert_eq!(judge("192.0.2.1", now + SECOND), Pass);
        assert_eq!(judge("2001:db8::1", now), Pass);
    }

    #[test]
    fn s5_guessing_locks_the_source_for_longer_and_longer() {
        let (mut guard, now) = (Guard::new(8), start());
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 1..FAILURES_FREE {
            guard.failed(source, now);
        }
        assert_eq!(guard.locked_for(source, now), None);
        for lock_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            guard.failed("2001:db8::2".parse().unwrap(), now);
            assert_eq!(guard.locked_for(source, now), Some(Duration::from_secs(lock_s)));
        }
        assert_eq!(guard.locked_for("2001:db8:0:1::1".parse().unwrap(), now), None);
        let later = now + FORGIVENESS * 30;
        guard.failed(source, later);
        assert_eq!(guard.locked_for(source, later), None, "forgiven");
    }

    #[test]
    fn s5_the_table_of_sources_is_bounded() {
        let (mut guard, now) = (Guard::new(4), start());
        for host in 0..200 {
            guard.failed(IpAddr::from([192, 0, 2, host]), now + SECOND * u32::from(host));
        }
        assert_eq!((guard.entries.len(), guard.by_age.len()), (4, 4));
        assert!(guard.entries.contains_key(&IpAddr::from([192, 0, 2, 199])));
    }
}
