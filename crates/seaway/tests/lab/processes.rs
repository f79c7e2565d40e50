//! The processes of a lab, as the machine sees them: the supervisor and everything below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::lab::Lab;

/// A process, told apart from a later one of the same number by the time it started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: u64,
    /// Its words, with spaces between them.
    words: String,
}

impl Process {
    /// Whether it is the process of this node.
    pub(crate) fn is_for(&self, node: &str) -> bool {
        self.words.ends_with(&format!("/nodes/{node}"))
    }

    /// Whether one of its words is `word`.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.words.split(' ').any(|own| own == word)
    }
}

/// Every process of `lab`.
pub(crate) fn of(lab: &Lab) -> BTreeSet<Process> {
    let supervisor = format!("seaway-lab-supervisor {}", lab.dir().display());
    from(|process| process.words == supervisor)
}

/// The process of this number and every one below it.
pub(crate) fn below(pid: u32) -> BTreeSet<Process> {
    from(|process| process.pid == pid)
}

/// The processes that `is_first` picks and every one below them.
fn from(is_first: impl Fn(&Process) -> bool) -> BTreeSet<Process> {
    let mut parents = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (parent, process) in all() {
        if is_first(&process) {
            found.insert(process);
        } else {
            parents.insert(process, parent);
        }
    }
    loop {
        let pids: BTreeSet<u32> = found.iter().map(|process| process.pid).collect();
        let more = parents.iter().filter(|(_, parent)| pids.contains(parent));
        let before = found.len();
        found.extend(more.map(|(process, _)| process.clone()));
        if found.len() == before {
            return found;
        }
    }
}

/// Those of `lab` in one role: `supervisor`, `node`, `agent`, `pause`, `echo`.
pub(crate) fn in_role(lab: &Lab, role: &str) -> Vec<Process> {
    let is = |process: &Process| {
        let mut words = process.words.split(' ');
        let program = words.next().unwrap_or_default();
        match role {
            "agent" => program.ends_with("seaway") && words.next() == Some("agent"),
            "supervisor" | "node" => program == format!("seaway-lab-{role}"),
            "echo" => program == "seaway-echo",
            "pause" => program == "/pause",
            _ => program == role,
        }
    };
    of(lab).into_iter().filter(is).collect()
}

/// Those of `processes` that are still there.
pub(crate) fn left(processes: &BTreeSet<Process>) -> BTreeSet<Process> {
    let now: BTreeSet<Process> = all().into_iter().map(|(_, process)| process).collect();
    processes.intersection(&now).cloned().collect()
}

/// Every process of the machine, with its parent's number.
fn all() -> Vec<(u32, Process)> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(read).collect()
}

/// `None` when it is gone, or has ended and waits for its parent.
///
/// Source: proc_pid_stat(5): after the name, field 3 is the state, 4 the parent, 22 the start.
fn read(pid: u32) -> Option<(u32, Process)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    if fields[0] == "Z" {
        return None;
    }
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    let started = fields[19].parse().ok()?;
    Some((fields[1].parse().ok()?, Process { pid, started, words }))
}
