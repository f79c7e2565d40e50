//! `seaway lab kubeconfig`.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::kubeconfig::{default_file, entry_name, merge, unmerge};
use lab::lab::Lab;
use lab::spec::LabName;

use super::{print, talk};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Put the lab into your own kubeconfig, FILE or the one that kubectl would change, and make it the
    /// current context; `lab down` takes it out.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "unmerge")]
    #[expect(clippy::option_option, reason = "no flag, a flag, a flag with a file")]
    merge: Option<Option<PathBuf>>,
    /// Take the lab out of your own kubeconfig.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "no flag, a flag, a flag with a file")]
    unmerge: Option<Option<PathBuf>>,
}

pub(super) fn run(name: &LabName, args: Args) -> anyhow::Result<ExitCode> {
    if let Some(file) = args.unmerge {
        // A lab that is down, or was lost with the machine, can be taken out as well.
        let file = file.unwrap_or_else(default_file);
        unmerge(name, &file)?;
        talk(&format!("context {} is not in {}", entry_name(name), file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let lab = Lab::open(name)?;
    let Some(file) = args.merge else {
        print(&format!("{}\n", lab.kubeconfig().display()));
        return Ok(ExitCode::SUCCESS);
    };
    let file = file.unwrap_or_else(default_file);
    merge(name, &file)?;
    talk(&format!("context {} is the current one in {}", entry_name(name), file.display()));
    Ok(ExitCode::SUCCESS)
}
