//! Addresses that stay for a time of their own each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use plan::nft::{Dynamic, Key, Row, Set, SetName, Type};
use plan::{Mechanism, Stay, Unwritten};
use seaway_kernel::nft::{Nft, Timed, learned};

use crate::shapes::set_name;
use crate::{INET, Rows, isolated, nft, put};

/// How many addresses a set has room for here.
const SIZE: u32 = 8;

/// A table with these sets of addresses.
fn table(sets: &[(&str, Type)]) -> Rows {
    let mut rows = Rows::default();
    rows.insert(Key::Table(INET), Row::Table);
    for (name, kind) in sets {
        let dynamic = Some(Dynamic { timeout: Duration::from_secs(60) });
        let set = Set { key: vec![*kind], data: None, interval: false, size: Some(SIZE), dynamic };
        rows.insert(Key::Set(INET, set_name(name)), Row::Set(set.into()));
    }
    rows
}

fn stay(set: &str, addr: &str, seconds: u64) -> Stay {
    let left = (seconds > 0).then(|| Duration::from_secs(seconds));
    Stay { set: set_name(set), addr: addr.parse().unwrap(), left }
}

/// What is there, and about how long: in steps of ten seconds.
fn there(timed: &mut Timed, set: &SetName) -> BTreeSet<(IpAddr, u64)> {
    let found = timed.read(set).unwrap().into_iter();
    found.map(|stay| (stay.addr, stay.left.unwrap().as_secs().div_ceil(10) * 10)).collect()
}

fn all(of: &[(&str, u64)]) -> BTreeSet<(IpAddr, u64)> {
    of.iter().map(|(addr, seconds)| (addr.parse().unwrap(), *seconds)).collect()
}

#[test]
fn npf7_an_address_stays_for_as_long_as_it_was_last_said() {
    isolated(|| {
        let (mut kernel, mut timed) = (Nft::open().unwrap(), Timed::open().unwrap());
        put(&mut kernel, &table(&[("four", Type::Ipv4Addr), ("six", Type::Ipv6Addr)]));
        let four = set_name("four");
        let first = [
            stay("four", "192.0.2.1", 30),
            stay("four", "192.0.2.2", 600),
            stay("six", "2001:db8::1", 90),
        ];
        assert_eq!(timed.write(&first).unwrap(), Unwritten::default());
        assert_eq!(there(&mut timed, &four), all(&[("192.0.2.1", 30), ("192.0.2.2", 600)]));
        assert_eq!(there(&mut timed, &set_name("six")), all(&[("2001:db8::1", 90)]));
        // Longer, shorter, gone, gone already, and new.
        let next = [
            stay("four", "192.0.2.1", 300),
            stay("four", "192.0.2.2", 20),
            stay("four", "192.0.2.3", 50),
            stay("six", "2001:db8::1", 0),
            stay("six", "2001:db8::2", 0),
        ];
        assert_eq!(timed.write(&next).unwrap(), Unwritten::default());
        let want = [("192.0.2.1", 300), ("192.0.2.2", 20), ("192.0.2.3", 50)];
        assert_eq!(there(&mut timed, &four), all(&want));
        assert_eq!(there(&mut timed, &set_name("six")), all(&[]));
        assert!(nft("list set inet seaway four").contains("192.0.2.3 timeout 50s"));
    });
}

#[test]
fn npf8_a_pass_neither_counts_nor_removes_what_is_there() {
    isolated(|| {
        let (mut kernel, mut timed) = (Nft::open().unwrap(), Timed::open().unwrap());
        let rows = table(&[("four", Type::Ipv4Addr)]);
        put(&mut kernel, &rows);
        timed.write(&[stay("four", "192.0.2.1", 600)]).unwrap();
        assert_eq!(Nft::open().unwrap().observe().unwrap(), rows, "no rows of their own");
        put(&mut kernel, &table(&[("four", Type::Ipv4Addr), ("more", Type::Ipv4Addr)]));
        assert_eq!(there(&mut timed, &set_name("four")), all(&[("192.0.2.1", 600)]));
        assert_eq!(learned(&mut kernel).unwrap(), None, "nor are they what packets wrote");
    });
}

#[test]
fn npf7_a_set_that_is_gone_or_full_keeps_no_other_from_being_written() {
    isolated(|| {
        let (mut kernel, mut timed) = (Nft::open().unwrap(), Timed::open().unwrap());
        let gone = [stay("four", "192.0.2.1", 60), stay("gone", "192.0.2.1", 60)];
        let missing = |sets: &[&str]| Unwritten {
            missing: sets.iter().map(|set| set_name(set)).collect(),
            ..Unwritten::default()
        };
        assert_eq!(timed.write(&gone).unwrap(), missing(&["four", "gone"]), "there is no table");
        assert_eq!(timed.read(&set_name("four")).unwrap(), []);
        put(&mut kernel, &table(&[("four", Type::Ipv4Addr), ("rest", Type::Ipv4Addr)]));
        assert_eq!(timed.write(&gone).unwrap(), missing(&["gone"]));
        assert_eq!(there(&mut timed, &set_name("four")), all(&[("192.0.2.1", 60)]));
        let many = (1..=SIZE + 3).map(|n| stay("four", &format!("192.0.2.{n}"), 60));
        let many: Vec<Stay> = many.chain([stay("rest", "192.0.2.9", 60)]).collect();
        let full = Unwritten { full: [set_name("four")].into(), ..Unwritten::default() };
        assert_eq!(timed.write(&many).unwrap(), full);
        assert_eq!(timed.read(&set_name("four")).unwrap().len(), SIZE as usize);
        assert_eq!(there(&mut timed, &set_name("rest")), all(&[("192.0.2.9", 60)]));
    });
}
