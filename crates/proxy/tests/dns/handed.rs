//! Sockets that come, go, and pass from one server to the next.

use std::io::Write;
use std::net::SocketAddr;

use seaway_proxy::dns::{Admits, Limits, Listen};

use super::node::{A, Node, client, connect, framed, head, next, places, query, udp};

fn web(id: u16) -> Vec<u8> {
    query(id, "web.ns.svc.cluster.local", A)
}

#[test]
fn dns109_a_successor_answers_what_came_while_nobody_read() {
    let mut old = Node::start();
    let clients = [old.v4, old.v6].map(|listen| client(listen.addr));
    let sockets = old.stop();
    for client in &clients {
        (0..50).for_each(|id| assert!(client.send(&web(id)).is_ok()));
    }
    let new = Node::at(old.v4, old.v6, Limits::default());
    let errors = new.server().listen(&[new.v4, new.v6], sockets);
    assert!(errors.is_empty(), "{errors:?}");
    for client in &clients {
        for _ in 0..50 {
            let mut buffer = [0; 512];
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!(head(&buffer[..len]).2, 1);
        }
    }
    for got in new.ask_everywhere(&web(60)) {
        assert_eq!(head(&got), (60, 0, 1));
    }
}

#[test]
fn dns141_each_thread_has_a_socket_of_its_own_at_each_address() {
    let most = Limits::default().threads.get();
    assert!((1..=4).contains(&most), "one for each core, and few");
    let [v4, v6] = places().map(|addr| Listen { addr, admits: Admits::Everyone });
    let node = Node::at(v4, v6, Limits { threads: 3.try_into().unwrap(), ..Limits::default() });
    assert!(node.server().listen(&[v4, v6], Vec::new()).is_empty());
    let (streams, datagrams) = (1, 3);
    assert_eq!(node.server().sockets().unwrap().len(), 2 * (streams + datagrams));
    assert_eq!(node.server().beats().len(), 3);
    // The kernel spreads clients over them, and each is answered.
    for id in 0..64 {
        let answer = udp(v4.addr, &web(id)).unwrap();
        assert_eq!(head(&answer), (id, 0, 1));
    }
}

#[test]
fn dns109_two_servers_at_the_same_sockets_answer_every_question_once() {
    let mut old = Node::start();
    let new = Node::at(old.v4, old.v6, Limits::default());
    let errors = new.server().listen(&[new.v4, new.v6], old.server().sockets().unwrap());
    assert!(errors.is_empty(), "{errors:?}");
    let client = client(old.v4.addr);
    let mut answered = Vec::new();
    for id in 0..200 {
        if id == 100 {
            drop(old.stop());
        }
        client.send(&web(id)).unwrap();
        let mut buffer = [0; 512];
        let len = client.recv(&mut buffer).unwrap();
        answered.push(head(&buffer[..len]).0);
    }
    assert_eq!(answered, (0..200).collect::<Vec<_>>());
}

/// One has said nothing yet, one is between two questions, one has begun a question and one has not read
/// its answer.
#[test]
fn connections_pass_to_a_successor_between_two_questions() {
    let mut old = Node::start();
    let [quiet, asked, mut begun, waits] = [(); 4].map(|()| connect(old.v6.addr));
    let mut asked = asked;
    asked.write_all(&framed(&web(1))).unwrap();
    assert_eq!(head(&next(&mut asked).unwrap()), (1, 0, 1));
    let question = framed(&web(2));
    begun.write_all(&question[..7]).unwrap();
    let mut waits = waits;
    waits.write_all(&framed(&query(3, "slow.example.org", A))).unwrap();
    while old.others.asked.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let new = Node::at(old.v4, old.v6, Limits::default());
    let errors = new.server().listen(&[new.v4, new.v6], old.server().sockets().unwrap());
    assert!(errors.is_empty(), "{errors:?}");
    let gate = std::sync::Arc::clone(&old.others.gate);
    let letting = std::thread::spawn(move || {
        gate.add_permits(1);
        begun.write_all(&question[7..]).unwrap();
        begun
    });
    let handed = old.stop();
    let mut begun = letting.join().unwrap();
    // What is asked while nobody reads is answered as well.
    asked.write_all(&framed(&web(4))).unwrap();
    new.server().adopt(handed);
    assert_eq!(head(&next(&mut begun).unwrap()), (2, 0, 1));
    assert_eq!(head(&next(&mut waits).unwrap()), (3, 0, 1));
    assert_eq!(head(&next(&mut asked).unwrap()), (4, 0, 1));
    for (id, mut stream) in (5..).zip([quiet, asked, begun, waits]) {
        stream.write_all(&framed(&web(id))).unwrap();
        assert_eq!(head(&next(&mut stream).unwrap()), (id, 0, 1));
    }
}

#[test]
fn dns109_what_has_come_is_answered_before_the_end() {
    let mut node = Node::start();
    let clients = [node.v4, node.v6].map(|listen| client(listen.addr));
    for client in &clients {
        (0..100).for_each(|id| assert!(client.send(&web(id)).is_ok()));
    }
    drop(node.stop());
    for client in &clients {
        client.set_nonblocking(true).unwrap(); // All answers are there.
        for id in 0..100 {
            let mut buffer = [0; 512];
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!(head(&buffer[..len]), (id, 0, 1));
        }
    }
}

#[test]
fn dns109_what_is_open_is_answered_before_the_end() {
    let mut node = Node::start();
    let client = client(node.v4.addr);
    client.send(&query(3, "slow.example.org", A)).unwrap();
    while node.others.asked.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let gate = std::sync::Arc::clone(&node.others.gate);
    let letting = std::thread::spawn(move || gate.add_permits(1));
    let sockets = node.stop();
    letting.join().unwrap();
    drop(sockets);
    let mut buffer = [0; 512];
    let len = client.recv(&mut buffer).unwrap();
    assert_eq!(head(&buffer[..len]), (3, 0, 1));
}

#[test]
fn addresses_come_and_go_while_others_are_listened_at() {
    let node = Node::start();
    let [more, _] = places();
    let more = Listen { addr: more, admits: Admits::Everyone };
    let wildcard = Listen { addr: SocketAddr::from(([0, 0, 0, 0], 5353)), ..more };
    let errors = node.server().listen(&[node.v4, more, wildcard], Vec::new());
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["listen for DNS at 0.0.0.0:5353"]);
    for addr in [node.v4.addr, more.addr] {
        assert_eq!(head(&udp(addr, &web(1)).unwrap()), (1, 0, 1));
    }
    assert_eq!(node.server().addrs().len(), 2);
    let gone = client(node.v6.addr);
    // Its last thread closes it soon after; then the kernel says that nobody is there.
    while gone.send(&web(2)).is_ok() {
        std::thread::yield_now();
    }
}
