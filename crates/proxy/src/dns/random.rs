//! Numbers that nobody guesses: the kernel's.

use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes`, up to 256 of them.
///
/// # Errors
/// When the kernel has no random numbers for the process: from the first time on, or never.
pub(super) fn try_fill(bytes: &mut [u8]) -> rustix::io::Result<()> {
    // So few bytes come all at once.
    retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty())).map(drop)
}

/// Any 16 bits: an id, or a choice.
pub(super) fn number() -> u16 {
    u16::from_be_bytes(bytes())
}

/// 16 hex digits.
pub(super) fn label() -> String {
    format!("{:016x}", u64::from_be_bytes(bytes()))
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    try_fill(&mut bytes).expect("a server that has no random numbers does not start");
    bytes
}
