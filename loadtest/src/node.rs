//! A media node as a process of its own, to which the tester is the signaling.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_control::{
    Codec, ConsumerId, ConsumerRule, ConsumerSlot, Content, Epoch, Frame, Id, Notification, ProducerId,
    ProducerSlot, Request, RequestFrame, RequestId, Response, RouterConfig, RouterId, TransportId,
    TransportStats, VERSION, codec,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::participant::{Publisher, Session, Wish};
use crate::sfu::{Room, Sfu};

/// For the node to start, and to answer a request.
const WITHIN: Duration = Duration::from_secs(20);
/// How long a read waits for the next frame.
const READ_WITHIN: Duration = Duration::from_millis(50);
/// All participants are in one room.
const TRANSPORTS_MAX: usize = 8_192;
const EPOCH: Epoch = Epoch(1);
const ROUTER: RouterId = RouterId(Id { epoch: EPOCH, serial: 1 });

pub struct Node {
    child: Child,
    socket: Socket,
    request_id: u64,
    serial: u32,
    room: Room,
    producers: Vec<ProducerId>,
    /// The last that was told of each transport that watches, in the order in which they came.
    watchers: Vec<(TransportId, Option<TransportStats>)>,
    dir: PathBuf,
}

type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

impl Node {
    /// Runs `program sfu` with one worker.
    pub fn start(program: &Path, room: Room) -> anyhow::Result<Node> {
        let dir = scratch("node")?;
        make_certificates(program, &dir)?;
        let pem = |name: &str| dir.join(format!("{name}.pem"));
        let log = fs::File::create(dir.join("log"))?;
        let child = end_with_us(&mut command(program))
            .arg("sfu")
            .current_dir(&dir)
            .env("BROLETTO_DATA_DIR", dir.join("data"))
            .env("BROLETTO_MEDIA__WORKERS", "1")
            .env("BROLETTO_MEDIA__BIND", room.ip.to_string())
            .env("BROLETTO_MEDIA__UDP_PORT_BASE", free_port(room.ip)?.to_string())
            .env("BROLETTO_MEDIA__TCP", "false")
            .env("BROLETTO_MEDIA__LIMITS__TRANSPORTS_PER_ROUTER", TRANSPORTS_MAX.to_string())
            .env("BROLETTO_MEDIA__CONTROL__LISTEN", "127.0.0.1:0")
            .env("BROLETTO_MEDIA__CONTROL__CERTIFICATE", pem("node-certificate"))
            .env("BROLETTO_MEDIA__CONTROL__PRIVATE_KEY", pem("node-key"))
            .env("BROLETTO_MEDIA__CONTROL__CLIENT_CA", pem("ca"))
            .env("BROLETTO_OPS__LISTEN", "127.0.0.1:0")
            .env("BROLETTO_LOG__FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be run", program.display()))?;
        let mut child = Kept(Some(child));
        let address = child.control_address().with_context(|| {
            format!("the node did not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
        })?;
        let socket = connect(address, &pem("ca"), &pem("signaling-certificate"), &pem("signaling-key"))?;
        let mut node = Node {
            child: child.0.take().expect("it is kept until here"),
            socket,
            request_id: 0,
            serial: ROUTER.0.serial,
            room,
            producers: Vec::new(),
            watchers: Vec::new(),
            dir,
        };
        node.ask(Request::Hello { version: VERSION })?;
        let video_codecs = vec![if room.codec == Codec::Opus { Codec::Vp8 } else { room.codec }];
        let config = RouterConfig { tenant: "default".into(), video_codecs, opaque: false };
        node.ask(Request::CreateRouter { router: ROUTER, config })?;
        Ok(node)
    }

    fn id(&mut self) -> Id {
        self.serial += 1;
        Id::new(EPOCH, self.serial)
    }

    fn ask(&mut self, request: Request) -> anyhow::Result<Response> {
        self.request_id += 1;
        let id = RequestId(self.request_id);
        let frame = Frame::Request(RequestFrame { id, epoch: EPOCH, request });
        self.socket.send(Message::text(codec::encode(&frame))).context("the node closed the connection")?;
        let started = Instant::now();
        while started.elapsed() < WITHIN {
            match self.next_frame()? {
                Some(Frame::Response(response)) if response.id == id => return Ok(response.result?),
                Some(Frame::Notification { notification }) => self.note(notification),
                Some(Frame::Response(_) | Frame::Request(_)) | None => {}
            }
        }
        bail!("the node did not answer within {} s", WITHIN.as_secs());
    }

    /// None: nothing came for a while.
    fn next_frame(&mut self) -> anyhow::Result<Option<Frame>> {
        match self.socket.read() {
            Ok(Message::Text(text)) => Ok(Some(codec::decode(&text)?)),
            // Reading a ping queues its pong, which the next read or write sends.
            Ok(_) => Ok(None),
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("the connection to the node broke"),
        }
    }

    fn note(&mut self, notification: Notification) {
        if let Notification::TransportStats { transport, stats } = notification
            && let Some((_, last)) = self.watchers.iter_mut().find(|(watcher, _)| *watcher == transport)
        {
            *last = Some(stats);
        }
    }

