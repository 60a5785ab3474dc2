//! The dependency descriptor, a header extension that tells which frame a packet is of and what that
//! depends on (RTP Payload Format For AV1, appendix A). Every codec can have it, and payloads that
//! are encrypted end to end are forwarded by it alone.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! |S|E| template  |  S, E: first and last packet of the frame
//! | frame number  |
//! | (16 bits)     |
//! |T|A|D|F|C| ...    if longer: T: a structure follows; A: then which decode targets are active; D, F,
//!                    C: then what is not as in the template: targets, references, chains
//! ```
//!
//! References and chains are differences of frame numbers. So frame numbers are moved as a whole: they
//! go on across a change of source, and frames that are left out leave a gap, which is how the
//! specification wants it.

use std::sync::Arc;

use broletto_control::VideoSize;

use super::bits::{Bits, copy, put};
use super::targets::{SPATIAL_LAYERS_MAX, TEMPORAL_LAYERS_MAX, Targets};

pub const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// A header extension is no longer (RFC 8285 section 4.3).
pub const BYTES_MAX: usize = 255;

const MANDATORY_BYTES: usize = 3;
/// The flags of the extended fields, and where among them the second one stands.
const FLAGS_BITS: usize = 5;
const ACTIVE_FLAG_AT: usize = MANDATORY_BYTES * 8 + 1;
/// Template ids have six bits.
const TEMPLATES_MAX: usize = 64;
const DECODE_TARGETS_MAX: usize = 32;

/// What the frames of a coded video sequence can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    template_id_offset: u8,
    decode_targets: u8,
    chains: u8,
    templates: Vec<Template>,
    /// The layers of each decode target.
    target_layers: Vec<(u8, u8)>,
    /// For each of our targets the decode target that serves it.
    served_by: [u8; (SPATIAL_LAYERS_MAX * TEMPORAL_LAYERS_MAX) as usize],
    /// How many there are, told apart or not.
    pub spatial_layers: u8,
    /// Of the first spatial layers.
    pub sizes: [Option<VideoSize>; SPATIAL_LAYERS_MAX as usize],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Indications,
    refers: bool,
}

/// What a frame is to each decode target, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Indications {
    present: u32,
    /// It can be joined here.
    switch: u32,
    /// Other frames depend on this one.
    needed_later: u32,
}

impl Indications {
    fn read(bits: &mut Bits<'_>, decode_targets: u8) -> Option<Self> {
        let mut indications = Indications::default();
        for target in 0..decode_targets {
            let indication = bits.take(2)?;
            indications.present |= u32::from(indication != 0) << target;
            indications.switch |= u32::from(indication == 2) << target;
            indications.needed_later |= u32::from(indication >= 2) << target;
        }
        Some(indications)
    }
}

/// What a descriptor says of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub place: Place,
    pub spatial: u8,
    pub temporal: u8,
    /// It refers to no other frame.
    pub is_intra: bool,
    pub needed: Targets,
    pub joins: Targets,
    pub discardable: bool,
    /// Decode targets that are sent from here on, if it says so.
    pub active: Option<u32>,
    /// It brings this structure.
    pub structure: Option<Arc<Structure>>,
}

/// Where in a descriptor the fields are that a rewriter replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub first_of_frame: bool,
    pub last_of_frame: bool,
    pub frame_number: u16,
    /// None: of a structure that is not known, so that only the frame number can be replaced.
    active: Option<ActivePlace>,
    pub has_structure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ActivePlace {
    /// In bits from the start.
    at: u16,
    /// Present bits: 0, or one for each decode target.
    bits: u8,
    decode_targets: u8,
    /// Where the descriptor ends, without its padding.
    end: u16,
}

