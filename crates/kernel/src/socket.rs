//! Socket options that the safe libraries lack.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, socklen_t};
use model::Family;

/// Makes packets of `socket` leave whole or not at all: sending more than the path takes fails with
/// `EMSGSIZE`, and IPv4 packets carry DF.
///
/// Source: ip(7), `IP_MTU_DISCOVER` with `IP_PMTUDISC_DO`; ipv6(7), `IPV6_MTU_DISCOVER`.
///
/// # Errors
/// The system call's own error.
#[expect(unsafe_code, reason = "see WHY inside")]
pub fn never_fragment(socket: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    let (level, option, value) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    };
    let size = socklen_t::try_from(size_of::<c_int>()).expect("4 fits");
    let value: *const c_int = &value;
    // SAFETY: the descriptor is borrowed and open, and the pointer is to a c_int of that size that
    // lives until the call returns.
    // WHY: neither std, nix nor socket2 has this option on Linux.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, value.cast::<c_void>(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
