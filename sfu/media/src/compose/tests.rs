//! Tiles in one picture, and through the codec.

use super::*;

const GREY: Color = Color { y: 128, u: 128, v: 128 };
const HD: Size = Size::new(1280, 720);

/// A ball that moves over a slope.
fn camera(size: Size, at: usize) -> Picture {
    let mut picture = Picture::new(size, GREY).expect("its sides are even");
    let whole = picture.whole();
    let (ball_x, ball_y, radius) =
        (size.width / 4 + at * 4 % (size.width / 2), size.height / 2, size.height / 6);
    for (y, line) in picture.lines_mut(0, whole).enumerate() {
        for (x, byte) in line.iter_mut().enumerate() {
            let (dx, dy) = (x.abs_diff(ball_x), y.abs_diff(ball_y));
            let ball = dx * dx + dy * dy < radius * radius;
            *byte = if ball { 210 } else { (40 + 100 * x / size.width + 40 * y / size.height) as u8 };
        }
    }
    picture
}

fn tile<'a>(key: u64, picture: &'a Picture, name: &'a str) -> Tile<'a> {
    Tile { key, revision: 0, picture: Some(picture.as_ref()), name, speaking: false, fit: Fit::Camera }
}

fn part(picture: &Picture, place: Place) -> Vec<u8> {
    let width = picture.size().width;
    (place.y..place.y + place.height)
        .flat_map(|y| picture.plane(0)[y * width + place.x..][..place.width].to_vec())
        .collect()
}

/// In dB.
fn likeness(a: &Picture, b: &Picture) -> f64 {
    let (a, b) = (a.plane(0), b.plane(0));
    let error: f64 =
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum::<f64>() / a.len() as f64;
    10.0 * (255.0_f64.powi(2) / error.max(1e-9)).log10()
}

#[test]
fn one_alone_has_the_whole_picture() {
    let camera = camera(HD, 0);
    let mut composer = Composer::new(HD).expect("its sides are even");
    let canvas = composer.compose(Layout::Speaker, &[tile(1, &camera, "")]);
    assert_eq!(*canvas, camera);
}

#[test]
fn each_is_in_its_place_with_a_name() {
    let (ada, bob) = (camera(HD, 0), camera(Size::new(640, 360), 40));
    let mut composer = Composer::new(HD).expect("its sides are even");
    let named = [tile(1, &ada, "Ada Lovelace"), tile(2, &bob, "Bob")];
    let with = composer.compose(Layout::Grid, &named).clone();
    let without = Composer::new(HD)
        .expect("its sides are even")
        .compose(Layout::Grid, &[tile(1, &ada, ""), tile(2, &bob, "")])
        .clone();
    for place in arrange(HD, Layout::Grid, 2) {
        let quarter = (place.height / 2) & !1;
        let upper = Place { height: quarter, ..place };
        let lower = Place { y: place.y + quarter, height: place.height - quarter, ..place };
        assert_eq!(part(&with, upper), part(&without, upper));
        let white = part(&with, lower).iter().filter(|byte| **byte > 225).count();
        assert!(white > 100, "{white} pixels of a name");
    }
}

#[test]
fn who_speaks_has_a_frame_and_who_has_no_camera_a_name() {
    let ada = camera(HD, 0);
    let mut composer = Composer::new(HD).expect("its sides are even");
    let mut tiles = [tile(1, &ada, "Ada"), tile(2, &ada, "Bob")];
    tiles[1].picture = None;
    tiles[0].speaking = true;
    let canvas = composer.compose(Layout::Grid, &tiles).clone();
    let places = arrange(HD, Layout::Grid, 2);
    let corner = |place: Place| canvas.plane(0)[place.y * 1280 + place.x];
    assert_eq!((corner(places[0]), corner(places[1])), (SPEAKING.y, SURFACE.y));
    assert!(part(&canvas, places[1]).contains(&235));
}

#[test]
fn what_has_not_changed_is_not_drawn_again_and_what_has_is() {
    let (before, after) = (camera(HD, 0), camera(HD, 100));
    let mut composer = Composer::new(HD).expect("its sides are even");
    let first = composer.compose(Layout::Grid, &[tile(1, &before, "A"), tile(2, &before, "B")]).clone();
    // Another picture that claims to be the same is not looked at.
    let same = composer.compose(Layout::Grid, &[tile(1, &after, "A"), tile(2, &before, "B")]).clone();
    assert_eq!(first, same);
    let mut changed = tile(1, &after, "A");
    changed.revision = 1;
    let second = composer.compose(Layout::Grid, &[changed, tile(2, &before, "B")]).clone();
    let places = arrange(HD, Layout::Grid, 2);
    assert_ne!(part(&second, places[0]), part(&first, places[0]));
    assert_eq!(part(&second, places[1]), part(&first, places[1]));
    // Nothing of a layout is left behind in the next.
    let whole = composer.compose(Layout::Grid, &[tile(9, &before, "")]).clone();
    assert_eq!(whole, before);
}

