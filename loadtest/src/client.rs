//! What a client says to signaling: REST, and the session's WebSocket (PROTOCOL.md).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_protocol::client::{ClientFrame, ClientMessage};
use broletto_protocol::rest::{CreateRoom, CreatedRoom};
use broletto_protocol::server::{ErrorCode, ServerFrame, ServerMessage};
use broletto_protocol::{Codec, VERSION};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

/// For an answer of the server, which gives an offer 10 s itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// A page is not larger.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// News that nobody has asked for yet.
const NEWS_MAX: usize = 256;
/// Thousands of sessions are open at a time.
const BUFFER_BYTES: usize = 4 * 1024;
/// Between tries to make a room, of which a source may make some in a second.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

/// A room, with the codecs in order of preference; none: the server's.
pub async fn create_room(server: SocketAddr, title: &str, codecs: &[Codec]) -> anyhow::Result<CreatedRoom> {
    let video_codecs = (!codecs.is_empty()).then(|| codecs.to_vec());
    let body = serde_json::to_string(&CreateRoom { title: title.into(), video_codecs, lobby: None })?;
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, answer) = request(server, "POST", "/api/v1/rooms", &body).await?;
        match status {
            201 => return serde_json::from_slice(&answer).context("the answer is no room"),
            429 if tokio::time::Instant::now() < give_up => sleep(ROOM_PAUSE).await,
            _ => bail!("a room is refused with {status}: {}", String::from_utf8_lossy(&answer)),
        }
    }
}

/// The page that people open, as a browser does before anything else.
pub async fn open_page(server: SocketAddr, room: &str) -> anyhow::Result<()> {
    match request(server, "GET", &format!("/r/{room}"), "").await? {
        (200, body) if !body.is_empty() => Ok(()),
        (status, _) => bail!("the page is answered with {status}"),
    }
}

/// One HTTP request on a connection of its own.
async fn request(server: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer to an HTTP request")??;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer has a head")?;
    let status =
        std::str::from_utf8(&answer[..end]).ok().and_then(|head| head.split(' ').nth(1)?.parse().ok());
    Ok((status.context("an answer has a status")?, answer[end + 4..].to_vec()))
}

/// The WebSocket of one participant.
pub struct Session {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    news: VecDeque<ServerMessage>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("refused: {code:?}, {message}")]
    Refused { code: ErrorCode, message: String },
    #[error("the WebSocket ended")]
    Ended,
    #[error("no message came in time")]
    Silent,
    #[error("the WebSocket broke: {0}")]
    Broken(#[from] Box<tungstenite::Error>),
    #[error("not a message of the protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Session {
    pub async fn open(server: SocketAddr) -> anyhow::Result<Session> {
        let opening = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let request = format!("ws://{server}/api/v1/session").into_client_request()?;
            let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(0);
            let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
            anyhow::Ok(opened?.0)
        };
        let socket = timeout(PATIENCE, opening).await.context("the WebSocket does not open")??;
        Ok(Session { socket, last_id: 0, news: VecDeque::new() })
    }

    /// Joins; the answer is [`ServerMessage::Joined`].
    pub async fn join(&mut self, room: &str, name: &str) -> Result<ServerMessage, SessionError> {
        let (room, name) = (Some(room.to_owned()), Some(name.to_owned()));
        self.ask(ClientMessage::Join { version: VERSION, room, token: None, name }).await
    }

    /// Sends a message and returns its reply. What comes before is kept for [`Session::news`].
    pub async fn ask(&mut self, message: ClientMessage) -> Result<ServerMessage, SessionError> {
        let id = self.send(message).await?;
        loop {
            let frame = timeout(PATIENCE, self.receive()).await.map_err(|_| SessionError::Silent)??;
            match frame {
                ServerFrame { reply_to: Some(of), message } if of == id => {
                    return match message {
                        ServerMessage::Error { code, message, .. } => {
                            Err(SessionError::Refused { code, message })
                        }
                        reply => Ok(reply),
                    };
                }
                ServerFrame { message, .. } => self.keep(message),
            }
        }
    }

    /// Sends a message without waiting for its reply.
    pub async fn send(&mut self, message: ClientMessage) -> Result<u64, SessionError> {
        self.last_id += 1;
        let text = serde_json::to_string(&ClientFrame { id: self.last_id, message })?;
        self.socket.send(Message::text(text)).await.map_err(Box::new)?;
        Ok(self.last_id)
    }

    /// The next message, be it a reply or not. Nothing is lost if the future is dropped.
    pub async fn news(&mut self) -> Result<ServerMessage, SessionError> {
        match self.news.pop_front() {
            Some(message) => Ok(message),
            None => Ok(self.receive().await?.message),
        }
    }

    /// Takes leave; whether the server answers does not matter.
    pub async fn leave(mut self) {
        if self.send(ClientMessage::Leave {}).await.is_ok() {
            let farewell = async { while self.receive().await.is_ok() {} };
            let _ = timeout(Duration::from_secs(2), farewell).await;
        }
    }

    fn keep(&mut self, message: ServerMessage) {
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(message);
    }

    async fn receive(&mut self) -> Result<ServerFrame, SessionError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
                Some(Ok(Message::Close(_))) | None => return Err(SessionError::Ended),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Box::new(error).into()),
            }
        }
    }
}
