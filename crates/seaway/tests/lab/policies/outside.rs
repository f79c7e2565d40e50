//! The world outside, as stories about names need it: a host that has all its addresses and answers at each,
//! and a name server that says which name stands for which.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::lab::{Lab, success};
use crate::services::stage::Place;

/// The name server.
pub(crate) const NAMESERVER: &str = "203.0.113.10";
/// Its host, as the router finds it.
const HOST: [&str; 2] = ["203.0.113.10", "2001:db8:1::10"];
/// The addresses of the world.
const NETS: [&str; 2] = ["198.18.0.0/15", "2001:db8:18::/64"];
/// Where its host answers.
pub(crate) const PORT: u16 = 443;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Starts the world, which ends with the lab.
pub(crate) fn start(lab: &Lab) {
    for (net, via) in NETS.iter().zip(HOST) {
        for (host, words) in [
            ("internet", vec!["ip", "route", "replace", "local", net, "dev", "lo"]),
            ("router", vec!["ip", "route", "replace", net, "via", via]),
        ] {
            let mut command = lab.seaway(&["lab", host]);
            let done = command.arg("--").args(&words).output().expect("start seaway lab");
            success(&done).unwrap_or_else(|why| panic!("{host}: {words:?}: {why}"));
        }
    }
    let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let open = || {
        let names = UdpSocket::bind((NAMESERVER, 53)).expect("the port of DNS");
        (names, TcpListener::bind(at).expect("a port"))
    };
    let (names, server) = Place::find(lab, "internet").netns.run(open).expect("enter the host");
    thread::spawn(move || answer(&names));
    thread::spawn(move || serve(&server));
}

/// Says what it is told, to each client.
fn serve(server: &TcpListener) {
    while let Ok((mut stream, _)) = server.accept() {
        thread::spawn(move || {
            let mut word = [0; 16];
            while let Ok(length @ 1..) = stream.read(&mut word) {
                if stream.write_all(&word[..length]).is_err() {
                    return;
                }
            }
        });
    }
}

