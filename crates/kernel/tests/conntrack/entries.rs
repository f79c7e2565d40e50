//! Which entries a walk shows and removes, with those of real packets and those that `conntrack` makes,
//! and `conntrack` as the judge of what is left.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use model::Protocol;
use plan::{Flow, FlowFilter, FlowKey, Suspect};
use seaway_kernel::conntrack::{Entries, Walked};
use seaway_kernel::netns::unshare_thread;

use super::{run, run_all};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key(protocol: Protocol, text: &str) -> FlowKey {
    FlowKey { protocol, at: at(text) }
}

/// The only filter that lets flows of these frontends to these backends through.
fn filter(suspects: &[(FlowKey, Option<&str>)]) -> FlowFilter {
    let of =
        |(key, backend): &(FlowKey, Option<&str>)| Suspect { key: *key, backend: backend.map(at) };
    let suspects: Vec<Suspect> = suspects.iter().map(of).collect();
    let filters = FlowFilter::covering(&suspects);
    assert_eq!(filters.len(), 1);
    filters[0]
}

/// An entry to be made.
#[derive(Clone, Copy)]
struct Made<'a> {
    protocol: &'a str,
    from: &'a str,
    to: &'a str,
    backend: &'a str,
    more: &'a str,
}

const UDP: Made<'static> =
    Made { protocol: "udp", from: "10.1.0.7:4000", to: "", backend: "", more: "" };

impl Made<'_> {
    fn line(&self) -> String {
        let [from, to, backend] = [self.from, self.to, self.backend].map(at);
        format!(
            "-I -p {} -s {} -d {} --sport {} --dport {} -r {} -q {} --reply-port-src {} --reply-port-dst {} -t 300 {}",
            self.protocol,
            from.ip(),
            to.ip(),
            from.port(),
            to.port(),
            backend.ip(),
            from.ip(),
            backend.port(),
            from.port(),
            self.more
        )
    }

    fn make(&self) {
        run_all(&[&format!("conntrack {}", self.line())]);
    }
}

/// What is tracked, as `conntrack` lists it: `udp 10.1.0.7 10.96.0.1 4000 53`, in order.
fn tracked() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for family in ["ipv4", "ipv6"] {
        let list = Command::new("conntrack").args(["-L", "-f", family]).output().unwrap();
        for line in String::from_utf8(list.stdout).unwrap().lines() {
            let value = |name: &str| {
                let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
                word.unwrap_or_else(|| panic!("{name} in {line}")).to_owned()
            };
            let protocol = line.split_whitespace().next().unwrap();
            let parts = ["src=", "dst=", "sport=", "dport="].map(value).join(" ");
            assert!(all.insert(format!("{protocol} {parts}")), "twice: {line}");
        }
    }
    all
}

/// Those with ports, of either family.
#[test]
fn flows_are_shown_as_they_are_wanted_and_stay() {
    unshare_thread().unwrap();
    let (from, to, backend) = ("[fd01::7]:4000", "[fd00::1]:80", "[fd02::2]:8080");
    let tcp = Made {
        protocol: "tcp",
        from,
        to,
        backend,
        more: "--state ESTABLISHED --status SEEN_REPLY",
    };
    let udp = Made { to: "10.96.0.1:53", backend: "10.1.0.9:53", ..UDP };
    [tcp, udp].iter().for_each(Made::make);
    let before = tracked();
    let mut entries = Entries::open().unwrap();
    let of_tcp = |flow: &Flow| flow.to.protocol == Protocol::Tcp;
    let flow = Flow {
        from: at(from),
        to: key(Protocol::Tcp, to),
        backend: at(backend),
        is_answered: true,
    };
    assert_eq!(entries.flows(&of_tcp).unwrap(), [flow]);
    assert_eq!(entries.flows(&|_| true).unwrap().len(), 2);
    assert_eq!(tracked(), before);
}

/// A client and a server on loopback, and a rule that leads from one address to the other.
struct Path {
    client: UdpSocket,
    frontend: SocketAddr,
    family: &'static str,
}

impl Path {
    fn new(family: &'static str, client: &str, frontend: &str) -> Self {
        let client = UdpSocket::bind(client).unwrap();
        let path = Path { client, frontend: at(frontend), family };
        run(&["nft", "table inet path { chain out { type nat hook output priority -100; }; }"]);
        path
    }

