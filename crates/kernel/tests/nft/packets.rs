//! The walk against the kernel: the same rules do the same to the same packets.
//!
//! client (eth0 10.1.0.2) ── c0 router s0 ── server (eth0 10.2.0.2)

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use fixtures::hosts::{Cable, Notice, hear, run, serve};
use ipnet::IpNet;
use model::Mac;
use plan::nft::{
    ChainKind, Connection, CtState, CtStatus, Data, DataType, Field, HookPoint, Key, Nat,
    NatSource, Network, Op, Outcome, Packet, REPLY, RejectWith, Rewrite, Row, Rule, Set, Statement,
    Surroundings, Transport, Type, Value, Verdict, fib_type, walk,
};
use seaway_kernel::netns::Netns;
use seaway_kernel::nft::Nft;

use crate::shapes::{base, chain_name, equals, name, prefix, set_name};
use crate::{INET, Rows, isolated, put};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2));
const TO_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
const TO_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));
/// Hardware addresses of the router's ends of both cables, and of the ends in namespaces.
const HERE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THERE: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Ports that the server and the router answer at.
const OPEN: [u16; 2] = [7000, 7001];

/// What the walk says the client notices of the first packet of a flow.
fn predict(rows: &Rows, protocol: u8, to: SocketAddr) -> Notice {
    let local = BTreeSet::from([TO_CLIENT, TO_SERVER]);
    let links = ["10.1.0.0/24", "10.2.0.0/24"].map(|net| net.parse().unwrap()).into();
    let surroundings = Surroundings { local, links, ..Surroundings::default() };
    let mut flow =
        Flow { src: CLIENT, dst: to, mark: 0, connection_mark: 0, status: BTreeSet::new() };
    let at = |flow: &mut Flow, point| flow.pass(rows, protocol, point, &surroundings);
    let mut points = vec![HookPoint::Prerouting];
    if let Some(notice) = at(&mut flow, points[0]) {
        return notice;
    }
    let is_local = surroundings.fib_type(flow.dst.ip()) == fib_type::LOCAL;
    points = if is_local {
        vec![HookPoint::Input]
    } else {
        vec![HookPoint::Forward, HookPoint::Postrouting]
    };
    let stopped = points.into_iter().find_map(|point| at(&mut flow, point));
    let port = flow.dst.port();
    stopped.unwrap_or(if OPEN.contains(&port) {
        Notice::Answer { by: flow.dst, saw: flow.src }
    } else {
        Notice::Refused
    })
}

struct Flow {
    src: IpAddr,
    dst: SocketAddr,
    mark: u32,
    connection_mark: u32,
    status: BTreeSet<CtStatus>,
}

impl Flow {
    /// Takes the packet through one hook; what the client notices if it ends there.
    fn pass(
        &mut self,
        rows: &Rows,
        protocol: u8,
        point: HookPoint,
        surroundings: &Surroundings,
    ) -> Option<Notice> {
        let leaves = matches!(point, HookPoint::Forward | HookPoint::Postrouting);
        let transport = Transport::Ports { protocol, sport: 0, dport: self.dst.port() };
        let packet = Packet {
            iif: Some("c0".parse().unwrap()),
            oif: leaves.then(|| "s0".parse().unwrap()),
            ether: Some((THERE, HERE)),
            network: Network::Ip { src: self.src, dst: self.dst.ip(), transport },
            ct_state: CtState::New,
            ct_status: self.status.clone(),
            is_reply: false,
            connection: Some(Connection {
                client: CLIENT,
                server: self.dst,
                mark: self.connection_mark,
            }),
            mark: self.mark,
            priority: 0,
        };
        let walk = walk(rows, INET, point, &packet, surroundings);
        self.mark = walk.mark;
        self.connection_mark = walk.connection_mark.unwrap_or_default();
        if let Some(rewrite) = walk.rewrite {
            match rewrite {
                Rewrite::To { side: Nat::Dnat, addr, port } => {
                    self.dst = SocketAddr::new(addr, port);
                    self.status.insert(CtStatus::Dnat);
                }
                Rewrite::To { side: Nat::Snat, addr, .. } => self.src = addr,
                Rewrite::Masquerade { .. } => self.src = TO_SERVER,
            }
        }
        match walk.outcome {
            Outcome::Accept => None,
            Outcome::Drop => Some(Notice::Silence),
            Outcome::Reject(_) => Some(Notice::Refused),
        }
    }
}

