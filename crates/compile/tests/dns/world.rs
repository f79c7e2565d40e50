//! The cluster that the vectors are about, as agents see it.

use std::sync::Arc;

use fixtures::vectors;
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

/// The cluster of the vectors with its name server, and a name that an API server would refuse.
pub(crate) fn world() -> World {
    let mut world = World::default();
    let dns = json!({"clusterIPs": ["10.96.0.10", "fd00:96::a"]});
    let loud = json!({"type": "ExternalName", "externalName": "Example.ORG"});
    let more = [
        json!({"kind": "Namespace", "metadata": {"name": "kube-system"}}),
        vectors::service("kube-system", "kube-dns", dns),
        vectors::service("ns1", "loud", loud),
    ];
    vectors::objects().iter().chain(&more).for_each(|object| put(&mut world, object));
    world
}

/// Adds a headless Service `big` with `count` ready endpoints.
pub(crate) fn put_big(world: &mut World, count: u16) {
    vectors::big(count).iter().for_each(|object| put(world, object));
}

fn put(world: &mut World, object: &Value) {
    let json = object.to_string();
    match object["kind"].as_str() {
        Some("Namespace") => {
            let namespace = decode::namespace(json.as_bytes()).unwrap();
            world.namespaces.insert(Arc::clone(&namespace.name), Arc::new(namespace));
        }
        Some("Service") => {
            let service = decode::service(json.as_bytes()).unwrap();
            world.services.insert(service.name.clone(), Arc::new(service));
        }
        Some("EndpointSlice") => {
            let slice = decode::endpoint_slice(json.as_bytes()).unwrap().unwrap();
            world.slices.insert(slice.key.clone(), Arc::new(slice));
        }
        kind => panic!("kind {kind:?}"),
    }
}