    /// Leads new flows to `backend`, and no others any more.
    fn lead(&self, backend: &str) {
        run(&["nft", "flush chain inet path out"]);
        let (family, addr, port) = (self.family, self.frontend.ip(), self.frontend.port());
        let meets = format!("{family} daddr {addr} udp dport {port}");
        run(&["nft", &format!("add rule inet path out {meets} dnat to {backend}")]);
    }

    /// Which of `servers` a datagram gets to.
    fn reaches(&self, servers: &[UdpSocket; 2]) -> [bool; 2] {
        self.client.send_to(b"x", self.frontend).unwrap();
        servers.each_ref().map(|server| server.recv(&mut [0; 8]).is_ok())
    }
}

/// A client with one port goes on sending to the server that its first datagram was led to, until the
/// entry is removed; in both families.
#[test]
fn s60_a_flow_of_real_packets_follows_the_rules_once_its_entry_is_gone() {
    unshare_thread().unwrap();
    run_all(&[
        "ip link set lo up",
        "ip addr add 10.1.0.1/16 dev lo",
        "ip addr add 10.1.0.2/16 dev lo",
        "ip addr add 10.1.0.3/16 dev lo",
        "ip route add 10.96.0.0/16 dev lo",
        "ip -6 addr add fd01::1/64 dev lo nodad",
        "ip -6 addr add fd01::2/64 dev lo nodad",
        "ip -6 addr add fd01::3/64 dev lo nodad",
        "ip -6 route add fd00:96::/112 dev lo",
    ]);
    let mut entries = Entries::open().unwrap();
    for (family, client, frontend, servers) in [
        ("ip", "10.1.0.1:4000", "10.96.0.1:53", ["10.1.0.2:5353", "10.1.0.3:5353"]),
        ("ip6", "[fd01::1]:4000", "[fd00:96::1]:53", ["[fd01::2]:5353", "[fd01::3]:5353"]),
    ] {
        let path = Path::new(family, client, frontend);
        let sockets = servers.map(|server| UdpSocket::bind(server).unwrap());
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        path.lead(servers[0]);
        assert_eq!(path.reaches(&sockets), [true, false]);
        path.lead(servers[1]);
        assert_eq!(path.reaches(&sockets), [true, false], "the flow stays where it was");
        let key = key(Protocol::Udp, frontend);
        let filter = filter(&[(key, Some(servers[0]))]);
        let seen = std::cell::RefCell::new(Vec::new());
        let look = |flow: &Flow| {
            seen.borrow_mut().push(*flow);
            flow.backend == at(servers[0])
        };
        let walked = entries.remove(&filter, &look).unwrap();
        assert_eq!(walked, Walked { shown: 1, removed: 1 });
        let flow = Flow { from: at(client), to: key, backend: at(servers[0]), is_answered: false };
        assert_eq!(seen.take(), [flow], "read as the kernel has it");
        assert_eq!(path.reaches(&sockets), [false, true]);
    }
}

/// Entries alike in everything but one thing, and a walk for one of them.
#[test]
fn what_is_not_asked_for_is_neither_shown_nor_removed() {
    unshare_thread().unwrap();
    let udp = |from, to, backend| Made { from, to, backend, ..UDP };
    let stay = [
        udp("10.1.0.7:4000", "10.96.0.1:53", "10.1.0.3:5353"),
        udp("10.1.0.7:4001", "10.96.0.1:54", "10.1.0.2:5353"),
        udp("10.1.0.7:4002", "10.96.0.1:53", "10.1.0.2:5354"),
        udp("10.1.0.7:4003", "10.96.0.1:53", "10.96.0.1:53"),
        udp("[fd01::7]:4000", "[fd00:96::1]:53", "[fd01::2]:5353"),
        Made {
            protocol: "tcp",
            more: "--state ESTABLISHED",
            ..udp("10.1.0.7:4000", "10.96.0.1:53", "10.1.0.2:5353")
        },
        Made { more: "--zone 7", ..udp("10.1.0.7:4005", "10.96.0.1:53", "10.1.0.2:5353") },
    ];
    stay.iter().for_each(Made::make);
    let before = tracked();
    assert_eq!(before.len(), stay.len());
    let wrong = udp("10.1.0.8:4000", "10.96.0.1:53", "10.1.0.2:5353");
    wrong.make();
    let mut entries = Entries::open().unwrap();
    let filter = filter(&[(key(Protocol::Udp, wrong.to), Some(wrong.backend))]);
    // The one in a zone is shown and left out.
    let walked = entries.remove(&filter, &|_| true).unwrap();
    assert_eq!(walked, Walked { shown: 2, removed: 1 });
    assert_eq!(tracked(), before);
    let nothing = entries.remove(&filter, &|_| true).unwrap();
    assert_eq!(nothing.removed, 0);
    for filter in FlowFilter::all() {
        assert_eq!(entries.remove(&filter, &|_| false).unwrap().removed, 0);
    }
    assert_eq!(tracked(), before);
}