fn rule(statements: Vec<Statement>) -> Rule {
    Rule { statements, comment: None }
}

fn drop_it() -> Statement {
    Statement::Verdict(Verdict::Drop)
}

fn udp() -> Statement {
    equals(Field::L4proto, Value::Number(17))
}

fn tcp() -> Statement {
    equals(Field::L4proto, Value::Number(6))
}

fn port(port: u16) -> Statement {
    equals(Field::Dport, Value::Port(port))
}

/// Lets what comes back pass.
fn answers() -> Rule {
    let states = [CtState::Established, CtState::Related].into();
    rule(vec![Statement::CtState(states), Statement::Verdict(Verdict::Accept)])
}

/// A table with these base chains, all in their usual places.
fn table(chains: Vec<(HookPoint, ChainKind, Vec<Rule>)>) -> Rows {
    let mut rows = Rows::default();
    rows.insert(Key::Table(INET), Row::Table);
    for (point, kind, rules) in chains {
        let key = Key::Chain(INET, chain_name(&format!("{kind}-{point}")));
        rows.insert(key, base(kind, point, 0, rules));
    }
    rows
}

fn with(
    mut rows: Rows,
    set: &str,
    declared: Set,
    elements: Vec<(Vec<Value>, Option<Data>)>,
) -> Rows {
    rows.insert(Key::Set(INET, set_name(set)), Row::Set(declared.into()));
    for (key, data) in elements {
        rows.insert(Key::Element(INET, set_name(set), key.into()), Row::Element(data));
    }
    rows
}

fn filters() -> Rows {
    let pods = Statement::Lookup(vec![Field::Iifname, Field::Ip4Saddr], Op::Eq, set_name("pods"));
    let declared = Set {
        key: vec![Type::IfName, Type::Ipv4Addr],
        data: None,
        interval: false,
        size: None,
        dynamic: None,
    };
    let IpAddr::V4(client) = CLIENT else { panic!("CLIENT is IPv4") };
    let filter = ChainKind::Filter;
    let reply = equals(Field::CtDirection, Value::Number(REPLY));
    let forward = vec![
        rule(vec![reply, Statement::Verdict(Verdict::Accept)]),
        rule(vec![tcp(), port(7001), Statement::Reject(RejectWith::TcpReset)]),
        rule(vec![udp(), port(7001), pods, Statement::Reject(RejectWith::PortUnreachable)]),
        rule(vec![equals(Field::Iifname, name("c*")), udp(), port(7000), Statement::SetMark(8)]),
        rule(vec![equals(Field::Mark, Value::Mark(8)), Statement::SetMarkBits(1)]),
        rule(vec![equals(Field::Mark, Value::Mark(9)), Statement::Counter, drop_it()]),
    ];
    let input = vec![
        rule(vec![equals(Field::Ip4Saddr, prefix("10.1.0.0/25")), tcp(), drop_it()]),
        rule(vec![Statement::Match(Field::Oifname, Op::Ne, name("s0")), port(7001), drop_it()]),
    ];
    let rows =
        table(vec![(HookPoint::Forward, filter, forward), (HookPoint::Input, filter, input)]);
    with(rows, "pods", declared, vec![(vec![name("c0"), Value::Ipv4(client)], None)])
}

