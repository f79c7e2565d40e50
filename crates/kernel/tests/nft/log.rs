//! Rules that show packets to a group, and who listens there; what rules have counted.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::num::NonZero;
use std::time::Duration;

use plan::nft::{ChainKind, Field, HookPoint, Key, Rate, Row, Rule, Statement, Value, Verdict};
use seaway_kernel::nflog::{Group, GroupError};
use seaway_kernel::nft::{Counted, Nft, counted};

use crate::shapes::{base, chain_name, equals};
use crate::{INET, Rows, isolated, nft, put, run};

const GROUP: u16 = 8376;

/// What is sent to port 9 is shown, two at once and then one each second, counted and dropped.
fn rows() -> Rows {
    let rate = Rate { per_second: NonZero::<u32>::MIN, burst: NonZero::new(2).unwrap() };
    let to_port = |protocol, port| {
        let of = equals(Field::L4proto, Value::Number(protocol));
        vec![of, equals(Field::Dport, Value::Port(port))]
    };
    let rule = |mut before: Vec<Statement>, then: &[Statement], comment: &str| {
        before.extend(then.iter().cloned());
        Rule { statements: before, comment: Some(comment.to_owned()) }
    };
    let log = Statement::Log { prefix: "of the test".into(), group: GROUP };
    let drop = [Statement::Counter, Statement::Verdict(Verdict::Drop)];
    let rules = vec![
        rule(to_port(17, 9), &[Statement::Limit(rate), log.clone()], "shown"),
        rule(to_port(17, 9), &drop, "dropped"),
        rule(to_port(6, 9), &[log], "shown"),
    ];
    let chain = base(ChainKind::Filter, HookPoint::Output, 0, rules);
    [(Key::Table(INET), Row::Table), (Key::Chain(INET, chain_name("out")), chain)]
        .into_iter()
        .collect()
}

fn shown(group: &mut Group) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let logged = group.next(Duration::from_millis(300)).unwrap();
        if logged.is_empty() {
            return all;
        }
        all.extend(logged.into_iter().map(|one| {
            let header = one.header;
            let (from, to) = (header.src, SocketAddr::new(header.dst, header.dport));
            format!("{}: {} {from} > {to}", one.prefix, header.protocol)
        }));
    }
}

#[test]
fn npx4_packets_are_shown_to_who_listens_no_faster_than_the_rule_says_and_all_are_counted() {
    isolated(|| {
        run("ip", "link set lo up");
        let mut kernel = Nft::open().unwrap();
        assert_eq!(counted(&mut kernel, None).unwrap(), [], "there is no table");
        put(&mut kernel, &rows());
        let mut group = Group::open(GROUP).unwrap();
        for addr in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let client = UdpSocket::bind((addr, 0)).unwrap();
            for _ in 0..10 {
                let sent = client.send_to(b"?", (addr, 9));
                assert_eq!(sent.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        }
        let lines = shown(&mut group);
        // One more for each second that this takes.
        assert!((2..9).contains(&lines.len()), "{lines:?}");
        assert_eq!(lines[0], "of the test: 17 127.0.0.1 > 127.0.0.1:9");
        let rule =
            |packets| Counted { chain: chain_name("out"), comment: "dropped".to_owned(), packets };
        assert_eq!(counted(&mut kernel, None).unwrap(), [rule(20)]);
        assert_eq!(counted(&mut kernel, Some("out")).unwrap(), [rule(20)]);
        assert_eq!(counted(&mut kernel, Some("other")).unwrap(), []);
        TcpStream::connect_timeout(&(Ipv6Addr::LOCALHOST, 9).into(), Duration::from_secs(1))
            .unwrap_err();
        assert_eq!(shown(&mut group), ["of the test: 6 ::1 > [::1]:9"]);
    });
}

#[test]
fn npx4_a_group_has_one_listener_and_rules_need_none() {
    isolated(|| {
        let group = Group::open(GROUP).unwrap();
        assert!(matches!(Group::open(GROUP).unwrap_err(), GroupError::Taken(GROUP)));
        drop(group);
        drop(Group::open(GROUP).unwrap());
        run("ip", "link set lo up");
        put(&mut Nft::open().unwrap(), &rows());
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.send_to(b"?", (Ipv4Addr::LOCALHOST, 9)).unwrap_err();
        let text = nft("list table inet seaway");
        assert!(text.contains("counter packets 1 bytes"), "{text}");
    });
}
