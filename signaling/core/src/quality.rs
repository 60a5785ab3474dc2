//! How well a participant's network carries the meeting, out of what the node measures.

use std::time::Duration;

use broletto_control::{TransportId, TransportStats};
use broletto_protocol::Quality;
use broletto_protocol::server::{ParticipantQuality, ServerMessage};

use crate::conference::Timer;
use crate::limiter::Turn;
use crate::{Conference, Now};

/// A room is told no more often.
const TOLD_INTERVAL: Duration = Duration::from_secs(3);

/// From where on a measure is bad. Loss is a share of packets before any of them is repaired.
struct Bounds {
    loss: f32,
    rtt_ms: f32,
    estimate_bps: f32,
}

// A voice goes half a round trip to the server and, where the others are alike, another half to
// them. ITU-T G.114 finds up to 150 ms from mouth to ear undisturbed and 400 ms the most that is
// acceptable; to the round trip come some 100 ms in buffers and devices.

/// Pictures suffer: repairs come late for them, or there is no place for the picture of a camera
/// (640×360) beside the voices.
const FAIR: Bounds = Bounds { loss: 0.03, rtt_ms: 250.0, estimate_bps: 350_000.0 };
/// Voices suffer: more is lost than concealment covers, or there is hardly place for one voice with
/// its headers.
const POOR: Bounds = Bounds { loss: 0.10, rtt_ms: 500.0, estimate_bps: 80_000.0 };

/// What is better must stay below this share of the bounds, so that a network at a bound does not
/// go to and fro.
const BETTER_SHARE: f32 = 0.7;
/// Measures in a row (the node sends one each 2 s) before it is taken to be worse, and better.
const WORSE_AFTER: u8 = 2;
const BETTER_AFTER: u8 = 5;

impl Bounds {
    /// The worst of the measures as a share of its bound, 1 at the bound:
    /// `max(loss / loss_bound, rtt / rtt_bound, estimate_bound / estimate)`.
    fn strain(&self, sample: &Sample) -> f32 {
        let loss = sample.loss / self.loss;
        let rtt = sample.rtt_ms / self.rtt_ms;
        let rate = sample.estimate_bps.map_or(0.0, |bps| self.estimate_bps / bps.max(1.0));
        loss.max(rtt).max(rate)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Of the worse direction, 0 to 1.
    loss: f32,
    rtt_ms: f32,
    estimate_bps: Option<f32>,
}

impl Sample {
    /// None: nothing was measured yet.
    pub(crate) fn of(stats: &TransportStats) -> Option<Sample> {
        let TransportStats { estimate_bps, rtt_ms, loss_out, loss_in, .. } = stats;
        if rtt_ms.is_none() && loss_out.is_none() && loss_in.is_none() {
            return None;
        }
        let loss = loss_in.unwrap_or(0.0).max(loss_out.unwrap_or(0.0));
        Some(Sample { loss, rtt_ms: rtt_ms.unwrap_or(0.0), estimate_bps: estimate_bps.map(|bps| bps as f32) })
    }

    /// With bounds that are multiplied by `share`.
    fn grade(&self, share: f32) -> Quality {
        if POOR.strain(self) >= share {
            Quality::Poor
        } else if FAIR.strain(self) >= share {
            Quality::Fair
        } else {
            Quality::Good
        }
    }
}

/// Judges one transport's measures, with inertia.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    quality: Option<Quality>,
    /// Where the last measures point to, in a row: the nearest to the present that all of them mean.
    tendency: Option<(Quality, u8)>,
}

impl Meter {
    pub(crate) fn quality(&self) -> Option<Quality> {
        self.quality
    }

    pub(crate) fn measure(&mut self, sample: &Sample) {
        let (worst, best) = (sample.grade(1.0), sample.grade(BETTER_SHARE));
        let Some(present) = self.quality else {
            self.quality = Some(worst);
            return;
        };
        // `Quality` is ordered from good to poor, and the stricter grade is never the better.
        let (points_to, after) = if present < worst {
            (worst, WORSE_AFTER)
        } else if present > best {
            (best, BETTER_AFTER)
        } else {
            self.tendency = None;
            return;
        };
        let same_way = |(other, _): &(Quality, u8)| (*other > present) == (points_to > present);
        let (points_to, count) = match self.tendency.filter(same_way) {
            Some((other, count)) if points_to > present => (points_to.min(other), count + 1),
            Some((other, count)) => (points_to.max(other), count + 1),
            None => (points_to, 1),
        };
        self.tendency = (count < after).then_some((points_to, count));
        if count >= after {
            self.quality = Some(points_to);
        }
    }
}

