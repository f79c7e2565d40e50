//! How peers write their rules: by `nft`, as text.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Gives `ruleset` to `nft` in the calling thread's namespace. Returns how long it took.
pub(crate) fn load(ruleset: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    nft.stdin.take().ok_or("nft has no input")?.write_all(ruleset.as_bytes())?;
    let status = nft.wait()?;
    if status.success() { Ok(start.elapsed()) } else { Err(format!("nft: {status}").into()) }
}