/// Only a pod's own addresses may come from its link: the client is such a pod, or is not.
fn spoofing(mac: Mac) -> Rows {
    let key = vec![Field::Iifname, Field::EtherSaddr, Field::Ip4Saddr];
    let IpAddr::V4(client) = CLIENT else { panic!("CLIENT is IPv4") };
    let types = vec![Type::IfName, Type::EtherAddr, Type::Ipv4Addr];
    let pod = vec![name("c0"), Value::Ether(mac), Value::Ipv4(client)];
    let others = Statement::Lookup(key, Op::Ne, set_name("pods"));
    let rules = vec![rule(vec![equals(Field::Iifname, name("c*")), others, drop_it()])];
    let rows = table(vec![(HookPoint::Prerouting, ChainKind::Filter, rules)]);
    let declared = Set { key: types, data: None, interval: false, size: None, dynamic: None };
    with(rows, "pods", declared, vec![(pod, None)])
}

fn verdict_maps() -> Rows {
    let vmap = Statement::Vmap(vec![Field::L4proto, Field::Dport], set_name("ports"));
    let declared = Set {
        key: vec![Type::InetProto, Type::InetService],
        data: Some(DataType::Verdict),
        interval: false,
        size: None,
        dynamic: None,
    };
    let to = |protocol, port, verdict| {
        (vec![Value::Number(protocol), Value::Port(port)], Some(Data::Verdict(verdict)))
    };
    let elements = vec![
        to(6, 7000, Verdict::Goto(chain_name("away"))),
        to(6, 7001, Verdict::Jump(chain_name("back"))),
        to(17, 7000, Verdict::Return),
    ];
    let forward = vec![answers(), rule(vec![vmap]), rule(vec![drop_it()])];
    let mut rows = table(vec![(HookPoint::Forward, ChainKind::Filter, forward)]);
    for (chain, rules) in [
        ("away", vec![rule(vec![Statement::Counter])]),
        ("back", vec![rule(vec![Statement::Verdict(Verdict::Return)]), rule(vec![drop_it()])]),
    ] {
        let chain_row = plan::nft::Chain { hook: None, rules };
        rows.insert(Key::Chain(INET, chain_name(chain)), Row::Chain(chain_row));
    }
    with(rows, "ports", declared, elements)
}

/// A port of the router leads to the server, as `hostPort` does, and what leaves is masqueraded.
fn translation() -> Rows {
    let key = vec![Field::L4proto, Field::Dport];
    let source = NatSource::Map { ipv6: false, fields: key, map: set_name("ports") };
    let local = equals(Field::FibDaddrType, Value::Number(fib_type::LOCAL));
    let declared = Set {
        key: vec![Type::InetProto, Type::InetService],
        data: Some(DataType::Values(vec![Type::Ipv4Addr, Type::InetService])),
        interval: false,
        size: None,
        dynamic: None,
    };
    let IpAddr::V4(server) = SERVER else { panic!("SERVER is IPv4") };
    let to = |protocol, port| {
        let backend = Data::Values([Value::Ipv4(server), Value::Port(7000)].into());
        (vec![Value::Number(protocol), Value::Port(port)], Some(backend))
    };
    let nat = ChainKind::Nat;
    let pre = vec![rule(vec![local, Statement::Nat(Nat::Dnat, source)])];
    let post = vec![rule(vec![
        Statement::Lookup(vec![Field::Ip4Daddr], Op::Eq, set_name("outside")),
        tcp(),
        Statement::Masquerade { fully_random: true },
    ])];
    let forward = vec![rule(vec![Statement::CtStatus([CtStatus::Dnat].into()), udp(), drop_it()])];
    let rows = table(vec![
        (HookPoint::Prerouting, nat, pre),
        (HookPoint::Postrouting, nat, post),
        (HookPoint::Forward, ChainKind::Filter, forward),
    ]);
    let outside =
        Set { key: vec![Type::Ipv4Addr], data: None, interval: true, size: None, dynamic: None };
    let rows = with(rows, "outside", outside, vec![(vec![prefix("10.2.0.0/24")], None)]);
    with(rows, "ports", declared, vec![to(6, 8080), to(17, 8080), to(6, 7001)])
}

