//! Measures the places against this machine's kernel, in namespaces of its own (needs root):
//! `cargo run --release -p seaway-kernel --example measure`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use model::{AttachmentKey, IfName, Mac};
use plan::nft::{self, Data, DataType, Set, SetName, TableFamily, Type, Value};
use plan::{
    Changes, Mechanism, PodLink, Put, Route, RouteKey, RouteTable, SysctlKey, Table, converge,
};
use seaway_kernel::netlink::{Netlink, Request, VethEnd};
use seaway_kernel::netns::{Netns, unshare_thread};
use seaway_kernel::nft::Nft;
use seaway_kernel::place::{Pods, Routes, Sysctls};

const PODS: usize = 200;
const ROUTES: u32 = 5000;
const ELEMENTS: u32 = 10_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    unshare_thread()?;
    Netlink::open()?.send(Request::link_up("lo"))?;
    pods()?;
    routes()?;
    elements()?;
    settings()
}

/// Puts pods one by one, as ADDs arrive, then observes and removes them together.
fn pods() -> Outcome<()> {
    let namespaces = (0..PODS).map(|_| Netns::fresh()).collect::<Result<Vec<_>, _>>()?;
    let mut place = Pods::open()?;
    let (mut want, mut took) = (Table::default(), Vec::new());
    for (number, netns) in namespaces.iter().enumerate() {
        let (key, row) = pod(number, netns)?;
        let mut changes = Changes::default();
        changes.puts.insert(key.clone(), Put { row: row.clone(), old: None });
        let start = Instant::now();
        applied(&mut place, &changes)?;
        took.push(start.elapsed());
        want.insert(key, row);
    }
    took.sort_unstable();
    println!("pod put: p50 {:?}, p99 {:?}", took[PODS / 2], took[PODS * 99 / 100]);
    let seventh = [key(7)?.host_link()].into();
    println!("observe one of {PODS} pods: {:?}", timed(|| place.observe_only(&seventh))?);
    println!("observe {PODS} pods: {:?}", timed(|| place.observe())?);
    println!("converge {PODS} pods, nothing to do: {:?}", timed(|| settle(&mut place, &want))?);
    println!("remove {PODS} pods: {:?}", timed(|| settle(&mut place, &Table::default()))?);
    Ok(())
}

fn key(number: usize) -> Outcome<AttachmentKey> {
    let container_id = format!("{number:064x}").into();
    Ok(AttachmentKey { container_id, ifname: "eth0".parse()? })
}

fn pod(number: usize, netns: &Netns) -> Outcome<(AttachmentKey, PodLink)> {
    let key = key(number)?;
    let host_mac = Mac::derive(&format!("host/{key}"));
    let (high, low) = (number / 250, number % 250 + 2);
    let row = PodLink {
        netns: format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd()).into(),
        mtu: 1450,
        host_mac,
        mac: Mac::derive(&format!("pod/{key}")),
        addrs: vec![
            format!("10.244.{high}.{low}/32").parse()?,
            format!("fd00:10:244::{high:x}:{low:x}/128").parse()?,
        ],
        gateways: vec!["169.254.1.1".parse()?, "fe80::1".parse()?],
        gateway_mac: Some(host_mac),
        master: None,
    };
    Ok((key, row))
}

/// Routes of a large cluster, in one pass from nothing.
fn routes() -> Outcome<()> {
    let mut netlink = Netlink::open()?;
    let end = |name| VethEnd { name, ..VethEnd::default() };
    netlink.send(Request::add_veth(&end("up0"), &end("up1")))?;
    netlink.send(Request::link_up("up0"))?;
    netlink.send(Request::link_up("up1"))?;
    let dev: IfName = "up0".parse()?;
    let row = |number: u32| -> Outcome<(RouteKey, Route)> {
        let dst = format!("10.{}.{}.0/24", number / 250, number % 250).parse()?;
        let via = Some(std::net::Ipv4Addr::from(0x0a80_0000 + number).into());
        let route = Route { via, dev: Some(dev.clone()), onlink: true, src: None };
        Ok((RouteKey { table: RouteTable::Main, dst }, route))
    };
    let want = (0..ROUTES).map(row).collect::<Outcome<Table<_, _>>>()?;
    let mut place = Routes::open()?;
    println!("converge {ROUTES} routes: {:?}", timed(|| settle(&mut place, &want))?);
    println!("the same again: {:?}", timed(|| settle(&mut place, &want))?);
    println!("remove them: {:?}", timed(|| settle(&mut place, &Table::default()))?);
    Ok(())
}

