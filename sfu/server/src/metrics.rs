//! Counters for Prometheus. No label names a room or a participant.

use broletto_sfu_core::stats::{Dropped, WorkerStats};
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector, proto::MetricFamily,
};

#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    packets_received: IntCounterVec,
    bytes_received: IntCounterVec,
    packets_sent: IntCounterVec,
    bytes_sent: IntCounterVec,
    messages_sent: IntCounterVec,
    groups_refused: IntCounterVec,
    dropped: IntCounterVec,
    forwarded: IntCounterVec,
    session_panics: IntCounterVec,
    panics: IntCounterVec,
    restarts: IntCounterVec,
    tcp_connections: IntGaugeVec,
    /// Milliseconds since a worker's loop last went round, as the control thread sees it.
    pub(crate) silence_ms: IntGaugeVec,
    pub(crate) workers: IntGauge,
    pub(crate) routers: IntGauge,
    pub(crate) transports: IntGauge,
    pub(crate) links: IntGauge,
    pub(crate) tcp_refused: IntCounterVec,
    pub(crate) links_refused: IntCounterVec,
    pub(crate) requests_refused: IntCounter,
}

impl Metrics {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let registry = Registry::new();
        let by_protocol = &["worker", "protocol"][..];
        let by_worker = &["worker"][..];
        Metrics {
            packets_received: counters(
                &registry,
                "packets_received_total",
                "Datagrams taken from the network.",
                by_protocol,
            ),
            bytes_received: counters(
                &registry,
                "received_bytes_total",
                "Bytes of datagrams taken from the network.",
                by_protocol,
            ),
            packets_sent: counters(
                &registry,
                "packets_sent_total",
                "Datagrams handed to the network.",
                by_protocol,
            ),
            bytes_sent: counters(
                &registry,
                "sent_bytes_total",
                "Bytes of datagrams handed to the network.",
                by_protocol,
            ),
            messages_sent: counters(
                &registry,
                "udp_messages_sent_total",
                "Groups of datagrams that went down the stack together.",
                by_worker,
            ),
            groups_refused: counters(
                &registry,
                "udp_groups_refused_total",
                "Groups that the kernel refused and that went out one by one.",
                by_worker,
            ),
            dropped: counters(
                &registry,
                "dropped_total",
                "What was dropped, by the queue or check that dropped it.",
                &["worker", "reason"],
            ),
            forwarded: counters(
                &registry,
                "packets_forwarded_total",
                "Media packets handed to consumers.",
                by_worker,
            ),
            session_panics: counters(
                &registry,
                "session_panics_total",
                "Faults that ended one session.",
                by_worker,
            ),
            panics: counters(
                &registry,
                "worker_panics_total",
                "Faults that were caught around a worker's calls.",
                by_worker,
            ),
            restarts: counters(
                &registry,
                "worker_restarts_total",
                "Workers replaced after repeated faults.",
                by_worker,
            ),
            tcp_connections: gauges(
                &registry,
                "tcp_connections",
                "ICE-TCP connections on a worker.",
                by_worker,
            ),
            silence_ms: gauges(
                &registry,
                "worker_silence_milliseconds",
                "Time since a worker's loop last went round.",
                by_worker,
            ),
            workers: gauge(&registry, "workers", "Worker threads."),
            routers: gauge(&registry, "routers", "Routers on this node."),
            transports: gauge(&registry, "transports", "Transports on this node."),
            links: gauge(&registry, "control_links", "Control connections."),
            tcp_refused: counters(
                &registry,
                "tcp_refused_total",
                "ICE-TCP connections closed before they reached a worker.",
                &["reason"],
            ),
            links_refused: counters(
                &registry,
                "control_links_refused_total",
                "Control connections that were refused or cut.",
                &["reason"],
            ),
            requests_refused: {
                let (name, help) =
                    ("control_requests_refused_total", "Requests that no worker had room for.");
                let counter = IntCounter::with_opts(opts(name, help)).expect(VALID);
                register(&registry, counter)
            },
            registry,
        }
    }

    /// For the operations listener.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    pub fn worker(&self, index: u16) -> WorkerMetrics {
        let worker = &*index.to_string();
        let dropped = |reason| self.dropped.with_label_values(&[worker, reason]);
        WorkerMetrics {
            udp_packets_received: self.packets_received.with_label_values(&[worker, "udp"]),
            udp_bytes_received: self.bytes_received.with_label_values(&[worker, "udp"]),
            udp_packets_sent: self.packets_sent.with_label_values(&[worker, "udp"]),
            udp_bytes_sent: self.bytes_sent.with_label_values(&[worker, "udp"]),
            tcp_packets_received: self.packets_received.with_label_values(&[worker, "tcp"]),
            tcp_bytes_received: self.bytes_received.with_label_values(&[worker, "tcp"]),
            tcp_packets_sent: self.packets_sent.with_label_values(&[worker, "tcp"]),
            tcp_bytes_sent: self.bytes_sent.with_label_values(&[worker, "tcp"]),
            messages_sent: self.messages_sent.with_label_values(&[worker]),
            groups_refused: self.groups_refused.with_label_values(&[worker]),
            dropped_too_long: dropped("too_long"),
            dropped_send_queue: dropped("send_queue"),
            dropped_send_error: dropped("send_error"),
            dropped_no_socket: dropped("no_socket"),
            dropped_tcp_video: dropped("tcp_video"),
            dropped_tcp_audio: dropped("tcp_audio"),
            dropped_notifications: dropped("notification_queue"),
            delayed_notifications: dropped("notification_superseded"),
            dropped_by_worker: drops(&Dropped::default()).map(|(reason, _)| dropped(reason)),
            forwarded: self.forwarded.with_label_values(&[worker]),
            session_panics: self.session_panics.with_label_values(&[worker]),
            tcp_connections: self.tcp_connections.with_label_values(&[worker]),
            panics: self.panics.with_label_values(&[worker]),
            restarts: self.restarts.with_label_values(&[worker]),
        }
    }
}

