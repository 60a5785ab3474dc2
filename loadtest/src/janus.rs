//! Janus as a process of its own, with one room of its VideoRoom plugin, over its JSON interface.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_control::Codec;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::node;
use crate::participant::{Publisher, Session};
use crate::sfu::{Room, Sfu};

const WITHIN: Duration = Duration::from_secs(20);
const READ_WITHIN: Duration = Duration::from_millis(50);
/// A session that says nothing for 60 s is closed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const PLUGIN: &str = "janus.plugin.videoroom";
const ROOM: u64 = 1;
/// Where Debian has its parts, by the architecture of this program.
const PARTS: &str = "/usr/lib/x86_64-linux-gnu/janus";

/// How it divides its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One for each participant, as it comes.
    Default,
    /// One for all (`event_loops = 1`), which is its fast setting.
    One,
}

pub struct Janus {
    child: Child,
    socket: WebSocket<TcpStream>,
    threads: Threads,
    transaction: u64,
    session: u64,
    feeds: Vec<u64>,
    keep_alive_at: Instant,
    dir: PathBuf,
}

impl Janus {
    /// `room.ip` must be of an interface that is not loopback: it takes no other for media.
    pub fn start(threads: Threads, room: Room) -> anyhow::Result<Janus> {
        let dir = node::scratch("janus")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        write_configuration(&dir, threads, room.ip, port)?;
        let log = fs::File::create(dir.join("log"))?;
        let child = node::end_with_us(&mut Command::new("janus"))
            .arg("--configs-folder")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("janus cannot be run: install Debian's package")?;
        let mut child = node::Kept(Some(child));
        let socket = connect((Ipv4Addr::LOCALHOST, port).into()).with_context(|| {
            format!("Janus did not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
        })?;
        let mut janus = Janus {
            child: child.0.take().expect("it is kept until here"),
            socket,
            threads,
            transaction: 0,
            session: 0,
            feeds: Vec::new(),
            keep_alive_at: Instant::now() + KEEP_ALIVE_EVERY,
            dir,
        };
        janus.session = number(&janus.ask(json!({"janus": "create"}))?, "/data/id")?;
        let handle = janus.attach()?;
        let (audio, video) = match room.codec {
            Codec::Opus => ("opus", "vp8"),
            Codec::H264 => ("opus", "h264"),
            Codec::Vp8 => ("opus", "vp8"),
            other => bail!("participants have no {other:?}"),
        };
        janus.message(
            handle,
            json!({"request": "create", "room": ROOM, "publishers": room.publishers, "bitrate": 0,
                   "audiocodec": audio, "videocodec": video}),
            None,
        )?;
        Ok(janus)
    }

    fn attach(&mut self) -> anyhow::Result<u64> {
        number(&self.ask(json!({"janus": "attach", "plugin": PLUGIN}))?, "/data/id")
    }

    /// What the plugin answers, be it at once or later.
    fn message(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> anyhow::Result<Value> {
        let mut message = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let answer = self.ask(message)?;
        if let Some(error) = answer.pointer("/plugindata/data/error") {
            bail!("Janus refused: {error}");
        }
        Ok(answer)
    }

    fn ask(&mut self, mut request: Value) -> anyhow::Result<Value> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        request["transaction"] = transaction.clone().into();
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        self.socket.send(Message::text(request.to_string())).context("Janus closed the connection")?;
        let started = Instant::now();
        while started.elapsed() < WITHIN {
            let Some(answer) = self.next()? else { continue };
            if answer["transaction"] != transaction.as_str() {
                continue;
            }
            match answer["janus"].as_str() {
                // The answer itself comes later.
                Some("ack") => {}
                Some("error") => bail!("Janus refused: {}", answer["error"]),
                _ => return Ok(answer),
            }
        }
        bail!("Janus did not answer within {} s", WITHIN.as_secs());
    }

    /// None: nothing came for a while.
    fn next(&mut self) -> anyhow::Result<Option<Value>> {
        match self.socket.read() {
            Ok(Message::Text(text)) => Ok(Some(serde_json::from_str(&text)?)),
            Ok(_) => Ok(None),
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("the connection to Janus broke"),
        }
    }
}

impl Sfu for Janus {
    fn name(&self) -> &'static str {
        match self.threads {
            Threads::Default => "janus",
            Threads::One => "janus, event_loops=1",
        }
    }

