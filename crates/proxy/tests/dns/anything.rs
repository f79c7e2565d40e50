//! Whatever is sent, the server goes on, and says no more than its clients take.

use std::io::Write;

use seaway_proxy::dns::{Admits, Limits};

use super::node::{A, Node, client, connect, framed, head, next, query, with_opt};

/// Numbers that look random, and are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next(256)).unwrap()
    }

    /// A question, with some of its bytes changed, cut off or added.
    fn mangled(&mut self) -> Vec<u8> {
        let names = [
            "db.ns.svc.cluster.local",
            "ext.ns.svc.cluster.local",
            "www.example.org",
            "20.0.96.10.in-addr.arpa",
            "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z",
        ];
        let kinds = [1, 5, 6, 12, 16, 28, 33, 41, 252, 255];
        let mut message = query(7, names[self.next(names.len())], kinds[self.next(kinds.len())]);
        if self.next(2) == 0 {
            let options: Vec<u8> = (0..self.next(40)).map(|_| self.byte()).collect();
            message = with_opt(message, 4096, &options);
        }
        for _ in 0..self.next(4) {
            let at = self.next(message.len());
            message[at] = self.byte();
        }
        match self.next(4) {
            0 => message.truncate(self.next(message.len() + 1)),
            1 => message.extend((0..self.next(600)).map(|at| at.to_be_bytes()[7])),
            _ => {}
        }
        message
    }
}

#[test]
fn dns160_dns162_dns176_datagrams_of_any_bytes_end_nothing_and_are_not_amplified() {
    let node = Node::start();
    let (client, mut numbers) = (client(node.v4.addr), Numbers(0x5ea_3a4));
    let mut buffer = [0; 65_535];
    for id in 0..100 {
        for _ in 0..50 {
            client.send(&numbers.mangled()).unwrap();
        }
        // One that is answered, and by the thread that has read those before it.
        client.send(&query(0xff00 | id, "web.ns.svc.cluster.local", A)).unwrap();
        loop {
            let len = client.recv(&mut buffer).unwrap();
            assert!(len <= 1232 && buffer[2] & 0x80 != 0, "{len} bytes");
            if head(&buffer[..len]).0 == 0xff00 | id {
                break;
            }
        }
    }
    for got in node.ask_everywhere(&query(1, "web.ns.svc.cluster.local", A)) {
        assert_eq!(head(&got), (1, 0, 1));
    }
    assert_eq!(node.server().counts().panics(), 0);
}

#[test]
fn dns160_dns163_dns176_streams_of_any_bytes_end_nothing_but_themselves() {
    // None is turned away because those before it are not put away yet.
    let limits = Limits { connections_each: 1000, ..Limits::default() };
    let node = Node::with(limits, Admits::Everyone);
    let mut numbers = Numbers(0x0bad_5eed);
    for _ in 0..200 {
        let mut stream = connect(node.v6.addr);
        let messages: Vec<u8> =
            (0..numbers.next(20)).flat_map(|_| framed(&numbers.mangled())).collect();
        // A client of ours may be hung up on while it writes.
        let (Ok(()) | Err(_)) = stream.write_all(&messages);
    }
    let mut stream = connect(node.v6.addr);
    stream.write_all(&framed(&query(1, "web.ns.svc.cluster.local", A))).unwrap();
    assert_eq!(head(&next(&mut stream).unwrap()), (1, 0, 1));
    assert_eq!(node.server().counts().panics(), 0);
}

/// Header counts that promise more than there is, names that are too long, pointers into themselves.
#[test]
fn dns64_dns162_messages_that_promise_too_much_are_refused() {
    let node = Node::start();
    let web = || query(9, "web.ns.svc.cluster.local", A);
    let mut records = web();
    records[6..12].fill(0xff);
    let mut pointer = web()[..12].to_vec();
    pointer.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut long = web()[..12].to_vec();
    (0..4).for_each(|_| {
        long.push(63);
        long.extend([b'a'; 63]);
    });
    long.extend([0, 0, 1, 0, 1]);
    let mut twice = with_opt(with_opt(web(), 1232, &[]), 1232, &[]);
    twice[11] = 2;
    for message in [records, pointer, long, twice] {
        for got in node.ask_everywhere(&message) {
            assert_eq!((head(&got).0, head(&got).1), (9, 1), "FORMERR to {message:02x?}");
        }
    }
}
