//! What is decided for each packet and each consumer: its numbers, and which layers are sent.
#![allow(clippy::disallowed_methods)] // Any start will do: only differences count.

use std::hint::black_box;
use std::time::{Duration, Instant};

use broletto_control::{Content, VideoSize};
use broletto_sfu_core::allocator::{self, Demand, Encoding};
use broletto_sfu_core::codec::PacketInfo;
use broletto_sfu_core::codec::ids::{Ids, PictureId, Tl0PicIdx};
use broletto_sfu_core::packet::IncomingPacket;
use broletto_sfu_core::rewriter::Rewriter;
use broletto_sfu_core::selector::Layer;

fn main() {
    divan::main();
}

/// A packet of VP8 in a stream at 240 packets a second.
#[divan::bench]
fn rewrite(bencher: divan::Bencher) {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 1, 1);
    let packet = |number: u64| {
        let picture = (number / 8) as u16;
        let picture_id = Some(PictureId { value: picture & 0x7fff, long: true, offset: 2 });
        let tl0_pic_idx = Some(Tl0PicIdx { value: picture as u8, offset: 4 });
        let info = PacketInfo { vp8: Some(Ids { picture_id, tl0_pic_idx }), ..PacketInfo::default() };
        IncomingPacket { encoding: 0, sequence_number: number, timestamp: (number / 8) as u32 * 3_000, info }
    };
    rewriter.start(&packet(8), start);
    let mut number = 8;
    bencher.bench_local(|| {
        number += 1;
        let at = start + Duration::from_millis(number / 8 * 33);
        rewriter.rewrite(black_box(&packet(number)), at).is_ok()
    });
}

/// Nine cameras with three sizes each, for one who sees all of them over so many bits a second.
#[divan::bench(args = [500_000, 3_000_000, 20_000_000])]
fn allocate(bencher: divan::Bencher, estimate_bps: u64) {
    let encodings = [(320, 180, 150_000), (640, 360, 500_000), (1_280, 720, 1_500_000)];
    let encodings = encodings.map(|(width, height, bitrate_bps)| (VideoSize { width, height }, bitrate_bps));
    let encodings: Vec<Encoding> = (0..)
        .zip(encodings)
        .map(|(index, (size, bitrate_bps))| Encoding {
            index,
            spatial: Layer::SPATIAL_MAX,
            size: Some(size),
            bitrate_bps: Some(bitrate_bps),
            temporal_layers: 3,
        })
        .collect();
    let demand = Demand {
        content: Content::Camera,
        tile: Some(VideoSize { width: 640, height: 360 }),
        encodings: &encodings,
        current: None,
        may_climb: true,
    };
    let demands = [demand; 9];
    bencher.bench_local(|| allocator::allocate(Some(estimate_bps), black_box(&demands)));
}
