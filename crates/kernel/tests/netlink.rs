//! The rtnetlink socket against a real kernel: what it writes, `ip` and `bridge` print.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use model::Mac;
use seaway_kernel::netlink::{
    LinkChange, LinkKindRow, Netlink, PortFlags, Request, RouteSpec, RuleSpec, VethEnd, VxlanParams,
};
use seaway_kernel::netns::{Netns, unshare_thread};

const MARK: u8 = plan::PROTOCOL;

/// What a command of iproute2 prints in this thread's namespace, one line per object.
fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A socket in a namespace of this test's own, with loopback up.
fn netlink() -> Netlink {
    unshare_thread().unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.send(Request::link_up("lo")).unwrap();
    netlink
}

fn veth(netlink: &mut Netlink, near: &str, far: &str) -> u32 {
    let end = |name| VethEnd { name, ..VethEnd::default() };
    netlink.send(Request::add_veth(&end(near), &end(far))).unwrap();
    for name in [near, far] {
        netlink.send(Request::link_up(name)).unwrap();
    }
    netlink.link_index(near).unwrap()
}

#[test]
fn a_veth_pair_is_made_with_its_far_end_in_another_namespace() {
    let mut netlink = netlink();
    let blue = Netns::fresh().unwrap();
    let (near, far) = (Mac::derive("near"), Mac::derive("far"));
    let pair = Request::add_veth(
        &VethEnd { name: "cable0", mac: Some(near), netns: None, mtu: Some(1400) },
        &VethEnd { name: "eth0", mac: Some(far), netns: Some(&blue), mtu: Some(1400) },
    );
    netlink.send(pair.clone()).unwrap();
    let here = netlink.link("cable0").unwrap().unwrap();
    let mut inside = Netlink::open_in(&blue).unwrap();
    let there = inside.link("eth0").unwrap().unwrap();
    assert_eq!((here.mac, here.mtu, here.kind), (Some(near), 1400, LinkKindRow::Veth));
    assert_eq!((there.mac, there.mtu, there.up), (Some(far), 1400, false));
    assert_eq!((here.peer, there.peer), (Some(there.index), Some(here.index)));
    assert!(here.peer_elsewhere);

    let error = netlink.send(pair).unwrap_err();
    assert!(error.is_exists(), "{error:?}");
    assert!(error.to_string().starts_with("add link cable0 type veth peer eth0 in netns fd"));
}

#[test]
fn refusals_carry_the_kernels_own_words() {
    let mut netlink = netlink();
    let params = VxlanParams { vni: 1 << 24, port: 8472, local: "192.0.2.1".parse().unwrap() };
    let error = netlink.send(Request::add_vxlan("v", None, &params)).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("os error") && cause.contains(": "), "{cause}");
    assert!(netlink.send(Request::delete_link("none")).unwrap_err().is_gone());
    assert_eq!(netlink.link("none").unwrap(), None);
}

#[test]
fn one_refusal_in_a_batch_does_not_stop_the_others() {
    let mut netlink = netlink();
    let requests = vec![
        Request::add_bridge("br0", None),
        Request::add_bridge("br0", None),
        Request::add_bridge("br1", None),
    ];
    let answers = netlink.batch(requests);
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(netlink.link("br1").unwrap().is_some());
}

#[test]
fn bridges_and_their_ports_are_as_asked() {
    let mut netlink = netlink();
    let port = veth(&mut netlink, "p0", "p1");
    netlink.send(Request::add_bridge("br0", Some(Mac::derive("bridge")))).unwrap();
    let bridge = netlink.link_index("br0").unwrap();
    let change =
        LinkChange { master: Some(bridge), alias: Some("a port"), ..LinkChange::default() };
    netlink.send(Request::set_link(port, &change)).unwrap();
    let flags = PortFlags { hairpin: true, learning: false, flood: false };
    netlink.send(Request::set_port(port, flags)).unwrap();
    netlink.send(Request::put_port_entry(port, Mac([2, 0, 0, 0, 0, 7]))).unwrap();

    let row = netlink.link(port).unwrap().unwrap();
    assert_eq!((row.master, row.port), (Some(bridge), Some(flags)));
    assert_eq!(row.alias.as_deref(), Some("a port"));
    let entries = netlink.fdb().unwrap();
    assert_eq!(entries.iter().filter(|row| row.is_static).count(), 1, "{entries:?}");
    assert!(run("bridge fdb show dev p0").contains("02:00:00:00:00:07 master br0 static"));
    netlink.send(Request::delete_port_entry(port, Mac([2, 0, 0, 0, 0, 7]))).unwrap();
    assert!(!run("bridge fdb show dev p0").contains("static"));
    let out = LinkChange { master: Some(0), ..LinkChange::default() };
    netlink.send(Request::set_link(port, &out)).unwrap();
    assert_eq!(netlink.link(port).unwrap().unwrap().master, None);
}