impl Place {
    /// The fields that need no structure.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [first, high, low] = *bytes.first_chunk::<MANDATORY_BYTES>()?;
        (bytes.len() <= BYTES_MAX).then_some(Place {
            first_of_frame: first & 0x80 != 0,
            last_of_frame: first & 0x40 != 0,
            frame_number: u16::from_be_bytes([high, low]),
            active: None,
            has_structure: false,
        })
    }

    /// The descriptor says which decode targets are active.
    pub fn has_active(&self) -> bool {
        self.active.is_some_and(|place| place.bits > 0)
    }

    /// Bytes that [`Place::write`] makes of a descriptor of `length`.
    pub fn written_length(&self, length: usize, active: Option<u32>) -> usize {
        match (active, self.active) {
            (Some(_), Some(place)) => self.end_with(place, length).div_ceil(8),
            _ => length,
        }
    }

    fn end_with(&self, place: ActivePlace, length: usize) -> usize {
        let flags = if length == MANDATORY_BYTES { FLAGS_BITS } else { 0 };
        usize::from(place.end) + flags - usize::from(place.bits) + usize::from(place.decode_targets)
    }

    /// Writes `bytes`, the descriptor that this is of, to `to`, with another frame number, and with
    /// `active` decode targets (where its structure is known). Returns how many bytes it became, 0 if
    /// there is no room for them.
    pub fn write(&self, bytes: &[u8], frame_number: u16, active: Option<u32>, to: &mut [u8]) -> usize {
        let length = self.written_length(bytes.len(), active);
        let Some(to) = to.get_mut(..length).filter(|_| length <= BYTES_MAX) else { return 0 };
        match (active, self.active) {
            (Some(active), Some(place)) => {
                to.fill(0);
                let at = usize::from(place.at);
                let (bits, targets) = (usize::from(place.bits), usize::from(place.decode_targets));
                if bytes.len() == MANDATORY_BYTES {
                    to[..MANDATORY_BYTES].copy_from_slice(bytes);
                    put(active, to, at + FLAGS_BITS, targets);
                } else {
                    copy(bytes, 0, to, 0, at);
                    put(active, to, at, targets);
                    copy(bytes, at + bits, to, at + targets, usize::from(place.end) - at - bits);
                }
                to[ACTIVE_FLAG_AT / 8] |= 0x80 >> (ACTIVE_FLAG_AT % 8);
            }
            _ => to.copy_from_slice(bytes),
        }
        to[1..MANDATORY_BYTES].copy_from_slice(&frame_number.to_be_bytes());
        length
    }
}

impl Structure {
    /// The frame that a descriptor is of. `known` is the structure that came last. None: the
    /// descriptor is malformed, or of a structure that is not known.
    pub fn read(bytes: &[u8], known: Option<&Arc<Structure>>) -> Option<Frame> {
        let mut place = Place::read(bytes)?;
        let mut bits = Bits::new(bytes);
        bits.take(2)?;
        let template_id = bits.take(6)? as u8;
        bits.take(16)?;
        let mut flags = [false; FLAGS_BITS];
        if bytes.len() > MANDATORY_BYTES {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [has_structure, has_active, custom_targets, custom_references, custom_chains] = flags;
        let brought = if has_structure { Some(Arc::new(Structure::parse(&mut bits)?)) } else { None };
        let structure = brought.as_ref().or(known)?;
        let decode_targets = structure.decode_targets;

        let at = bits.position() as u16;
        let active = if has_active { Some(bits.take(u32::from(decode_targets))?) } else { None };
        let active_bits = if has_active { decode_targets } else { 0 };
        let index = template_id.wrapping_sub(structure.template_id_offset) % TEMPLATES_MAX as u8;
        let template = structure.templates.get(usize::from(index))?;
        let indications = match custom_targets {
            true => Indications::read(&mut bits, decode_targets)?,
            false => template.indications,
        };
        let refers = if custom_references { custom_refers(&mut bits)? } else { template.refers };
        if custom_chains {
            for _ in 0..structure.chains {
                bits.take(8)?;
            }
        }
        let end = bits.position() as u16;
        place.active = Some(ActivePlace { at, bits: active_bits, decode_targets, end });
        place.has_structure = has_structure;
        Some(Frame {
            place,
            spatial: template.spatial,
            temporal: template.temporal,
            is_intra: !refers,
            needed: structure.targets(indications.present),
            joins: structure.targets(indications.switch),
            discardable: indications.needed_later == 0,
            active,
            structure: brought,
        })
    }

    fn parse(bits: &mut Bits<'_>) -> Option<Self> {
        let template_id_offset = bits.take(6)? as u8;
        let decode_targets = bits.take(5)? as u8 + 1;
        let mut templates = template_layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, decode_targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                bits.take(4)?; // fdiff_minus_one
                template.refers = true;
            }
        }
        let chains = bits.one_of(u32::from(decode_targets) + 1)? as u8;
        if chains > 0 {
            for _ in 0..decode_targets {
                bits.one_of(u32::from(chains))?; // decode_target_protected_by
            }
            for _ in 0..templates.len() * usize::from(chains) {
                bits.take(4)?; // template_chain_fdiff
            }
        }
        let spatial_layers = templates.last()?.spatial + 1;
        let mut sizes = [None; SPATIAL_LAYERS_MAX as usize];
        if bits.flag()? {
            for layer in 0..usize::from(spatial_layers) {
                let mut side = || Some((bits.take(16)? as u16).saturating_add(1));
                let size = VideoSize { width: side()?, height: side()? };
                if let Some(place) = sizes.get_mut(layer) {
                    *place = Some(size);
                }
            }
        }

