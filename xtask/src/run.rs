//! Starting other programs, and talking.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

/// What a task gives: nothing, or what went wrong.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Talks to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the one place that talks")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The root of the tree, whatever the current directory is.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// A command that runs in the root of the tree.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Cargo, as this process was started by it.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&cargo, args);
    // The settings of the outer `cargo run` are not those of the inner cargo.
    for key in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_PATH"]
    {
        command.env_remove(key);
    }
    command
}

/// Runs `command` with its output shown, and says how long it took.
pub(crate) fn step(title: &str, command: &mut Command) -> Result {
    say(&format!("── {title}"));
    let start = Instant::now();
    let status = command.status().map_err(|e| format!("{title}: start {command:?}: {e}"))?;
    let took = start.elapsed().as_secs_f32();
    if status.success() {
        say(&format!("── {title}: ok, {took:.1} s"));
        return Ok(());
    }
    Err(format!("{title}: {status} after {took:.1} s\n  again with: {}", shown(command)))
}

/// Runs `command` and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().map_err(|e| format!("start {command:?}: {e}"))
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let word = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(k, v)| v.map(|v| format!("{}={}", word(k), word(v))))
        .collect();
    words.push(word(command.get_program()));
    words.extend(command.get_args().map(word));
    words.join(" ")
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Where `program` is found on the path, with the places Debian keeps root's tools.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin"])
        .map(|dir| PathBuf::from(dir).join(program))
        .find(|file| file.is_file())
}
