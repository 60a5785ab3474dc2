//! Counters of the signaling half. No label carries a name, an address or an id, so their number
//! is bounded.

use broletto_protocol::server::ErrorCode;
use broletto_signaling_core::{Event, Leave, LobbyStep, Moderation, Refusal, RoomEnd, Totals};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tracing::{debug, warn};

pub struct Metrics {
    registry: Registry,
    pub saves_failed: IntCounter,
    pub saves_dropped: IntCounter,
    pub clients_overflowed: IntCounter,
    pub node_requests_dropped: IntCounter,
    pub node_links_lost: IntCounter,
    pub origins_refused: IntCounter,
    pub sessions_refused: IntCounter,
    rooms_created: IntCounter,
    rooms_ended: IntCounterVec,
    participants_joined: IntCounter,
    participants_resumed: IntCounter,
    participants_left: IntCounterVec,
    lobby: IntCounterVec,
    moderated: IntCounterVec,
    refused: IntCounterVec,
    client_errors: IntCounterVec,
    node_errors: IntCounter,
    node_frames_stale: IntCounter,
    connections: IntGauge,
    rooms: IntGauge,
    rooms_live: IntGauge,
    participants: IntGauge,
    waiting: IntGauge,
    node_connected: IntGauge,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name, help| registered(&registry, IntCounter::new(name, help));
        let counters =
            |name, help, label| registered(&registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        let gauge = |name, help| registered(&registry, IntGauge::new(name, help));
        Metrics {
            saves_failed: counter("broletto_saves_failed_total", "Transactions of live state that failed."),
            saves_dropped: counter(
                "broletto_saves_dropped_total",
                "Changes of live state given up because too many waited for the database.",
            ),
            clients_overflowed: counter(
                "broletto_clients_overflowed_total",
                "Sessions closed because the client read too slowly.",
            ),
            node_requests_dropped: counter(
                "broletto_node_requests_dropped_total",
                "Requests to the node dropped because too many waited.",
            ),
            node_links_lost: counter("broletto_node_links_lost_total", "Connections to the node that broke."),
            origins_refused: counter(
                "broletto_origins_refused_total",
                "Requests and sessions refused for their Origin.",
            ),
            sessions_refused: counter(
                "broletto_sessions_refused_total",
                "Sessions refused because too many were open.",
            ),
            rooms_created: counter("broletto_rooms_created_total", "Rooms made."),
            rooms_ended: counters("broletto_rooms_ended_total", "Rooms ended.", "how"),
            participants_joined: counter("broletto_participants_joined_total", "Participants who joined."),
            participants_resumed: counter(
                "broletto_participants_resumed_total",
                "Participants who resumed on a new WebSocket.",
            ),
            participants_left: counters("broletto_participants_left_total", "Participants who left.", "how"),
            lobby: counters("broletto_lobby_total", "People who came to a lobby or left it.", "step"),
            moderated: counters("broletto_moderated_total", "Changes that moderators made.", "what"),
            refused: counters("broletto_refused_total", "Joins, resumes and requests refused.", "why"),
            client_errors: counters(
                "broletto_client_errors_total",
                "Messages of clients answered by an error.",
                "code",
            ),
            node_errors: counter("broletto_node_errors_total", "Requests that the node refused."),
            node_frames_stale: counter(
                "broletto_node_frames_stale_total",
                "Frames of the node that fitted nothing known any more.",
            ),
            connections: gauge("broletto_sessions", "WebSockets of clients."),
            rooms: gauge("broletto_rooms", "Rooms."),
            rooms_live: gauge("broletto_rooms_live", "Rooms with somebody in them."),
            participants: gauge("broletto_participants", "Participants."),
            waiting: gauge("broletto_waiting", "People in lobbies."),
            node_connected: gauge("broletto_node_connected", "1 while the node is reached."),
            registry,
        }
    }

