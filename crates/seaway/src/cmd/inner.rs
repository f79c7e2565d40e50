//! Roles this binary plays for itself and for container runtimes: chosen by the name it is called
//! by, or by environment, never by a person.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent::cni::{loopback, plugin};
use lab::images::{echo, shell};

/// Runs the role this process was started for, if it is one of them.
///
/// | how it is recognised | role |
/// |---|---|
/// | `CNI_COMMAND` is set, or it is called `seaway-cni` | the CNI plugin |
/// | called `loopback` | the CNI plugin of that name |
/// | called `seaway-lab-…`, `seaway-echo`, `seaway-shell` | parts of the lab |
pub(crate) fn run() -> Option<ExitCode> {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "seaway-cni" => Some(super::cni::run(plugin::run)),
        "loopback" => Some(super::cni::run(loopback::run)),
        lab::pod::init::ROLE => Some(lab::pod::init::run()),
        lab::supervisor::ROLE => Some(part(lab::supervisor::run)),
        lab::node::ROLE => Some(part(lab::node::run)),
        echo::ROLE => Some(echo::run(&arguments())),
        shell::ROLE => Some(shell::run(&arguments())),
        _ if super::cni::is_asked_for() => Some(super::cni::run(plugin::run)),
        _ => None,
    }
}

/// Runs a part of the lab: its one argument is its directory, its standard error is its log.
fn part<E: std::error::Error + 'static>(run: impl FnOnce(&Path) -> Result<(), E>) -> ExitCode {
    super::log_to_stderr();
    let Some(directory) = std::env::args_os().nth(1) else {
        super::talk("this part of the lab is started by the lab, with its directory");
        return ExitCode::FAILURE;
    };
    match run(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", model::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// What this process was given besides its name. Bytes that are no text are replaced.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}
