//! When what leaves.
//!
//! Voices leave at once. Everything else leaves in quanta: packets that go out back to back, so that
//! they can be one GSO message, and then a rest for as long as they take at the rate.
//!
//! ```text
//! rate    | VVVV      VVVV   a  VVVV        a: a voice does not wait,
//!         +--------------------------> t    but the next quantum waits for it
//!           <-- 5 ms -->
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::probe::{ClusterId, Probe};

/// A quantum is what so much time takes at the rate, and so many packets at least and at most.
const QUANTUM: Duration = Duration::from_millis(5);
const QUANTUM_PACKETS_MIN: u32 = 2;
const QUANTUM_PACKETS_MAX: u32 = 8;
/// Voices are ahead of the rate by so much at most. Beyond it they wait as well, though first.
const AUDIO_AHEAD_MAX: Duration = Duration::from_millis(200);

/// A probe that is not complete by then, because nobody pads it, is given up.
const PROBE_MAX: Duration = Duration::from_millis(250);

/// In the order of their importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Audio,
    Retransmission,
    Video,
    Padding,
}

const CLASSES: usize = 4;

/// How fast packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub rate_bps: u64,
    /// What was not used of so much time may be used at once.
    pub credit: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacerConfig {
    pub pace: Pace,
    /// Bounds on what waits, of all classes.
    pub packets_max: usize,
    pub bytes_max: usize,
    /// Video and padding older than this are dropped, by whole frames.
    pub age_max: Duration,
    /// When what waits takes longer than this, more would only come later.
    pub congested_after: Duration,
}

impl Default for PacerConfig {
    fn default() -> Self {
        PacerConfig {
            pace: Pace { rate_bps: 1_000_000, credit: Duration::from_millis(10) },
            packets_max: 2_048,
            bytes_max: 2 * 1024 * 1024,
            age_max: Duration::from_secs(1),
            congested_after: Duration::from_millis(250),
        }
    }
}

/// Packets since the pacer was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacerCounters {
    pub released: [u64; CLASSES],
    pub dropped: [u64; CLASSES],
    pub quanta: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released<T> {
    pub item: T,
    pub class: Class,
    pub bytes: usize,
    /// Of the probe that it is part of.
    pub cluster: Option<ClusterId>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
    frame: u64,
    since: Instant,
}

#[derive(Debug)]
struct Running {
    probe: Probe,
    bytes_left: usize,
    packets_left: usize,
    until: Instant,
}

#[derive(Debug)]
pub struct Pacer<T> {
    config: PacerConfig,
    queues: [VecDeque<Waiting<T>>; CLASSES],
    bytes: usize,
    packets: usize,
    /// When the next quantum may begin.
    free_at: Option<Instant>,
    /// What is left of the quantum that has begun.
    quantum_packets: u32,
    quantum_bytes: usize,
    running: Option<Running>,
    dropped: VecDeque<T>,
    counters: PacerCounters,
}

impl<T> Pacer<T> {
    pub fn new(config: PacerConfig) -> Self {
        Pacer {
            config,
            queues: Default::default(),
            bytes: 0,
            packets: 0,
            free_at: None,
            quantum_packets: 0,
            quantum_bytes: 0,
            running: None,
            dropped: VecDeque::new(),
            counters: PacerCounters::default(),
        }
    }

    /// As [`super::Estimator::pace`] says.
    pub fn set_pace(&mut self, pace: Pace) {
        self.config.pace = pace;
    }

    /// Takes a packet. `bytes` are with all headers. Packets of one picture have the same `frame`, which
    /// no other picture of this pacer has; it tells what is dropped together.
    pub fn push(&mut self, item: T, class: Class, bytes: usize, frame: u64, now: Instant) {
        self.queues[class as usize].push_back(Waiting { item, bytes, frame, since: now });
        self.bytes += bytes;
        self.packets += 1;
        self.drop_excess(now);
    }

    /// What was dropped, to be freed, and so that a key frame is asked for.
    pub fn poll_dropped(&mut self) -> Option<T> {
        self.dropped.pop_front()
    }

    /// The next packet that leaves. Those that come in a row are one quantum.
    pub fn poll(&mut self, now: Instant) -> Option<Released<T>> {
        self.running.take_if(|running| running.until <= now);
        if !self.queues[Class::Audio as usize].is_empty() && self.audio_may_leave(now) {
            return self.release(Class::Audio, now);
        }
        let class = self.next_class()?;
        if self.quantum_packets == 0 || self.quantum_bytes == 0 {
            if self.free_at.is_some_and(|free_at| free_at > now) {
                return None;
            }
            self.begin_quantum(class);
        }
        self.quantum_packets -= 1;
        self.release(class, now)
    }

