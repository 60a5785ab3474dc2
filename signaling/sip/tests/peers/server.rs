//! A small shell around an agent, with sockets of the standard library, and a conference plane that
//! rings, answers and keeps what happened.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broletto_sip::sdp::{self, Fingerprint, LegMedia, Local, LocalFloor, LocalStream, Offered, Policy};
use broletto_sip::{Agent, Announced, CallId, Config, ConnectionId, Event, Output, Transport};

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Job = Box<dyn FnOnce(&mut Shell, Instant) + Send>;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    jobs: Sender<Job>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) enum News {
    Event(Event),
    Agreed(CallId, Box<LegMedia>),
    Refused(#[allow(dead_code)] String), // For the output of a test that fails.
}

/// What the server does with calls.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) policy: Policy,
    /// None: it rings and does not answer.
    pub(crate) answer_after: Option<Duration>,
}

impl Default for Manner {
    fn default() -> Self {
        Manner { policy: Policy::default(), answer_after: Some(Duration::from_millis(50)) }
    }
}

impl Server {
    pub(crate) fn start(config: Config, manner: Manner, prepare: impl FnOnce(&mut Agent)) -> Server {
        // One port of both kinds that nobody has.
        let (udp, tcp, port) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind((LOOPBACK, 0)).unwrap();
                let port = udp.local_addr().unwrap().port();
                Some((udp, TcpListener::bind((LOOPBACK, port)).ok()?, port))
            })
            .expect("one of a hundred ports is free");
        udp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let announced = |transport| Announced { transport, host: LOOPBACK.to_string(), port };
        let config = Config {
            domains: vec!["example.org".to_owned()],
            announced: vec![announced(Transport::Udp), announced(Transport::Tcp)],
            ..config
        };
        let mut agent = Agent::new(config, [42; 32], Instant::now());
        prepare(&mut agent);
        let (jobs, jobs_in) = mpsc::channel::<Job>();
        let (news_out, news) = mpsc::channel();
        let mut shell = Shell {
            agent,
            udp,
            tcp,
            streams: HashMap::new(),
            next_stream: 0,
            manner,
            answers: Vec::new(),
            offered: HashMap::new(),
            news: news_out,
        };
        let thread = std::thread::spawn(move || {
            loop {
                match jobs_in.try_recv() {
                    Ok(job) => job(&mut shell, Instant::now()),
                    Err(mpsc::TryRecvError::Empty) => {}
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
                shell.turn();
            }
        });
        Server { port, jobs, news, thread: Some(thread) }
    }

    /// Does something within the server's thread, and gives what came of it.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shell, Instant) -> T + Send + 'static,
    ) -> T {
        let (result_out, result) = mpsc::channel();
        let job: Job = Box::new(move |shell, now| {
            let _ = result_out.send(work(shell, now));
        });
        self.jobs.send(job).unwrap();
        result.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// Waits for a piece of news; others before it are passed over.
    pub(crate) fn wait<T>(&self, wanted: &str, mut pick: impl FnMut(&News) -> Option<T>) -> T {
        let (end, mut seen) = (Instant::now() + Duration::from_secs(20), Vec::new());
        while let Ok(news) = self.news.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if let Some(found) = pick(&news) {
                return found;
            }
            seen.push(news);
        }
        panic!("no {wanted} came, but {seen:#?}");
    }

    pub(crate) fn wait_for(&self, wanted: &str, is: impl Fn(&Event) -> bool) {
        self.wait(wanted, |news| match news {
            News::Event(event) => is(event).then_some(()),
            News::Agreed(..) | News::Refused(_) => None,
        });
    }

    pub(crate) fn wait_agreed(&self) -> (CallId, LegMedia) {
        self.wait("agreement", |news| match news {
            News::Agreed(call, leg) => Some((*call, *leg.clone())),
            News::Event(_) | News::Refused(_) => None,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (jobs, _) = mpsc::channel();
        self.jobs = jobs;
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

pub(crate) struct Shell {
    pub(crate) agent: Agent,
    udp: UdpSocket,
    tcp: TcpListener,
    streams: HashMap<ConnectionId, TcpStream>,
    next_stream: u64,
    manner: Manner,
    answers: Vec<(Instant, CallId, Option<String>)>,
    pub(crate) offered: HashMap<CallId, Offered>,
    news: Sender<News>,
}

impl Shell {
    fn turn(&mut self) {
        let mut buffer = [0; 65_536];
        match self.udp.recv_from(&mut buffer) {
            Ok((length, source)) => self.agent.handle_datagram(&buffer[..length], source, Instant::now()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // What an ICMP message says of a datagram that was sent before.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("{error}"),
        }
        while let Ok((stream, source)) = self.tcp.accept() {
            self.adopt(stream, source);
        }
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            let stream = self.streams.get_mut(&id).unwrap();
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.streams.remove(&id);
                    self.agent.handle_disconnected(id);
                }
                Ok(length) => self.agent.handle_stream(id, &buffer[..length], Instant::now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.streams.remove(&id);
                    self.agent.handle_disconnected(id);
                }
            }
        }
        let now = Instant::now();
        if self.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
        }
        let (due, later) = self.answers.drain(..).partition(|(at, ..)| *at <= now);
        self.answers = later;
        for (_, call, offer) in due {
            self.answer(call, offer, now);
        }
        self.drain(now);
    }

    fn adopt(&mut self, stream: TcpStream, source: SocketAddr) -> ConnectionId {
        stream.set_nonblocking(true).unwrap();
        self.next_stream += 1;
        let id = ConnectionId(self.next_stream);
        self.streams.insert(id, stream);
        self.agent.handle_connected(id, Transport::Tcp, source, Vec::new(), Instant::now());
        id
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => match flow.transport {
                    Transport::Udp => {
                        let _ = self.udp.send_to(&bytes, flow.address);
                    }
                    Transport::Tcp | Transport::Tls => {
                        let known = flow.connection.filter(|id| self.streams.contains_key(id));
                        let id = known.or_else(|| {
                            let stream = TcpStream::connect(flow.address).ok()?;
                            Some(self.adopt(stream, flow.address))
                        });
                        // A peer that has gone is noticed by the agent's timers.
                        if let Some(stream) = id.and_then(|id| self.streams.get_mut(&id)) {
                            let _ = stream.write_all(&bytes);
                        }
                    }
                },
                Output::Close(id) => drop(self.streams.remove(&id)),
                Output::Event(event) => self.happened(event, now),
            }
        }
    }

    fn happened(&mut self, event: Event, now: Instant) {
        match &event {
            Event::Incoming(incoming) => {
                let _ = self.agent.ring(incoming.call, now);
                if let Some(after) = self.manner.answer_after {
                    self.answers.push((now + after, incoming.call, incoming.offer.clone()));
                }
            }
            Event::Offer { call, sdp } => self.answers.push((now, *call, sdp.clone())),
            Event::Answer { call, sdp } => match self.offered[call].accept(sdp) {
                Ok(leg) => self.tell(News::Agreed(*call, Box::new(leg))),
                Err(error) => self.tell(News::Refused(error.to_string())),
            },
            _ => {}
        }
        self.tell(News::Event(event));
    }

    fn answer(&mut self, call: CallId, offer: Option<String>, now: Instant) {
        let Some(offer) = offer else {
            let offered = sdp::offer(&self.manner.policy, &local());
            let sdp = offered.sdp.clone();
            self.offered.insert(call, offered);
            return self.agent.answer(call, sdp, now).unwrap_or_default();
        };
        match sdp::answer(&offer, &self.manner.policy, &local()) {
            Ok((leg, sdp)) => {
                if self.agent.answer(call, sdp, now).is_ok() {
                    self.tell(News::Agreed(call, Box::new(leg)));
                }
            }
            Err(refusal) => {
                self.tell(News::Refused(refusal.to_string()));
                let _ = self.agent.reject(call, refusal.status(), now);
            }
        }
    }

    fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }
}

/// Ports at which nobody listens: these tests are about signalling.
pub(crate) fn local() -> Local {
    let stream =
        |port, byte| LocalStream { port, rtcp_port: port + 1, send: true, receive: true, key: [byte; 44] };
    Local {
        address: LOOPBACK,
        session_id: 1,
        session_version: 1,
        audio: Some(stream(40_000, 1)),
        video: Some(stream(40_002, 2)),
        slides: Some(stream(40_004, 3)),
        floor: Some(LocalFloor { port: 40_006, conference: 1, user: 2, floor: 3 }),
        fingerprint: Some(Fingerprint { hash: "sha-256".to_owned(), bytes: vec![0xab; 32] }),
    }
}
