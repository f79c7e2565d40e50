//! `node-1` of the stage, its pods' places on cables and everybody else behind another one. Nobody has an
//! address there: whoever sends puts frames on a cable, and what comes out of another is seen.
//!
//! p0, p1, p2 ── node-1 ── wan

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use fixtures::frame::{self, HEADER, datagram, message, segment};
use fixtures::hosts::{Cable, run};
use fixtures::sctp;
use kernel::netns::{Netns, unshare_thread};
use model::{Mac, NodeName, World};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use oracle::Packet;
use socket2::{Domain, Socket, Type};

/// Most packets on their way at once: the kernel queues a thousand for each processor.
const BATCH: usize = 128;

/// How often a packet is sent that should get through and does not: a full queue loses some.
const TRIES: usize = 20;

/// How long a sentinel may take. None is waited for that does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for a batch that nobody has read yet.
const ROOM: usize = 8 << 20;

/// A type of ICMPv6 that is never asked about (NP-U3): somebody leaves a multicast group.
const SENTINEL: u8 = 132;

/// Where packets go in and come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A cable's far end.
    Cable(usize),
    /// The node's own processes.
    Node,
}

/// A packet, where it goes in and where it should come out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) packet: Packet,
}

pub(crate) struct Wires {
    cables: Vec<End>,
    node: End,
    /// Raw sockets of the node, by whether they are of IPv4.
    out: BTreeMap<bool, UdpSocket>,
    places: BTreeMap<IpAddr, Place>,
    /// By which the next packet is known.
    next: u32,
}

/// What is heard at a place: where sentinels come, and where else.
struct End {
    first: (UdpSocket, Ear),
    others: Vec<(UdpSocket, Ear)>,
    /// Where sentinels are sent to.
    addr: IpAddr,
}

/// What a socket gives.
#[derive(Debug, Clone, Copy)]
enum Ear {
    /// Frames, of which those to this address have come by the cable.
    Frames(Mac),
    /// Packets.
    Packets,
    /// What packets carry, of this protocol.
    Payload(u8),
}

impl Wires {
    /// Builds them around a node that is this thread's namespace.
    pub(crate) fn plug(stage: &World) -> Self {
        unshare_thread().expect("needs root: a network namespace of its own");
        stay_here();
        run("ip link set lo up");
        run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        // Strangers claim what they like.
        for link in ["all", "default"] {
            let v4 = format!("net.ipv4.conf.{link}");
            run(&format!("sysctl -qw {v4}.rp_filter=0 {v4}.accept_local=1 {v4}.send_redirects=0"));
        }
        let me = NodeName::from("node-1");
        let local = stage.pods.values().filter(|pod| pod.node.as_ref() == Some(&me));
        let mut cables: Vec<End> = Vec::new();
        let mut places = BTreeMap::new();
        for (number, pod) in local.enumerate() {
            let link = format!("p{number}");
            cables.push(End::cable(&link, number, pod.addrs[1]));
            for addr in &pod.addrs {
                run(&format!("ip route add {addr} dev {link}"));
                run(&format!("ip neigh add {addr} dev {link} lladdr {}", far(number)));
                places.insert(*addr, Place::Cable(number));
            }
        }
        cables.push(End::cable("wan", cables.len(), addr("2001:db8:9::9")));
        for gateway in ["169.254.9.9", "fd00:fe::99"] {
            run(&format!("ip neigh add {gateway} dev wan lladdr {}", far(cables.len() - 1)));
            run(&format!("ip route add default via {gateway} dev wan onlink"));
        }
        for own in [addr("192.0.0.1"), addr("2001:db8::1")] {
            run(&format!("ip addr add {own} dev lo"));
            places.insert(own, Place::Node);
        }
        let raw = |is_v4: bool| (is_v4, raw(is_v4, 255));
        Wires { cables, node: End::node(), out: [true, false].map(raw).into(), places, next: 1 }
    }

    /// Where what is sent to `addr` comes out.
    pub(crate) fn place_of(&self, addr: IpAddr) -> Place {
        self.places.get(&addr).copied().unwrap_or(self.elsewhere())
    }

