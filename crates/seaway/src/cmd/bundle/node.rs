//! One node: what its agent holds, what its kernel has, and what a check of it finds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::admin::dumps;
use agent::install::CONFLIST;
use anyhow::Context;
use model::Rfc3339;
use serde_json::json;

use super::{Gathered, kernel_state};
use crate::cmd::{check, dump};

/// What the agent shows as JSON, too.
const AS_JSON: [&str; 7] = ["ipam", "services", "policy", "drops", "rejected", "report", "objects"];

/// What is asked of an agent beside its tables.
const PAGES: [&str; 4] = ["readyz", "healthz", "statusz", "metrics"];

pub(super) fn gather(
    run_dir: &Path,
    cni_conf_dir: &Path,
    timeout: Duration,
    now: Duration,
) -> Gathered {
    let mut all = Gathered::default();
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "time": Rfc3339(now).to_string(),
    });
    all.put("about.json", Ok::<_, anyhow::Error>(format!("{about:#}\n")));
    agent(&run_dir.join("agent.sock"), &mut all);
    kernel_state::gather(&mut all);
    cni(cni_conf_dir, &mut all);
    all.put("check.json", Ok::<_, anyhow::Error>(check::of_this_node(run_dir, timeout)));
    all
}

fn agent(socket: &Path, all: &mut Gathered) {
    for page in PAGES {
        // Not ready is an answer, too.
        let body = dump::get(socket, &format!("/{page}")).map(|(_, body)| body);
        all.put(format!("agent/{page}.txt"), body);
    }
    for what in dumps() {
        all.put(format!("agent/{what}.txt"), dump::ask_text(socket, what));
    }
    for what in AS_JSON {
        let value = dump::ask_json(socket, what).map(|value| format!("{value:#}\n"));
        all.put(format!("agent/{what}.json"), value);
    }
}

/// Which configurations the runtime may take, and what ours says. Others' may hold what is theirs alone.
fn cni(dir: &Path, all: &mut Gathered) {
    let names = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()));
    let names = names.map(|entries| {
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names.iter().map(|name| format!("{name}\n")).collect::<String>()
    });
    all.put("cni/names.txt", names);
    all.put(format!("cni/{CONFLIST}"), fs::read(dir.join(CONFLIST)));
}
