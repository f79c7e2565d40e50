//! `seaway install`: the manifest that brings Seaway to a cluster.

mod chart;
mod keys;
mod manifest;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::cluster::Output;
use keys::Settings;

#[derive(clap::Args)]
#[command(after_long_help = keys::help(), after_help = "`seaway install --help` lists what can be set.")]
pub(crate) struct Args {
    /// A setting. Several are fine; the last of a key counts, and those of --values come before.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// File with settings, in YAML: `KEY: VALUE` in each line.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Only nodes with this label. Several are fine, and a node needs all of them.
    #[arg(long, value_name = "LABEL=VALUE", conflicts_with = "helm")]
    node_selector: Vec<String>,
    /// Print what takes Seaway off every node instead.
    #[arg(long, conflicts_with = "helm")]
    cleanup: bool,
    /// Write a Helm chart with the same manifest into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["set", "values"])]
    helm: Option<PathBuf>,
    /// Leave out the admission policy that narrows what agents may write, which Kubernetes before 1.30 does not know.
    #[arg(long, conflicts_with_all = ["helm", "cleanup"])]
    no_admission_policy: bool,
    /// Form of the output: text, which is YAML, or json: one List of the same objects.
    #[arg(short, long, default_value = "text", value_enum, conflicts_with = "helm")]
    output: Output,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.helm {
        for (name, text) in chart::files() {
            let path = dir.join(name);
            let write = || {
                std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
                std::fs::write(&path, text)
            };
            write().with_context(|| format!("write {}", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = Settings::default();
    if let Some(path) = &args.values {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        settings.read(&text).with_context(|| format!("values of {}", path.display()))?;
    }
    for set in &args.set {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set {set}: KEY=VALUE is wanted");
        };
        settings.set(key, value).with_context(|| format!("--set {set}"))?;
    }
    let printed = match args.cleanup {
        true => manifest::cleanup(&settings),
        false => manifest::install(&settings, !args.no_admission_policy),
    };
    let printed = manifest::selecting(&printed, &args.node_selector)?;
    super::print(&match args.output {
        Output::Text => printed,
        Output::Json => format!("{:#}\n", manifest::list(&printed)?),
    });
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The committed manifest and chart, which people apply without a `seaway` of their own; `UPDATE=1`
    /// writes them.
    #[test]
    fn what_is_committed_is_what_install_prints() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        let manifest = ("seaway.yaml".to_owned(), manifest::install(&Settings::default(), true));
        let chart = chart::files().into_iter();
        let chart = chart.map(|(name, text)| (format!("helm/seaway/{name}"), text));
        for (name, text) in std::iter::once(manifest).chain(chart) {
            let path = deploy.join(&name);
            if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text, "deploy/{name} is another one: cargo xtask deploy");
        }
    }

    #[test]
    fn every_key_has_its_row_in_the_documentation() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/install.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let rows: Vec<&str> = rows.map(|(key, _)| key).collect();
        for key in keys::all() {
            assert!(rows.contains(&&*key.name), "docs/install.md has no row for {}", key.name);
        }
    }
}
