//! The monitor hears others and not ourselves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use plan::{Mechanism, Put};
use seaway_kernel::host;
use seaway_kernel::monitor::{Changed, Monitor};
use seaway_kernel::netlink::{Netlink, Request, VethEnd};
use seaway_kernel::netns::{Netns, unshare_thread};
use seaway_kernel::nft::Nft;
use seaway_kernel::place::{Neighbors, Routes, Rules};

fn run(command: &str) {
    let mut words = command.split_whitespace();
    assert!(Command::new(words.next().unwrap()).args(words).status().unwrap().success());
}

/// A namespace with two links, and everything heard so far forgotten.
fn prepared() -> (Monitor, Netlink) {
    unshare_thread().unwrap();
    let mut netlink = Netlink::open().unwrap();
    for command in [
        "ip link set lo up",
        "ip link add up0 type veth peer name up1",
        "ip link set up0 addrgenmode none up",
        "ip link set up1 addrgenmode none up",
        "ip addr add 192.0.2.1/24 dev up0",
        "ip addr add 2001:db8::1/64 dev up0 nodad",
    ] {
        run(command);
    }
    // The kernel finishes in the background: carriers first, then addresses.
    eventually(|| ["up0", "up1"].iter().all(|link| is_running(link)));
    eventually(|| netlink.addrs(None).unwrap().iter().all(|addr| addr.usable));
    let mut monitor = Monitor::open().unwrap();
    while !heard(&mut monitor).is_empty() {}
    (monitor, netlink)
}

/// Waits until `is_so`, for ten seconds at most.
fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to be");
}

