//! The program under test: a child process of our own, or one that runs elsewhere.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::usage::Usage;

/// For the program to say that it is ready, and to end when it is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server a subcommand tests.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// Address of a running server, such as http://127.0.0.1:8080. Without it, one is started.
    #[arg(long)]
    pub url: Option<String>,
    /// The program to start [default: `broletto` in BROLETTO_BIN_DIR, or beside this program]
    #[arg(long)]
    pub program: Option<PathBuf>,
}

/// What a server that is started here may be asked for: all of it comes from one address, which the
/// limits of a public server would hold back (`broletto config example` has them all).
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Participants at a time, with a WebSocket each.
    pub participants: usize,
    /// Rooms made in an hour.
    pub rooms: usize,
    /// Threads that carry media; 0: one for each processor.
    pub workers: usize,
}

impl Capacity {
    fn environment(self) -> Vec<(&'static str, String)> {
        // Whoever reconnects may be counted twice for a moment.
        let connections = (2 * self.participants + 1_000).to_string();
        let transports = (self.participants + 64).to_string();
        vec![
            ("BROLETTO_HTTP__CONNECTIONS_MAX", connections.clone()),
            ("BROLETTO_HTTP__CONNECTIONS_PER_SOURCE_MAX", connections.clone()),
            ("BROLETTO_SESSION__CONNECTIONS_MAX", connections.clone()),
            ("BROLETTO_SESSION__CONNECTIONS_PER_SOURCE_MAX", connections),
            ("BROLETTO_ROOMS__CREATED_PER_HOUR_MAX", (self.rooms + 300).to_string()),
            ("BROLETTO_MEDIA__LIMITS__TRANSPORTS_PER_ROUTER", transports),
            ("BROLETTO_MEDIA__WORKERS", self.workers.to_string()),
        ]
    }
}

/// A server that can be reached, and, if it is our child, what it costs.
pub enum Server {
    Remote(SocketAddr),
    Local(Box<Local>),
}

pub struct Local {
    program: PathBuf,
    environment: Vec<(String, String)>,
    dir: Scratch,
    http: SocketAddr,
    child: Child,
}

impl Server {
    pub async fn start(arguments: &ServerArguments, capacity: Capacity) -> anyhow::Result<Server> {
        if let Some(url) = &arguments.url {
            return Ok(Server::Remote(address_of(url).await?));
        }
        let program = match &arguments.program {
            Some(program) => program.clone(),
            None => beside()?,
        };
        let dir = Scratch::new()?;
        let http = free_tcp_address()?;
        let own = [
            ("BROLETTO_DATA_DIR", dir.0.join("data").display().to_string()),
            ("BROLETTO_HTTP__LISTEN", http.to_string()),
            ("BROLETTO_HTTPS__LISTEN", String::new()),
            ("BROLETTO_OPS__LISTEN", "127.0.0.1:0".to_owned()),
            ("BROLETTO_MEDIA__BIND", Ipv4Addr::LOCALHOST.to_string()),
            ("BROLETTO_MEDIA__UDP_PORT_BASE", free_udp_port()?.to_string()),
            ("BROLETTO_MEDIA__TCP", "false".to_owned()),
            ("BROLETTO_LOG__FILTER", "warn".to_owned()),
        ];
        let environment = own.into_iter().chain(capacity.environment());
        let environment: Vec<_> = environment.map(|(name, value)| (name.to_owned(), value)).collect();
        let child = launch(&program, &environment, &dir).await?;
        Ok(Server::Local(Box::new(Local { program, environment, dir, http, child })))
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Server::Remote(address) => *address,
            Server::Local(local) => local.http,
        }
    }

    /// None of one that runs elsewhere.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Server::Remote(_) => None,
            Server::Local(local) => Usage::of(local.child.id()?),
        }
    }

    pub fn process(&self) -> Option<u32> {
        match self {
            Server::Remote(_) => None,
            Server::Local(local) => local.child.id(),
        }
    }

    /// What it logged, of which there should be nothing: it logs warnings and errors only.
    pub fn log(&self) -> String {
        match self {
            Server::Remote(_) => String::new(),
            Server::Local(local) => std::fs::read_to_string(local.dir.0.join("log")).unwrap_or_default(),
        }
    }

    /// Ends it as an operator does, and starts the next one on the same ports and data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let Server::Local(local) = self else { bail!("only a server that was started here is restarted") };
        let status = local.terminate().await?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        local.child = launch(&local.program, &local.environment, &local.dir).await?;
        Ok(())
    }
}

impl Local {
    async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let process = self.child.id().context("the server has ended by itself")?;
        // SAFETY: the child has not been waited for, so the id is still its own.
        if unsafe { libc::kill(process as libc::pid_t, libc::SIGTERM) } != 0 {
            return Err(std::io::Error::last_os_error()).context("the server cannot be told to end");
        }
        Ok(timeout(PATIENCE, self.child.wait()).await.context("the server does not end")??)
    }
}

async fn launch(program: &Path, environment: &[(String, String)], dir: &Scratch) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.0.join("log"))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BROLETTO_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value))).current_dir(&dir.0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
    let greeting = timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("Open ") || line == "Ready" {
                return anyhow::Ok(());
            }
        }
        let log = std::fs::read_to_string(dir.0.join("log")).unwrap_or_default();
        bail!("{} ended before it was ready:\n{log}", program.display())
    });
    greeting.await.with_context(|| format!("{} is not ready", program.display()))??;
    // What it prints later would fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(child)
}

/// As CI builds them: all programs in one folder. A test's program is in a folder below it.
fn beside() -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("BROLETTO_BIN_DIR").into_iter().map(Into::into).collect();
    let own = std::env::current_exe()?;
    folders.extend(own.ancestors().skip(1).take(2).map(Path::to_path_buf));
    let found = folders.iter().map(|folder| folder.join("broletto")).find(|program| program.is_file());
    found.context("there is no program `broletto` beside this one: build it, or name one with --program")
}

async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url.strip_prefix("http://").context("--url begins with http://")?.trim_end_matches('/');
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let found = tokio::net::lookup_host(&with_port).await.with_context(|| format!("{url} is not found"))?;
    found.into_iter().next().with_context(|| format!("{url} has no address"))
}

/// Nobody has it now, and the system gives others out first.
fn free_tcp_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// As many in a row as there may be workers, below those that the system gives out by itself.
fn free_udp_port() -> anyhow::Result<u16> {
    const WORKERS_MAX: u16 = 64;
    let first = 20_000 + (std::process::id() % 100) as u16 * WORKERS_MAX;
    let free = |base: u16| {
        let ports = (base..base + WORKERS_MAX).map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
        ports.collect::<Result<Vec<_>, _>>().is_ok()
    };
    let mut bases = (0..100).map(|step| 20_000 + (first - 20_000 + step * WORKERS_MAX) % (100 * WORKERS_MAX));
    bases.find(|base| free(*base)).context("no free UDP ports")
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("broletto-loadtest-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As many open files as this process may have: thousands of participants need a socket or two each.
pub fn raise_open_files() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the whole of each call.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if done { Ok(limit.rlim_cur) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_read_from_a_url() {
        assert_eq!(
            address_of("http://127.0.0.1:8080/").await.unwrap(),
            SocketAddr::from(([127, 0, 0, 1], 8080))
        );
        assert_eq!(address_of("http://127.0.0.1").await.unwrap(), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(address_of("127.0.0.1:80").await.is_err());
    }

    #[test]
    fn the_limit_of_open_files_can_be_raised_again() {
        assert_eq!(raise_open_files().unwrap(), raise_open_files().unwrap());
    }
}
