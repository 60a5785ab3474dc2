//! M6, with a panic that is asked for; compiled into the crate, where it can ask.

use broletto_control::{CloseReason, Notification};

use crate::common::{Plan, World};

#[test]
fn m6_a_panic_in_one_session_ends_that_session_only() {
    let mut world = World::new();
    let peers: Vec<usize> = (0..3).map(|_| world.join(Plan::default())).collect();
    // Until the pictures have climbed to their layers, whose first key frames take their time.
    world.run_ms(6_000);
    let failing = world.peers[peers[1]].transport;
    world.worker.panic_at_next_packet(failing);
    world.peers[peers[0]].forget_received();
    world.peers[peers[2]].forget_received();
    world.run_ms(3_000);

    assert_eq!(world.worker.stats().panics, 1);
    let closed = world.notified(|notification| matches!(notification, Notification::TransportClosed { .. }));
    assert_eq!(closed.len(), 1, "{closed:?}");
    let Notification::TransportClosed { transport, reason: CloseReason::Failed { .. } } = &closed[0].1 else {
        panic!("{closed:?}");
    };
    assert_eq!(*transport, failing);
    for peer in [peers[0], peers[2]] {
        let other = if peer == peers[0] { peers[2] } else { peers[0] } as u16;
        let slots = (0..2).map(|slot| world.peers[peer].received(false, slot));
        let slot = slots.into_iter().find(|slot| slot.publishers() == [other]).expect("the other goes on");
        let (shown, broken) = slot.shown();
        assert!(shown.len() > 60 && broken == 0, "{} shown, {broken} broken", shown.len());
        assert!(slot.gap_max().as_millis() < 200, "{:?}", slot.gap_max());
    }
}
