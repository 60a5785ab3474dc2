//! How the parts are put together, and taken apart again.

use std::convert::Infallible;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::{any, get, patch, post};
use axum::{Router, middleware};
use broletto_protocol::server::IceServer;
use broletto_sfu_server::{NodeHandle, SfuConfig};
use broletto_signaling_core::{Claims, Conference, Config as ConferenceConfig, Limits, Turn};
use prometheus::proto::MetricFamily;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::certs::{self, PemFiles};
use crate::conference_task::{self, ConferenceHandle, Tasks};
use crate::config::{self, Config};
use crate::limits::{Gate, RateLimit};
use crate::listener::{self, Peer};
use crate::metrics::Metrics;
use crate::node_link::{self, Remote, Way};
use crate::ops::{self, Health};
use crate::proxies::{self, Network};
use crate::store::Store;
use crate::tokens::{AUDIENCE, Tokens};
use crate::{addresses, origin, rest, secrets, session, web, whip};

/// For sessions to hear that the server restarts and to close.
const SESSIONS_END_MAX: Duration = Duration::from_secs(3);
/// For what waits to be saved.
const SAVE_MAX: Duration = Duration::from_secs(5);
/// Requests of one source to the REST interface: so many at once, and so many a second.
const REQUESTS_BURST: u32 = 60;
const REQUESTS_PER_SECOND: f64 = 10.0;
/// Connections of operators and their tools.
const OPS_CONNECTIONS_MAX: usize = 128;

/// Which half of Broletto this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    All,
    Signaling,
    Sfu,
}

/// What the handlers of requests share.
pub struct App {
    pub(crate) config: Config,
    pub(crate) conference: ConferenceHandle,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sessions: Arc<Gate>,
    pub(crate) requests: RateLimit,
    /// Held by every session; the other end notices when the last is gone.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

impl App {
    /// Address of this site as the request's sender knows it.
    pub(crate) fn site(&self, headers: &HeaderMap, peer: Peer) -> String {
        let scheme = if peer.secure { "https" } else { "http" };
        origin::host(headers).map(|host| format!("{scheme}://{host}")).unwrap_or_default()
    }

