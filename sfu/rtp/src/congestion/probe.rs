//! Probes: short trains of packets that are sent faster than the estimate, to prove more.
//!
//! A probe can only raise the estimate. That it came through too slowly may have had any reason;
//! that too much is sent is seen in the media itself.

use std::collections::VecDeque;

/// Counts the probes of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u32);

/// A train of packets to be sent: media that waits first, then padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub cluster: ClusterId,
    pub rate_bps: u64,
    /// As many, with overhead, and in as many packets at least.
    pub bytes: usize,
    pub packets_min: usize,
}

/// How long a train is: long enough to be told from the jitter of a good path, and short enough that
/// one of twice of what the path carries makes nothing wait longer than this.
const DURATION_US: i64 = 40_000;

const PACKETS_MIN: usize = 5;
/// A train is judged when so much of it came, in percent, or after this time.
const ARRIVED_PERCENT: u32 = 80;
const JUDGED_AFTER_US: i64 = 1_000_000;
/// A train has met a limit when its last burst waited longer than its first, by more than this share
/// of the time between them.
const STRETCH_MAX: f64 = 0.12;
/// Of what a limited train showed, this is believed: it has pushed others aside.
const LIMITED_SHARE: f64 = 0.93;
/// It proves something if so many packets came, and this share of what the path does not lose anyhow.
const ARRIVED_MIN: u32 = 4;
const CARRIED_SHARE: f64 = 0.75;
const CLUSTERS_MAX: usize = 4;
/// After a train that met a limit, the next waits for so long, twice as long each time.
const WAIT_MIN_US: i64 = 1_000_000;
const WAIT_MAX_US: i64 = 4_000_000;

#[derive(Debug, Clone, Copy)]
struct Cluster {
    id: ClusterId,
    probe: Probe,
    /// What the path lost before, 0 to 1.
    loss: f64,
    begun_us: i64,
    sent: Span,
    arrived: Span,
    /// When the first and the last burst were sent of which the first packet arrived, and when that did.
    first: Option<(i64, i64)>,
    last: (i64, i64),
}

/// Bytes over the time from the first to the last, with what the first and the last burst had.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    packets: u32,
    bytes: u64,
    first_us: i64,
    last_us: i64,
    first_bytes: u64,
    last_bytes: u64,
}

impl Span {
    /// Within this it is one burst.
    const JOIN_US: i64 = 500;

    fn note(&mut self, at_us: i64, bytes: u64) {
        if self.packets == 0 {
            *self = Span { first_us: at_us, last_us: at_us, ..Span::default() };
        }
        self.packets += 1;
        self.bytes += bytes;
        if at_us - self.first_us < Self::JOIN_US {
            self.first_bytes += bytes;
        }
        if at_us - self.last_us >= Self::JOIN_US {
            (self.last_us, self.last_bytes) = (at_us, 0);
        }
        self.last_bytes += bytes;
    }

    fn bps(&self, left_out: u64) -> Option<f64> {
        let span_us = self.last_us - self.first_us;
        (span_us > 0).then(|| (self.bytes - left_out) as f64 * 8e6 / span_us as f64)
    }
}

/// What a probe has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proof {
    pub rate_bps: f64,
    /// It met a limit, so there is not much more.
    pub limited: bool,
}

#[derive(Debug)]
pub(super) struct Prober {
    clusters: VecDeque<Cluster>,
    next_id: u32,
    next_at_us: i64,
    wait_us: i64,
    /// The last one met a limit, or was lost.
    failed: bool,
}

impl Prober {
    pub fn new() -> Self {
        Prober { clusters: VecDeque::new(), next_id: 1, next_at_us: 0, wait_us: WAIT_MIN_US, failed: false }
    }

    /// Whether the time for a probe has come.
    pub fn may_begin(&self, now_us: i64) -> bool {
        self.clusters.is_empty() && now_us >= self.next_at_us
    }

    /// Where much is lost, `loss` of 1, more packets are sent, so that enough come.
    pub fn begin(&mut self, rate_bps: f64, loss: f64, now_us: i64) -> Probe {
        let bytes = (rate_bps * DURATION_US as f64 / 8e6) as usize;
        let packets_min = (PACKETS_MIN as f64 / (1.0 - loss.clamp(0.0, 0.5))).ceil() as usize;
        let id = ClusterId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let probe = Probe { cluster: id, rate_bps: rate_bps as u64, bytes, packets_min };
        self.clusters.push_back(Cluster {
            id,
            probe,
            loss,
            begun_us: now_us,
            sent: Span::default(),
            arrived: Span::default(),
            first: None,
            last: (0, 0),
        });
        if self.clusters.len() > CLUSTERS_MAX {
            self.clusters.pop_front();
        }
        probe
    }

    pub fn note_sent(&mut self, id: ClusterId, bytes: u64, at_us: i64) {
        if let Some(cluster) = self.clusters.iter_mut().find(|cluster| cluster.id == id) {
            cluster.sent.note(at_us, bytes);
        }
    }

    /// A packet of a probe came. They are told in the order in which they were sent.
    pub fn note_arrived(&mut self, id: ClusterId, bytes: u64, sent_us: i64, at_us: i64) {
        let Some(cluster) = self.clusters.iter_mut().find(|cluster| cluster.id == id) else { return };
        cluster.arrived.note(at_us, bytes);
        if cluster.first.is_none() || sent_us - cluster.last.0 >= Span::JOIN_US {
            cluster.last = (sent_us, at_us);
            cluster.first.get_or_insert(cluster.last);
        }
    }