    /// Where everybody is who is neither on the node nor it.
    pub(crate) fn elsewhere(&self) -> Place {
        Place::Cable(self.cables.len() - 1)
    }

    /// Which of `probes` get through. Those that are `expected` to are sent again when they don't.
    pub(crate) fn pass(&mut self, probes: &[Probe], expected: &[bool]) -> Vec<bool> {
        let mut through = vec![false; probes.len()];
        let mut left: Vec<usize> = (0..probes.len()).collect();
        for _ in 0..TRIES {
            for batch in left.chunks(BATCH) {
                self.send(batch, probes, &mut through);
            }
            left.retain(|index| expected[*index] && !through[*index]);
            if left.is_empty() {
                break;
            }
        }
        through
    }

    /// Sends these probes, then sentinels on all their ways: once those are there, whatever is missing has
    /// been dropped, since packets of one processor stay in order (NP-O3).
    fn send(&mut self, batch: &[usize], probes: &[Probe], through: &mut [bool]) {
        let mut sent = BTreeMap::new();
        for index in batch {
            let Probe { from, packet, .. } = probes[*index];
            let tag = self.tag();
            self.put(from, packet, tag);
            sent.insert(tag, *index);
        }
        let ways: BTreeSet<(Place, Place)> =
            batch.iter().map(|index| (probes[*index].to, probes[*index].from)).collect();
        let mut heard = BTreeSet::new();
        for to in ways.iter().map(|(to, _)| *to).collect::<BTreeSet<_>>() {
            let from = ways.iter().filter(|(end, _)| *end == to).map(|(_, from)| *from);
            let is_through = (0..TRIES).any(|_| self.sentinels(from.clone(), to, &mut heard));
            assert!(is_through, "no sentinel comes to {to:?}");
            for tag in std::mem::take(&mut heard) {
                let Some(index) = sent.get(&tag) else { continue };
                assert_eq!(probes[*index].to, to, "{:?} came out elsewhere", probes[*index]);
                through[*index] = true;
            }
        }
    }

    /// Sends one sentinel from each place, and hears what comes to `to` until all have; `false` when one
    /// was lost.
    fn sentinels(
        &mut self,
        from: impl Iterator<Item = Place>,
        to: Place,
        heard: &mut BTreeSet<u32>,
    ) -> bool {
        let dst = self.end(to).addr;
        let src = addr("2001:db8:5::1");
        let mut awaited = BTreeSet::new();
        for from in from {
            let tag = self.tag();
            let packet = Packet { src, dst, protocol: 58, dport: u16::from(SENTINEL) };
            self.put(from, packet, tag);
            awaited.insert(tag);
        }
        let end = self.end(to);
        let mut bytes = [0; 2048];
        while !awaited.is_subset(heard) {
            let Ok(length) = end.first.0.recv(&mut bytes) else { return false };
            heard.extend(end.first.1.tag(&bytes[..length]));
        }
        for (socket, ear) in &end.others {
            while let Ok(length) = socket.recv(&mut bytes) {
                heard.extend(ear.tag(&bytes[..length]));
            }
        }
        true
    }

    fn tag(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn end(&self, place: Place) -> &End {
        match place {
            Place::Cable(number) => &self.cables[number],
            Place::Node => &self.node,
        }
    }

    fn put(&self, from: Place, packet: Packet, tag: u32) {
        let Packet { src, dst, protocol, .. } = packet;
        let payload = payload(packet, tag);
        let sent = match from {
            Place::Cable(number) => {
                let ether = (far(number), near(number));
                let frame = frame::packet(ether, (src, dst), protocol, &payload);
                self.cables[number].first.0.send(&frame)
            }
            Place::Node => {
                let frame = frame::packet((far(0), near(0)), (src, dst), protocol, &payload);
                self.out[&dst.is_ipv4()].send_to(&frame[HEADER..], SocketAddr::new(dst, 0))
            }
        };
        sent.unwrap_or_else(|error| panic!("send {packet:?} from {from:?}: {error}"));
    }
}

impl End {
    fn cable(link: &str, number: usize, addr: IpAddr) -> End {
        let netns = Netns::fresh().expect("needs root: a network namespace of its own");
        let macs = Some([near(number), far(number)]);
        Cable { link, here: Vec::new(), there: Vec::new(), macs }.plug(&netns);
        let tap = netns.run(|| UdpSocket::from(frame::tap("eth0"))).unwrap();
        furnish(&tap);
        End { first: (tap, Ear::Frames(far(number))), others: Vec::new(), addr }
    }

