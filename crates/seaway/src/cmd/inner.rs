//! Roles this binary plays for itself and for container runtimes: chosen by the name it is called
//! by, or by environment, never by a person.

use std::process::ExitCode;

/// Runs the role this process was started for, if it is one of them.
///
/// | how it is recognised | role |
/// |---|---|
/// | `CNI_COMMAND` is set, or it is called `seaway-cni` | the CNI plugin |
/// | called `seaway-lab-…`, `seaway-echo`, `seaway-shell` | parts of the lab |
pub(crate) fn run() -> Option<ExitCode> {
    None
}
