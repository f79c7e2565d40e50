//! Processes as things to hold: a pidfd names one process for good, and can be handed to another
//! process over a socket so that it may enter the namespaces of the first.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Most descriptors one message carries.
pub const MAX_FDS: usize = 8;

/// A descriptor that names process `pid` for as long as it is held, and becomes readable when the
/// process ends. It is closed on exec.
///
/// # Errors
/// The kernel's, `ESRCH` when there is no such process.
///
/// Source: pidfd_open(2).
#[expect(unsafe_code, reason = "neither std nor nix wraps pidfd_open")]
pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory of ours.
    // WHY: no safe wrapper exists.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    // WHY: taking ownership of a raw descriptor is unsafe by nature.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives memory back that this process has freed. The C library keeps what lies between things that stay, for
/// allocations to come; after work that took much and will not come again soon, that is most of it.
///
/// Source: malloc_trim(3).
#[expect(unsafe_code, reason = "nobody wraps malloc_trim")]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer, and locks what it looks at; what is allocated stays where it is.
    // WHY: no safe wrapper exists.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Has all threads of this process allocate from one heap, for as long as it lives; to be called before there
/// are any. Else the C library gives each thread one of its own, and what one thread has freed is of no use to the
/// others: of a World that one reads and another compiles, that was a fifth of the memory. Small pieces still come
/// from a cache of each thread's own, without a lock.
///
/// Source: mallopt(3), `M_ARENA_MAX`.
#[expect(unsafe_code, reason = "nobody wraps mallopt")]
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two integers, and locks what it sets.
    // WHY: no safe wrapper exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Sends `signal` to the process `pidfd` names, never to another that has taken its number.
///
/// # Errors
/// The kernel's, `ESRCH` when the process has ended and been waited for.
///
/// Source: pidfd_send_signal(2).
#[expect(unsafe_code, reason = "neither std nor nix wraps pidfd_send_signal")]
pub fn signal(pidfd: BorrowedFd<'_>, signal: nix::sys::signal::Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while borrowed, and a null siginfo is allowed.
    // WHY: no safe wrapper exists.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            no_info,
            0,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends `bytes` with `fds` in one message. The receiver gets its own copies of the descriptors.
///
/// # Errors
/// The kernel's; `EINVAL` for more than [`MAX_FDS`] descriptors; `WriteZero` when the socket took
/// only part of `bytes`.
///
/// Source: unix(7), `SCM_RIGHTS`.
pub fn send_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let sent = sendmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives up to `room` bytes and the descriptors that came with them, closed on exec.
/// No bytes mean that the other end has closed.
///
/// # Errors
/// The kernel's.
pub fn receive_fds(socket: impl AsFd, room: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; room];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(own));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, fds))
}

/// Takes a descriptor that the kernel has just put into our table.
#[expect(unsafe_code, reason = "descriptors arrive as plain numbers")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: SCM_RIGHTS made it for this process; it is taken exactly once.
    // WHY: nix hands received descriptors out raw.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_arrives_as_a_working_copy() {
        let (here, there) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        send_fds(&here, b"hi", &[reader.as_fd()]).unwrap();
        drop(reader);
        let (bytes, fds) = receive_fds(&there, 16).unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"hi"[..], 1));
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        io::PipeReader::from(fds.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn a_pidfd_signals_the_process_it_was_opened_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = open_pidfd(child.id().cast_signed()).unwrap();
        signal(pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(signal(pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL).is_err());
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (here, _there) = UnixStream::pair().unwrap();
        let fds = [here.as_fd(); MAX_FDS + 1];
        assert_eq!(send_fds(&here, b"", &fds).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
