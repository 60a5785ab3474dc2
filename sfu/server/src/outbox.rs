//! What a worker tells its node, through a bounded queue that never blocks the packet thread.
//!
//! When the queue is full, what is told waits on this side, and of each subject (the state of one
//! transport, the source of one consumer, …) only the latest word. So the backlog is no larger than
//! the state that it describes, and signaling ends up knowing the truth however long it was away.

use std::collections::{BTreeMap, HashMap};

use broletto_control::{ConsumerId, ControlError, Notification, ProducerId, Response, RouterId, TransportId};
use broletto_sfu_core::node::Ticket;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::metrics::WorkerMetrics;

/// A last bound; the transports of a full worker with all their consumers are about as many.
const BACKLOG_MAX: usize = 262_144;

#[derive(Debug, PartialEq)]
pub(crate) enum WorkerEvent {
    Response {
        ticket: Ticket,
        result: Result<Response, ControlError>,
    },
    Notification(Notification),
    /// The worker lost everything it had.
    Restarted {
        worker: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    State(TransportId),
    Closed(TransportId),
    Live(ProducerId),
    Demand(ProducerId),
    Source(ConsumerId),
    Speakers(RouterId),
    Stats(TransportId),
    Abandoned(RouterId),
}

pub(crate) struct Outbox {
    queue: mpsc::Sender<WorkerEvent>,
    /// In the order in which they were told.
    backlog: BTreeMap<u64, WorkerEvent>,
    latest: HashMap<Subject, u64>,
    next: u64,
}

impl Outbox {
    pub(crate) fn new(queue: mpsc::Sender<WorkerEvent>) -> Self {
        Outbox { queue, backlog: BTreeMap::new(), latest: HashMap::new(), next: 0 }
    }

    pub(crate) fn push(&mut self, event: WorkerEvent, metrics: &WorkerMetrics) {
        if !self.backlog.is_empty() {
            return self.park(event, metrics);
        }
        match self.queue.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(event)) => self.park(event, metrics),
        }
    }

    /// Hands over what waits, as far as there is room. True: nothing waits any more.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            match self.queue.try_reserve() {
                Ok(permit) => {
                    let (_, event) = self.backlog.pop_first().expect("it is not empty");
                    permit.send(event);
                }
                Err(TrySendError::Full(())) => return false,
                Err(TrySendError::Closed(())) => self.backlog.clear(),
            }
        }
        self.latest.clear();
        true
    }

    fn park(&mut self, event: WorkerEvent, metrics: &WorkerMetrics) {
        let subject = match &event {
            WorkerEvent::Notification(notification) => Some(subject(notification)),
            WorkerEvent::Response { .. } | WorkerEvent::Restarted { .. } => None,
        };
        if let Some(older) = subject.and_then(|subject| self.latest.remove(&subject))
            && self.backlog.remove(&older).is_some()
        {
            metrics.delayed_notifications.inc();
        }
        // Answers are as few as requests, which are bounded where they come in.
        if self.backlog.len() >= BACKLOG_MAX && subject.is_some() {
            metrics.dropped_notifications.inc();
            return;
        }
        self.backlog.insert(self.next, event);
        if let Some(subject) = subject {
            self.latest.insert(subject, self.next);
        }
        self.next += 1;
    }
}

fn subject(notification: &Notification) -> Subject {
    match notification {
        Notification::TransportState { transport, .. } => Subject::State(*transport),
        Notification::TransportClosed { transport, .. } => Subject::Closed(*transport),
        Notification::ProducerLive { producer, .. } => Subject::Live(*producer),
        Notification::ProducerDemand { producer, .. } => Subject::Demand(*producer),
        Notification::ConsumerSource { consumer, .. } => Subject::Source(*consumer),
        Notification::Speakers { router, .. } => Subject::Speakers(*router),
        Notification::TransportStats { transport, .. } => Subject::Stats(*transport),
        Notification::RouterAbandoned { router } => Subject::Abandoned(*router),
    }
}

#[cfg(test)]
mod tests {
    use broletto_control::{Epoch, Id};

    use super::*;
    use crate::metrics::Metrics;

    fn live(serial: u32, live: bool) -> WorkerEvent {
        let producer = ProducerId(Id::new(Epoch(1), serial));
        WorkerEvent::Notification(Notification::ProducerLive { producer, live })
    }

    #[test]
    fn a_slow_reader_gets_the_latest_of_each_subject_in_order() {
        let (sender, mut receiver) = mpsc::channel(2);
        let metrics = Metrics::new().worker(0);
        let mut outbox = Outbox::new(sender);
        for serial in 0..4 {
            outbox.push(live(serial, false), &metrics);
        }
        for _ in 0..1_000 {
            outbox.push(live(2, true), &metrics);
        }
        assert_eq!(outbox.backlog.len(), 2, "one for each subject");
        assert_eq!(metrics.delayed_notifications.get(), 1_000);
        let mut told = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            told.push(event);
            outbox.flush();
        }
        assert_eq!(told, [live(0, false), live(1, false), live(3, false), live(2, true)]);
        assert!(outbox.flush() && outbox.latest.is_empty());
    }

    #[test]
    fn a_reader_that_is_gone_costs_nothing() {
        let (sender, receiver) = mpsc::channel(1);
        let metrics = Metrics::new().worker(0);
        let mut outbox = Outbox::new(sender);
        outbox.push(live(1, true), &metrics);
        outbox.push(live(2, true), &metrics);
        drop(receiver);
        assert!(outbox.flush());
        outbox.push(live(3, true), &metrics);
        assert!(outbox.backlog.is_empty());
    }
}
