//! How much of each source a transport's consumers get: a pure function of what the path carries
//! and what is wished for.
//!
//! Audio is set aside first. Then everyone gets the lowest step, screens before cameras; then
//! screens climb as far as they can; then cameras climb one step each in turn. Going up needs more
//! room than staying, so that a target does not flap when the estimate moves about a limit.

use broletto_control::{Content, VideoSize};

use crate::packet::ENCODINGS_MAX;
use crate::selector::Layer;

/// What an audio consumer takes with its headers, and some of it for redundancy.
pub const AUDIO_BPS: u64 = 60_000;
/// What a path is believed to carry before it was measured.
pub const ESTIMATE_START_BPS: u64 = 1_000_000;
/// Climbing must leave this share of the estimate free, in percent.
pub const CLIMB_RESERVE_PERCENT: u64 = 15;
/// The first picture is sent if so much of it fits, in percent: a late picture is better than none.
pub const FIRST_PICTURE_PERCENT: u64 = 65;
/// A tile takes a layer that is this much smaller in both directions, in percent.
pub const ENLARGEMENT_PERCENT: u64 = 125;
/// What is asked for beyond what the targets take, in percent, so that probing finds room for the
/// layers to vary.
pub const DESIRED_PERCENT: u64 = 110;

/// Bitrates of encodings that were not measured yet, by index.
const UNMEASURED_BPS: [u64; ENCODINGS_MAX] = [150_000, 500_000, 1_500_000];

/// What share of an encoding's bitrate its temporal layers take together, in percent, by their
/// number and the highest that is sent. It is how libvpx divides it.
const TEMPORAL_PERCENT: [&[u64]; 4] = [&[100], &[60, 100], &[40, 60, 100], &[25, 40, 60, 100]];

/// An encoding that flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// As in [`crate::packet::IncomingPacket`].
    pub index: u8,
    /// None until a key frame told.
    pub size: Option<VideoSize>,
    /// With all temporal layers, headers included. None until it was measured.
    pub bitrate_bps: Option<u64>,
    /// 1 to 4; 1 when there is nothing to leave out.
    pub temporal_layers: u8,
}

/// What one consumer would like.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    pub content: Content,
    /// In device pixels; None: as large as comes.
    pub tile: Option<VideoSize>,
    /// In the order of their indexes. Empty: the source sends nothing.
    pub encodings: &'a [Encoding],
    /// What is sent now.
    pub current: Option<Layer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation {
    /// One for each demand, in their order. None: nothing is to be sent.
    pub targets: Vec<Option<Layer>>,
    /// What the targets take, audio included.
    pub allocated_bps: u64,
    /// What everything that was wished for would take: how far it is worth probing.
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
    /// Takes `more_bps` if there is room for it, and for a reserve when `climbing` above what is
    /// sent now.
    fn take(&mut self, more_bps: u64, climbing: bool) -> bool {
        let percent = if climbing { 100 - CLIMB_RESERVE_PERCENT } else { 100 };
        let fits = self.taken_bps + more_bps <= self.estimate_bps / 100 * percent;
        if fits {
            self.taken_bps += more_bps;
        }
        fits
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    layer: Layer,
    bitrate_bps: u64,
}

/// All temporal layers of the smallest encoding one by one, and the larger encodings whole.
const STEPS_MAX: usize = 4 + ENCODINGS_MAX - 1;

/// What one demand may get, from little to all, and how much of it it has.
struct Allotment {
    steps: Vec<Step>,
    /// How many steps it is up; 0: nothing.
    height: usize,
    current: Option<Layer>,
}

impl Allotment {
    fn new(demand: &Demand<'_>) -> Self {
        let steps = if demand.content.is_audio() { audio_steps(demand) } else { video_steps(demand) };
        Allotment { steps, height: 0, current: demand.current }
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
        // A source that is new to the consumer is no climb at its lowest step.
        let climbing = match self.current {
            Some(current) => step.layer > current,
            None => self.height > 0,
        };
        let climbed = budget.take(step.bitrate_bps.saturating_sub(has_bps), climbing);
        self.height += usize::from(climbed);
        climbed
    }

    fn take_if_most_fits(&mut self, budget: &mut Budget) {
        let Some(step) = self.steps.first() else { return };
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
    encoding
        .map(|encoding| Step { layer: Layer::whole(encoding.index), bitrate_bps: AUDIO_BPS })
        .into_iter()
        .collect()
}

fn video_steps(demand: &Demand<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(STEPS_MAX);
    let wanted = wanted_encoding(demand);
    for encoding in
        demand.encodings.iter().take_while(|encoding| wanted.is_some_and(|top| encoding.index <= top))
    {
        let index = usize::from(encoding.index).min(ENCODINGS_MAX - 1);
        let whole_bps = encoding.bitrate_bps.unwrap_or(UNMEASURED_BPS[index]);
        let layers = TEMPORAL_PERCENT[usize::from(encoding.temporal_layers.clamp(1, 4)) - 1];
        if steps.is_empty() {
            for (temporal, percent) in layers.iter().take(layers.len() - 1).enumerate() {
                let layer = Layer { encoding: encoding.index, temporal: temporal as u8 };
                steps.push(Step { layer, bitrate_bps: whole_bps * percent / 100 });
            }
        }
        steps.push(Step { layer: Layer::whole(encoding.index), bitrate_bps: whole_bps });
    }
    steps
}

/// The smallest encoding that covers the tile; the largest there is if none does.
fn wanted_encoding(demand: &Demand<'_>) -> Option<u8> {
    let covers = |encoding: &&Encoding| match (demand.tile, encoding.size) {
        (Some(tile), Some(size)) => {
            let reaches =
                |picture: u16, tile: u16| u64::from(picture) * ENLARGEMENT_PERCENT >= u64::from(tile) * 100;
            reaches(size.width, tile.width) || reaches(size.height, tile.height)
        }
        _ => false,
    };
    let covering = demand.encodings.iter().find(covers);
    covering.or(demand.encodings.last()).map(|encoding| encoding.index)
}
