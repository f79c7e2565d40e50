//! Connections that are open while their Service changes.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::json;

use super::ask::{connect, read_line};
use super::stage::{Stage, balancer, service};
use super::table::TCP;
use crate::lab::test;

pub(crate) fn trials() -> Vec<Trial> {
    ["routed", "bridge"]
        .map(|link| {
            let name = format!("s20_s43_a_connection_stays_whatever_becomes_of_its_service_{link}");
            test(&name, move || connections(link))
        })
        .into()
}

/// A connection, and what it is.
type Open = (String, TcpStream);

/// From everywhere to every frontend; then other endpoints, another policy, no endpoint, no Service.
fn connections(link: &str) {
    let stage = Stage::up(&["--pod-link", link]);
    stage.lab.apply(&service("web", "pod: web-1", "  type: LoadBalancer\n"));
    stage.balance("web", &balancer(1));
    let frontends = stage.frontends("web");
    let mut table = String::new();
    let mut places = Vec::new();
    for client in ["pod-1", "pod-2", "node-1", "node-2", "client", "web-1"] {
        for to in ["cluster", "node-1", "vip"] {
            let seen = match (client, to) {
                ("web-1" | "client", _) | ("pod-2" | "node-2", "node-1") => "node-1",
                _ => client,
            };
            table += &format!("{client} | {to} | web-1 | {seen}\n");
            places.extend(
                Family::ALL.map(|family| (client, frontends.at(to, family, Protocol::Tcp))),
            );
        }
    }
    stage.check_at(&frontends, TCP, &table);
    let open = places.into_iter().map(|(client, to)| connection(&stage, client, to));
    let mut open: Vec<Open> = open.collect();
    let mut all_go_on = |when: &str| open.iter_mut().for_each(|open| goes_on(open, when));
    all_go_on("at first");
    stage.change("web", &json!({"selector": {"pod": "web-2"}}));
    stage.check("web", TCP, "pod-1 | cluster | web-2 | itself");
    all_go_on("with another endpoint");
    stage.change("web", &json!({"externalTrafficPolicy": "Local"}));
    stage.check("web", TCP, "client | node-1 | silence");
    all_go_on("where new ones are dropped");
    stage.change("web", &json!({"selector": {"pod": "nobody"}}));
    stage.check("web", TCP, "pod-1 | cluster | refused\n client | vip | refused");
    all_go_on("without an endpoint");
    stage.kubectl(&["delete", "service", "web"]);
    stage.check_at(&frontends, TCP, "pod-1 | cluster | silence");
    all_go_on("without the Service");
}

fn connection(stage: &Stage, client: &str, to: SocketAddr) -> Open {
    let open = || connect(None, to, Duration::from_secs(5));
    let stream = stage.at(client).netns.run(open).expect("enter").expect("connect");
    let greeting = read_line(&stream).expect("a greeting");
    assert!(greeting.contains("host=web-1"), "{greeting}");
    (format!("{client} at {to}"), stream)
}

/// What is written comes back.
fn goes_on((what, stream): &mut Open, when: &str) {
    let line = format!("{when}\n");
    let wrote = stream.write_all(line.as_bytes());
    let came = wrote.and_then(|()| read_line(stream));
    assert_eq!(came.as_deref().map_err(|error| error.to_string()), Ok(&*line), "{what}, {when}");
}
