//! Who should be in which slot of pictures. Pure.

use std::collections::BTreeMap;

use broletto_protocol::client::{Show, ViewSlot};
use broletto_protocol::server::Participant;
use broletto_protocol::{ParticipantId, Publishing, Source};

/// Of a shared screen.
const SCREEN: [u16; 2] = [1_280, 720];

/// What is known of the others.
#[derive(Debug, Default)]
pub(super) struct Roster {
    others: BTreeMap<ParticipantId, Publishing>,
}

impl Roster {
    pub(super) fn new(participants: &[Participant], you: &ParticipantId) -> Self {
        let others = participants.iter().filter(|one| one.id != *you);
        Roster { others: others.map(|one| (one.id.clone(), one.publishing)).collect() }
    }

    pub(super) fn handle(&mut self, participant: &Participant, you: &ParticipantId) {
        if participant.id != *you {
            self.others.insert(participant.id.clone(), participant.publishing);
        }
    }

    pub(super) fn remove(&mut self, participant: &ParticipantId) {
        self.others.remove(participant);
    }
}

/// The slots and what was wished for each.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The first is for a screen.
    slots: Vec<(String, Option<ParticipantId>)>,
    tile: [u16; 2],
}

impl Wishes {
    pub(super) fn new(mids: Vec<String>, tile: [u16; 2]) -> Self {
        Wishes { slots: mids.into_iter().map(|mid| (mid, None)).collect(), tile }
    }

    /// What has to be said after the roster changed. Whoever has a slot keeps it.
    pub(super) fn update(&mut self, roster: &Roster) -> Vec<ViewSlot> {
        let mut changes = Vec::new();
        let tile = self.tile;
        let Some(((screen_mid, screen), cameras)) = self.slots.split_first_mut() else { return changes };
        let sharing =
            roster.others.iter().find(|(_, publishing)| publishing.screen).map(|(id, _)| id.clone());
        if *screen != sharing {
            *screen = sharing;
            changes.push(view(screen_mid, screen, Source::Screen, SCREEN));
        }
        let films = |id: &ParticipantId| roster.others.get(id).is_some_and(|publishing| publishing.camera);
        let shown: Vec<ParticipantId> =
            cameras.iter().filter_map(|(_, shown)| shown.clone()).filter(films).collect();
        let mut waiting = roster.others.keys().filter(|id| films(id) && !shown.contains(id));
        for (mid, shown) in cameras {
            if shown.as_ref().is_some_and(films) {
                continue;
            }
            let next = waiting.next().cloned();
            if *shown != next {
                *shown = next;
                changes.push(view(mid, shown, Source::Camera, tile));
            }
        }
        changes
    }
}

fn view(mid: &str, whom: &Option<ParticipantId>, source: Source, [width, height]: [u16; 2]) -> ViewSlot {
    let mid = mid.to_owned();
    match whom.clone() {
        None => ViewSlot { mid, show: Show::Off, width: None, height: None },
        Some(participant) => {
            let show = Show::Participant { participant, source };
            ViewSlot { mid, show, width: Some(width), height: Some(height) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(ids: &[(&str, bool, bool)]) -> Roster {
        let publishing = |camera, screen| Publishing { camera, screen, ..Publishing::default() };
        let others = ids
            .iter()
            .map(|(id, camera, screen)| (ParticipantId((*id).to_owned()), publishing(*camera, *screen)));
        Roster { others: others.collect() }
    }

    fn said(views: &[ViewSlot]) -> Vec<(String, Option<String>)> {
        let whom = |view: &ViewSlot| match &view.show {
            Show::Participant { participant, .. } => Some(participant.0.clone()),
            Show::Off | Show::Speaker => None,
        };
        views.iter().map(|view| (view.mid.clone(), whom(view))).collect()
    }

    #[test]
    fn slots_are_filled_kept_and_given_to_whoever_waits() {
        let mut wishes = Wishes::new(["s", "1", "2"].map(str::to_owned).to_vec(), [640, 360]);
        let some = |slots: &[(&str, Option<&str>)]| {
            let owned = slots.iter().map(|(mid, whom)| ((*mid).to_owned(), whom.map(str::to_owned)));
            owned.collect::<Vec<_>>()
        };
        let everyone = roster(&[("a", true, false), ("b", true, true), ("c", true, false)]);
        let views = wishes.update(&everyone);
        assert_eq!(said(&views), some(&[("s", Some("b")), ("1", Some("a")), ("2", Some("b"))]));
        assert_eq!((views[0].width, views[1].width), (Some(1_280), Some(640)));
        assert!(wishes.update(&everyone).is_empty());
        // Of those who stay nobody moves.
        let fewer = roster(&[("b", true, false), ("c", true, false)]);
        assert_eq!(said(&wishes.update(&fewer)), some(&[("s", None), ("1", Some("c"))]));
        let muted = roster(&[("b", false, false), ("c", true, false)]);
        assert_eq!(said(&wishes.update(&muted)), some(&[("2", None)]));
    }
}
