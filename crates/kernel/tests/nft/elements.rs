//! Sets and maps with many elements, and with any.

use std::cell::RefCell;
use std::time::Instant;

use plan::nft::{Chain, Data, DataType, Key, Row, Set, Type, Value, Verdict};
use plan::{Mechanism, diff};
use proptest::test_runner::{Config, TestRunner};
use seaway_kernel::nft::Nft;

use crate::shapes::{prefix, set_name};
use crate::{INET, Rows, arbitrary, explain, isolated, put};

/// A table with one arbitrary set, and the chains that its verdicts lead to.
fn table((declared, elements): (Set, Vec<arbitrary::Element>)) -> Rows {
    let mut rows = Rows::default();
    rows.insert(Key::Table(INET), Row::Table);
    rows.insert(Key::Set(INET, set_name("s")), Row::Set(declared.into()));
    for (key, data) in elements {
        if let Some(Data::Verdict(Verdict::Jump(to) | Verdict::Goto(to))) = &data {
            rows.insert(Key::Chain(INET, to.clone()), Row::Chain(Chain::default()));
        }
        rows.insert(Key::Element(INET, set_name("s"), key.into()), Row::Element(data));
    }
    rows
}

#[test]
fn any_set_goes_to_the_kernel_and_back_and_changes_into_any_other() {
    isolated(|| {
        let kernel = RefCell::new(Nft::open().unwrap());
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        runner
            .run(&arbitrary::set(), |set| {
                put(&mut kernel.borrow_mut(), &table(set));
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn prefixes_give_way_to_any_others_in_one_transaction() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let lists = [
            "",
            "10.0.0.0/24",
            "10.0.0.0/25",
            "10.0.0.128/25",
            "10.0.0.0/25 10.0.0.128/25",
            "10.0.0.0/8 11.0.0.0/8",
            "0.0.0.0/0",
            "0.0.0.0/1 128.0.0.0/1",
            "255.255.255.255/32 0.0.0.0/32",
        ];
        let marks = |nets: &'static str, mark| {
            let data = Some(DataType::Values(vec![Type::Mark]));
            let declared =
                Set { key: vec![Type::Ipv4Addr], data, interval: true, size: None, dynamic: None };
            let element = |net| (vec![prefix(net)], Some(Data::Values([Value::Mark(mark)].into())));
            table((declared, nets.split_whitespace().map(element).collect()))
        };
        for from in lists {
            for to in lists {
                put(&mut kernel, &marks(from, 1));
                put(&mut kernel, &marks(to, 2));
            }
        }
    });
}

/// Service frontends: address, protocol and port lead to address and port.
fn frontends(count: u32) -> Rows {
    let mut rows = Rows::default();
    let declared = Set {
        key: vec![Type::Ipv4Addr, Type::InetProto, Type::InetService],
        data: Some(DataType::Values(vec![Type::Ipv4Addr, Type::InetService])),
        interval: false,
        size: None,
        dynamic: None,
    };
    rows.insert(Key::Table(INET), Row::Table);
    rows.insert(Key::Set(INET, set_name("frontends")), Row::Set(declared.into()));
    for at in 0..count {
        let key = vec![Value::Ipv4((0x0a60_0000 + at).into()), Value::Number(6), Value::Port(80)];
        let to = vec![Value::Ipv4((0x0af4_0000 + at).into()), Value::Port(8080)];
        let key = Key::Element(INET, set_name("frontends"), key.into());
        rows.insert(key, Row::Element(Some(Data::Values(to.into()))));
    }
    rows
}

/// Prints what it takes; `--nocapture` shows it.
#[test]
#[expect(clippy::print_stdout, reason = "the numbers are what one runs it for")]
fn ten_thousand_elements_are_written_at_once_and_one_more_alone() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let (want, more) = (frontends(10_000), frontends(10_001));
        let timed = |kernel: &mut Nft, from: &Rows, to: &Rows| {
            let changes = diff(from, to);
            let start = Instant::now();
            let failures = kernel.apply(&changes);
            assert_eq!(explain(&failures), "");
            (changes.len(), start.elapsed())
        };
        let (rows, all) = timed(&mut kernel, &Rows::default(), &want);
        println!("{rows} rows: {all:?}");
        let mut best = std::time::Duration::MAX;
        for _ in 0..20 {
            best = best.min(timed(&mut kernel, &want, &more).1);
            timed(&mut kernel, &more, &want);
        }
        println!("one more element: {best:?}");
        let start = Instant::now();
        assert!(kernel.observe().unwrap() == want);
        println!("read all back: {:?}", start.elapsed());
        let (rows, all) = timed(&mut kernel, &want, &Rows::default());
        println!("{rows} rows removed: {all:?}");
        assert!(kernel.observe().unwrap().is_empty());
    });
}