impl Conference {
    pub(crate) fn quality_measured(&mut self, transport: TransportId, stats: &TransportStats, now: Now) {
        let Some(sample) = Sample::of(stats) else { return };
        let Some(seat) = self.transports.get(&transport).cloned() else { return };
        let Some(participant) = self.participant(&seat) else { return };
        if participant.media.as_ref().is_none_or(|media| media.transport != transport) {
            return;
        }
        participant.meter.measure(&sample);
        if participant.meter.quality() == participant.quality {
            return;
        }
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        match room.quality_pace.ask(TOLD_INTERVAL, now.instant) {
            Turn::Now => self.tell_qualities(&seat.room),
            Turn::At(at) => {
                self.timers.insert((at, Timer::Quality(seat.room)));
            }
            Turn::Awaited => {}
        }
    }

    pub(crate) fn quality_due(&mut self, room: &str, now: Now) {
        if let Some(home) = self.rooms.get_mut(room) {
            home.quality_pace.passed(TOLD_INTERVAL, now.instant);
            self.tell_qualities(room);
        }
    }

    /// The roster says what was told, so that all have the same.
    fn tell_qualities(&mut self, room: &str) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let mut qualities = Vec::new();
        for participant in room.participants.values_mut() {
            let measured = participant.meter.quality();
            if let (Some(quality), true) = (measured, measured != participant.quality) {
                participant.quality = measured;
                qualities.push(ParticipantQuality { participant: participant.public_id(), quality });
            }
        }
        if !qualities.is_empty() {
            self.out.broadcast(room, None, &ServerMessage::Quality { qualities });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Quality::*;

    fn sample(loss: f32, rtt_ms: f32, estimate_kbps: f32) -> Sample {
        Sample { loss, rtt_ms, estimate_bps: Some(estimate_kbps * 1_000.0) }
    }

    #[test]
    fn the_worst_measure_decides() {
        for (loss, rtt_ms, estimate_kbps, quality) in [
            (0.0, 0.0, 1_000.0, Good),
            (0.02, 200.0, 400.0, Good),
            (0.03, 0.0, 1_000.0, Fair),
            (0.0, 250.0, 1_000.0, Fair),
            (0.0, 0.0, 350.0, Fair),
            (0.09, 490.0, 90.0, Fair),
            (0.10, 0.0, 1_000.0, Poor),
            (0.0, 500.0, 1_000.0, Poor),
            (0.0, 0.0, 80.0, Poor),
            (0.0, 0.0, 0.0, Poor),
            (1.0, 10_000.0, 0.0, Poor),
        ] {
            let graded = sample(loss, rtt_ms, estimate_kbps).grade(1.0);
            assert_eq!(graded, quality, "{loss} {rtt_ms} {estimate_kbps}");
        }
        let unknown = Sample { loss: 0.0, rtt_ms: 20.0, estimate_bps: None };
        assert_eq!(unknown.grade(1.0), Good);
    }

    #[test]
    fn both_directions_count_and_nothing_is_made_of_nothing() {
        assert_eq!(Sample::of(&TransportStats::default()), None);
        for (loss_in, loss_out) in [(Some(0.2), Some(0.01)), (Some(0.01), Some(0.2)), (None, Some(0.2))] {
            let stats = TransportStats { loss_in, loss_out, ..TransportStats::default() };
            assert_eq!(Sample::of(&stats).map(|sample| sample.loss), Some(0.2));
        }
    }

    #[test]
    fn it_worsens_in_4_s_and_betters_in_10_s_and_keeps_still_at_a_bound() {
        let (good, fair, poor) = (0.0, 0.05, 0.2);
        // Below the bound of fair, but not by enough to be called good again.
        let close = 0.025;
        for (losses, expected) in [
            (&[poor][..], &[Poor][..]),
            (&[good, fair, fair], &[Good, Good, Fair]),
            (&[good, fair, good, fair, good], &[Good; 5]),
            // The milder of two in a row.
            (&[good, poor, fair], &[Good, Good, Fair]),
            (&[good, fair, poor, poor, poor], &[Good, Good, Fair, Fair, Poor]),
            (&[fair, close, close, close, close, close, close], &[Fair; 7]),
            (&[good, close, close, close], &[Good; 4]),
            (&[fair, good, good, good, good, good], &[Fair, Fair, Fair, Fair, Fair, Good]),
            (&[fair, good, good, good, good, close, good], &[Fair; 7]),
            // As good as the worst of the five.
            (&[poor, good, good, fair, good, good, good], &[Poor, Poor, Poor, Poor, Poor, Fair, Fair]),
        ] {
            let mut meter = Meter::default();
            let told: Vec<_> = losses
                .iter()
                .map(|loss| {
                    meter.measure(&sample(*loss, 50.0, 2_000.0));
                    meter.quality().expect("known after the first")
                })
                .collect();
            assert_eq!(told, expected, "{losses:?}");
        }
    }
}
