//! Rules that tell what is too much of one sender.

use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZero;
use std::time::Duration;

use plan::nft::{
    ChainKind, Dynamic, Field, HookPoint, Key, Op, Rate, Row, Rule, Set, Statement, Type, Value,
    Verdict, list,
};
use seaway_kernel::nft::{Nft, Owned};

use crate::shapes::{base, chain_name, equals, set_name};
use crate::{INET, Rows, isolated, nft, put, run};

/// Of each sender to port 53, two packets are let through, and then one each second.
fn rows() -> Rows {
    let rate = Rate { per_second: NonZero::<u32>::MIN, burst: NonZero::new(2).unwrap() };
    let senders = Set {
        key: vec![Type::Ipv4Addr],
        data: None,
        interval: false,
        size: Some(3),
        dynamic: Some(Dynamic { timeout: Duration::from_secs(3600) }),
    };
    let statements = vec![
        equals(Field::L4proto, Value::Number(17)),
        Statement::Match(Field::Dport, Op::Eq, Value::Port(53)),
        Statement::Excess { set: set_name("senders"), key: vec![Field::Ip4Saddr], rate },
        Statement::Counter,
        Statement::Verdict(Verdict::Drop),
    ];
    let rules = vec![Rule { statements, comment: Some("too many".to_owned()) }];
    let chain = base(ChainKind::Filter, HookPoint::Prerouting, -300, rules);
    [
        (Key::Table(INET), Row::Table),
        (Key::Set(INET, set_name("senders")), Row::Set(senders.into())),
        (Key::Chain(INET, chain_name("pre")), chain),
    ]
    .into_iter()
    .collect()
}

#[test]
fn a_rule_about_an_excess_is_read_back_and_listed_as_by_nft() {
    isolated(|| {
        put(&mut Nft::open().unwrap(), &rows());
        let plain = nft("list table inet seaway").replace(" packets 0 bytes 0", "");
        assert_eq!(plain, list(&rows(), INET));
    });
}

#[test]
fn each_sender_has_a_bucket_as_long_as_there_is_room_for_one_and_what_is_dropped_is_counted() {
    isolated(|| {
        run("ip", "link set lo up");
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut owned = Owned::open().unwrap();
        assert_eq!(owned.counted().unwrap(), 0, "there is no table");
        owned.put(&rows()).unwrap();
        let arrive = |sender: u8| {
            let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, sender), 0)).unwrap();
            for _ in 0..10 {
                client.send_to(b"?", server.local_addr().unwrap()).unwrap();
            }
            std::iter::from_fn(|| server.recv(&mut [0; 8]).ok()).count()
        };
        // One more may be let through for each second that this takes.
        let few = |packets: usize| (2..9).contains(&packets);
        let arrived = [2, 3, 4].map(arrive);
        assert!(arrived.into_iter().all(few), "{arrived:?}");
        let dropped: usize = arrived.into_iter().map(|packets| 10 - packets).sum();
        assert_eq!(owned.counted().unwrap(), dropped as u64);
        assert_eq!(arrive(5), 10, "there is no room for another bucket");
        assert_eq!(owned.counted().unwrap(), dropped as u64);
    });
}