    fn process(&self) -> u32 {
        self.child.id()
    }

    fn publish(&mut self, publisher: &mut Publisher, offer: &str) -> anyhow::Result<()> {
        let handle = self.attach()?;
        let body = json!({"request": "joinandconfigure", "room": ROOM, "ptype": "publisher"});
        let answer = self.message(handle, body, Some(json!({"type": "offer", "sdp": offer})))?;
        self.feeds.push(number(&answer, "/plugindata/data/id")?);
        publisher.session.accept_answer(text(&answer, "/jsep/sdp")?)
    }

    fn subscribe(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let handle = self.attach()?;
        let streams: Vec<Value> = self.feeds.iter().map(|feed| json!({"feed": feed})).collect();
        let body = json!({"request": "join", "room": ROOM, "ptype": "subscriber", "streams": streams});
        let offer = self.message(handle, body, None)?;
        let answer = session.answer(text(&offer, "/jsep/sdp")?)?;
        self.message(handle, json!({"request": "start"}), Some(json!({"type": "answer", "sdp": answer})))?;
        Ok(())
    }

    fn attend(&mut self, duration: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            self.next()?;
            if self.keep_alive_at <= Instant::now() {
                self.keep_alive_at += KEEP_ALIVE_EVERY;
                let message =
                    json!({"janus": "keepalive", "session_id": self.session, "transaction": "alive"});
                self.socket.send(Message::text(message.to_string()))?;
            }
        }
        if let Some(status) = self.child.try_wait()? {
            bail!("Janus ended by itself: {status}");
        }
        Ok(())
    }

    /// It has no estimator.
    fn estimates_bps(&self) -> Vec<u64> {
        Vec::new()
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        node::end(&mut self.child);
        // It is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn number(answer: &Value, pointer: &str) -> anyhow::Result<u64> {
    answer.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {answer}"))
}

fn text<'a>(answer: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    answer.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {answer}"))
}

/// Its defaults but for ports and addresses, and only the parts that are used.
fn write_configuration(dir: &Path, threads: Threads, ip: IpAddr, port: u16) -> anyhow::Result<()> {
    for (kind, part) in [("plugins", "libjanus_videoroom.so"), ("transports", "libjanus_websockets.so")] {
        fs::create_dir(dir.join(kind))?;
        symlink(format!("{PARTS}/{kind}/{part}"), dir.join(kind).join(part))?;
    }
    for kind in ["events", "loggers"] {
        fs::create_dir(dir.join(kind))?;
    }
    let event_loops = match threads {
        Threads::Default => "",
        Threads::One => "event_loops = 1\n",
    };
    let dir_text = dir.display();
    fs::write(
        dir.join("janus.jcfg"),
        format!(
            "general: {{\nconfigs_folder = \"{dir_text}\"\nplugins_folder = \"{dir_text}/plugins\"\n\
             transports_folder = \"{dir_text}/transports\"\nevents_folder = \"{dir_text}/events\"\n\
             loggers_folder = \"{dir_text}/loggers\"\ndebug_level = 2\n{event_loops}}}\n\
             nat: {{\nice_enforce_list = \"{ip}\"\n}}\n"
        ),
    )?;
    fs::write(dir.join("janus.plugin.videoroom.jcfg"), "general: {\n}\n")?;
    fs::write(
        dir.join("janus.transport.websockets.jcfg"),
        format!(
            "general: {{\nws = true\nws_port = {port}\nws_ip = \"127.0.0.1\"\n}}\nadmin: {{\nadmin_ws = false\n}}\n"
        ),
    )?;
    Ok(())
}

fn connect(address: SocketAddr) -> anyhow::Result<WebSocket<TcpStream>> {
    let started = Instant::now();
    let stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if started.elapsed() >= WITHIN => return Err(error.into()),
            Err(_) => std::thread::sleep(READ_WITHIN),
        }
    };
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{address}/").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("janus-protocol"));
    let (socket, _) = tungstenite::client(request, stream)
        .map_err(|error| anyhow::anyhow!("it refused the connection: {error}"))?;
    socket.get_ref().set_read_timeout(Some(READ_WITHIN))?;
    Ok(socket)
}
