//! A compiler that follows a cluster from change to change has what one makes that sees it for the first time.

use std::path::PathBuf;
use std::sync::Arc;

use fixtures::policies::arbitrary::world;
use model::{Attachment, AttachmentKey, Mac, OrdMap, PodRef, World};
use plan::Table;
use plan::nft::{Key, Row};
use proptest::prelude::*;
use proptest::sample::Index;
use seaway_compile::policy::generation;
use seaway_compile::{Compiled, Compiler, Scope, compile};

use crate::agreement::config;

/// A place in a World where something may be as it is in another.
type Place = fn(&mut World, &World, &Index);

/// One object as it is in the other World, or gone as there.
fn take<K: Ord + Clone, V: Clone>(to: &mut OrdMap<K, V>, from: &OrdMap<K, V>, which: &Index) {
    let keys: Vec<K> = to.clone().union(from.clone()).keys().cloned().collect();
    let Some(key) = keys.get(which.index(keys.len().max(1))) else { return };
    match from.get(key) {
        Some(object) => to.insert(key.clone(), object.clone()),
        None => to.remove(key),
    };
}

/// What may change; pods most often.
const PLACES: [Place; 8] = [
    |to, from, which| take(&mut to.pods, &from.pods, which),
    |to, from, which| take(&mut to.pods, &from.pods, which),
    |to, from, which| take(&mut to.policies, &from.policies, which),
    |to, from, which| take(&mut to.cluster_policies, &from.cluster_policies, which),
    |to, from, which| take(&mut to.namespaces, &from.namespaces, which),
    |to, from, which| take(&mut to.nodes, &from.nodes, which),
    |to, from, which| {
        let mut attachments = to.attachments.clone().into_iter().collect();
        take(&mut attachments, &from.attachments.clone().into_iter().collect(), which);
        to.attachments = attachments.into_iter().collect();
    },
    |to, _, which| {
        // A pod gets the addresses of another, which still has them.
        let pods: Vec<_> = to.pods.values().cloned().collect();
        let mut pod = pods[which.index(pods.len())].clone();
        Arc::make_mut(&mut pod).addrs.clone_from(&pods[pods.len() - 1].addrs);
        to.pods.insert(pod.name.clone(), pod);
    },
];

/// With the pods of `node-1` joined to the network, one of them without a name.
fn joined(mut world: World) -> World {
    world.config.node = "node-1".into();
    let own = world.pods.values().filter(|pod| pod.node.as_ref() == Some(&world.config.node));
    let own = own.filter(|pod| !pod.is_host_network).enumerate();
    let attachments = own.map(|(i, pod)| {
        let container_id = pod.name.to_string().replace('/', "-").into();
        let key = AttachmentKey { container_id, ifname: "eth0".parse().expect("a name") };
        let named = PodRef {
            namespace: pod.name.namespace.to_string(),
            name: pod.name.name.to_string(),
            uid: String::new(),
        };
        let attachment = Attachment {
            key: key.clone(),
            network: "seaway".to_owned(),
            netns: PathBuf::from("/run/netns/c"),
            pod: (i != 0).then_some(named),
            addrs: pod.addrs.clone(),
            mac: Mac::derive("c"),
            port_mappings: Vec::new(),
            search: None,
        };
        (key, Arc::new(attachment))
    });
    world.attachments = attachments.collect();
    world
}

/// The rows, without the number that they have.
fn unnumbered(compiled: &Compiled) -> Table<Key, Row> {
    let mut rows = compiled.plan.nft.clone();
    if generation(&rows).is_some() {
        let all: Vec<Key> = rows.keys().cloned().collect();
        let is_number = |key: &&Key| match key {
            Key::Chain(_, name) => &*name.0 == "policy_allowed",
            Key::Element(_, set, _) => &*set.0 == "policy_generation",
            Key::Table(_) | Key::Set(..) => false,
        };
        let numbered: Vec<&Key> = all.iter().filter(is_number).collect();
        assert_eq!(numbered.len(), 2, "one chain and one element say it");
        numbered.into_iter().for_each(|key| drop(rows.remove(key)));
    }
    rows
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn npd8_what_follows_from_changes_is_what_the_world_means(
        (first, _) in world(),
        (other, _) in world(),
        steps in prop::collection::vec((prop::sample::select(PLACES.to_vec()), any::<Index>()), 30),
    ) {
        let (mut world, other) = (joined(first), joined(other));
        let scope = Scope::Node(world.config.node.clone());
        let mut compiler = Compiler::default();
        for (place, which) in steps {
            place(&mut world, &other, &which);
            let followed = compiler.compile(&world, &scope);
            let fresh = compile(&world, &scope);
            prop_assert_eq!(&followed.policies, &fresh.policies);
            prop_assert_eq!(unnumbered(&followed), unnumbered(&fresh));
        }
        // Nothing is kept of policies that are gone.
        world.policies = OrdMap::new();
        world.cluster_policies = OrdMap::new();
        let left = compiler.compile(&world, &scope);
        prop_assert!(left.policies.sets.is_empty());
        prop_assert_eq!(&left, &compile(&world, &scope));
    }
}
