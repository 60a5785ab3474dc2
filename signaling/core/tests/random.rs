//! Random interleavings of everything that clients, nodes and processes do. Whatever happens,
//! everyone sees the same roster, nothing refers to somebody who is gone, and the node has what
//! was saved.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broletto_control::{ConsumerRule, Notification, TransportId};
use broletto_protocol::ServerFrame;
use broletto_protocol::server::{Participant, ServerMessage, Slot};
use common::*;
use proptest::prelude::*;
use serde_json::json;

const CLIENTS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Join {
        client: usize,
        room: usize,
    },
    Leave {
        client: usize,
    },
    Break {
        client: usize,
    },
    Resume {
        client: usize,
    },
    Offer {
        client: usize,
        fresh: bool,
        codecs: &'static str,
    },
    Publish {
        client: usize,
        camera: bool,
    },
    View {
        client: usize,
        of: usize,
        slot: bool,
    },
    /// The node shows what was wished, and tells so.
    ShowWished,
    NodeCloses {
        index: usize,
    },
    NodeLost {
        forgets: bool,
    },
    NodeBack,
    Hold,
    Release,
    Wait {
        seconds: u64,
    },
    Restart,
    EndRoom {
        room: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let codecs = prop_oneof![Just("opus h264 vp8"), Just("opus vp8"), Just("opus h264"), Just("opus")];
    prop_oneof![
        6 => (client.clone(), 0..2usize).prop_map(|(client, room)| Step::Join { client, room }),
        2 => client.clone().prop_map(|client| Step::Leave { client }),
        3 => client.clone().prop_map(|client| Step::Break { client }),
        4 => client.clone().prop_map(|client| Step::Resume { client }),
        6 => (client.clone(), any::<bool>(), codecs)
            .prop_map(|(client, fresh, codecs)| Step::Offer { client, fresh, codecs }),
        3 => (client.clone(), any::<bool>()).prop_map(|(client, camera)| Step::Publish { client, camera }),
        5 => (client.clone(), client, any::<bool>())
            .prop_map(|(client, of, slot)| Step::View { client, of, slot }),
        3 => Just(Step::ShowWished),
        1 => (0..8usize).prop_map(|index| Step::NodeCloses { index }),
        1 => any::<bool>().prop_map(|forgets| Step::NodeLost { forgets }),
        2 => Just(Step::NodeBack),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
        2 => (1..40u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
        1 => (0..2usize).prop_map(|room| Step::EndRoom { room }),
    ]
}

/// What a client has been told.
#[derive(Default)]
struct Client {
    member: Option<Member>,
    online: bool,
    room: String,
    roster: BTreeMap<String, Participant>,
    slots: BTreeMap<String, Slot>,
    /// Numbers of the fresh offers.
    fresh: BTreeSet<u64>,
}

struct Play {
    world: World,
    clients: Vec<Client>,
    rooms: Vec<(String, String)>,
}

impl Play {
    fn new() -> Self {
        let mut play = Play { world: World::new(), clients: Vec::new(), rooms: Vec::new() };
        play.clients.resize_with(CLIENTS, Client::default);
        for _ in 0..2 {
            let made = play.world.conference.create_room(Default::default(), source(), play.world.now);
            let made = made.expect("a room");
            let token = serde_json::to_string(&made.moderator).expect("claims serialise");
            play.rooms.push((made.room.id, token));
        }
        play.world.settle();
        play
    }

    fn member(&self, client: usize) -> Option<Member> {
        self.clients[client].member.clone().filter(|_| self.clients[client].online)
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Join { client, room } if self.clients[client].member.is_none() => {
                let connection = self.world.connect();
                let room = self.rooms[room].0.clone();
                let reply = self.world.ask(connection, join(&room, &format!("Client {client}")));
                self.seat(client, connection, reply);
            }
            Step::Join { .. } => {}
            Step::Leave { client } => {
                if let Some(member) = self.member(client) {
                    self.world.say(member.connection, json!({ "type": "leave" }));
                }
            }
            Step::Break { client } => {
                if let Some(member) = self.member(client) {
                    self.world.disconnect(member.connection);
                    self.clients[client].online = false;
                }
            }
            Step::Resume { client } => {
                if let Some(member) = self.clients[client].member.clone() {
                    let connection = self.world.connect();
                    let reply = self.world.ask(connection, resume(&member.secret));
                    self.seat(client, connection, reply);
                }
            }
            Step::Offer { client, fresh, codecs } => {
                if let Some(member) = self.member(client) {
                    let id = self.world.say(member.connection, offer(codecs, fresh));
                    if fresh {
                        self.clients[client].fresh.insert(id);
                    }
                }
            }
            Step::Publish { client, camera } => self.say(client, publish(true, camera)),
            Step::View { client, of, slot } => {
                let other = self.clients[of].member.as_ref().map(|member| member.id.clone());
                let mid = if slot { "3" } else { "4" };
                self.say(client, view(mid, &other.unwrap_or_else(|| "9.9".to_owned()), "camera"));
            }
            Step::ShowWished => self.show_wished(),
            Step::NodeCloses { index } => {
                let transport = self.world.node.transports.keys().nth(index).copied();
                if let (Some(transport), true) = (transport, self.world.node.connected) {
                    self.world.node.transports.remove(&transport);
                    let reason = broletto_control::CloseReason::TimedOut;
                    self.world.notify(Notification::TransportClosed { transport, reason });
                }
            }
            Step::NodeLost { forgets } => {
                self.world.lose_node();
                if forgets {
                    self.world.node.forget();
                }
            }
            Step::NodeBack => {
                if !self.world.node.connected {
                    self.world.connect_node();
                }
            }
            Step::Hold => self.world.node.holding = true,
            Step::Release => self.world.release_node(),
            Step::Wait { seconds } => {
                for client in 0..CLIENTS {
                    self.say(client, json!({ "type": "ping" }));
                }
                self.world.advance(Duration::from_secs(seconds));
            }
            Step::Restart => {
                self.world.node.held.clear();
                self.world.restart();
                for client in &mut self.clients {
                    client.online = false;
                }
            }
            Step::EndRoom { room } => {
                let (id, token) = self.rooms[room].clone();
                if self.world.conference.end_room(&id, Some(&token), self.world.now).is_ok() {
                    self.world.settle();
                    let made =
                        self.world.conference.create_room(Default::default(), source(), self.world.now);
                    if let Ok(made) = made {
                        let token = serde_json::to_string(&made.moderator).expect("claims serialise");
                        self.rooms[room] = (made.room.id, token);
                    }
                    self.world.settle();
                }
            }
        }
        self.listen();
    }

    fn say(&mut self, client: usize, message: serde_json::Value) {
        if let Some(member) = self.member(client) {
            self.world.say(member.connection, message);
        }
    }

    fn seat(
        &mut self,
        client: usize,
        connection: broletto_signaling_core::ConnectionId,
        reply: ServerMessage,
    ) {
        let state = &mut self.clients[client];
        let ServerMessage::Joined { participants, slots, room, .. } = &reply else {
            *state = Client::default();
            return;
        };
        state.member = Some(Member::of(connection, &reply));
        state.online = true;
        state.room.clone_from(&room.id);
        state.roster = participants.iter().map(|one| (one.id.0.clone(), one.clone())).collect();
        state.slots = slots.iter().map(|slot| (slot.mid.clone(), slot.clone())).collect();
    }

    /// Brings each client's picture to what it was told.
    fn listen(&mut self) {
        for client in &mut self.clients {
            let Some(member) = client.member.clone().filter(|_| client.online) else { continue };
            let inbox = self.world.inboxes.entry(member.connection).or_default();
            for ServerFrame { reply_to, message } in std::mem::take(inbox) {
                match message {
                    // The slots of a new connection begin empty.
                    ServerMessage::Answer { .. } if reply_to.is_some_and(|id| client.fresh.contains(&id)) => {
                        client.slots.clear();
                    }
                    ServerMessage::ParticipantJoined { participant } => {
                        let before = client.roster.insert(participant.id.0.clone(), participant);
                        assert!(before.is_none(), "joined twice");
                    }
                    ServerMessage::ParticipantChanged { participant } => {
                        let before = client.roster.insert(participant.id.0.clone(), participant);
                        assert!(before.is_some(), "changed without having joined");
                    }
                    ServerMessage::ParticipantLeft { participant } => {
                        assert!(client.roster.remove(&participant.0).is_some(), "left without having joined");
                    }
                    ServerMessage::Slots { slots } => {
                        client.slots.extend(slots.into_iter().map(|slot| (slot.mid.clone(), slot)));
                    }
                    ServerMessage::OfferNeeded => client.slots.clear(),
                    ServerMessage::Closed { .. } => *client = Client::default(),
                    _ => {}
                }
            }
        }
    }

    fn show_wished(&mut self) {
        if !self.world.node.connected {
            return;
        }
        let mut shown: Vec<(TransportId, _, _)> = Vec::new();
        for (transport, state) in &self.world.node.transports {
            for (consumer, rule) in &state.consumers {
                let source = match rule {
                    ConsumerRule::Producer { producer } => Some(*producer),
                    ConsumerRule::Off | ConsumerRule::Speaker => None,
                };
                shown.push((*transport, *consumer, source));
            }
        }
        for (transport, consumer, source) in shown {
            self.world.notify(Notification::ConsumerSource { transport, consumer, source });
        }
    }

    fn check(&mut self) {
        let saved: Vec<_> = self.world.saved_participants().collect();
        assert_eq!(self.world.conference.totals().participants, saved.len(), "saved as they are");
        for client in self.clients.iter().filter(|client| client.online) {
            let of_room = saved.iter().filter(|record| record["room"] == client.room.as_str());
            let expected: BTreeSet<_> = of_room.filter_map(|record| record["id"].as_str()).collect();
            let seen: BTreeSet<_> = client.roster.keys().map(String::as_str).collect();
            assert_eq!(seen, expected, "the roster");
            for shows in client.slots.values().filter_map(|slot| slot.shows.as_ref()) {
                assert!(client.roster.contains_key(&shows.participant.0), "a slot shows nobody");
            }
        }
        let rosters: Vec<_> =
            self.clients.iter().filter(|client| client.online).map(|one| (&one.room, &one.roster)).collect();
        for (room, roster) in &rosters {
            for (other_room, other) in &rosters {
                assert!(room != other_room || roster == other, "two see the room differently");
            }
        }
        let node = &self.world.node;
        if node.connected && !node.holding && node.held.is_empty() {
            let there: BTreeSet<_> = node.transports.keys().map(|one| one.0.to_string()).collect();
            assert_eq!(there, self.world.saved_transports(), "the node has what was saved");
            for (consumer, producer) in wished(&saved) {
                let rules = node.transports.values().flat_map(|one| &one.consumers);
                let rule = rules.map(|(id, rule)| (id.0.to_string(), *rule)).find(|(id, _)| *id == consumer);
                let pinned = match rule {
                    Some((_, ConsumerRule::Producer { producer })) => Some(producer.0.to_string()),
                    Some((_, ConsumerRule::Off | ConsumerRule::Speaker)) | None => None,
                };
                assert_eq!(pinned, Some(producer), "a wish that can come true does");
            }
        }
    }
}

