//! Seaway's nftables tables against nft itself and the laws of mechanisms. Needs root and nft.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../src/nft/arbitrary.rs"]
#[expect(dead_code, reason = "shared with the unit tests, which use all of it")]
mod arbitrary;
mod connections;
mod elements;
mod excess;
mod laws;
mod log;
mod owned;
mod packets;
mod refusals;
mod shapes;
mod text;
mod timed;

use std::process::Command;

use plan::nft::{Key, Row, TableFamily};
use plan::{Changes, Mechanism, Table, converge};
use seaway_kernel::netns::Netns;
use seaway_kernel::nft::Nft;

type Rows = Table<Key, Row>;

const INET: TableFamily = TableFamily::Inet;
const BRIDGE: TableFamily = TableFamily::Bridge;

/// Runs `test` in a namespace of its own.
fn isolated(test: impl FnOnce() + Send) {
    let netns = Netns::fresh().expect("needs root: a network namespace of its own");
    netns.run(test).expect("needs root: enter the namespace");
}

fn run(program: &str, args: &str) -> String {
    let output = Command::new(program).args(args.split_whitespace()).output();
    let output = output.unwrap_or_else(|e| panic!("needs {program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn nft(args: &str) -> String {
    run("nft", args)
}

/// Converges, and checks that this worked and that there is nothing left to do.
fn put(nft: &mut Nft, want: &Rows) -> Changes<Key, Row> {
    let (changes, failures) = converge(nft, want).unwrap();
    assert!(failures.is_empty(), "{}", explain(&failures));
    assert!(nft.stands(), "somebody else wrote");
    let have = nft.observe().unwrap();
    let left = plan::diff(&have, want);
    assert!(left.is_empty(), "left to do:\n{left}");
    changes
}

fn explain(failures: &[plan::Failure<Key>]) -> String {
    let line = |failure: &plan::Failure<Key>| {
        let mut text = format!("{}: {}", failure.attempt, failure.cause);
        let mut cause = failure.cause.source();
        while let Some(next) = cause {
            text += &format!(": {next}");
            cause = next.source();
        }
        text
    };
    failures.iter().map(line).collect::<Vec<_>>().join("\n")
}