/// A map from address, protocol and port to address and port, as Services need: whole, then one
/// element more and one less.
fn elements() -> Outcome<()> {
    let (proto, port) = (Type::InetProto, Type::InetService);
    let map = SetName("ports".into());
    let declared = Set {
        key: vec![Type::Ipv4Addr, proto, port],
        data: Some(DataType::Values(vec![Type::Ipv4Addr, port])),
        interval: false,
        size: None,
        dynamic: None,
    };
    let element = |number: u32| {
        let [addr, to] = [0x0a60_0000, 0x0af4_0000].map(|net| Value::Ipv4((net + number).into()));
        let key = vec![addr, Value::Number(6), Value::Port(80)];
        let data = Data::Values([to, Value::Port(8080)].into());
        (
            nft::Key::Element(TableFamily::Inet, map.clone(), key.into()),
            nft::Row::Element(Some(data)),
        )
    };
    let table = (nft::Key::Table(TableFamily::Inet), nft::Row::Table);
    let set = (nft::Key::Set(TableFamily::Inet, map.clone()), nft::Row::Set(declared.into()));
    let want: Table<_, _> = [table, set].into_iter().chain((0..ELEMENTS).map(element)).collect();
    let mut place = Nft::open()?;
    println!("converge {ELEMENTS} elements: {:?}", timed(|| settle(&mut place, &want))?);
    println!("observe {ELEMENTS} elements: {:?}", timed(|| place.observe())?);
    println!("the same again: {:?}", timed(|| settle(&mut place, &want))?);
    let (key, row) = element(ELEMENTS);
    let mut more = Changes::default();
    more.puts.insert(key.clone(), Put { row, old: None });
    let less = Changes { deletes: vec![key], ..Changes::default() };
    println!("one element more: {:?}", timed(|| applied(&mut place, &more))?);
    println!("one element less: {:?}", timed(|| applied(&mut place, &less))?);
    println!("remove them: {:?}", timed(|| settle(&mut place, &Table::default()))?);
    Ok(())
}

/// Eight settings for each of as many links as there are pods.
fn settings() -> Outcome<()> {
    const NAMES: [&str; 8] = [
        "ipv4/conf/LINK/forwarding",
        "ipv4/conf/LINK/rp_filter",
        "ipv4/conf/LINK/accept_local",
        "ipv4/conf/LINK/accept_redirects",
        "ipv4/conf/LINK/send_redirects",
        "ipv4/conf/LINK/route_localnet",
        "ipv6/conf/LINK/accept_ra",
        "ipv6/conf/LINK/accept_redirects",
    ];
    let mut netlink = Netlink::open()?;
    let mut want = Table::default();
    for pair in 0..PODS / 2 {
        let (a, b) = (format!("a{pair}"), format!("b{pair}"));
        let end = |name| VethEnd { name, ..VethEnd::default() };
        netlink.send(Request::add_veth(&end(&a), &end(&b)))?;
        let keys =
            [a, b].map(|link| NAMES.map(|name| format!("net/{}", name.replace("LINK", &link))));
        want.extend(keys.into_iter().flatten().map(|key| (SysctlKey(key), "1".into())));
    }
    let record = std::env::temp_dir().join(format!("seaway-measure-{}", std::process::id()));
    let mut place = Sysctls::open(&record)?;
    println!("converge {} settings: {:?}", want.len(), timed(|| settle(&mut place, &want))?);
    println!("the same again: {:?}", timed(|| settle(&mut place, &want))?);
    std::fs::remove_file(record)?;
    Ok(())
}

/// Writes these changes without looking first; every row must be written.
fn applied<M: Mechanism>(place: &mut M, changes: &Changes<M::Key, M::Row>) -> Outcome<()> {
    place.apply(changes).into_iter().next().map_or(Ok(()), |failure| Err(failure.cause))
}

/// One pass in which every row must be written.
fn settle<M: Mechanism>(place: &mut M, want: &Table<M::Key, M::Row>) -> Outcome<()> {
    let (_, failures) = converge(place, want)?;
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.cause as Box<dyn Error>))
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
