//! The encoder says what the plan says: `nft` lists the rules of arbitrary Services as they print.

use std::process::Command;

use compile::{Compiler, Scope};
use fixtures::events::{event, happen, me, world};
use fixtures::listing::differences;
use kernel::netns::Netns;
use kernel::nft::Nft;
use plan::converge;
use plan::nft::{TableFamily, list};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// How many changes there are. What is listed has been changed in place, not written anew.
const CHANGES: usize = 60;

fn nft_lists(family: TableFamily) -> String {
    let output =
        Command::new("nft").args(["list", "table", &family.to_string(), "seaway"]).output();
    let output = output.expect("needs nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nft_lists_the_rules_of_arbitrary_services_as_the_plan_prints_them() {
    let netns = Netns::fresh().expect("needs root: a network namespace of its own");
    let mut runner = TestRunner::deterministic();
    let events = prop::collection::vec(event(), CHANGES).new_tree(&mut runner).unwrap().current();
    let (mut world, mut compiler) = (world(), Compiler::default());
    netns
        .run(|| {
            let mut kernel = Nft::open().unwrap();
            for event in events {
                happen(&mut world, event);
                let rows = compiler.compile(&world, &Scope::Node(me())).plan.nft;
                let (_, failures) = converge(&mut kernel, &rows).unwrap();
                let failures = failures.iter().map(|f| format!("{}: {}", f.attempt, f.cause));
                assert_eq!(failures.collect::<Vec<_>>(), [""; 0]);
                let theirs = nft_lists(TableFamily::Inet);
                let [theirs, ours] = differences(&theirs, &list(&rows, TableFamily::Inet));
                assert_eq!(theirs, ours, "left: nft, right: ours");
            }
        })
        .unwrap();
}
