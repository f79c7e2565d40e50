//! What a message may be, and what comes back for one that is not: bytes on the wire, by UDP and TCP, to
//! every kind of address.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fixtures::message::{self, Message};
use fixtures::vectors::big;
use libtest_mimic::Trial;

use super::dig::Dig;
use super::stage::{Client, LINK_LOCAL, NODE_1, NODE_PORT, Shared, Stage, VIPS, at, exchange};
use crate::lab::{eventually, success};

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![
        stage.test("dns61_dns62_dns63_dns64_dns78_dns79_what_is_no_question_is_told_so", told),
        stage.test("dns61_dns73_an_answer_gets_no_answer", answers),
        stage.test("dns65_dns66_dns75_to_dns77_answers_are_as_large_as_clients_take_them", sizes),
        stage.test("dns68_a_cookie_is_returned_with_the_servers", cookies),
        stage.test("dns71_questions_share_a_connection", pipelined),
        stage.test("dns72_addresses_take_turns_on_the_wire", turns),
    ]
}

const NAME: &str = "web.ns1.svc.cluster.local.";
/// How long no answer is silence.
const SILENCE: Duration = Duration::from_millis(400);
/// The rcodes of what is asked wrongly.
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

/// Who asks where: every client and every kind of address.
fn ways() -> Vec<(Client, SocketAddr)> {
    let mut ways = Vec::new();
    for vip in VIPS {
        ways.push((Client::Pod("shell-1"), at(vip, 53)));
        ways.push((Client::Host("node-1"), at(vip, 53)));
    }
    ways.push((Client::Pod("shell-1"), at(LINK_LOCAL, 53)));
    for node in NODE_1 {
        ways.push((Client::Host("node-2"), at(node, NODE_PORT)));
        ways.push((Client::Pod("shell-2"), at(node, NODE_PORT)));
    }
    ways
}

/// A question with some of its bytes changed.
fn altered(alter: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut query = message::query(NAME, message::kind("A"), None);
    alter(&mut query);
    query
}

fn told(stage: &Stage) {
    let mut cases: Vec<(String, Vec<u8>, u16)> = Vec::new();
    for opcode in 1..16u8 {
        let query = altered(|query| query[2] |= opcode << 3);
        cases.push((format!("DNS-62, DNS-79: opcode {opcode}"), query, NOTIMP));
    }
    let none = altered(|query| {
        query[5] = 0;
        query.truncate(12);
    });
    let two = altered(|query| {
        query[5] = 2;
        query.extend_from_within(12..);
    });
    let chaos = altered(|query| *query.last_mut().expect("a class") = 3);
    let mut version = message::query("version.bind.", message::kind("TXT"), None);
    *version.last_mut().expect("a class") = 3;
    let mut later = message::query(NAME, message::kind("A"), Some(1232));
    let opt = later.len() - 11;
    later[opt + 6] = 1;
    let mut options = message::query(NAME, message::kind("A"), Some(1232));
    options.extend_from_within(opt..);
    options[11] = 2;
    cases.extend([
        ("DNS-63: no question".to_owned(), none, FORMERR),
        ("DNS-63: two questions".to_owned(), two, FORMERR),
        ("DNS-63: class CHAOS".to_owned(), chaos, REFUSED),
        ("DNS-63: version.bind".to_owned(), version, REFUSED),
        ("DNS-64, DNS-78: EDNS version 1".to_owned(), later, BADVERS),
        ("DNS-64: two OPT records".to_owned(), options, FORMERR),
    ]);
    for (client, to) in ways() {
        for (what, query, rcode) in &cases {
            let what = format!("{client:?} at {to}: {what}");
            let datagram = stage.exchange(client, to, query);
            let stream = by_stream(stage, client, to, &[query]).pop();
            for reply in [datagram, stream] {
                let reply = reply.unwrap_or_else(|| panic!("{what}: no answer"));
                assert_eq!(reply[..2], query[..2], "{what}: the ID");
                assert!(reply[2] & 0x80 != 0, "{what}: QR");
                assert_eq!(reply[6..8], [0, 0], "{what}: an answer");
                assert_eq!(rcode_of(&reply), *rcode, "{what}: {reply:?}");
            }
        }
    }
}

/// The rcode, whatever the rest looks like; its upper bits are those of an OPT record at the end.
fn rcode_of(reply: &[u8]) -> u16 {
    let has_opt = reply[10..12] == [0, 1];
    let high = if has_opt { reply[reply.len() - 6] } else { 0 };
    u16::from(reply[3] & 0xf) | u16::from(high) << 4
}

