//! docs/services-tests.md: every rule of Services and the tests that hold it. Rules and what they mean
//! are written by hand, tests are found by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::Tree;
use crate::run::{Result, root, say};

const PAGE: &str = "docs/services-tests.md";
const COMMAND: &str = "cargo xtask rows";

/// Tests with a kernel and packets.
const PACKETS: [&str; 3] = ["crates/seaway/tests/lab", "crates/agent/tests", "crates/kernel/tests"];
/// Prose with plans in it: a file holds every rule that it names.
const SCENARIOS: &str = "crates/compile/tests/scenarios/services";

/// Tests by the number of the rule; those with packets apart from the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    packets: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// Findings in the page.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.text(PAGE) else { return vec![format!("no {PAGE}")] };
    let tests = tests(tree);
    let mut findings = Vec::new();
    for (was, now) in page.lines().zip(written(page, &tests).lines()) {
        if was != now {
            findings.push(format!("{PAGE}: is not as `{COMMAND}` writes it: {was}"));
        }
        let Some([rule, mark, _, cell]) = cells(now) else { continue };
        if mark == "must" && cell == "–" {
            findings.push(format!("{PAGE}: {rule} has no test"));
        }
    }
    let rules: BTreeSet<u32> = page.lines().filter_map(|line| number(cells(line)?[0])).collect();
    for (rule, tests) in tests.iter().filter(|(rule, _)| !rules.contains(rule)) {
        let test = tests.packets.iter().chain(&tests.others).next();
        findings.push(format!("{PAGE}: no rule S-{rule}, which {test:?} holds"));
    }
    findings
}

/// Writes the tests into the page.
pub(crate) fn update() -> Result {
    let tree = Tree::read(&root())?;
    let page = tree.text(PAGE).ok_or_else(|| format!("no {PAGE}"))?;
    let path = tree.root.join(PAGE);
    std::fs::write(&path, written(page, &tests(&tree)))
        .map_err(|e| format!("write {PAGE}: {e}"))?;
    say(&format!("── {PAGE} is written; read the diff"));
    Ok(())
}

/// The page with the tests of now. A rule that was open and has a test must have one from now on.
fn written(page: &str, tests: &BTreeMap<u32, Tests>) -> String {
    let mut lines = String::new();
    for line in page.lines() {
        match cells(line) {
            Some([rule, mark, meaning, _]) => {
                let tests = number(rule).and_then(|number| tests.get(&number));
                let mark = if mark == "open" && tests.is_some() { "must" } else { mark };
                let tests = tests.map_or("–".to_owned(), Tests::shown);
                lines += &format!("| {rule} | {mark} | {meaning} | {tests} |\n");
            }
            None => lines += &format!("{line}\n"),
        }
    }
    lines
}

/// The cells of a rule's row.
fn cells(line: &str) -> Option<[&str; 4]> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
    <[&str; 4]>::try_from(cells).ok().filter(|[rule, ..]| number(rule).is_some())
}

fn number(rule: &str) -> Option<u32> {
    rule.strip_prefix("S-")?.parse().ok()
}

impl Tests {
    fn shown(&self) -> String {
        let named = |names: &BTreeSet<String>| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let parts = [("packets: ", &self.packets), ("plan: ", &self.others)];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        parts.map(|(what, names)| format!("{what}{}", named(names))).collect::<Vec<_>>().join("; ")
    }
}

/// Every test that holds a rule.
fn tests(tree: &Tree) -> BTreeMap<u32, Tests> {
    let mut found: BTreeMap<u32, Tests> = BTreeMap::new();
    for (path, text) in &tree.files {
        let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
        if is("md") && path.starts_with(SCENARIOS) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            for rule in mentioned(text) {
                found.entry(rule).or_default().others.insert(name.clone().into_owned());
            }
        } else if is("rs") && path.starts_with("crates") {
            for name in tagged(text) {
                for rule in rules(name) {
                    let tests = found.entry(rule).or_default();
                    let packets = PACKETS.iter().any(|folder| path.starts_with(Path::new(folder)));
                    let names = if packets { &mut tests.packets } else { &mut tests.others };
                    names.insert(name.to_owned());
                }
            }
        }
    }
    found
}

/// Rules that prose names, like S-21.
fn mentioned(text: &str) -> BTreeSet<u32> {
    let after = text.split("S-").skip(1);
    let digits = after.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""));
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

/// Names of functions and trials that begin with a rule.
fn tagged(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split("fn ").skip(1).chain(text.split('"').skip(1));
    names.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && !"_{}".contains(c));
        let name = end.map_or(rest, |end| &rest[..end]);
        let tags = rules(name).count();
        (0 < tags && tags < name.split('_').count()).then_some(name)
    })
}

/// The rules a name begins with: 21 and 44 of `s21_s44_who_answers`.
fn rules(name: &str) -> impl Iterator<Item = u32> {
    name.split('_').map_while(|word| word.strip_prefix('s')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_the_rules_their_names_begin_with() {
        let text = "test(\"s21_s44_who_answers_{link}\", f); fn s5_conditions() {} fn s_5() {} \
                    fn six() {} let x = [\"s3cret\", \"s0\"]; // s9_comment";
        let names: Vec<&str> = tagged(text).collect();
        assert_eq!(names, ["s5_conditions", "s21_s44_who_answers_{link}"]);
        assert_eq!(rules(names[1]).collect::<Vec<_>>(), [21, 44]);
        assert_eq!(
            mentioned("(S-5, S-11 to S-17), S-x").into_iter().collect::<Vec<_>>(),
            [5, 11, 17]
        );
    }

    #[test]
    fn the_page_says_what_there_is_and_an_open_rule_is_closed_by_its_first_test() {
        let page = "Text.\n\n| rule | | | tests |\n|---|---|---|---|\n| S-1 | must | one | old |\n\
                    | S-2 | open | two | – |\n| S-3 | open | three | – |\n";
        let files = vec![
            ("crates/a/src/b.rs".into(), "fn s1_one() {}".to_owned()),
            (format!("{}/x.rs", PACKETS[0]).into(), "\"s1_s2_both\"".to_owned()),
            (format!("{SCENARIOS}/y.md").into(), "As S-2 says.".to_owned()),
            (PAGE.into(), page.to_owned()),
        ];
        let mut tree = Tree { root: ".".into(), files };
        let now = written(page, &tests(&tree));
        let rows = "| S-1 | must | one | packets: `s1_s2_both`; plan: `s1_one` |\n\
                    | S-2 | must | two | packets: `s1_s2_both`; plan: `y.md` |\n\
                    | S-3 | open | three | – |\n";
        assert!(now.ends_with(rows), "{now}");
        assert_eq!(check(&tree).len(), 2);
        tree.files[3].1 = now.replace("| S-3 | open |", "| S-3 | must |");
        assert_eq!(check(&tree), [format!("{PAGE}: S-3 has no test")]);
        tree.files[3].1 = now.replace("| S-3 |", "| S-4 |").replace("| S-1 |", "| S-5 |");
        let findings = check(&tree);
        assert!(findings.iter().any(|f| f.contains("no rule S-1")), "{findings:?}");
    }
}
