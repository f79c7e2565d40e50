//! `cargo xtask bench lab`: how long `seaway lab up` takes until every pod is Ready, and `down`.

use std::fmt::Write;
use std::fs;
use std::time::Instant;

use super::samples::Samples;
use super::{head, inside};
use crate::run::{Result, command, output, say};

/// Nodes, pods, turns, and how many seconds `up` may take.
const SIZES: [(u32, u32, u32, f64); 2] = [(3, 6, 5, 3.0), (20, 200, 3, 30.0)];

/// Measures every size, one after the other.
pub(super) fn run() -> Result {
    let seaway = inside::seaway()?;
    head("lab")?;
    say("| s | up p50 | up slowest | down p50 | goal of up |");
    say("|---|---|---|---|---|");
    for (nodes, pods, turns, goal) in SIZES {
        let manifest = Manifest::write(pods)?;
        let (mut up, mut down) = (Samples::default(), Samples::default());
        for _ in 0..turns {
            let nodes = nodes.to_string();
            let args = ["--nodes", nodes.as_str(), "-f", manifest.path()?];
            up.0.push(timed(&seaway, "up", &args)?);
            down.0.push(timed(&seaway, "down", &[])?);
        }
        let seconds = |samples: &Samples, share| samples.at(share) / 1000.0;
        let (half, slowest) = (seconds(&up, 0.5), seconds(&up, 1.0));
        let verdict = if half <= goal { "" } else { ", missed" };
        let down = seconds(&down, 0.5);
        say(&format!(
            "| {nodes} nodes, {pods} pods, {turns} turns | {half:.2} | {slowest:.2} | {down:.2} | {goal:.0}{verdict} |"
        ));
    }
    Ok(())
}

fn timed(seaway: &str, verb: &str, args: &[&str]) -> Result<std::time::Duration> {
    let start = Instant::now();
    let done = output(command(seaway, &["lab", verb, "--name", "bench-lab"]).args(args))?;
    if done.status.success() {
        return Ok(start.elapsed());
    }
    Err(format!("lab {verb}: {}", String::from_utf8_lossy(&done.stderr)))
}

/// A manifest of pods that answer, in a file that goes with this value.
pub(super) struct Manifest(std::path::PathBuf);

impl Manifest {
    /// Writes one of `pods` pods.
    pub(super) fn write(pods: u32) -> Result<Self> {
        let mut text = String::new();
        for number in 1..=pods {
            let written = writeln!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: echo-{number} }}\n\
                 spec: {{ containers: [{{ name: echo, image: seaway/echo }}] }}"
            );
            written.map_err(|e| e.to_string())?;
        }
        Self::of(&pods.to_string(), &text)
    }

    /// Writes this one; `name` tells it from others.
    pub(super) fn of(name: &str, text: &str) -> Result<Self> {
        let file = format!("seaway-bench-{}-{name}.yaml", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))?;
        Ok(Manifest(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> Result<&str> {
        self.0.to_str().ok_or_else(|| "the temporary directory's path is not UTF-8".to_owned())
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
