//! Two browsers join and see and hear each other.

mod common;

use broletto_control::{Codec, Notification, TransportState};
use common::{Camera, Plan, World};

#[test]
fn two_peers_exchange_audio_and_video() {
    for codec in [Codec::Vp8, Codec::H264] {
        let mut world = World::new();
        let plan = Plan { camera: Some(Camera::simulcast(codec)), ..Plan::default() };
        let a = world.join(plan.clone());
        let b = world.join(plan);
        world.run_ms(5_000);

        for (peer, other) in [(a, b), (b, a)] {
            assert!(world.peers[peer].connected, "{codec:?}");
            let audio = world.peers[peer].received(true, 0);
            assert!(audio.packets() > 200, "{codec:?}: {} audio packets", audio.packets());
            assert_eq!(audio.publishers(), [other as u16]);
            let video = world.peers[peer].received(false, 0);
            let (shown, broken) = video.shown();
            assert!(shown.len() > 90, "{codec:?}: {} frames shown, {broken} broken", shown.len());
            assert_eq!((broken, video.missing(world.now)), (0, 0), "{codec:?}");
            assert_eq!(video.publishers(), [other as u16]);
        }
        let connected = world.notified(|notification| {
            matches!(notification, Notification::TransportState { state: TransportState::Connected, .. })
        });
        assert_eq!(connected.len(), 2);
        assert_eq!(world.worker.stats().dropped.unknown_source, 0);
    }
}
