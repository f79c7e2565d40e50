//! Claims about the desk: who may see what.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::sync_channel;

use super::*;
use crate::handle::Message;
use crate::scratch::Scratch;
use crate::sockets::Sockets;

/// A desk before a loop that is ready and knows one table.
fn desk() -> Desk {
    let (inbox, messages) = sync_channel(16);
    std::thread::spawn(move || {
        for message in messages {
            match message {
                Message::Status(reply) => {
                    drop(reply.send(Status::Ready { pod_cidrs: Vec::new() }));
                }
                Message::Dump(name, reply) => {
                    drop(reply.send((name == "links").then(|| "seaway0\n".to_owned())));
                }
                Message::Attach(..)
                | Message::Detach(..)
                | Message::Check(..)
                | Message::Gc(..)
                | Message::Settle(..)
                | Message::Wake
                | Message::Stop => return,
            }
        }
    });
    Desk {
        handle: Handle::new(inbox),
        shown: Arc::default(),
        metrics: Arc::default(),
        due: Due::default(),
        watched: Watched::new().1,
        drops: Drops::default(),
        leadership: watch::channel(Leadership::default()).1,
        started: Instant::now(),
        settings: Arc::new(Settings::of_nobody()),
    }
}

#[tokio::test]
async fn root_sees_everything_and_anybody_sees_health_and_metrics() {
    let desk = desk();
    let cases = [
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/metrics", 200, 200),
        ("/proxyMode", 200, 200),
        ("/statusz", 200, 200),
        ("/livez", 404, 404),
        ("/plan", 200, 404),
        ("/report?o=json", 200, 404),
        ("/dump/links", 200, 404),
        ("/dump/ipam", 200, 404),
        ("/dump/ipam?o=json", 200, 404),
        ("/dump/links?o=json", 200, 404),
        ("/dump/services", 200, 404),
        ("/dump/policy", 200, 404),
        ("/dump/policy/shop/web", 404, 404),
        ("/dump/objects?o=json", 200, 404),
        ("/dump/objects", 404, 404),
        ("/dump/services?o=json", 200, 404),
        ("/dump/services/ns/web", 404, 404),
        ("/dump/nonsense", 404, 404),
        ("/", 404, 404),
    ];
    for (path, root, anybody) in cases {
        for (visitor, status) in [(Visitor::Root, root), (Visitor::Anybody, anybody)] {
            let answer = desk.answer(&Method::GET, path, &visitor).await;
            assert_eq!(answer.status.as_u16(), status, "{path} for {visitor:?}");
        }
    }
    let answer = desk.answer(&Method::POST, "/plan", &Visitor::Root).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_socket_is_for_root_alone_and_speaks_http() {
    let scratch = Scratch::new();
    let path = scratch.path().join("agent.sock");
    tokio::spawn(Server::socket(&path, &Sockets::default()).unwrap().serve(
        desk(),
        Visitor::Root,
        Seats::default(),
    ));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(b"GET /dump/links HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let text = text.await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nseaway0\n"),
        "{text}"
    );
}

#[tokio::test]
async fn probes_and_balancers_see_their_own_and_nothing_else() {
    let desk = desk();
    let balancer = Visitor::Balancer(ServiceName::new("shop", "web"), Family::V4);
    for (path, probe, balanced) in [
        ("/healthz", 503, 503),
        ("/livez", 200, 503),
        ("/metrics", 404, 503),
        ("/dump/ipam", 404, 503),
        ("/", 404, 503),
    ] {
        for (visitor, status) in [(&Visitor::Probe, probe), (&balancer, balanced)] {
            let answer = desk.answer(&Method::GET, path, visitor).await;
            assert_eq!(answer.status.as_u16(), status, "{path} for {visitor:?}");
            assert_eq!(answer.weight.is_some(), *visitor == balancer);
        }
    }
}

/// Twice as many clients as there are places, and none of them says anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_that_say_nothing_keep_nobody_out() {
    let server =
        Server::address("127.0.0.1:0".parse().unwrap(), &Sockets::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(server.serve(desk(), Visitor::Probe, Seats::default()));
    let text = tokio::task::spawn_blocking(move || {
        let silent: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        // The first have been let go for those who came later.
        let mut silent = silent.into_iter();
        assert_eq!(silent.next().unwrap().read(&mut [0]).unwrap(), 0);
        text
    });
    let text = text.await.unwrap();
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    assert!(text.contains("x-content-type-options: nosniff\r\n"), "{text}");
}

#[tokio::test]
async fn the_report_says_who_leads_as_soon_as_that_is_known() {
    let (leads, leadership) = watch::channel(Leadership::default());
    let desk = Desk { leadership, ..desk() };
    for leader in [None, Some("node-2")] {
        leads.send_modify(|shown| shown.leader = leader.map(str::to_owned));
        let answer = desk.answer(&Method::GET, "/report", &Visitor::Root).await;
        let last = answer.body.lines().last().unwrap();
        assert_eq!(last == "led by node-2", leader.is_some(), "{last}");
    }
}
