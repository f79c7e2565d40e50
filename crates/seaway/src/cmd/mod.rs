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