    /// When [`Pacer::poll`] has something, or wants padding.
    pub fn timeout(&self, now: Instant) -> Option<Instant> {
        if self.packets == 0 && self.running.is_none() {
            return None;
        }
        if self.packets > 0 && self.quantum_packets > 0 && self.quantum_bytes > 0 {
            return Some(now);
        }
        let free_at = self.free_at.unwrap_or(now);
        let audio_at = (!self.queues[Class::Audio as usize].is_empty())
            .then(|| free_at.checked_sub(AUDIO_AHEAD_MAX).unwrap_or(now));
        Some(audio_at.map_or(free_at, |audio_at| audio_at.min(free_at)).max(now))
    }

    /// From now on packets leave at the rate of the probe, until it is complete.
    pub fn begin_probe(&mut self, probe: Probe, now: Instant) {
        self.running = Some(Running {
            probe,
            bytes_left: probe.bytes,
            packets_left: probe.packets_min,
            until: now + PROBE_MAX,
        });
        // A debt at the usual rate is none of the probe's, or its train would begin with a hole.
        self.free_at = self.free_at.map(|free_at| free_at.min(now));
        self.quantum_packets = 0;
    }

    /// How many bytes of padding are to be pushed now, in packets of `bytes_max` at most, because
    /// a probe runs and nothing else waits.
    pub fn padding_wanted(&self, now: Instant) -> Option<usize> {
        let running = self.running.as_ref()?;
        let is_due = self.free_at.is_none_or(|free_at| free_at <= now) || self.quantum_packets > 0;
        if self.packets > 0 || !is_due {
            return None;
        }
        // In so many packets as are still needed.
        Some((running.bytes_left / running.packets_left.max(1)).max(1))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn packets(&self) -> usize {
        self.packets
    }

    /// How long the oldest packet of video waits.
    pub fn age(&self, now: Instant) -> Duration {
        let oldest = self.queues[Class::Video as usize].front();
        oldest.map_or(Duration::ZERO, |waiting| now.saturating_duration_since(waiting.since))
    }

    /// How long it takes until all that waits has left.
    pub fn delay(&self) -> Duration {
        time(self.bytes, self.config.pace.rate_bps)
    }

    /// Whether what waits takes longer than it should: what is added would only come later.
    pub fn is_congested(&self) -> bool {
        self.delay() > self.config.congested_after
    }

    pub fn counters(&self) -> PacerCounters {
        self.counters
    }

    fn rate_bps(&self) -> u64 {
        let probe_bps = self.running.as_ref().map_or(0, |running| running.probe.rate_bps);
        self.config.pace.rate_bps.max(probe_bps)
    }

    fn audio_may_leave(&self, now: Instant) -> bool {
        self.free_at.is_none_or(|free_at| free_at.saturating_duration_since(now) <= AUDIO_AHEAD_MAX)
    }

    fn next_class(&self) -> Option<Class> {
        [Class::Audio, Class::Retransmission, Class::Video, Class::Padding]
            .into_iter()
            .find(|class| !self.queues[*class as usize].is_empty())
    }

    fn begin_quantum(&mut self, class: Class) {
        self.quantum_packets = QUANTUM_PACKETS_MAX;
        let bytes = self.rate_bps() as u128 * QUANTUM.as_micros() / 8_000_000;
        self.quantum_bytes = bytes as usize;
        self.counters.quanta += 1;
        // So slow a line gets its least number of packets.
        let largest = self.queues[class as usize].front().map_or(1, |waiting| waiting.bytes);
        self.quantum_bytes = self.quantum_bytes.max(largest * QUANTUM_PACKETS_MIN as usize);
    }

    fn release(&mut self, class: Class, now: Instant) -> Option<Released<T>> {
        let waiting = self.queues[class as usize].pop_front()?;
        self.bytes -= waiting.bytes;
        self.packets -= 1;
        self.counters.released[class as usize] += 1;
        self.quantum_bytes = self.quantum_bytes.saturating_sub(waiting.bytes);
        let earliest = now.checked_sub(self.config.pace.credit).unwrap_or(now);
        let free_at = self.free_at.unwrap_or(now).max(earliest);
        self.free_at = Some(free_at + time(waiting.bytes, self.rate_bps()));
        let cluster = self.count_probe(waiting.bytes);
        Some(Released { item: waiting.item, class, bytes: waiting.bytes, cluster })
    }

    fn count_probe(&mut self, bytes: usize) -> Option<ClusterId> {
        let running = self.running.as_mut()?;
        let cluster = running.probe.cluster;
        running.bytes_left = running.bytes_left.saturating_sub(bytes);
        running.packets_left = running.packets_left.saturating_sub(1);
        if running.bytes_left == 0 && running.packets_left == 0 {
            self.running = None;
        }
        Some(cluster)
    }

    /// Padding first, then the oldest pictures, then what is asked for again, and voices last.
    fn drop_excess(&mut self, now: Instant) {
        let oldest = now.checked_sub(self.config.age_max);
        for class in [Class::Padding, Class::Video] {
            while self.queues[class as usize].front().is_some_and(|waiting| Some(waiting.since) < oldest) {
                self.drop_frame(class);
            }
        }
        for class in [Class::Padding, Class::Video, Class::Retransmission, Class::Audio] {
            while self.packets > self.config.packets_max || self.bytes > self.config.bytes_max {
                if !self.drop_frame(class) {
                    break;
                }
            }
        }
    }

    /// Drops the oldest frame of a class, or what is left of it.
    fn drop_frame(&mut self, class: Class) -> bool {
        let queue = &mut self.queues[class as usize];
        let Some(frame) = queue.front().map(|waiting| waiting.frame) else { return false };
        let looked_at = if class == Class::Video { queue.len() } else { 1 };
        // Streams take turns: what stays goes round once, and keeps its order.
        for _ in 0..looked_at {
            let Some(waiting) = queue.pop_front() else { break };
            if waiting.frame != frame {
                queue.push_back(waiting);
                continue;
            }
            self.bytes -= waiting.bytes;
            self.packets -= 1;
            self.counters.dropped[class as usize] += 1;
            self.dropped.push_back(waiting.item);
        }
        // Who does not ask what was dropped does not want to know.
        while self.dropped.len() > self.config.packets_max {
            self.dropped.pop_front();
        }
        true
    }
}

fn time(bytes: usize, rate_bps: u64) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / rate_bps.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const BYTES: usize = 1_250;

