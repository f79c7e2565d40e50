//! Two agents talk, without the rest of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use fixtures::compat;

use super::door::common;
use super::talk::Line;
use super::{Door, FORMATS, HandoverError, Predecessor, SOCKET, Verdict};
use crate::scratch::Scratch;
use crate::sockets::Sockets;

#[test]
fn formats_that_overlap_have_one_in_common() {
    let cases = [
        ((1, 1), (1, 1), Some(1)),
        ((1, 2), (2, 3), Some(2)),
        ((2, 3), (1, 2), Some(2)),
        ((1, 3), (1, 3), Some(3)),
        ((1, 1), (2, 3), None),
        ((2, 3), (1, 1), None),
        ((1, 1), (3, 2), None),
    ];
    for (own, other, expected) in cases {
        assert_eq!(common(own, other), expected, "{own:?} and {other:?}");
    }
}

#[tokio::test]
async fn where_no_agent_runs_there_is_nothing_to_take_over() {
    let scratch = Scratch::new();
    assert!(Predecessor::find(scratch.path()).await.unwrap().is_none());
    drop(std::os::unix::net::UnixListener::bind(scratch.path().join(SOCKET)).unwrap());
    assert!(Predecessor::find(scratch.path()).await.unwrap().is_none(), "it has crashed");
    Predecessor::outlive(scratch.path()).await.unwrap();
}

/// Who has connected before the handover and was not accepted is answered by the successor.
#[tokio::test]
async fn sockets_change_hands_with_everybody_who_waits_in_them() {
    let scratch = Scratch::new();
    let run_dir = scratch.path();
    let mut door = Door::open(run_dir).unwrap();
    let sockets = Sockets::default();
    let path = run_dir.join("cni.sock");
    let socket = sockets.unix("cni.sock", &path).unwrap();
    let addr = "127.0.0.1:0".parse().unwrap();
    let tcp = sockets.tcp(addr).await.unwrap();
    let mut waiting = UnixStream::connect(&path).unwrap();
    waiting.write_all(b"x").unwrap();

    let mut predecessor = Predecessor::find(run_dir).await.unwrap().expect("it runs");
    assert!(door.is_expecting());
    let (inherited, mut heir) = tokio::join!(predecessor.take_over(), async {
        let heir = door.heir().await;
        heir.give(&sockets.all()).await.unwrap();
        heir
    });
    let inherited = Sockets::inheriting(inherited.unwrap().expect("it lives"));
    let own = inherited.unix("cni.sock", &path).unwrap();
    let (mut accepted, _) = own.accept().await.unwrap();
    let mut byte = [0];
    tokio::io::AsyncReadExt::read_exact(&mut accepted, &mut byte).await.unwrap();
    assert_eq!(&byte, b"x");
    let own_tcp = inherited.tcp(addr).await.unwrap();
    assert_eq!(own_tcp.local_addr().unwrap(), tcp.local_addr().unwrap());
    predecessor.go().await.unwrap();
    assert_eq!(heir.verdict().await, Verdict::Go);
    drop((socket, tcp, door, sockets));
    assert!(UnixStream::connect(&path).is_ok(), "the path leads to the successor still");
    drop(predecessor);
    heir.gone().await;
}

#[tokio::test]
async fn a_successor_that_ends_before_it_answers_changes_nothing() {
    let scratch = Scratch::new();
    let mut door = Door::open(scratch.path()).unwrap();
    let mut first = Predecessor::find(scratch.path()).await.unwrap().expect("it runs");
    let refused = Predecessor::find(scratch.path()).await.unwrap_err();
    assert!(matches!(&refused, HandoverError::Refused(why) if why.contains("already")));
    let (given, heir) = tokio::join!(first.take_over(), async {
        let heir = door.heir().await;
        heir.give(&[]).await.unwrap();
        heir
    });
    assert!(given.unwrap().is_some_and(|sockets| sockets.is_empty()));
    drop(first);
    let mut heir = heir;
    assert_eq!(heir.verdict().await, Verdict::Gone);
    drop(heir);
    assert!(!door.is_expecting());
    assert!(Predecessor::find(scratch.path()).await.unwrap().is_some(), "another one may come");
}

#[tokio::test]
async fn an_agent_that_ends_instead_of_handing_over_leaves_nothing_to_take() {
    let scratch = Scratch::new();
    let door = Door::open(scratch.path()).unwrap();
    let mut predecessor = Predecessor::find(scratch.path()).await.unwrap().expect("it runs");
    drop(door);
    assert!(predecessor.take_over().await.unwrap().is_none());
    predecessor.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_release_too_far_away_is_refused_and_nonsense_is_not_answered() {
    let scratch = Scratch::new();
    let mut door = Door::open(scratch.path()).unwrap();
    let path = Arc::new(scratch.path().join(SOCKET));
    let ask = async |line: String| {
        let path = Arc::clone(&path);
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(&*path).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let mut text = String::new();
            // What it did not read is answered by a reset.
            drop(stream.read_to_string(&mut text));
            text
        });
        asked.await.unwrap()
    };
    let far = FORMATS.1 + 1;
    let announce = |oldest| {
        format!(
            "{{\"announce\":{{\"oldest\":{oldest},\"newest\":{far},\"release\":\"9.9.9\",\"more\":1}}}}\n"
        )
    };
    let answer = ask(announce(far)).await;
    assert!(answer.starts_with("{\"refuse\":") && answer.contains("9.9.9"), "{answer}");
    for nonsense in ["{}\n".to_owned(), "\"go\"\n".to_owned(), "x".repeat(100_000)] {
        assert_eq!(ask(nonsense).await, "");
    }
    let mut found = Predecessor::find(scratch.path()).await.unwrap().expect("it runs");
    let (taken, ()) = tokio::join!(found.take_over(), async {
        door.heir().await.give(&[]).await.unwrap();
    });
    assert!(taken.unwrap().is_some());
}

#[test]
fn compat_lines_of_all_releases_are_understood() {
    let (oldest, newest) = FORMATS;
    let lines = [
        Line::Announce { oldest, newest, release: "0.1.0".to_owned() },
        Line::Welcome { format: 1 },
        Line::Refuse { why: "another one is taking over already".to_owned() },
        Line::StandBy,
        Line::TakeOver,
        Line::Socket { name: "cni.sock".to_owned() },
        Line::Complete,
        Line::Go,
    ];
    let written: Vec<String> =
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    compat::is_what_this_release_has("handover", written.concat().as_bytes());
    for (release, text) in compat::of_all_releases("handover") {
        let text = String::from_utf8(text).unwrap();
        let said: Vec<Line> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(said, lines, "{release}");
        let Line::Announce { oldest, newest, .. } = said[0] else { panic!("{release}: {text}") };
        assert_eq!(common(FORMATS, (oldest, newest)), Some(1), "{release}");
    }
    let more = r#"{"announce":{"newest":2,"oldest":1,"release":"0.2.0","later":[]}}"#;
    assert_eq!(
        serde_json::from_str::<Line>(more).unwrap(),
        Line::Announce { oldest: 1, newest: 2, release: "0.2.0".to_owned() }
    );
}