#[test]
fn s67_sctp_has_entries_like_udp() {
    unshare_thread().unwrap();
    let vtags = "--state ESTABLISHED --orig-vtag 1 --reply-vtag 2";
    let sctp = |from, to, backend| Made { protocol: "sctp", from, to, backend, more: vtags };
    let stays = sctp("10.1.0.7:4000", "10.96.0.1:3868", "10.1.0.3:3868");
    let other = sctp("10.1.0.7:4001", "10.96.0.1:3869", "10.1.0.2:3868");
    let sixth = sctp("[fd01::7]:4000", "[fd00:96::1]:3868", "[fd01::2]:3868");
    [stays, other, sixth].iter().for_each(Made::make);
    let before = tracked();
    let wrong = sctp("10.1.0.8:4000", "10.96.0.1:3868", "10.1.0.2:3868");
    wrong.make();
    let mut entries = Entries::open().unwrap();
    let filter = filter(&[(key(Protocol::Sctp, wrong.to), Some(wrong.backend))]);
    assert_eq!(entries.remove(&filter, &|_| true).unwrap().removed, 1);
    assert_eq!(tracked(), before);
}

/// A node with 50,000 flows: a change is told about those that it concerns, and all that are wrong go,
/// however many.
#[test]
fn s66_one_change_among_many_entries_is_told_of_its_own_alone() {
    const MANY: usize = 50_000;
    unshare_thread().unwrap();
    let mut lines = String::new();
    for i in 0..MANY {
        let (from, to) = (
            format!("10.1.7.{}:{}", i % 5, 4000 + i / 1000),
            format!("10.96.{}.{}:53", i >> 8, i & 255),
        );
        let backend = format!("10.2.{}.{}:5353", (i % 1000) >> 8, (i % 1000) & 255);
        let made = Made { from: &from, to: &to, backend: &backend, ..UDP };
        writeln!(lines, "{}", made.line()).unwrap();
    }
    let file = std::env::temp_dir().join(format!("seaway-entries-{}", std::process::id()));
    std::fs::write(&file, lines).unwrap();
    let name = file.to_str().unwrap();
    run(&["conntrack", "-R", name]);
    std::fs::remove_file(&file).unwrap();
    let mut entries = Entries::open().unwrap();
    let udp = |text| key(Protocol::Udp, text);

    let backend = Some("10.2.0.7:5353");
    let gone = filter(&[(udp("10.96.0.7:53"), backend), (udp("10.96.3.239:53"), backend)]);
    let walked = entries.remove(&gone, &|_| true).unwrap();
    assert_eq!(walked, Walked { shown: MANY / 1000, removed: MANY / 1000 }, "by the backend");

    let frontend = filter(&[(udp("10.96.0.8:53"), None)]);
    let walked = entries.remove(&frontend, &|_| true).unwrap();
    assert_eq!(walked, Walked { shown: 1, removed: 1 }, "by the frontend");

    let left = MANY - MANY / 1000 - 1;
    let all = FlowFilter::all().next().unwrap();
    let is_first = |flow: &Flow| flow.from.ip() == at("10.1.7.1:0").ip();
    let walked = entries.remove(&all, &is_first).unwrap();
    assert_eq!(
        (walked.shown, walked.removed),
        (left, MANY / 5),
        "by protocol, and in many batches"
    );
    let count = Command::new("conntrack").arg("-C").output().unwrap();
    let count = String::from_utf8(count.stdout).unwrap();
    assert_eq!(count.trim(), (left - MANY / 5).to_string());
}
