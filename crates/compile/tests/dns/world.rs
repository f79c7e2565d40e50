//! The cluster that the vectors are about, as an API server shows it.

use std::sync::Arc;

use model::{World, decode};
use seaway_compile::dns::{Memo, Zones};
use serde_json::{Value, json};

/// What `world` is called; nothing of it may be rejected but what `rejects` names.
pub(crate) fn zones(world: &World, rejects: &[&str]) -> Zones {
    let mut rejected = Vec::new();
    let zones = Memo::default().zones(world, &mut rejected);
    let rejected: Vec<_> = rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected.len(), rejects.len(), "{rejected:?}");
    for (got, want) in rejected.iter().zip(rejects) {
        assert!(got.starts_with(want), "{got}");
    }
    zones
}

/// Section 1 of the reference, and a few more: a name server, and endpoints in all their states.
pub(crate) fn world() -> World {
    let mut world = World::default();
    for name in ["ns1", "empty", "kube-system"] {
        let object = json!({"metadata": {"name": name}}).to_string();
        let namespace = decode::namespace(object.as_bytes()).unwrap();
        world.namespaces.insert(Arc::clone(&namespace.name), Arc::new(namespace));
    }
    put_services(&mut world);
    put_slices(&mut world);
    world
}

/// The port of databases.
fn pg() -> Value {
    json!([{"name": "pg", "port": 5432, "protocol": "TCP"}])
}

fn put_services(world: &mut World) {
    let pg = pg();
    let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    let (http, dns) = (port("http", 80, "TCP"), port("dns", 53, "UDP"));
    put(world, "web", json!({"clusterIPs": ["10.96.0.20", "fd00:96::20"], "ports": [http, dns]}));
    put(world, "v4", json!({"clusterIP": "10.96.0.21", "ports": [{"port": 80}]}));
    for name in ["db", "dup", "none", "life"] {
        put(world, name, json!({"clusterIP": "None", "ports": pg}));
    }
    put(world, "bare", json!({"clusterIP": "None"}));
    put(world, "six", json!({"clusterIP": "None"}));
    put(
        world,
        "early",
        json!({"clusterIP": "None", "ports": pg, "publishNotReadyAddresses": true}),
    );
    for (name, target) in [
        ("ext", "example.org"),
        ("exip", "192.0.2.1"),
        ("exin", "web.ns1.svc.cluster.local"),
        ("lost", "nope.ns1.svc.cluster.local."),
        ("loop", "loop.ns1.svc.cluster.local"),
        ("loud", "Example.ORG"),
    ] {
        put(world, name, json!({"type": "ExternalName", "externalName": target}));
    }
    put_in(world, "kube-system", "kube-dns", json!({"clusterIPs": ["10.96.0.10", "fd00:96::10"]}));
}

fn put_slices(world: &mut World) {
    let pg = pg();
    let at = |addr: &str| json!({"addresses": [addr]});
    let host = |addr: &str, hostname: &str| json!({"addresses": [addr], "hostname": hostname});
    let not_ready = |mut endpoint: Value| {
        endpoint["conditions"] = json!({"ready": false});
        endpoint["targetRef"] = json!({"kind": "Pod", "name": "p-8"});
        endpoint
    };
    let pod = |mut endpoint: Value, name: &str| {
        endpoint["targetRef"] = json!({"kind": "Pod", "name": name, "namespace": "ns1"});
        endpoint
    };
    let db = [
        pod(host("10.244.1.5", "db-0"), "db-0"),
        host("10.244.1.6", "db-1"),
        pod(at("10.244.2.7"), "p-7"),
        not_ready(host("10.244.2.8", "db-3")),
    ];
    slice(world, "db", "IPv4", &pg, &db);
    let dup = [host("10.244.3.1", "a"), host("10.244.3.2", "a")];
    slice(world, "dup", "IPv4", &pg, &dup);
    slice(world, "none", "IPv4", &pg, &[not_ready(at("10.244.3.3"))]);
    slice(world, "bare", "IPv4", &json!([]), &[at("10.244.3.9")]);
    slice(world, "six", "IPv6", &json!([]), &[at("5678:abcd::1"), at("fd00::")]);
    slice(world, "early", "IPv4", &pg, &[not_ready(host("10.244.2.8", "db-3"))]);
    slice(
        world,
        "web",
        "IPv4",
        &json!([{"name": "http", "port": 8080}]),
        &[at("10.244.9.1"), at("10.244.1.6")],
    );
    let mut leaving = host("10.244.4.2", "leaving");
    leaving["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    slice(world, "life", "IPv4", &pg, &[host("10.244.4.1", "stays"), leaving]);
}

/// Adds a headless Service `big` with `count` ready endpoints.
pub(crate) fn put_big(world: &mut World, count: u16) {
    put(world, "big", json!({"clusterIP": "None"}));
    let endpoint = |i: u16| json!({"addresses": [format!("10.250.{}.{}", i / 250, i % 250 + 1)]});
    slice(world, "big", "IPv4", &json!([]), &(0..count).map(endpoint).collect::<Vec<_>>());
}

fn put(world: &mut World, name: &str, spec: Value) {
    put_in(world, "ns1", name, spec);
}

fn put_in(world: &mut World, namespace: &str, name: &str, spec: Value) {
    let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    let service = decode::service(object.to_string().as_bytes()).unwrap();
    world.services.insert(service.name.clone(), Arc::new(service));
}

fn slice(world: &mut World, service: &str, family: &str, ports: &Value, endpoints: &[Value]) {
    let object = json!({
        "metadata": {
            "namespace": "ns1",
            "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    });
    let slice = decode::endpoint_slice(object.to_string().as_bytes()).unwrap().unwrap();
    world.slices.insert(slice.key.clone(), Arc::new(slice));
}
