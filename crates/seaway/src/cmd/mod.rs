//! One file per subcommand. stdout is for data, stderr for talk.

pub(crate) mod agent;
pub(crate) mod check;
pub(crate) mod cni;
pub(crate) mod dump;
pub(crate) mod inner;
pub(crate) mod lab;

/// Says something to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the one place that talks")]
pub(crate) fn talk(line: &str) {
    eprintln!("{line}");
}

/// Prints data.
#[expect(clippy::print_stdout, reason = "the one place that prints data")]
pub(crate) fn print(text: &str) {
    print!("{text}");
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
