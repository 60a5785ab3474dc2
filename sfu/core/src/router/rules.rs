//! Which producer each consumer shows or plays.

use std::collections::BTreeSet;

use broletto_control::{ConsumerRule, Content, Notification};

use super::{Context, Router};
use crate::consumer::Consumer;
use crate::producer::ConsumerKey;
use crate::speaker;

/// Slots of producers that a speaker rule may choose, in the order of their claim.
#[derive(Debug, Default)]
struct Claims {
    audio: Vec<usize>,
    video: Vec<usize>,
}

impl Router {
    /// Gives every consumer the source that its rule chooses now, and tells the changes.
    pub(super) fn choose_sources(&mut self, cx: &mut Context<'_>) {
        let claims = self.claims();
        let slots: Vec<usize> = self.transports.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let chosen = self.sources_of(slot, &claims);
            for (consumer, source) in chosen.into_iter().enumerate() {
                self.set_source(ConsumerKey { transport: slot, consumer }, source, cx);
            }
        }
    }

    /// Screen audio before voices; cameras in the order in which the microphones beside them
    /// spoke, then those that have none.
    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        let available = |content| {
            self.producers
                .iter()
                .filter(move |(_, producer)| producer.content == content && !producer.paused)
                .map(|(slot, _)| slot)
        };
        claims.audio.extend(available(Content::ScreenAudio));
        for producer in &self.audible {
            let slot = self.by_producer.get(producer);
            claims.audio.extend(slot.filter(|slot| self.producers.get(**slot).is_some_and(|p| !p.paused)));
        }
        let mut shown = BTreeSet::new();
        for producer in self.speakers.order() {
            let transport = self.by_producer.get(producer).and_then(|slot| self.producers.get(*slot));
            let Some(transport) = transport.and_then(|producer| self.transports.get(producer.transport))
            else {
                continue;
            };
            claims.video.extend(transport.producers.iter().copied().filter(|slot| {
                self.producers
                    .get(*slot)
                    .is_some_and(|producer| producer.content == Content::Camera && !producer.paused)
                    && shown.insert(*slot)
            }));
        }
        claims.video.extend(available(Content::Camera).filter(|slot| shown.insert(*slot)));
        claims
    }

    fn sources_of(&self, slot: usize, claims: &Claims) -> Vec<Option<usize>> {
        let Some(transport) = self.transports.get(slot) else { return Vec::new() };
        let consumers = &transport.consumers;
        let mut sources: Vec<Option<usize>> = vec![None; consumers.len()];
        let mut pinned = Vec::new();
        for (index, consumer) in consumers.iter().enumerate() {
            let ConsumerRule::Producer { producer } = consumer.rule else { continue };
            let Some(source) = self.by_producer.get(&producer).copied() else { continue };
            pinned.push(source);
            sources[index] = Some(source).filter(|source| self.is_acceptable(*source, consumer));
        }
        for (audio, claims) in [(true, &claims.audio), (false, &claims.video)] {
            let pool: Vec<usize> = (0..consumers.len())
                .filter(|index| {
                    consumers[*index].audio == audio && consumers[*index].rule == ConsumerRule::Speaker
                })
                .collect();
            let Some(first) = pool.first() else { continue };
            let held: Vec<Option<usize>> = pool.iter().map(|index| consumers[*index].source).collect();
            let is_candidate = |source: &&usize| {
                let own = self.producers.get(**source).is_none_or(|producer| producer.transport == slot);
                !own && !pinned.contains(*source) && self.is_acceptable(**source, &consumers[*first])
            };
            let candidates: Vec<usize> =
                claims.iter().filter(is_candidate).take(held.len()).copied().collect();
            for (index, source) in pool.iter().zip(speaker::assign(&held, &candidates)) {
                sources[*index] = source;
            }
        }
        sources
    }

    fn is_acceptable(&self, source: usize, consumer: &Consumer) -> bool {
        self.producers
            .get(source)
            .is_some_and(|producer| !producer.paused && consumer.accepts(producer.is_audio(), producer.codec))
    }

    fn set_source(&mut self, key: ConsumerKey, source: Option<usize>, cx: &mut Context<'_>) {
        let Some(transport) = self.transports.get_mut(key.transport) else { return };
        let consumer = &mut transport.consumers[key.consumer];
        if consumer.source != source {
            if let Some(producer) = consumer.source.and_then(|slot| self.producers.get_mut(slot)) {
                producer.remove_consumer(key);
            }
            let producer = source.and_then(|slot| self.producers.get_mut(slot));
            let encodings = producer.as_ref().map_or(0, |producer| producer.encodings.len());
            transport.switch_source(key.consumer, source, encodings);
            if let Some(producer) = producer {
                producer.consumers.push(key);
            }
            self.layers_stale.insert(key.transport);
        }
        let source = source.and_then(|slot| self.producers.get(slot)).map(|producer| producer.id);
        let consumer = &mut transport.consumers[key.consumer];
        if consumer.notified != source {
            consumer.notified = source;
            cx.outbox.notify(Notification::ConsumerSource {
                transport: transport.id,
                consumer: consumer.id,
                source,
            });
        }
    }
}
