//! The role that becomes a container: `seaway-lab-container`.
//!
//! The runner starts it inside the pod's network, IPC, host name and process namespaces, with a
//! socket as its standard input. It reads a `Launch` from there, builds the container's own view
//! of the file system, gives up what the container may not have, and executes it. If that fails it
//! says why on the socket; if it succeeds the socket closes, because it is closed on exec.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kernel::confine::{self, Capabilities};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, dup2_stdin, setgid, setgroups, setsid, setuid};

use super::launch::{Launch, Program};
use super::root;

/// The name this role is called by.
pub const ROLE: &str = "seaway-lab-container";

/// Status of a container that could not be executed, as containerd reports it.
pub(crate) const NOT_STARTED: u8 = 128;

/// Where a command without a slash is looked for when the environment does not say.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the container described on standard input. Returns only if that is impossible.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(own) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(NOT_STARTED);
    };
    let mut runner = UnixStream::from(own);
    let Err(why) = become_container(&mut runner);
    // Nobody is left to tell if the runner has gone, and then this process is about to be killed.
    drop(runner.write_all(why.as_bytes()).and_then(|()| runner.shutdown(Shutdown::Both)));
    ExitCode::from(NOT_STARTED)
}

fn become_container(runner: &mut UnixStream) -> Result<std::convert::Infallible, String> {
    let mut text = Vec::new();
    runner.read_to_end(&mut text).map_err(during("read what to start"))?;
    let launch: Launch = serde_json::from_slice(&text).map_err(during("read what to start"))?;
    let null = File::open("/dev/null").map_err(during("open /dev/null"))?;
    dup2_stdin(null).map_err(during("close standard input"))?;
    setsid().map_err(during("start a session"))?;
    umask(Mode::from_bits_truncate(0o022));
    let me = File::open("/proc/self/exe").map_err(during("open our own program"))?;
    root::build(&launch)?;
    let mut command = match &launch.program {
        Program::Command(argv) => command(argv, &launch)?,
        Program::Role(argv) => role(argv, &me),
    };
    drop_privileges(&launch)?;
    // exec gives SIGPIPE its default back and unblocks all signals.
    let error = command.env_clear().envs(launch.env.iter().cloned()).exec();
    Err(format!("exec: {:?}: {error}", command.get_program()))
}

fn during<E: std::fmt::Display>(attempt: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{attempt}: {error}")
}

fn command(argv: &[String], launch: &Launch) -> Result<Command, String> {
    let Some((name, arguments)) = argv.split_first() else {
        return Err("exec: no command specified".to_owned());
    };
    let mut command = Command::new(find(name, &launch.env)?);
    command.arg0(name).args(arguments);
    Ok(command)
}

/// This binary, although the container's root may not show the file it came from.
fn role(argv: &[String], me: &File) -> Command {
    let mut command = Command::new(format!("/proc/self/fd/{}", me.as_raw_fd()));
    if let Some((name, arguments)) = argv.split_first() {
        command.arg0(name).args(arguments);
    }
    command
}

/// The program called `name`: as it is if it has a slash, else the first on `PATH`.
fn find(name: &str, env: &[(String, String)]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match is_executable(Path::new(name)) {
            Ok(true) => Ok(PathBuf::from(name)),
            Ok(false) => Err(format!("exec: {name:?}: permission denied")),
            Err(error) => Err(format!("exec: {name:?}: stat {name}: {error}")),
        };
    }
    let path = env.iter().rev().find(|(key, _)| key == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| matches!(is_executable(file), Ok(true)))
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn is_executable(file: &Path) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn drop_privileges(launch: &Launch) -> Result<(), String> {
    let keep = Capabilities::from_bits(launch.capabilities);
    confine::bound_capabilities(keep).map_err(during("bound capabilities"))?;
    let groups: Vec<Gid> = launch.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(during("set groups"))?;
    setgid(Gid::from_raw(launch.group)).map_err(during("set group"))?;
    // For anyone but root the kernel clears all capabilities here.
    setuid(Uid::from_raw(launch.user)).map_err(during("set user"))?;
    if launch.user == 0 {
        confine::set_capabilities(keep).map_err(during("set capabilities"))?;
    }
    if launch.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(during("forbid new privileges"))?;
    }
    Ok(())
}
