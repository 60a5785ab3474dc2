//! How much of each source a transport's consumers get: a pure function of what the path carries
//! and what is wished for.
//!
//! Audio is set aside first. Then everyone gets the lowest step, screens before cameras; then
//! screens climb as far as they can; then cameras climb one step each in turn. Going up needs more
//! room than staying, and must wait after a fall ([`crate::dwell`]), so that a target does not flap
//! when the estimate moves about a limit.

use broletto_control::{Content, VideoSize};

use crate::codec::targets::SPATIAL_LAYERS_MAX;
use crate::packet::ENCODINGS_MAX;
use crate::selector::Layer;

/// What an audio consumer takes before it was measured: Opus with its headers.
pub const AUDIO_BPS: u64 = 60_000;
/// What is set aside for one who is silent, and may speak before the next allocation.
pub const AUDIO_BPS_MIN: u64 = 20_000;
/// What a path is believed to carry before it was measured.
pub const ESTIMATE_START_BPS: u64 = 1_000_000;
/// Climbing must leave this share of the estimate free, in percent.
pub const CLIMB_RESERVE_PERCENT: u64 = 15;
/// What is sent already stays for as long as it takes no more than this share of the estimate, in
/// percent: bitrates vary from one second to the next, and a path that is too full makes the
/// estimate fall below it soon enough.
pub const STAY_PERCENT: u64 = 110;
/// The first picture is sent if so much of it fits, in percent: a late picture is better than none.
pub const FIRST_PICTURE_PERCENT: u64 = 65;
/// A tile takes a layer that is this much smaller in both directions, in percent.
pub const ENLARGEMENT_PERCENT: u64 = 125;
/// What is asked for beyond what the targets take, in percent: what climbing must leave free, and room
/// for the layers to vary.
pub const DESIRED_PERCENT: u64 = 125;

/// Bitrates of encodings that were not measured yet and whose size is not known, by index.
const UNMEASURED_BPS: [u64; ENCODINGS_MAX] = [150_000, 500_000, 1_500_000];
/// Bitrates of encodings that were not measured yet, by the shorter side of the picture: what
/// browsers are told to send at most.
const UNMEASURED_BY_SIZE_BPS: [(u16, u64); 5] =
    [(180, 150_000), (270, 300_000), (360, 500_000), (540, 1_000_000), (u16::MAX, 1_500_000)];

/// What share of an encoding's bitrate its temporal layers take together, in percent, by their
/// number and the highest that is sent. It is how libvpx divides it.
const TEMPORAL_PERCENT: [&[u64]; 4] = [&[100], &[60, 100], &[40, 60, 100], &[25, 40, 60, 100]];

/// An encoding that flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// As in [`crate::packet::IncomingPacket`].
    pub index: u8,
    /// The spatial layer of it that this is, or [`Layer::SPATIAL_MAX`]: all of it. Each spatial layer is
    /// a step of its own.
    pub spatial: u8,
    /// None until a key frame told.
    pub size: Option<VideoSize>,
    /// With all temporal layers, and with what is needed of the spatial layers below; headers included. None until it was measured.
    pub bitrate_bps: Option<u64>,
    /// 1 to 4; 1 when there is nothing to leave out.
    pub temporal_layers: u8,
}

impl Encoding {
    fn layer(&self, temporal: u8) -> Layer {
        Layer { encoding: self.index, spatial: self.spatial, temporal }
    }

    fn whole(&self) -> Layer {
        self.layer(Layer::TEMPORAL_MAX)
    }
}

