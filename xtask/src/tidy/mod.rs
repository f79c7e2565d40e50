//! `cargo xtask tidy`: what a compiler does not check and a reader relies on.

mod arrows;
mod docs;
mod files;
mod kubectl;
pub(crate) mod rows;

use crate::run::{Result, root, say};

/// Runs every check and prints all findings.
pub(crate) fn run() -> Result {
    let root = root();
    let tree = files::Tree::read(&root)?;
    let mut findings = files::check(&tree);
    findings.extend(arrows::check()?);
    findings.extend(docs::check(&tree));
    findings.extend(kubectl::check(&tree));
    findings.extend(rows::check(&tree));
    for finding in &findings {
        say(finding);
    }
    if findings.is_empty() {
        say("── tidy: ok");
        return Ok(());
    }
    Err(format!("tidy: {} findings", findings.len()))
}