/// Who speaks with whom, whatever was rewritten: the port is the server's own, and what one chain writes on
/// a connection another one reads.
fn connections() -> Rows {
    let mut rows = translation();
    let IpAddr::V4(server) = SERVER else { panic!("SERVER is IPv4") };
    let to_server = || vec![Field::Client4, Field::Server4, Field::L4proto, Field::ServerPort];
    let mark = |value| Statement::SetConnectionMark { mask: 0xff00, value };
    let known = |op| Statement::Lookup(to_server(), op, set_name("known"));
    let forward = vec![
        answers(),
        rule(vec![tcp(), Statement::Within(Field::ServerPort, 6999, 7000), mark(0x500)]),
        rule(vec![udp(), known(Op::Eq), mark(0x600)]),
        rule(vec![udp(), known(Op::Ne), Statement::SetConnectionMark { mask: 1, value: 1 }]),
        rule(vec![Statement::ConnectionMarkIn(0xff01, set_name("cut")), drop_it()]),
    ];
    let key = Key::Chain(INET, chain_name("forward"));
    rows.insert(key, base(ChainKind::Filter, HookPoint::Forward, 5, forward));
    let IpAddr::V4(client) = CLIENT else { panic!("CLIENT is IPv4") };
    let types = vec![Type::Ipv4Addr, Type::Ipv4Addr, Type::InetProto, Type::InetService];
    let tuple =
        vec![Value::Ipv4(client), Value::Ipv4(server), Value::Number(17), Value::Port(7001)];
    let known = Set { key: types, data: None, interval: false, size: None, dynamic: None };
    let rows = with(rows, "known", known, vec![(tuple, None)]);
    let cut = Set { key: vec![Type::Mark], data: None, interval: false, size: None, dynamic: None };
    with(rows, "cut", cut, [0x500, 1].map(|mark| (vec![Value::Mark(mark)], None)).into())
}

#[test]
fn the_walk_says_what_the_kernel_does() {
    isolated(|| {
        let (client, server) = (Netns::fresh().unwrap(), Netns::fresh().unwrap());
        run("ip link set lo up");
        run("sysctl -qw net.ipv4.ip_forward=1");
        for (netns, link, here, there) in
            [(&client, "c0", TO_CLIENT, CLIENT), (&server, "s0", TO_SERVER, SERVER)]
        {
            let ends = [here, there].map(|addr| vec![IpNet::new(addr, 24).unwrap()]);
            let [here, there] = ends;
            Cable { link, here, there, macs: Some([HERE, THERE]) }.plug(netns);
        }
        server.run(|| serve(&[SERVER], &OPEN)).unwrap();
        serve(&[TO_CLIENT, TO_SERVER], &OPEN);
        let mut kernel = Nft::open().unwrap();
        let tables = [
            ("no rules", Rows::default()),
            ("filters", filters()),
            ("its own address", spoofing(THERE)),
            ("another's address", spoofing(HERE)),
            ("verdict maps", verdict_maps()),
            ("translation", translation()),
            ("connections", connections()),
        ];
        for (title, rows) in tables {
            put(&mut kernel, &rows);
            thread::scope(|scope| {
                for (protocol, addr, port) in probes() {
                    let (client, rows, to) = (&client, &rows, SocketAddr::new(addr, port));
                    scope.spawn(move || {
                        let predicted = predict(rows, protocol, to);
                        let is_expected = |notice| notice == predicted;
                        let noticed = client.run(|| hear(protocol, to, is_expected)).unwrap();
                        assert_eq!(predicted, noticed, "{title}: protocol {protocol} to {to}");
                    });
                }
            });
        }
    });
}

/// Protocol, address and port of each probe: the server and both addresses of the router.
fn probes() -> Vec<(u8, IpAddr, u16)> {
    let mut probes = Vec::new();
    for protocol in [6, 17] {
        for addr in [SERVER, TO_CLIENT, TO_SERVER] {
            probes.extend([7000, 7001, 8080].map(|port| (protocol, addr, port)));
        }
    }
    probes
}