#[test]
fn an_announcement_takes_the_place_of_tiles_and_they_come_back() {
    let ada = camera(HD, 0);
    let mut composer = Composer::new(HD).expect("its sides are even");
    let tiles = [tile(1, &ada, "Ada"), tile(2, &ada, "Bob")];
    let before = composer.compose(Layout::Grid, &tiles).clone();
    let ink = |picture: &Picture| picture.plane(0).iter().filter(|byte| **byte == 235).count();
    let asked = composer.announce("Broletto", "Please enter the meeting code, then press hash.", "").clone();
    let typed =
        composer.announce("Broletto", "Please enter the meeting code, then press hash.", "123 4").clone();
    assert!(ink(&asked) > 3_000, "{}", ink(&asked));
    assert!(ink(&typed) > ink(&asked) + 1_000);
    assert_eq!(asked.plane(0)[0], BACKGROUND.y);
    assert_eq!(*composer.compose(Layout::Grid, &tiles), before);
    // Too small for anything.
    Composer::new(Size::new(2, 2)).expect("its sides are even").announce("A", "B", "C");
}

#[test]
fn what_is_encoded_is_what_others_see() {
    for (size, nal_unit_bytes_max) in [(HD, None), (Size::new(640, 360), Some(1_200))] {
        let settings = H264Settings {
            bitrate_bps: 2_000_000,
            frames_per_second: 25.0,
            nal_unit_bytes_max,
            screen: false,
        };
        let mut encoder = H264Encoder::new(&settings).expect("it is set up");
        let mut decoder = H264Decoder::new().expect("it is set up");
        let mut shown = 0;
        for at in 0..30 {
            let picture = camera(size, at);
            let time = Duration::from_millis(40 * at as u64);
            let Some(encoded) = encoder.encode(&picture, time, at == 20).expect("it is encoded") else {
                continue;
            };
            assert_eq!(encoded.key_frame, at == 0 || at == 20, "picture {at}");
            let kinds: Vec<u8> = encoded.nal_units.iter().map(|unit| unit[0] & 31).collect();
            // Parameter sets come with each key frame.
            assert_eq!(kinds.contains(&7) && kinds.contains(&8), encoded.key_frame, "{kinds:?}");
            if let Some(bytes_max) = nal_unit_bytes_max {
                assert!(encoded.nal_units.iter().all(|unit| unit.len() <= bytes_max as usize));
            }
            let units: Vec<&[u8]> = encoded.nal_units.iter().map(Vec::as_slice).collect();
            let Some(decoded) = decoder.decode(&units).expect("it is decoded") else { continue };
            let decibels = likeness(decoded, &picture);
            assert!(decibels > 32.0, "picture {at} of {size:?}: {decibels} dB");
            shown += 1;
        }
        assert!(shown >= 28, "{shown}");
    }
}

#[test]
fn rubbish_is_an_error_or_nothing_and_the_next_key_frame_is_shown() {
    let settings = H264Settings {
        bitrate_bps: 500_000,
        frames_per_second: 25.0,
        nal_unit_bytes_max: None,
        screen: false,
    };
    let size = Size::new(320, 180);
    let mut encoder = H264Encoder::new(&settings).expect("it is set up");
    let mut decoder = H264Decoder::new().expect("it is set up");
    for rubbish in [&[0x67, 1, 2, 3][..], &[0x65; 50], &[], &[0x41, 0xff, 0xff]] {
        let _ = decoder.decode(&[rubbish]);
    }
    let mut shown = false;
    for at in 0..5 {
        let picture = camera(size, at);
        let encoded = encoder.encode(&picture, Duration::from_millis(40 * at as u64), at == 0);
        if let Some(encoded) = encoded.expect("it is encoded") {
            let units: Vec<&[u8]> = encoded.nal_units.iter().map(Vec::as_slice).collect();
            shown |= matches!(decoder.decode(&units), Ok(Some(decoded)) if decoded.size() == size);
        }
    }
    assert!(shown);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for (width, height) in [(0, 2), (3, 2), (2, 5), (8192, 2)] {
        assert_eq!(Composer::new(Size::new(width, height)).err(), Some(VideoError::Size { width, height }));
    }
    assert!(PictureRef::new(HD, [(&[0; 100], 1280), (&[0; 100], 640), (&[0; 100], 640)]).is_none());
}
