//! Connection tracking: its counters tell what they are said to tell, and entries go that are wrong and
//! no others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod entries;
mod marks;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use seaway_kernel::conntrack;
use seaway_kernel::netns::unshare_thread;

fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Runs commands that have no spaces inside of words.
fn run_all(commands: &[&str]) {
    commands.iter().for_each(|line| run(&line.split_whitespace().collect::<Vec<_>>()));
}

/// Two connections to one place and a single port to come from.
#[test]
fn a_connection_without_a_free_source_port_is_counted() {
    unshare_thread().unwrap();
    run_all(&[
        "ip link add up0 type veth peer name up1",
        "ip link set up0 up",
        "ip link set up1 up",
        "ip addr add 192.0.2.1/24 dev up0",
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:01 dev up0 nud permanent",
    ]);
    let table = "table ip exhausted { chain out { type nat hook postrouting priority 100; \
                 ip protocol tcp snat to 192.0.2.1:4000; }; }";
    run(&["nft", table]);
    let server: SocketAddr = "192.0.2.9:80".parse().unwrap();
    for expected in [0, 1] {
        TcpStream::connect_timeout(&server, Duration::from_millis(100)).unwrap_err();
        let have = conntrack::observe().unwrap();
        assert_eq!((have.insert_failed, have.entries), (expected, 1), "{have:?}");
        assert!(have.limit >= have.entries);
    }
}
