//! The role that becomes a container: `seaway-lab-container`.
//!
//! The runner starts it inside the pod's network, IPC, host name and process namespaces, with a
//! socket as its standard input. It reads a `Launch` from there, with its standard streams, builds
//! the container's own view of the file system, gives up what the container may not have, and
//! executes it. If that fails it says why on the socket; if it succeeds the socket closes, because
//! it is closed on exec.
//!
//! What is run beside a container starts the same way, in the container's own namespaces; that of mounts it
//! joins here.

use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kernel::confine::{self, Capabilities};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, setgid, setgroups, setsid, setuid,
};

use super::account::{self, Account};
use super::launch::{Identity, Launch, Program};
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
    let (text, mut streams) = receive_all(runner).map_err(during("read what to start"))?;
    let launch: Launch = serde_json::from_slice(&text).map_err(during("read what to start"))?;
    setsid().map_err(during("start a session"))?;
    umask(Mode::from_bits_truncate(0o022));
    let me = File::open("/proc/self/exe").map_err(during("open our own program"))?;
    match &launch.root {
        Some(root) => root::build(root)?,
        None => join(streams.pop())?,
    }
    let account = account(&launch.identity)?;
    let mut env = launch.env;
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), account.home.clone()));
    }
    enter(&launch.cwd, launch.root.is_some())?;
    if launch.terminal {
        take_terminal(runner, &account)?;
    } else {
        take_streams(&streams, false, &account)?;
    }
    let mut command = match &launch.program {
        Program::Command(argv) => command(argv, &env)?,
        Program::Role(argv) => role(argv, &me),
    };
    drop_privileges(&launch.identity, &account)?;
    confine::heed_signals().map_err(during("heed signals"))?;
    // exec unblocks all signals.
    let error = command.env_clear().envs(env).exec();
    Err(format!("exec: {:?}: {error}", command.get_program()))
}

/// Joins the mounts of the container whose process `beside` is, which came behind the streams.
fn join(beside: Option<OwnedFd>) -> Result<(), String> {
    let beside = beside.ok_or("join the container's mounts: no descriptor of it came along")?;
    setns(beside, CloneFlags::CLONE_NEWNS).map_err(during("join the container's mounts"))
}

/// The machine's own users are none of the container's.
fn account(identity: &Identity) -> Result<Account, String> {
    // An image without such a file names nobody.
    let read = |path| match identity.by_files {
        true => std::fs::read_to_string(path).unwrap_or_default(),
        false => "root:x:0:0:root:/root:/bin/sh\n".to_owned(),
    };
    account::resolve(identity, &read("/etc/passwd"), &read("/etc/group"))
}

/// A container's working directory is made if it is missing, as container runtimes do it.
fn enter(cwd: &Path, is_new: bool) -> Result<(), String> {
    if is_new && !cwd.exists() {
        // What can't be made can't be entered either, and that says why.
        drop(std::fs::create_dir_all(cwd));
    }
    std::env::set_current_dir(cwd)
        .map_err(|error| format!("enter the working directory {}: {error}", cwd.display()))
}

/// Everything that comes until the other end has said all: bytes, and descriptors beside them.
///
/// # Errors
/// The kernel's.
pub(super) fn receive_all(socket: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    loop {
        let (more, with) = kernel::process::receive_fds(socket, 1 << 16)?;
        if more.is_empty() {
            return Ok((bytes, fds));
        }
        bytes.extend(more);
        fds.extend(with);
    }
}

/// Makes a terminal of the container's own our controlling one and gives its master to the runner.
fn take_terminal(runner: &UnixStream, account: &Account) -> Result<(), String> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC);
    let master = master.map_err(during("open /dev/ptmx"))?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(during("unlock the terminal"))?;
    let name = ptsname_r(&master).map_err(during("name the terminal"))?;
    // The first terminal that the leader of a session opens becomes the session's.
    let ours = File::options().read(true).write(true).open(&name).map_err(during("open it"))?;
    let ours = OwnedFd::from(ours);
    take_streams(&[&ours, &ours, &ours], true, account)?;
    kernel::process::send_fds(runner, b"\n", &[master.as_fd()])
        .map_err(during("hand over the terminal"))
}

/// Makes `streams` our standard input, output and error. They belong to its user from then on, so that
/// `/dev/stdout` can be opened, as runc has it.
fn take_streams<F: AsFd>(streams: &[F], terminal: bool, account: &Account) -> Result<(), String> {
    let [stdin, stdout, stderr] = streams else {
        return Err("connect the standard streams: three descriptors are needed".to_owned());
    };
    for stream in streams {
        // Never /dev/null, which is the machine's.
        let is_ours = |kind| kind == SFlag::S_IFIFO || terminal;
        let stat = fstat(stream).map_err(during("look at the standard streams"))?;
        if is_ours(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT) {
            fchown(stream, Some(Uid::from_raw(account.user)), None)
                .map_err(during("own the standard streams"))?;
        }
    }
    dup2_stdin(stdin)
        .and_then(|()| dup2_stdout(stdout))
        .and_then(|()| dup2_stderr(stderr))
        .map_err(during("connect the standard streams"))
}

fn during<E: std::fmt::Display>(attempt: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{attempt}: {error}")
}

fn command(argv: &[String], env: &[(String, String)]) -> Result<Command, String> {
    let Some((name, arguments)) = argv.split_first() else {
        return Err("exec: no command specified".to_owned());
    };
    let mut command = Command::new(find(name, env)?);
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

fn drop_privileges(identity: &Identity, account: &Account) -> Result<(), String> {
    let keep = Capabilities::from_bits(identity.capabilities);
    confine::bound_capabilities(keep).map_err(during("bound capabilities"))?;
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(during("set groups"))?;
    setgid(Gid::from_raw(account.group)).map_err(during("set group"))?;
    // For anyone but root the kernel clears all capabilities here.
    setuid(Uid::from_raw(account.user)).map_err(during("set user"))?;
    if account.user == 0 {
        confine::set_capabilities(keep).map_err(during("set capabilities"))?;
    }
    if identity.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(during("forbid new privileges"))?;
    }
    Ok(())
}