    fn node() -> End {
        let listen = |is_v4: bool, protocol: u8| {
            let ear = if is_v4 { Ear::Packets } else { Ear::Payload(protocol) };
            let socket = raw(is_v4, protocol);
            furnish(&socket);
            (socket, ear)
        };
        let both =
            [6, 17, 47, 132].into_iter().flat_map(|protocol| [(true, protocol), (false, protocol)]);
        let others: Vec<_> =
            both.chain([(true, 1)]).map(|(is_v4, protocol)| listen(is_v4, protocol)).collect();
        others.iter().for_each(|(socket, _)| socket.set_nonblocking(true).unwrap());
        End { first: listen(false, 58), others, addr: addr("2001:db8::1") }
    }
}

impl Ear {
    /// By which a packet is known, if it is one of ours.
    fn tag(self, bytes: &[u8]) -> Option<u32> {
        match self {
            Ear::Frames(own) if bytes.get(..6)? == own.0 => Ear::Packets.tag(bytes.get(HEADER..)?),
            Ear::Frames(_) => None,
            Ear::Packets if bytes.first()? >> 4 == 4 => {
                let header = usize::from(bytes[0] & 0x0f) * 4;
                Ear::Payload(*bytes.get(9)?).tag(bytes.get(header..)?)
            }
            Ear::Packets => Ear::Payload(*bytes.get(6)?).tag(bytes.get(40..)?),
            // The node answers echoes with what was in them.
            Ear::Payload(1 | 58) if [0, 129].contains(bytes.first()?) => None,
            Ear::Payload(protocol) => {
                let at = tag_at(protocol)?;
                Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
            }
        }
    }
}

/// What `packet` carries, with `tag` in it; it belongs to a connection of its own where its protocol has ports.
fn payload(packet: Packet, tag: u32) -> Vec<u8> {
    let Packet { src, dst, protocol, dport } = packet;
    let own = 1024 + u16::try_from(tag % 60_000).unwrap();
    let bytes = tag.to_be_bytes();
    match protocol {
        6 => segment((src, dst), (own, dport), [tag, 0], 2),
        17 => datagram((src, dst), (own, dport), &bytes),
        132 => sctp::init(own, dport, bytes),
        1 | 58 => {
            let body = [&own.to_be_bytes()[..], &[0, 0], &bytes, &[0; 12]].concat();
            message((src, dst), u8::try_from(dport).unwrap(), &body)
        }
        47 => [&[0, 0, 0x65, 0x58], &bytes[..]].concat(),
        other => panic!("a packet of protocol {other}"),
    }
}

/// Where the tag stands in what packets of a protocol carry.
fn tag_at(protocol: u8) -> Option<usize> {
    match protocol {
        6 | 47 => Some(4),
        1 | 17 | 58 => Some(8),
        132 => Some(16),
        _ => None,
    }
}

/// Hardware addresses of a cable's ends.
fn near(number: usize) -> Mac {
    Mac([2, 0, 0, 0, 1, u8::try_from(number).unwrap()])
}

fn far(number: usize) -> Mac {
    Mac([2, 0, 0, 0, 2, u8::try_from(number).unwrap()])
}

fn raw(is_v4: bool, protocol: u8) -> UdpSocket {
    let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::RAW, Some(i32::from(protocol).into())).unwrap().into()
}

fn furnish(socket: &UdpSocket) {
    setsockopt(socket, sockopt::RcvBufForce, &ROOM).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// This thread stays on its processor, so that what it sends stays in order.
fn stay_here() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}
