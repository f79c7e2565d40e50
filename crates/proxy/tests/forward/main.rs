//! What a node asks of other servers, who behave well and not so well.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod forgers;
mod server;
mod tls;

use std::time::Duration;

use model::DomainName;
use model::forwarding::{ForwardZone, Forwarding, Over, Policy, Upstream};
use seaway_proxy::dns::{Connections, Forwarder, Found, Others, Sought, UpstreamTally};
use tokio::runtime::Handle;
use wire::dns::{Rcode, RecordType};

use self::server::{Question, Server, record};

fn sought(name: &str) -> Sought {
    let (dnssec_ok, checking_disabled) = (false, false);
    let name = name.parse().unwrap();
    Sought { name, kind: RecordType::A, dnssec_ok, checking_disabled }
}

/// Settings that ask `servers`, the first one first.
fn settings(servers: &[&Server]) -> Forwarding {
    let to = |server: &&Server| model::forwarding::Server { addr: server.addr, over: Over::Udp };
    let to = servers.iter().map(to).map(Upstream::Server).collect();
    let root = ForwardZone { policy: Policy::Sequential, ..ForwardZone::new(DomainName::ROOT, to) };
    Forwarding { zones: vec![root], ..Forwarding::default() }
}

fn forwarder(settings: Forwarding) -> Forwarder {
    Forwarder::new(DomainName::CLUSTER_LOCAL, settings, &Handle::current())
}

async fn ask(forwarder: &Forwarder, name: &str) -> Found {
    forwarder.ask(sought(name)).await
}

/// The last bytes of the addresses in `found`.
fn addresses(found: &Found) -> Vec<u8> {
    let is_address = |record: &&seaway_proxy::dns::FoundRecord| record.kind == RecordType::A;
    found.records.iter().filter(is_address).map(|record| record.rdata[3]).collect()
}

