//! One process, one family: this file holds one test because waiting for any child is a property of
//! the whole process.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use seaway_lab::children::Children;

#[tokio::test]
async fn every_exit_reaches_the_one_who_started_the_child() {
    let children = Children::adopt().unwrap();

    let echoed = children.run(&mut Command::new("cat"), b"to and fro").await.unwrap();
    assert_eq!((echoed.status.code(), echoed.stdout.as_slice()), (Some(0), &b"to and fro"[..]));

    let mut shell = Command::new("sh");
    let deaf = children.run(shell.args(["-c", "echo no >&2; exit 3"]), &[b'x'; 1 << 20]).await;
    let deaf = deaf.unwrap();
    assert_eq!((deaf.status.code(), deaf.stderr.as_slice()), (Some(3), &b"no\n"[..]));

    let mut sleeper = children.spawn(Command::new("sleep").arg("60")).unwrap();
    sleeper.signal(Signal::SIGTERM).unwrap();
    assert_eq!(sleeper.wait().await.signal(), Some(Signal::SIGTERM as i32));
    sleeper.signal(Signal::SIGTERM).unwrap();

    let many: Vec<_> = (0..50u8)
        .map(|code| children.spawn(Command::new("sh").args(["-c", &format!("exit {code}")])))
        .collect();
    for (code, child) in (0..50).zip(many) {
        assert_eq!(child.unwrap().wait().await.code(), Some(code));
    }

    assert!(children.spawn(&mut Command::new("/nowhere")).is_err());
}
