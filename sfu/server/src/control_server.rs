//! Control frames over WebSocket, for signaling in another process.
//!
//! Both sides show certificates of one authority (C1). The connection carries nothing that media
//! needs to go on: when it breaks, routers stay, and signaling connects again and syncs.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broletto_control::codec::{self, FRAME_BYTES_MAX};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::config::ControlConfig;
use crate::metrics::Metrics;
use crate::node::{Link, LinkOpener};

/// Connections at a time, those that still shake hands included.
const CONNECTIONS_MAX: usize = 128;
/// For TLS and the WebSocket upgrade together.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(5);
/// A peer that says nothing for so long, not even a pong, is gone.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// A peer that takes nothing for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 64;
/// After a failure to accept (no descriptors are left, say).
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("media.control.{key}: {path} cannot be read as PEM: {message}")]
    File { key: &'static str, path: PathBuf, message: String },
    #[error("media.control.client_ca: nobody could be admitted: {0}")]
    ClientCa(String),
    #[error("media.control.certificate: it does not go with the private key: {0}")]
    Certificate(rustls::Error),
    #[error("media.control.listen: {address} cannot be bound: {source}")]
    Bind { address: SocketAddr, source: io::Error },
}

pub(crate) struct ControlServer {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    opener: LinkOpener,
    metrics: Metrics,
}

impl ControlServer {
    /// Needs a tokio runtime.
    pub(crate) fn bind(
        config: &ControlConfig,
        opener: LinkOpener,
        metrics: Metrics,
    ) -> Result<Self, TlsError> {
        let acceptor = TlsAcceptor::from(Arc::new(tls_config(config)?));
        let listen = || {
            let socket = if config.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(config.listen)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) =
            listen().map_err(|source| TlsError::Bind { address: config.listen, source })?;
        Ok(ControlServer { listener, address, acceptor, opener, metrics })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a control connection could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.metrics.links_refused.with_label_values(&["too_many"]).inc();
                continue;
            };
            let (acceptor, opener, metrics) =
                (self.acceptor.clone(), self.opener.clone(), self.metrics.clone());
            tokio::spawn(async move {
                match timeout(HANDSHAKE_WITHIN, shake_hands(stream, acceptor)).await {
                    Ok(Ok(socket)) => serve(socket, opener.open()).await,
                    Ok(Err(error)) => {
                        tracing::info!(%error, "a control connection was refused");
                        metrics.links_refused.with_label_values(&["handshake"]).inc();
                    }
                    Err(_) => metrics.links_refused.with_label_values(&["handshake_late"]).inc(),
                }
                drop(place);
            });
        }
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn shake_hands(stream: TcpStream, acceptor: TlsAcceptor) -> Result<Socket, WebSocketError> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    accept_async_with_config(stream, Some(config)).await
}

async fn serve(socket: Socket, link: Link) {
    let Link { requests, frames } = link;
    let (sink, stream) = socket.split();
    // Reading and writing do not wait for each other; when one ends, so does the other.
    tokio::select! {
        () = read(stream, requests) => {}
        () = write(sink, frames) => {}
    }
}

async fn read(mut stream: SplitStream<Socket>, requests: tokio::sync::mpsc::Sender<broletto_control::Frame>) {
    while let Ok(Some(Ok(message))) = timeout(SILENT_MAX, stream.next()).await {
        let text = match message {
            Message::Text(text) => text,
            // Reading a ping queues its pong.
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Binary(_) | Message::Close(_) | Message::Frame(_) => return,
        };
        let frame = match codec::decode(&text) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(%error, "a control connection is closed");
                return;
            }
        };
        if requests.send(frame).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut frames: tokio::sync::mpsc::Receiver<broletto_control::Frame>,
) {
    let mut ping = interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => Message::text(codec::encode(&frame)),
                None => Message::Close(None),
            },
            _ = ping.tick() => Message::Ping(Default::default()),
        };
        let is_last = matches!(message, Message::Close(_));
        let sent = timeout(WRITE_WITHIN, sink.send(message)).await;
        if is_last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

fn tls_config(config: &ControlConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates("certificate", &config.certificate)?;
    let key = open("private_key", &config.private_key).and_then(|file| {
        PrivateKeyDer::from_pem_reader(file)
            .map_err(|error| unreadable("private_key", &config.private_key, error))
    })?;
    let mut authorities = RootCertStore::empty();
    for authority in certificates("client_ca", &config.client_ca)? {
        authorities.add(authority).map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
        .build()
        .map_err(|error| TlsError::ClientCa(error.to_string()))?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(open(key, path)?).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(unreadable(key, path, "it has no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(key, path, error)),
    }
}

fn open(key: &'static str, path: &Path) -> Result<BufReader<File>, TlsError> {
    File::open(path).map(BufReader::new).map_err(|error| unreadable(key, path, error))
}

fn unreadable(key: &'static str, path: &Path, error: impl ToString) -> TlsError {
    TlsError::File { key, path: path.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests;