#[tokio::test]
async fn dns70_dns90_dns164_an_answer_is_remembered_for_its_question_alone() {
    let server = Server::new(|question| vec![question.address(1)]).await;
    let forwarder = forwarder(settings(&[&server]));
    assert_eq!(forwarder.remembered(&sought("a.example")), None);
    let found = ask(&forwarder, "a.example").await;
    assert_eq!((found.rcode, addresses(&found)), (Rcode::NoError, vec![1]));
    let found = forwarder.remembered(&sought("a.example")).unwrap();
    assert!((1..=60).contains(&found.records[0].ttl), "{found:?}");
    // Another question, in as little as a flag, is asked for itself (T27).
    for different in [
        Sought { dnssec_ok: true, ..sought("a.example") },
        Sought { checking_disabled: true, ..sought("a.example") },
        Sought { kind: RecordType::AAAA, ..sought("a.example") },
    ] {
        assert_eq!(forwarder.remembered(&different), None);
        forwarder.ask(different).await;
    }
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn dns93_many_who_ask_the_same_are_one_question() {
    let server = Server::new(|question| vec![question.address(1)]).await;
    let forwarder = forwarder(settings(&[&server]));
    let all = (0..50).map(|_| ask(&forwarder, "a.example"));
    for found in futures_util::future::join_all(all).await {
        assert_eq!(addresses(&found), [1]);
    }
    assert_eq!(server.asked().len(), 1);
}

/// What a forger sends before the answer comes (T26), as a change of the true answer.
fn forgeries(question: &Question) -> Vec<Vec<u8>> {
    let forged = question.address(66);
    let with = |at: usize, xor: u8| {
        let mut message = forged.clone();
        message[at] ^= xor;
        message
    };
    vec![
        with(0, 1),
        with(1, 1),
        with(2, 0x80),
        with(2, 0x08),
        with(5, 1),
        with(13, 0x20),
        with(12 + question.question.len() - 1, 2),
        with(12 + question.question.len() - 3, 1),
        forged[..11].to_vec(),
        forged[..forged.len() - 1].to_vec(),
        vec![],
        b"garbage".repeat(100),
        question.address(1),
    ]
}

#[tokio::test]
async fn dns93_dns161_nothing_but_the_answer_ends_a_question() {
    let server = Server::new(forgeries).await;
    let forwarder = forwarder(settings(&[&server]));
    assert_eq!(addresses(&ask(&forwarder, "abc.example").await), [1]);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn dns93_dns161_every_question_has_another_port_and_another_id() {
    let server = Server::new(|question| vec![question.address(1)]).await;
    let forwarder = forwarder(settings(&[&server]));
    for i in 0..64 {
        ask(&forwarder, &format!("a{i}.example")).await;
    }
    let mut all: Vec<_> =
        server.asked().iter().map(|q| (q.from.port(), q.message[..2].to_vec())).collect();
    let (ports, ids) = all.iter().cloned().unzip::<_, _, Vec<_>, Vec<_>>();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 64);
    let different =
        |numbers: Vec<u16>| numbers.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(different(ports.clone()) > 55, "ports {ports:?}");
    let ids: Vec<u16> = ids.iter().map(|id| u16::from_be_bytes([id[0], id[1]])).collect();
    assert!(different(ids.clone()) > 55, "ids {ids:?}");
    let rises = ports.windows(2).filter(|two| two[0] < two[1]).count();
    assert!((12..=51).contains(&rises), "ports in an order: {ports:?}");
}

#[tokio::test]
async fn dns95_what_does_not_fit_is_asked_for_by_tcp() {
    let many = record(b"\xc0\x0c", 1, 60, &[192, 0, 2, 7]).repeat(500);
    let server = Server::new(move |question| {
        let mut truncated = question.address(66);
        truncated[2] |= 2;
        vec![if question.is_tcp { question.answer(0, [500, 0], &many) } else { truncated }]
    })
    .await;
    let forwarder = forwarder(settings(&[&server]));
    for name in ["a.example", "b.example"] {
        assert_eq!(addresses(&ask(&forwarder, name).await), vec![7; 500]);
    }
    let by_tcp: Vec<_> = server.asked().into_iter().filter(|q| q.is_tcp).map(|q| q.from).collect();
    assert!(by_tcp.len() == 2 && by_tcp[0] == by_tcp[1], "one connection: {by_tcp:?}");
}

#[tokio::test]
async fn dns95_a_silent_server_is_passed_over() {
    let silent = Server::new(|_| vec![]).await;
    let good = Server::new(|question| vec![question.address(2)]).await;
    let forwarder = forwarder(settings(&[&silent, &good]));
    assert_eq!(addresses(&ask(&forwarder, "a.example").await), [2]);
    assert_eq!((silent.asked().len(), good.asked().len()), (1, 1));
    // Its checks fail, so that the other one is first.
    while tally_of(&forwarder, &silent).failed_checks < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(addresses(&ask(&forwarder, "b.example").await), [2]);
    assert_eq!(silent.asked().len(), 1);
}

#[tokio::test]
async fn a_server_that_cannot_say_is_not_the_last_one() {
    for rcode in [2, 5] {
        let bad = Server::new(move |question| vec![question.answer(rcode, [0, 0], b"")]).await;
        let good = Server::new(|question| vec![question.address(2)]).await;
        let forwarder = forwarder(settings(&[&bad, &good]));
        assert_eq!(addresses(&ask(&forwarder, "a.example").await), [2], "rcode {rcode}");
    }
}

#[tokio::test]
async fn dns80_dns90_when_nobody_answers_that_is_said_and_remembered() {
    let silent = Server::new(|_| vec![]).await;
    let forwarder = forwarder(settings(&[&silent]));
    assert_eq!(ask(&forwarder, "a.example").await.rcode, Rcode::ServFail);
    assert!(silent.asked().len() > 1, "a lost datagram is sent again");
    let first = &silent.asked()[0];
    assert!(silent.asked().iter().all(|q| (&q.message, q.from) == (&first.message, first.from)));
    let remembered = forwarder.remembered(&sought("a.example")).unwrap();
    assert_eq!(remembered.rcode, Rcode::ServFail);
}

/// Settings by which an answer holds for a second.
fn short_lived(servers: &[&Server]) -> Forwarding {
    let mut settings = settings(servers);
    (settings.cache.success.min_ttl, settings.cache.success.max_ttl) = (1, 1);
    settings
}

#[tokio::test]
async fn dns80_dns90_an_answer_is_given_beyond_its_time_when_nobody_has_a_newer_one() {
    let server = Server::new(|question| match question.turn {
        0 => vec![question.address(1)],
        1 => vec![],
        _ => vec![question.address(2)],
    })
    .await;
    let forwarder = forwarder(short_lived(&[&server]));
    ask(&forwarder, "a.example").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(forwarder.remembered(&sought("a.example")), None);
    let stale = ask(&forwarder, "a.example").await;
    assert_eq!((addresses(&stale), stale.records[0].ttl), (vec![1], 30));
    // The question goes on, and is sent again. Then the answer is new.
    server.was_asked(3).await;
    while forwarder.remembered(&sought("a.example")).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(addresses(&ask(&forwarder, "a.example").await), [2]);
    assert_eq!(forwarder.tally().stale, 1);
}

#[tokio::test]
async fn dns90_a_failure_does_not_take_the_place_of_a_stale_answer() {
    let server = Server::new(|question| match question.turn {
        0 => vec![question.address(1)],
        _ => vec![question.answer(2, [0, 0], b"")],
    })
    .await;
    let forwarder = forwarder(short_lived(&[&server]));
    ask(&forwarder, "a.example").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        assert_eq!(addresses(&ask(&forwarder, "a.example").await), [1]);
    }
    assert_eq!(server.asked().len(), 2, "who failed is not asked again at once");
}