    fn pace(rate_bps: u64) -> Pace {
        Pace { rate_bps, credit: Duration::from_millis(10) }
    }

    fn pacer(rate_bps: u64) -> Pacer<u32> {
        Pacer::new(PacerConfig { pace: pace(rate_bps), ..PacerConfig::default() })
    }

    fn video(pacer: &mut Pacer<u32>, frame: u64, packets: u32, now: Instant) {
        (0..packets).for_each(|n| pacer.push(n, Class::Video, BYTES, frame, now));
    }

    /// Polls at each timeout; returns what left, by time.
    fn run(pacer: &mut Pacer<u32>, start: Instant, length: Duration) -> Vec<(Duration, Vec<Released<u32>>)> {
        let (mut now, mut left) = (start, Vec::new());
        while now < start + length {
            let mut quantum = Vec::new();
            while let Some(released) = pacer.poll(now) {
                quantum.push(released);
            }
            if !quantum.is_empty() {
                left.push((now - start, quantum));
            }
            let Some(at) = pacer.timeout(now) else { break };
            now = at.max(now + MILLISECOND / 4);
        }
        left
    }

    #[test]
    fn quanta_are_of_two_to_eight_packets_at_the_rate() {
        for (rate_bps, least, most) in
            [(200_000, 2, 2), (2_000_000, 2, 2), (10_000_000, 4, 8), (50_000_000, 8, 8)]
        {
            let (start, mut pacer) = (Instant::now(), pacer(rate_bps));
            video(&mut pacer, 1, 200, start);
            let left = run(&mut pacer, start, Duration::from_secs(20));
            let (first, rest) = left.split_at(1);
            let sizes: Vec<usize> = rest[..rest.len() - 1].iter().map(|(_, quantum)| quantum.len()).collect();
            assert!(sizes.iter().all(|size| (least..=most).contains(size)), "{sizes:?} at {rate_bps}");
            let last = left.last().unwrap();
            let bytes = (200 - first[0].1.len() - last.1.len()) * BYTES;
            let bps = (bytes * 8) as f64 / (last.0 - rest[0].0).as_secs_f64();
            assert!((0.95..1.1).contains(&(bps / rate_bps as f64)), "{bps} of {rate_bps}");
        }
    }

    #[test]
    fn a_frame_of_a_fast_stream_leaves_whole() {
        let (start, mut pacer) = (Instant::now(), pacer(20_000_000));
        video(&mut pacer, 1, 1, start);
        assert!(pacer.poll(start).is_some());
        let later = start + 40 * MILLISECOND;
        video(&mut pacer, 2, 14, later);
        let mut left = 0;
        while pacer.poll(later).is_some() {
            left += 1;
        }
        assert_eq!(left, 14);
    }

