//! Whatever the lines of a ledger say, also under the right checksum, it opens, or is kept aside, or
//! belongs to a newer release; and what was opened once opens again and says the same.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use agent::journal::{Found, Journal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, Vec<&str>, &[u8])| {
    let (header, lines, torn) = input;
    let dir = scratch();
    drop(std::fs::remove_dir_all(dir));
    std::fs::create_dir_all(dir).expect("a scratch directory");
    let mut text = if header { sealed("seaway-ledger 1") } else { Vec::new() };
    lines.iter().for_each(|line| text.extend(sealed(line)));
    text.extend(torn);
    std::fs::write(dir.join("ledger"), text).expect("write the ledger");
    let Ok((journal, _)) = Journal::open(dir, 0) else { return };
    let leases = format!("{:?}", journal.leases());
    drop(journal);
    let (journal, found) = Journal::open(dir, 1).expect("what was opened opens");
    assert_eq!(found, Found::Whole { torn: 0 });
    assert_eq!(format!("{:?}", journal.leases()), leases);
});

/// A line with its checksum.
fn sealed(body: &str) -> Vec<u8> {
    format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}

/// In memory: each run syncs the file to it.
fn scratch() -> &'static PathBuf {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| format!("/dev/shm/seaway-fuzz-ledger-{}", std::process::id()).into())
}
