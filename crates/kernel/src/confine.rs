//! What a process is started with: a read-only root, few capabilities, a loopback that is up.
//!
//! Everything here acts on the calling thread or on its namespaces, and is meant to be called
//! between the start of a process and its `exec`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The capabilities Linux has, in the order of their numbers.
///
/// Source: `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// Every capability this list knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set whose bits are `bits`, as `/proc/<pid>/status` prints it in hexadecimal.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as bits; bit n is capability number n.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of one capability, named with or without `CAP_`, in any case; `ALL` is all of them.
    /// `None` if there is no such capability.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if name == "ALL" {
            return Some(Self::ALL);
        }
        NAMES.iter().position(|known| *known == name).map(|number| Self(1 << number))
    }

    /// This set and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Leaves the calling thread, and what it executes, no capability but `keep`: bounding, permitted
/// and effective sets become `keep`, inheritable and ambient become empty.
///
/// # Errors
/// What the kernel says; needs `CAP_SETPCAP`.
pub fn limit_capabilities(keep: Capabilities) -> io::Result<()> {
    bound_capabilities(keep)?;
    set_capabilities(keep)
}

/// Makes `keep` the most that the calling thread, and whatever it executes, can ever have: bounds
/// its set and empties the ambient one. What it holds now stays until [`set_capabilities`], a
/// change of user or an exec.
///
/// # Errors
/// What the kernel says; needs `CAP_SETPCAP`.
#[expect(unsafe_code, reason = "nix has no wrapper for this prctl")]
pub fn bound_capabilities(keep: Capabilities) -> io::Result<()> {
    for number in 0..NAMES.len() {
        if keep.0 & (1 << number) == 0 {
            drop_from_bounding_set(number)?;
        }
    }
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL reads no memory of ours.
    // WHY: nix has no wrapper for it.
    let cleared =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(cleared)
}

#[expect(unsafe_code, reason = "nix has no wrapper for this prctl")]
fn drop_from_bounding_set(number: usize) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and reads no memory of ours.
    // WHY: nix has no wrapper for it.
    let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    match check(dropped) {
        // A kernel older than our list does not know the last ones.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// `cap_user_header_t` and `cap_user_data_t` of capset(2), version 3.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes `keep` what the calling thread holds: permitted and effective, none inheritable.
///
/// # Errors
/// What the kernel says; a capability that is not permitted can't be gained.
#[expect(unsafe_code, reason = "nobody wraps capset")]
pub fn set_capabilities(keep: Capabilities) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let bytes = keep.0.to_le_bytes();
    let word = |from: usize| {
        u32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
    };
    let words = [word(0), word(4)].map(|bits| CapabilityWord {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    });
    // SAFETY: the header is a valid version 3 header and version 3 reads exactly two words.
    // WHY: neither libc nor nix wraps capset.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) };
    check(set)
}

/// Gives every signal its default meaning. A program is started deaf to those that its parent ignores, and a
/// shell cannot trap them: a lab that a script starts in the background ignores SIGINT and SIGQUIT.
///
/// # Errors
/// What the kernel says.
#[expect(unsafe_code, reason = "libc's own refuses the signals that it uses itself")]
pub fn heed_signals() -> io::Result<()> {
    /// `struct sigaction` as the kernel has it, all zeros: `SIG_DFL`, no flags, nothing masked.
    const DEFAULT: [u64; 4] = [0; 4];
    /// Bytes of a set of signals.
    const SET: usize = 8;
    let settable = |signal: &libc::c_int| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP);
    (1..=64).filter(settable).try_for_each(|signal| {
        let old = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads one action, which installs no code, and is asked for none.
        // WHY: no wrapper takes every signal.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), old, SET) })
    })
}

/// Makes the mount at `path` and every mount below it read-only, in this mount namespace.
///
/// # Errors
/// What the kernel says; needs `CAP_SYS_ADMIN` and Linux 5.12.
#[expect(unsafe_code, reason = "nix has no wrapper for mount_setattr")]
pub fn make_read_only(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path is a NUL-terminated string and attributes a whole mount_attr of the given size;
    // both outlive the call.
    // WHY: nix has no wrapper for mount_setattr, and only it covers all mounts below at once.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(set)
}

/// Raises `lo` in the calling thread's network namespace, which gives it 127.0.0.1 and ::1.
///
/// # Errors
/// What the kernel says; needs `CAP_NET_ADMIN`.
#[expect(unsafe_code, reason = "nix has no wrapper for these ioctls")]
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: socket returns a new descriptor, or -1, which check refuses before it is owned.
    // WHY: an ioctl needs a raw socket of any family; nix has no wrapper for these ioctls.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(fd)?;
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: ifreq is plain old data for which all zeroes is a value.
    // WHY: it has a union; there is no other way to make an empty one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).expect("IFF_UP is 1");
    // SAFETY: the request is a whole ifreq with a NUL-terminated name, and outlives the call.
    // WHY: see above.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

fn check<T: Into<i64>>(returned: T) -> io::Result<()> {
    if returned.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_known_by_any_spelling_of_its_name() {
        for name in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_net_admin"] {
            assert_eq!(Capabilities::named(name), Some(Capabilities::from_bits(1 << 12)));
        }
        assert_eq!(Capabilities::named("all"), Some(Capabilities::ALL));
        assert_eq!(Capabilities::named("CAP_CAP_CHOWN"), None);
        assert_eq!(Capabilities::named(""), None);
    }
}
