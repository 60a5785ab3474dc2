//! The real program in a process of its own, and small clients for it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own for each test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("broletto-program-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, on ports of its own. Killed when it is dropped.
pub struct Server {
    child: Child,
    /// What it printed, up to the line that it is ready with.
    pub greeting: Vec<String>,
}

/// `broletto ARGUMENTS` in `dir`, with no setting of the machine's own.
pub fn broletto(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broletto"));
    command.current_dir(dir).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BROLETTO_")) {
        command.env_remove(name);
    }
    command
        .env("BROLETTO_HTTP__LISTEN", "127.0.0.1:0")
        .env("BROLETTO_HTTPS__LISTEN", "127.0.0.1:0")
        .env("BROLETTO_OPS__LISTEN", "127.0.0.1:0")
        .env("BROLETTO_MEDIA__CONTROL__LISTEN", "127.0.0.1:0")
        .env("BROLETTO_MEDIA__BIND", "127.0.0.1")
        .env("BROLETTO_MEDIA__UDP_PORT_BASE", free_udp_port().to_string())
        .env("BROLETTO_MEDIA__TCP", "false")
        .env("BROLETTO_MEDIA__WORKERS", "1")
        .envs(environment.iter().copied());
    command
}

/// Nobody has it now, and the system gives others out first.
fn free_udp_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

impl Server {
    /// Everything in one process, with its log in `dir/log`.
    pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Self {
        Server::start_role(dir, &[], environment)
    }

    pub fn start_role(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log"));
        let child = broletto(dir, arguments, environment)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("the program runs");
        let mut server = Server { child, greeting: Vec::new() };
        let out = BufReader::new(server.child.stdout.take().expect("piped"));
        for line in out.lines() {
            server.greeting.push(line.expect("text"));
            if server.greeting.last().is_some_and(|line| line.starts_with("Open ") || line == "Ready") {
                return server;
            }
        }
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        panic!("the program ended before it was ready:\n{log}");
    }

    pub fn http(&self) -> SocketAddr {
        self.address("Open http://localhost:")
    }

    pub fn https(&self) -> SocketAddr {
        self.address("Encrypted, also for other devices, on https://localhost:")
    }

    pub fn ops(&self) -> SocketAddr {
        self.address("Health and metrics on http://127.0.0.1:")
    }

    pub fn control(&self) -> SocketAddr {
        self.address("Waiting for signaling on wss://127.0.0.1:")
    }

    fn address(&self, prefix: &str) -> SocketAddr {
        let port = self.greeting.iter().find_map(|line| line.strip_prefix(prefix)?.parse::<u16>().ok());
        ([127, 0, 0, 1], port.unwrap_or_else(|| panic!("no {prefix} in {:?}", self.greeting))).into()
    }

    /// As `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }

    /// As `kill`; returns how it ended and after how long.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let status = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(status.success());
        (self.child.wait().expect("waited for"), started.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        found.next().map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One HTTP request on a connection of its own; each header is `name: value`.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let stream = TcpStream::connect(address).await.expect("connected");
    request_on(stream, &format!("localhost:{}", address.port()), method, path, headers, body).await
}

pub async fn request_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for header in headers {
        head += &format!("{header}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // TLS peers that close without a word are fine: the length is known.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], "").await
}

pub const JSON: &str = "content-type: application/json";

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// A room made through the front door: the answer's body.
pub async fn create_room(address: SocketAddr) -> Value {
    let answer = request(address, "POST", "/api/v1/rooms", &[JSON], r#"{"title":"Giunta"}"#).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

pub fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected a text, not {value}")).to_owned()
}

/// A client's WebSocket.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

impl Client {
    pub async fn open(address: SocketAddr) -> Self {
        let origin = format!("http://localhost:{}", address.port());
        Client::open_from(address, Some(&origin)).await.expect("a WebSocket")
    }

    /// As a page of `origin` would.
    pub async fn open_from(address: SocketAddr, origin: Option<&str>) -> Result<Self, Error> {
        let url = format!("ws://localhost:{}/api/v1/session", address.port());
        let mut request = url.into_client_request()?;
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a header value"));
        }
        let stream = MaybeTlsStream::Plain(TcpStream::connect(address).await?);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Client { socket, last_id: 0 })
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("sent");
    }

    /// Sends a message and returns its reply, passing over what comes before.
    pub async fn ask(&mut self, mut message: Value) -> Value {
        self.last_id += 1;
        message["id"] = json!(self.last_id);
        self.send(message.to_string()).await;
        let id = json!(self.last_id);
        self.until(|reply| reply["reply_to"] == id).await
    }

    /// The next message of which `wanted` is true.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut passed = Vec::new();
        loop {
            match self.next().await {
                Ok(value) if wanted(&value) => return value,
                Ok(value) => passed.push(value),
                Err(close) => panic!("closed with {close:?} after {passed:?}"),
            }
        }
    }

    /// The next message, or how the WebSocket ended.
    pub async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The code that the WebSocket is closed with, passing over what comes before.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Err(frame) = self.next().await {
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    pub async fn join(&mut self, room: &str, name: &str) -> Value {
        let joined = self.ask(json!({"type": "join", "version": 1, "room": room, "name": name})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        joined
    }
}
