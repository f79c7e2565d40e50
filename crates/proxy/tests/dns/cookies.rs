//! Who shows that it is where it says, and who does not.

use std::sync::Arc;

use seaway_proxy::dns::Sources;

use super::node::{A, Node, client, head, query, tcp, udp, with_opt};

const COOKIE: [u8; 8] = *b"01234567";

fn web() -> Vec<u8> {
    query(7, "web.ns.svc.cluster.local", A)
}

/// The question with a client's cookie, and what the server has given it.
fn with_cookie(server: &[u8]) -> Vec<u8> {
    let len = u8::try_from(8 + server.len()).unwrap();
    with_opt(web(), 1232, &[&[0, 10, 0, len], &COOKIE[..], server].concat())
}

/// The server's cookie in an answer that ends with it.
fn given(answer: &[u8]) -> Vec<u8> {
    let option = &answer[answer.len() - 28..];
    assert_eq!((&option[..4], &option[4..12]), (&[0, 10, 0, 24][..], &COOKIE[..]));
    option[12..].to_vec()
}

#[test]
fn dns68_a_client_that_brings_a_cookie_is_given_one() {
    let node = Node::start();
    for got in node.ask_everywhere(&with_cookie(&[])) {
        assert_eq!(head(&got), (7, 0, 1));
        let mine = given(&got);
        for again in [mine, vec![9; 16]] {
            let answer = udp(node.v4.addr, &with_cookie(&again)).unwrap();
            assert_eq!(head(&answer), (7, 0, 1), "the cluster's own need none");
        }
    }
    let big = query(1, "db.ns.svc.cluster.local", A);
    let options = [&[0, 10, 0, 8], &COOKIE[..]].concat();
    let cut = udp(node.v4.addr, &with_opt(big, 4096, &options)).unwrap();
    assert_eq!((cut[2] & 2, given(&cut).len()), (2, 16), "an answer that is cut has it, too");
}

#[test]
fn dns68_a_stranger_needs_a_cookie_or_tcp() {
    let node = Node::start();
    node.known.cluster.store(Arc::new(Sources::default()));
    // Of IPv6 loopback has one address alone, and a server's own is no stranger's.
    let (addr, socket) = (node.v4.addr, client(node.v4.addr));
    let ask = |message: &[u8]| {
        let mut buffer = [0; 1232];
        socket.send(message).unwrap();
        let len = socket.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    let plain = ask(&web());
    assert_eq!((head(&plain), plain[2] & 2), ((7, 0, 0), 2), "truncated: ask by TCP");
    assert!(plain.len() <= web().len(), "no more than was sent");
    assert_eq!(head(&tcp(addr, &web())), (7, 0, 1));
    let refused = ask(&with_cookie(&[]));
    assert_eq!((head(&refused), refused[refused.len() - 34]), ((7, 7, 0), 1), "BADCOOKIE, 23");
    let given = given(&refused);
    assert_eq!(head(&ask(&with_cookie(&given))), (7, 0, 1));
    assert_eq!(head(&ask(&with_cookie(&[9; 16]))), (7, 7, 0), "not one of ours");
    assert_eq!(head(&udp(node.v6.addr, &web()).unwrap()), (7, 0, 1), "the node itself");
}
