//! The rules: what the kernel takes, and whether it has what it should.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Finding, Verdict};
use crate::cmd::dump;

/// How often plan and kernel are read again: both may change in between.
const READS: usize = 5;

/// Rows that are named when some are missing.
const NAMED: usize = 3;

/// Whether the kernel takes every kind of rules.
pub(super) fn kernel() -> Vec<Finding> {
    let finding = |feature: agent::Feature| match feature.outcome {
        Ok(()) => Finding::new("kernel", Verdict::Good, format!("takes {}", feature.name)),
        Err(why) => {
            Finding::new("kernel", Verdict::Bad, format!("refuses {}: {why}", feature.name))
        }
    };
    agent::features().into_iter().map(finding).collect()
}

/// Whether the kernel has the rules of the agent's plan, and no others in its tables.
pub(super) fn compared(socket: &Path) -> Finding {
    let mut finding = Finding::new("rules", Verdict::Bad, "");
    for _ in 0..READS {
        let read = || -> anyhow::Result<_> {
            Ok((planned(&dump::ask_text(socket, "plan")?), agent::rules()?))
        };
        finding = match read() {
            Err(error) => Finding::new("rules", Verdict::Bad, format!("{error:#}")),
            Ok((want, have)) => difference(&want, &have),
        };
        if finding.verdict == Verdict::Good {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    finding
}

/// The rules of a plan that was printed.
fn planned(plan: &str) -> BTreeSet<String> {
    let section = plan.lines().skip_while(|line| *line != "# nft").skip(1);
    section.take_while(|line| !line.starts_with("# ")).map(str::to_owned).collect()
}

fn difference(want: &BTreeSet<String>, have: &BTreeSet<String>) -> Finding {
    let missing: Vec<&String> = want.difference(have).collect();
    let extra: Vec<&String> = have.difference(want).collect();
    if missing.is_empty() && extra.is_empty() {
        let text = format!("the kernel has all {} rows of the plan", want.len());
        return Finding::new("rules", Verdict::Good, text);
    }
    let named = |rows: &[&String]| -> String {
        rows.iter().take(NAMED).map(|row| format!("; {row}")).collect()
    };
    let text = format!(
        "the kernel lacks {} rows of the plan and has {} others; see `seaway dump report`{}{}",
        missing.len(),
        extra.len(),
        named(&missing),
        named(&extra),
    );
    Finding::new("rules", Verdict::Bad, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_differ_are_counted_and_named() {
        let rows = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
        let plan = "# rules\nr\n# nft\nadd a\nadd b\n# other\nadd x\n";
        assert_eq!(planned(plan), rows("add a\nadd b"));
        assert_eq!(difference(&rows("a\nb"), &rows("b\na")).verdict, Verdict::Good);
        let found = difference(&rows("a\nb"), &rows("b\nc\nd"));
        assert_eq!(found.verdict, Verdict::Bad);
        assert!(found.text.contains("lacks 1 rows of the plan and has 2 others"), "{}", found.text);
        assert!(found.text.ends_with("; a; c; d"), "{}", found.text);
    }
}
