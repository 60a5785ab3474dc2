//! The configuration: one documented file, environment variables and flags over it.
//!
//! It is read and checked as a whole before a port is bound. A mistake is one sentence that names
//! the key.

mod check;
mod layers;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use broletto_protocol::Lobby;
use broletto_sfu_server::config::{Announced, LimitsConfig};
use broletto_sfu_server::{ControlConfig, SfuConfig};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::proxies::Network;

pub use layers::Layers;

/// The documented example, which `broletto config example` prints. Every value in it is the default.
pub const EXAMPLE: &str = include_str!("config/example.toml");
/// Read from the working directory where no other file is named.
pub const FILE_NAME: &str = "broletto.toml";

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// Path of the key, such as `http.listen`, or the name of the file.
    pub key: String,
    pub message: String,
}

impl ConfigError {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError { key: key.into(), message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data_dir: PathBuf,
    pub http: Http,
    pub https: Https,
    pub rooms: Rooms,
    pub tokens: Tokens,
    pub session: Session,
    pub signaling: Signaling,
    pub ice: Ice,
    pub media: Media,
    pub ops: Ops,
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: Vec<SocketAddr>,
    /// Address of the site as people open it. Empty: the host that the request came to.
    pub public_url: String,
    pub allowed_origins: Vec<String>,
    /// Reverse proxies, whose word on where a request came from is taken.
    pub trusted_proxies: Vec<Network>,
    /// TCP connections at one time, of HTTP and HTTPS together.
    pub connections_max: usize,
    pub connections_per_source_max: usize,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Https {
    pub listen: Vec<SocketAddr>,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    pub create: WhoCreates,
    /// Rooms that one source address may make in an hour.
    pub created_per_hour_max: u32,
    /// Who waits, in a room that was made without saying.
    pub lobby: Lobby,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoCreates {
    Anyone,
    /// Bearers of a moderator's token for the room `*`.
    Token,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    pub keys: Vec<SigningKey>,
}

/// A key that tokens are signed with. The first of the list signs, all of them verify.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    pub kid: String,
    pub secret: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// WebSockets at one time.
    pub connections_max: usize,
    pub connections_per_source_max: usize,
    /// A client that says nothing for so long is disconnected.
    pub silence_s: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signaling {
    /// Control address of a node (`wss://host:7443`). Empty: the node in this process.
    pub node: String,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What clients are told of the ways to the media server.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ice {
    pub servers: Vec<IceServer>,
    /// Of a TURN server that knows `turn_secret`.
    pub turn_urls: Vec<String>,
    pub turn_secret: String,
    pub turn_lifetime_s: u64,
}

impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ice { servers, turn_urls, .. } = self;
        f.debug_struct("Ice").field("servers", servers).field("turn_urls", turn_urls).finish_non_exhaustive()
    }
}

/// As for RTCPeerConnection.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub credential: String,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// As the media plane knows them; see [`SfuConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    pub name: String,
    pub workers: u16,
    pub bind: Vec<IpAddr>,
    pub udp_port_base: u16,
    pub announce: Vec<Announced>,
    pub tcp: bool,
    pub limits: LimitsConfig,
    pub control: Control,
}

impl Media {
    /// Without a control server; signaling runs in this process.
    pub fn sfu_config(&self) -> SfuConfig {
        let Media { name, workers, bind, udp_port_base, announce, tcp, limits, control: _ } = self.clone();
        SfuConfig { name, workers, bind, udp_port_base, announce, tcp, control: None, limits }
    }

    pub fn sfu_config_with_control(&self) -> SfuConfig {
        let Control { listen, certificate, private_key, client_ca } = self.control.clone();
        let control = ControlConfig { listen, certificate, private_key, client_ca };
        SfuConfig { control: Some(control), ..self.sfu_config() }
    }
}

/// Where signaling in another process connects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    pub listen: SocketAddr,
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    pub client_ca: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    pub listen: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As RUST_LOG: a level, or a list of `target=level`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// On every address, of both families.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![([0, 0, 0, 0], port).into(), ([0u16; 8], port).into()]
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: "broletto-data".into(),
            http: Http::default(),
            https: Https { listen: everywhere(8443), ..Https::default() },
            rooms: Rooms::default(),
            tokens: Tokens::default(),
            session: Session::default(),
            signaling: Signaling::default(),
            ice: Ice::default(),
            media: Media::default(),
            ops: Ops::default(),
            log: Log::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: everywhere(8080),
            public_url: String::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 20_000,
            connections_per_source_max: 16_000,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms { create: WhoCreates::Anyone, created_per_hour_max: 300, lobby: Lobby::Off }
    }
}

impl Default for Session {
    fn default() -> Self {
        Session { connections_max: 10_000, connections_per_source_max: 8_000, silence_s: 60 }
    }
}

impl Default for Ice {
    fn default() -> Self {
        // As the draft of the TURN REST interface recommends.
        let turn_lifetime_s = 24 * 3600;
        Ice { servers: Vec::new(), turn_urls: Vec::new(), turn_secret: String::new(), turn_lifetime_s }
    }
}

impl Default for Media {
    fn default() -> Self {
        let SfuConfig { name, workers, bind, udp_port_base, announce, tcp, limits, control: _ } =
            SfuConfig::default();
        let control = Control::default();
        Media { name, workers, bind, udp_port_base, announce, tcp, limits, control }
    }
}

impl Default for Control {
    fn default() -> Self {
        Control {
            listen: ([0, 0, 0, 0], 7443).into(),
            certificate: PathBuf::new(),
            private_key: PathBuf::new(),
            client_ca: PathBuf::new(),
        }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Ops { listen: vec![([127, 0, 0, 1], 9091).into()] }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// An empty path in the file means that there is none.
pub fn given(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}
