//! One direction of a network path: rate, queue, delay, jitter and loss, repeatable by a seed.
//!
//! It has no clock and no socket: packets go in with the time at which they came
//! ([`Link::handle_packet`]) and come out with the time at which they arrive
//! ([`Link::poll_packet`], [`Link::poll_timeout`]).
//!
//! ```text
//! in -> queue (drop-tail) -> line (rate) -> loss -> delay, jitter -> out
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// IPv4 and UDP headers, which take their share of the rate.
pub const HEADER_BYTES: u64 = 28;
/// Bound on packets in the queue, and on packets on their way, whatever the parameters say.
pub const PACKETS_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConfig {
    /// None: no limit.
    pub rate_bps: Option<u64>,
    /// A packet that would wait longer than this at the present rate is dropped.
    pub queue: Duration,
    pub queue_bytes_max: usize,
    pub delay: Duration,
    /// Up to so much is added to the delay, evenly distributed.
    pub jitter: Duration,
    /// Whether a packet may overtake another by its jitter.
    pub reorder: bool,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// How many packets in a row are lost each time.
    pub burst: u32,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            rate_bps: None,
            queue: Duration::from_millis(200),
            queue_bytes_max: 4 * 1024 * 1024,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            loss: 0.0,
            burst: 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    pub passed: u64,
    pub passed_bytes: u64,
    /// By [`LinkConfig::loss`].
    pub lost: u64,
    /// Because a queue was full.
    pub dropped: u64,
}

#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    random: Random,
    queue: VecDeque<Vec<u8>>,
    queue_bytes: usize,
    /// When the first packet of the queue has left the line.
    sent_at: Option<Instant>,
    flying: BinaryHeap<Reverse<Flying>>,
    /// The latest arrival so far, before which nothing arrives unless packets may overtake.
    arrival_max: Option<Instant>,
    serial: u64,
    /// Packets of the present burst that are still to be lost.
    to_lose: u32,
    stats: LinkStats,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    arrival: Instant,
    serial: u64,
    packet: Vec<u8>,
}

impl Link {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Link {
            config,
            random: Random::new(seed),
            queue: VecDeque::new(),
            queue_bytes: 0,
            sent_at: None,
            flying: BinaryHeap::new(),
            arrival_max: None,
            serial: 0,
            to_lose: 0,
            stats: LinkStats::default(),
        }
    }

    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Takes effect at once; packets on their way keep their arrival.
    pub fn set_config(&mut self, config: LinkConfig, now: Instant) {
        self.advance(now);
        if let (Some(sent_at), Some(rate_bps)) = (self.sent_at, self.config.rate_bps) {
            let left_bits = sent_at.duration_since(now).as_nanos() as u64 as f64 * rate_bps as f64 / 1e9;
            self.sent_at = Some(now + line_time(left_bits as u64, config.rate_bps));
        }
        self.config = config;
    }

    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    pub fn handle_packet(&mut self, now: Instant, packet: Vec<u8>) {
        self.advance(now);
        let behind = self.queue.len() as u64 * HEADER_BYTES + self.queue_bytes as u64;
        let wait = line_time(behind * 8, self.config.rate_bps);
        let full = wait > self.config.queue
            || self.queue_bytes + packet.len() > self.config.queue_bytes_max
            || self.queue.len() >= PACKETS_MAX
            || self.flying.len() >= PACKETS_MAX;
        if full {
            self.stats.dropped += 1;
            return;
        }
        if self.queue.is_empty() {
            self.sent_at = Some(now + self.line_time(&packet));
        }
        self.queue_bytes += packet.len();
        self.queue.push_back(packet);
        self.advance(now);
    }

    /// The next packet that has arrived.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.advance(now);
        if self.flying.peek()?.0.arrival > now {
            return None;
        }
        let Reverse(flying) = self.flying.pop()?;
        self.stats.passed += 1;
        self.stats.passed_bytes += flying.packet.len() as u64;
        Some(flying.packet)
    }

    /// When [`Link::poll_packet`] may have something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let arrival = self.flying.peek().map(|flying| flying.0.arrival);
        match (arrival, self.sent_at) {
            (Some(arrival), Some(sent_at)) => Some(arrival.min(sent_at)),
            (arrival, sent_at) => arrival.or(sent_at),
        }
    }

    /// Moves what has left the line until `now`.
    fn advance(&mut self, now: Instant) {
        while let Some(sent_at) = self.sent_at.filter(|sent_at| *sent_at <= now) {
            let packet = self.queue.pop_front().expect("what is being sent is in the queue");
            self.queue_bytes -= packet.len();
            self.sent_at = self.queue.front().map(|next| sent_at + self.line_time(next));
            self.fly(packet, sent_at);
        }
    }

    fn fly(&mut self, packet: Vec<u8>, sent_at: Instant) {
        if self.is_lost() {
            self.stats.lost += 1;
            return;
        }
        let mut arrival = sent_at + self.config.delay + self.config.jitter.mul_f64(self.random.share());
        if !self.config.reorder {
            arrival = self.arrival_max.map_or(arrival, |max| arrival.max(max));
        }
        self.arrival_max = self.arrival_max.max(Some(arrival));
        self.serial += 1;
        self.flying.push(Reverse(Flying { arrival, serial: self.serial, packet }));
    }

    fn is_lost(&mut self) -> bool {
        if self.to_lose > 0 {
            self.to_lose -= 1;
            return true;
        }
        // With b packets lost each time, so many packets outside of a burst begin one that the share
        // of all lost packets is what the configuration says.
        let burst = self.config.burst.max(1);
        let begins = self.config.loss / (self.config.loss + f64::from(burst) * (1.0 - self.config.loss));
        let lost = self.random.share() < begins;
        if lost {
            self.to_lose = burst - 1;
        }
        lost
    }

    fn line_time(&self, packet: &[u8]) -> Duration {
        line_time((packet.len() as u64 + HEADER_BYTES) * 8, self.config.rate_bps)
    }
}