    /// Without `http.public_url` the conference makes links that lack the site.
    pub(crate) fn complete_url(&self, url: &mut String, site: &str) {
        if self.config.http.public_url.is_empty() {
            url.insert_str(0, site);
        }
    }
}

/// A program that has started.
pub struct Running {
    /// Where it listens; empty where it does not.
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub ops: Vec<SocketAddr>,
    node: Option<Arc<NodeHandle>>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    signaling: Option<Signaling>,
}

struct Signaling {
    conference: ConferenceHandle,
    tasks: Tasks,
    link: JoinHandle<()>,
    sessions_alive: mpsc::Receiver<Infallible>,
    store: Store,
    /// Nobody else uses the data directory meanwhile.
    _lock: File,
}

/// Starts. Everything that can be wrong is found before the first port is bound.
pub async fn start(role: Role, config: Config) -> anyhow::Result<Running> {
    crate::install_crypto();
    make_data_dir(&config.data_dir)?;
    let ops_token = secrets::kept_word(&config.data_dir.join(ops::TOKEN_FILE_NAME), ops::TOKEN_CHARS)?;
    match role {
        Role::All | Role::Signaling => start_signaling(role, config, ops_token).await,
        Role::Sfu => start_sfu(config, ops_token).await,
    }
}

async fn start_signaling(role: Role, config: Config, ops_token: String) -> anyhow::Result<Running> {
    if role == Role::Signaling {
        config.check_signaling()?;
    }
    let lock = lock(&config.data_dir)?;
    let tls = match config.https.listen.is_empty() {
        true => None,
        false => Some(certs::web_tls(&certs::web_certificate(&config.https, &config.data_dir)?)?),
    };
    let way = match remote(&config)? {
        Some(remote) => Way::Remote(remote),
        None => Way::Here(Arc::new(start_node(config.media.sfu_config()).await?)),
    };
    let node = match &way {
        Way::Here(node) => Some(Arc::clone(node)),
        Way::Remote(_) => None,
    };
    let store = Store::open(&config.data_dir).await?;
    let tokens = Arc::new(Tokens::load(&config.tokens, &store).await?);
    let saved = store.live_state().await?;
    let opening = Arc::clone(&tokens);
    let conference = Conference::new(
        conference_config(&config),
        Box::new(move |token| opening.open(token)),
        secrets::bytes(),
        saved,
        conference_task::now(),
    )?;

    let http = listener::bind_all(&config.http.listen)?;
    let https = listener::bind_all(&config.https.listen)?;
    let ops = listener::bind_all(&config.ops.listen)?;
    let mut running = Running {
        http: local_addresses(&http)?,
        https: local_addresses(&https)?,
        ops: local_addresses(&ops)?,
        node: node.clone(),
        stop: watch::Sender::new(false),
        listeners: JoinSet::new(),
        signaling: None,
    };

    let metrics = Arc::new(Metrics::new());
    let (to_node, requests) = node_link::requests(node_link::REQUESTS_MAX);
    let (conference, tasks) =
        conference_task::start(conference, store.clone(), to_node, Arc::clone(&metrics));
    let link = node_link::run(way, conference.clone(), requests, Arc::clone(&metrics));
    let link = tokio::spawn(link);
    let (alive, sessions_alive) = mpsc::channel(1);
    let health = SignalingHealth {
        conference: conference.clone(),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        node,
    };
    let connections = Gate::new(config.http.connections_max, config.http.connections_per_source_max);
    let app = App {
        sessions: Gate::new(config.session.connections_max, config.session.connections_per_source_max),
        requests: RateLimit::new(REQUESTS_BURST, REQUESTS_PER_SECOND),
        conference: conference.clone(),
        config,
        tokens,
        metrics,
        alive,
    };
    let router = router(Arc::new(app));
    running.serve(http, None, router.clone(), &connections);
    running.serve(https, tls.map(TlsAcceptor::from), router, &connections);
    let ops_gate = Gate::new(OPS_CONNECTIONS_MAX, OPS_CONNECTIONS_MAX);
    running.serve(ops, None, ops::router(ops_token, health), &ops_gate);
    running.signaling = Some(Signaling { conference, tasks, link, sessions_alive, store, _lock: lock });
    Ok(running)
}

async fn start_sfu(config: Config, ops_token: String) -> anyhow::Result<Running> {
    config.check_sfu()?;
    let ops = listener::bind_all(&config.ops.listen)?;
    let node = Arc::new(start_node(config.media.sfu_config_with_control()).await?);
    let mut running = Running {
        http: Vec::new(),
        https: Vec::new(),
        ops: local_addresses(&ops)?,
        node: Some(Arc::clone(&node)),
        stop: watch::Sender::new(false),
        listeners: JoinSet::new(),
        signaling: None,
    };
    let ops_gate = Gate::new(OPS_CONNECTIONS_MAX, OPS_CONNECTIONS_MAX);
    running.serve(ops, None, ops::router(ops_token, NodeHealth { node }), &ops_gate);
    Ok(running)
}

/// The media plane brings a runtime of its own, which must not be made or dropped on this one.
async fn start_node(config: SfuConfig) -> anyhow::Result<NodeHandle> {
    Ok(tokio::task::spawn_blocking(|| broletto_sfu_server::start(config)).await??)
}

fn router(app: Arc<App>) -> Router {
    let trusted: Arc<[Network]> = app.config.http.trusted_proxies.as_slice().into();
    let session = || patch(whip::change).delete(whip::end).options(whip::options_of_session);
    let sessions = Router::new()
        .route("/api/v1/whip/{room}", post(whip::publish).options(whip::options))
        .route("/api/v1/whep/{room}", post(whip::watch).options(whip::options))
        .route("/api/v1/whip/{room}/{session}", session())
        .route("/api/v1/whep/{room}/{session}", session())
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(DefaultBodyLimit::max(whip::BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), whip::cross_origin))
        .with_state(Arc::clone(&app));
    let rooms = Router::new()
        .route("/api/v1/rooms", post(rest::create_room))
        .route("/api/v1/rooms/{id}", get(rest::read_room).delete(rest::end_room))
        .route("/api/v1/openapi.json", get(rest::openapi))
        .route("/api/v1/session", any(session::upgrade))
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(DefaultBodyLimit::max(rest::BODY_BYTES_MAX))
        .with_state(app);
    rooms
        .merge(sessions)
        .fallback(web::page)
        .layer(middleware::from_fn_with_state(trusted, proxies::see_through))
        .layer(middleware::from_fn(rest::within_time))
        .layer(middleware::from_fn(web::security_headers))
}

