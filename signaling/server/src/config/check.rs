//! What the types cannot say.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::{Config, ConfigError, IceServer, given};

/// Shortest secret of HS256: as long as its hash (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// With a name and its password anyone can try secrets at home: as long as the hash of HMAC-SHA1, and
/// shorter is discouraged (RFC 2104, section 3).
const TURN_SECRET_BYTES_MIN: usize = 20;
/// Longer than a break of the longest meeting, shorter than anyone should hold a credential.
const TURN_LIFETIME_S: std::ops::RangeInclusive<u64> = 60..=7 * 24 * 3600;
/// More servers only make browsers slower.
const ICE_SERVERS_MAX: usize = 16;
/// More keys than anyone rotates through; each costs memory only.
const KEYS_MAX: usize = 32;

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if given(&self.data_dir).is_none() {
            return wrong("data_dir", "name a directory");
        }
        self.check_listeners()?;
        self.check_origins()?;
        self.check_keys()?;
        self.check_limits()?;
        self.check_media()?;
        self.check_links()?;
        self.check_ice()?;
        if let Err(error) = self.log.filter.parse::<tracing_subscriber::EnvFilter>() {
            return wrong("log.filter", error.to_string());
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        if self.http.listen.is_empty() && self.https.listen.is_empty() {
            return wrong("http.listen", "is empty, and so is https.listen: one of them is needed");
        }
        let mut seen = HashSet::<SocketAddr>::new();
        let listeners = [
            ("http.listen", &self.http.listen),
            ("https.listen", &self.https.listen),
            ("ops.listen", &self.ops.listen),
        ];
        for (key, addresses) in listeners {
            for address in addresses {
                if address.port() != 0 && !seen.insert(*address) {
                    return wrong(key, format!("{address} stands twice"));
                }
            }
        }
        match (given(&self.https.certificate), given(&self.https.key)) {
            (Some(_), None) => wrong("https.key", "is needed with https.certificate"),
            (None, Some(_)) => wrong("https.certificate", "is needed with https.key"),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), ConfigError> {
        if !self.http.public_url.is_empty() && !is_origin(&self.http.public_url) {
            return wrong("http.public_url", origin_wanted(&self.http.public_url));
        }
        match self.http.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => wrong("http.allowed_origins", origin_wanted(origin)),
            None => Ok(()),
        }
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        if self.tokens.keys.len() > KEYS_MAX {
            return wrong("tokens.keys", format!("at most {KEYS_MAX} keys"));
        }
        let mut kids = HashSet::new();
        for (index, key) in self.tokens.keys.iter().enumerate() {
            if key.kid.is_empty() || !kids.insert(&key.kid) {
                return wrong(&format!("tokens.keys[{index}].kid"), "every key needs a kid of its own");
            }
            if key.secret.len() < SECRET_BYTES_MIN {
                let message = format!(
                    "a secret has at least {SECRET_BYTES_MIN} bytes, and this one has {}",
                    key.secret.len()
                );
                return wrong(&format!("tokens.keys[{index}].secret"), message);
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = [
            ("http.connections_max", self.http.connections_max),
            ("http.connections_per_source_max", self.http.connections_per_source_max),
            ("session.connections_max", self.session.connections_max),
            ("session.connections_per_source_max", self.session.connections_per_source_max),
            ("rooms.created_per_hour_max", self.rooms.created_per_hour_max as usize),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return wrong(key, "is at least 1");
        }
        if !(5..=3_600).contains(&self.session.silence_s) {
            return wrong("session.silence_s", "is between 5 and 3600 seconds");
        }
        Ok(())
    }

    fn check_media(&self) -> Result<(), ConfigError> {
        let media = self.media.sfu_config();
        media.validate().map_err(|error| ConfigError::new(format!("media.{}", error.key), error.message))
    }

    fn check_links(&self) -> Result<(), ConfigError> {
        let node = &self.signaling.node;
        if !node.is_empty() {
            if !node.strip_prefix("wss://").is_some_and(|rest| rest.contains(':')) {
                return wrong("signaling.node", format!("expected wss://host:port, not {node:?}"));
            }
            for (key, path) in [
                ("signaling.ca", &self.signaling.ca),
                ("signaling.certificate", &self.signaling.certificate),
                ("signaling.key", &self.signaling.key),
            ] {
                if given(path).is_none() {
                    return wrong(key, "is needed with signaling.node (see `broletto certs`)");
                }
            }
        }
        Ok(())
    }

    fn check_ice(&self) -> Result<(), ConfigError> {
        let ice = &self.ice;
        if ice.servers.len() > ICE_SERVERS_MAX {
            return wrong("ice.servers", format!("at most {ICE_SERVERS_MAX} servers"));
        }
        for (index, IceServer { urls, username, credential }) in ice.servers.iter().enumerate() {
            let key = format!("ice.servers[{index}]");
            if urls.is_empty() || urls.len() > ICE_SERVERS_MAX {
                return wrong(&format!("{key}.urls"), format!("name 1 to {ICE_SERVERS_MAX} addresses"));
            }
            let mut schemes = Vec::with_capacity(urls.len());
            for url in urls {
                let Some(scheme) = ice_scheme(url) else {
                    return wrong(&format!("{key}.urls"), ice_url_wanted(url));
                };
                schemes.push(scheme);
            }
            let relays = schemes.iter().any(|scheme| scheme.starts_with("turn"));
            if relays && (username.is_empty() || credential.is_empty()) {
                return wrong(&key, "turn: needs a username and a credential (or see ice.turn_urls)");
            }
        }
        for url in &ice.turn_urls {
            if !ice_scheme(url).is_some_and(|scheme| scheme.starts_with("turn")) {
                return wrong("ice.turn_urls", turn_url_wanted(url));
            }
        }
        if ice.turn_urls.len() > ICE_SERVERS_MAX {
            return wrong("ice.turn_urls", format!("at most {ICE_SERVERS_MAX} addresses"));
        }
        match (ice.turn_urls.is_empty(), ice.turn_secret.len()) {
            (true, 0) => {}
            (true, _) => return wrong("ice.turn_urls", "is needed with ice.turn_secret"),
            (false, 0) => return wrong("ice.turn_secret", "is needed with ice.turn_urls"),
            (false, 1..TURN_SECRET_BYTES_MIN) => {
                let length = ice.turn_secret.len();
                let message =
                    format!("has at least {TURN_SECRET_BYTES_MIN} bytes, and this one has {length}");
                return wrong("ice.turn_secret", message);
            }
            (false, _) => {}
        }
        if !TURN_LIFETIME_S.contains(&ice.turn_lifetime_s) {
            let (min, max) = TURN_LIFETIME_S.into_inner();
            return wrong("ice.turn_lifetime_s", format!("is between {min} and {max} seconds"));
        }
        Ok(())
    }

    /// What `broletto sfu` needs on top.
    pub fn check_sfu(&self) -> Result<(), ConfigError> {
        let control = &self.media.control;
        for (key, path) in [
            ("media.control.certificate", &control.certificate),
            ("media.control.private_key", &control.private_key),
            ("media.control.client_ca", &control.client_ca),
        ] {
            if given(path).is_none() {
                return wrong(key, "is needed by `broletto sfu` (see `broletto certs`)");
            }
        }
        Ok(())
    }

    /// What `broletto signaling` needs on top.
    pub fn check_signaling(&self) -> Result<(), ConfigError> {
        if self.signaling.node.is_empty() {
            return wrong("signaling.node", "is needed by `broletto signaling`");
        }
        Ok(())
    }
}

fn wrong<T>(key: &str, message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::new(key, message))
}

