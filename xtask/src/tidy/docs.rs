//! Checks between documents and code: paths, promises, dependencies, decisions, pages.

use super::files::Tree;

/// Headings of a subsystem's page, in order.
const PAGE_HEADINGS: [&str; 9] = [
    "What it does",
    "What it reads",
    "What it programs",
    "A packet's way",
    "Settings",
    "Metrics",
    "When it goes wrong",
    "Limits",
    "Sources",
];

/// Headings of a decision, in order.
const DECISION_HEADINGS: [&str; 5] =
    ["Context", "Options", "Decision", "What follows", "What would change our mind"];

/// Pages that must have these headings.
const PAGES: [&str; 5] = ["pod-network", "ipam", "routes", "egress", "cni"];

/// Findings between documents and code.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = find_it(tree);
    findings.extend(promises(tree));
    findings.extend(dependencies(tree));
    findings.extend(pages(tree));
    findings.extend(decisions(tree));
    findings.extend(links(tree));
    if !crate::examples::exist(&tree.root.join("examples")) {
        findings.push("examples/: no example".into());
    }
    findings
}

/// Every path in ARCHITECTURE.md's "Find it" table exists.
fn find_it(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("ARCHITECTURE.md") else { return vec!["no ARCHITECTURE.md".into()] };
    let Some((_, table)) = text.split_once("## Find it") else {
        return vec!["ARCHITECTURE.md: no \"Find it\" table".into()];
    };
    let table = table.split("\n## ").next().unwrap_or_default();
    let paths = table.split('`').skip(1).step_by(2).filter(|p| p.contains('/') && !p.contains(' '));
    paths
        .filter(|path| !path.starts_with('/') && !tree.has(path))
        .map(|path| format!("ARCHITECTURE.md: \"Find it\" names {path}, which is not there"))
        .collect()
}

/// Every promise of SPECIFICATION.md names a test that exists, or says that it is pending.
fn promises(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("SPECIFICATION.md") else {
        return vec!["no SPECIFICATION.md".into()];
    };
    let mut findings = Vec::new();
    for line in text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| #")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(held_by) = cells.last() else { continue };
        if held_by.contains("test pending") || held_by.chars().all(|c| c == '-') {
            continue;
        }
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(format!("SPECIFICATION.md: no test named: {line}"));
        }
        for name in names.iter().filter(|name| !exists(tree, name)) {
            findings.push(format!("SPECIFICATION.md: {name} is not in the tree"));
        }
    }
    findings
}

/// A test is a path of the tree, or the name of a function or trial in some Rust file.
fn exists(tree: &Tree, name: &str) -> bool {
    if name.contains('/') {
        return tree.has(name);
    }
    let rust = tree.files.iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "rs"));
    let (function, trial) = (format!("fn {name}("), format!("\"{name}\""));
    rust.into_iter().any(|(_, text)| text.contains(&function) || text.contains(&trial))
}

/// Every dependency of the workspace has its line in docs/dependencies.md.
fn dependencies(tree: &Tree) -> Vec<String> {
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    let page = tree.text("docs/dependencies.md").unwrap_or_default();
    let theirs = manifest.split("# Theirs.").nth(1).and_then(|t| t.split("\n[").next());
    let names = theirs.unwrap_or_default().lines().filter_map(|l| l.split_once(" = ")).map(|l| l.0);
    names
        .filter(|name| !page.contains(&format!("`{name}`")))
        .map(|name| format!("docs/dependencies.md: no line for `{name}`"))
        .collect()
}

/// Pages have the headings a reader expects.
fn pages(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for page in PAGES {
        let path = format!("docs/{page}.md");
        let Some(text) = tree.text(&path) else {
            findings.push(format!("no {path}"));
            continue;
        };
        let missing = PAGE_HEADINGS.iter().filter(|h| !text.contains(&format!("\n## {h}\n")));
        findings.extend(missing.map(|h| format!("{path}: no heading {h:?}")));
    }
    findings
}

/// Decisions are numbered from 1 without gaps or clashes, and have the headings a reader expects.
fn decisions(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let mut pages: Vec<_> =
        tree.files.iter().filter(|(path, _)| path.starts_with("docs/decisions")).collect();
    pages.sort();
    for (number, (path, text)) in (1..).zip(pages) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(&format!("{number:04}-")) {
            findings.push(format!("{}: {number:04} is the next number", path.display()));
        }
        let missing = DECISION_HEADINGS.iter().filter(|h| !text.contains(&format!("\n## {h}\n")));
        findings.extend(missing.map(|h| format!("{}: no heading {h:?}", path.display())));
    }
    findings
}

/// Relative links of Markdown files lead somewhere.
fn links(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.files.iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "md"))
    {
        let folder = tree.root.join(path.parent().unwrap_or(path));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let external = file.contains(':') || file.is_empty() || file.contains(' ');
            if !external && !folder.join(file).exists() {
                findings.push(format!("{}: link to {target}, which is not there", path.display()));
            }
        }
    }
    findings
}
