//! Specimens of the node's own places.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{IfName, Mac};
use plan::{
    Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Route, RouteKey, RouteTable, Rule, RuleKey,
};
use seaway_kernel::netlink::{LinkChange, Netlink, Request, VethEnd, VxlanParams};
use seaway_kernel::place;

use super::suite::{Key, Rows, Specimen, run};

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A veth pair that is up, for rows to refer to, with addresses of others on it.
pub(crate) fn cable() {
    let mut netlink = Netlink::open().unwrap();
    let end = |name| VethEnd { name, ..VethEnd::default() };
    netlink.send(Request::add_veth(&end("up0"), &end("up1"))).unwrap();
    for name in ["up0", "up1"] {
        let quiet = LinkChange { link_local: Some(false), ..LinkChange::default() };
        netlink.send(Request::set_link(name, &quiet)).unwrap();
        netlink.send(Request::link_up(name)).unwrap();
    }
    for command in [
        "ip addr add 192.0.2.1/24 dev up0",
        "ip addr add 2001:db8::1/64 dev up0 nodad",
        "ip link set up0 alias somebody",
        "ip route add 198.51.100.0/24 via 192.0.2.9",
        "ip route add 198.51.100.0/24 via 192.0.2.9 table 8377",
        "ip -6 route add 2001:db8:9::/48 via 2001:db8::9",
        "ip rule add from 198.51.100.0/24 lookup 8377 priority 8377",
        "ip -6 rule add from 2001:db8:9::/48 lookup 8377 priority 8377",
        "ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev up0 nud permanent",
    ] {
        run(command);
    }
}

fn bridge(mtu: u32) -> (IfName, Link) {
    (name("seaway0"), Link { kind: LinkKind::Bridge, mtu, mac: Mac::derive("bridge/a") })
}

fn tunnel(mtu: u32, vni: u32, local: &str) -> (IfName, Link) {
    let kind = LinkKind::Vxlan { vni, port: 8472, local: ip(local) };
    (name("sw-vxlan"), Link { kind, mtu, mac: Mac::derive("vtep/a") })
}

pub(crate) struct LinksSpecimen;

impl Specimen for LinksSpecimen {
    type Place = place::Links;

    fn prepare(&self) {
        cable();
        run("ip link add br-other type bridge");
        run("ip link add sw-other type veth peer name sw-peer");
    }

    fn open(&self) -> place::Links {
        place::Links::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        vec![
            [bridge(1500), tunnel(1450, 77, "192.0.2.1")].into_iter().collect(),
            [bridge(1450), tunnel(1430, 77, "192.0.2.1")].into_iter().collect(),
            [tunnel(1430, 78, "2001:db8::1")].into_iter().collect(),
        ]
    }

    fn identity(&self, key: &IfName) -> String {
        Netlink::open().unwrap().link_index(key.as_str()).unwrap().to_string()
    }

    fn printed(&self, key: &IfName, row: &Link) -> Vec<(String, String)> {
        let command = format!("ip -d -o link show dev {key}");
        let kind = match &row.kind {
            LinkKind::Bridge => "bridge forward_delay ".to_owned(),
            LinkKind::Vxlan { vni, local, .. } => {
                format!("vxlan id {vni} local {local} srcport 0 0 dstport 8472 nolearning")
            }
        };
        let mac = format!("link/ether {}", row.mac);
        let mtu = format!("mtu {} ", row.mtu);
        let mut lines = settings(key);
        lines.extend([kind, mac, mtu, "UP".to_owned()].map(|text| (command.clone(), text)));
        lines
    }
}

/// What every link of Seaway's is told.
pub(crate) fn settings(link: &IfName) -> Vec<(String, String)> {
    [
        ("ipv4", "forwarding", 1),
        ("ipv4", "rp_filter", 1),
        ("ipv4", "accept_local", 0),
        ("ipv4", "accept_redirects", 0),
        ("ipv4", "send_redirects", 0),
        ("ipv4", "route_localnet", 0),
        ("ipv6", "accept_ra", 0),
        ("ipv6", "accept_redirects", 0),
    ]
    .map(|(family, setting, value)| {
        let key = format!("net/{family}/conf/{link}/{setting}");
        (format!("sysctl {key}"), format!("{} = {value}", key.replace('/', ".")))
    })
    .into()
}

pub(crate) struct AddrsSpecimen;

impl Specimen for AddrsSpecimen {
    type Place = place::Addrs;

    fn prepare(&self) {
        cable();
    }

