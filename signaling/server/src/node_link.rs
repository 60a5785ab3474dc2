//! The way to the node: a channel where it runs in this process, a WebSocket with mutual TLS (C1)
//! where it does not. Both are a [`Link`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_control::{Frame, RequestFrame, codec};
use broletto_sfu_server::{Link, NodeHandle};
use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
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
/// Frames that may wait between the socket and the conference.
const FRAMES_MAX: usize = 1_024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one frame to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(1);
/// A node that says nothing for so long, not even to a ping, is lost.
const SILENCE: Duration = Duration::from_secs(5);
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(3);

/// Where the node is.
pub enum Way {
    Here(Arc<NodeHandle>),
    Remote(Remote),
}

/// A node in another process, and how the two know each other.
pub struct Remote {
    /// `host:port`.
    pub address: String,
    pub tls: Arc<ClientConfig>,
}

/// Where requests wait for the node.
#[derive(Clone)]
pub struct RequestSender {
    queue: mpsc::Sender<RequestFrame>,
    dropped: watch::Sender<()>,
}

/// The other end of a [`RequestSender`].
pub struct Requests {
    queue: mpsc::Receiver<RequestFrame>,
    dropped: watch::Receiver<()>,
}

pub fn requests(max: usize) -> (RequestSender, Requests) {
    let (sender, queue) = mpsc::channel(max);
    let (drops, dropped) = watch::channel(());
    (RequestSender { queue: sender, dropped: drops }, Requests { queue, dropped })
}

impl RequestSender {
    /// Whether there was room. Where there was none the link is given up: the node no longer has
    /// what the conference wishes, and the sync on the next link repairs that.
    pub fn send(&self, request: RequestFrame) -> bool {
        let sent = self.queue.try_send(request).is_ok();
        if !sent {
            self.dropped.send_replace(());
        }
        sent
    }
}

impl Requests {
    /// Forgets what was meant for a link that is gone.
    fn clear(&mut self) {
        while self.queue.try_recv().is_ok() {}
        self.dropped.mark_unchanged();
    }
}

/// Opens a link, and another whenever one ends, until the conference ends. Requests that come
/// while there is none are dropped: the conference syncs once there is one.
pub async fn run(way: Way, conference: ConferenceHandle, mut requests: Requests, metrics: Arc<Metrics>) {
    let mut back_off = BACK_OFF_MIN;
    while conference.is_running() {
        let link = match &way {
            Way::Here(node) => Ok(node.link()),
            Way::Remote(remote) => {
                timeout(CONNECT_TIMEOUT, connect(remote)).await.unwrap_or_else(|late| Err(late.into()))
            }
        };
        match link {
            Ok(link) => {
                back_off = BACK_OFF_MIN;
                requests.clear();
                if let Err(Stopping) = talk(link, &conference, &mut requests).await {
                    return;
                }
                metrics.node_links_lost.inc();
            }
            Err(error) => warn!(error = format!("{error:#}"), "the node cannot be reached"),
        }
        // Half of it by chance, so that many instances do not come back at once.
        let pause = back_off.mul_f64(rand::rng().random_range(0.5..1.0));
        pass_over(&mut requests.queue, Instant::now() + pause).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

async fn pass_over(requests: &mut mpsc::Receiver<RequestFrame>, until: Instant) {
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            request = requests.recv() => if request.is_none() { return },
        }
    }
}

/// Carries frames both ways until the link ends.
async fn talk(
    mut link: Link,
    conference: &ConferenceHandle,
    requests: &mut Requests,
) -> Result<(), Stopping> {
    info!("the node is connected");
    conference.node_connected().await?;
    loop {
        tokio::select! {
            frame = link.frames.recv() => match frame {
                Some(frame) => conference.node(frame).await?,
                None => break,
            },
            forwarded = forward(&link.requests, &mut requests.queue) => match forwarded {
                Ok(()) => {}
                // The process ends; the node keeps its routers for whoever comes next.
                Err(Ended::Requests) => return Err(Stopping),
                Err(Ended::Link) => break,
            },
            Ok(()) = requests.dropped.changed() => {
                warn!("the link to the node is given up: requests were dropped");
                break;
            }
        }
    }
    info!("the node was lost");
    conference.node_lost().await
}

enum Ended {
    Requests,
    Link,
}

/// One request; none is lost when this is cancelled.
async fn forward(
    link: &mpsc::Sender<Frame>,
    requests: &mut mpsc::Receiver<RequestFrame>,
) -> Result<(), Ended> {
    let permit = link.reserve().await.map_err(|_| Ended::Link)?;
    let request = requests.recv().await.ok_or(Ended::Requests)?;
    permit.send(Frame::Request(request));
    Ok(())
}

