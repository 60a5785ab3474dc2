//! `/api/v1/session`: the WebSocket of one client.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use broletto_protocol::parse::client_frame;
use broletto_protocol::{MESSAGE_BYTES_MAX, ServerFrame, ServerMessage};
use broletto_signaling_core::ConnectionId;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use tracing::debug;

use crate::App;
use crate::conference_task::{Client, OUTGOING_MAX, Stopping};
use crate::limits::Permit;
use crate::listener::Peer;
use crate::origin;
use crate::rest::Refusal;

/// A client that takes longer to read one message is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// When to try again while there are too many sessions, in seconds.
const FULL_S: u64 = 5;
/// Thousands of sessions are idle at a time, and each holds one of these.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// More than the longest message, which tells of everyone in a large room.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// For the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pings within the time that a silent client is kept for.
const PINGS_PER_SILENCE: u32 = 3;

/// Why a WebSocket is closed from here (RFC 6455, section 7.4.1).
struct Close {
    code: u16,
    reason: &'static str,
}

const NORMAL: Close = Close { code: 1000, reason: "closed" };
const TEXT_ONLY: Close = Close { code: 1003, reason: "text messages only" };
const TOO_LONG: Close = Close { code: 1009, reason: "a message is at most 65536 bytes" };
const BROKEN: Close = Close { code: 1002, reason: "not a WebSocket frame" };
const SILENT: Close = Close { code: 4000, reason: "nothing was heard for too long" };
const TOO_SLOW: Close = Close { code: 4001, reason: "messages were not read fast enough" };
const STOPPING: Close = Close { code: 1012, reason: "the server is restarting" };

/// Upgrades, if the page's origin may (W5) and there is room.
pub async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    if !origin::is_allowed(&headers, &app.config.http) {
        app.metrics.origins_refused.inc();
        return Err(Refusal::new(StatusCode::FORBIDDEN, "origin", "this origin may not open sessions"));
    }
    let Some(permit) = app.sessions.enter(peer.ip.into()) else {
        app.metrics.sessions_refused.inc();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Refusal::for_now(status, "limit", "too many sessions", FULL_S));
    };
    let site = app.site(&headers, peer);
    Ok(upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_upgrade(move |socket| run(app, socket, peer.ip, site, permit)))
}

async fn run(app: Arc<App>, mut socket: WebSocket, source: IpAddr, site: String, permit: Permit) {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let connection = ConnectionId(SERIAL.fetch_add(1, Ordering::Relaxed));
    // Both are held until the session ends.
    let (_permit, _alive) = (permit, app.alive.clone());
    let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let client = Client { outgoing: sender, overflowed: Arc::clone(&overflowed) };
    let close = match app.conference.connected(connection, source, client).await {
        Ok(()) => {
            let mut session = Session { app: &app, socket: &mut socket, connection, site, overflowed };
            let close = session.run(outgoing).await;
            // If the conference has ended, it knows no connections.
            let _ = app.conference.disconnected(connection).await;
            close
        }
        Err(Stopping) => Some(STOPPING),
    };
    if let Some(Close { code, reason }) = close {
        debug!(code, reason, "a session was closed");
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // Whoever does not take part in the closing handshake is cut off.
        let _ = timeout(CLOSE_TIMEOUT, async {
            if socket.send(frame).await.is_ok() {
                while let Some(Ok(_)) = socket.recv().await {}
            }
        })
        .await;
    }
}

struct Session<'a> {
    app: &'a App,
    socket: &'a mut WebSocket,
    connection: ConnectionId,
    /// Of the links to give to others.
    site: String,
    overflowed: Arc<AtomicBool>,
}

impl Session<'_> {
    /// Returns how to close, or None where the client is gone already.
    async fn run(&mut self, mut outgoing: mpsc::Receiver<ServerFrame>) -> Option<Close> {
        let silence = Duration::from_secs(self.app.config.session.silence_s);
        let mut pings = interval(silence / PINGS_PER_SILENCE);
        pings.tick().await;
        let mut silent_at = Instant::now() + silence;
        loop {
            let flow = tokio::select! {
                received = self.socket.recv() => {
                    silent_at = Instant::now() + silence;
                    self.receive(received).await
                }
                frame = outgoing.recv() => match frame {
                    _ if self.overflowed.load(Ordering::Relaxed) => ControlFlow::Break(Some(TOO_SLOW)),
                    Some(frame) => self.send(self.text(frame)).await,
                    None => ControlFlow::Break(Some(NORMAL)),
                },
                _ = pings.tick() => self.send(Message::Ping(Default::default())).await,
                () = sleep_until(silent_at) => ControlFlow::Break(Some(SILENT)),
            };
            if let ControlFlow::Break(close) = flow {
                return close;
            }
        }
    }

    async fn receive(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
    ) -> ControlFlow<Option<Close>> {
        let text = match received {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return ControlFlow::Break(Some(TEXT_ONLY)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return ControlFlow::Continue(()),
            Some(Ok(Message::Close(_))) | None => return ControlFlow::Break(None),
            Some(Err(error)) => return ControlFlow::Break(close_after(error)),
        };
        match self.app.conference.client(self.connection, client_frame(&text)).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(Stopping) => ControlFlow::Break(Some(STOPPING)),
        }
    }

    fn text(&self, mut frame: ServerFrame) -> Message {
        if let ServerMessage::Joined { room, .. } | ServerMessage::RoomChanged { room } = &mut frame.message {
            self.app.complete_url(&mut room.url, &self.site);
        }
        let text = serde_json::to_string(&frame).expect("a frame has string keys and no fallible serializer");
        Message::Text(text.into())
    }

    async fn send(&mut self, message: Message) -> ControlFlow<Option<Close>> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(None),
            Err(_) => ControlFlow::Break(Some(TOO_SLOW)),
        }
    }
}

fn close_after(error: axum::Error) -> Option<Close> {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => Some(TOO_LONG),
        Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => Some(BROKEN),
        Some(_) | None => None,
    }
}
