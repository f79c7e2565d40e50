//! Pages that have every rule of a part and the tests that hold it. Rules and what they mean are written
//! by hand, tests are found by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use super::files::Tree;
use crate::run::{Result, root, say};

const COMMAND: &str = "cargo xtask rows";

/// A page and how its rules are called.
struct Page {
    path: &'static str,
    /// In prose, before a number.
    prefix: &'static str,
    /// In names of tests, before a number.
    tag: &'static str,
    /// Prose with plans in it: a file holds every rule that it names.
    scenarios: Option<&'static str>,
}

/// A page whose rules are called in several ways stands here once for each.
const PAGES: [Page; 8] = [
    Page {
        path: "docs/services-tests.md",
        prefix: "S-",
        tag: "s",
        scenarios: Some("crates/compile/tests/scenarios/services"),
    },
    Page { path: "docs/dns-tests.md", prefix: "DNS-", tag: "dns", scenarios: None },
    Page { path: POLICIES, prefix: "NP-N", tag: "npn", scenarios: None },
    Page { path: POLICIES, prefix: "NP-C", tag: "npc", scenarios: None },
    Page { path: POLICIES, prefix: "NP-F", tag: "npf", scenarios: None },
    Page { path: POLICIES, prefix: "NP-U", tag: "npu", scenarios: None },
    Page { path: POLICIES, prefix: "NP-S", tag: "nps", scenarios: None },
    Page { path: POLICIES, prefix: "NP-B", tag: "npb", scenarios: None },
];

const POLICIES: &str = "docs/policy-tests.md";

/// Tests with a kernel and packets.
const PACKETS: [&str; 4] =
    ["crates/seaway/tests/lab", "crates/agent/tests", "crates/kernel/tests", "crates/proxy/tests"];

/// Tests by the number of the rule; those with packets apart from the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    packets: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// Findings in the pages.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    PAGES.iter().flat_map(|page| page.check(tree)).collect()
}

/// Writes the tests into the pages.
pub(crate) fn update() -> Result {
    let tree = Tree::read(&root())?;
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for page in &PAGES {
        let text = match texts.get(page.path) {
            Some(text) => text.as_str(),
            None => tree.text(page.path).ok_or_else(|| format!("no {}", page.path))?,
        };
        let written = page.written(text, &page.tests(&tree, text));
        texts.insert(page.path, written);
    }
    for (path, text) in texts {
        std::fs::write(tree.root.join(path), text).map_err(|e| format!("write {path}: {e}"))?;
        say(&format!("── {path} is written; read the diff"));
    }
    Ok(())
}

impl Page {
    fn check(&self, tree: &Tree) -> Vec<String> {
        let Some(text) = tree.text(self.path) else { return vec![format!("no {}", self.path)] };
        let tests = self.tests(tree, text);
        let mut findings = Vec::new();
        for (was, now) in text.lines().zip(self.written(text, &tests).lines()) {
            if was != now {
                findings.push(format!("{}: is not as `{COMMAND}` writes it: {was}", self.path));
            }
            let Some([rule, mark, _, cell]) = self.cells(now) else { continue };
            if mark == "must" && cell == "–" {
                findings.push(format!("{}: {rule} has no test", self.path));
            }
        }
        let rules = self.rules(text);
        for (rule, tests) in tests.iter().filter(|(rule, _)| !rules.contains(rule)) {
            let test = tests.packets.iter().chain(&tests.others).next();
            let prefix = self.prefix;
            findings.push(format!("{}: no rule {prefix}{rule}, which {test:?} holds", self.path));
        }
        findings
    }

    /// The page with the tests of now. A rule that was open and has a test must have one from now on.
    fn written(&self, text: &str, tests: &BTreeMap<u32, Tests>) -> String {
        let mut lines = String::new();
        for line in text.lines() {
            match self.cells(line) {
                Some([rule, mark, meaning, _]) => {
                    let tests = self.number(rule).and_then(|number| tests.get(&number));
                    let mark = if mark == "open" && tests.is_some() { "must" } else { mark };
                    let tests = tests.map_or("–".to_owned(), Tests::shown);
                    lines += &format!("| {rule} | {mark} | {meaning} | {tests} |\n");
                }
                None => lines += &format!("{line}\n"),
            }
        }
        lines
    }

    /// The rules that the page has.
    fn rules(&self, text: &str) -> BTreeSet<u32> {
        text.lines().filter_map(|line| self.number(self.cells(line)?[0])).collect()
    }

