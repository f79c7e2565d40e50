//! Whatever a client asks the DNS server is answered, refused or dropped: in no more bytes than it takes,
//! and never with an answer to an answer.
#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use model::ServiceName;
use plan::zone::{Endpoint, Endpoints, Entry, Port, Question, Zones, answer, write};
use wire::dns::{Reply, Transport, Unanswered, read, refuse};

static ZONES: LazyLock<Zones> = LazyLock::new(zones);

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    match read(bytes) {
        Err(Unanswered::Silent) => return,
        Err(Unanswered::Refused(refusal)) => refuse(&refusal, &mut out),
        Ok(query) => {
            let question = Question { name: &query.name, kind: query.kind, turn: 3 };
            let Some(answer) = answer(&ZONES, &question) else { return };
            write(&answer, Reply::new(&query, Transport::Udp, &mut out));
            let limit = query.edns.map_or(512, |edns| usize::from(edns.size.clamp(512, 1232)));
            assert!(out.len() <= limit, "{} bytes", out.len());
            assert_eq!(out[12..12 + query.question.len()], *query.question);
        }
    }
    assert_eq!(out[..2], bytes[..2]);
    assert!(out[2] & 0x80 != 0, "an answer");
    assert_eq!(read(&out).unwrap_err(), Unanswered::Silent);
});

/// One Service of each kind, one of them with many endpoints.
fn zones() -> Zones {
    let port = Port { name: "http".into(), protocol: model::Protocol::Tcp, port: 80 };
    let ports = [port];
    let host: Arc<str> = "db-0".into();
    let endpoint = |i: u8| Endpoint {
        host: (i == 0).then_some(&host),
        ip: IpAddr::from([10, 244, 0, i]),
        is_pod: true,
        ports: &ports,
    };
    let endpoints = Endpoints::new((0..=u8::MAX).map(endpoint).collect(), Vec::new());
    let addrs = ["10.96.0.1", "fd00:96::1"].map(|ip| ip.parse().expect("an address")).into();
    let alias = "web.ns.svc.cluster.local.".parse().expect("a name");
    let mut zones = Zones::default();
    for (name, entry) in [
        (
            "web",
            Entry::Cluster { addrs, ports: ports.clone().into(), endpoints: endpoints.clone() },
        ),
        ("db", Entry::Headless(endpoints)),
        ("ext", Entry::External(Box::new(alias))),
    ] {
        zones.put(&ServiceName::new("ns", name), Some(entry));
    }
    zones.is_complete = true;
    zones
}
