use proptest::prelude::*;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn feedback(base: u16, arrivals: Vec<Option<i64>>) -> TransportFeedback {
    TransportFeedback { sender_ssrc: 1, media_ssrc: 2, count: 0, base, arrivals }
}

/// Sends 1,000 bytes every 10 ms, all of which are said to arrive at once, and says so every 50 ms.
/// Returns the end.
fn flatter(estimator: &mut Estimator, start: Instant, seconds: u64, probe: bool) -> Instant {
    let (mut number, mut now, mut arrivals) = (0u64, start, Vec::new());
    let mut base = 0;
    while now < start + Duration::from_secs(seconds) {
        let cluster = estimator.poll_probe(now).filter(|_| probe);
        let mut send = |estimator: &mut Estimator, bytes, kind, cluster, now: Instant| {
            estimator.note_sent(number, bytes, kind, cluster, now);
            arrivals.push(Some((now - start).as_micros() as i64));
            number += 1;
        };
        if let Some(probe) = cluster {
            for nth in 0..10u32 {
                let at = now + MILLISECOND * nth;
                send(estimator, probe.bytes / 10 + 1, Kind::Padding, Some(probe.cluster), at);
            }
        }
        now += 10 * MILLISECOND;
        send(estimator, 1_000, Kind::Media, None, now);
        if (now - start).as_millis().is_multiple_of(50) {
            let told = feedback(base as u16, std::mem::take(&mut arrivals));
            base += told.arrivals.len() as u64;
            estimator.handle_feedback(&told, now);
        }
    }
    now
}

#[test]
fn m7_flattery_gains_no_more_than_what_is_useful() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config::default(), start);
    estimator.set_useful(2_000_000);
    flatter(&mut estimator, start, 60, true);
    assert_eq!(estimator.estimate_bps(), 2_000_000);
    assert_eq!(estimator.poll_probe(start + Duration::from_secs(61)), None);
}

#[test]
fn who_sends_little_proves_little() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config { start_bps: 2_000_000, ..Config::default() }, start);
    estimator.set_useful(5_000_000);
    let end = flatter(&mut estimator, start, 60, false);
    assert_eq!(estimator.estimate_bps(), 2_000_000);
    let state = estimator.state(end);
    assert_eq!(state.limited_by, LimitedBy::Application);
    assert!((750_000..850_000).contains(&state.acknowledged_bps), "{state:?}");
    assert_eq!((state.queue, state.loss), (Duration::ZERO, 0.0));
}

#[test]
fn silence_lowers_the_estimate_step_by_step_to_the_smallest_picture() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config::default(), start);
    assert_eq!(estimator.poll_timeout(), None);
    let end = flatter(&mut estimator, start, 2, false);
    estimator.note_sent(10_000, 1_000, Kind::Media, None, end);
    let mut before = estimator.estimate_bps();
    for _ in 0..10 {
        let due = estimator.poll_timeout().unwrap();
        estimator.handle_timeout(due);
        assert!(estimator.estimate_bps() <= before);
        assert!(estimator.poll_timeout().unwrap() > due, "no busy loop");
        before = estimator.estimate_bps();
    }
    assert_eq!(before, Config::default().floor_bps);
}

#[test]
fn without_feedback_receiver_reports_count() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config::default(), start);
    estimator.handle_loss_report(0.5, Some(80 * MILLISECOND), start);
    assert_eq!(estimator.estimate_bps(), 750_000);
    assert_eq!(estimator.rtt(), Some(80 * MILLISECOND));
    estimator.handle_loss_report(f32::NAN, None, start);
    estimator.handle_loss_report(9.0, None, start);
    assert_eq!(estimator.estimate_bps(), 375_000);
    let end = flatter(&mut estimator, start, 2, false);
    let before = estimator.estimate_bps();
    estimator.handle_loss_report(0.9, None, end);
    assert_eq!(estimator.estimate_bps(), before, "feedback tells more");
}

#[test]
fn a_clock_that_jumps_or_wraps_is_no_queue() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config::default(), start);
    let mut jumps = 0;
    for n in 0..400u64 {
        let now = start + MILLISECOND * 20 * n as u32;
        estimator.note_sent(n, 1_000, Kind::Media, None, now);
        let clock = match n {
            0..200 => ARRIVAL_WRAP_US - 1_000_000 + n as i64 * 20_000,
            200.. => 77_000_000 + n as i64 * 20_000,
        };
        let told = feedback(n as u16, vec![Some(clock.rem_euclid(ARRIVAL_WRAP_US))]);
        jumps += u32::from(estimator.handle_feedback(&told, now + 30 * MILLISECOND).clock_jumped);
        assert!(estimator.state(now).queue < MILLISECOND);
    }
    assert_eq!(jumps, 1, "the jump, and not the wrap");
    assert!(estimator.estimate_bps() >= 1_000_000);
}

#[test]
fn what_cannot_be_is_counted_and_does_nothing() {
    let start = Instant::now();
    let mut estimator = Estimator::new(Config::default(), start);
    assert_eq!(estimator.handle_feedback(&feedback(5, vec![None; 3]), start).unknown, 3);
    (100..110).for_each(|number| estimator.note_sent(number, 1_000, Kind::Media, None, start));
    let mut told = |base, arrivals| estimator.handle_feedback(&feedback(base, arrivals), start + MILLISECOND);
    let outcome = told(98, vec![Some(1), Some(1), Some(1), None, Some(2)]);
    assert_eq!((outcome.unknown, outcome.arrived, outcome.lost), (2, 2, 1));
    let outcome = told(100, vec![Some(9), Some(9), None]);
    assert_eq!((outcome.repeated, outcome.arrived, outcome.late), (2, 1, 1));
    let outcome = told(108, vec![Some(3); 5]);
    assert_eq!((outcome.arrived, outcome.unknown), (2, 3));
    assert_eq!(told(20_000, vec![Some(3); 5]).unknown, 5);
}

proptest! {
    #[test]
    fn m7_nothing_that_is_said_leads_beyond_the_bounds(
        messages in prop::collection::vec(
            (any::<u16>(), prop::collection::vec(prop::option::of(any::<i64>()), 0..40), any::<bool>()),
            1..60,
        ),
    ) {
        let start = Instant::now();
        let config = Config::default();
        let mut estimator = Estimator::new(config, start);
        estimator.set_useful(2_000_000);
        let mut number = 65_500;
        for (nth, (base, arrivals, near)) in messages.into_iter().enumerate() {
            let now = start + MILLISECOND * 20 * nth as u32;
            let cluster = estimator.poll_probe(now).map(|probe| probe.cluster);
            for _ in 0..10 {
                estimator.note_sent(number, 1_000, Kind::Media, cluster, now);
                number += 1;
            }
            let base = if near { (number - 20) as u16 } else { base };
            estimator.handle_feedback(&feedback(base, arrivals), now);
            estimator.handle_timeout(now);
            let state = estimator.state(now);
            prop_assert!((config.min_bps..=2_000_000).contains(&state.estimate_bps));
            prop_assert!((0.0..=1.0).contains(&state.loss));
        }
    }
}
