//! `seaway migrate`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use model::forwarding::corefile;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the DNS settings that a Corefile stands for, and tell what they do not cover.
    Corefile {
        /// The Corefile; what it imports is looked for beside it. Standard input when left out.
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Corefile { file } = args.command;
    let text = match &file {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read standard input")?;
            text
        }
    };
    let name = file.as_ref().map_or("-".into(), |file| file.display().to_string());
    let beside = file.as_deref().and_then(Path::parent);
    let mut find = |pattern: &str| beside.map(|beside| found(beside, pattern)).unwrap_or_default();
    let converted = corefile::convert(&name, &text, &mut find);
    super::print(&converted.settings.to_string());
    for left in &converted.left {
        super::talk(&left.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// The files that `pattern` stands for, by name: in its last part, one `*` stands for anything. A path
/// from the root, as in a container, is looked for beside the Corefile too.
fn found(beside: &Path, pattern: &str) -> Vec<(String, String)> {
    let pattern = Path::new(pattern);
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    let (before, after) = name.split_once('*').unwrap_or((&name, ""));
    let is_meant = |found: &str| match name.contains('*') {
        true => {
            let len = before.len() + after.len();
            found.len() >= len && found.starts_with(before) && found.ends_with(after)
        }
        false => *found == *name,
    };
    let last = directory.file_name().map(PathBuf::from).unwrap_or_default();
    let places = [beside.join(directory), beside.join(last), beside.to_owned()];
    let files = |place: &PathBuf| {
        let entries = fs::read_dir(place).ok()?.flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries
            .filter(|path| path.file_name().is_some_and(|name| is_meant(&name.to_string_lossy())))
            .filter_map(|path| Some((path.display().to_string(), fs::read_to_string(&path).ok()?)))
            .collect();
        files.sort();
        Some(files).filter(|files| !files.is_empty())
    };
    places.iter().find_map(files).unwrap_or_default()
}
