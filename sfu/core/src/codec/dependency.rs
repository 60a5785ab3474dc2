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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two spatial and two temporal layers, the larger depending on the smaller in key pictures only
    /// (L2T2_KEY): decode targets S0T0, S0T1, S1T0, S1T1; the last templates are of layer S1.
    const TEMPLATES: [(u8, u8, &str, &[u8]); 6] = [
        (0, 0, "SSSS", &[]),
        (0, 0, "SS--", &[4]),
        (0, 1, "-D--", &[2]),
        (1, 0, "--SS", &[1]),
        (1, 0, "--SS", &[4]),
        (1, 1, "---D", &[2]),
    ];
    /// What the first template, whose frames bring the structure, has as its number.
    const OFFSET: u8 = 60;

    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, value: u32, count: u32) {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().zip(0..).fold(0, |byte, (bit, at)| byte | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }

        fn indications(&mut self, text: &str) {
            for indication in text.chars() {
                self.put("-DSR".find(indication).expect("it is one of the four") as u32, 2);
            }
        }

        fn structure(&mut self) {
            self.put(OFFSET.into(), 6);
            self.put(3, 5); // dt_cnt_minus_one
            for (index, (spatial, temporal, _, _)) in TEMPLATES.iter().enumerate() {
                self.put(
                    match TEMPLATES.get(index + 1) {
                        None => 3,
                        Some((next, _, _, _)) if next > spatial => 2,
                        Some((_, next, _, _)) if next > temporal => 1,
                        Some(_) => 0,
                    },
                    2,
                );
            }
            TEMPLATES.iter().for_each(|(_, _, indications, _)| self.indications(indications));
            for (_, _, _, references) in TEMPLATES {
                for reference in references {
                    self.put(1, 1);
                    self.put(u32::from(reference - 1), 4);
                }
                self.put(0, 1);
            }
            self.put(2, 2); // chain_cnt, of 0 to 4: the small ones take two bits
            [0, 0, 1, 1].into_iter().for_each(|chain| self.put(chain, 1));
            (0..TEMPLATES.len() * 2).for_each(|_| self.put(1, 4));
            self.put(1, 1);
            for side in [639, 359, 1279, 719] {
                self.put(side, 16);
            }
        }
    }

    /// A descriptor of a frame by its template; `edges`: it is the first, and the last packet.
    pub(crate) fn descriptor(
        template: u8,
        frame_number: u16,
        edges: (bool, bool),
        active: Option<u32>,
    ) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(edges.0.into(), 1);
        writer.put(edges.1.into(), 1);
        writer.put(u32::from((OFFSET + template) % 64), 6);
        writer.put(frame_number.into(), 16);
        let has_structure = template == 0 && edges.0;
        if has_structure || active.is_some() {
            writer.put(has_structure.into(), 1);
            writer.put(active.is_some().into(), 1);
            writer.put(0, 3);
            if has_structure {
                writer.structure();
            }
            if let Some(active) = active {
                writer.put(active, 4);
            }
        }
        writer.bytes()
    }

    fn structure() -> Arc<Structure> {
        let frame = Structure::read(&descriptor(0, 7, (true, false), None), None).expect("it is well formed");
        frame.structure.expect("it brings one")
    }

    #[test]
    fn a_structure_is_read() {
        let structure = structure();
        assert_eq!((structure.spatial_layers, structure.decode_targets, structure.chains), (2, 4, 2));
        assert_eq!(structure.sizes[0], Some(VideoSize { width: 640, height: 360 }));
        assert_eq!(structure.sizes[1], Some(VideoSize { width: 1280, height: 720 }));
        assert_eq!(structure.target_layers, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        let back = |targets| structure.decode_targets(structure.targets(targets));
        assert!((0..16).all(|targets| back(targets) == targets));
        assert_eq!(structure.targets(structure.all()), Targets::ALL);
    }

    #[test]
    fn frames_are_what_their_templates_say() {
        let structure = structure();
        for (template, spatial, temporal, is_intra, needed, joins) in [
            (0, 0, 0, true, Targets::ALL, Targets::ALL),
            (1, 0, 0, false, Targets::from(0, 0), Targets::from(0, 0)),
            (2, 0, 1, false, Targets::from(0, 1), Targets::NONE),
            (
                3,
                1,
                0,
                false,
                Targets::from(1, 0).and(Targets::from(2, 0)),
                Targets::from(1, 0).and(Targets::from(2, 0)),
            ),
            (5, 1, 1, false, Targets::from(1, 1).and(Targets::from(2, 1)), Targets::NONE),
        ] {
            let bytes = descriptor(template, 300, (false, true), None);
            let frame = Structure::read(&bytes, Some(&structure)).expect("its template is known");
            assert_eq!(
                (frame.spatial, frame.temporal, frame.is_intra),
                (spatial, temporal, is_intra),
                "{template}"
            );
            assert_eq!((frame.needed, frame.joins), (needed, joins), "{template}");
            assert_eq!((frame.place.frame_number, frame.place.last_of_frame), (300, true));
            assert_eq!(frame.discardable, temporal == 1, "{template}");
        }
        // Of no structure, of one without that template, and too short.
        assert_eq!(Structure::read(&descriptor(1, 0, (true, true), None), None), None);
        assert_eq!(Structure::read(&descriptor(6, 0, (true, true), None), Some(&structure)), None);
        assert_eq!(Structure::read(&[0x80, 0], Some(&structure)), None);
        // Cut short anywhere.
        let whole = descriptor(0, 7, (true, false), None);
        assert!((3..whole.len()).all(|length| Structure::read(&whole[..length], None).is_none()));
    }

    #[test]
    fn frame_numbers_and_active_targets_are_written() {
        let structure = structure();
        for (template, before) in [(0, None), (0, Some(3)), (1, None), (4, Some(0b1100))] {
            for after in [None, Some(0b0101), Some(0b1111)] {
                let bytes = descriptor(template, 0x1234, (true, false), before);
                let frame = Structure::read(&bytes, Some(&structure)).expect("its template is known");
                let mut written = [0xff; BYTES_MAX];
                let length = frame.place.write(&bytes, 0xabcd, after, &mut written);
                assert_eq!(length, frame.place.written_length(bytes.len(), after));
                let again = Structure::read(&written[..length], Some(&structure)).expect("it is well formed");
                assert_eq!(again.active, after.or(before));
                assert_eq!(again.place.frame_number, 0xabcd);
                assert_eq!(
                    Frame { active: None, place: Place::default(), ..again },
                    Frame { active: None, place: Place::default(), ..frame }
                );
                assert_eq!(written[..length], descriptor(template, 0xabcd, (true, false), after.or(before)));
            }
        }
        let bytes = descriptor(1, 1, (true, true), None);
        let place = Structure::read(&bytes, Some(&structure)).expect("its template is known").place;
        assert_eq!(place.write(&bytes, 2, None, &mut [0; 2]), 0, "there is no room for it");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_is_written_as_it_was(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            flips in proptest::collection::vec((0..60usize, any::<u8>()), 0..4),
            made: bool,
            active: Option<u32>,
        ) {
            if made {
                bytes = descriptor(0, 9, (true, true), Some(5));
                for (at, mask) in flips {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= mask;
                    }
                }
            }
            let structure = structure();
            let Some(frame) = Structure::read(&bytes, Some(&structure)) else { return Ok(()) };
            let mut written = [0; BYTES_MAX];
            let length = frame.place.write(&bytes, frame.place.frame_number, None, &mut written);
            prop_assert_eq!(&written[..length], &bytes[..]);
            let length = frame.place.write(&bytes, 77, active, &mut written);
            if length > 0 {
                let again = Structure::read(&written[..length], Some(&structure)).expect("it is well formed");
                prop_assert_eq!(again.place.frame_number, 77);
                prop_assert_eq!((again.needed, again.joins, again.is_intra), (frame.needed, frame.joins, frame.is_intra));
            }
        }
    }
}
