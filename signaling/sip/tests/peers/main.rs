//! The agent against programs that others wrote: SIPp and baresip, over loopback.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // Here is the shell.

mod baresip;
mod linphone;
mod server;
mod sipp;

/// Whether a program is there. Without it a test says that it is left out; in `.ci/test`, which installs
/// it, that is a failure.
fn is_installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(found || std::env::var_os("BROLETTO_TEST_PEERS").is_none(), "{program} is not installed");
    if !found {
        eprintln!("left out: {program} is not installed");
    }
    found
}
