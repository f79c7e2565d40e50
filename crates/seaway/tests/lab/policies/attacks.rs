//! Packets by which somebody tries to get past policies: in pieces, behind extension headers, with another's
//! address, and in connections that connection tracking has forgotten.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use fixtures::frame::{self, Addrs, HEADER, datagram, tap};
use libtest_mimic::Trial;
use model::{Family, Mac, Protocol};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::flows::Flow;
use super::scene::{PORT, Scene, only};
use crate::lab::{eventually, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("npn14_neither_pieces_nor_headers_nor_anothers_address_get_past_ports", pieces),
        test("npe2_npe3_a_connection_that_was_cut_does_not_begin_again_in_its_middle", forgotten),
    ]
}

/// A port that is open to `friend` alone.
const CLOSED: u16 = 9;

/// How the header begins of what goes there, which is never to arrive, whatever it is in or behind.
const FORBIDDEN: [u8; 4] = [0x1e, 0x61, 0, 9];

/// What is said where it does not matter.
const WORDS: &[u8] = b"half a line of words of no import";

/// How long it is listened once all has arrived that has to.
const LATE: Duration = Duration::from_millis(200);

/// Protocol numbers of IPv6's extension headers, and of UDP.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
const UDP: u8 = 17;

fn friends() -> Value {
    json!({"from": [{"podSelector": {"matchLabels": {"pod": "friend"}}}]})
}

/// A pod of the same node and one of another let in everybody at one port, and `friend` at all.
fn pieces() {
    let scene = Scene::up(&[]);
    let port = |protocol| json!({"protocol": protocol, "port": PORT});
    let ports = json!([{"ports": [port("UDP"), port("TCP")]}, friends()]);
    for server in ["near", "server"] {
        scene.cluster.put(&only(server, &format!("pod={server}"), ports.clone()));
        let closed = SocketAddr::new(scene.addr(server, Family::V4), CLOSED);
        scene.hold("stranger", closed, false);
        for family in Family::ALL {
            let addrs = (scene.addr("stranger", family), scene.addr(server, family));
            let spoofed = (scene.addr("friend", family), addrs.1);
            let mut packets = vec![
                whole(addrs, UDP, &said(addrs, CLOSED, WORDS)),
                whole(spoofed, UDP, &said(spoofed, CLOSED, WORDS)),
            ];
            packets.extend(match family {
                Family::V4 => in_pieces(addrs, piece4),
                Family::V6 => [in_pieces(addrs, piece6), behind_headers(addrs)].concat(),
            });
            packets.push(whole(addrs, UDP, &said(addrs, PORT, b"permitted, in the end")));
            let wanted: Vec<String> = packets.iter().filter_map(|packet| word(packet)).collect();
            let heard = hear(&scene, server, &packets, wanted.last().expect("the last"));
            let has = |bytes: &[u8]| {
                heard.iter().any(|frame| frame.windows(bytes.len()).any(|part| part == bytes))
            };
            assert!(!has(&FORBIDDEN), "{server} {family}: {heard:02x?}");
            let missing: Vec<_> = wanted.iter().filter(|word| !has(word.as_bytes())).collect();
            assert!(missing.is_empty(), "{server} {family}: {missing:?} of {heard:02x?}");
        }
    }
}

