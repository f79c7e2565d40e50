//! How results are shown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::matrix::{Path, Probed};
use super::node::{Finding, Verdict};

/// A line per kind of path and family, then every failure, then what was found on each node.
pub(super) fn table(results: &[Probed], nodes: &[(String, Vec<Finding>)]) -> String {
    let mut groups: BTreeMap<(Path, _), Vec<&Probed>> = BTreeMap::new();
    for result in results {
        groups.entry((result.path, result.family)).or_default().push(result);
    }
    let mut text =
        format!("{:<26} {:<5} {:>6} {:>7} {:>9}\n", "PATH", "IP", "PROBES", "FAILED", "MEDIAN");
    for ((path, family), group) in &groups {
        let failed = group.iter().filter(|r| r.outcome.is_err()).count();
        let took = median(group.iter().filter_map(|r| r.outcome.as_ref().ok()).copied().collect());
        let took = took.map_or_else(|| "—".to_owned(), |t| format!("{} µs", t.as_micros()));
        line(
            &mut text,
            format_args!("{:<26} {family} {:>7} {failed:>7} {took:>9}", path.name(), group.len()),
        );
    }
    let failures: Vec<(&Probed, &String)> =
        results.iter().filter_map(|r| Some((r, r.outcome.as_ref().err()?))).collect();
    for (result, why) in &failures {
        let (path, kind) = (result.path.name(), result.kind.name());
        let ends = format!("{} → {}", result.from, result.to);
        line(&mut text, format_args!("FAILED  {ends}  ({path}, {}, {kind}): {why}", result.family));
    }
    let verdict = match (results.len(), failures.len()) {
        (0, _) => "nothing to check: the lab has no running pod and no node".to_owned(),
        (all, 0) => format!("all {all} probes are green"),
        (all, red) => format!("{red} of {all} probes are red"),
    };
    line(&mut text, format_args!("{verdict}"));
    for (node, all) in nodes {
        text.push_str(&findings(Some(node), all));
    }
    text
}

/// What was found on a node. Of a lab's nodes, which may be many, only what somebody should look at, and
/// one line when there is nothing of that.
pub(super) fn findings(node: Option<&str>, findings: &[Finding]) -> String {
    let mut text = String::new();
    let prefix = node.map(|node| format!("{node}: ")).unwrap_or_default();
    let is_shown = |finding: &&Finding| node.is_none() || finding.verdict != Verdict::Good;
    for Finding { what, verdict, text: found } in findings.iter().filter(is_shown) {
        line(&mut text, format_args!("{verdict:<7}  {prefix}{what}: {found}"));
    }
    if text.is_empty() {
        line(&mut text, format_args!("{prefix}kernel, rules and Services are as they should be"));
    }
    text
}

/// The same, all of it.
pub(super) fn findings_json(findings: &[Finding]) -> String {
    let all: Vec<serde_json::Value> = findings.iter().map(Finding::json).collect();
    format!("{:#}\n", serde_json::json!({ "findings": all }))
}

/// Every probe, and everything that was found on each node.
pub(super) fn json(results: &[Probed], nodes: &[(String, Vec<Finding>)]) -> String {
    let rows: Vec<serde_json::Value> = results
        .iter()
        .map(|r| {
            serde_json::json!({
                "path": r.path.name(),
                "from": r.from,
                "to": r.to,
                "family": r.family.to_string(),
                "probe": r.kind.name(),
                "ok": r.outcome.is_ok(),
                "error": r.outcome.as_ref().err(),
                "microseconds": r.outcome.as_ref().ok().map(Duration::as_micros),
            })
        })
        .collect();
    let failed = results.iter().filter(|r| r.outcome.is_err()).count();
    let found = |(node, all): &(String, Vec<Finding>)| {
        let all: Vec<serde_json::Value> = all.iter().map(Finding::json).collect();
        serde_json::json!({ "node": node, "findings": all })
    };
    let nodes: Vec<serde_json::Value> = nodes.iter().map(found).collect();
    let whole = serde_json::json!({ "probes": rows, "failed": failed, "nodes": nodes });
    format!("{whole:#}\n")
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a String takes any text");
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
