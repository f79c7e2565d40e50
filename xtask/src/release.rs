//! `cargo xtask release VERSION`: folds `changes/*.md` into CHANGELOG.md.

use crate::run::{Result, root, say};

/// Writes a section for the version named, one line per change, and removes the files.
pub(crate) fn run(args: &[String]) -> Result {
    let [version] = args else { return Err("release VERSION".into()) };
    let dir = root().join("changes");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("list changes: {e}"))?;
    let mut files: Vec<_> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "md") && !p.ends_with("README.md"))
        .collect();
    files.sort();
    let mut section = format!("## {version}\n\n");
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|e| format!("read {file:?}: {e}"))?;
        section.push_str(&format!("- {}\n", text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let path = root().join("CHANGELOG.md");
    let old = std::fs::read_to_string(&path).map_err(|e| format!("read CHANGELOG.md: {e}"))?;
    let (head, rest) = old.split_once("\n## ").map_or((old.as_str(), None), |(h, r)| (h, Some(r)));
    let rest = rest.map(|r| format!("\n## {r}")).unwrap_or_default();
    let text = format!("{}\n\n{section}{rest}", head.trim_end());
    std::fs::write(&path, text).map_err(|e| format!("write CHANGELOG.md: {e}"))?;
    for file in &files {
        std::fs::remove_file(file).map_err(|e| format!("remove {file:?}: {e}"))?;
    }
    say(&format!("{} changes folded into CHANGELOG.md", files.len()));
    Ok(())
}
