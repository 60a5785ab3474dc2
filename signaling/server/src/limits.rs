//! Bounds on what one source, and all together, may hold open or ask for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Who is counted as one: an IPv4 address, or an IPv6 /64, which is what one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source(ip.into()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Source(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

/// Counts what is open; holds at most `total_max` sources.
#[derive(Debug)]
pub struct Gate {
    total_max: usize,
    per_source_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// One place behind a [`Gate`], given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    source: Source,
}

impl Gate {
    pub fn new(total_max: usize, per_source_max: usize) -> Arc<Self> {
        Arc::new(Gate { total_max, per_source_max, open: Mutex::default() })
    }

    /// None: as many as may be are open already.
    pub fn enter(self: &Arc<Self>, source: Source) -> Option<Permit> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = open.by_source.get(&source).copied().unwrap_or(0);
        if open.total >= self.total_max || of_source >= self.per_source_max {
            return None;
        }
        open.total += 1;
        open.by_source.insert(source, of_source + 1);
        Some(Permit { gate: Arc::clone(self), source })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.by_source.remove(&self.source);
            }
        }
    }
}

/// Sources whose requests are remembered. When there are more, those that have waited long enough
/// are forgotten, and if there are none, everyone is.
const SOURCES_MAX: usize = 16_384;

/// A token bucket for each source.
#[derive(Debug)]
pub struct RateLimit {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<Source, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub fn new(burst: u32, per_second: f64) -> Self {
        RateLimit { burst: f64::from(burst), per_second, buckets: Mutex::default() }
    }

    pub fn allows(&self, source: Source, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let level = |bucket: &Bucket| {
            let elapsed_s = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
            (bucket.level + elapsed_s * self.per_second).min(self.burst)
        };
        if buckets.len() >= SOURCES_MAX && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| level(bucket) < self.burst);
            if buckets.len() >= SOURCES_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket { level: self.burst, filled_at: now });
        *bucket = Bucket { level: level(bucket), filled_at: now };
        let allowed = bucket.level >= 1.0;
        if allowed {
            bucket.level -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(ip: &str) -> Source {
        ip.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn an_ipv6_customer_is_one_source_and_a_mapped_address_is_ipv4() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn a_gate_counts_in_all_and_for_each_source_and_takes_places_back() {
        let gate = Gate::new(3, 2);
        let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
        let first = gate.enter(a).expect("empty");
        let _second = gate.enter(a).expect("two of a source");
        assert!(gate.enter(a).is_none(), "three of a source");
        let _third = gate.enter(b).expect("another source");
        assert!(gate.enter(b).is_none(), "four in all");
        drop(first);
        assert!(gate.enter(b).is_some(), "a place was given back");
    }

    #[test]
    fn a_rate_limit_refills_and_keeps_sources_apart() {
        let limit = RateLimit::new(2, 1.0);
        let (a, b, now) = (source("192.0.2.1"), source("192.0.2.2"), Instant::now());
        assert!(limit.allows(a, now) && limit.allows(a, now) && !limit.allows(a, now));
        assert!(limit.allows(b, now));
        let later = now + Duration::from_secs(1);
        assert!(limit.allows(a, later) && !limit.allows(a, later));
    }
}
