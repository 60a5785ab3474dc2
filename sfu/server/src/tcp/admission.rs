//! How many TCP connections there may be, of one source and in all.
//!
//! A connection that has sent nothing yet is worth little: when there are too many, the oldest of
//! them makes room for the newcomer, so that connections held open for nothing keep nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

#[derive(Debug, Clone, Copy)]
pub(crate) struct AdmissionLimits {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_source_max: usize,
    /// Connections whose first frame has not come.
    pub(crate) pending_max: usize,
}

struct Pending {
    source: IpAddr,
    /// Dropping it tells the connection to go.
    _eviction: oneshot::Sender<()>,
}

struct Table {
    limits: AdmissionLimits,
    per_source: HashMap<IpAddr, usize>,
    total: usize,
    /// In the order in which they came.
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

#[derive(Clone)]
pub(crate) struct Admission(Arc<Mutex<Table>>);

/// A connection's place; it is free again when this is dropped.
pub(crate) struct Permit {
    admission: Admission,
    id: u64,
    source: IpAddr,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        let (per_source, pending) = (HashMap::new(), BTreeMap::new());
        Admission(Arc::new(Mutex::new(Table { limits, per_source, total: 0, pending, next: 0 })))
    }

    /// A place for a new connection, and what resolves when it must give it up before its first
    /// frame. None: there is no place.
    pub(crate) fn admit(&self, source: IpAddr) -> Option<(Permit, oneshot::Receiver<()>)> {
        let mut table = self.table();
        let limits = table.limits;
        if table.pending.len() >= limits.pending_max {
            table.pending.pop_first();
        }
        if table.per_source.get(&source).is_some_and(|count| *count >= limits.connections_per_source_max) {
            table.evict(|pending| pending.source == source)?;
        } else if table.total >= limits.connections_max {
            table.evict(|_| true)?;
        }
        // Those that were told to go are still counted until they have; the bounds are on who stays.
        let id = table.next;
        let (eviction, evicted) = oneshot::channel();
        table.next += 1;
        table.total += 1;
        *table.per_source.entry(source).or_default() += 1;
        table.pending.insert(id, Pending { source, _eviction: eviction });
        Some((Permit { admission: self.clone(), id, source }, evicted))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn evict(&mut self, which: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let id = self.pending.iter().find(|(_, pending)| which(pending)).map(|(id, _)| *id)?;
        self.pending.remove(&id)
    }
}

impl Permit {
    /// The first frame came: the connection stays.
    pub(crate) fn establish(&self) {
        // The sender goes with the entry; nobody listens to it any more.
        self.admission.table().pending.remove(&self.id);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut table = self.admission.table();
        table.pending.remove(&self.id);
        table.total -= 1;
        if let Some(count) = table.per_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                table.per_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn admission(all: usize, per_source: usize, pending: usize) -> Admission {
        Admission::new(AdmissionLimits {
            connections_max: all,
            connections_per_source_max: per_source,
            pending_max: pending,
        })
    }

    #[test]
    fn r18_the_oldest_that_said_nothing_makes_room() {
        let admission = admission(10, 10, 2);
        let (_first, mut first_evicted) = admission.admit(source(1)).expect("room");
        let (_second, mut second_evicted) = admission.admit(source(1)).expect("room");
        let (_third, _) = admission.admit(source(2)).expect("the first makes room");
        assert_eq!(first_evicted.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(second_evicted.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn established_connections_of_a_source_are_bounded_and_are_not_evicted() {
        let admission = admission(10, 2, 10);
        let permits: Vec<_> = (0..2).map(|_| admission.admit(source(1)).expect("room").0).collect();
        permits.iter().for_each(Permit::establish);
        assert!(admission.admit(source(1)).is_none());
        assert!(admission.admit(source(2)).is_some(), "another source is not concerned");
        drop(permits);
        assert!(admission.admit(source(1)).is_some());
    }

    #[test]
    fn all_connections_are_bounded() {
        let admission = admission(3, 3, 10);
        let permits: Vec<_> = (1..=3).map(|last| admission.admit(source(last)).expect("room").0).collect();
        permits[1..].iter().for_each(Permit::establish);
        let (newcomer, _) = admission.admit(source(4)).expect("the one that is pending goes");
        newcomer.establish();
        assert!(admission.admit(source(5)).is_none());
        drop((permits, newcomer));
        let table = admission.table();
        assert_eq!((table.total, table.per_source.len(), table.pending.len()), (0, 0, 0));
    }
}