async fn connect(remote: &Remote) -> anyhow::Result<Link> {
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
    let (requests, request_receiver) = mpsc::channel(1);
    let (frame_sender, frames) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        if let Err(error) = pump(socket, request_receiver, frame_sender).await {
            warn!(%error, "the connection to the node broke");
        }
    });
    Ok(Link { requests, frames })
}

/// Between a link's channels and its WebSocket, until one of them ends.
async fn pump(
    mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    mut requests: mpsc::Receiver<Frame>,
    frames: mpsc::Sender<Frame>,
) -> anyhow::Result<()> {
    let mut pings = interval(PING_EVERY);
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        let message = tokio::select! {
            received = socket.next() => {
                silent_at = Instant::now() + SILENCE;
                match received {
                    Some(Ok(Message::Text(text))) => {
                        if frames.send(codec::decode(&text)?).await.is_err() {
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
                Some(frame) => Message::text(codec::encode(&frame)),
                None => return Ok(timeout(SEND_TIMEOUT, socket.close(None)).await??),
            },
            _ = pings.tick() => Message::Ping(Default::default()),
            () = sleep_until(silent_at) => bail!("nothing was heard for {} s", SILENCE.as_secs()),
        };
        timeout(SEND_TIMEOUT, socket.send(message)).await.context("the node does not read")??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conference_task;
    use crate::scratch::Scratch;
    use crate::store::Store;
    use broletto_control::{Epoch, Request, RequestId, Response, ResponseFrame, VERSION};
    use broletto_signaling_core::{Conference, Config, TokenError};

    /// A link, and the node's ends of it. The node takes one request and then waits.
    fn link() -> (Link, mpsc::Receiver<Frame>, mpsc::Sender<Frame>) {
        let (requests, at_node) = mpsc::channel(1);
        let (from_node, frames) = mpsc::channel(8);
        (Link { requests, frames }, at_node, from_node)
    }

    async fn next(at_node: &mut mpsc::Receiver<Frame>) -> RequestFrame {
        let frame = timeout(SILENCE, at_node.recv()).await.expect("in time").expect("the link is up");
        let Frame::Request(request) = frame else { panic!("{frame:?}") };
        request
    }

    /// Answers the greeting, and returns what comes after it.
    async fn greet(at_node: &mut mpsc::Receiver<Frame>, from_node: &mpsc::Sender<Frame>) -> Request {
        let hello = next(at_node).await;
        assert_eq!(hello.request, Request::Hello { version: VERSION });
        let node = "sfu".to_owned();
        let result = Ok(Response::Hello { version: VERSION, node, epoch_max: hello.epoch, workers: 1 });
        let answer = Frame::Response(ResponseFrame { id: hello.id, epoch: hello.epoch, result });
        from_node.send(answer).await.expect("the link is up");
        next(at_node).await.request
    }

    #[tokio::test]
    async fn a_link_whose_requests_were_dropped_is_given_up_and_the_next_syncs() {
        let dir = Scratch::new("dropped-requests");
        let store = Store::open(dir.path()).await.expect("opened");
        let no_tokens = Box::new(|_: &str| Err(TokenError::Unreadable(String::new())));
        let conference = Conference::new(Config::default(), no_tokens, [1; 32], [], conference_task::now());
        let (sender, mut requests) = requests(2);
        let metrics = Arc::new(Metrics::new());
        let conference = conference.expect("there is nothing to read");
        let (conference, _tasks) = conference_task::start(conference, store, sender.clone(), metrics);

        let (stuck, mut at_node, from_node) = link();
        let talking = async {
            talk(stuck, &conference, &mut requests).await.expect("the conference runs");
        };
        let flooding = async {
            let sync = greet(&mut at_node, &from_node).await;
            assert!(matches!(sync, Request::Sync { .. }), "{sync:?}");
            let request = Request::Hello { version: VERSION };
            let hello = RequestFrame { id: RequestId(900), epoch: Epoch(1), request };
            while sender.send(hello.clone()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(SILENCE, async { tokio::join!(talking, flooding) }).await.expect("it is given up");

        requests.clear();
        let (fresh, mut at_node, from_node) = link();
        tokio::select! {
            talked = talk(fresh, &conference, &mut requests) => panic!("it ended: {}", talked.is_ok()),
            sync = greet(&mut at_node, &from_node) => assert!(matches!(sync, Request::Sync { .. }), "{sync:?}"),
        }
    }
}
