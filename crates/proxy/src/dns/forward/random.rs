//! Numbers that nobody guesses.

/// Any 16 bits: an id, or a choice.
pub(super) fn number() -> u16 {
    let mut bytes = [0; 2];
    fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// 16 hex digits.
pub(super) fn label() -> String {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the process has a source of randomness or does not start");
}
