//! From producers to consumers, one transport after the other.
//!
//! Packets that come in together wait until each transport has its turn, and takes all of them: what
//! belongs to a consumer is fetched into the processor's cache once for them, and not once for each.
//!
//! ```text
//! handle_received, many times:  packet --> waiting, and the transports that get it become dirty
//! poll_output, by transport:    waiting --> consumers --> pacer --> outbox
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Context, FAULT, Router};
use crate::consumer::Packet;

/// Packets that wait at most: more than the IO shell hands over at once.
const WAITING_MAX: usize = 512;

/// Packets on their way to the consumers of their producers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    packets: Vec<Incoming>,
    /// How many came before the first of them.
    before: u64,
    /// Whoever was made dirty in an earlier round may have had its turn since.
    round: u64,
}

#[derive(Debug)]
struct Incoming {
    /// Its slot.
    producer: usize,
    packet: Packet,
}

impl Router {
    /// A packet is to go to all consumers of its producer.
    pub(super) fn await_turns(&mut self, slot: usize, packet: Packet, cx: &mut Context<'_>) {
        let Some(producer) = self.producers.get_mut(slot) else { return };
        if producer.announced_in.replace(self.waiting.round) != Some(self.waiting.round) {
            for key in &producer.consumers {
                if let Some(transport) = self.transports.get_mut(key.transport) {
                    cx.note_dirty(self.slot, key.transport, transport);
                }
            }
        }
        if self.waiting.packets.is_empty() {
            cx.undelivered.push(self.slot);
        }
        self.waiting.packets.push(Incoming { producer: slot, packet });
        if self.waiting.packets.len() >= WAITING_MAX {
            self.deliver_all(cx);
        }
    }

    /// Before anything changes that decides who gets what.
    pub fn deliver_all(&mut self, cx: &mut Context<'_>) {
        if self.waiting.packets.is_empty() {
            return;
        }
        for slot in self.transports.indexes() {
            self.deliver(slot, cx);
        }
        self.forget_delivered();
    }

    /// The hot loop: a transport takes what waits for it. A panic ends its session, and no other (M6).
    pub(super) fn deliver(&mut self, slot: usize, cx: &mut Context<'_>) {
        self.waiting.round += 1;
        let Waiting { packets, before, .. } = &self.waiting;
        let Some(transport) = self.transports.get_mut(slot) else { return };
        let end = before + packets.len() as u64;
        let taken = std::mem::replace(&mut transport.packets_taken, end).saturating_sub(*before);
        let packets = &packets[taken as usize..];
        let forwarded = &mut cx.outbox.stats.forwarded;
        let result = catch_unwind(AssertUnwindSafe(|| {
            for Incoming { producer, packet } in packets {
                *forwarded += transport.forward(*producer, packet, cx.now);
            }
        }));
        if result.is_err() {
            cx.outbox.stats.panics += 1;
            transport.fail(FAULT);
            cx.note_dirty(self.slot, slot, transport);
        }
    }

    /// All transports had their turn.
    pub fn forget_delivered(&mut self) {
        self.waiting.before += self.waiting.packets.len() as u64;
        self.waiting.packets.clear();
        self.waiting.round += 1;
    }
}
