//! A conference, clients that say and expect, and a stand-in for the node that keeps what it was
//! asked for and answers.
#![allow(dead_code)] // Each test file uses its own part.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use broletto_control::{
    Codec, ConsumerId, ConsumerRule, ControlError, Epoch, Frame, Notification, ProducerId, Request,
    RequestFrame, RequestId, Response, ResponseFrame, RouterId, TransportId,
};
use broletto_protocol::parse::client_frame;
use broletto_protocol::rest::{CreateRoom, Room};
use broletto_protocol::server::{ErrorCode, ServerMessage};
use broletto_protocol::{Publishing, Role, ServerFrame};
use broletto_signaling_core::{
    Claims, Conference, Config, ConnectionId, Event, HttpRequestId, Now, Output, SessionError, SessionReply,
    TokenError,
};
use serde_json::{Value, json};

pub const SOURCE: &str = "192.0.2.1";

pub struct World {
    pub conference: Conference,
    pub config: Config,
    pub node: FakeNode,
    pub now: Now,
    pub inboxes: BTreeMap<ConnectionId, Vec<ServerFrame>>,
    /// Answers to HTTP requests.
    pub http: BTreeMap<HttpRequestId, Result<SessionReply, SessionError>>,
    pub closed: BTreeSet<ConnectionId>,
    pub saved: BTreeMap<String, String>,
    pub events: Vec<Event>,
    connections: u64,
    messages: u64,
    starts: u8,
}

/// In the place of a signature: the token is its claims.
fn open_token(token: &str) -> Result<Claims, TokenError> {
    serde_json::from_str(token).map_err(|error| TokenError::Unreadable(error.to_string()))
}

impl World {
    pub fn new() -> Self {
        World::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        let now = Now { instant: Instant::now(), unix_ms: 1_800_000_000_000 };
        let conference = Conference::new(config.clone(), Box::new(open_token), [1; 32], [], now);
        let mut world = World {
            conference: conference.expect("there is nothing to read"),
            config,
            node: FakeNode::default(),
            now,
            inboxes: BTreeMap::new(),
            http: BTreeMap::new(),
            closed: BTreeSet::new(),
            saved: BTreeMap::new(),
            events: Vec::new(),
            connections: 0,
            messages: 0,
            starts: 1,
        };
        world.connect_node();
        world
    }

    /// Ends the process and starts it again from what it has saved.
    pub fn restart(&mut self) {
        self.starts = self.starts.wrapping_add(1);
        self.inboxes.clear();
        self.node.connected = false;
        let saved = self.saved.clone();
        let seed = [self.starts; 32];
        let conference = Conference::new(self.config.clone(), Box::new(open_token), seed, saved, self.now);
        self.conference = conference.expect("what was saved can be read");
        self.settle();
    }

    pub fn connect_node(&mut self) {
        self.node.connected = true;
        self.conference.handle_node_connected(self.now);
        self.settle();
    }