#[tokio::test]
async fn dns80_dns90_what_is_asked_for_often_is_renewed_before_its_time() {
    let server = Server::new(|q| vec![q.address(if q.turn == 0 { 1 } else { 2 })]).await;
    let forwarder = forwarder(short_lived(&[&server]));
    ask(&forwarder, "a.example").await;
    for _ in 0..4 {
        assert_eq!(addresses(&forwarder.remembered(&sought("a.example")).unwrap()), [1]);
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!(addresses(&forwarder.remembered(&sought("a.example")).unwrap()), [1]);
    server.was_asked(2).await;
    assert_eq!(forwarder.tally().prefetches, 1);
}

#[tokio::test]
async fn dns152_what_came_of_asking_is_counted_by_server() {
    let silent = Server::new(|_| vec![]).await;
    let good = Server::new(|question| match question.is_tcp {
        true => vec![question.address(1)],
        false => {
            let mut truncated = question.address(66);
            truncated[2] |= 2;
            vec![truncated]
        }
    })
    .await;
    let mut settings = settings(&[&silent, &good]);
    // One server, asked about two zones, is one.
    let corp = ForwardZone { zone: "corp.example".parse().unwrap(), ..settings.zones[0].clone() };
    settings.zones.push(corp);
    let forwarder = forwarder(settings);
    for name in ["a.example", "b.example", "c.corp.example"] {
        ask(&forwarder, name).await;
        assert!(forwarder.remembered(&sought(name)).is_some());
    }
    while tally_of(&forwarder, &silent).failed_checks < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tally = forwarder.tally();
    assert_eq!((tally.upstreams.len(), tally.misses, tally.success.hits), (2, 3, 3));
    assert_eq!(tally_of(&forwarder, &silent).took, []);
    let good = tally_of(&forwarder, &good);
    let [(Rcode::NoError, classes)] = &good.took[..] else { panic!("{good:?}") };
    // Those that look for loops are among them.
    assert!(classes.counts.iter().sum::<u64>() >= 3, "{good:?}");
    assert!(good.tcp.made >= 2 && good.tcp.reused >= 1, "a connection for each zone: {good:?}");
    assert_eq!((good.tls, good.failed_checks), (Connections::default(), 0));
}

fn tally_of(forwarder: &Forwarder, server: &Server) -> UpstreamTally {
    let all = forwarder.tally().upstreams;
    all.into_iter().find(|upstream| upstream.to == server.addr).unwrap()
}
