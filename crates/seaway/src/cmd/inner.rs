//! Roles this binary plays for itself and for container runtimes: chosen by the name it is called
//! by, or by environment, never by a person.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::images::{echo, shell};

/// Runs the role this process was started for, if it is one of them.
///
/// | how it is recognised | role |
/// |---|---|
/// | `CNI_COMMAND` is set, or it is called `seaway-cni` | the CNI plugin |
/// | called `seaway-lab-…`, `seaway-echo`, `seaway-shell` | parts of the lab |
pub(crate) fn run() -> Option<ExitCode> {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "seaway-cni" => Some(super::cni::run()),
        lab::pod::init::ROLE => Some(lab::pod::init::run()),
        echo::ROLE => Some(echo::run(&arguments())),
        shell::ROLE => Some(shell::run(&arguments())),
        _ if super::cni::is_asked_for() => Some(super::cni::run()),
        _ => None,
    }
}

/// What this process was given besides its name. Bytes that are no text are replaced.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}
