//! Pictures of many in one, for endpoints that show one: scaled into a layout, with names.

mod fit;
mod h264;
mod label;
mod layout;
mod picture;
mod scale;

pub use self::fit::{Fit, fit};
pub use self::h264::{H264Decoder, H264Encoder, H264Settings};
pub use self::layout::{Layout, TILES_MAX, arrange};
pub use self::picture::{Picture, PictureRef, Place, Size};

use std::time::Duration;

use thiserror::Error;

use self::label::Labels;
use self::picture::Color;
use self::scale::Scaler;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum VideoError {
    #[error("a picture of {width}x{height} is not made: sides are even, up to {max}", max = Size::SIDE_MAX)]
    Size { width: usize, height: usize },
    #[error("the encoder failed: {0}")]
    Encode(String),
    #[error("the decoder failed: {0}")]
    Decode(String),
}

/// One coded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPicture {
    /// Without start codes, in order.
    pub nal_units: Vec<Vec<u8>>,
    pub key_frame: bool,
}

/// Pictures to NAL units.
pub trait VideoEncoder: Send {
    /// None: the rate control left this picture out.
    fn encode(
        &mut self,
        picture: &Picture,
        at: Duration,
        key_frame: bool,
    ) -> Result<Option<EncodedPicture>, VideoError>;
}

/// NAL units to pictures.
pub trait VideoDecoder: Send {
    /// All NAL units of one picture, without start codes. None: there is nothing to show yet.
    fn decode(&mut self, nal_units: &[&[u8]]) -> Result<Option<&Picture>, VideoError>;
}

/// What is shown in one place.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Of whom it is, and which of its pictures. What is there already is not drawn again.
    pub key: u64,
    pub revision: u64,
    /// None: the camera is off.
    pub picture: Option<PictureRef<'a>>,
    pub name: &'a str,
    pub speaking: bool,
    pub fit: Fit,
}

/// Draws tiles into one picture.
pub struct Composer {
    canvas: Picture,
    layout: Layout,
    places: Vec<Place>,
    drawn: Vec<Option<Drawn>>,
    scaler: Scaler,
    labels: Labels,
}

#[derive(Debug, PartialEq, Eq)]
struct Drawn {
    key: u64,
    revision: u64,
    name: String,
    speaking: bool,
    picture: Option<Size>,
}

const BACKGROUND: Color = Color { y: 26, u: 133, v: 125 };
const SURFACE: Color = Color { y: 52, u: 137, v: 122 };
/// The blue of the web client's frame around who speaks, somewhat lighter: it is seen from afar.
const SPEAKING: Color = Color { y: 118, u: 170, v: 90 };

impl Composer {
    pub fn new(size: Size) -> Result<Self, VideoError> {
        Ok(Composer {
            canvas: Picture::new(size, BACKGROUND)?,
            layout: Layout::Grid,
            places: Vec::new(),
            drawn: Vec::new(),
            scaler: Scaler::default(),
            labels: Labels::default(),
        })
    }

    /// The first tiles that have a place; the first of all is the large one of [`Layout::Speaker`].
    pub fn compose(&mut self, layout: Layout, tiles: &[Tile<'_>]) -> &Picture {
        let places = arrange(self.canvas.size(), layout, tiles.len());
        if layout != self.layout || places != self.places {
            self.canvas.fill(self.canvas.whole(), BACKGROUND);
            self.drawn.clear();
            self.drawn.resize_with(places.len(), || None);
            self.layout = layout;
            self.places = places;
        }
        for (index, (tile, place)) in tiles.iter().zip(self.places.clone()).enumerate() {
            let drawn = Drawn {
                key: tile.key,
                revision: tile.revision,
                name: tile.name.to_owned(),
                speaking: tile.speaking,
                picture: tile.picture.map(|picture| picture.size),
            };
            if self.drawn[index].as_ref() != Some(&drawn) {
                self.draw(tile, place, self.places.len() > 1);
                self.drawn[index] = Some(drawn);
            }
        }
        &self.canvas
    }

    /// In place of tiles: where one is, what to type, and what was typed.
    pub fn announce(&mut self, title: &str, text: &str, typed: &str) -> &Picture {
        let Size { width, height } = self.canvas.size();
        self.canvas.fill(self.canvas.whole(), BACKGROUND);
        // What was drawn is gone.
        self.places.clear();
        let margin = (width / 10) & !1;
        let below =
            |y: usize| Place { x: margin, y, width: width - 2 * margin, height: height.saturating_sub(y) };
        let gap = height / 16;
        let y = self.labels.draw_text(&mut self.canvas, below(height / 5), title, height / 10);
        let y = self.labels.draw_text(&mut self.canvas, below(y + gap), text, height / 16);
        self.labels.draw_text(&mut self.canvas, below(y + gap), typed, height / 8);
        &self.canvas
    }

    fn draw(&mut self, tile: &Tile<'_>, place: Place, framed: bool) {
        match &tile.picture {
            Some(picture) => {
                let (part, target) = fit(picture.size, place, tile.fit);
                if target != place {
                    self.canvas.fill(place, SURFACE);
                }
                self.scaler.draw(picture, part, &mut self.canvas, target);
                self.labels.draw_name(&mut self.canvas, place, tile.name);
            }
            None => {
                self.canvas.fill(place, SURFACE);
                self.labels.draw_large(&mut self.canvas, place, tile.name);
            }
        }
        if tile.speaking && framed {
            self.canvas.frame(place, SPEAKING);
        }
    }
}

#[cfg(test)]
mod tests;