fn conference_config(config: &Config) -> ConferenceConfig {
    ConferenceConfig {
        public_url: config.http.public_url.clone(),
        audience: AUDIENCE.to_owned(),
        lobby: config.rooms.lobby,
        video_codecs: config.rooms.video_codecs.clone(),
        ice_servers: config.ice.servers.iter().map(ice_server).collect(),
        turn: turn(&config.ice),
        limits: Limits {
            connections_max: config.session.connections_max,
            rooms_per_source_hour_max: config.rooms.created_per_hour_max,
            ..Limits::default()
        },
        ..ConferenceConfig::default()
    }
}

fn ice_server(server: &config::IceServer) -> IceServer {
    let config::IceServer { urls, username, credential } = server.clone();
    let given = |text: String| (!text.is_empty()).then_some(text);
    IceServer { urls, username: given(username), credential: given(credential) }
}

fn turn(ice: &config::Ice) -> Option<Turn> {
    let config::Ice { servers: _, turn_urls: urls, turn_secret: secret, turn_lifetime_s } = ice.clone();
    let lifetime = Duration::from_secs(turn_lifetime_s);
    (!urls.is_empty()).then_some(Turn { urls, secret, lifetime })
}

fn remote(config: &Config) -> anyhow::Result<Option<Remote>> {
    let signaling = &config.signaling;
    let Some(address) = signaling.node.strip_prefix("wss://") else { return Ok(None) };
    let files = PemFiles { certificate: signaling.certificate.clone(), key: signaling.key.clone() };
    let tls = certs::node_tls(&signaling.ca, &files)?;
    Ok(Some(Remote { address: address.trim_end_matches('/').to_owned(), tls }))
}

impl Running {
    fn serve(
        &mut self,
        listeners: Vec<TcpListener>,
        tls: Option<TlsAcceptor>,
        router: Router,
        gate: &Arc<Gate>,
    ) {
        for listener in listeners {
            let (tls, router, gate) = (tls.clone(), router.clone(), Arc::clone(gate));
            self.listeners.spawn(listener::serve(listener, tls, router, gate, self.stop.subscribe()));
        }
    }

    /// What to print once it runs: where to go, and from where.
    pub fn greeting(&self) -> String {
        let mut lines = Vec::new();
        if let Some(control) = self.node.as_ref().and_then(|node| node.control_address()) {
            lines.push(format!("Waiting for signaling on wss://{control}"));
        }
        for address in &self.ops {
            lines.push(format!("Health and metrics on http://{address}"));
        }
        let (http, https) = (urls("http", &self.http), urls("https", &self.https));
        if !https.is_empty() {
            lines.push(format!("Encrypted, also for other devices, on {}", https.join(", ")));
        }
        lines.push(match http.iter().chain(&https).next() {
            Some(first) => format!("Open {first}"),
            None => "Ready".to_owned(),
        });
        lines.join("\n") + "\n"
    }

