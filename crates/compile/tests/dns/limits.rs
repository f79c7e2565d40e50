//! Answers that do not fit, and how much a client may cause: DNS-65, DNS-66, DNS-75 to DNS-77.

use fixtures::message::{self, Message};
use wire::dns::Transport;

use super::world::{put_big, world, zones};

fn ask(
    count: u16,
    name: &str,
    kind: &str,
    size: Option<u16>,
    transport: Transport,
) -> (usize, Message) {
    let mut world = world();
    put_big(&mut world, count);
    let zones = zones(&world, &["Service ns1/exip"]);
    let query = message::query(name, message::kind(kind), size);
    let bytes = super::respond(&zones, &query, transport).unwrap();
    (bytes.len(), message::read(&bytes))
}

#[test]
fn dns65_dns66_dns75_to_dns77_a_big_answer_is_cut_as_its_client_can_take_it() {
    use Transport::{Tcp, Udp};
    let cases = [
        ("DNS-75", 29, None, Udp, 29, false),
        ("DNS-75", 30, None, Udp, 29, true),
        ("DNS-76", 73, Some(4096), Udp, 73, false),
        ("DNS-76", 74, Some(4096), Udp, 0, true),
        ("DNS-65", 29, Some(0), Udp, 28, true),
        ("DNS-65", 28, Some(0), Udp, 28, false),
        ("DNS-65", 44, Some(800), Udp, 44, false),
        ("DNS-77", 250, None, Tcp, 250, false),
        ("DNS-77", 4000, Some(512), Tcp, 4000, false),
        ("DNS-77", 5000, None, Tcp, 4093, true),
    ];
    for (id, there, size, transport, count, is_truncated) in cases {
        let (len, got) = ask(there, "big.ns1.svc.cluster.local.", "A", size, transport);
        let what = format!("{id}: {there} addresses, size {size:?}");
        let count = if is_truncated && size.is_some() { 0 } else { count };
        assert_eq!((got.sections[0].len(), got.is_truncated()), (count, is_truncated), "{what}");
        assert_eq!(got.opt, size.map(|_| (1232, 0)), "{what}");
        let limit = usize::from(size.map_or(512, |size| size.clamp(512, 1232)));
        assert!(transport == Transport::Tcp || len <= limit, "{what}: {len} bytes");
    }
}

#[test]
fn dns66_other_answers_come_whole_or_not_at_all_and_glue_as_far_as_it_fits() {
    let (_, srv) = ask(1, "_pg._tcp.db.ns1.svc.cluster.local.", "SRV", None, Transport::Udp);
    assert_eq!((srv.sections[0].len(), srv.sections[2].len(), srv.is_truncated()), (3, 3, false));
    let mut world = world();
    put_big(&mut world, 40);
    let slice = world.slices.iter().find(|(key, _)| *key.service.name == *"big").unwrap();
    let (key, mut slice) = (slice.0.clone(), model::EndpointSlice::clone(slice.1));
    slice.ports.push(model::EndpointPort {
        name: "x".into(),
        protocol: model::Protocol::Tcp,
        port: 1,
    });
    for (count, size, answers, is_truncated) in [
        (40, Some(1232), 0, true),
        (20, None, 0, true),
        (12, Some(1232), 12, false),
        (8, None, 8, false),
    ] {
        slice.endpoints.truncate(count);
        world.slices.insert(key.clone(), std::sync::Arc::new(slice.clone()));
        let zones = zones(&world, &["Service ns1/exip"]);
        let query = message::query("_x._tcp.big.ns1.svc.cluster.local.", 33, size);
        let bytes = super::respond(&zones, &query, Transport::Udp).unwrap();
        let got = message::read(&bytes);
        let seen = (got.sections[0].len(), got.is_truncated());
        assert_eq!(seen, (answers, is_truncated), "{count} endpoints, {size:?}");
    }
}
