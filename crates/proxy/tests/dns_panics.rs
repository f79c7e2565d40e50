//! Which panics end a process: all but those about a question. Each case is a process of its own, this
//! very program with [`CASE`] set.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "dns/node.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod node;
#[path = "dns/others.rs"]
mod others;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use node::{A, Node, head, query};

const CASE: &str = "SEAWAY_PANIC_CASE";

/// How this program ends in a case.
fn end_of(case: &str) -> ExitStatus {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "dns160_a_panic_ends_the_process_unless_it_is_about_a_question"]);
    process.env(CASE, case).output().unwrap().status
}

fn play(case: &str) {
    seaway_proxy::dns::end_with_other_panics();
    let node = Node::start();
    match case {
        "question" => {
            for name in ["panic.example.org", "panic-later.example.org"] {
                for got in node.ask_everywhere(&query(5, name, A)) {
                    assert_eq!(head(&got), (5, 2, 0));
                }
            }
        }
        "task" => {
            let task = node.runtime.spawn(async { panic!("as the test wants it") });
            assert!(node.runtime.block_on(task).is_err(), "never: the process ends first");
        }
        _ => assert!(std::thread::spawn(|| panic!("as the test wants it")).join().is_err()),
    }
}

#[test]
fn dns160_a_panic_ends_the_process_unless_it_is_about_a_question() {
    const ABORTED: i32 = 6;
    match std::env::var(CASE) {
        Ok(case) => play(&case),
        Err(_) => {
            assert!(end_of("question").success());
            for case in ["task", "thread"] {
                assert_eq!(end_of(case).signal(), Some(ABORTED), "{case}");
            }
        }
    }
}
