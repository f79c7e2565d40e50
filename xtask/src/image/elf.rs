//! Whether a program needs anything but the kernel.
//!
//! Source: System V ABI, "Program Header".

/// The type of the program header that names a dynamic linker.
const PT_INTERP: u64 = 3;

/// Nothing if `program` is a 64-bit program without a dynamic linker; else what is wrong.
pub(crate) fn check_static(program: &[u8]) -> Result<(), String> {
    // Little-endian, as are the architectures we build for.
    if program.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("is no 64-bit program".to_owned());
    }
    let cut = || "is cut off".to_owned();
    let (start, size, count) = (
        number(program, 0x20, 8).ok_or_else(cut)?,
        number(program, 0x36, 2).ok_or_else(cut)?,
        number(program, 0x38, 2).ok_or_else(cut)?,
    );
    for header in 0..count {
        let kind = number(program, start.saturating_add(header * size), 4).ok_or_else(cut)?;
        if kind == PT_INTERP {
            return Err("is linked dynamically, and there is no linker in the image".to_owned());
        }
    }
    Ok(())
}

/// The number of `size` bytes at `start`.
fn number(program: &[u8], start: u64, size: usize) -> Option<u64> {
    let start = usize::try_from(start).ok()?;
    let bytes = program.get(start..start.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with headers of these types.
    fn program(kinds: &[u8]) -> Vec<u8> {
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[0x20], program[0x36]) = (64, 56);
        program[0x38] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            program.extend([&[*kind][..], &[0; 55]].concat());
        }
        program
    }

    #[test]
    fn a_program_is_static_without_a_dynamic_linker() {
        assert_eq!(check_static(&program(&[6, 1, 2])), Ok(()));
        let whole = program(&[6, 3, 1]);
        for (wrong, why) in [
            (&whole[..], "is linked dynamically, and there is no linker in the image"),
            (&whole[..100], "is cut off"),
            (&whole[..40], "is cut off"),
            (b"#!/bin/sh", "is no 64-bit program"),
        ] {
            assert_eq!(check_static(wrong), Err(why.to_owned()));
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(check_static(&own).is_err(), "tests are linked dynamically");
    }
}
