//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Layers;

/// Broletto, a video-conferencing server. Without a command, everything runs in this process.
#[derive(Debug, Parser)]
#[command(name = "broletto", version)]
pub struct Cli {
    #[command(flatten)]
    pub settings: Settings,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs pages, API and rooms; the media are at the node that signaling.node names
    Signaling,
    /// Runs a media node, which waits for signaling to connect
    Sfu,
    /// Makes certificates that signaling and nodes know each other by
    Certs(Certs),
    /// Signs a token for a room
    Token(Token),
    /// Looks at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Reads the configuration and says whether it is good
    Check,
    /// Prints a documented example, in which every value is the default
    Example,
}

#[derive(Debug, Args)]
pub struct Certs {
    /// Where the files are kept; the authority (ca.pem, ca-key.pem) is made if it is not there
    #[arg(long)]
    pub dir: PathBuf,
    /// What to call the certificate
    #[arg(long, default_value = "node")]
    pub name: String,
    /// Host names and addresses that it is valid for
    #[arg(long, value_delimiter = ',', default_values = ["localhost", "127.0.0.1", "::1"])]
    pub host: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Token {
    /// Id of the room, or * to let the bearer make rooms
    #[arg(long)]
    pub room: String,
    #[arg(long, value_enum, default_value_t = RoleName::Moderator)]
    pub role: RoleName,
    /// Name of the bearer, as others see it
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    Viewer,
    Guest,
    Participant,
    Moderator,
}

/// The commonest keys of the configuration.
#[derive(Debug, Args)]
pub struct Settings {
    /// Configuration file [default: broletto.toml, if it is there]
    #[arg(long, global = true, env = "BROLETTO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// data_dir: where everything is kept
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// http.listen, addresses separated by commas
    #[arg(long, global = true, value_name = "ADDRESSES")]
    http: Option<String>,
    /// https.listen, addresses separated by commas; empty for none
    #[arg(long, global = true, value_name = "ADDRESSES")]
    https: Option<String>,
    /// http.public_url
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// signaling.node
    #[arg(long, global = true, value_name = "URL")]
    node: Option<String>,
    /// media.workers
    #[arg(long, global = true, value_name = "COUNT")]
    workers: Option<String>,
    /// media.udp_port_base
    #[arg(long, global = true, value_name = "PORT")]
    udp_port_base: Option<String>,
    /// media.announce, addresses separated by commas
    #[arg(long, global = true, value_name = "ADDRESSES")]
    announce: Option<String>,
    /// log.filter
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Settings {
    /// With the environment of this process.
    pub fn layers(&self) -> Layers {
        let flags = [
            ("data_dir", &self.data_dir),
            ("http.listen", &self.http),
            ("https.listen", &self.https),
            ("http.public_url", &self.public_url),
            ("signaling.node", &self.node),
            ("media.workers", &self.workers),
            ("media.udp_port_base", &self.udp_port_base),
            ("media.announce", &self.announce),
            ("log.filter", &self.log),
        ];
        Layers {
            file: self.config.clone(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            flags: flags
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_is_a_key() {
        Cli::command().debug_assert();
        let flags = ["--data-dir=d", "--http=127.0.0.1:1", "--https=", "--public-url=https://a.example"];
        let more = ["--workers=2", "--udp-port-base=9000", "--log=debug"];
        let cli = Cli::try_parse_from(["broletto"].into_iter().chain(flags).chain(more)).expect("parsed");
        let layers = Layers { environment: Vec::new(), ..cli.settings.layers() };
        let config = layers.read().expect("a good configuration");
        assert!(config.https.listen.is_empty());
        assert_eq!((config.media.workers, config.media.udp_port_base), (2, 9000));
        assert_eq!(config.log.filter, "debug");
    }
}