    fn open(&self) -> place::Addrs {
        place::Addrs::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let table = |nets: &[&str]| -> Rows<Self> {
            nets.iter().map(|text| ((name("up1"), net(text)), ())).collect()
        };
        vec![
            table(&["10.244.1.1/24", "fd00:10:244:1::1/64"]),
            table(&["10.244.1.2/24", "fd00:10:244:1::1/64"]),
            table(&["10.244.1.1/24", "10.244.1.2/24", "10.244.2.1/32"]),
        ]
    }

    fn printed(&self, (dev, net): &Key<Self>, (): &()) -> Vec<(String, String)> {
        vec![(format!("ip -o addr show dev {dev}"), format!("{net} "))]
    }
}

pub(crate) struct NeighborsSpecimen;

impl Specimen for NeighborsSpecimen {
    type Place = place::Neighbors;

    fn prepare(&self) {
        cable();
    }

    fn open(&self) -> place::Neighbors {
        place::Neighbors::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let row = |addr: &str, mac: &str| {
            (NeighborKey { dev: name("up1"), addr: ip(addr) }, Neighbor { mac: Mac::derive(mac) })
        };
        vec![
            [row("10.244.2.0", "b"), row("fd00:10:244:2::", "b")].into_iter().collect(),
            [row("10.244.2.0", "c"), row("10.244.3.0", "c")].into_iter().collect(),
        ]
    }

    fn printed(&self, key: &NeighborKey, row: &Neighbor) -> Vec<(String, String)> {
        vec![("ip neigh show nud permanent".to_owned(), format!("{key} {row}"))]
    }
}

pub(crate) struct FdbSpecimen;

impl FdbSpecimen {
    const PODS: [&'static str; 2] = ["a", "b"];

    fn port(pod: &str) -> IfName {
        key(pod).host_link()
    }
}

fn key(pod: &str) -> model::AttachmentKey {
    model::AttachmentKey { container_id: pod.into(), ifname: name("eth0") }
}

impl Specimen for FdbSpecimen {
    type Place = place::ForwardingEntries;

    fn prepare(&self) {
        cable();
        let mut netlink = Netlink::open().unwrap();
        run("ip link add seaway0 type bridge");
        for pod in Self::PODS {
            let port = Self::port(pod);
            run(&format!("ip link add {port} type veth peer name peer-{pod}"));
            run(&format!("ip link set {port} master seaway0"));
            let alias = format!("seaway {pod} eth0 /run/netns/{pod}");
            let change = LinkChange { alias: Some(&alias), ..LinkChange::default() };
            netlink.send(Request::set_link(&port, &change)).unwrap();
        }
        let params = VxlanParams { vni: 77, port: 8472, local: ip("192.0.2.1") };
        netlink.send(Request::add_vxlan("sw-vxlan", None, &params)).unwrap();
        run("ip link set sw-vxlan alias seaway");
        run("ip link add other type vxlan id 9 dstport 4789 local 192.0.2.1");
        run("bridge fdb add 02:00:00:00:00:09 dev other dst 192.0.2.9");
        run("ip link set up1 master seaway0");
        run("bridge fdb add 02:00:00:00:00:08 dev up1 master static");
    }

    fn open(&self) -> place::ForwardingEntries {
        place::ForwardingEntries::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let vtep = |node: &str, dst: &str| {
            let key = FdbKey { dev: name("sw-vxlan"), mac: Mac::derive(node) };
            (key, Fdb::Vtep(ip(dst)))
        };
        let port = |pod: &str, mac: &str| {
            (FdbKey { dev: Self::port(pod), mac: Mac::derive(mac) }, Fdb::Port)
        };
        vec![
            [vtep("b", "192.0.2.2"), vtep("c", "192.0.2.3"), port("a", "a")].into_iter().collect(),
            [vtep("b", "192.0.2.9"), port("a", "a"), port("b", "b")].into_iter().collect(),
        ]
    }

    fn printed(&self, key: &FdbKey, row: &Fdb) -> Vec<(String, String)> {
        let line = match row {
            Fdb::Vtep(dst) => format!("{} dst {dst} self permanent", key.mac),
            Fdb::Port => format!("{} master seaway0 static", key.mac),
        };
        vec![(format!("bridge fdb show dev {}", key.dev), line)]
    }
}

pub(crate) struct RoutesSpecimen;

fn route(dst: &str, table: RouteTable, via: Option<&str>, dev: Option<&str>) -> (RouteKey, Route) {
    let row = Route {
        via: via.map(ip),
        dev: dev.map(name),
        onlink: via.is_some_and(|via| via.contains("244")),
        src: None,
    };
    (RouteKey { table, dst: net(dst) }, row)
}

impl Specimen for RoutesSpecimen {
    type Place = place::Routes;

    fn prepare(&self) {
        cable();
    }