    /// The result of a probe that is over.
    pub fn poll(&mut self, now_us: i64) -> Option<Proof> {
        let cluster = self.clusters.front()?;
        let is_sent = cluster.sent.packets as usize >= cluster.probe.packets_min
            && cluster.sent.bytes >= cluster.probe.bytes as u64;
        let has_come = is_sent && cluster.arrived.packets * 100 >= cluster.sent.packets * ARRIVED_PERCENT;
        let is_late = now_us - cluster.begun_us >= JUDGED_AFTER_US;
        if !has_come && !is_late {
            return None;
        }
        let cluster = self.clusters.pop_front()?;
        let proof = cluster.proof();
        self.failed = proof.is_none_or(|proof| proof.limited);
        match proof {
            Some(Proof { limited: false, .. }) => self.wait_us = WAIT_MIN_US,
            Some(Proof { limited: true, .. }) | None => self.wait(now_us),
        }
        proof
    }

    /// Whether the last probe went too far.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// No probe for a while, and for longer each time.
    pub fn wait(&mut self, now_us: i64) {
        self.next_at_us = self.next_at_us.max(now_us + self.wait_us);
        self.wait_us = (self.wait_us * 2).min(WAIT_MAX_US);
    }

    /// No probe for so long; one that is under way is not believed any more.
    pub fn forbid(&mut self, for_us: i64, now_us: i64) {
        self.clusters.clear();
        self.next_at_us = self.next_at_us.max(now_us + for_us);
    }

    /// What was learned about the path is out of date: waits are short again.
    pub fn refresh(&mut self) {
        self.wait_us = WAIT_MIN_US;
    }

    /// When something is to be judged, whether more comes or not.
    pub fn timeout_us(&self) -> Option<i64> {
        self.clusters.front().map(|cluster| cluster.begun_us + JUDGED_AFTER_US)
    }
}

impl Cluster {
    fn proof(&self) -> Option<Proof> {
        // A queue that is full delays no more, and loses what is too much instead.
        let expected = f64::from(self.sent.packets) * (1.0 - self.loss);
        if self.arrived.packets < ARRIVED_MIN || f64::from(self.arrived.packets) < CARRIED_SHARE * expected {
            return None;
        }
        // The pacer may begin with what it had saved: no more is believed than was asked for.
        let sent_bps = self.sent.bps(self.sent.last_bytes)?.min(self.probe.rate_bps as f64);
        let (first_sent_us, first_us) = self.first?;
        let (last_sent_us, last_us) = self.last;
        let sent_us = last_sent_us - first_sent_us;
        let stretch_us = (last_us - first_us) - sent_us;
        let limited = stretch_us as f64 > STRETCH_MAX * sent_us as f64;
        // Of what came through a limit, the first burst took its time before it came.
        let rate_bps = match limited {
            true => LIMITED_SHARE * self.arrived.bps(self.arrived.first_bytes)?.min(sent_bps),
            false => sent_bps,
        };
        Some(Proof { rate_bps, limited })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a probe of 2 Mbit/s in bursts of `burst` packets over a line of `line_bps`.
    fn run(line_bps: f64, burst: usize) -> (Prober, Option<Proof>) {
        let mut prober = Prober::new();
        let probe = prober.begin(2e6, 0.0, 0);
        assert!(!prober.may_begin(0), "one at a time");
        let (mut sent, mut free_us) = (0, 0.0f64);
        while sent * 1_000 < probe.bytes {
            let at_us = (sent / burst * burst) as f64 * 8e9 / 2e6;
            prober.note_sent(probe.cluster, 1_000, at_us as i64);
            free_us = free_us.max(at_us) + 8e9 / line_bps;
            prober.note_arrived(probe.cluster, 1_000, at_us as i64, free_us as i64);
            sent += 1;
        }
        let proof = prober.poll(100_000);
        (prober, proof)
    }

    #[test]
    fn what_comes_as_sent_proves_the_rate_however_bursty() {
        for burst in [1, 2, 4] {
            let (prober, proof) = run(1e8, burst);
            let proof = proof.unwrap();
            assert!(!proof.limited);
            assert!((1.8e6..2.05e6).contains(&proof.rate_bps), "{proof:?} of {burst}");
            assert!(prober.may_begin(100_000));
        }
    }

    #[test]
    fn what_comes_slower_shows_the_line_and_makes_the_next_wait() {
        for burst in [1, 2, 4] {
            let (mut prober, proof) = run(1e6, burst);
            let proof = proof.unwrap();
            assert!(proof.limited);
            assert!((0.8e6..0.95e6).contains(&proof.rate_bps), "{proof:?} of {burst}");
            assert!(!prober.may_begin(100_000 + WAIT_MIN_US - 1));
            assert!(prober.may_begin(100_000 + WAIT_MIN_US));
            prober.wait(2_000_000);
            assert!(!prober.may_begin(2_000_000 + 2 * WAIT_MIN_US - 1));
        }
    }

    #[test]
    fn a_probe_that_is_lost_proves_nothing() {
        let mut prober = Prober::new();
        let probe = prober.begin(1e6, 0.0, 0);
        (0..10).for_each(|n| prober.note_sent(probe.cluster, 600, n * 4_000));
        (0..3).for_each(|n| prober.note_arrived(probe.cluster, 600, n * 4_000, n * 4_000));
        assert_eq!(prober.poll(500_000), None);
        assert!(!prober.may_begin(500_000));
        assert_eq!(prober.poll(JUDGED_AFTER_US), None);
        assert!(prober.may_begin(JUDGED_AFTER_US + WAIT_MIN_US));
    }
}
