//! The table that goes with its socket.

use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fixtures::listing::differences;
use plan::Table;
use plan::nft::{
    ChainKind, Field, HookPoint, Key, Op, Row, Rule, Set, Statement, Type, Value, list,
};
use seaway_kernel::nft::{Hold, OWNED, Owned, OwnedError};

use crate::shapes::{base, chain_name, set_name};
use crate::{INET, Rows, isolated, nft};

/// Packets to this port of one address are not tracked.
fn rows(port: u16) -> Rows {
    let key = vec![Type::Ipv4Addr, Type::InetProto, Type::InetService];
    let set = Set { key, data: None, interval: false, size: None, dynamic: None };
    let fields = vec![Field::Ip4Daddr, Field::L4proto, Field::Dport];
    let statements =
        vec![Statement::Lookup(fields, Op::Eq, set_name("answered")), Statement::Notrack];
    let rules = vec![Rule { statements, comment: None }];
    let chain = base(ChainKind::Filter, HookPoint::Prerouting, -300, rules);
    let addr = std::net::Ipv4Addr::new(10, 96, 0, 10);
    let element = vec![Value::Ipv4(addr), Value::Number(17), Value::Port(port)];
    [
        (Key::Table(INET), Row::Table),
        (Key::Set(INET, set_name("answered")), Row::Set(set.into())),
        (Key::Chain(INET, chain_name("from_others")), chain),
        (Key::Element(INET, set_name("answered"), element.into()), Row::Element(None)),
    ]
    .into_iter()
    .collect()
}

/// The table as nft lists it, but for who owns it.
fn listed() -> String {
    let text = nft(&format!("list table inet {OWNED}"));
    let lines = text.lines().filter(|line| line.trim() != "flags owner");
    let plain = lines.map(|line| line.split(" # progname").next().unwrap_or(line));
    let text: String = plain.map(|line| format!("{}\n", line.replace(OWNED, "seaway"))).collect();
    text.replacen("{\n\n", "{\n", 1)
}

fn lists(what: &str) -> bool {
    nft("list tables").lines().any(|line| line == what)
}

/// The table is gone: a child that another test has forked meanwhile may have had a copy of its socket until
/// it ran its program.
fn await_end(other: &mut Owned) {
    let is_gone = || {
        thread::sleep(Duration::from_millis(1));
        !other.stands().unwrap()
    };
    assert!(std::iter::repeat_with(is_gone).take(5000).any(|is_gone| is_gone));
}

#[test]
fn a_table_is_gone_when_its_holder_is_killed_and_stays_while_it_is_handed_over() {
    isolated(|| {
        nft("add table inet other");
        let before = nft("list ruleset");
        let mut owned = Owned::open().unwrap();
        assert_eq!(owned.put(&rows(53)).unwrap(), Hold::Owned);
        let mut owned = Owned::from_fd(owned.into_fd()).unwrap();
        assert!(owned.stands().unwrap(), "handed over");
        assert_eq!(owned.put(&rows(54)).unwrap(), Hold::Owned, "who has the socket has the table");
        let socket = Stdio::from(owned.into_fd());
        let mut holder = Command::new("sleep").arg("600").stdin(socket).spawn().unwrap();
        assert!(lists(&format!("table inet {OWNED}")), "its holder is another process now");
        holder.kill().unwrap();
        holder.wait().unwrap();
        await_end(&mut Owned::open().unwrap());
        assert_eq!(nft("list ruleset"), before, "it is gone, and nothing else is");
    });
}

/// A dying process' descriptors are put away from the highest down.
#[test]
fn a_table_goes_before_what_else_its_holder_has_open() {
    isolated(|| {
        let held = Owned::open().unwrap().into_fd();
        let others: Vec<_> = (0..500).map(|_| held.try_clone().unwrap()).collect();
        let low = others.into_iter().min_by_key(AsRawFd::as_raw_fd).unwrap();
        assert!(low.as_raw_fd() < held.as_raw_fd());
        let inherited = Owned::from_fd(low).unwrap().into_fd();
        let others: Vec<_> = (0..500).map(|_| held.try_clone().unwrap()).collect();
        assert!(others.iter().all(|other| other.as_raw_fd() < inherited.as_raw_fd()));
    });
}

#[test]
fn a_table_holds_what_was_put_last_and_nobody_else_may_write_it() {
    isolated(|| {
        let mut owned = Owned::open().unwrap();
        for port in [53, 54, 54] {
            owned.put(&rows(port)).unwrap();
            let [theirs, ours] = differences(&listed(), &list(&rows(port), INET));
            assert_eq!(theirs, ours, "left: nft, right: ours");
        }
        let mut other = Owned::open().unwrap();
        assert!(matches!(other.put(&rows(53)), Err(OwnedError::Foreign)));
        assert!(matches!(other.clear(), Err(OwnedError::Foreign)));
        drop(owned);
        await_end(&mut other);
        other.put(&rows(53)).unwrap();
        other.put(&Table::default()).unwrap();
        assert!(!other.stands().unwrap(), "nothing to hold");
        other.clear().unwrap();
    });
}

#[test]
fn a_table_without_an_owner_that_was_left_behind_is_taken_over() {
    isolated(|| {
        nft(&format!("add table inet {OWNED}"));
        let mut owned = Owned::open().unwrap();
        assert_eq!(owned.put(&rows(53)).unwrap(), Hold::Owned);
        drop(owned);
        await_end(&mut Owned::open().unwrap());
    });
}