        let target_layers: Vec<(u8, u8)> =
            (0..decode_targets).map(|target| layers_of(&templates, target)).collect();
        let served_by = served_by(&target_layers);
        Some(Structure {
            template_id_offset,
            decode_targets,
            chains,
            templates,
            target_layers,
            served_by,
            spatial_layers,
            sizes,
        })
    }

    /// Our targets whose decode targets are in a set of such.
    pub fn targets(&self, decode_targets: u32) -> Targets {
        let mut targets = Targets::NONE;
        for (index, served_by) in self.served_by.iter().enumerate() {
            if decode_targets >> served_by & 1 == 1 {
                let index = index as u8;
                targets = targets.and(Targets::of(index / TEMPORAL_LAYERS_MAX, index % TEMPORAL_LAYERS_MAX));
            }
        }
        targets
    }

    /// The decode targets of a set of our targets.
    pub fn decode_targets(&self, targets: Targets) -> u32 {
        let layers = self.target_layers.iter().enumerate();
        layers.fold(0, |set, (index, (spatial, temporal))| {
            set | u32::from(targets.has(*spatial, *temporal)) << index
        })
    }

    pub fn all(&self) -> u32 {
        u32::MAX >> (DECODE_TARGETS_MAX - usize::from(self.decode_targets))
    }
}

/// The layers of the templates, which are in the order of their layers.
fn template_layers(bits: &mut Bits<'_>) -> Option<Vec<Template>> {
    let (mut spatial, mut temporal) = (0, 0);
    let mut templates = Vec::with_capacity(16);
    loop {
        if templates.len() == TEMPLATES_MAX {
            return None;
        }
        templates.push(Template { spatial, temporal, indications: Indications::default(), refers: false });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Some(templates),
        }
    }
}

/// Whether a frame with references of its own has any.
fn custom_refers(bits: &mut Bits<'_>) -> Option<bool> {
    let mut refers = false;
    loop {
        match bits.take(2)? {
            0 => return Some(refers),
            quarters => bits.take(4 * quarters)?,
        };
        refers = true;
    }
}

/// A decode target has the highest layers of the frames that are present in it.
fn layers_of(templates: &[Template], target: u8) -> (u8, u8) {
    let present = templates.iter().filter(|template| template.indications.present >> target & 1 == 1);
    present.fold((0, 0), |(spatial, temporal), template| {
        (spatial.max(template.spatial), temporal.max(template.temporal))
    })
}

/// Each of our targets is served by the decode target with the highest layers that are not above its
/// own; the first one serves what has none.
fn served_by(target_layers: &[(u8, u8)]) -> [u8; 12] {
    std::array::from_fn(|index| {
        let ours = (index as u8 / TEMPORAL_LAYERS_MAX, index as u8 % TEMPORAL_LAYERS_MAX);
        let below = target_layers
            .iter()
            .enumerate()
            .filter(|(_, (spatial, temporal))| *spatial <= ours.0 && *temporal <= ours.1);
        below.max_by_key(|(_, layers)| **layers).map_or(0, |(index, _)| index as u8)
    })
}
