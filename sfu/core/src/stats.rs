//! What is counted.

use std::time::{Duration, Instant};

/// What a worker counted since it started. All of it only rises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerStats {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    /// Media packets handed to consumers.
    pub forwarded: u64,
    pub dropped: Dropped,
    /// Sessions that ended by a fault of ours (M6).
    pub panics: u64,
}

/// Why datagrams and packets were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Neither STUN nor DTLS nor RTP.
    pub unknown_kind: u64,
    /// DTLS or RTP from an address that passed no ICE check (M1).
    pub unknown_source: u64,
    /// STUN that is no binding request, or is malformed, or for no session of ours.
    pub stun_unknown: u64,
    /// A STUN request with a wrong MESSAGE-INTEGRITY.
    pub stun_forged: u64,
    /// A STUN request from one address more than a session may have, or from one in use by another.
    pub address_refused: u64,
    /// RTP with one SSRC more than a session may have (M8).
    pub ssrc_refused: u64,
    /// RTP that gave no packet: replayed, forged, or of no stream that was negotiated (M3).
    pub rtp_refused: u64,
    /// RTCP that was replayed or forged.
    pub rtcp_refused: u64,
    /// RTP or RTCP that came out of the library for the handshake, which has none of our keys.
    pub not_ours: u64,
    /// DTLS or RTP that the session could not take.
    pub malformed: u64,
    /// RTP of a paused producer.
    pub paused: u64,
    /// A payload that is not what its codec's payload format allows.
    pub payload_malformed: u64,
    /// What a session without consent wanted to send (M4).
    pub without_consent: u64,
    /// More than the queue to the IO shell holds.
    pub output_full: u64,
}

/// Bits in the last second.
#[derive(Debug, Clone)]
pub(crate) struct RateMeter {
    buckets: [u64; BUCKETS],
    started_at: Instant,
    /// Buckets since `started_at`; the newest is at this index modulo [`BUCKETS`].
    newest: u64,
}

const BUCKETS: usize = 10;
const BUCKET: Duration = Duration::from_millis(100);

impl RateMeter {
    pub fn new(now: Instant) -> Self {
        RateMeter { buckets: [0; BUCKETS], started_at: now, newest: 0 }
    }

    pub fn add(&mut self, bytes: usize, now: Instant) {
        self.advance(now);
        self.buckets[(self.newest % BUCKETS as u64) as usize] += bytes as u64 * 8;
    }

    pub fn bitrate_bps(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.buckets.iter().sum()
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started_at);
        let newest = (elapsed.as_millis() / BUCKET.as_millis()) as u64;
        for index in (self.newest + 1..=newest).take(BUCKETS) {
            self.buckets[(index % BUCKETS as u64) as usize] = 0;
        }
        // After a pause of more than a second, the loop cleared every bucket there is.
        self.newest = self.newest.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_shows_the_last_second_and_forgets_the_one_before() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        for millis in 0..1000 {
            meter.add(125, start + Duration::from_millis(millis));
        }
        assert_eq!(meter.bitrate_bps(start + Duration::from_millis(999)), 1_000_000);
        assert_eq!(meter.bitrate_bps(start + Duration::from_millis(1500)), 400_000);
        assert_eq!(meter.bitrate_bps(start + Duration::from_secs(60)), 0);
        meter.add(125, start + Duration::from_secs(61));
        assert_eq!(meter.bitrate_bps(start + Duration::from_secs(61)), 1000);
    }
}
