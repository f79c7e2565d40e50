//! Checks of single files: length, module docs, names, stray text.

use std::path::{Path, PathBuf};

use crate::run::{Result, command, output, say};

/// Lines after which a source file is hard to hold in the head: a warning, then a failure.
const LONG: usize = 400;
const TOO_LONG: usize = 600;

/// Words that say nothing as (a part of) a file name.
const EMPTY_WORDS: [&str; 8] =
    ["manager", "handler", "helper", "helpers", "util", "utils", "common", "misc"];

/// Every text file of the tree that git knows.
pub(crate) struct Tree {
    /// Where the tree is.
    pub(crate) root: PathBuf,
    /// Path relative to the root, and text.
    pub(crate) files: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Reads the tree: what git tracks and what it would track.
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let listed = output(&mut command("git", &args))?;
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files = names
            .lines()
            .filter_map(|name| {
                let text = std::fs::read_to_string(root.join(name)).ok()?;
                Some((PathBuf::from(name), text))
            })
            .collect();
        Ok(Tree { root: root.to_owned(), files })
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(p, _)| p == Path::new(path)).map(|(_, text)| text.as_str())
    }

    /// Whether a path is in the tree, as a file or a folder.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = Path::new(path.trim_end_matches('/'));
        self.files.iter().any(|(p, _)| p.starts_with(path))
    }
}

/// Findings in single files.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    tree.files.iter().flat_map(|(path, text)| one(path, text)).collect()
}

fn one(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut findings = Vec::new();
    let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
    let generated = path.ends_with("Cargo.lock") || is("golden");
    if generated {
        return findings;
    }
    for (i, line) in text.lines().enumerate() {
        if line.ends_with(' ') && !is("md") {
            findings.push(format!("{shown}:{}: trailing space", i + 1));
        }
    }
    if !is("rs") {
        return findings;
    }
    let lines = text.lines().count();
    if lines > TOO_LONG {
        findings.push(format!("{shown}: {lines} lines; {TOO_LONG} is the limit"));
    } else if lines > LONG {
        say(&format!("warning: {shown}: {lines} lines; {LONG} is long"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        findings.push(format!("{shown}: no module doc (`//!`) at the top"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if stem.split('_').any(|word| EMPTY_WORDS.contains(&word)) {
        findings.push(format!("{shown}: the name says nothing about what is in it"));
    }
    findings.extend(unfinished(path, text));
    findings
}

/// Marks of unfinished work. Built from halves, so that this file does not find itself.
fn unfinished(path: &Path, text: &str) -> Vec<String> {
    let marks = [["todo", "!("], ["unimplemented", "!("], ["#[ign", "ore"]].map(|m| m.concat());
    let allow = ["#[al", "low("].concat();
    let found = |(i, line): (usize, &str)| {
        let at = format!("{}:{}", path.display(), i + 1);
        if marks.iter().any(|mark| line.contains(mark.as_str())) {
            return Some(format!("{at}: unfinished or skipped"));
        }
        line.contains(&allow).then(|| format!("{at}: use #[expect(…, reason = \"…\")]"))
    };
    text.lines().enumerate().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_file_and_line() {
        let cases = [
            ("a.rs", "//! Doc.\nfn f() {} \n", "a.rs:2: trailing space"),
            ("a.rs", "fn f() {}\n", "a.rs: no module doc"),
            ("net_helper.rs", "//! Doc.\n", "says nothing"),
        ];
        for (path, text, finding) in cases {
            let findings = one(Path::new(path), text);
            assert!(findings.iter().any(|f| f.contains(finding)), "{path}: {findings:?}");
        }
        assert!(one(Path::new("a.rs"), "//! Doc.\n").is_empty());
    }
}
