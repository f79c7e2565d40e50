//! Who was not asked, and who says more than was asked for.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway_proxy::dns::{Others, Sought};
use wire::dns::{Rcode, RecordType};

use super::server::{Server, record};
use super::{addresses, ask, forwarder, settings, sought};

/// The forger knows all of the question, and has another port or another address (T26).
#[tokio::test]
async fn dns93_dns161_who_was_not_asked_is_not_heard() {
    let forgers = ["127.0.0.1:0", "127.0.0.2:0"].map(|addr| UdpSocket::bind(addr).unwrap());
    let server = Server::new(move |question| {
        for forger in &forgers {
            // Where nobody hears, the kernel may say so.
            drop(forger.send_to(&question.address(66), question.from));
        }
        vec![question.address(1)]
    })
    .await;
    let forwarder = forwarder(settings(&[&server]));
    for number in 0..20 {
        assert_eq!(addresses(&ask(&forwarder, &format!("a{number}.example")).await), [1]);
    }
    assert_eq!(server.asked().len(), 20);
}

#[tokio::test]
async fn dns81_a_server_that_answers_again_is_the_first_to_be_asked_again() {
    let is_well = Arc::new(AtomicBool::new(true));
    let sees = Arc::clone(&is_well);
    let says = move |question: &super::Question| match sees.load(Ordering::Relaxed) {
        true => vec![question.address(1)],
        false => vec![],
    };
    let first = Server::new(says).await;
    let second = Server::new(|question| vec![question.address(2)]).await;
    let forwarder = forwarder(settings(&[&first, &second]));
    let mut number = 0;
    for (state, answers) in [(true, 1), (false, 2), (true, 1), (false, 2), (true, 1)] {
        is_well.store(state, Ordering::Relaxed);
        let mut by = Vec::new();
        while by != [answers] {
            number += 1;
            assert!(number < 500, "{answers} is not asked");
            by = addresses(&ask(&forwarder, &format!("a{number}.example")).await);
            assert!(by == [1] || by == [2], "there is always one to ask: {by:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn dns74_nothing_is_validated_and_signatures_are_passed_on_to_who_wants_them() {
    // No signature over anything (RFC 4034 §3.1), of a key that nobody has.
    let rdata =
        [&[0, 1, 13, 2, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 1, 0, 7, 0][..], &[0; 64]].concat();
    let server = Server::new(move |question| {
        let address = record(b"\xc0\x0c", 1, 60, &[192, 0, 2, 1]);
        let records = [address, record(b"\xc0\x0c", 46, 60, &rdata)].concat();
        vec![question.answer(0, [2, 0], &records)]
    })
    .await;
    let forwarder = forwarder(settings(&[&server]));
    let found = forwarder.ask(Sought { dnssec_ok: true, ..sought("a.example") }).await;
    assert_eq!((found.rcode, addresses(&found)), (Rcode::NoError, vec![1]));
    let kinds: Vec<RecordType> = found.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordType::A, RecordType(46)]);
    assert!(!found.is_authentic, "nobody has said that it is");
}

#[tokio::test]
async fn dns87_servers_are_told_that_1232_bytes_may_come() {
    let server = Server::new(|question| vec![question.address(1)]).await;
    ask(&forwarder(settings(&[&server])), "a.example").await;
    let asked = server.asked().remove(0).message;
    assert_eq!(asked[10..12], [0, 1], "one OPT");
    assert_eq!(asked[asked.len() - 11..][..5], [0, 0, 41, 4, 0xd0]);
}