/// Each consumer that wishes to see a source that is there, with the producer of that source.
fn wished(saved: &[serde_json::Value]) -> Vec<(String, String)> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut pairs = Vec::new();
    let consumers = saved
        .iter()
        .flat_map(|viewer| list(&viewer["media"]["consumers"]).into_iter().map(move |c| (viewer, c)));
    for (viewer, consumer) in consumers {
        let wish = &consumer["wish"];
        let is_seen = |record: &&serde_json::Value| {
            record["id"] == wish["participant"] && record["room"] == viewer["room"]
        };
        let producers = saved.iter().filter(is_seen).flat_map(|record| list(&record["media"]["producers"]));
        let producer = producers.filter(|producer| producer["source"] == wish["source"]);
        pairs.extend(producer.map(|producer| (word(&consumer["consumer"]), word(&producer["producer"]))));
    }
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everyone_sees_the_same(steps in prop::collection::vec(step(), 1..120)) {
        let mut play = Play::new();
        for step in steps {
            play.play(step);
            play.check();
        }
        // In the end all that was held is let go, and nothing stays behind.
        play.world.release_node();
        if !play.world.node.connected {
            play.world.connect_node();
        }
        play.listen();
        play.check();
        play.world.advance(Duration::from_secs(200));
        prop_assert_eq!(play.world.conference.totals().participants, 0);
        prop_assert!(play.world.node.transports.is_empty() && play.world.node.routers.is_empty());
    }
}
