//! Connections: many questions on one, slow clients, too many clients.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use seaway_proxy::dns::{Admits, Limits};

use super::node::{A, Node, client, connect, framed, head, next, query, udp};

#[test]
fn dns71_a_question_that_is_known_does_not_wait_for_one_before_it() {
    let node = Node::start();
    let mut stream = connect(node.v4.addr);
    let questions = [
        query(1, "slow.example.org", A),
        query(2, "web.ns.svc.cluster.local", A),
        query(3, "www.example.org", A),
    ];
    stream.write_all(&questions.map(|question| framed(&question)).concat()).unwrap();
    let mut ids = [(); 2].map(|()| head(&next(&mut stream).unwrap()).0);
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    stream.shutdown(Shutdown::Write).unwrap();
    node.others.gate.add_permits(1);
    assert_eq!(head(&next(&mut stream).unwrap()), (1, 0, 1), "also to who has nothing more to ask");
    assert_eq!(next(&mut stream), None);
}

#[test]
fn dns71_a_message_may_come_byte_by_byte() {
    let node = Node::start();
    let mut stream = connect(node.v6.addr);
    stream.set_nodelay(true).unwrap();
    for byte in framed(&query(4, "web.ns.svc.cluster.local", A)) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(head(&next(&mut stream).unwrap()), (4, 0, 1));
}

#[test]
fn dns71_dns163_many_questions_at_once_are_all_answered() {
    let node = Node::start();
    let mut stream = connect(node.v4.addr);
    let question = |id| framed(&query(id, "db.ns.svc.cluster.local", A));
    let mut writing = stream.try_clone().unwrap();
    let all: Vec<u8> = (0..500).flat_map(question).collect();
    // Two megabytes of answers: more than anybody buffers, so reading has to wait for writing.
    let writer = std::thread::spawn(move || writing.write_all(&all));
    for id in 0..500 {
        assert_eq!(head(&next(&mut stream).unwrap()), (id, 0, 250));
    }
    writer.join().unwrap().unwrap();
}

#[test]
fn dns163_a_message_longer_than_any_question_ends_the_connection() {
    let node = Node::start();
    let mut stream = connect(node.v4.addr);
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    assert_eq!(next(&mut stream), None);
}

#[test]
fn dns71_dns163_a_client_has_so_many_connections_and_no_more() {
    let limits = Limits { connections_each: 3, ..Limits::default() };
    let node = Node::with(limits, Admits::Everyone);
    let question = framed(&query(1, "web.ns.svc.cluster.local", A));
    let mut streams = [(); 3].map(|()| connect(node.v4.addr));
    for stream in &mut streams {
        stream.write_all(&question).unwrap();
        assert_eq!(head(&next(stream).unwrap()), (1, 0, 1));
    }
    assert_eq!(next(&mut connect(node.v4.addr)), None, "one too many");
    assert_eq!(node.server().counts().connections_shed(), 1);
    let mut other = connect(node.v6.addr);
    other.write_all(&question).unwrap();
    assert_eq!(head(&next(&mut other).unwrap()), (1, 0, 1), "another client is not hindered");
}

#[test]
fn dns96_a_client_has_so_many_open_questions_and_no_more() {
    let limits = Limits { open_each: 3, ..Limits::default() };
    let node = Node::with(limits, Admits::Everyone);
    let greedy = client(node.v4.addr);
    for id in 0..4 {
        greedy.send(&query(id, "slow.example.org", A)).unwrap();
    }
    let mut buffer = [0; 512];
    let len = greedy.recv(&mut buffer).unwrap();
    assert_eq!(head(&buffer[..len]).1, 2, "SERVFAIL for one of them");
    assert_eq!(node.server().counts().shed(), 1);
    let other = udp(node.v6.addr, &query(9, "www.example.org", A)).unwrap();
    assert_eq!(head(&other), (9, 0, 1), "another client is not hindered");
    node.others.gate.add_permits(3);
    for _ in 0..3 {
        let len = greedy.recv(&mut buffer).unwrap();
        assert_eq!(head(&buffer[..len]).1, 0);
    }
}

#[test]
fn dns71_dns163_who_is_slow_is_hung_up_on_and_who_waits_for_an_answer_is_not() {
    let limits = Limits { idle: Duration::from_secs(1), ..Limits::default() };
    let node = Node::with(limits, Admits::Everyone);
    let question = framed(&query(1, "web.ns.svc.cluster.local", A));
    let mut silent = connect(node.v4.addr);
    assert_eq!(next(&mut silent), None, "nothing was asked");
    let mut idle = connect(node.v4.addr);
    idle.write_all(&question).unwrap();
    assert_eq!(head(&next(&mut idle).unwrap()), (1, 0, 1));
    assert_eq!(next(&mut idle), None, "nothing more was asked");
    let mut slow = connect(node.v6.addr);
    slow.write_all(&[0x10, 0]).unwrap();
    // A byte at a time of four thousand: the question is not complete before the connection ends.
    while slow.write_all(&[0]).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut deaf = connect(node.v6.addr);
    let greedy = framed(&query(1, "db.ns.svc.cluster.local", A));
    while deaf.write_all(&greedy).is_ok() {} // It reads none of the answers.
}