    /// Returns when something that should never end has ended.
    pub async fn failed(&mut self) -> &'static str {
        match &mut self.signaling {
            None => std::future::pending().await,
            Some(signaling) => tokio::select! {
                _ = &mut signaling.tasks.conference => "the conference task ended",
                _ = &mut signaling.tasks.executor => "the task that saves ended",
                _ = &mut signaling.link => "the task that speaks with the node ended",
            },
        }
    }

    /// Tells clients to resume, saves, and ends. Takes a few seconds at most.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stop.send_replace(true);
        if let Some(signaling) = self.signaling.take() {
            signaling.stop(&mut self.listeners).await;
        } else {
            while self.listeners.join_next().await.is_some() {}
        }
        // The last to hold the node waits for its threads.
        let node = self.node.take();
        let _ = tokio::task::spawn_blocking(move || drop(node)).await;
        info!("stopped");
    }
}

impl Signaling {
    async fn stop(mut self, listeners: &mut JoinSet<()>) {
        // It may have ended by itself, and then there is nothing left to tell.
        let _ = self.conference.shut_down().await;
        if timeout(SAVE_MAX, self.tasks.executor).await.is_err() {
            warn!("not everything was saved in time");
        }
        while listeners.join_next().await.is_some() {}
        if timeout(SESSIONS_END_MAX, self.sessions_alive.recv()).await.is_err() {
            warn!("some sessions did not close in time");
        }
        let _ = timeout(SESSIONS_END_MAX, self.link).await;
        self.store.close().await;
    }
}

/// Addresses to type, this machine's own name first.
fn urls(scheme: &str, listening: &[SocketAddr]) -> Vec<String> {
    let mut hosts = Vec::<(String, u16)>::new();
    for address in listening {
        let names = match address.ip() {
            ip if ip.is_loopback() => vec!["localhost".to_owned()],
            ip if ip.is_unspecified() => {
                let same_family = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
                let found = addresses::of_this_machine().into_iter().filter(same_family);
                std::iter::once("localhost".to_owned()).chain(found.map(in_url)).collect()
            }
            ip => vec![in_url(ip)],
        };
        hosts.extend(names.into_iter().map(|name| (name, address.port())));
    }
    let mut urls = Vec::new();
    for (host, port) in hosts {
        let url = format!("{scheme}://{host}:{port}");
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn local_addresses(listeners: &[TcpListener]) -> anyhow::Result<Vec<SocketAddr>> {
    listeners.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

fn make_data_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let make = || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    make().with_context(|| format!("data_dir: {} cannot be made", dir.display()))
}

/// Two processes on one database would both think that a room is theirs.
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    if file.try_lock().is_err() {
        bail!("data_dir: {} is in use by another Broletto", data_dir.display());
    }
    Ok(file)
}

/// Signs a token with the key that a server on this configuration would sign with.
pub async fn sign_token(config: &Config, claims: &Claims) -> anyhow::Result<String> {
    make_data_dir(&config.data_dir)?;
    let store = Store::open(&config.data_dir).await?;
    Ok(Tokens::load(&config.tokens, &store).await?.sign(claims)?)
}

struct SignalingHealth {
    conference: ConferenceHandle,
    store: Store,
    metrics: Arc<Metrics>,
    node: Option<Arc<NodeHandle>>,
}

impl Health for SignalingHealth {
    async fn not_ready(&self) -> Option<&'static str> {
        if !self.conference.is_running() {
            return Some("the server is stopping");
        }
        if !self.conference.totals().node_connected {
            return Some("the media node is not connected");
        }
        (!self.store.is_ready().await).then_some("the database does not answer")
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        let mut families = self.metrics.gather(self.conference.totals());
        families.extend(self.node.iter().flat_map(|node| node.metrics().gather()));
        families
    }
}

struct NodeHealth {
    node: Arc<NodeHandle>,
}

impl Health for NodeHealth {
    async fn not_ready(&self) -> Option<&'static str> {
        None
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        self.node.metrics().gather()
    }
}
