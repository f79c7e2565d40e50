//! Whole frames, taken from a link and put on a link: for a program that stands in the middle of a
//! cable.
//!
//! A frame carries what its sender left to the hardware (checksums, segmentation) in front of it, as
//! `struct virtio_net_hdr`; handed on as it is, the next link does that work.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::netlink::Netlink;

/// Room for the largest frame with all that comes in front of it.
pub const LONGEST: usize = 10 + 18 + 65536;

/// One link's frames. Nothing in here waits.
#[derive(Debug)]
pub struct Frames(OwnedFd);

impl Frames {
    /// Opens link `link` of the calling thread's network namespace.
    ///
    /// # Errors
    /// When there is no such link; without `CAP_NET_RAW`.
    ///
    /// Source: packet(7).
    pub fn open(link: &str) -> io::Result<Self> {
        let index = Netlink::open().and_then(|mut netlink| netlink.link_index(link));
        let index = index.map_err(io::Error::other)?;
        let frames = Frames(socket()?);
        frames.set(libc::PACKET_VNET_HDR, 1)?;
        // What is put on the link here must not come back.
        frames.set(libc::PACKET_IGNORE_OUTGOING, 1)?;
        bind(frames.as_fd(), index)?;
        Ok(frames)
    }

    /// Takes the next frame that came in by the link; its length. No frame means that the link has
    /// just gone down.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn take(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?)
    }

    /// Puts a frame on the link, as [`Frames::take`] gave it.
    ///
    /// # Errors
    /// The link's: it is down, or its queue is full.
    pub fn put(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    #[expect(unsafe_code, reason = "see WHY inside")]
    fn set(&self, option: c_int, value: c_int) -> io::Result<()> {
        let size = socklen_t::try_from(size_of::<c_int>()).expect("4 fits");
        let value: *const c_int = &value;
        // SAFETY: the descriptor is open, and the pointer is to a c_int of that size that lives
        // until the call returns.
        // WHY: neither std, nix nor socket2 has options of packet sockets.
        let result = unsafe {
            let value = value.cast::<c_void>();
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, option, value, size)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A packet socket that hears nothing yet.
#[expect(unsafe_code, reason = "see WHY inside")]
fn socket() -> io::Result<OwnedFd> {
    // SAFETY: takes integers, touches no memory of ours.
    // WHY: nix opens packet sockets, but can't say that they are to hear nothing until bound.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    // WHY: taking ownership of a raw descriptor is unsafe by nature.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has `socket` hear every frame of the link of this index.
#[expect(unsafe_code, reason = "see WHY inside")]
fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let all = u16::try_from(libc::ETH_P_ALL).expect("an EtherType is 16 bits");
    let family = u16::try_from(libc::AF_PACKET).expect("a family is 16 bits");
    let addr = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: all.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("20 fits");
    let addr: *const libc::sockaddr_ll = &addr;
    // SAFETY: the descriptor is open while borrowed, and the pointer is to a whole sockaddr_ll of
    // that size that lives until the call returns.
    // WHY: nix has no constructor for this address.
    let result = unsafe { libc::bind(socket.as_raw_fd(), addr.cast::<libc::sockaddr>(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
