//! Names on tiles, in letters of Latin, Greek and Cyrillic.

use std::collections::HashMap;
use std::sync::OnceLock;

use fontdue::{Font, FontSettings};

use super::picture::{Picture, Place};

/// Of the height of a tile.
const NAME_PARTS: usize = 14;
const LARGE_PARTS: usize = 8;
/// Of the height of the whole, at least: a name is read from across a room.
const CANVAS_PARTS: usize = 45;
const SIZE_MIN: usize = 8;
const SIZE_MAX: usize = 64;
/// What a name is longer than is left out.
const LETTERS_MAX: usize = 60;
const WORDS_MAX: usize = 100;
/// Names that are kept drawn.
const LABELS_MAX: usize = 128;
const WHITE: u8 = 235;
/// What is behind a name keeps so many parts in 256 of its brightness.
const SHADE: u16 = 90;
const BLACK: u16 = 16;

/// How much of each pixel a text covers.
struct Label {
    width: usize,
    height: usize,
    cover: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Labels {
    known: HashMap<(String, usize, usize), Label>,
}

impl Labels {
    /// At the lower left, on a shade.
    pub(super) fn draw_name(&mut self, canvas: &mut Picture, place: Place, name: &str) {
        let size = size(canvas, place.height / NAME_PARTS);
        let margin = (size / 2) & !1;
        let Some(label) = self.label(name, size, place.width.saturating_sub(4 * margin)) else { return };
        let width = (label.width + 2 * margin + 1) & !1;
        let height = (label.height + margin + 1) & !1;
        if height + margin > place.height || width + margin > place.width {
            return;
        }
        let area = Place { x: place.x + margin, y: place.y + place.height - height - margin, width, height };
        shade(canvas, area);
        cover(canvas, label, area.x + margin, area.y + margin / 2);
    }

    /// In the middle of a tile that has no picture.
    pub(super) fn draw_large(&mut self, canvas: &mut Picture, place: Place, name: &str) {
        let size = size(canvas, place.height / LARGE_PARTS);
        let Some(label) = self.label(name, size, place.width.saturating_sub(size)) else { return };
        if label.width <= place.width && label.height <= place.height {
            let x = place.x + (place.width - label.width) / 2;
            let y = place.y + (place.height - label.height) / 2;
            cover(canvas, label, x, y);
        }
    }

    /// Lines in the middle of a place, as large as `size` says; long ones are broken between words.
    /// Returns where the next would begin.
    pub(super) fn draw_text(&mut self, canvas: &mut Picture, place: Place, text: &str, size: usize) -> usize {
        let mut y = place.y;
        for line in broken(text, size, place.width) {
            let Some(label) = self.label(&line, size, place.width) else { continue };
            if y + label.height > place.y + place.height || label.width > place.width {
                break;
            }
            cover(canvas, label, place.x + (place.width - label.width) / 2, y);
            y += label.height + size / 4;
        }
        y
    }