/// T25: whoever sends answers to a server hears nothing, so that two servers never talk to each other.
fn answers(stage: &Stage) {
    for (client, to) in ways() {
        let netns = stage.netns(client);
        for rcode in 0..6u8 {
            let echo = altered(|query| (query[2], query[3]) = (query[2] | 0x80, rcode));
            let heard = netns.run(|| exchange(to, &echo, SILENCE)).expect("enter");
            assert_eq!(heard, None, "{client:?} at {to}: an answer with rcode {rcode}");
        }
        let heard = stage.exchange(client, to, &altered(|_| ()));
        assert!(heard.is_some(), "{client:?} at {to}: the server is well");
    }
}

fn sizes(stage: &Stage) {
    // Endpoints, size in OPT, by TCP; records in the answer, TC.
    let cases: [(u16, Option<u16>, bool, usize, bool); 7] = [
        (29, None, false, 29, false),
        (30, None, false, 29, true),
        (73, Some(4096), false, 73, false),
        (74, Some(4096), false, 0, true),
        (250, None, false, 29, true),
        (250, None, true, 250, false),
        (250, Some(512), true, 250, false),
    ];
    let name = "big.ns1.svc.cluster.local.";
    for (count, size, by_tcp, records, is_truncated) in cases {
        stage.put(&big(count));
        let query = message::query(name, message::kind("A"), size);
        for (client, to) in ways() {
            let what =
                format!("{count} endpoints, size {size:?}, TCP {by_tcp}: {client:?} at {to}");
            let ask = || match by_tcp {
                true => by_stream(stage, client, to, &[&query]).pop(),
                false => stage.exchange(client, to, &query),
            };
            // The node hears of the endpoints in its time.
            eventually(&what, || {
                let reply = ask().ok_or("no answer")?;
                let (length, reply) = (reply.len(), message::read(&reply));
                let fits = by_tcp || length <= usize::from(size.unwrap_or(512).clamp(512, 1232));
                let found = (reply.sections[0].len(), reply.is_truncated(), fits);
                let opt = reply.opt.map(|(size, _)| size);
                match (found, opt) == ((records, is_truncated, true), size.map(|_| 1232)) {
                    true => Ok(()),
                    false => Err(format!("{found:?} {opt:?}")),
                }
            });
        }
    }
}

fn cookies(stage: &Stage) {
    for vip in VIPS {
        let server = format!("@{vip}");
        let argv = ["dig", &server, "+cookie=0123456789abcdef", "web.ns1.svc.cluster.local"];
        let said = success(&stage.run(Client::Pod("shell-1"), &argv)).expect("an answer");
        assert!(said.contains("COOKIE: 0123456789abcdef") && said.contains("(good)"), "{said}");
    }
}

fn pipelined(stage: &Stage) {
    let query = |id: u8| altered(|query| query[1] = id);
    for (client, to) in ways() {
        let queries: Vec<Vec<u8>> = (0..50).map(query).collect();
        let queries: Vec<&Vec<u8>> = queries.iter().collect();
        let replies = by_stream(stage, client, to, &queries);
        let ids: BTreeSet<u8> = replies.iter().map(|reply| reply[1]).collect();
        assert_eq!((replies.len(), ids.len()), (50, 50), "{client:?} at {to}");
        let is_whole = |reply: &Vec<u8>| read(reply).sections[0].len() == 1;
        assert!(replies.iter().all(is_whole), "{client:?} at {to}");
    }
}

fn turns(stage: &Stage) {
    let first = |_| {
        let questions = [("db.ns1.svc.cluster.local", "A")];
        let replies = Dig::at(VIPS[0]).ask(stage, Client::Pod("shell-1"), &questions);
        replies.expect("an answer")[0].answer[0].text.clone()
    };
    let firsts: BTreeSet<String> = (0..24).map(first).collect();
    assert_eq!(firsts.len(), 3, "{firsts:?}");
}

fn read(reply: &[u8]) -> Message {
    message::read(reply)
}

/// What comes back for `queries` that are sent at once over one connection.
fn by_stream(stage: &Stage, client: Client, to: SocketAddr, queries: &[&Vec<u8>]) -> Vec<Vec<u8>> {
    let talk = || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let frame = |query: &&Vec<u8>| {
            let length = u16::try_from(query.len()).expect("a message");
            [&length.to_be_bytes(), &query[..]].concat()
        };
        stream.write_all(&queries.iter().flat_map(frame).collect::<Vec<u8>>()).expect("send");
        let reply = |_| {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut reply = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut reply).ok()?;
            Some(reply)
        };
        queries.iter().map_while(reply).collect()
    };
    stage.netns(client).run(talk).expect("enter the client's network")
}