/// Datagrams in pieces: whole in the end, the wrong way around, rewritten by a later piece, without a
/// beginning.
fn in_pieces(addrs: Addrs, piece: fn(Addrs, u16, usize, bool, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let open = said(addrs, PORT, b"permitted in pieces, and so on. ");
    let closed = said(addrs, CLOSED, WORDS);
    let other = said(addrs, PORT, WORDS);
    let mut packets = Vec::new();
    for (number, datagram) in (1..).zip([&open, &closed]) {
        // The header alone, and the rest; then with a byte more.
        for at in [8, 16] {
            let id = number * 100 + at;
            let cut = usize::from(at);
            packets.push(piece(addrs, id, 0, true, &datagram[..cut]));
            packets.push(piece(addrs, id, cut, false, &datagram[cut..]));
        }
    }
    packets.push(piece(addrs, 300, 16, false, &closed[16..]));
    packets.push(piece(addrs, 300, 0, true, &closed[..16]));
    // The first one says an open port, and the next one a closed one in its place.
    for (id, first, second) in [(400, &other, &closed), (401, &closed, &other)] {
        packets.push(piece(addrs, id, 0, true, &first[..24]));
        packets.push(piece(addrs, id, 0, true, &second[..16]));
        packets.push(piece(addrs, id, 8, true, &second[8..24]));
        packets.push(piece(addrs, id, 24, false, &second[24..]));
    }
    packets.push(piece(addrs, 500, 8, false, &other[8..]));
    packets
}

/// A piece of what UDP carries; without options it would be `datagram` from `offset` on.
fn piece4(addrs: Addrs, id: u16, offset: usize, has_more: bool, part: &[u8]) -> Vec<u8> {
    let mut packet = whole(addrs, UDP, part);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    let place = u16::try_from(offset / 8).expect("near") | u16::from(has_more) << 13;
    packet[6..8].copy_from_slice(&place.to_be_bytes());
    packet
}

fn piece6(addrs: Addrs, id: u16, offset: usize, has_more: bool, part: &[u8]) -> Vec<u8> {
    whole(addrs, FRAGMENT, &[&fragment(UDP, id, offset, has_more), part].concat())
}

fn fragment(next: u8, id: u16, offset: usize, has_more: bool) -> [u8; 8] {
    let place = u16::try_from(offset).expect("near") | u16::from(has_more);
    let ([a, b], [c, d]) = (place.to_be_bytes(), id.to_be_bytes());
    [next, 0, a, b, 0, 0, c, d]
}

/// Datagrams behind each extension header, behind several of them, and in a fragment that begins with one.
fn behind_headers(addrs: Addrs) -> Vec<Vec<u8>> {
    let kinds =
        [&[HOP_BY_HOP][..], &[OPTIONS], &[ROUTING], &[FRAGMENT], &[OPTIONS, ROUTING, OPTIONS]];
    let mut packets = Vec::new();
    for (number, kinds) in kinds.into_iter().enumerate() {
        let name = format!("permitted{number} behind {kinds:?}");
        for (port, payload) in [(PORT, name.as_bytes()), (CLOSED, WORDS)] {
            let mut next = UDP;
            let mut carried = said(addrs, port, payload);
            for kind in kinds.iter().rev() {
                carried = [&header(*kind, next)[..], &carried].concat();
                next = *kind;
            }
            packets.push(whole(addrs, next, &carried));
        }
    }
    // The port is in the second piece.
    let rest = said(addrs, CLOSED, WORDS);
    let first = [fragment(OPTIONS, 600, 0, true), header(OPTIONS, UDP)].concat();
    packets.push(whole(addrs, FRAGMENT, &first));
    let second = [&fragment(OPTIONS, 600, 8, false), &rest[..]].concat();
    packets.push(whole(addrs, FRAGMENT, &second));
    packets
}

/// A header that says nothing, before `next`: padding, a route of no further hops, a fragment that is all.
fn header(kind: u8, next: u8) -> [u8; 8] {
    match kind {
        FRAGMENT => fragment(next, 700, 0, false),
        ROUTING => [next, 0, 2, 0, 0, 0, 0, 0],
        _ => [next, 0, 1, 4, 0, 0, 0, 0],
    }
}

fn said(addrs: Addrs, port: u16, payload: &[u8]) -> Vec<u8> {
    datagram(addrs, (7777, port), payload)
}

fn whole(addrs: Addrs, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let nobody = (Mac([0; 6]), Mac([0; 6]));
    frame::packet(nobody, addrs, protocol, payload).split_off(HEADER)
}

/// By which a packet is known that has to arrive.
fn word(packet: &[u8]) -> Option<String> {
    let at = packet.windows(9).position(|bytes| bytes == b"permitted")?;
    Some(String::from_utf8_lossy(&packet[at..(at + 12).min(packet.len())]).into_owned())
}

/// All frames at `server` while `stranger` sends these packets, until `last` has arrived.
fn hear(scene: &Scene, server: &str, packets: &[Vec<u8>], last: &str) -> Vec<Vec<u8>> {
    let tap = scene.netns(server).run(|| UdpSocket::from(tap("eth0"))).expect("enter");
    let raw = |domain| {
        let socket =
            scene.netns("stranger").run(|| Socket::new(domain, Type::RAW, Some(255.into())));
        UdpSocket::from(socket.expect("enter").expect("a raw socket"))
    };
    for packet in packets {
        let octets = |at: usize, length: usize| packet[at..at + length].to_vec();
        let (socket, dst): (_, IpAddr) = match packet[0] >> 4 {
            4 => (raw(Domain::IPV4), <[u8; 4]>::try_from(octets(16, 4)).expect("four").into()),
            _ => (raw(Domain::IPV6), <[u8; 16]>::try_from(octets(24, 16)).expect("sixteen").into()),
        };
        socket.send_to(packet, SocketAddr::new(dst, 0)).expect("send");
    }
    let mut heard = Vec::new();
    let mut bytes = [0; 2048];
    tap.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    while let Ok(length) = tap.recv(&mut bytes) {
        let frame = &bytes[..length];
        if frame.windows(last.len()).any(|part| part == last.as_bytes()) {
            tap.set_read_timeout(Some(LATE)).expect("a timeout");
        }
        heard.push(frame.to_vec());
    }
    heard
}

/// `stranger` speaks with `server`, and may no more. Whoever ends the connection's entry, as by a forged
/// reset, has not ended what the policy says of it.
fn forgotten() {
    let scene = Scene::up(&[]);
    let mut flows = Vec::new();
    for (port, family) in (5000..).zip(Family::ALL.into_iter().cycle()).take(4) {
        let at = SocketAddr::new(scene.addr("server", family), port);
        let mut flow = Flow::open(&scene, "stranger", "server", Protocol::Tcp, at);
        assert!(flow.says(0, 0) && flow.says(1, 0), "{at}");
        flows.push((at, flow));
    }
    scene.cluster.put(&only("p", "pod=server", json!([friends()])));
    scene.hold_pod("stranger", "server", false);
    for (number, (at, flow)) in flows.iter_mut().enumerate() {
        forget(&scene, *at);
        // The server speaks first, or the client.
        let first = number / 2;
        assert!(!flow.says(1 - first, 1) && !flow.says(first, 1), "{at}");
    }
    let (at, flow) = &mut flows[0];
    // Agents set it again when they read settings back.
    eventually("without the setting the server takes the client's part", || {
        for node in ["node-1", "node-2"] {
            let loose = ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=1"];
            success(&scene.lab.node(node, &loose)).expect("set it");
        }
        forget(&scene, *at);
        if flow.says(1, 2) { Ok(()) } else { Err("silent") }
    });
}

/// Has both nodes forget a connection to `at`.
fn forget(scene: &Scene, at: SocketAddr) {
    let port = at.port().to_string();
    let family = Family::of(at.ip()).to_string();
    for node in ["node-1", "node-2"] {
        let delete = ["conntrack", "-D", "-f", &family, "-p", "tcp", "--orig-port-dst", &port];
        let _none = scene.lab.node(node, &delete);
    }
}
