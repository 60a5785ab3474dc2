//! Random interleavings of everything that clients, nodes and processes do. Whatever happens,
//! everyone sees the same room and roster, nothing refers to somebody who is gone, whoever waits is
//! told nothing, and the node has what was saved.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broletto_control::{ConsumerRule, Notification, TransportId, TransportStats};
use broletto_protocol::server::{Participant, RoomInfo, ServerMessage, Slot};
use broletto_protocol::{Role, ServerFrame, Source};
use broletto_signaling_core::{Claims, ConnectionId};
use common::*;
use proptest::prelude::*;
use serde_json::json;

const CLIENTS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Join {
        client: usize,
        room: usize,
        role: Role,
    },
    /// What has no effect on who is there.
    Say {
        client: usize,
        message: Message,
    },
    /// A moderator, if the client is one, does this to another.
    Moderate {
        client: usize,
        of: usize,
        what: Moderation,
    },
    /// The node has measured the path of some transport.
    Stats {
        index: usize,
        loss: f32,
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

#[derive(Debug, Clone)]
enum Message {
    Hand(bool),
    Chat,
    ChatTo(usize),
    React,
    Text,
}

#[derive(Debug, Clone)]
enum Moderation {
    Admit,
    Refuse,
    Mute,
    Remove,
    SetRole(&'static str),
    Spotlight,
    LowerHand,
    Lobby(&'static str),
    Locked(bool),
    Allowed(bool),
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        1 => Just(Role::Viewer),
        3 => Just(Role::Guest),
        2 => Just(Role::Participant),
        3 => Just(Role::Moderator),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<bool>().prop_map(Message::Hand),
        Just(Message::Chat),
        (0..CLIENTS).prop_map(Message::ChatTo),
        Just(Message::React),
        Just(Message::Text),
    ]
}

fn moderation() -> impl Strategy<Value = Moderation> {
    let roles = prop_oneof![Just("viewer"), Just("guest"), Just("participant"), Just("moderator")];
    let lobby = prop_oneof![2 => Just("off"), 1 => Just("guests"), 1 => Just("everyone")];
    prop_oneof![
        4 => Just(Moderation::Admit),
        1 => Just(Moderation::Refuse),
        2 => Just(Moderation::Mute),
        1 => Just(Moderation::Remove),
        3 => roles.prop_map(Moderation::SetRole),
        2 => Just(Moderation::Spotlight),
        1 => Just(Moderation::LowerHand),
        3 => lobby.prop_map(Moderation::Lobby),
        2 => any::<bool>().prop_map(Moderation::Locked),
        2 => any::<bool>().prop_map(Moderation::Allowed),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let codecs = prop_oneof![Just("opus h264 vp8"), Just("opus vp8"), Just("opus h264"), Just("opus")];
    prop_oneof![
        6 => (client.clone(), 0..2usize, role()).prop_map(|(client, room, role)| Step::Join { client, room, role }),
        6 => (client.clone(), message()).prop_map(|(client, message)| Step::Say { client, message }),
        10 => (client.clone(), client.clone(), moderation())
            .prop_map(|(client, of, what)| Step::Moderate { client, of, what }),
        2 => (0..8usize, prop_oneof![Just(0.0f32), Just(0.05), Just(0.3)])
            .prop_map(|(index, loss)| Step::Stats { index, loss }),
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
    /// Its WebSocket while it waits in the lobby of `room`, and the role that it came with.
    waiting: Option<(ConnectionId, Role)>,
    info: Option<RoomInfo>,
    /// Ids of those who wait, as it was told as a moderator.
    lobby: Vec<String>,
    chat_serial: u64,
    roster: BTreeMap<String, Participant>,
    slots: BTreeMap<String, Slot>,
    /// Numbers of the fresh offers.
    fresh: BTreeSet<u64>,
}

struct Play {
    world: World,
    clients: Vec<Client>,
    rooms: Vec<(String, Claims)>,
}

impl Play {
    fn new() -> Self {
        let mut play = Play { world: World::new(), clients: Vec::new(), rooms: Vec::new() };
        play.clients.resize_with(CLIENTS, Client::default);
        for _ in 0..2 {
            let made = play.world.conference.create_room(Default::default(), source(), play.world.now);
            let made = made.expect("a room");
            play.rooms.push((made.room.id, made.moderator));
        }
        play.world.settle();
        play
    }

    fn member(&self, client: usize) -> Option<Member> {
        self.clients[client].member.clone().filter(|_| self.clients[client].online)
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Join { client, room, role } if self.is_out(client) => {
                let connection = self.world.connect();
                let (room, claims) = self.rooms[room].clone();
                let message = match role {
                    Role::Guest => join(&room, &format!("Client {client}")),
                    Role::Viewer | Role::Participant | Role::Moderator => {
                        join_by_token(&Claims { role, ..claims })
                    }
                };
                let reply = self.world.ask(connection, message);
                self.seat(client, connection, reply.clone());
                if reply == ServerMessage::Waiting {
                    self.clients[client].room = room;
                    self.clients[client].waiting = Some((connection, role));
                }
            }
            Step::Join { .. } => {}
            Step::Say { client, message } => {
                let message = match message {
                    Message::Hand(raised) => json!({ "type": "hand", "raised": raised }),
                    Message::Chat => json!({ "type": "chat", "text": "to all" }),
                    Message::ChatTo(of) => json!({ "type": "chat", "text": "to one", "to": self.id(of) }),
                    Message::React => json!({ "type": "react", "reaction": "heart" }),
                    Message::Text => json!({ "type": "text", "text": "typed" }),
                };
                self.say(client, message);
            }
            Step::Moderate { client, of, what } => {
                let (id, own) = (self.id(of), self.id(client));
                // The end of the list, so that some are left to wait.
                let waiting: Vec<_> = self.clients[client].lobby.iter().skip(of % 2).collect();
                let message = match what {
                    Moderation::Admit => json!({ "type": "admit", "waiting": waiting }),
                    Moderation::Refuse => json!({ "type": "refuse", "waiting": waiting }),
                    Moderation::Mute => {
                        json!({ "type": "mute", "participants": [id], "sources": ["microphone"] })
                    }
                    Moderation::Remove => json!({ "type": "remove_participant", "participant": id }),
                    Moderation::SetRole(role) => {
                        json!({ "type": "set_role", "participant": id, "role": role })
                    }
                    Moderation::Spotlight => json!({ "type": "spotlight", "participants": [id, own] }),
                    Moderation::LowerHand => json!({ "type": "hand", "raised": false, "participant": id }),
                    Moderation::Lobby(lobby) => json!({ "type": "set_room", "lobby": lobby }),
                    Moderation::Locked(locked) => json!({ "type": "set_room", "locked": locked }),
                    Moderation::Allowed(allowed) => {
                        json!({ "type": "set_room", "allowed": { "camera": allowed, "chat": allowed } })
                    }
                };
                self.say(client, message);
            }
            Step::Stats { index, loss } => {
                let transport = self.world.node.transports.keys().nth(index).copied();
                if let (Some(transport), true) = (transport, self.world.node.connected) {
                    let stats = TransportStats { loss_out: Some(loss), ..TransportStats::default() };
                    self.world.notify(Notification::TransportStats { transport, stats });
                }
            }
            Step::Leave { client } => {
                if let Some((connection, _)) = self.clients[client].waiting {
                    self.world.say(connection, json!({ "type": "leave" }));
                }
                if let Some(member) = self.member(client) {
                    self.world.say(member.connection, json!({ "type": "leave" }));
                }
            }
            Step::Break { client } => {
                if let Some((connection, _)) = self.clients[client].waiting {
                    self.world.disconnect(connection);
                    self.clients[client] = Client::default();
                }
                if let Some(member) = self.member(client) {
                    self.world.disconnect(member.connection);
                    self.clients[client].online = false;
                }
            }
            Step::Resume { client } => {
                if let Some(member) = self.clients[client].member.clone() {
                    let connection = self.world.connect();
                    let mut message = resume(&member.secret);
                    message["chat_after"] = self.clients[client].chat_serial.into();
                    let reply = self.world.ask(connection, message);
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
                    if let Some((connection, _)) = self.clients[client].waiting {
                        self.world.say(connection, json!({ "type": "ping" }));
                    }
                }
                self.world.advance(Duration::from_secs(seconds));
            }
            Step::Restart => {
                self.world.node.held.clear();
                self.world.restart();
                for client in &mut self.clients {
                    client.online = false;
                    if client.waiting.is_some() {
                        *client = Client::default();
                    }
                }
            }
            Step::EndRoom { room } => {
                let (id, claims) = self.rooms[room].clone();
                let token = serde_json::to_string(&claims).expect("claims serialise");
                if self.world.conference.end_room(&id, Some(&token), self.world.now).is_ok() {
                    self.world.settle();
                    let made =
                        self.world.conference.create_room(Default::default(), source(), self.world.now);
                    if let Ok(made) = made {
                        self.rooms[room] = (made.room.id, made.moderator);
                    }
                    self.world.settle();
                }
            }
        }
        self.listen();
    }

    fn is_out(&self, client: usize) -> bool {
        self.clients[client].member.is_none() && self.clients[client].waiting.is_none()
    }

    fn id(&self, client: usize) -> String {
        self.clients[client].member.as_ref().map_or_else(|| "9.9".to_owned(), |member| member.id.clone())
    }

    fn say(&mut self, client: usize, message: serde_json::Value) {
        if let Some(member) = self.member(client) {
            self.world.say(member.connection, message);
        }
    }

    fn seat(&mut self, client: usize, connection: ConnectionId, reply: ServerMessage) {
        self.clients[client].joined(connection, &reply);
    }

    /// Brings each client's picture to what it was told.
    fn listen(&mut self) {
        for client in &mut self.clients {
            if let Some((connection, _)) = client.waiting {
                let inbox = std::mem::take(self.world.inboxes.entry(connection).or_default());
                let mut rest = inbox.into_iter();
                // Whoever waits is told nothing until it is let in or sent away (W4).
                for ServerFrame { message, .. } in rest.by_ref() {
                    match message {
                        ServerMessage::Joined { .. } => {
                            client.joined(connection, &message);
                            break;
                        }
                        ServerMessage::Closed { .. } => *client = Client::default(),
                        ServerMessage::Pong | ServerMessage::Ok => {}
                        other => panic!("told while waiting: {other:?}"),
                    }
                }
                self.world.inboxes.entry(connection).or_default().extend(rest);
            }
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
                    ServerMessage::RoomChanged { room } => client.info = Some(room),
                    ServerMessage::Lobby { waiting } => {
                        assert_eq!(client.roster[&member.id].role, Role::Moderator, "a list for moderators");
                        client.lobby = waiting.into_iter().map(|one| one.id.0).collect();
                    }
                    ServerMessage::Quality { qualities } => {
                        for one in qualities {
                            let known = client.roster.get_mut(&one.participant.0).expect("of somebody here");
                            known.quality = Some(one.quality);
                        }
                    }
                    ServerMessage::ChatMessage { serial, participant, to, .. } => {
                        assert!(serial > client.chat_serial, "told twice, or out of order");
                        client.chat_serial = serial;
                        let own = |id: &broletto_protocol::ParticipantId| id.0 == member.id;
                        assert!(to.is_none_or(|to| own(&to) || own(&participant)), "for somebody else");
                    }
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
        let waiting = self.clients.iter().filter(|client| client.waiting.is_some());
        assert_eq!(self.world.conference.totals().waiting, waiting.clone().count(), "who waits");
        for client in waiting {
            let (_, role) = client.waiting.expect("they wait");
            let mut records = self.world.saved.iter().filter(|(key, _)| key.ends_with(&client.room));
            let (_, record) = records.next().expect("they wait for a room");
            let room: serde_json::Value = serde_json::from_str(record).expect("a record is JSON");
            let is_guest = matches!(role, Role::Viewer | Role::Guest);
            let held = room["locked"] == true || room["lobby"] == "everyone";
            assert!(
                role != Role::Moderator && (held || is_guest && room["lobby"] == "guests"),
                "{role:?} waits for no reason: {room}"
            );
        }
        for record in &saved {
            let publishing = &record["publishing"];
            let on = Source::ALL.iter().any(|source| publishing[source.word()] == true);
            assert!(record["role"] != "viewer" || !on, "a viewer sends");
        }
        for client in self.clients.iter().filter(|client| client.online) {
            let info = client.info.as_ref().expect("who joined was told of the room");
            assert!(
                info.spotlight.iter().all(|id| client.roster.contains_key(&id.0)),
                "who left is in front"
            );
            let hands: Vec<_> = client.roster.values().filter_map(|one| one.hand).collect();
            assert_eq!(hands.iter().collect::<BTreeSet<_>>().len(), hands.len(), "two hands with one number");
            let of_room = saved.iter().filter(|record| record["room"] == client.room.as_str());
            let expected: BTreeSet<_> = of_room.filter_map(|record| record["id"].as_str()).collect();
            let seen: BTreeSet<_> = client.roster.keys().map(String::as_str).collect();
            assert_eq!(seen, expected, "the roster");
            for shows in client.slots.values().filter_map(|slot| slot.shows.as_ref()) {
                assert!(client.roster.contains_key(&shows.participant.0), "a slot shows nobody");
            }
        }
        let online: Vec<_> = self.clients.iter().filter(|client| client.online).collect();
        for one in &online {
            for other in online.iter().filter(|other| other.room == one.room) {
                assert_eq!(one.roster, other.roster, "two see the roster differently");
                // The codec is told apart from the rest.
                let settings = |client: &Client| {
                    let info = client.info.clone().expect("who joined was told of the room");
                    (info.lobby, info.locked, info.allowed, info.spotlight)
                };
                assert_eq!(settings(one), settings(other), "two see the room differently");
            }
        }
        let node = &self.world.node;
        if node.connected && !node.holding && node.held.is_empty() {
            let there: BTreeSet<_> = node.transports.keys().map(|one| one.0.to_string()).collect();
            assert_eq!(there, self.world.saved_transports(), "the node has what was saved");
            for (producer, paused) in paused(&saved) {
                let producers = node.transports.values().flat_map(|one| &one.producers);
                let told = producers.map(|(id, paused)| (id.0.to_string(), *paused));
                let told = told.filter(|(id, _)| *id == producer).map(|(_, paused)| paused);
                assert_eq!(told.collect::<Vec<_>>(), [paused], "what is off is off at the node");
            }
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

impl Client {
    fn joined(&mut self, connection: ConnectionId, reply: &ServerMessage) {
        let ServerMessage::Joined { participants, slots, room, waiting, .. } = reply else {
            *self = Client::default();
            return;
        };
        self.member = Some(Member::of(connection, reply));
        self.online = true;
        self.waiting = None;
        self.room.clone_from(&room.id);
        self.roster = participants.iter().map(|one| (one.id.0.clone(), one.clone())).collect();
        self.slots = slots.iter().map(|slot| (slot.mid.clone(), slot.clone())).collect();
        self.info = Some(room.clone());
        self.lobby = waiting.iter().map(|one| one.id.0.clone()).collect();
    }

    fn is_moderator(&self) -> bool {
        let own = self.member.as_ref().and_then(|member| self.roster.get(&member.id));
        self.online && own.is_some_and(|own| own.role == Role::Moderator)
    }
}

/// Each producer, and whether it is off by what its owner publishes.
fn paused(saved: &[serde_json::Value]) -> Vec<(String, bool)> {
    let mut pairs = Vec::new();
    for record in saved {
        for producer in record["media"]["producers"].as_array().into_iter().flatten() {
            let source = producer["source"].as_str().expect("a word");
            let id = producer["producer"].as_str().expect("an id").to_owned();
            pairs.push((id, record["publishing"][source] != true));
        }
    }
    pairs
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
        // Lists that were gathered are told by now.
        play.world.advance(Duration::from_secs(1));
        play.listen();
        play.check();
        for client in play.clients.iter().filter(|client| client.is_moderator()) {
            let waiting = play.clients.iter().filter(|one| one.waiting.is_some() && one.room == client.room);
            prop_assert_eq!(client.lobby.len(), waiting.count());
        }
        play.world.advance(Duration::from_secs(200));
        prop_assert_eq!(play.world.conference.totals().waiting, 0);
        prop_assert_eq!(play.world.conference.totals().participants, 0);
        prop_assert!(play.world.node.transports.is_empty() && play.world.node.routers.is_empty());
    }
}