/// What one consumer would like.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    pub content: Content,
    /// In device pixels; None: as large as comes.
    pub tile: Option<VideoSize>,
    /// In the order of their indexes and spatial layers. Empty: the source sends nothing.
    pub encodings: &'a [Encoding],
    /// What is sent now.
    pub current: Option<Layer>,
    /// Whether it may get more than `current`, as [`crate::dwell::Dwell::may_climb`] says.
    pub may_climb: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation {
    /// One for each demand, in their order. None: nothing is to be sent.
    pub targets: Vec<Option<Layer>>,
    /// One for each demand: whether it would have got more if there had been more room.
    pub limited: Vec<bool>,
    /// What the targets take, audio included.
    pub allocated_bps: u64,
    /// What everything that was wished for would take.
    pub desired_bps: u64,
}

/// Demands of one kind come in the order of their importance.
pub fn allocate(estimate_bps: Option<u64>, demands: &[Demand<'_>]) -> Allocation {
    let estimate_bps = estimate_bps.unwrap_or(ESTIMATE_START_BPS);
    let mut allotments: Vec<Allotment> = demands.iter().map(Allotment::new).collect();
    let mut budget = Budget { estimate_bps, taken_bps: 0 };

    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|index| rank(demands[*index].content));
    let screens = demands.iter().filter(|demand| rank(demand.content) == rank(Content::Screen)).count();
    let audio = demands.iter().filter(|demand| demand.content.is_audio()).count();

    let (audio, video) = order.split_at(audio);
    for index in audio {
        allotments[*index].take_unasked(&mut budget);
    }
    for (nth, index) in video.iter().enumerate() {
        let climbed = allotments[*index].climb(&mut budget);
        if !climbed && nth == 0 {
            allotments[*index].take_if_most_fits(&mut budget);
        }
    }
    let (screens, cameras) = video.split_at(screens);
    for index in screens {
        while allotments[*index].climb(&mut budget) {}
    }
    // Each round is one step for each, and no ladder has more steps than these.
    for _ in 0..STEPS_MAX {
        for index in cameras {
            allotments[*index].climb(&mut budget);
        }
    }

    let desired_bps: u64 = allotments.iter().map(Allotment::desired_bps).sum();
    Allocation {
        targets: allotments.iter().map(Allotment::layer).collect(),
        limited: allotments.iter().map(|allotment| allotment.height < allotment.steps.len()).collect(),
        allocated_bps: budget.taken_bps,
        desired_bps: desired_bps * DESIRED_PERCENT / 100,
    }
}

fn rank(content: Content) -> u8 {
    match content {
        Content::Microphone | Content::ScreenAudio => 0,
        Content::Screen => 1,
        Content::Camera => 2,
    }
}

struct Budget {
    estimate_bps: u64,
    taken_bps: u64,
}

impl Budget {
    /// Takes `more_bps` if there is room for it.
    fn take(&mut self, more_bps: u64, direction: Direction) -> bool {
        let percent = match direction {
            Direction::Stay => STAY_PERCENT,
            Direction::Begin => 100,
            Direction::Climb => 100 - CLIMB_RESERVE_PERCENT,
        };
        let fits = self.taken_bps + more_bps <= self.estimate_bps / 100 * percent;
        if fits {
            self.taken_bps += more_bps;
        }
        fits
    }
}

/// Where a step leads from what is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// It is sent already, or less than that.
    Stay,
    /// The first picture of a source.
    Begin,
    Climb,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    layer: Layer,
    bitrate_bps: u64,
}

/// All temporal layers of the smallest encoding one by one, and the larger encodings and spatial
/// layers whole.
const STEPS_MAX: usize = 4 + ENCODINGS_MAX * SPATIAL_LAYERS_MAX as usize - 1;

/// What one demand may get, from little to all, and how much of it it has.
struct Allotment {
    steps: Vec<Step>,
    /// How many steps it is up; 0: nothing.
    height: usize,
    current: Option<Layer>,
    may_climb: bool,
}

impl Allotment {
    fn new(demand: &Demand<'_>) -> Self {
        let steps = if demand.content.is_audio() { audio_steps(demand) } else { video_steps(demand) };
        Allotment { steps, height: 0, current: demand.current, may_climb: demand.may_climb }
    }