fn is_running(link: &str) -> bool {
    let output = Command::new("ip").args(["-o", "link", "show", link]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("state UP")
}

/// Everything heard by now: the kernel queues a change before the call that makes it returns.
fn heard(monitor: &mut Monitor) -> Vec<Changed> {
    std::iter::from_fn(|| monitor.next(Some(Duration::from_millis(20))).unwrap()).collect()
}

fn put<M: Mechanism>(place: &mut M, key: M::Key, row: M::Row) {
    let mut changes = plan::Changes::default();
    changes.puts.insert(key, Put { row, old: None });
    assert!(place.apply(&changes).is_empty());
}

#[test]
fn our_own_routes_rules_and_neighbors_are_not_news_and_their_loss_is() {
    let (mut monitor, _) = prepared();
    let mut routes = Routes::open().unwrap();
    let mut rules = Rules::open().unwrap();
    let mut neighbors = Neighbors::open().unwrap();
    for (dst, via, flag) in [("10.1.0.0/16", "192.0.2.7", "-4"), ("fd01::/64", "2001:db8::7", "-6")]
    {
        let key = plan::RouteKey { table: plan::RouteTable::Main, dst: dst.parse().unwrap() };
        let via = via.parse().unwrap();
        let dev = || "up0".parse().unwrap();
        let row = plan::Route { via: Some(via), dev: Some(dev()), onlink: false, src: None };
        put(&mut routes, key.clone(), row.clone());
        let rule = plan::RuleKey { priority: 8377, from: dst.parse().unwrap(), mark: 0 };
        let main = plan::Rule { table: plan::RouteTable::Main };
        put(&mut rules, rule, main);
        let neighbor = plan::NeighborKey { dev: dev(), addr: via };
        let mac = model::Mac::derive("n");
        put(&mut neighbors, neighbor, plan::Neighbor { mac });
        assert_eq!(heard(&mut monitor), [], "{dst}");

        run(&format!("ip {flag} route del {dst}"));
        run(&format!("ip {flag} rule del from {dst}"));
        run(&format!("ip {flag} neigh del {via} dev up0"));
        let news = heard(&mut monitor);
        for change in [Changed::Routes, Changed::Rules, Changed::Neighbors] {
            assert!(news.contains(&change), "{news:?} lacks {change:?}");
        }

        put(&mut routes, key, row);
        assert_eq!(heard(&mut monitor), []);
        run(&format!("ip {flag} route replace {dst} dev up1"));
        assert!(heard(&mut monitor).contains(&Changed::Routes));
    }
}

#[test]
fn what_others_do_for_themselves_is_not_news() {
    let (mut monitor, _) = prepared();
    for command in [
        "ip route add 198.51.100.7/32 via 192.0.2.9",
        "ip route del 198.51.100.7/32",
        "ip rule add from 198.51.100.0/24 lookup 99",
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:01 dev up0 nud permanent",
        "nft add table inet theirs",
    ] {
        run(command);
    }
    assert_eq!(heard(&mut monitor), []);
}

#[test]
fn others_routes_to_networks_are_news_for_the_way_to_peers() {
    let (mut monitor, _) = prepared();
    for command in [
        "ip route add 198.51.100.0/24 via 192.0.2.9",
        "ip route del 198.51.100.0/24",
        "ip -6 route add 2001:db8:9::/48 dev up0",
        "ip -6 route del 2001:db8:9::/48",
    ] {
        run(command);
        assert!(heard(&mut monitor).contains(&Changed::Routes), "{command}");
    }
}

#[test]
fn links_and_addresses_are_news_for_the_uplinks() {
    let (mut monitor, mut netlink) = prepared();
    run("ip link set up1 mtu 1400");
    assert!(heard(&mut monitor).contains(&Changed::Links));
    run("ip addr add 203.0.113.1/24 dev up1");
    run("ip addr add 10.9.9.9/32 dev lo");
    assert!(heard(&mut monitor).contains(&Changed::Addrs));
    let host = host::observe(&mut netlink).unwrap();
    let uplinks: Vec<_> =
        host.uplinks.iter().map(|link| (link.name.as_str(), link.mtu, link.addrs.len())).collect();
    assert_eq!(uplinks, [("up1", 1400, 1), ("up0", 1500, 2)]);
    netlink.send(Request::delete_link("up0")).unwrap();
    assert_eq!(host::observe(&mut netlink).unwrap(), model::Host::default());
}

#[test]
fn a_change_of_our_table_names_who_did_it() {
    let (mut monitor, _) = prepared();
    let mut own = Nft::open().unwrap();
    let family = plan::nft::TableFamily::Inet;
    put(&mut own, plan::nft::Key::Table(family), plan::nft::Row::Table);
    assert_eq!(heard(&mut monitor), [], "our own transaction");
    run("nft delete table inet seaway");
    assert_eq!(heard(&mut monitor).len(), 1);
    run("nft add table inet seaway");
    run("nft delete table inet seaway");
    let news = heard(&mut monitor);
    assert_eq!(news.len(), 2, "{news:?}");
    for change in news {
        let Changed::Nftables { pid, process } = change else { panic!("{change:?}") };
        assert!(pid != 0 && process == "nft", "{pid} {process}");
    }
}

#[test]
fn an_overflowing_queue_means_anything() {
    let (mut monitor, mut netlink) = prepared();
    let index = netlink.link_index("up0").unwrap();
    let mac = model::Mac::derive("n");
    let neighbors = (0..40_000u32).map(|n| {
        let addr = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        Request::put_neighbor(index, addr.into(), mac, 83)
    });
    netlink.batch(neighbors.collect());
    drop(netlink);
    let first = monitor.next(Some(Duration::from_secs(1))).unwrap();
    let rest = heard(&mut monitor);
    let anything = |change: &Changed| *change == Changed::Anything;
    assert!(first.iter().chain(&rest).any(anything), "{} changes, no loss", rest.len());
}

#[test]
fn a_pods_link_is_told_by_name_unless_it_looks_as_before() {
    let (mut monitor, mut netlink) = prepared();
    let key = model::AttachmentKey { container_id: "a".into(), ifname: "eth0".parse().unwrap() };
    let name = key.host_link();
    let end = |name| VethEnd { name, ..VethEnd::default() };
    let only_told_by_name = |news: &[Changed]| {
        assert!(!news.is_empty());
        assert!(news.iter().all(|change| *change == Changed::PodLink(name.clone())), "{news:?}");
    };
    // The other end is elsewhere, as a pod's is.
    let pod = Netns::fresh().unwrap();
    let far = VethEnd { name: "eth0", netns: Some(&pod), ..VethEnd::default() };
    netlink.send(Request::add_veth(&end(name.as_str()), &far)).unwrap();
    netlink.send(Request::link_up(&name)).unwrap();
    only_told_by_name(&heard(&mut monitor));

    run(&format!("ip link set {name} mtu 1400"));
    only_told_by_name(&heard(&mut monitor));
    run(&format!("ip link set {name} down"));
    only_told_by_name(&heard(&mut monitor));
    run(&format!("ip link set {name} up"));
    assert!(heard(&mut monitor).contains(&Changed::Links), "its routes are gone");
    run(&format!("ip link del {name}"));
    only_told_by_name(&heard(&mut monitor));
}
