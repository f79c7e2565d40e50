//! Pseudo-terminals, as far as their owner's side needs more than reads and writes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Tells the terminal whose master is `master` how many characters it shows. The programs in its
/// foreground learn of a change by `SIGWINCH`.
///
/// # Errors
/// The kernel's, `ENOTTY` when `master` is no terminal.
///
/// Source: ioctl_tty(2), `TIOCSWINSZ`.
#[expect(unsafe_code, reason = "neither std nor nix has a safe call for it")]
pub fn set_size(master: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open while borrowed, and the kernel only reads the struct.
    // WHY: no safe wrapper exists.
    let set = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_a_size() {
        let (reader, _writer) = io::pipe().unwrap();
        let refused = set_size(&reader, 24, 80).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTTY));
        let terminal = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR).unwrap();
        set_size(&terminal, 24, 80).unwrap();
    }
}