fn line_time(bits: u64, rate_bps: Option<u64>) -> Duration {
    let Some(rate_bps) = rate_bps else { return Duration::ZERO };
    Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate_bps.max(1))
}

/// SplitMix64: small, fast, and good enough for dice.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Evenly distributed in 0..1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Sends a packet of 1,222 bytes (1,250 with headers) every `interval` for `seconds`, and
    /// returns when each that arrived did, in order of arrival, with the time it was sent.
    fn run(link: &mut Link, start: Instant, interval: Duration, seconds: u64) -> Vec<(Duration, Duration)> {
        let mut arrived = Vec::new();
        let mut drain = |link: &mut Link, now: Instant| {
            while let Some(packet) = link.poll_packet(now) {
                let sent = Duration::from_nanos(u64::from_be_bytes(*packet.first_chunk().unwrap()));
                arrived.push((sent, now - start));
            }
        };
        let mut sent = Duration::ZERO;
        while sent < Duration::from_secs(seconds) {
            while let Some(due) = link.poll_timeout().filter(|due| *due <= start + sent) {
                drain(link, due);
            }
            let mut packet = (sent.as_nanos() as u64).to_be_bytes().to_vec();
            packet.resize(1_250 - HEADER_BYTES as usize, 0);
            link.handle_packet(start + sent, packet);
            sent += interval;
        }
        while let Some(due) = link.poll_timeout() {
            drain(link, due);
        }
        arrived
    }

    fn link(config: LinkConfig) -> Link {
        Link::new(config, 7)
    }

    #[test]
    fn a_free_line_adds_its_delay_and_nothing_else() {
        let mut link = link(LinkConfig { delay: 40 * MILLISECOND, ..LinkConfig::default() });
        let arrived = run(&mut link, Instant::now(), 10 * MILLISECOND, 1);
        assert_eq!(arrived.len(), 100);
        assert!(arrived.iter().all(|(sent, at)| *at == *sent + 40 * MILLISECOND));
    }

    #[test]
    fn the_rate_is_kept_and_what_would_wait_too_long_is_dropped() {
        // 1 Mbit/s takes a packet every 10 ms, and 5 Mbit/s are offered.
        let config =
            LinkConfig { rate_bps: Some(1_000_000), queue: 100 * MILLISECOND, ..LinkConfig::default() };
        let mut link = link(config);
        let arrived = run(&mut link, Instant::now(), 2 * MILLISECOND, 10);
        assert_eq!(link.stats().dropped as usize + arrived.len(), 5_000);
        assert!((1_000..=1_012).contains(&arrived.len()), "{}", arrived.len());
        let waits = arrived.iter().map(|(sent, at)| *at - *sent);
        // Up to the queue's 100 ms, and 10 ms for the packet's own time on the line.
        assert!(waits.clone().max().unwrap() <= 110 * MILLISECOND);
        assert_eq!(waits.min().unwrap(), 10 * MILLISECOND);
    }

    #[test]
    fn a_new_rate_holds_for_the_packet_being_sent_too() {
        let start = Instant::now();
        let config = LinkConfig { rate_bps: Some(100_000), ..LinkConfig::default() };
        let mut link = link(config);
        // 100 ms at the old rate; after half of it, the other half is sent ten times as fast.
        link.handle_packet(start, vec![0; 1_222]);
        link.set_config(LinkConfig { rate_bps: Some(1_000_000), ..config }, start + 50 * MILLISECOND);
        assert_eq!(link.poll_timeout(), Some(start + 55 * MILLISECOND));
        link.set_config(LinkConfig { rate_bps: None, ..config }, start + 51 * MILLISECOND);
        assert!(link.poll_packet(start + 51 * MILLISECOND).is_some());
        assert_eq!(link.poll_timeout(), None);
    }

    #[test]
    fn loss_is_as_frequent_and_as_long_as_configured() {
        for (loss, burst) in [(0.05, 1), (0.05, 3), (0.3, 1), (0.15, 3), (0.0, 1), (1.0, 1)] {
            let mut link = link(LinkConfig { loss, burst, ..LinkConfig::default() });
            let arrived = run(&mut link, Instant::now(), MILLISECOND, 100);
            let share = link.stats().lost as f64 / 100_000.0;
            assert!((share - loss).abs() < 0.01, "{share} of {loss} in bursts of {burst}");
            let gaps = arrived.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis() as u32 - 1);
            assert!(gaps.filter(|gap| *gap > 0).all(|gap| gap % burst == 0), "bursts of {burst}");
        }
    }

    #[test]
    fn jitter_spreads_arrivals_and_overtakes_only_if_it_may() {
        let config =
            LinkConfig { delay: 20 * MILLISECOND, jitter: 30 * MILLISECOND, ..LinkConfig::default() };
        let arrived = run(&mut link(config), Instant::now(), 5 * MILLISECOND, 10);
        assert!(arrived.is_sorted_by_key(|(sent, _)| *sent));
        let delays: Vec<Duration> = arrived.iter().map(|(sent, at)| *at - *sent).collect();
        assert!(delays.iter().all(|delay| (20 * MILLISECOND..=50 * MILLISECOND).contains(delay)));
        assert!(delays.iter().min().unwrap() < &(25 * MILLISECOND));
        assert!(delays.iter().max().unwrap() > &(45 * MILLISECOND));

        let arrived =
            run(&mut link(LinkConfig { reorder: true, ..config }), Instant::now(), 5 * MILLISECOND, 10);
        assert_eq!(arrived.len(), 2_000);
        assert!(!arrived.is_sorted_by_key(|(sent, _)| *sent));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let config = LinkConfig { loss: 0.1, jitter: 9 * MILLISECOND, ..LinkConfig::default() };
        let start = Instant::now();
        let of_seed = |seed| run(&mut Link::new(config, seed), start, MILLISECOND, 2);
        assert_eq!(of_seed(1), of_seed(1));
        assert_ne!(of_seed(1), of_seed(2));
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let config = LinkConfig { rate_bps: Some(8_000), queue_bytes_max: 3_000, ..LinkConfig::default() };
        let mut link = link(LinkConfig { queue: Duration::from_secs(60), ..config });
        for _ in 0..5 {
            link.handle_packet(Instant::now(), vec![0; 1_000]);
        }
        assert_eq!(link.stats().dropped, 2);
    }
}