    #[test]
    fn voices_do_not_wait_and_are_paid_for_by_pictures() {
        let (start, mut pacer) = (Instant::now(), pacer(500_000));
        video(&mut pacer, 1, 20, start);
        while pacer.poll(start).is_some() {}
        let later = start + MILLISECOND;
        let due = pacer.timeout(later).unwrap();
        pacer.push(99, Class::Audio, 125, 0, later);
        pacer.push(98, Class::Retransmission, BYTES, 0, later);
        assert_eq!(pacer.timeout(later), Some(later));
        assert_eq!(pacer.poll(later).map(|released| released.item), Some(99));
        assert_eq!(pacer.poll(later), None);
        // 125 bytes take 2 ms.
        assert_eq!(pacer.timeout(later), Some(due + 2 * MILLISECOND));
        assert_eq!(pacer.poll(due + 2 * MILLISECOND).map(|released| released.item), Some(98));
    }

    #[test]
    fn a_flood_of_voices_is_paced_too() {
        let (start, mut pacer) = (Instant::now(), pacer(100_000));
        (0..100).for_each(|n| pacer.push(n, Class::Audio, 125, 0, start));
        let mut left = 0;
        while pacer.poll(start).is_some() {
            left += 1;
        }
        // 200 ms ahead, at 10 ms each, and those that the idle time had saved.
        assert!((20..25).contains(&left), "{left}");
        assert_eq!(run(&mut pacer, start, Duration::from_secs(2)).len(), 100 - left);
    }

    #[test]
    fn a_probe_goes_at_its_rate_and_is_padded() {
        let (start, mut pacer) = (Instant::now(), pacer(300_000));
        let cluster = ClusterId(7);
        let probe = Probe { cluster, rate_bps: 2_000_000, bytes: 10_000, packets_min: 5 };
        video(&mut pacer, 1, 2, start);
        pacer.begin_probe(probe, start);
        let (mut now, mut bytes, mut last) = (start, 0, start);
        while now < start + 200 * MILLISECOND {
            while let Some(size) = pacer.padding_wanted(now) {
                pacer.push(0, Class::Padding, size.min(BYTES), 0, now);
            }
            while let Some(released) = pacer.poll(now) {
                assert_eq!(released.cluster, Some(cluster));
                bytes += released.bytes;
                last = now;
            }
            now += MILLISECOND;
        }
        assert!((10_000..10_000 + BYTES).contains(&bytes), "{bytes}");
        assert!((25..=40).contains(&(last - start).as_millis()), "{:?}", last - start);
        assert_eq!(pacer.padding_wanted(now), None);
        video(&mut pacer, 2, 1, now);
        assert_eq!(pacer.poll(now).unwrap().cluster, None);
    }

    #[test]
    fn a_probe_that_nobody_pads_is_given_up() {
        let (start, mut pacer) = (Instant::now(), pacer(300_000));
        pacer.begin_probe(
            Probe { cluster: ClusterId(1), rate_bps: 2_000_000, bytes: 9_000, packets_min: 5 },
            start,
        );
        assert!(pacer.padding_wanted(start).is_some());
        assert_eq!(pacer.poll(start + PROBE_MAX), None);
        assert_eq!((pacer.padding_wanted(start + PROBE_MAX), pacer.timeout(start + PROBE_MAX)), (None, None));
    }

    #[test]
    fn old_pictures_are_dropped_whole_and_voices_last() {
        let start = Instant::now();
        let config = PacerConfig { pace: pace(1_000), packets_max: 10, ..PacerConfig::default() };
        let mut pacer = Pacer::new(config);
        // Two streams take turns.
        for n in 0..8u32 {
            pacer.push(n, Class::Video, BYTES, u64::from(n % 2), start);
        }
        assert!(pacer.is_congested());
        pacer.push(100, Class::Audio, 100, 0, start);
        pacer.push(101, Class::Retransmission, 100, 0, start);
        assert_eq!(pacer.poll_dropped(), None);
        pacer.push(102, Class::Audio, 100, 0, start);
        let dropped: Vec<u32> = std::iter::from_fn(|| pacer.poll_dropped()).collect();
        assert_eq!(dropped, [0, 2, 4, 6]);
        assert_eq!(pacer.age(start + MILLISECOND), MILLISECOND);
        let late = start + config.age_max + MILLISECOND;
        pacer.push(9, Class::Video, BYTES, 5, late);
        assert_eq!(std::iter::from_fn(|| pacer.poll_dropped()).collect::<Vec<_>>(), [1, 3, 5, 7]);
        assert_eq!((pacer.packets(), pacer.bytes()), (4, 300 + BYTES));
        (0..20).for_each(|n| pacer.push(n, Class::Audio, 100, 0, late));
        assert_eq!(pacer.packets(), 10);
        assert_eq!(pacer.counters().dropped, [12, 1, 9, 0]);
    }
}