    /// The cells of a rule's row.
    fn cells<'t>(&self, line: &'t str) -> Option<[&'t str; 4]> {
        let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        <[&str; 4]>::try_from(cells).ok().filter(|[rule, ..]| self.number(rule).is_some())
    }

    fn number(&self, rule: &str) -> Option<u32> {
        rule.strip_prefix(self.prefix)?.parse().ok()
    }

    /// Every test that holds a rule, of a page that says `text`.
    fn tests(&self, tree: &Tree, text: &str) -> BTreeMap<u32, Tests> {
        let rules = self.rules(text);
        let mut found: BTreeMap<u32, Tests> = BTreeMap::new();
        for (path, text) in &tree.files {
            let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
            if is("md") && self.scenarios.is_some_and(|folder| path.starts_with(folder)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                for rule in self.mentioned(text) {
                    found.entry(rule).or_default().others.insert(name.clone().into_owned());
                }
            } else if is("rs") && path.starts_with("crates") {
                for name in self.tagged(text) {
                    let packets = PACKETS.iter().any(|folder| path.starts_with(Path::new(folder)));
                    for range in self.held(name).0 {
                        let is_one = range.start() == range.end();
                        // Of a range it is those that there are.
                        for rule in range.filter(|rule| is_one || rules.contains(rule)) {
                            let tests = found.entry(rule).or_default();
                            let names =
                                if packets { &mut tests.packets } else { &mut tests.others };
                            names.insert(name.to_owned());
                        }
                    }
                }
            }
        }
        found
    }

    /// Rules that prose names, like S-21.
    fn mentioned(&self, text: &str) -> BTreeSet<u32> {
        let after = text.split(self.prefix).skip(1);
        let digits =
            after.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""));
        digits.filter_map(|digits| digits.parse().ok()).collect()
    }

    /// Names of functions and trials that begin with a rule.
    fn tagged<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let names = text.split("fn ").skip(1).chain(text.split('"').skip(1));
        names.filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && !"_{}".contains(c));
            let name = end.map_or(rest, |end| &rest[..end]);
            let (rules, words) = self.held(name);
            (!rules.is_empty() && words < name.split('_').count()).then_some(name)
        })
    }

    /// The rules a name begins with, and how many words that takes: 21 and 44 of `s21_s44_who_answers`,
    /// 1 to 14 of `dns1_to_dns14_names`. Those that the page calls otherwise are passed over.
    fn held(&self, name: &str) -> (Vec<RangeInclusive<u32>>, usize) {
        let mut words = name.split('_').peekable();
        let of = |page: &Page, word: &str| word.strip_prefix(page.tag)?.parse::<u32>().ok();
        let number = |word: &str| of(self, word);
        let same = PAGES.iter().filter(|page| page.path == self.path);
        let is_rule = |word: &&str| same.clone().any(|page| of(page, word).is_some());
        let (mut rules, mut taken) = (Vec::new(), 0);
        while let Some(word) = words.next_if(is_rule) {
            taken += 1;
            let Some(first) = number(word) else { continue };
            let mut rest = words.clone();
            let last = rest.next().filter(|word| *word == "to").and_then(|_| number(rest.next()?));
            if last.is_some() {
                words = rest;
                taken += 2;
            }
            rules.push(first..=last.unwrap_or(first));
        }
        (rules, taken)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_the_rules_their_names_begin_with() {
        let text = "test(\"s21_s44_who_answers_{link}\", f); fn s5_conditions() {} fn s_5() {} \
                    fn six() {} let x = [\"s3cret\", \"s0\"]; // s9_comment";
        let page = &PAGES[0];
        let names: Vec<&str> = page.tagged(text).collect();
        assert_eq!(names, ["s5_conditions", "s21_s44_who_answers_{link}"]);
        assert_eq!(page.held(names[1]), (vec![21..=21, 44..=44], 2));
        let several = "dns1_to_dns14_dns29_names_are_heard";
        assert_eq!(PAGES[1].held(several), (vec![1..=14, 29..=29], 4));
        assert_eq!(PAGES[1].held("dns5_to_everybody"), (vec![5..=5], 1));
        let of = |tag: &str| PAGES.iter().find(|page| page.tag == tag).unwrap();
        assert_eq!(of("npu").held("npn5_npu3_discovery"), (vec![3..=3], 2));
        assert_eq!(of("npn").held("npn5_npu3_discovery"), (vec![5..=5], 2));
        let mentioned = page.mentioned("(S-5, S-11 to S-17), S-x");
        assert_eq!(mentioned.into_iter().collect::<Vec<_>>(), [5, 11, 17]);
    }

    #[test]
    fn the_page_says_what_there_is_and_an_open_rule_is_closed_by_its_first_test() {
        let of = &PAGES[0];
        let scenarios = of.scenarios.unwrap();
        let page = "Text.\n\n| rule | | | tests |\n|---|---|---|---|\n| S-1 | must | one | old |\n\
                    | S-2 | open | two | – |\n| S-3 | open | three | – |\n";
        let files = vec![
            ("crates/a/src/b.rs".into(), "fn s1_one() {}".to_owned()),
            (format!("{}/x.rs", PACKETS[0]).into(), "\"s1_s2_both\"".to_owned()),
            (format!("{scenarios}/y.md").into(), "As S-2 says.".to_owned()),
            (of.path.into(), page.to_owned()),
        ];
        let mut tree = Tree { root: ".".into(), files };
        let now = of.written(page, &of.tests(&tree, page));
        let rows = "| S-1 | must | one | packets: `s1_s2_both`; plan: `s1_one` |\n\
                    | S-2 | must | two | packets: `s1_s2_both`; plan: `y.md` |\n\
                    | S-3 | open | three | – |\n";
        assert!(now.ends_with(rows), "{now}");
        assert_eq!(of.check(&tree).len(), 2);
        tree.files[3].1 = now.replace("| S-3 | open |", "| S-3 | must |");
        assert_eq!(of.check(&tree), [format!("{}: S-3 has no test", of.path)]);
        tree.files[3].1 = now.replace("| S-3 |", "| S-4 |").replace("| S-1 |", "| S-5 |");
        let findings = of.check(&tree);
        assert!(findings.iter().any(|f| f.contains("no rule S-1")), "{findings:?}");
    }
}