#[test]
fn vxlan_devices_hold_one_vtep_per_address() {
    let mut netlink = netlink();
    for (name, local, peer) in
        [("v4", "192.0.2.1", "192.0.2.2"), ("v6", "2001:db8::1", "2001:db8::2")]
    {
        let params = VxlanParams { vni: 77, port: 8472, local: local.parse().unwrap() };
        netlink.send(Request::add_vxlan(name, None, &params)).unwrap();
        let row = netlink.link(name).unwrap().unwrap();
        assert_eq!(row.kind, LinkKindRow::Vxlan(Some(params)));
        let mac = Mac::derive(peer);
        netlink.send(Request::put_vtep(row.index, mac, local.parse().unwrap())).unwrap();
        netlink.send(Request::put_vtep(row.index, mac, peer.parse().unwrap())).unwrap();
        let entries = netlink.fdb().unwrap();
        let entry = entries.iter().find(|entry| entry.mac == mac).unwrap();
        assert_eq!((entry.dst, entry.is_static), (Some(peer.parse().unwrap()), true));
        assert!(run(&format!("bridge fdb show dev {name}")).contains(&format!("{mac} dst {peer}")));
        netlink.send(Request::delete_link(name)).unwrap();
    }
}

#[test]
fn addresses_are_usable_at_once() {
    let mut netlink = netlink();
    let index = veth(&mut netlink, "a0", "a1");
    for text in ["10.0.0.1/24", "2001:db8::1/64"] {
        let net = text.parse().unwrap();
        netlink.send(Request::add_addr(index, net)).unwrap();
        netlink.send(Request::add_addr(index, net)).unwrap();
        let rows = netlink.addrs(Some(index)).unwrap();
        let row = rows.iter().find(|row| row.net == net).unwrap();
        assert!(row.global && row.usable, "{row:?}");
        assert!(run("ip -o addr show dev a0").contains(text));
        netlink.send(Request::delete_addr(index, net)).unwrap();
        assert!(netlink.send(Request::delete_addr(index, net)).unwrap_err().is_gone());
    }
}

#[test]
fn routes_rules_and_neighbors_carry_their_owners_mark() {
    let mut netlink = netlink();
    let index = veth(&mut netlink, "r0", "r1");
    for (net, dst, via) in [
        ("10.0.0.1/24", "10.9.0.0/16", "10.0.0.2"),
        ("2001:db8::1/64", "2001:db8:9::/48", "2001:db8::2"),
    ] {
        let (dst, via) = (dst.parse().unwrap(), via.parse().unwrap());
        netlink.send(Request::add_addr(index, net.parse().unwrap())).unwrap();
        let plain = RouteSpec::new(dst, Some(via), Some(index));
        let route = RouteSpec { protocol: MARK, table: 8377, onlink: true, ..plain };
        netlink.send(Request::add_route(&route)).unwrap();
        assert!(netlink.send(Request::add_route(&route)).unwrap_err().is_exists());
        netlink.send(Request::replace_route(&route)).unwrap();
        let rows = netlink.routes(Some(MARK), None).unwrap();
        assert_eq!(rows.iter().map(|row| &row.spec).collect::<Vec<_>>(), [&route]);
        netlink.send(Request::delete_route(8377, dst, MARK)).unwrap();
        assert_eq!(netlink.routes(Some(MARK), None).unwrap(), []);

        let rule = RuleSpec { priority: 8377, from: dst, mark: 0, table: 8377, protocol: MARK };
        netlink.send(Request::add_rule(&rule)).unwrap();
        assert!(netlink.send(Request::add_rule(&rule)).unwrap_err().is_exists());
        let rules = netlink.rules().unwrap();
        assert!(rules.iter().any(|row| row.spec == rule && row.plain), "{rules:?}");
        netlink.send(Request::delete_rule(&rule)).unwrap();

        let mac = Mac::derive("neighbor");
        netlink.send(Request::put_neighbor(index, via, mac, MARK)).unwrap();
        let rows = netlink.neighbors(Some(index)).unwrap();
        let row = rows.iter().find(|row| row.addr == via).unwrap();
        assert_eq!((row.mac, row.permanent, row.protocol), (Some(mac), true, MARK));
        netlink.send(Request::delete_neighbor(index, via)).unwrap();
    }
}

#[test]
fn a_namespace_goes_away_with_its_last_holder() {
    let inode = {
        let fresh = Netns::fresh().unwrap();
        Netlink::open_in(&fresh).unwrap().send(Request::link_up("lo")).unwrap();
        fresh.inode().unwrap()
    };
    assert_ne!(Netns::current().unwrap().inode().unwrap(), inode);
}