/// Scheme, host and perhaps a port, as browsers write it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || c.is_uppercase() || "/?#@".contains(c))
    })
}

/// The scheme of a STUN or TURN address as browsers take it (RFC 7064 and 7065, section 3.1): a host,
/// perhaps a port, and for TURN perhaps a transport.
fn ice_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    let (address, transport) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    let fits = match scheme {
        "stun" | "stuns" => transport.is_none(),
        "turn" | "turns" => matches!(transport, None | Some("transport=udp" | "transport=tcp")),
        _ => false,
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("1"))?)
        }
        None => address.split_once(':').unwrap_or((address, "1")),
    };
    let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    let reachable = port.parse::<u16>().is_ok_and(|port| port != 0);
    (fits && named && reachable).then_some(scheme)
}

fn ice_url_wanted(url: &str) -> String {
    format!("expected an address such as stun:stun.example.org:3478, not {url:?}")
}

fn turn_url_wanted(url: &str) -> String {
    format!("expected an address such as turn:turn.example.org:3478?transport=udp, not {url:?}")
}

fn origin_wanted(text: &str) -> String {
    format!(
        "expected an origin such as https://meet.example.org, in lower case and without a path, not {text:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Config, EXAMPLE, Layers, layers::from_table};

    fn read(file: &str) -> Result<Config, String> {
        let table = file.parse().expect("the test's file is TOML");
        let config = from_table(table).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_example_says_the_defaults_and_names_every_key() {
        assert_eq!(read(EXAMPLE), Ok(Config::default()));
        let defaults = toml::Table::try_from(Config::default()).expect("a table");
        let example = EXAMPLE.parse::<toml::Table>().expect("TOML");
        assert_eq!(example, defaults);
    }

    #[test]
    fn a_mistake_is_one_sentence_that_names_the_key() {
        for (file, sentence) in [
            ("colour = 1", "configuration: unknown field `colour`"),
            ("[http]\nlisten = [\"8080\"]", "http.listen: invalid socket address syntax"),
            ("[http]\nlisten = 8080", "http.listen: invalid type: integer `8080`"),
            ("[http]\nport = 1", "http: unknown field `port`"),
            ("[http]\npublic_url = \"meet.example.org\"", "http.public_url: expected an origin"),
            ("[http]\nallowed_origins = [\"https://a.org/x\"]", "http.allowed_origins: expected an origin"),
            (
                "[http]\ntrusted_proxies = [\"10.0.0.0/33\"]",
                "http.trusted_proxies: expected an address, or a",
            ),
            ("[http]\nlisten = []\n[https]\nlisten = []", "http.listen: is empty, and so is https.listen"),
            ("[https]\nlisten = [\"0.0.0.0:8080\"]", "https.listen: 0.0.0.0:8080 stands twice"),
            ("[https]\nkey = \"k.pem\"", "https.certificate: is needed with https.key"),
            ("[rooms]\ncreate = \"nobody\"", "rooms.create: unknown variant `nobody`"),
            ("[rooms]\nlobby = \"nobody\"", "rooms.lobby: unknown variant `nobody`"),
            ("[session]\nsilence_s = 0", "session.silence_s: is between 5 and 3600"),
            ("[session]\nconnections_max = 0", "session.connections_max: is at least 1"),
            ("[media]\nudp_port_base = 70000", "media.udp_port_base: invalid value: integer `70000`"),
            ("[media]\nudp_port_base = 65535\nworkers = 2", "media.udp_port_base: 2 ports from 65535"),
            ("[media]\nannounce = [\"0.0.0.0\"]", "media.announce: clients cannot reach 0.0.0.0"),
            ("[media.limits]\nsdp_bytes = 0", "media.limits.sdp_bytes: a limit of 0"),
            ("[media.limits]\ncolour = 0", "media.limits: unknown field `colour`"),
            ("[signaling]\nnode = \"http://x\"", "signaling.node: expected wss://host:port"),
            ("[signaling]\nnode = \"wss://x:7443\"", "signaling.ca: is needed with signaling.node"),
            ("[log]\nfilter = \"a=b=c\"", "log.filter: "),
            ("[ice]\nservers = [{ urls = [] }]", "ice.servers[0].urls: name 1 to 16 addresses"),
            ("[ice]\nservers = [{ url = \"stun:a\" }]", "ice.servers: unknown field `url`"),
            (
                "[ice]\nservers = [{ urls = [\"a\"] }]",
                "ice.servers[0].urls: expected an address such as stun:",
            ),
            ("[ice]\nservers = [{ urls = [\"stun:\"] }]", "ice.servers[0].urls: expected an address such as"),
            (
                "[ice]\nservers = [{ urls = [\"stun://a\"] }]",
                "ice.servers[0].urls: expected an address such as",
            ),
            ("[ice]\nservers = [{ urls = [\"turn:a\"] }]", "ice.servers[0]: turn: needs a username and a"),
            ("[ice]\nturn_urls = [\"turn:a\"]", "ice.turn_secret: is needed with ice.turn_urls"),
            ("[ice]\nturn_secret = \"short\"", "ice.turn_urls: is needed with ice.turn_secret"),
            (
                "[ice]\nturn_urls = [\"turn:a\"]\nturn_secret = \"short\"",
                "ice.turn_secret: has at least 20 bytes, and this one has 5",
            ),
            ("[ice]\nturn_urls = [\"stun:a\"]", "ice.turn_urls: expected an address such as turn:turn"),
            ("[ice]\nturn_urls = [\"turn:a?transport=x\"]", "ice.turn_urls: expected an address such as"),
            ("[ice]\nturn_urls = [\"turn:a:0\"]", "ice.turn_urls: expected an address such as"),
            ("[ice]\nturn_lifetime_s = 1", "ice.turn_lifetime_s: is between 60 and 604800 seconds"),
            (
                "[tokens]\nkeys = [{ kid = \"a\", secret = \"short\" }]",
                "tokens.keys[0].secret: a secret has at least 32 bytes, and this one has 5",
            ),
            ("[tokens]\nkeys = [{ kid = \"a\" }]", "tokens.keys: missing field `secret`"),
        ] {
            let error = read(file).expect_err(file);
            assert!(error.starts_with(sentence), "{file}\n{error}");
            assert!(!error.contains('\n'), "{error}");
            assert!(!error.contains("short"), "a secret is not shown: {error}");
        }
    }

    #[test]
    fn ice_servers_are_what_browsers_take() {
        let config = read(
            r#"[ice]
            servers = [
                { urls = ["stun:stun.example.org", "stuns:[2001:db8::1]:5349"] },
                { urls = ["turns:192.0.2.1:443?transport=tcp"], username = "u", credential = "no one's" },
            ]
            turn_urls = ["turn:[2001:db8::1]?transport=udp"]
            turn_secret = "twenty bytes or more"
            "#,
        )
        .expect("a good configuration");
        assert_eq!((config.ice.servers.len(), config.ice.turn_urls.len()), (2, 1));
        let shown = format!("{config:?}");
        assert!(!shown.contains("no one's") && !shown.contains("twenty"), "a secret is not shown: {shown}");
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let dir = std::env::temp_dir().join(format!("broletto-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let file = dir.join("c.toml");
        std::fs::write(&file, "data_dir = \"file\"\n[session]\nsilence_s = 10\n[media]\nworkers = 1\n")
            .expect("written");
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let config = Layers {
            file: Some(file),
            environment: vec![
                pair("BROLETTO_SESSION__SILENCE_S", "20"),
                pair("BROLETTO_MEDIA__WORKERS", "2"),
                pair("BROLETTO_MEDIA__LIMITS__SDP_BYTES", "9999"),
                pair("BROLETTO_HTTP__LISTEN", "127.0.0.1:1,[::1]:2"),
                pair("BROLETTO_SKIP_WEB", "1"),
                pair("PATH", "/bin"),
            ],
            flags: vec![pair("media.workers", "3")],
        }
        .read()
        .expect("a good configuration");
        std::fs::remove_dir_all(dir).expect("removed");
        assert_eq!(config.data_dir, std::path::Path::new("file"));
        assert_eq!((config.session.silence_s, config.media.workers), (20, 3));
        assert_eq!(config.media.limits.sdp_bytes, 9_999);
        assert_eq!(config.http.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    }

    #[test]
    fn a_wrong_variable_is_named_as_it_was_written() {
        for (name, text, message) in [
            ("BROLETTO_HTTP__PORT", "1", "there is no configuration key http.port"),
            ("BROLETTO_MEDIA__WORKERS", "many", "expected a whole number, not \"many\""),
            ("BROLETTO_DATADIR", "x", "there is no configuration key datadir"),
        ] {
            let environment = vec![(name.to_owned(), text.to_owned())];
            let error = Layers { environment, ..Layers::default() }.read().expect_err(name);
            assert_eq!((error.key.as_str(), error.message.as_str()), (name, message));
        }
    }
}