    pub fn lose_node(&mut self) {
        self.node.connected = false;
        self.node.held.clear();
        self.conference.handle_node_lost(self.now);
        self.settle();
    }

    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.instant + duration;
        while let Some(at) = self.conference.poll_timeout().filter(|at| *at <= until) {
            self.pass_to(at.max(self.now.instant));
            self.conference.handle_timeout(self.now);
            self.settle();
        }
        self.pass_to(until);
    }

    fn pass_to(&mut self, instant: Instant) {
        let passed = instant - self.now.instant;
        self.now.unix_ms += u64::try_from(passed.as_millis()).expect("tests do not last so long");
        self.now.instant = instant;
    }

    /// Carries out what the conference says until it says no more.
    pub fn settle(&mut self) {
        while let Some(output) = self.conference.poll_output() {
            match output {
                Output::ToClient { connection, frame } => {
                    self.inboxes.entry(connection).or_default().push(frame);
                }
                Output::CloseClient { connection } => {
                    self.closed.insert(connection);
                }
                Output::ToHttp { request, reply } => {
                    assert_eq!(self.http.insert(request, reply), None, "a request is answered once");
                }
                Output::ToNode(request) => {
                    if let Some(response) = self.node.request(request) {
                        self.conference.handle_node(Frame::Response(response), self.now);
                    }
                }
                Output::Save { key, value } => {
                    self.saved.insert(key, value);
                }
                Output::Remove { key } => {
                    self.saved.remove(&key);
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    pub fn release_node(&mut self) {
        self.node.holding = false;
        for response in std::mem::take(&mut self.node.held) {
            self.conference.handle_node(Frame::Response(response), self.now);
        }
        self.settle();
    }

    pub fn notify(&mut self, notification: Notification) {
        self.conference.handle_node(Frame::Notification { notification }, self.now);
        self.settle();
    }

    pub fn room(&mut self) -> Room {
        let body = CreateRoom { title: "Council".to_owned(), video_codecs: None, lobby: None };
        let made = self.conference.create_room(body, source(), self.now).expect("a room");
        self.settle();
        made.room
    }

    /// A room, and what its moderator's token says.
    pub fn room_and_token(&mut self) -> (String, Claims) {
        let made = self.conference.create_room(CreateRoom::default(), source(), self.now).expect("a room");
        self.settle();
        (made.room.id, made.moderator)
    }

    /// A room with a moderator in it, who has changed it as `set` says.
    pub fn moderated(&mut self, set: Value) -> (String, Claims, Member) {
        let (room, claims) = self.room_and_token();
        let moderator = self.join_as(&claims, Role::Moderator);
        let mut message = set;
        message["type"] = "set_room".into();
        assert_eq!(self.ask(moderator.connection, message), ServerMessage::Ok);
        self.news(moderator.connection);
        (room, claims, moderator)
    }

    pub fn join_as(&mut self, claims: &Claims, role: Role) -> Member {
        let connection = self.connect();
        let reply = self.ask(connection, join_by_token(&Claims { role, ..claims.clone() }));
        Member::of(connection, &reply)
    }

    pub fn connect(&mut self) -> ConnectionId {
        self.connect_from(source())
    }

    pub fn connect_from(&mut self, source: IpAddr) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.conference.handle_connected(connection, source, self.now);
        self.settle();
        connection
    }

    pub fn disconnect(&mut self, connection: ConnectionId) {
        self.conference.handle_disconnected(connection, self.now);
        self.settle();
    }

    /// Says a message; gives its number.
    pub fn say(&mut self, connection: ConnectionId, mut message: Value) -> u64 {
        self.messages += 1;
        message["id"] = self.messages.into();
        self.conference.handle_client(connection, client_frame(&message.to_string()), self.now);
        self.settle();
        self.messages
    }

    /// Says a message; gives its one reply.
    pub fn ask(&mut self, connection: ConnectionId, message: Value) -> ServerMessage {
        let id = self.say(connection, message.clone());
        self.reply(connection, id).unwrap_or_else(|| panic!("no reply to {message}"))
    }

    pub fn reply(&mut self, connection: ConnectionId, id: u64) -> Option<ServerMessage> {
        let inbox = self.inboxes.get_mut(&connection)?;
        let index = inbox.iter().position(|frame| frame.reply_to == Some(id))?;
        Some(inbox.remove(index).message)
    }

    /// What came without having been asked for.
    pub fn news(&mut self, connection: ConnectionId) -> Vec<ServerMessage> {
        let frames = std::mem::take(self.inboxes.entry(connection).or_default());
        frames.into_iter().map(|frame| frame.message).collect()
    }

    pub fn join(&mut self, room: &str, name: &str) -> Member {
        let connection = self.connect();
        let reply = self.ask(connection, join(room, name));
        Member::of(connection, &reply)
    }

    pub fn refused(&mut self, connection: ConnectionId, message: Value) -> (ErrorCode, Option<String>) {
        match self.ask(connection, message.clone()) {
            ServerMessage::Error { code, field, .. } => (code, field),
            other => panic!("{message} was answered by {other:?}"),
        }
    }

    /// Offers a microphone, a camera, an audio slot and two video slots.
    pub fn offer(&mut self, member: &Member, codecs: &str) -> TransportId {
        let reply = self.ask(member.connection, offer(codecs, true));
        assert!(matches!(reply, ServerMessage::Answer { .. }), "{reply:?}");
        self.node.last_offer.expect("the node was asked")
    }

    pub fn producers(&self, transport: TransportId) -> Vec<ProducerId> {
        self.node.transports[&transport].producers.keys().copied().collect()
    }

    pub fn consumers(&self, transport: TransportId) -> Vec<ConsumerId> {
        self.node.transports[&transport].consumers.keys().copied().collect()
    }

    /// Transports that participants have, by what was saved.
    pub fn saved_transports(&self) -> BTreeSet<String> {
        self.saved_participants()
            .filter_map(|value| value["media"]["transport"].as_str().map(str::to_owned))
            .collect()
    }

    pub fn saved_participants(&self) -> impl Iterator<Item = Value> {
        let records = self.saved.iter().filter(|(key, _)| key.contains("/participant/"));
        records.map(|(_, value)| serde_json::from_str(value).expect("a record is JSON"))
    }
}

#[derive(Debug, Clone)]
pub struct Member {
    pub connection: ConnectionId,
    pub id: String,
    pub secret: String,
    pub media: bool,
}

impl Member {
    pub fn of(connection: ConnectionId, reply: &ServerMessage) -> Member {
        let ServerMessage::Joined { you, resume, media, .. } = reply else { panic!("not joined: {reply:?}") };
        Member { connection, id: you.0.clone(), secret: resume.clone(), media: *media }
    }
}

/// Does what a node promises, without media.
#[derive(Default)]
pub struct FakeNode {
    pub connected: bool,
    /// Answers wait until they are released.
    pub holding: bool,
    pub held: Vec<ResponseFrame>,
    pub routers: BTreeMap<RouterId, Vec<Codec>>,
    pub transports: BTreeMap<TransportId, FakeTransport>,
    pub requests: Vec<Request>,
    pub epoch_max: Epoch,
    /// Requests that no correct signaling makes.
    pub complaints: Vec<String>,
    pub last_offer: Option<TransportId>,
    /// The next offer is refused with this.
    pub refusal: Option<ControlError>,
    answered: BTreeMap<(Epoch, RequestId), ResponseFrame>,
}

pub struct FakeTransport {
    pub router: RouterId,
    pub producers: BTreeMap<ProducerId, bool>,
    pub consumers: BTreeMap<ConsumerId, ConsumerRule>,
}

impl FakeNode {
    /// Loses everything, as a node does that was restarted.
    pub fn forget(&mut self) {
        self.routers.clear();
        self.transports.clear();
        self.answered.clear();
    }

    fn request(&mut self, frame: RequestFrame) -> Option<ResponseFrame> {
        if !self.connected {
            return None;
        }
        let RequestFrame { id, epoch, request } = frame;
        if let Some(stored) = self.answered.get(&(epoch, id)) {
            return Some(stored.clone());
        }
        let result = self.execute(epoch, request.clone());
        if let Err(error) = &result
            && !matches!(request, Request::Offer { .. })
        {
            self.complaints.push(format!("{request:?}: {error}"));
        }
        let is_offer = matches!(request, Request::Offer { .. });
        self.requests.push(request);
        let response = ResponseFrame { id, epoch, result };
        self.answered.insert((epoch, id), response.clone());
        if self.holding && is_offer {
            self.held.push(response);
            return None;
        }
        Some(response)
    }

    fn execute(&mut self, epoch: Epoch, request: Request) -> Result<Response, ControlError> {
        if let Request::Hello { version } = request {
            let epoch_max = self.epoch_max;
            return Ok(Response::Hello { version, node: "fake".to_owned(), epoch_max, workers: 1 });
        }
        if epoch < self.epoch_max {
            return Err(ControlError::Fenced { got: epoch, highest: self.epoch_max });
        }
        self.epoch_max = epoch;
        match request {
            Request::Hello { .. } | Request::List | Request::Drain => {}
            Request::CreateRouter { router, config } => {
                self.routers.insert(router, config.video_codecs);
            }
            Request::CloseRouter { router } => {
                self.routers.remove(&router).ok_or_else(|| ControlError::unknown("router", router.0))?;
                self.transports.retain(|_, transport| transport.router != router);
            }
            Request::SetCodecs { router, video_codecs } => {
                let codecs = self.routers.get_mut(&router);
                *codecs.ok_or_else(|| ControlError::unknown("router", router.0))? = video_codecs;
            }
            Request::Offer { router, transport, sdp, producers, consumers } => {
                if let Some(refusal) = self.refusal.take() {
                    return Err(refusal);
                }
                if !self.routers.contains_key(&router) {
                    self.complaints.push(format!("an offer for router {router:?}, which is not there"));
                    return Err(ControlError::unknown("router", router.0));
                }
                self.last_offer = Some(transport);
                let producers = producers.into_iter().map(|slot| (slot.producer, slot.paused)).collect();
                let consumers = consumers.into_iter().map(|slot| (slot.consumer, slot.rule)).collect();
                self.transports.insert(transport, FakeTransport { router, producers, consumers });
                return Ok(Response::Answer { sdp: "answer".to_owned(), video_codecs: codecs(&sdp) });
            }
            Request::CloseTransport { transport } => {
                self.transports.remove(&transport);
            }
            Request::PauseProducer { transport, producer, paused } => {
                let known = self.transport(transport)?.producers.get_mut(&producer);
                *known.ok_or_else(|| ControlError::unknown("producer", producer.0))? = paused;
            }
            Request::SetConsumers { transport, wishes } => {
                for wish in wishes {
                    let known = self.transport(transport)?.consumers.get_mut(&wish.consumer);
                    *known.ok_or_else(|| ControlError::unknown("consumer", wish.consumer.0))? = wish.rule;
                }
            }
            Request::Sync { routers, .. } => {
                let wished: BTreeSet<_> =
                    routers.iter().flat_map(|router| &router.transports).map(|one| one.transport).collect();
                self.transports.retain(|transport, _| wished.contains(transport));
                for wish in routers.iter().flat_map(|router| &router.transports) {
                    let Some(transport) = self.transports.get_mut(&wish.transport) else { continue };
                    for (producer, paused) in &mut transport.producers {
                        *paused = wish.paused.contains(producer);
                    }
                    for one in &wish.wishes {
                        transport.consumers.insert(one.consumer, one.rule);
                    }
                }
                self.routers =
                    routers.into_iter().map(|wish| (wish.router, wish.config.video_codecs)).collect();
                let missing = wished.into_iter().filter(|one| !self.transports.contains_key(one));
                return Ok(Response::Synced { missing: missing.collect() });
            }
        }
        Ok(Response::Done)
    }

    fn transport(&mut self, transport: TransportId) -> Result<&mut FakeTransport, ControlError> {
        self.transports.get_mut(&transport).ok_or_else(|| ControlError::unknown("transport", transport.0))
    }
}

/// The stand-in's SDP names codecs by word.
fn codecs(sdp: &str) -> Vec<Codec> {
    let words = [("opus", Codec::Opus), ("h264", Codec::H264), ("vp8", Codec::Vp8)];
    words.into_iter().filter(|(word, _)| sdp.contains(word)).map(|(_, codec)| codec).collect()
}

pub fn source() -> IpAddr {
    SOURCE.parse().expect("an address")
}

pub fn join(room: &str, name: &str) -> Value {
    json!({ "type": "join", "version": 1, "room": room, "name": name })
}

pub fn join_by_token(token: &Claims) -> Value {
    let token = serde_json::to_string(token).expect("claims serialise");
    json!({ "type": "join", "version": 1, "token": token, "name": "Tess" })
}

pub fn resume(secret: &str) -> Value {
    json!({ "type": "resume", "version": 1, "resume": secret })
}

pub fn offer(codecs: &str, fresh: bool) -> Value {
    json!({
        "type": "offer", "sdp": codecs, "fresh": fresh,
        "send": [{ "mid": "0", "source": "microphone" }, { "mid": "1", "source": "camera" }],
        "receive": [
            { "mid": "2", "kind": "audio" }, { "mid": "3", "kind": "video" }, { "mid": "4", "kind": "video" },
        ],
    })
}

pub fn publish(microphone: bool, camera: bool) -> Value {
    json!({ "type": "publish", "publishing": { "microphone": microphone, "camera": camera } })
}

pub fn view(mid: &str, participant: &str, source: &str) -> Value {
    let show = json!({ "type": "participant", "participant": participant, "source": source });
    json!({ "type": "view", "slots": [{ "mid": mid, "show": show, "width": 320, "height": 180 }] })
}

pub fn published(microphone: bool, camera: bool) -> Publishing {
    Publishing { microphone, camera, ..Publishing::default() }
}
