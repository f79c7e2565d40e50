//! The CNI plugins: what a container runtime starts as `seaway-cni` or `loopback`.

use std::io::{self, Write};
use std::process::ExitCode;

use agent::cni::plugin::{read_stdin, refused};
use wire::cni::{Environment, Reply, Version, answer_version};

/// Whether the environment is that of a CNI plugin.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

/// One request, answered by `plugin`: environment and stdin in, JSON on stdout.
pub(crate) fn run(plugin: fn(&Environment, &[u8]) -> Reply) -> ExitCode {
    let lookup = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
    let environment = Environment::from_lookup(lookup);
    let reply = match read_stdin(io::stdin().lock()) {
        Err(error) => refused(&error, Version::default()),
        Ok(stdin) if environment.command == "VERSION" => {
            Reply { success: true, stdout: answer_version(&stdin) }
        }
        Ok(stdin) => plugin(&environment, &stdin),
    };
    let printed = io::stdout().lock().write_all(reply.stdout.as_bytes());
    match printed {
        Ok(()) if reply.success => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            super::talk(&format!("seaway-cni: write the result: {error}"));
            ExitCode::FAILURE
        }
    }
}
