//! Runs `scenarios/<subsystem>/*.md`: prose with a cluster in and its plans and packets out.
//!
//! Blocks of a file build one cluster, from top to bottom:
//!
//! - `yaml`: manifests of Nodes, Services, EndpointSlices and ServiceCIDRs, decoded as on a cluster. An
//!   object given again is replaced.
//! - `delete`: a node name or a Service's `NAMESPACE/NAME` a line. The Node object is gone, the machine is
//!   not; of a Service its slices go, too.
//! - `config`: settings of every agent, one `flag value` a line, named as on the command line.
//! - `host node=N`: the machine's links: `eth0 mtu 1500 192.0.2.1/24 2001:db8::1/64`.
//! - `attachments node=N`: the node's containers, all of them: `web 10.244.1.2 8080:80/tcp`, a
//!   hostPort as `[hostIP@]PORT:PORT/PROTOCOL`.
//!
//! and blocks that say what follows, checked and, with `UPDATE=1`, rewritten:
//!
//! - `plan node=N [TABLE…]`: the plan's tables as they print.
//! - `rejected node=N`, `peers node=N`: what could not be honored; how others are reached.
//! - `services node=N`: the table of Services.
//! - `explain node=N NAMESPACE/NAME`: where packets to one Service may go, and why nowhere else.
//! - `packets`: `FROM -> TO[:PORT/PROTOCOL]`, then two spaces and what becomes of the packet. FROM is
//!   a container, a node or an address outside, with `as ADDRESS` when it lies about its own.
//! - `lease node=N`: `SECONDS add|del NAME [ADDRESS]`, then two spaces and the answer.
#![expect(clippy::disallowed_methods, reason = "scenarios are files")]

mod scenario;

use std::path::{Path, PathBuf};

/// Every scenario file, in order.
fn files() -> std::io::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(root)? {
        for entry in std::fs::read_dir(folder?.path())? {
            files.push(entry?.path());
        }
    }
    files.sort();
    Ok(files)
}

#[test]
fn every_scenario_comes_out_as_written() {
    let update = std::env::var("UPDATE").is_ok_and(|value| value == "1");
    let mut wrong = Vec::new();
    let files = files().unwrap();
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let came_out = match scenario::run(&text) {
            Ok(came_out) => came_out,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        if came_out == text {
            continue;
        }
        if update {
            std::fs::write(&path, came_out).unwrap();
        } else {
            wrong.push(format!("{}:\n{}", path.display(), difference(&text, &came_out)));
        }
    }
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "{wrong}\n`cargo xtask scenario --update` rewrites; read the diff");
}

/// The lines that differ, wanted before found.
fn difference(want: &str, found: &str) -> String {
    let only = |sign: &str, these: &str, those: &str| -> String {
        let those: Vec<&str> = those.lines().collect();
        let lines = these.lines().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    only("-", want, found) + &only("+", found, want)
}
