//! The way to the node: a channel where it runs in this process, a WebSocket with mutual TLS (C1)
//! where it does not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_control::{Frame, RequestFrame, codec};
use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::{info, warn};

use crate::conference_task::{ConferenceHandle, Stopping};
use crate::metrics::Metrics;

/// Requests that may wait for the node.
pub const REQUESTS_MAX: usize = 4_096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one frame to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(1);
/// A node that says nothing for so long, not even to a ping, is lost.
const SILENCE: Duration = Duration::from_secs(5);
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(3);

/// Where the node is and how the two know each other.
pub struct Remote {
    /// `host:port`.
    pub address: String,
    pub tls: Arc<ClientConfig>,
}

/// Connects, and again whenever the connection breaks, until the conference ends. Requests that
/// come while there is no connection are dropped: the conference syncs once there is one.
pub async fn run_remote(
    remote: Remote,
    conference: ConferenceHandle,
    mut requests: mpsc::Receiver<RequestFrame>,
    metrics: Arc<Metrics>,
) {
    let mut back_off = BACK_OFF_MIN;
    while conference.is_running() {
        match timeout(CONNECT_TIMEOUT, connect(&remote)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(socket) => {
                info!("the node is connected");
                back_off = BACK_OFF_MIN;
                while requests.try_recv().is_ok() {}
                let ended = talk(socket, &conference, &mut requests).await;
                if conference.node_lost().await.is_err() {
                    return;
                }
                metrics.node_links_lost.inc();
                match ended {
                    Ok(()) => info!("the node closed the connection"),
                    Err(error) => warn!(%error, "the node was lost"),
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "the node cannot be reached"),
        }
        // Half of it by chance, so that many instances do not come back at once.
        let pause = back_off.mul_f64(rand::rng().random_range(0.5..1.0));
        pass_over(&mut requests, Instant::now() + pause).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Without a node nothing can be asked of one.
pub async fn discard(mut requests: mpsc::Receiver<RequestFrame>) {
    while requests.recv().await.is_some() {}
}

async fn pass_over(requests: &mut mpsc::Receiver<RequestFrame>, until: Instant) {
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            request = requests.recv() => if request.is_none() { return },
        }
    }
}

async fn connect(remote: &Remote) -> anyhow::Result<WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>> {
    let (host, _) = remote.address.rsplit_once(':').context("expected host:port")?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let stream = TcpStream::connect(&remote.address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::clone(&remote.tls)).connect(name, stream).await?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(codec::FRAME_BYTES_MAX))
        .max_frame_size(Some(codec::FRAME_BYTES_MAX));
    let address = format!("wss://{}/", remote.address);
    let (socket, _) = tokio_tungstenite::client_async_with_config(address, stream, Some(limits)).await?;
    Ok(socket)
}

async fn talk(
    mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    conference: &ConferenceHandle,
    requests: &mut mpsc::Receiver<RequestFrame>,
) -> anyhow::Result<()> {
    if let Err(Stopping) = conference.node_connected().await {
        return Ok(());
    }
    let mut pings = interval(PING_EVERY);
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        let message = tokio::select! {
            received = socket.next() => {
                silent_at = Instant::now() + SILENCE;
                match received {
                    Some(Ok(Message::Text(text))) => {
                        let frame = codec::decode(&text)?;
                        if let Err(Stopping) = conference.node(frame).await {
                            return Ok(());
                        }
                    }
                    Some(Ok(Message::Binary(_))) => bail!("the node sent a binary message"),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    Some(Err(error)) => return Err(error.into()),
                }
                continue;
            }
            request = requests.recv() => match request {
                Some(request) => Message::text(codec::encode(&Frame::Request(request))),
                // The process ends; the node keeps its routers for whoever comes next.
                None => {
                    let _ = timeout(SEND_TIMEOUT, socket.close(None)).await;
                    return Ok(());
                }
            },
            _ = pings.tick() => Message::Ping(Default::default()),
            () = sleep_until(silent_at) => bail!("nothing was heard for {} s", SILENCE.as_secs()),
        };
        timeout(SEND_TIMEOUT, socket.send(message)).await.context("the node does not read")??;
    }
}
