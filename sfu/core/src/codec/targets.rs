//! Sets of decode targets: what a receiver may have chosen to get of a stream with layers.
//!
//! A target is a spatial layer and a temporal layer, up to which a receiver decodes. A frame is
//! needed for some of them and not for others, and some can be joined at it. That says all that is
//! needed to choose packets, whichever way the layers depend on each other: plain temporal layers,
//! spatial layers that depend on each other in every picture (L3T3), or in key pictures only
//! (L3T3_KEY), where the largest does without the smaller ones in between.

/// Spatial layers that are told apart. Whatever is above is not forwarded.
pub const SPATIAL_LAYERS_MAX: u8 = 3;
/// Temporal layers: ids have two bits in VP8, and nobody sends more than three.
pub const TEMPORAL_LAYERS_MAX: u8 = 4;

/// A bit for each target: the lowest spatial layer has the lowest four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets(u16);

impl Targets {
    pub const NONE: Targets = Targets(0);
    pub const ALL: Targets = Targets(0x0fff);

    /// One target. None of them, if the layers are not told apart.
    pub fn of(spatial: u8, temporal: u8) -> Self {
        if spatial < SPATIAL_LAYERS_MAX && temporal < TEMPORAL_LAYERS_MAX {
            Targets(1 << (spatial * TEMPORAL_LAYERS_MAX + temporal))
        } else {
            Targets::NONE
        }
    }

    /// Those of one spatial layer, from a temporal layer on.
    pub fn from(spatial: u8, temporal: u8) -> Self {
        let temporal = temporal.min(TEMPORAL_LAYERS_MAX);
        let layers = (0xf << temporal) & 0xf;
        if spatial < SPATIAL_LAYERS_MAX {
            Targets(layers << (spatial * TEMPORAL_LAYERS_MAX))
        } else {
            Targets::NONE
        }
    }

    /// Those of any spatial layer, from a temporal layer on.
    pub fn from_temporal(temporal: u8) -> Self {
        (0..SPATIAL_LAYERS_MAX).fold(Targets::NONE, |all, spatial| all.and(Targets::from(spatial, temporal)))
    }

    /// Those with at most these layers.
    pub fn up_to(spatial: u8, temporal: u8) -> Self {
        let above = Targets::from_temporal(temporal.saturating_add(1));
        let spatial = u32::from(spatial.min(SPATIAL_LAYERS_MAX - 1));
        Targets(((1 << ((spatial + 1) * u32::from(TEMPORAL_LAYERS_MAX))) - 1) & !above.0)
    }

    #[must_use]
    pub fn and(self, other: Targets) -> Self {
        Targets(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Targets) -> Self {
        Targets(self.0 & !other.0)
    }

    pub fn has_all(self, others: Targets) -> bool {
        self.0 & others.0 == others.0
    }

    pub fn has_any(self, others: Targets) -> bool {
        self.0 & others.0 != 0
    }

    pub fn has(self, spatial: u8, temporal: u8) -> bool {
        self.has_any(Targets::of(spatial, temporal))
    }

    /// The highest temporal layer, at most `temporal`, of the targets of a spatial layer.
    pub fn highest_temporal(self, spatial: u8, temporal: u8) -> Option<u8> {
        if spatial >= SPATIAL_LAYERS_MAX {
            return None;
        }
        let layers = self.0 >> (spatial * TEMPORAL_LAYERS_MAX) & 0xf & ((2 << temporal.min(3)) - 1);
        layers.checked_ilog2().map(|highest| highest as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart() {
        assert!(Targets::of(2, 3).has(2, 3) && !Targets::of(2, 3).has(1, 3));
        assert_eq!(Targets::of(3, 0), Targets::NONE);
        assert_eq!(Targets::from_temporal(0), Targets::ALL);
        assert_eq!(Targets::up_to(2, 3), Targets::ALL);
        assert_eq!(Targets::up_to(0, 1), Targets::of(0, 0).and(Targets::of(0, 1)));
        assert_eq!(
            Targets::up_to(1, 0).and(Targets::from(1, 2)).without(Targets::of(0, 0)),
            Targets::of(1, 0).and(Targets::of(1, 2)).and(Targets::of(1, 3))
        );
    }

    #[test]
    fn the_highest_temporal_layer_is_found() {
        let targets = Targets::of(1, 0).and(Targets::of(1, 2));
        assert_eq!(
            [0, 1, 2, 3].map(|temporal| targets.highest_temporal(1, temporal)),
            [0, 0, 2, 2].map(Some)
        );
        assert_eq!([0, 2, 3].map(|spatial| targets.highest_temporal(spatial, 3)), [None; 3]);
    }
}