    fn open(&self) -> place::Routes {
        place::Routes::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let (main, overlay) = (RouteTable::Main, RouteTable::Overlay);
        let (local, lo) = (RouteTable::Local, Some("lo"));
        let (up0, up1) = (Some("up0"), Some("up1"));
        let with_src =
            |(key, route): (RouteKey, Route), src| (key, Route { src: Some(ip(src)), ..route });
        vec![
            [
                with_src(route("10.244.2.0/24", main, Some("10.244.2.0"), up0), "192.0.2.1"),
                route("10.244.1.5/32", main, None, up1),
                route("192.0.2.3/32", overlay, Some("10.244.3.0"), up0),
                with_src(
                    route("fd00:10:244:2::/64", main, Some("2001:db8::2"), up0),
                    "2001:db8::1",
                ),
                route("fd00:10:244:1::5/128", main, None, up1),
                route("fd00:10:244:8::/64", main, None, None),
                route("10.244.0.0/16", main, None, None),
                with_src(route("10.96.0.10/32", local, None, lo), "192.0.2.1"),
                with_src(route("fd00:96::a/128", local, None, lo), "2001:db8::1"),
                route("169.254.20.10/32", local, None, lo),
            ]
            .into_iter()
            .collect(),
            [
                route("10.244.2.0/24", main, Some("192.0.2.2"), up0),
                route("10.244.1.5/32", main, None, up0),
                route("10.244.0.0/16", main, None, up0),
                route("fd00:10:244:2::/64", main, Some("fd00:10:244:2::"), up0),
                route("fd00:10:244:8::/64", main, None, up1),
                route("2001:db8::3/128", overlay, Some("fd00:10:244:3::"), up0),
                route("10.96.0.10/32", local, None, lo),
                route("fd00:96::a/128", local, None, lo),
            ]
            .into_iter()
            .collect(),
        ]
    }

    fn printed(&self, key: &RouteKey, row: &Route) -> Vec<(String, String)> {
        let family = if key.dst.addr().is_ipv4() { "-4" } else { "-6" };
        let table = key.table.id();
        let command = format!("ip {family} route show table {table} proto 83");
        // ip leaves out what it was asked for, and a host prefix's length; IPv6 knows no scope.
        let mut row = row.to_string();
        if family == "-6" {
            row = row.replace(" scope host", "");
        }
        let dst = key.dst.to_string();
        let dst = dst.trim_end_matches("/32").trim_end_matches("/128").to_owned();
        let lines = match row.strip_suffix(" scope link") {
            Some(dev) if family == "-6" => vec![format!("{dst} {dev}")],
            _ if row == "unreachable" => vec![format!("unreachable {dst}")],
            _ => match row.split_once(" src ") {
                Some((path, src)) => vec![format!("{dst} {path}"), format!("src {src}")],
                None if row.ends_with(" onlink") => {
                    vec![format!("{dst} {}", row.trim_end_matches(" onlink")), "onlink".to_owned()]
                }
                None => vec![format!("{dst} {row}")],
            },
        };
        lines
            .into_iter()
            .flat_map(|line| line.split(" onlink").map(str::to_owned).collect::<Vec<_>>())
            .map(|line| (command.clone(), line))
            .collect()
    }
}

pub(crate) struct RulesSpecimen;

impl Specimen for RulesSpecimen {
    type Place = place::Rules;

    fn prepare(&self) {
        cable();
    }

    fn open(&self) -> place::Rules {
        place::Rules::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let marked = |mark, from: &str, table| {
            (RuleKey { priority: 8377, from: net(from), mark }, Rule { table })
        };
        let rule = |from: &str, table| marked(0, from, table);
        vec![
            [
                rule("10.244.1.0/24", RouteTable::Overlay),
                rule("fd00:10:244:1::/64", RouteTable::Overlay),
                marked(0x0100_0000, "0.0.0.0/0", RouteTable::Main),
                marked(0x0100_0000, "::/0", RouteTable::Main),
                marked(2, "10.244.7.0/24", RouteTable::Overlay),
            ]
            .into_iter()
            .collect(),
            [
                rule("10.244.1.0/24", RouteTable::Main),
                rule("10.244.9.0/24", RouteTable::Overlay),
                marked(0x0100_0000, "0.0.0.0/0", RouteTable::Overlay),
                marked(2, "::/0", RouteTable::Main),
            ]
            .into_iter()
            .collect(),
        ]
    }

    fn printed(&self, key: &RuleKey, row: &Rule) -> Vec<(String, String)> {
        let family = if key.from.addr().is_ipv4() { "-4" } else { "-6" };
        // ip has a word for any address of the family it was asked for.
        let key = key.to_string().replace("0.0.0.0/0", "all").replace("::/0", "all");
        vec![(format!("ip {family} rule"), format!("{key} {row}"))]
    }
}
