//! Accepts connections and finds the worker that each is for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broletto_sfu_core::ufrag;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::framing::FrameReader;
use super::{Admission, Handover, Permit};
use crate::metrics::Metrics;

/// A client sends its connectivity check at once.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);
/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1_024;
/// What the kernel may buffer for a connection, in bytes; what is above waits with us, where video
/// can be dropped before audio.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// After a failure to accept (no descriptors are left, say).
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Listener {
    listener: TcpListener,
    admission: Admission,
    metrics: Metrics,
}

/// Gives a connection to the worker of that index. False: there is none, or it has no room.
pub(crate) type Deliver = Arc<dyn Fn(u16, Handover) -> bool + Send + Sync>;

impl Listener {
    /// Needs a tokio runtime.
    pub(crate) fn bind(address: SocketAddr, admission: Admission, metrics: Metrics) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        Ok(Listener { listener: socket.listen(BACKLOG)?, admission, metrics })
    }

    pub(crate) async fn run(self, deliver: Deliver) {
        loop {
            let (stream, source) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a TCP connection could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some((permit, evicted)) = self.admission.admit(source.ip()) else {
                self.metrics.tcp_refused.with_label_values(&["too_many"]).inc();
                continue;
            };
            let (deliver, metrics) = (deliver.clone(), self.metrics.clone());
            tokio::spawn(async move {
                let refused = tokio::select! {
                    result = timeout(FIRST_FRAME_WITHIN, route(stream, source, permit, deliver)) => {
                        result.unwrap_or(Some("first_frame_late"))
                    }
                    _ = evicted => Some("evicted"),
                };
                if let Some(reason) = refused {
                    metrics.tcp_refused.with_label_values(&[reason]).inc();
                }
            });
        }
    }
}

/// Reads the first frame and delivers the connection to the worker that it names. Otherwise, why not.
async fn route(
    mut stream: TcpStream,
    source: SocketAddr,
    permit: Permit,
    deliver: Deliver,
) -> Option<&'static str> {
    let mut reader = FrameReader::new();
    let first = loop {
        match reader.next() {
            Ok(Some(frame)) => break frame.to_vec(),
            Ok(None) => {}
            Err(_) => return Some("malformed"),
        }
        match stream.read(reader.space()).await {
            Ok(0) | Err(_) => return Some("closed_early"),
            Ok(count) => reader.advance(count),
        }
    };
    let Some(worker) = ufrag::of_stun(&first).and_then(ufrag::worker) else {
        return Some("no_worker_named");
    };
    let Ok(stream) = stream.into_std() else { return Some("closed_early") };
    permit.establish();
    let handover = Handover { stream, source, first, reader, permit };
    if deliver(worker, handover) { None } else { Some("worker_unavailable") }
}
