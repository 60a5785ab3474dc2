//! What str0m counts of each stream, added up for a transport.

use str0m::media::{Mid, Rid};

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub nacks: u64,
    pub plis: u64,
}

/// What str0m counted, of each stream, in total.
#[derive(Debug, Default)]
pub(super) struct Counters(Vec<(Mid, Option<Rid>, bool, Counts)>);

impl Counters {
    pub fn note(&mut self, mid: Mid, rid: Option<Rid>, sent: bool, counts: Counts) {
        match self.0.iter_mut().find(|entry| (entry.0, entry.1, entry.2) == (mid, rid, sent)) {
            Some(entry) => entry.3 = counts,
            None => self.0.push((mid, rid, sent, counts)),
        }
    }

    /// Of what is received, and of what is sent.
    pub fn totals(&self) -> (Counts, Counts) {
        let total = |sent| {
            let entries = self.0.iter().filter(|entry| entry.2 == sent);
            entries.fold(Counts::default(), |sum, entry| Counts {
                nacks: sum.nacks + entry.3.nacks,
                plis: sum.plis + entry.3.plis,
            })
        };
        (total(false), total(true))
    }
}