    fn offer(
        &mut self,
        session: &mut Session,
        sdp: String,
        transport: TransportId,
        (producers, consumers): (Vec<ProducerSlot>, Vec<ConsumerSlot>),
    ) -> anyhow::Result<()> {
        let request = Request::Offer { router: ROUTER, transport, sdp, producers, consumers };
        match self.ask(request)? {
            Response::Answer { sdp, .. } => session.accept_answer(&sdp),
            other => bail!("an offer is answered by an answer, not by {other:?}"),
        }
    }
}

impl Sfu for Node {
    fn name(&self) -> &'static str {
        "broletto"
    }

    fn process(&self) -> u32 {
        self.child.id()
    }

    fn publish(&mut self, publisher: &mut Publisher, offer: &str) -> anyhow::Result<()> {
        let (transport, producer) = (TransportId(self.id()), ProducerId(self.id()));
        let content = if self.room.codec == Codec::Opus { Content::Microphone } else { Content::Camera };
        let mid = publisher.mid().to_owned();
        let slot = ProducerSlot { mid, producer, content, paused: false };
        self.offer(&mut publisher.session, offer.to_owned(), transport, (vec![slot], Vec::new()))?;
        self.producers.push(producer);
        Ok(())
    }

    fn subscribe(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let wish = Wish { audio: self.room.codec == Codec::Opus, sends: false, simulcast: false };
        let (offer, mids) = session.offer(&vec![wish; self.producers.len()]);
        let transport = TransportId(self.id());
        let mut consumers = Vec::with_capacity(mids.len());
        for (index, mid) in mids.into_iter().enumerate() {
            let rule = ConsumerRule::Producer { producer: self.producers[index] };
            consumers.push(ConsumerSlot { mid, consumer: ConsumerId(self.id()), rule });
        }
        self.watchers.push((transport, None));
        self.offer(session, offer, transport, (Vec::new(), consumers))
    }

    fn attend(&mut self, duration: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            if let Some(Frame::Notification { notification }) = self.next_frame()? {
                self.note(notification);
            }
        }
        if let Some(status) = self.child.try_wait()? {
            bail!("the node ended by itself: {status}");
        }
        Ok(())
    }

    fn estimates_bps(&self) -> Vec<u64> {
        self.watchers.iter().filter_map(|(_, stats)| stats.as_ref()?.estimate_bps).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.child);
        // It is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Lets a child end with the thread that starts it, however that ends.
pub fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl touches no memory, and so may be called between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }
}

/// A child that is ended if it is not taken.
pub struct Kept(pub Option<Child>);

impl Kept {
    /// The node says it in its first line.
    fn control_address(&mut self) -> anyhow::Result<SocketAddr> {
        let stdout = self.0.as_mut().and_then(|child| child.stdout.take()).context("it has an output")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        lines.by_ref().take(1_024).read_line(&mut line)?;
        let address = line.trim().strip_prefix("Waiting for signaling on wss://");
        Ok(address.with_context(|| format!("its first line is {line:?}"))?.parse()?)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Asks a child to end, and waits for it.
pub fn end(child: &mut Child) {
    // SAFETY: it is a child that was not waited for, so the id is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let asked_at = Instant::now();
    while asked_at.elapsed() < Duration::from_secs(5) {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
}

/// A new folder that nobody else can read.
pub fn scratch(name: &str) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let nanos = crate::participant::payload::wall_clock().as_nanos();
    let dir = std::env::temp_dir().join(format!("broletto-loadtest-{name}-{}-{nanos}", std::process::id()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("{} cannot be made", dir.display()))?;
    Ok(dir)
}

/// A UDP port that is free just now.
fn free_port(ip: IpAddr) -> io::Result<u16> {
    Ok(UdpSocket::bind((ip, 0))?.local_addr()?.port())
}

/// Its settings are those given here, whatever the environment of this program has.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    let settings = inherited.filter(|name| name.to_string_lossy().starts_with("BROLETTO_"));
    settings.for_each(|name| _ = command.env_remove(name));
    command
}

fn make_certificates(program: &Path, dir: &Path) -> anyhow::Result<()> {
    for name in ["node", "signaling"] {
        let made = command(program)
            .args(["certs", "--name", name, "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{} cannot be run", program.display()))?;
        if !made.status.success() {
            bail!("no certificates were made: {}", String::from_utf8_lossy(&made.stderr));
        }
    }
    Ok(())
}

fn connect(address: SocketAddr, ca: &Path, certificate: &Path, key: &Path) -> anyhow::Result<Socket> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let connection = ClientConnection::new(Arc::new(tls), ServerName::from(address.ip()))?;
    let stream = StreamOwned::new(connection, stream);
    let (socket, _) = tungstenite::client(format!("wss://{address}/"), stream)
        .map_err(|error| anyhow::anyhow!("the node refused the connection: {error}"))?;
    socket.get_ref().sock.set_read_timeout(Some(READ_WITHIN))?;
    Ok(socket)
}
