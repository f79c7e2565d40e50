//! One node, looked at from itself: whether its kernel takes the rules of Services, whether others
//! are in their way, and whether Services and DNS answer.

mod frontends;
mod names;
mod others;
mod rules;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cmd::dump;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at, in a word or two.
    pub(super) what: String,
    pub(super) verdict: Verdict,
    /// What there is, and what to do about it.
    pub(super) text: String,
}

/// How a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// Somebody should look, and may find that all is well.
    Doubtful,
    /// Services do not work.
    Bad,
}

impl Verdict {
    const ALL: [Verdict; 3] = [Verdict::Good, Verdict::Doubtful, Verdict::Bad];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Good => "ok",
            Verdict::Doubtful => "WARNING",
            Verdict::Bad => "FAILED",
        })
    }
}

impl Finding {
    fn new(what: &str, verdict: Verdict, text: impl Into<String>) -> Self {
        Finding { what: what.to_owned(), verdict, text: text.into() }
    }

    /// As a program wants it, and as another node's is read.
    pub(super) fn json(&self) -> Value {
        json!({ "what": self.what, "verdict": self.verdict.to_string(), "text": self.text })
    }

    pub(super) fn read(value: &Value) -> Option<Finding> {
        let text = |field: &str| value[field].as_str().map(str::to_owned);
        let verdict = text("verdict")?;
        let verdict = Verdict::ALL.into_iter().find(|known| known.to_string() == verdict)?;
        Some(Finding { what: text("what")?, verdict, text: text("text")? })
    }
}

/// Everything about the node this process is on, whose agent has its socket in `run_dir`. A connection
/// may take `timeout`.
pub(super) fn examine(run_dir: &Path, timeout: Duration) -> Vec<Finding> {
    let socket = run_dir.join("agent.sock");
    let mut findings = rules::kernel();
    findings.extend(others::findings());
    match dump::ask_json(&socket, "services") {
        Err(error) => findings.push(Finding::new("agent", Verdict::Bad, format!("{error:#}"))),
        Ok(services) => {
            findings.push(match dump::ask_json(&socket, "report") {
                Ok(report) => cluster(&report),
                Err(error) => Finding::new("cluster", Verdict::Bad, format!("{error:#}")),
            });
            if let Ok(found) = dump::ask_text(&socket, "found") {
                findings.push(others::configuration(&found));
            }
            findings.push(rules::compared(&socket));
            findings.push(node_ports(&services));
            findings.push(frontends::answer(&services, timeout));
            findings.extend(match dump::ask_text(&socket, "listeners") {
                Ok(listeners) => names::answer(&listeners, timeout),
                Err(error) => vec![Finding::new("DNS", Verdict::Bad, format!("{error:#}"))],
            });
        }
    }
    findings
}

/// Whether the agent goes by what the API server lists.
fn cluster(report: &Value) -> Finding {
    let what = "cluster";
    match report["snapshot"].as_str() {
        None => Finding::new(what, Verdict::Good, "as the API server has listed it"),
        Some(at) => Finding::new(
            what,
            Verdict::Doubtful,
            format!(
                "as a snapshot of {at} has it: since the agent started, not everything could be listed"
            ),
        ),
    }
}

/// Where node ports and health checks are open.
fn node_ports(services: &Value) -> Finding {
    let addrs = services["nodePortAddresses"].as_array().into_iter().flatten();
    let addrs: Vec<&str> = addrs.filter_map(Value::as_str).collect();
    let what = "node ports";
    match addrs.is_empty() {
        true => Finding::new(
            what,
            Verdict::Doubtful,
            "open nowhere: no address of this machine is one that --nodeport-addresses names",
        ),
        false => Finding::new(what, Verdict::Good, format!("open at {}", addrs.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_it_was_written() {
        for verdict in Verdict::ALL {
            let finding = Finding::new("kernel", verdict, "text");
            assert_eq!(Finding::read(&finding.json()), Some(finding));
        }
        assert_eq!(Finding::read(&json!({ "what": "x", "verdict": "fine", "text": "" })), None);
    }

    #[test]
    fn a_cluster_by_a_snapshot_is_doubtful() {
        assert_eq!(cluster(&json!({ "snapshot": null })).verdict, Verdict::Good);
        let old = cluster(&json!({ "snapshot": "2026-05-01T00:00:00.000000Z" }));
        assert_eq!(old.verdict, Verdict::Doubtful);
        assert!(old.text.contains("2026-05-01"), "{}", old.text);
    }

    #[test]
    fn node_ports_that_are_open_nowhere_are_doubtful() {
        let nowhere = node_ports(&json!({ "nodePortAddresses": [] }));
        assert_eq!(nowhere.verdict, Verdict::Doubtful);
        let open = node_ports(&json!({ "nodePortAddresses": ["192.0.2.1", "2001:db8::1"] }));
        assert_eq!((open.verdict, &*open.text), (Verdict::Good, "open at 192.0.2.1, 2001:db8::1"));
    }
}
