//! `seaway migrate`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Subcommand;
use kernel::nft::Former;
use model::forwarding::corefile::{self, Left};
use serde_json::{Value, json};

use super::cluster::Output;
use super::leftovers::{self, Leftovers};

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
        /// Form of the output: text, which is the settings, or json, which also has what they do not cover.
        #[arg(short, long, default_value = "text", value_enum)]
        output: Output,
    },
    /// Take away what a kube-proxy left on this node, and print it: its tables, its chains of iptables and the rules
    /// that lead there, its ipvs servers and link. Nothing else is touched, and agents may run.
    KubeProxy(Away),
    /// Take away what other CNI plugins left on this node, and print it: rules of the reference plugins, flannel and
    /// kindnet, and links of flannel that no pod is on. Their pods have to be gone from all nodes.
    Cni {
        #[command(flatten)]
        away: Away,
        /// Only the rules by which flannel and kindnet masquerade: once their daemons are gone, while their pods
        /// are still here. Seaway masquerades for these.
        #[arg(long)]
        masquerading: bool,
    },
}

#[derive(clap::Args)]
struct Away {
    /// Only print what would be taken away.
    #[arg(long)]
    dry_run: bool,
    /// Form of the output: text or json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Corefile { file, output } => convert(file, output),
        Command::KubeProxy(away) => take_away(Former::KubeProxy, &away),
        Command::Cni { away, masquerading: true } => take_away(Former::Masquerading, &away),
        Command::Cni { away, masquerading: false } => take_away(Former::Plugins, &away),
    }
}

fn take_away(whose: Former, args: &Away) -> anyhow::Result<ExitCode> {
    let mut found = leftovers::find(whose).map_err(anyhow::Error::msg)?;
    let names = found.all_names();
    if !args.dry_run {
        let in_use = found.in_use();
        ensure!(in_use.is_none(), "{}", in_use.unwrap_or_default());
        let running = leftovers::running();
        ensure!(
            whose != Former::KubeProxy || running.is_empty(),
            "kube-proxy runs here (process {}) and would make all of it again: delete its DaemonSet first",
            running.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        );
        leftovers::remove(&found)?;
        found = leftovers::find(whose).map_err(anyhow::Error::msg)?;
    }
    let left = if args.dry_run { Vec::new() } else { found.all_names() };
    let left: Vec<String> = left.into_iter().chain(found.unread()).collect();
    match args.output {
        Output::Text => names.iter().for_each(|name| super::print(&format!("{name}\n"))),
        Output::Json => super::print(&format!("{:#}\n", document(&found, &names, &left, args))),
    }
    if args.dry_run {
        super::talk("seaway: nothing was taken away (--dry-run)");
    }
    left.iter().for_each(|line| super::talk(&format!("seaway: left behind: {line}")));
    Ok(if left.is_empty() || args.dry_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found, in the order of the text; what of it is there still, or can't be seen; and what is in the way.
fn document(found: &Leftovers, names: &[String], left: &[String], args: &Away) -> Value {
    json!({
        "dryRun": args.dry_run,
        "found": names,
        "leftBehind": left,
        "inUse": found.in_use(),
    })
}

fn convert(file: Option<PathBuf>, output: Output) -> anyhow::Result<ExitCode> {
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
    match output {
        Output::Text => super::print(&converted.settings.to_string()),
        Output::Json => {
            let left = converted.left.iter().map(|Left { file, line, text, why }| {
                json!({ "file": file, "line": line, "text": text, "why": why })
            });
            let left: Vec<Value> = left.collect();
            let settings = converted.settings.to_string();
            super::print(&format!("{:#}\n", json!({ "settings": settings, "left": left })));
        }
    }
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
