//! One file per subcommand. stdout is for data, stderr for talk.

pub(crate) mod agent;
pub(crate) mod bundle;
pub(crate) mod check;
mod cluster;
pub(crate) mod cni;
mod conntrack;
mod dns;
pub(crate) mod dump;
pub(crate) mod inner;
pub(crate) mod install;
pub(crate) mod lab;
pub(crate) mod leftovers;
pub(crate) mod migrate;
pub(crate) mod policy;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod wait;

use std::io::Write;

/// Says something to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the one place that talks")]
pub(crate) fn talk(line: &str) {
    eprintln!("{line}");
}

/// Prints data. When nobody reads it any more, as after `| head`, there is nothing left to do.
#[expect(clippy::exit, reason = "the reader has gone; what was held for it goes with the process")]
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Logs to stderr, one line each: what RUST_LOG says, else info.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
