//! What became of the packets of a voice, and how long it was delayed.

use crate::frame::milliseconds;

/// What became of the packets so far. Lengths are in samples at 48 kHz.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    pub packets: u64,
    /// Of a payload type that is not spoken in this call, malformed, or of no stream that goes on.
    pub refused: u64,
    pub duplicates: u64,
    pub reordered: u64,
    /// They came when their time had been filled with something else.
    pub late: u64,
    /// Gone because too many waited.
    pub overflowed: u64,
    /// Lost frames that redundancy or forward error correction brought back.
    pub recovered: u64,
    /// Lost frames that did not come back.
    pub lost: u64,
    pub restarts: u64,
    pub concealed_samples: u64,
    pub shortened_samples: u64,
    pub lengthened_samples: u64,
    /// What the next frame would be delayed by over the fastest packet.
    pub delay_samples: usize,
    pub delay_target_samples: usize,
    /// Half, and 95 % of the frames so far, were delayed by no more, to 5 ms.
    pub delay_median_samples: usize,
    pub delay_p95_samples: usize,
}

const BUCKET: usize = milliseconds(5);
const BUCKETS: usize = 100;

/// How long frames were delayed.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    counts: [u64; BUCKETS],
}

impl Default for Delays {
    fn default() -> Self {
        Delays { counts: [0; BUCKETS] }
    }
}

impl Delays {
    pub(super) fn add(&mut self, delay: usize) {
        self.counts[(delay / BUCKET).min(BUCKETS - 1)] += 1;
    }

    /// What so many percent of them were delayed by at most. 0: there was none.
    pub(super) fn percentile(&self, percent: u64) -> usize {
        let all: u64 = self.counts.iter().sum();
        if all == 0 {
            return 0;
        }
        let mut sum = 0;
        let bucket = self.counts.iter().position(|count| {
            sum += count;
            sum * 100 >= all * percent
        });
        (bucket.unwrap_or(BUCKETS - 1) + 1) * BUCKET
    }
}