/// Answers questions.
fn answer(socket: &UdpSocket) {
    let mut question = [0; 1500];
    loop {
        match socket.recv_from(&mut question) {
            Ok((length, client)) => {
                // Who has gone meanwhile needs no answer.
                drop(socket.send_to(&reply(&question[..length]), client));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// A record: whose it is (the name in question if nobody's), its type, and its value.
type Record = (&'static str, u16, Vec<u8>);

/// What `name` stands for, and for how many seconds that may be remembered.
fn world(name: &str, kind: u16) -> (u32, Vec<Record>) {
    let v4 = |addr: [u8; 4]| ("", A, addr.to_vec());
    let labels: Vec<&str> = name.split('.').collect();
    match (&labels[..], kind) {
        (["www", "example", "org"], A) => (300, vec![v4([198, 18, 0, 1])]),
        (["www", "example", "org"], AAAA) => {
            let addr: Ipv6Addr = "2001:db8:18::1".parse().expect("an address");
            (300, vec![("", AAAA, addr.octets().to_vec())])
        }
        (["wild", "example", "org"], A) => (300, vec![v4([198, 18, 0, 2])]),
        (["notwild", "example", "org"], A) => (300, vec![v4([198, 18, 0, 3])]),
        ([.., "wild", "example", "org"], A) => (300, vec![v4([198, 18, 0, 4])]),
        (["alias", "example", "org"], A) => {
            let cdn = ("cdn.example.net", A, vec![198, 18, 0, 5]);
            (300, vec![("", CNAME, wire("cdn.example.net")), cdn])
        }
        (["cdn", "example", "net"], A) => (300, vec![v4([198, 18, 0, 6])]),
        (["short", "example", "org"], A) => (1, vec![v4([198, 18, 0, 7])]),
        (["used", "example", "org"], A) => (1, vec![v4([198, 18, 0, 8])]),
        (["crafted", "example", "org"], _) => {
            let cut = ("", A, vec![198, 18, 0]);
            let long = ("", AAAA, vec![1; 17]);
            (300, vec![cut, long, ("", CNAME, vec![0xc0, 0x0c]), ("", kind, vec![63; 4])])
        }
        ([number, "rotate", "example", "org"], A) => {
            let number: u16 = number.parse().expect("a number");
            (1, rotating(number).map(|addr| v4(addr.octets())).into())
        }
        _ => (300, Vec::new()),
    }
}

/// What `NUMBER.rotate.example.org` stands for.
pub(crate) fn rotating(number: u16) -> [Ipv4Addr; 4] {
    let [high, low] = number.to_be_bytes();
    let at = |n: u8| Ipv4Addr::new(198, 19, 64 * n + high, low);
    [at(0), at(1), at(2), at(3)]
}

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).expect("a short label"));
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

/// The name in question, where it ends, and its type.
fn question(message: &[u8]) -> (String, usize, u16) {
    let (mut name, mut at) = (String::new(), 12);
    while let Some(length) = message.get(at).copied().map(usize::from).filter(|n| *n > 0) {
        let label = message.get(at + 1..=at + length).unwrap_or_default();
        name.push_str(&String::from_utf8_lossy(label).to_lowercase());
        name.push('.');
        at += length + 1;
    }
    let kind = message.get(at + 1..at + 3).map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
    (name.trim_end_matches('.').to_owned(), at + 5, kind)
}

fn reply(message: &[u8]) -> Vec<u8> {
    let (name, end, kind) = question(message);
    let (ttl, records) = world(&name, kind);
    let count = u16::try_from(records.len()).expect("a few").to_be_bytes();
    let mut reply = message[..end.min(message.len())].to_vec();
    reply[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    for (owner, kind, rdata) in records {
        reply.extend(if owner.is_empty() { vec![0xc0, 12] } else { wire(owner) });
        reply.extend([kind.to_be_bytes(), [0, 1]].concat());
        reply.extend(ttl.to_be_bytes());
        reply.extend(u16::try_from(rdata.len()).expect("a short one").to_be_bytes());
        reply.extend(rdata);
    }
    reply
}

/// Asks `server` for `name` from the network that this runs in: the addresses that it says, or `None` for
/// no answer in time.
pub(crate) fn resolve(server: &str, name: &str, kind: u16) -> Option<Vec<IpAddr>> {
    let any = if server.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect((server, 53)).expect("a way there");
    socket.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    let head = [0x51, 0x51, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let query = [&head[..], &wire(name), &kind.to_be_bytes(), &[0, 1]].concat();
    socket.send(&query).expect("send");
    let mut reply = [0; 4096];
    let length = socket.recv(&mut reply).ok()?;
    Some(addresses(&reply[..length]))
}

/// The addresses in an answer whose names are pointers or whole.
fn addresses(reply: &[u8]) -> Vec<IpAddr> {
    let (_, mut at, _) = question(reply);
    let mut found = Vec::new();
    for _ in 0..u16::from_be_bytes([reply[6], reply[7]]) {
        while reply[at] != 0 && reply[at] < 0xc0 {
            at += usize::from(reply[at]) + 1;
        }
        at += if reply[at] == 0 { 1 } else { 2 };
        let length = usize::from(u16::from_be_bytes([reply[at + 8], reply[at + 9]]));
        let rdata = &reply[at + 10..at + 10 + length];
        match (u16::from_be_bytes([reply[at], reply[at + 1]]), <[u8; 4]>::try_from(rdata)) {
            (A, Ok(addr)) => found.push(addr.into()),
            (AAAA, _) => found.push(<[u8; 16]>::try_from(rdata).expect("an address").into()),
            _ => {}
        }
        at += 10 + length;
    }
    found
}

/// A connection from the network that this runs in to `addr`, which has to be there before its first packet
/// could have been sent a second time.
pub(crate) fn connect(addr: IpAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(addr, PORT), FIRST).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    Some(stream)
}

/// Less than the second after which a packet that began a connection is sent again.
const FIRST: Duration = Duration::from_millis(800);

/// Whether what is said over a connection comes back.
pub(crate) fn is_answered(stream: &mut TcpStream) -> bool {
    let said = stream.write_all(b"x").is_ok();
    said && matches!(stream.read(&mut [0; 16]), Ok(1..))
}