    fn label(&mut self, name: &str, size: usize, width_max: usize) -> Option<&Label> {
        let name = name.trim();
        if name.is_empty() || width_max < size {
            return None;
        }
        if self.known.len() == LABELS_MAX {
            self.known.clear();
        }
        let key = (name.to_owned(), size, width_max);
        Some(self.known.entry(key).or_insert_with(|| Label::new(name, size, width_max)))
    }
}

impl Label {
    fn new(name: &str, size: usize, width_max: usize) -> Self {
        let font = font();
        let pixels = size as f32;
        let advance = |letter: char| font.metrics(letter, pixels).advance_width;
        let mut letters: Vec<char> =
            name.chars().filter(|letter| !letter.is_control()).take(LETTERS_MAX).collect();
        let length = |letters: &[char]| letters.iter().copied().map(advance).sum::<f32>();
        let whole = letters.len() == name.chars().filter(|letter| !letter.is_control()).count();
        if !whole || length(&letters) > width_max as f32 {
            while !letters.is_empty() && length(&letters) + advance('…') > width_max as f32 {
                letters.pop();
            }
            letters.push('…');
        }
        let lines = font.horizontal_line_metrics(pixels).expect("the font is ours and has them");
        let (width, height) =
            (length(&letters).ceil() as usize + 1, (lines.ascent - lines.descent).ceil() as usize);
        let mut cover = vec![0; width * height];
        let mut pen = 0.0;
        for letter in letters {
            let (metrics, bitmap) = font.rasterize(letter, pixels);
            let left = pen as i32 + metrics.xmin;
            let top = lines.ascent.round() as i32 - metrics.ymin - metrics.height as i32;
            for (index, value) in bitmap.iter().enumerate() {
                let x = left + (index % metrics.width) as i32;
                let y = top + (index / metrics.width) as i32;
                if (0..width as i32).contains(&x) && (0..height as i32).contains(&y) {
                    let pixel = &mut cover[y as usize * width + x as usize];
                    *pixel = (*pixel).max(*value);
                }
            }
            pen += metrics.advance_width;
        }
        Label { width, height, cover }
    }
}

/// A text in lines that are no wider, where words allow it.
fn broken(text: &str, size: usize, width_max: usize) -> Vec<String> {
    let width = |line: &str| {
        line.chars().map(|letter| font().metrics(letter, size as f32).advance_width).sum::<f32>()
    };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().take(WORDS_MAX) {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}")) <= width_max as f32 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn size(canvas: &Picture, wanted: usize) -> usize {
    wanted.max(canvas.size().height / CANVAS_PARTS).clamp(SIZE_MIN, SIZE_MAX)
}

fn shade(canvas: &mut Picture, area: Place) {
    for line in canvas.lines_mut(0, area) {
        for byte in line {
            *byte = ((u16::from(*byte) * SHADE + BLACK * (256 - SHADE)) / 256) as u8;
        }
    }
    for index in [1, 2] {
        for line in canvas.lines_mut(index, area) {
            for byte in line {
                *byte = ((u16::from(*byte) * SHADE + 128 * (256 - SHADE)) / 256) as u8;
            }
        }
    }
}

fn cover(canvas: &mut Picture, label: &Label, x: usize, y: usize) {
    let area = Place { x, y, width: label.width, height: label.height };
    for (line, cover) in canvas.lines_mut(0, area).zip(label.cover.chunks_exact(label.width)) {
        for (byte, cover) in line.iter_mut().zip(cover) {
            let (under, cover) = (u16::from(*byte), u16::from(*cover));
            *byte = ((under * (255 - cover) + u16::from(WHITE) * cover) / 255) as u8;
        }
    }
}

fn font() -> &'static Font {
    static FONT: OnceLock<Font> = OnceLock::new();
    FONT.get_or_init(|| {
        let file: &[u8] = include_bytes!("../../fonts/DejaVuSans-Bold-subset.ttf");
        Font::from_bytes(file, FontSettings::default()).expect("the font is ours, and a test looks")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(label: &Label) -> usize {
        label.cover.iter().filter(|cover| **cover > 128).count()
    }

    #[test]
    fn letters_that_people_here_have_in_their_names_are_there() {
        for letter in "AÀÈÉÌÒÙaàèéìòùçñöüßČĆŠŽđłřșțΑλέξЖанŁőğıİ'-’. ".chars()
        {
            assert!(font().lookup_glyph_index(letter) > 0, "{letter}");
        }
    }

    #[test]
    fn a_long_name_is_shortened_to_its_place() {
        let short = Label::new("Ada", 20, 300);
        let long = Label::new("Maria Antonietta Della Valle Sant'Ambrogio", 20, 200);
        assert!(short.width < 60 && ink(&short) > 60);
        assert!(long.width <= 202 && long.width > 150, "{}", long.width);
    }

    #[test]
    fn a_text_is_broken_between_words() {
        let text = "Inserisca il codice della riunione, poi prema cancelletto.";
        let lines = broken(text, 40, 600);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        assert!(lines.iter().all(|line| Label::new(line, 40, 2_000).width <= 601), "{lines:?}");
        assert_eq!(broken("abcdefghijkl", 40, 50), ["abcdefghijkl"]);
    }

    #[test]
    fn any_name_and_any_place_will_do() {
        let size = crate::compose::Size::new(64, 36);
        let mut canvas = Picture::new(size, super::super::BACKGROUND).expect("its sides are even");
        let mut labels = Labels::default();
        for name in ["", " ", "\u{7}\n", "🦀 漢字 عربي", "x".repeat(10_000).as_str()] {
            for place in [canvas.whole(), Place { x: 2, y: 2, width: 4, height: 2 }] {
                labels.draw_name(&mut canvas, place, name);
                labels.draw_large(&mut canvas, place, name);
            }
        }
    }
}
