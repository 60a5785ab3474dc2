//! An agent in virtual time, and a peer that speaks to it in text.

#![allow(dead_code)] // Each test file uses its part.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use broletto_sip::{
    Agent, Announced, CallId, Config, Counters, Event, Flow, Message, Output, Request, Response, Secret,
    Transport, name,
};

pub struct World {
    pub agent: Agent,
    pub now: Instant,
    pub peer: SocketAddr,
    sent: Vec<(Flow, Vec<u8>)>,
    events: Vec<Event>,
    pub closed: usize,
}

pub const SDP: &str = "v=0\r\no=x 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8\r\n";
pub const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
    m=audio 5000 RTP/AVP 8\r\n";

pub fn config() -> Config {
    let announced = |transport, port| Announced { transport, host: "203.0.113.1".to_owned(), port };
    Config {
        domains: vec!["example.org".to_owned()],
        announced: vec![
            announced(Transport::Udp, 5060),
            announced(Transport::Tcp, 5060),
            announced(Transport::Tls, 5061),
        ],
        guests: true,
        ..Config::default()
    }
}

impl World {
    pub fn new(config: Config) -> World {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        let now = Instant::now();
        let mut agent = Agent::new(config, [7; 32], now);
        agent.set_account("sala", Some(Secret::new("sala", "broletto", "segreto")));
        let peer = "192.0.2.10:5060".parse().unwrap();
        let mut world = World { agent, now, peer, sent: Vec::new(), events: Vec::new(), closed: 0 };
        world.drain();
        world
    }

    pub fn receive(&mut self, text: &str) {
        self.receive_from(self.peer, text.as_bytes());
    }

    pub fn receive_from(&mut self, source: SocketAddr, bytes: &[u8]) {
        self.agent.handle_datagram(bytes, source, self.now);
        self.drain();
    }

    /// Lets time pass, with all that is due in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.sent.push((flow, bytes)),
                Output::Close(_) => self.closed += 1,
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    pub fn sent(&mut self) -> Vec<(Flow, Vec<u8>)> {
        self.drain();
        std::mem::take(&mut self.sent)
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.drain();
        std::mem::take(&mut self.events)
    }

    /// What was sent, read: each of it has to be a message.
    pub fn messages(&mut self) -> Vec<Message> {
        self.sent().iter().map(|(_, bytes)| Message::parse(bytes).unwrap()).collect()
    }

    /// Of responses. Those to what could not be read repeat what could not be read.
    pub fn statuses(&mut self) -> Vec<u16> {
        let status = |(_, bytes): (Flow, Vec<u8>)| {
            let text = String::from_utf8(bytes).unwrap();
            let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
            status.unwrap_or_else(|| panic!("a response was expected, and this came: {text}"))
        };
        self.sent().into_iter().map(status).collect()
    }

    /// The last response; others before it are passed over.
    pub fn response(&mut self) -> Response {
        let Some(Message::Response(response)) = self.messages().pop() else { panic!("no response came") };
        response
    }

    pub fn request(&mut self) -> Request {
        let messages = self.messages();
        let [Message::Request(request)] = messages.as_slice() else {
            panic!("one request, not {messages:#?}")
        };
        request.clone()
    }

    pub fn counters(&self) -> Counters {
        self.agent.counters()
    }

    /// The call that came.
    pub fn incoming(&mut self) -> CallId {
        let events = self.events();
        let incoming = events.iter().find_map(|event| match event {
            Event::Incoming(incoming) => Some(incoming.call),
            _ => None,
        });
        incoming.unwrap_or_else(|| panic!("no call came, but {events:?}"))
    }

    /// A call that was answered and acknowledged, and its dialog as the peer sees it.
    pub fn established(&mut self) -> (CallId, Talk) {
        let mut talk = Talk::new("call-1");
        self.receive(&talk.invite(SDP));
        let call = self.incoming();
        self.agent.answer(call, ANSWER.to_owned(), self.now).unwrap();
        let response = self.response();
        assert_eq!(response.status, 200);
        talk.learn(&response);
        self.receive(&talk.ack(1, ""));
        assert_eq!(self.events(), [Event::Confirmed { call }]);
        (call, talk)
    }
}

/// The peer's side of a dialog.
#[derive(Clone)]
pub struct Talk {
    pub call_id: String,
    pub to_tag: Option<String>,
    pub target: String,
    pub cseq: u32,
    pub from: String,
    pub extra: String,
}

impl Talk {
    pub fn new(call_id: &str) -> Talk {
        Talk {
            call_id: call_id.to_owned(),
            to_tag: None,
            target: "sip:123456789@example.org".to_owned(),
            cseq: 0,
            from: "\"Sala\" <sip:room@elsewhere.example>".to_owned(),
            extra: String::new(),
        }
    }

    pub fn learn(&mut self, response: &Response) {
        self.to_tag = response.head.to.tag().map(str::to_owned);
        if let Some(contact) = response.headers.first(name::CONTACT) {
            self.target = contact.trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
    }

    pub fn invite(&mut self, sdp: &str) -> String {
        self.next("INVITE", sdp)
    }

    /// The next request.
    pub fn next(&mut self, method: &str, body: &str) -> String {
        self.cseq += 1;
        self.numbered(method, self.cseq, &format!("{}-{}", self.call_id, self.cseq), body)
    }

    pub fn ack(&self, cseq: u32, body: &str) -> String {
        self.numbered("ACK", cseq, &format!("{}-ack-{cseq}", self.call_id), body)
    }

    pub fn numbered(&self, method: &str, cseq: u32, branch: &str, body: &str) -> String {
        let Talk { call_id, target, from, extra, .. } = self;
        let tag = self.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let kind = if body.starts_with("v=0") { "Content-Type: application/sdp\r\n" } else { "" };
        let length = body.len();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from};tag=peer\r\nTo: <sip:123456789@example.org>{tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:room@192.0.2.10:5060>\r\n\
             {extra}{kind}Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

/// A response of the peer to a request of ours.
pub fn respond(request: &Request, status: u16, tag: &str, extra: &str, body: &str) -> String {
    let field = |name| request.headers.first(name).unwrap().to_owned();
    let to = field(name::TO);
    let to = if to.contains("tag=") || tag.is_empty() { to } else { format!("{to};tag={tag}") };
    let kind = if body.starts_with("v=0") { "Content-Type: application/sdp\r\n" } else { "" };
    format!(
        "SIP/2.0 {status} Whatever\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:room@192.0.2.10:5060>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        field(name::VIA),
        field(name::FROM),
        field(name::CALL_ID),
        field(name::CSEQ),
        body.len()
    )
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
