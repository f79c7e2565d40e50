//! Runs the console blocks of `examples/*.md` as written, and compares what they print; those of
//! `docs/kubectl.md` once with each kubectl.
//!
//! A block is fenced with ```` ```console ````. A line that starts with `$ ` is a command for bash, which
//! goes on in lines that start with `> `; the lines after it are what a terminal shows. `…` in an expected line stands for any text; a line of
//! only `…` for any number of lines. A command without expected lines only has to succeed. Variables
//! that one command sets are there for the next. Labs of examples are apart from all others, and each
//! file takes its own down. A block fenced with `console oldest` or `console newest` is for that kubectl only.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::clients::{self, Kubectl};
use crate::run::{Result, cargo, command, output, root, say, step};

/// Seconds one command may take.
const LONGEST: &str = "180";

/// The page that tells what works with kubectl.
const KUBECTL: &str = "docs/kubectl.md";

/// Runs every example, or those whose name holds one of `filters`.
pub(crate) fn run(filters: &[String]) -> Result {
    clients::install()?;
    step("build", &mut cargo(&["build", "--workspace"]))?;
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let dir = root().join("examples");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("list {}: {e}", dir.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .filter(|path| wanted(&path.to_string_lossy()))
        .collect();
    files.sort();
    let mut runs: Vec<(PathBuf, Kubectl)> =
        files.into_iter().map(|file| (file, Kubectl::Newest)).collect();
    if wanted(KUBECTL) {
        runs.extend(Kubectl::ALL.map(|kubectl| (root().join(KUBECTL), kubectl)));
    }
    for (file, kubectl) in &runs {
        example(file, *kubectl)?;
    }
    say(&format!("{} passed, 0 failed", runs.len()));
    Ok(())
}

fn example(file: &Path, kubectl: Kubectl) -> Result {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{name} (kubectl {})", kubectl.name());
    let text = std::fs::read_to_string(file).map_err(|e| format!("read {name}: {e}"))?;
    let scratch = Scratch::new(kubectl)?;
    commands(&text, kubectl).iter().try_for_each(|step| check(&name, step, &scratch))?;
    let left = output(&mut scratch.shell("seaway lab list"))?;
    if !left.stdout.is_empty() {
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        return Err(format!("example {name} leaves a lab: {left}"));
    }
    say(&format!("── example {name}: ok"));
    Ok(())
}

/// Where the labs and the variables of one file are, and its kubectl. Goes away with everything in it.
struct Scratch {
    folder: PathBuf,
    kubectl: Kubectl,
}

impl Scratch {
    fn new(kubectl: Kubectl) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("seaway-example-{}", std::process::id()));
        let labs = dir.join("labs");
        std::fs::create_dir_all(&labs).map_err(|e| format!("make {}: {e}", labs.display()))?;
        Ok(Self { folder: dir, kubectl })
    }

    /// One command line, as a terminal would run and show it, in the root of the tree.
    fn shell(&self, line: &str) -> std::process::Command {
        let variables = self.folder.join("variables");
        let script = format!(
            "exec 2>&1; set -a; if [ -e $0 ]; then . $0; fi\n\
             trap 'code=$?; export -p > $0; exit $code' EXIT\n{line}"
        );
        let mut shell = command("timeout", &[LONGEST, "bash", "-c", &script]);
        let binary = root().join("target/debug");
        let path = clients::path_with(self.kubectl);
        shell.arg(variables).env("PATH", format!("{}:{path}:/usr/sbin:/sbin", binary.display()));
        shell
            .env("SEAWAY_LAB_DIR", self.folder.join("labs"))
            .env("HOME", &self.folder)
            .stdin(Stdio::null());
        shell
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = output(&mut self.shell("seaway lab down --all")) {
            say(&error);
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            say(&format!("remove {}: {error}", self.folder.display()));
        }
    }
}

/// One command of an example and what it should print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    line: usize,
    /// For bash.
    pub(crate) command: String,
    expected: Vec<String>,
}

/// The commands of the console blocks of `text` that are for `kubectl`.
pub(crate) fn commands(text: &str, kubectl: Kubectl) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence
                .strip_prefix("console")
                .is_some_and(|only| only.is_empty() || only.trim_start() == kubectl.name());
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            steps.push(Step { line: number + 1, command, expected: Vec::new() });
        } else if inside && let Some(step) = steps.last_mut() {
            match line.strip_prefix("> ").filter(|_| step.expected.is_empty()) {
                Some(more) => step.command = format!("{}\n{more}", step.command),
                None => step.expected.push(line.to_owned()),
            }
        }
    }
    steps
}

fn check(file: &str, step: &Step, scratch: &Scratch) -> Result {
    let result = output(&mut scratch.shell(&step.command))?;
    let place = format!("{file}:{}: $ {}", step.line, step.command);
    let shown = String::from_utf8_lossy(&result.stdout);
    if !result.status.success() {
        return Err(format!("{place}\n{}\n{shown}", result.status));
    }
    let printed: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = step.expected.iter().map(|l| l.trim_end()).collect();
    if expected.is_empty() || matches_lines(&expected, &printed) {
        return Ok(());
    }
    Err(format!("{place}\nexpected:\n{}\nprinted:\n{shown}", expected.join("\n")))
}

fn matches_lines(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|n| matches_lines(rest, &printed[n..])),
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| matches_line(first, line) && matches_lines(rest, others)),
    }
}

/// Whether `line` is `pattern` with any text where `…` stands and any run of spaces for one.
fn matches_line(pattern: &str, line: &str) -> bool {
    let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeeze(pattern), squeeze(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether `dir` holds at least one example; tidy asks.
pub(crate) fn exist(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "md")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_they_print_are_read_from_console_blocks() {
        let text = "prose\n```console\n$ a b\nout\n$ c\n> d\n```\n```yaml\n$ no\n```\n\
                    ```console newest\n$ e\n```\n```console oldest\n$ f\n```\n";
        let step = |line, command: &str, expected: &[&str]| Step {
            line,
            command: command.into(),
            expected: expected.iter().map(|s| (*s).to_owned()).collect(),
        };
        let both = [step(3, "a b", &["out"]), step(5, "c\nd", &[])];
        for (kubectl, last) in
            [(Kubectl::Newest, step(12, "e", &[])), (Kubectl::Oldest, step(15, "f", &[]))]
        {
            assert_eq!(commands(text, kubectl)[..2], both);
            assert_eq!(commands(text, kubectl)[2..], [last]);
        }
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        let cases = [
            ("web 10.244.1.… Running", "web   10.244.1.7  Running", true),
            ("web … Running", "web 10.244.1.7 Pending", false),
            ("… ok", "all is ok", true),
            ("exact", "exactly", false),
        ];
        for (pattern, line, matches) in cases {
            assert_eq!(matches_line(pattern, line), matches, "{pattern} / {line}");
        }
        assert!(matches_lines(&["a", "…", "z"], &["a", "b", "c", "z"]));
        assert!(!matches_lines(&["a", "…", "z"], &["a", "b"]));
    }
}