    fn layer(&self) -> Option<Layer> {
        Some(self.steps[self.height.checked_sub(1)?].layer)
    }

    fn desired_bps(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.bitrate_bps)
    }

    /// Goes one step up, if there is one and it fits.
    fn climb(&mut self, budget: &mut Budget) -> bool {
        let Some(step) = self.steps.get(self.height) else { return false };
        let has_bps = self.height.checked_sub(1).map_or(0, |below| self.steps[below].bitrate_bps);
        let direction = match self.current {
            Some(current) if step.layer <= current => Direction::Stay,
            None if self.height == 0 => Direction::Begin,
            _ => Direction::Climb,
        };
        if direction != Direction::Stay && !self.may_climb {
            return false;
        }
        let climbed = budget.take(step.bitrate_bps.saturating_sub(has_bps), direction);
        self.height += usize::from(climbed);
        climbed
    }

    fn take_if_most_fits(&mut self, budget: &mut Budget) {
        let Some(step) = self.steps.first().filter(|_| self.may_climb || self.current.is_some()) else {
            return;
        };
        let room_bps = budget.estimate_bps.saturating_sub(budget.taken_bps);
        if step.bitrate_bps * FIRST_PICTURE_PERCENT / 100 <= room_bps {
            self.take_unasked(budget);
        }
    }

    fn take_unasked(&mut self, budget: &mut Budget) {
        let Some(step) = self.steps.first() else { return };
        budget.taken_bps += step.bitrate_bps;
        self.height = 1;
    }
}

fn audio_steps(demand: &Demand<'_>) -> Vec<Step> {
    let encoding = demand.encodings.first();
    let step = encoding.map(|encoding| Step {
        layer: encoding.whole(),
        bitrate_bps: encoding.bitrate_bps.unwrap_or(AUDIO_BPS).max(AUDIO_BPS_MIN),
    });
    step.into_iter().collect()
}

fn video_steps(demand: &Demand<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(STEPS_MAX);
    let wanted = wanted_encodings(demand);
    for encoding in demand.encodings.iter().take(wanted) {
        let whole_bps = encoding.bitrate_bps.unwrap_or_else(|| unmeasured_bps(encoding));
        let layers = TEMPORAL_PERCENT[usize::from(encoding.temporal_layers.clamp(1, 4)) - 1];
        if steps.is_empty() {
            for (temporal, percent) in layers.iter().take(layers.len() - 1).enumerate() {
                let layer = encoding.layer(temporal as u8);
                steps.push(Step { layer, bitrate_bps: whole_bps * percent / 100 });
            }
        }
        steps.push(Step { layer: encoding.whole(), bitrate_bps: whole_bps });
    }
    steps
}

fn unmeasured_bps(encoding: &Encoding) -> u64 {
    let Some(size) = encoding.size else {
        let step = match encoding.spatial {
            Layer::SPATIAL_MAX => encoding.index,
            spatial => encoding.index.max(spatial),
        };
        return UNMEASURED_BPS[usize::from(step).min(ENCODINGS_MAX - 1)];
    };
    let shorter = size.width.min(size.height);
    let known = UNMEASURED_BY_SIZE_BPS.iter().find(|(side_max, _)| shorter <= *side_max);
    known.expect("the last one is the largest of all").1
}

/// Which of these encodings a tile of this size takes when there is room, and whether it is large
/// enough for it.
pub fn wanted_for(tile: Option<VideoSize>, encodings: &[Encoding]) -> Option<(u8, bool)> {
    let demand = Demand { content: Content::Camera, tile, encodings, current: None, may_climb: true };
    let wanted = encodings.get(wanted_encodings(&demand).checked_sub(1)?)?;
    Some((wanted.index, covers(tile, wanted)))
}