/// The counters of one worker, looked up once.
#[derive(Clone)]
pub struct WorkerMetrics {
    pub(crate) udp_packets_received: IntCounter,
    pub(crate) udp_bytes_received: IntCounter,
    pub(crate) udp_packets_sent: IntCounter,
    pub(crate) udp_bytes_sent: IntCounter,
    pub(crate) tcp_packets_received: IntCounter,
    pub(crate) tcp_bytes_received: IntCounter,
    pub(crate) tcp_packets_sent: IntCounter,
    pub(crate) tcp_bytes_sent: IntCounter,
    pub(crate) messages_sent: IntCounter,
    pub(crate) groups_refused: IntCounter,
    pub(crate) dropped_too_long: IntCounter,
    pub(crate) dropped_send_queue: IntCounter,
    pub(crate) dropped_send_error: IntCounter,
    pub(crate) dropped_no_socket: IntCounter,
    pub(crate) dropped_tcp_video: IntCounter,
    pub(crate) dropped_tcp_audio: IntCounter,
    pub(crate) dropped_notifications: IntCounter,
    pub(crate) delayed_notifications: IntCounter,
    /// In the order of [`drops`].
    dropped_by_worker: [IntCounter; DROPS],
    pub(crate) forwarded: IntCounter,
    session_panics: IntCounter,
    pub(crate) tcp_connections: IntGauge,
    pub(crate) panics: IntCounter,
    pub(crate) restarts: IntCounter,
}

impl WorkerMetrics {
    /// Adds what the worker counted between two looks. A worker that was replaced starts at zero.
    pub(crate) fn record(&self, before: &WorkerStats, after: &WorkerStats) {
        let rise = |before: u64, after: u64| after.checked_sub(before).unwrap_or(after);
        self.forwarded.inc_by(rise(before.forwarded, after.forwarded));
        self.session_panics.inc_by(rise(before.panics, after.panics));
        let (before, after) = (drops(&before.dropped), drops(&after.dropped));
        for (counter, ((_, before), (_, after))) in
            self.dropped_by_worker.iter().zip(before.into_iter().zip(after))
        {
            counter.inc_by(rise(before, after));
        }
    }
}

const DROPS: usize = 14;

/// What a worker drops, by the label it has here.
fn drops(dropped: &Dropped) -> [(&'static str, u64); DROPS] {
    let Dropped {
        unknown_kind,
        unknown_source,
        stun_unknown,
        stun_forged,
        address_refused,
        ssrc_refused,
        rtp_refused,
        rtcp_refused,
        not_ours,
        malformed,
        paused,
        payload_malformed,
        without_consent,
        output_full,
    } = *dropped;
    [
        ("unknown_kind", unknown_kind),
        ("unknown_source", unknown_source),
        ("stun_unknown", stun_unknown),
        ("stun_forged", stun_forged),
        ("address_refused", address_refused),
        ("ssrc_refused", ssrc_refused),
        ("rtp_refused", rtp_refused),
        ("rtcp_refused", rtcp_refused),
        ("not_ours", not_ours),
        ("malformed", malformed),
        ("paused", paused),
        ("payload_malformed", payload_malformed),
        ("without_consent", without_consent),
        ("output_full", output_full),
    ]
}

const VALID: &str = "names and labels in this file are valid and used once";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("broletto").subsystem("sfu")
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect(VALID);
    collector
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels).expect(VALID))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts(name, help), labels).expect(VALID))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(opts(name, help)).expect(VALID))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_count_and_in_which_unit() {
        let metrics = Metrics::new();
        metrics.worker(3).udp_packets_sent.inc_by(2);
        let families = metrics.gather();
        let names: Vec<_> = families.iter().map(|family| family.name().to_owned()).collect();
        assert!(names.iter().all(|name| name.starts_with("broletto_sfu_")), "{names:?}");
        for family in &families {
            let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(family.name().ends_with("_total"), is_counter, "{}", family.name());
        }
        let text = prometheus::TextEncoder::new().encode_to_string(&families).expect("it can be written");
        assert!(text.contains(r#"broletto_sfu_packets_sent_total{protocol="udp",worker="3"} 2"#), "{text}");
    }

    #[test]
    fn what_a_worker_dropped_is_added_up_over_its_replacement() {
        let worker = Metrics::new().worker(0);
        let stats = |forwarded, paused| WorkerStats {
            forwarded,
            dropped: Dropped { paused, ..Dropped::default() },
            ..WorkerStats::default()
        };
        worker.record(&stats(0, 0), &stats(5, 2));
        worker.record(&stats(5, 2), &stats(6, 2));
        worker.record(&stats(6, 2), &stats(1, 1));
        assert_eq!(worker.forwarded.get(), 7);
        let paused = drops(&Dropped::default()).iter().position(|(reason, _)| *reason == "paused");
        assert_eq!(worker.dropped_by_worker[paused.expect("it is counted")].get(), 3);
    }
}
