//! Draws layouts into a Y4M film of one picture each, to look at:
//! `cargo run -p broletto-media --example layouts -- /tmp/layouts.y4m`, then
//! `ffmpeg -i /tmp/layouts.y4m /tmp/layout-%d.png`.

use std::io::Write;

use broletto_media::compose::{Composer, Fit, Layout, Picture, PictureRef, Size, Tile};
use broletto_media::prompt::{Language, Prompt};

const CANVAS: Size = Size::new(1280, 720);
const NAMES: [&str; 9] = [
    "Giulia Ferrari",
    "Sala Giunta",
    "Niccolò D’Amico",
    "Žofie Řezníčková",
    "Ελένη Παπαδοπούλου",
    "Maria Antonietta Della Valle Sant’Ambrogio di Torino",
    "Ugo",
    "Assessorato alla Salute",
    "Анна Ковальчук",
];

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "layouts.y4m".to_owned());
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "YUV4MPEG2 W{} H{} F1:1 Ip A1:1 C420jpeg", CANVAS.width, CANVAS.height)?;
    let sizes = [Size::new(1280, 720), Size::new(640, 480), Size::new(360, 640), Size::new(640, 360)];
    let cameras: Vec<Planes> =
        (0..NAMES.len()).map(|index| Planes::new(sizes[index % sizes.len()], index)).collect();
    let slides = Planes::slides(Size::new(1024, 768));
    let tiles: Vec<Tile<'_>> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| Tile {
            key: index as u64,
            revision: 0,
            picture: (index != 7).then(|| cameras[index].picture()),
            name,
            speaking: index == 1,
            fit: Fit::Camera,
        })
        .collect();
    let mut shown = tiles.clone();
    shown.insert(
        0,
        Tile {
            key: 100,
            picture: Some(slides.picture()),
            name: "",
            fit: Fit::Whole,
            speaking: false,
            ..tiles[0]
        },
    );
    let mut composer = Composer::new(CANVAS).expect("its sides are even");
    for (layout, tiles) in [
        (Layout::Grid, &tiles[..2]),
        (Layout::Grid, &tiles[..5]),
        (Layout::Grid, &tiles[..9]),
        (Layout::Speaker, &tiles[..5]),
        (Layout::Speaker, &shown[..9]),
    ] {
        write(&mut file, composer.compose(layout, tiles))?;
    }
    let text = Prompt::EnterCode.text(Language::Italian);
    write(&mut file, composer.announce("Benvenuti", text, "314 159"))?;
    file.flush()
}

fn write(file: &mut impl Write, picture: &Picture) -> std::io::Result<()> {
    writeln!(file, "FRAME")?;
    (0..3).try_for_each(|index| file.write_all(picture.plane(index)))
}

struct Planes {
    size: Size,
    planes: [Vec<u8>; 3],
}

impl Planes {
    /// A head and shoulders before a wall of some colour.
    fn new(size: Size, index: usize) -> Self {
        let mut picture =
            Planes::plain(size, [150, (90 + index * 53 % 80) as u8, (90 + index * 31 % 80) as u8]);
        let (width, height) = (size.width as f32, size.height as f32);
        for y in 0..size.height {
            for x in 0..size.width {
                let (dx, dy) = ((x as f32 - width / 2.0) / height, y as f32 / height);
                let head = dx.hypot((dy - 0.42) * 0.8) < 0.16;
                let shoulders = dx.hypot((dy - 1.1) * 0.9) < 0.42;
                let light = 30.0 * (x as f32 / width);
                let brightness = match (head, shoulders) {
                    (true, _) => 175.0 + light,
                    (false, true) => 60.0 + 10.0 * index as f32,
                    (false, false) => 120.0 + light,
                };
                picture.planes[0][y * size.width + x] = brightness as u8;
                if head {
                    let at = y / 2 * (size.width / 2) + x / 2;
                    (picture.planes[1][at], picture.planes[2][at]) = (108, 152);
                }
            }
        }
        picture
    }

    /// Lines of what could be words.
    fn slides(size: Size) -> Self {
        let mut picture = Planes::plain(size, [235, 128, 128]);
        for y in 80..size.height - 60 {
            for x in 80..size.width - 80 - (y / 40 * 97) % 300 {
                if y % 40 < 14 && (x / 9 + y / 40 * 5) % 7 != 0 && x % 9 < 6 {
                    picture.planes[0][y * size.width + x] = 40;
                }
            }
        }
        picture
    }

    fn plain(size: Size, [y, u, v]: [u8; 3]) -> Self {
        let count = size.width * size.height;
        Planes { size, planes: [vec![y; count], vec![u; count / 4], vec![v; count / 4]] }
    }

    fn picture(&self) -> PictureRef<'_> {
        let [y, u, v] = &self.planes;
        let half = self.size.width / 2;
        PictureRef::new(self.size, [(y, self.size.width), (u, half), (v, half)])
            .expect("planes have this size")
    }
}
