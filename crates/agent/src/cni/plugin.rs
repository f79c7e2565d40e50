//! The plugin process: one request, one reply, as fast as a process can be. Only the standard
//! library is at work here: no async runtime, no logger; the runtime shows stdout.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use wire::cni::{
    Code, Environment, Error, MAX_MESSAGE, Operation, Paths, Reply, Request, Version, encode_call,
    parse,
};

use super::pending;

/// How long the agent may take to accept or to answer, in seconds. The agent gives up earlier and
/// says why; runtimes give up much later.
const ANSWER_WITHIN: i64 = 20;

/// Answers a runtime's request with the agent's help. VERSION never comes here.
pub fn run(environment: &Environment, stdin: &[u8]) -> Reply {
    let version = Version::of(stdin);
    ask(environment, stdin).unwrap_or_else(|error| refused(&error, version))
}

/// The reply that says `error`.
pub fn refused(error: &Error, version: Version) -> Reply {
    Reply { success: false, stdout: error.to_json(version) }
}

/// All of stdin.
///
/// # Errors
/// Code 5 when it cannot be read, 6 when there is more than a configuration can be.
pub fn read_stdin(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let limit = MAX_MESSAGE as u64 + 1;
    stdin
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(Code::Io, "read configuration").because(error.to_string()))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Error::new(Code::Undecodable, "configuration is longer than 1 MiB"));
    }
    Ok(bytes)
}

fn ask(environment: &Environment, stdin: &[u8]) -> Result<Reply, Error> {
    let Request { operation, paths, .. } = parse(environment, stdin)?;
    let call = encode_call(environment, stdin);
    if call.len() > MAX_MESSAGE {
        return Err(Error::new(Code::Undecodable, "request is longer than 1 MiB"));
    }
    let (netns, when_down) = match operation {
        Operation::Add(add) => (Some(open_netns(&add.netns)?), Code::TryAgainLater),
        Operation::Check(check) => (Some(open_netns(&check.netns)?), Code::TryAgainLater),
        Operation::Gc(None) => return Ok(Reply { success: true, stdout: String::new() }),
        Operation::Gc(Some(_)) => (None, Code::TryAgainLater),
        Operation::Status => (None, Code::Unavailable),
        Operation::Del(key) => {
            return exchange(&paths.socket(), &call, None)
                .or_else(|down| del_later(&paths, &key, &call, &down));
        }
    };
    exchange(&paths.socket(), &call, netns.as_ref().map(AsFd::as_fd))
        .map_err(|error| unreachable(when_down, &paths.socket(), &error))
}

/// Leaves a DEL for the agent to do when it is back. It may be back just now, and may have looked
/// before the file was there, so it is asked once more; unless it hangs, as one wait is enough.
fn del_later(
    paths: &Paths,
    key: &model::AttachmentKey,
    call: &[u8],
    down: &io::Error,
) -> Result<Reply, Error> {
    pending::put(paths, key, call).map_err(|disk| {
        let error = unreachable(Code::TryAgainLater, &paths.socket(), down);
        let directory = paths.pending();
        let details = format!("{}; keep it in {}: {disk}", error.details, directory.display());
        error.because(details)
    })?;
    let kept = Reply { success: true, stdout: String::new() };
    if down.kind() == io::ErrorKind::WouldBlock {
        return Ok(kept);
    }
    let Ok(reply) = exchange(&paths.socket(), call, None) else { return Ok(kept) };
    // Left behind, it would only be done again.
    drop(pending::remove(&paths.pending_del(key)));
    Ok(reply)
}

fn unreachable(code: Code, socket: &Path, cause: &io::Error) -> Error {
    let cause = if cause.kind() == io::ErrorKind::WouldBlock {
        format!("no answer within {ANSWER_WITHIN} s")
    } else {
        cause.to_string()
    };
    Error::new(code, "the Seaway agent of this node does not answer")
        .because(format!("{}: {cause}", socket.display()))
}

fn open_netns(path: &Path) -> Result<OwnedFd, Error> {
    let opened = File::open(path).map(OwnedFd::from);
    opened.map_err(|error| {
        Error::new(Code::InvalidNetns, format!("CNI_NETNS: open {}", path.display()))
            .because(error.to_string())
    })
}

/// One call and its reply.
fn exchange(socket: &Path, call: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<Reply> {
    let mut stream = dial(socket)?;
    let length = u32::try_from(call.len()).map_err(io::Error::other)?.to_be_bytes();
    let fds: Vec<_> = fd.into_iter().collect();
    kernel::process::send_fds(&stream, &length, &fds)?;
    stream.write_all(call)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::other("its reply is longer than 1 MiB"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Reply::decode(&bytes).map_err(io::Error::other)
}

/// Connects with bounds on every step; `connect` waits too while the agent's queue is full.
fn dial(path: &Path) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let bound = TimeVal::seconds(ANSWER_WITHIN);
    setsockopt(&fd, SendTimeout, &bound)?;
    setsockopt(&fd, ReceiveTimeout, &bound)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}