    /// Counts what happened, and logs what an operator should know.
    pub fn event(&self, event: &Event) {
        match event {
            Event::RoomCreated => self.rooms_created.inc(),
            Event::RoomEnded { how } => self.rooms_ended.with_label_values(&[room_end(*how)]).inc(),
            Event::ParticipantJoined => self.participants_joined.inc(),
            Event::ParticipantResumed => self.participants_resumed.inc(),
            Event::ParticipantLeft { how } => {
                self.participants_left.with_label_values(&[leave(*how)]).inc();
            }
            Event::Lobby { step } => self.lobby.with_label_values(&[lobby_step(*step)]).inc(),
            Event::Moderated { what } => self.moderated.with_label_values(&[moderation(*what)]).inc(),
            Event::Refused { why } => self.refused.with_label_values(&[refusal(*why)]).inc(),
            Event::ClientError { code, message } => {
                self.client_errors.with_label_values(&[error_code(*code)]).inc();
                debug!(code = error_code(*code), message, "a client's message was refused");
            }
            Event::NodeError { message } => {
                self.node_errors.inc();
                warn!(%message, "the node refused a request");
            }
            Event::NodeFrameStale => self.node_frames_stale.inc(),
            // The media plane counts these itself.
            Event::TransportStats { .. } => {}
        }
    }

    pub fn gather(&self, totals: Totals) -> Vec<MetricFamily> {
        let gauges = [
            (&self.connections, totals.connections),
            (&self.rooms, totals.rooms),
            (&self.rooms_live, totals.rooms_live),
            (&self.participants, totals.participants),
            (&self.waiting, totals.waiting),
            (&self.node_connected, totals.node_connected.into()),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.registry.gather()
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the name is a metric's name");
    registry.register(Box::new(collector.clone())).expect("every name is registered once");
    collector
}

fn room_end(how: RoomEnd) -> &'static str {
    match how {
        RoomEnd::ByModerator => "moderator",
        RoomEnd::Unused => "unused",
    }
}

fn leave(how: Leave) -> &'static str {
    match how {
        Leave::Asked => "asked",
        Leave::ResumeTimedOut => "resume_timed_out",
        Leave::Removed => "removed",
        Leave::MediaLost => "media_lost",
        Leave::RoomEnded => "room_ended",
    }
}

fn lobby_step(step: LobbyStep) -> &'static str {
    match step {
        LobbyStep::Came => "came",
        LobbyStep::Admitted => "admitted",
        LobbyStep::Refused => "refused",
        LobbyStep::Left => "left",
    }
}

fn moderation(what: Moderation) -> &'static str {
    match what {
        Moderation::Mute => "mute",
        Moderation::Remove => "remove",
        Moderation::SetRole => "set_role",
        Moderation::Spotlight => "spotlight",
        Moderation::SetRoom => "set_room",
    }
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::NotAdmitted => "not_admitted",
        Refusal::Token => "token",
        Refusal::TooManyFailures => "too_many_failures",
        Refusal::RoomFull => "room_full",
        Refusal::LobbyFull => "lobby_full",
        Refusal::NotResumable => "not_resumable",
        Refusal::Connections => "connections",
        Refusal::RoomQuota => "room_quota",
        Refusal::RoomRate => "room_rate",
    }
}

fn error_code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Malformed => "malformed",
        ErrorCode::Version => "version",
        ErrorCode::State => "state",
        ErrorCode::NotAdmitted => "not_admitted",
        ErrorCode::NotResumable => "not_resumable",
        ErrorCode::Forbidden => "forbidden",
        ErrorCode::Invalid => "invalid",
        ErrorCode::Limit => "limit",
        ErrorCode::Unavailable => "unavailable",
        ErrorCode::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_under_their_words() {
        let metrics = Metrics::new();
        metrics.event(&Event::RoomCreated);
        metrics.event(&Event::Refused { why: Refusal::Token });
        metrics.event(&Event::Refused { why: Refusal::Token });
        metrics.event(&Event::Lobby { step: LobbyStep::Admitted });
        metrics.event(&Event::Moderated { what: Moderation::SetRole });
        let families = metrics.gather(Totals { rooms: 7, node_connected: true, ..Totals::default() });
        let text = prometheus::TextEncoder::new().encode_to_string(&families).expect("written");
        for line in [
            "broletto_rooms_created_total 1",
            "broletto_refused_total{why=\"token\"} 2",
            "broletto_lobby_total{step=\"admitted\"} 1",
            "broletto_moderated_total{what=\"set_role\"} 1",
            "broletto_rooms 7",
            "broletto_node_connected 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
