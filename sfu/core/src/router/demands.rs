//! What publishers are told of the encodings that somebody watches.

use broletto_control::Notification;

use super::{Context, Router};
use crate::allocator;
use crate::demand::Layers;

impl Router {
    /// Tells publishers what has changed. It looks at what consumers wish and not only at what flows
    /// to them, so that an encoding which rests is asked for as soon as a tile grows.
    pub(super) fn update_demands(&mut self, cx: &mut Context<'_>) {
        let slots: Vec<usize> = self
            .producers
            .iter()
            .filter(|(_, producer)| !producer.is_audio())
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            let wanted = self.wanted_of(slot, cx);
            let Some(producer) = self.producers.get_mut(slot).filter(|producer| !producer.paused) else {
                continue;
            };
            if let Some(layers) = producer.demand.update(wanted, cx.now) {
                self.notify_demand(slot, layers, cx);
            }
        }
    }

    /// Tells every publisher again, to a signaling process that may be new.
    pub(super) fn notify_demands(&mut self, cx: &mut Context<'_>) {
        let video = self.producers.iter().filter(|(_, producer)| !producer.is_audio() && !producer.paused);
        let asked: Vec<(usize, Layers)> =
            video.map(|(slot, producer)| (slot, producer.demand.asked())).collect();
        for (slot, layers) in asked {
            self.notify_demand(slot, layers, cx);
        }
    }

    fn notify_demand(&self, slot: usize, layers: Layers, cx: &mut Context<'_>) {
        let Some(producer) = self.producers.get(slot) else { return };
        let Some(transport) = self.transports.get(producer.transport) else { return };
        cx.outbox.notify(Notification::ProducerDemand {
            transport: transport.id,
            producer: producer.id,
            layers: layers.indexes(),
        });
    }

    /// The encodings that consumers get, are to get, and would get if there were room; and the
    /// smallest, which a path that narrows falls back to.
    fn wanted_of(&self, slot: usize, cx: &Context<'_>) -> Layers {
        let mut wanted = Layers::default();
        let Some(producer) = self.producers.get(slot) else { return wanted };
        let available = producer.available(cx.now);
        let known = producer.encodings.iter().map(|encoding| encoding.size.is_some());
        let unknown: Vec<usize> =
            known.enumerate().filter(|(_, is_known)| !is_known).map(|(index, _)| index).collect();
        for key in &producer.consumers {
            let Some(transport) = self.transports.get(key.transport) else { continue };
            let consumer = &transport.consumers[key.consumer];
            wanted.insert(0);
            let held = [consumer.current(), consumer.target()];
            held.into_iter().flatten().for_each(|layer| wanted.insert(usize::from(layer.encoding)));
            let covered = match allocator::wanted_for(consumer.size, &available) {
                Some((index, covered)) => {
                    wanted.insert(usize::from(index));
                    covered
                }
                None => false,
            };
            if !covered {
                // Nobody knows how large these are until they come.
                unknown.iter().for_each(|index| wanted.insert(*index));
            }
        }
        wanted
    }
}
