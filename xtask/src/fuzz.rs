//! `cargo xtask fuzz`: what nobody thought of.
//!
//! Decoders read what libFuzzer writes. Policies are of arbitrary worlds, and real packets in namespaces are
//! judged by the kernel, by a walk through its rules and by the specifications
//! (`crates/agent/tests/policies/agreement.rs`).

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::{Result, cargo, command, is_root, output, root, step};

/// The target that sends packets.
const POLICY: &str = "policy";

/// How many it sends where nobody says it.
const PACKETS: u64 = 1_000_000;

/// Runs what is named: `policy [--seed N] [--packets N]`, or targets of decoders; without a name, these all.
pub(crate) fn run(args: &[String]) -> Result {
    match args.split_first() {
        Some((first, rest)) if first == POLICY => policies(rest),
        Some(_) | None => decoders(args),
    }
}

/// Sends packets of arbitrary worlds until they are enough, or until one of three judges differs: worlds have
/// the numbers from the seed on, which is the clock's unless it is said.
fn policies(args: &[String]) -> Result {
    if !is_root() {
        return Err("fuzz policy makes network namespaces: run it as root".into());
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut seed, mut packets) = (clock, PACKETS);
    for pair in args.chunks(2) {
        let [flag, value] = pair else { return Err(format!("{} has no value", pair[0])) };
        let number = value.parse().map_err(|e| format!("{flag} {value}: {e}"))?;
        match flag.as_str() {
            "--seed" => seed = number,
            "--packets" => packets = number,
            other => return Err(format!("no flag {other:?}; there are --seed and --packets")),
        }
    }
    let test = ["test", "--workspace", "--test", "policies", "--", "npo2_", "--nocapture"];
    let mut test = cargo(&test);
    test.env("SEAWAY_SEED", seed.to_string()).env("SEAWAY_PACKETS", packets.to_string());
    step("fuzz policy", &mut test)
}

/// Runs fuzz targets, 30 s each: every one, or those named.
fn decoders(args: &[String]) -> Result {
    let dir = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("list {}: {e}", dir.display()))?;
    let mut targets: Vec<String> =
        entries.filter_map(|e| e.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    targets.sort();
    if let Some(unknown) = args.iter().find(|name| !targets.contains(name)) {
        let all = targets.join(", ");
        return Err(format!("no fuzz target {unknown:?}; there are {POLICY}, {all}"));
    }
    fuzz_tools()?;
    for target in targets.iter().filter(|name| args.is_empty() || args.contains(name)) {
        let args =
            ["+nightly", "fuzz", "run", target, "--", "-max_total_time=30", "-rss_limit_mb=2048"];
        step(&format!("fuzz {target}"), &mut rustup_cargo(&args))?;
    }
    Ok(())
}

/// Whether there is what fuzzing needs, and else how to get it.
fn fuzz_tools() -> Result {
    let needs = [
        (&["+nightly", "--version"][..], "rustup toolchain install nightly --profile minimal"),
        (&["+nightly", "fuzz", "--version"][..], "cargo install cargo-fuzz --locked"),
    ];
    for (probe, remedy) in needs {
        let found = output(&mut rustup_cargo(probe));
        if !found.is_ok_and(|found| found.status.success()) {
            return Err(format!("fuzzing needs a nightly compiler and cargo-fuzz: {remedy}"));
        }
    }
    Ok(())
}

/// The cargo of rustup, which understands `+nightly`, and not that of the toolchain which runs this.
fn rustup_cargo(args: &[&str]) -> Command {
    let mut command = command("cargo", args);
    for key in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(key);
    }
    command
}
