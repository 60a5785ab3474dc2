use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use broletto::Role;
use broletto::certs::make_cluster_certificate;
use broletto::cli::{Certs, Cli, Command, ConfigCommand, RoleName, Token};
use broletto::config::{Config, EXAMPLE};
use broletto_sfu_server::sys::open_files;
use broletto_signaling_core::{Audience, Claims};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broletto: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let layers = cli.settings.layers();
    let config = || Ok::<_, anyhow::Error>(layers.read()?);
    match cli.command {
        None => serve(Role::All, config()?),
        Some(Command::Signaling) => serve(Role::Signaling, config()?),
        Some(Command::Sfu) => serve(Role::Sfu, config()?),
        Some(Command::Certs(arguments)) => certs(&arguments),
        Some(Command::Token(arguments)) => token(arguments, &config()?),
        Some(Command::Config(ConfigCommand::Check)) => {
            config()?;
            say("The configuration is good.\n")
        }
        Some(Command::Config(ConfigCommand::Example)) => say(EXAMPLE),
    }
}

#[tokio::main]
async fn serve(role: Role, config: Config) -> anyhow::Result<()> {
    broletto::init_log(&config.log)?;
    match open_files::raise_limit() {
        // A mistake that is found later stays the one line that is printed.
        Ok(limit) => tracing::debug!(limit, "files and connections that may be open"),
        // It runs all the same, for fewer people.
        Err(error) => tracing::warn!(%error, "the limit of open files was not raised"),
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = broletto::start(role, config).await?;
    say(&running.greeting())?;
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failure = running.failed() => Some(failure),
    };
    match failure {
        None => {
            running.stop().await;
            Ok(())
        }
        Some(failure) => anyhow::bail!("{failure}"),
    }
}

fn certs(arguments: &Certs) -> anyhow::Result<()> {
    let files = make_cluster_certificate(&arguments.dir, &arguments.name, &arguments.host)?;
    say(&format!(
        "{}\n{}\n{}\n",
        arguments.dir.join("ca.pem").display(),
        files.certificate.display(),
        files.key.display()
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn token(arguments: Token, config: &Config) -> anyhow::Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let claims = Claims {
        aud: Audience::One("broletto".to_owned()),
        exp: now + u64::from(arguments.days) * 24 * 3_600,
        nbf: now,
        tenant: None,
        room: arguments.room,
        role: match arguments.role {
            RoleName::Viewer => broletto_protocol::Role::Viewer,
            RoleName::Guest => broletto_protocol::Role::Guest,
            RoleName::Participant => broletto_protocol::Role::Participant,
            RoleName::Moderator => broletto_protocol::Role::Moderator,
        },
        name: arguments.name,
    };
    say(&format!("{}\n", broletto::sign_token(config, &claims).await?))
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