/// How many encodings there are up to the smallest one that covers the tile; all, if none does.
fn wanted_encodings(demand: &Demand<'_>) -> usize {
    let covering = demand.encodings.iter().position(|encoding| covers(demand.tile, encoding));
    covering.map_or(demand.encodings.len(), |position| position + 1)
}

fn covers(tile: Option<VideoSize>, encoding: &Encoding) -> bool {
    let (Some(tile), Some(size)) = (tile, encoding.size) else { return false };
    let reaches = |picture: u16, tile: u16| u64::from(picture) * ENLARGEMENT_PERCENT >= u64::from(tile) * 100;
    reaches(size.width, tile.width) || reaches(size.height, tile.height)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn encoding(index: u8, width: u16, kbps: u64) -> Encoding {
        let size = VideoSize { width, height: width / 16 * 9 };
        let spatial = Layer::SPATIAL_MAX;
        Encoding { index, spatial, size: Some(size), bitrate_bps: Some(kbps * 1_000), temporal_layers: 1 }
    }

    /// H.264 in three sizes, as a 720p camera sends it.
    const CAMERA: [Encoding; 3] = [encoding(0, 320, 150), encoding(1, 640, 500), encoding(2, 1280, 1_500)];
    const SCREEN: [Encoding; 1] = [encoding(0, 1920, 1_000)];
    const VOICE: [Encoding; 1] = [Encoding { size: None, bitrate_bps: None, ..encoding(0, 0, 0) }];

    fn demand(content: Content, tile_width: u16, encodings: &[Encoding]) -> Demand<'_> {
        let tile = Some(VideoSize { width: tile_width, height: tile_width / 16 * 9 });
        Demand { content, tile, encodings, current: None, may_climb: true }
    }

    fn camera(tile_width: u16) -> Demand<'static> {
        demand(Content::Camera, tile_width, &CAMERA)
    }

    fn screen() -> Demand<'static> {
        demand(Content::Screen, 1920, &SCREEN)
    }

    fn voice() -> Demand<'static> {
        Demand { tile: None, ..demand(Content::Microphone, 0, &VOICE) }
    }

    /// Encodings of the targets.
    fn encodings(estimate_kbps: u64, demands: &[Demand<'_>]) -> Vec<Option<u8>> {
        let targets = allocate(Some(estimate_kbps * 1_000), demands).targets;
        targets.into_iter().map(|target| target.map(|layer| layer.encoding)).collect()
    }

    #[test]
    fn a_tile_gets_the_smallest_layer_that_covers_it() {
        for (tile, wanted) in [(1, 0), (160, 0), (320, 0), (400, 0), (416, 1), (800, 1), (816, 2), (3_840, 2)]
        {
            assert_eq!(encodings(100_000, &[camera(tile)]), [Some(wanted)], "a tile of {tile}");
        }
        assert_eq!(encodings(100_000, &[Demand { tile: None, ..camera(1) }]), [Some(2)]);
        // A portrait picture covers a tile when its height does.
        let portrait =
            [Encoding { size: Some(VideoSize { width: 180, height: 320 }), ..CAMERA[0] }, CAMERA[1]];
        assert_eq!(encodings(100_000, &[demand(Content::Camera, 640, &portrait)]), [Some(0)]);
    }

    #[test]
    fn spatial_layers_of_one_encoding_are_steps_as_encodings_are() {
        let svc: [Encoding; 3] = std::array::from_fn(|layer| Encoding {
            index: 0,
            spatial: layer as u8,
            temporal_layers: 3,
            ..CAMERA[layer]
        });
        for (estimate_kbps, tile, spatial, temporal) in [
            (100_000, 320, 0, 3),
            (100_000, 640, 1, 3),
            (100_000, 1280, 2, 3),
            (1_700, 1280, 1, 3),
            (100, 1280, 0, 0),
        ] {
            let allocation = allocate(Some(estimate_kbps * 1_000), &[demand(Content::Camera, tile, &svc)]);
            assert_eq!(
                allocation.targets,
                [Some(Layer { encoding: 0, spatial, temporal })],
                "{estimate_kbps} {tile}"
            );
        }
    }

    #[test]
    fn the_order_of_needs() {
        let audio_kbps = AUDIO_BPS / 1_000;
        for (estimate_kbps, demands, expected) in [
            // Audio is sent whatever the estimate, and set aside before pictures.
            (0, vec![voice(), voice()], vec![Some(0), Some(0)]),
            (150 + audio_kbps, vec![camera(320), voice()], vec![Some(0), Some(0)]),
            (96 + audio_kbps, vec![camera(320), voice()], vec![None, Some(0)]),
            // A screen comes before cameras, wherever it stands.
            (1_100, vec![camera(320), screen()], vec![None, Some(0)]),
            (1_150, vec![camera(320), screen()], vec![Some(0), Some(0)]),
            // The lowest for everyone comes before more for anyone.
            (460, vec![camera(1280), camera(1280), camera(1280)], vec![Some(0), Some(0), Some(0)]),
            (300, vec![camera(1280), camera(1280), camera(1280)], vec![Some(0), Some(0), None]),
            // Then one step each in turn.
            (1_400, vec![camera(1280), camera(1280)], vec![Some(1), Some(1)]),
            (2_400, vec![camera(1280), camera(1280)], vec![Some(2), Some(1)]),
            (3_600, vec![camera(1280), camera(1280)], vec![Some(2), Some(2)]),
            // A small tile leaves its share to others.
            (2_000, vec![camera(320), camera(1280)], vec![Some(0), Some(2)]),
        ] {
            assert_eq!(encodings(estimate_kbps, &demands), expected, "at {estimate_kbps} kbit/s");
        }
    }

    #[test]
    fn one_picture_is_sent_even_if_it_does_not_quite_fit() {
        assert_eq!(encodings(98, &[camera(320), camera(320)]), [Some(0), None]);
        assert_eq!(encodings(97, &[camera(320), camera(320)]), [None, None]);
    }

    #[test]
    fn going_up_needs_more_room_than_staying() {
        let at = |encoding| Demand { current: Some(Layer::whole(encoding)), ..camera(1280) };
        for (estimate_kbps, from_low, from_high) in [
            (1_350, 1, 1),
            (1_400, 1, 2),
            (1_510, 1, 2),
            (1_700, 1, 2),
            (1_780, 2, 2),
            (510, 0, 1),
            (600, 1, 1),
            (490, 0, 1),
            (440, 0, 0),
        ] {
            let targets = [at(0), at(2)].map(|demand| encodings(estimate_kbps, &[demand])[0]);
            assert_eq!(targets, [Some(from_low), Some(from_high)], "at {estimate_kbps} kbit/s");
        }
    }

    #[test]
    fn audio_takes_what_was_measured() {
        let taken = |bitrate_bps| {
            let measured = [Encoding { bitrate_bps, ..VOICE[0] }];
            allocate(Some(0), &[Demand { encodings: &measured, ..voice() }]).allocated_bps
        };
        assert_eq!([None, Some(2_000), Some(45_000)].map(taken), [AUDIO_BPS, AUDIO_BPS_MIN, 45_000]);
    }

    #[test]
    fn temporal_layers_are_the_lowest_steps() {
        let vp8 = CAMERA.map(|encoding| Encoding { temporal_layers: 3, ..encoding });
        for (estimate_kbps, layer) in [
            (70, Layer { temporal: 0, ..Layer::whole(0) }),
            (110, Layer { temporal: 1, ..Layer::whole(0) }),
            (180, Layer::whole(0)),
            (600, Layer::whole(1)),
        ] {
            let targets =
                allocate(Some(estimate_kbps * 1_000), &[demand(Content::Camera, 1280, &vp8)]).targets;
            assert_eq!(targets, [Some(layer)], "at {estimate_kbps} kbit/s");
        }
    }

    #[test]
    fn before_the_first_estimate_everyone_gets_a_small_picture() {
        let vp8 =
            CAMERA.map(|encoding| Encoding { bitrate_bps: None, size: None, temporal_layers: 3, ..encoding });
        let mut demands = vec![voice(); 3];
        demands.extend([demand(Content::Camera, 320, &vp8); 9]);
        let allocation = allocate(None, &demands);
        assert!(allocation.targets.iter().all(Option::is_some), "{allocation:?}");
        assert!(allocation.allocated_bps <= ESTIMATE_START_BPS);
    }

    #[test]
    fn a_source_that_sends_nothing_takes_nothing() {
        let nothing = demand(Content::Camera, 1280, &[]);
        let allocation = allocate(Some(1_000_000), &[nothing]);
        assert_eq!(
            allocation,
            Allocation { targets: vec![None], limited: vec![false], ..Allocation::default() }
        );
    }

    #[test]
    fn m7_a_forged_estimate_gets_the_top_layer_and_no_more() {
        let allocation = allocate(Some(u64::MAX), &[camera(1280), camera(320), voice()]);
        assert_eq!(allocation.targets, [2, 0, 0].map(|encoding| Some(Layer::whole(encoding))));
        assert_eq!(allocation.allocated_bps, 1_650_000 + AUDIO_BPS);
        assert_eq!(allocation.desired_bps, (1_650_000 + AUDIO_BPS) * DESIRED_PERCENT / 100);
    }

    #[test]
    fn what_is_desired_does_not_depend_on_what_is_there() {
        let demands = [camera(1280), screen(), voice()];
        let desired = |kbps: u64| allocate(Some(kbps * 1_000), &demands).desired_bps;
        assert_eq!(desired(100), desired(100_000));
        assert_eq!(desired(100), (1_500_000 + 1_000_000 + AUDIO_BPS) * DESIRED_PERCENT / 100);
    }

    fn any_demand() -> impl Strategy<Value = (Content, u16, Option<u8>, u8)> {
        let content = prop_oneof![Just(Content::Camera), Just(Content::Screen), Just(Content::Microphone)];
        (content, 1..4_000u16, proptest::option::of(0..3u8), 1..5u8)
    }

    proptest! {
        #[test]
        fn the_estimate_is_kept_and_more_of_it_never_means_less(
            wishes in proptest::collection::vec(any_demand(), 0..20),
            estimate_kbps in 0..20_000u64,
            more_kbps in 0..5_000u64,
        ) {
            let layered: Vec<[Encoding; 3]> = wishes.iter()
                .map(|(_, _, _, temporal_layers)| CAMERA.map(|e| Encoding { temporal_layers: *temporal_layers, ..e }))
                .collect();
            let demands: Vec<Demand<'_>> = wishes.iter().zip(&layered)
                .map(|((content, tile, current, _), encodings)| Demand {
                    current: current.map(Layer::whole),
                    ..demand(*content, *tile, if content.is_audio() { &VOICE } else { encodings })
                })
                .collect();
            let audio_bps = wishes.iter().filter(|wish| wish.0.is_audio()).count() as u64 * AUDIO_BPS;
            let allocation = allocate(Some(estimate_kbps * 1_000), &demands);
            let first_picture_bps = 150_000;
            let limit = (estimate_kbps * 10 * STAY_PERCENT).max(audio_bps) + first_picture_bps;
            prop_assert!(allocation.allocated_bps <= limit, "{allocation:?}");

            let richer = allocate(Some((estimate_kbps + more_kbps) * 1_000), &demands);
            let shown = |allocation: &Allocation| allocation.targets.iter().flatten().count();
            // What is sent already may take a little more than the estimate, and what is new not.
            let same = demands.iter().all(|demand| demand.current.is_some() == demands[0].current.is_some());
            prop_assert!(!same || shown(&richer) >= shown(&allocation));
        }
    }
}
