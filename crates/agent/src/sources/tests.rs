//! Claims about sources: a World is what is listed, whatever came when.

use std::collections::BTreeMap;

use model::decode::{self, DecodeError};
use model::{
    Attachment, AttachmentKey, Mac, Namespace, NetworkPolicy, ObjectName, Pod, PodRef, World,
};
use proptest::prelude::*;

use super::*;
use crate::scratch::Scratch;
use crate::snapshot;

fn sources(watched: Watched, recall: Recall) -> Sources {
    let read_host = Box::new(|| Ok(Host::default()));
    Sources::new(watched, recall, Disturbed::default(), read_host, watch::Sender::new(()))
}

#[test]
fn a_world_is_new_once_everything_is_listed_whatever_came_last() {
    let scratch = Scratch::new();
    let (watching, watched) = Watched::new();
    let mut sources = sources(watched, Recall::new(scratch.path().to_owned()));
    let mut world = World::default();
    let mut look = |sources: &mut Sources| {
        let is_new = sources.look(&mut world).is_world_new;
        (is_new, sources.basis())
    };
    watching.nodes.send_modify(|level| level.listed = Some(OrdMap::new()));
    watching.services.send_modify(|level| level.listed = Some(OrdMap::new()));
    assert_eq!(look(&mut sources), (false, Basis::Nothing));
    assert_eq!(sources.trouble(), "the endpointslices have not been listed yet");
    watching.pods.send_modify(|level| level.trouble = Some("403".to_owned()));
    watching.slices.send_modify(|level| level.listed = Some(OrdMap::new()));
    watching.service_cidrs.send_modify(|level| level.listed = Some(OrdMap::new()));
    watching.namespaces.send_modify(|level| level.listed = Some(OrdMap::new()));
    assert_eq!(look(&mut sources), (false, Basis::Nothing));
    assert_eq!(sources.trouble(), "the pods have not been listed yet: 403");
    watching.list_nothing();
    let first = look(&mut sources);
    assert_eq!(first, (true, Basis::Lists), "although nothing is in any list");
    assert_eq!(look(&mut sources), (false, Basis::Lists));
}

#[test]
fn without_a_snapshot_that_reads_a_world_waits_for_its_lists() {
    for text in [None, Some("nonsense")] {
        let scratch = Scratch::new();
        if let Some(text) = text {
            std::fs::write(scratch.path().join(snapshot::FILE), text).unwrap();
        }
        let (_watching, watched) = Watched::new();
        let recall = Recall { due: Instant::now(), ..Recall::new(scratch.path().to_owned()) };
        let mut sources = sources(watched, recall);
        let news = sources.look(&mut World::default());
        assert_eq!((news.is_world_new, sources.basis()), (false, Basis::Nothing), "{text:?}");
        assert_eq!(sources.due(), None, "it is looked for once");
    }
}

/// Two of each kind of objects, one in each of the namespaces `a` and `b`: what an API server has.
#[derive(Debug, Clone)]
struct Cluster {
    /// Whether each namespace is there and whether it is being deleted.
    namespaces: [Option<bool>; 2],
    /// Which pod of its name each is, if any, and whether it has an address.
    pods: [Option<(u8, bool)>; 2],
    /// Version of each policy, of which 0 can't be read.
    policies: [Option<u8>; 2],
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = prop::array::uniform2(prop::option::of(any::<bool>()));
    let pods = prop::array::uniform2(prop::option::of((0..2_u8, any::<bool>())));
    let policies = prop::array::uniform2(prop::option::of(0..3_u8));
    (namespaces, pods, policies).prop_map(|(namespaces, pods, policies)| Cluster {
        namespaces,
        pods,
        policies,
    })
}

const SPACES: [&str; 2] = ["a", "b"];

/// A list of a kind: what of it is there, by namespace.
fn list<T: Copy, K: Ord + Clone, V>(
    there: [Option<T>; 2],
    object: impl Fn(&str, T) -> (K, V),
) -> OrdMap<K, Arc<V>> {
    let there = SPACES.into_iter().zip(there).filter_map(|(space, it)| Some((space, it?)));
    there.map(|(space, it)| object(space, it)).map(|(key, it)| (key, Arc::new(it))).collect()
}

fn policy(space: &str, version: u8) -> (ObjectName, NetworkPolicy) {
    let json = format!(
        r#"{{"metadata":{{"namespace":"{space}","name":"x"}},"spec":{{"podSelector":{{"matchLabels":{{"v":"{version}"}}}}}}}}"#
    );
    let policy = decode::network_policy(json.as_bytes()).unwrap();
    (policy.name.clone(), policy)
}

fn pod(space: &str, (uid, has_addr): (u8, bool)) -> (ObjectName, Pod) {
    let status = if has_addr { r#","status":{"podIP":"10.244.9.9"}"# } else { "" };
    let json =
        format!(r#"{{"metadata":{{"namespace":"{space}","name":"p","uid":"{uid}"}}{status}}}"#);
    let pod = decode::pod(json.as_bytes()).unwrap();
    (pod.name.clone(), pod)
}

impl Cluster {
    /// Shows one kind as it is in the cluster.
    fn show(&self, kind: usize, watching: &Watching) {
        match kind {
            0 => watching.namespaces.send_modify(|shown| {
                let namespace = |name: &str, is_terminating| {
                    (name.into(), Namespace { is_terminating, ..Namespace::new(name, []) })
                };
                shown.listed = Some(list(self.namespaces, namespace));
            }),
            1 => watching.pods.send_modify(|shown| shown.listed = Some(list(self.pods, pod))),
            _ => watching.policies.send_modify(|shown| {
                let readable = self.policies.map(|version| version.filter(|version| *version > 0));
                shown.listed = Some(list(readable, policy));
                let unreadable = SPACES.into_iter().zip(self.policies);
                let unreadable = unreadable.filter(|(_, version)| *version == Some(0));
                let error = DecodeError {
                    object: String::new(),
                    field: String::new(),
                    reason: String::new(),
                };
                let named = |(space, _)| (format!("{space}/x"), error.clone());
                shown.rejected = unreadable.map(named).collect::<BTreeMap<_, _>>();
            }),
        }
    }
}

/// A world with a container of pod 0 of `a` on this node, perhaps.
fn joined(has_pod: bool) -> World {
    let mut world = World::default();
    let key = AttachmentKey { container_id: "c".into(), ifname: "eth0".parse().unwrap() };
    let attachment = Attachment {
        key: key.clone(),
        network: "seaway".into(),
        netns: "/run/netns/p".into(),
        pod: Some(PodRef { namespace: "a".into(), name: "p".into(), uid: "0".into() }),
        addrs: vec!["10.244.1.2".parse().unwrap()],
        mac: Mac([2, 0, 0, 0, 0, 1]),
        port_mappings: Vec::new(),
        search: None,
    };
    world.attachments.extend(has_pod.then(|| (key, Arc::new(attachment))));
    world
}

proptest! {
    #[test]
    fn in_whatever_order_lists_come_the_world_is_what_the_last_ones_say_and_what_stays_closed(
        before in prop::collection::vec((cluster(), 0..3_usize, any::<bool>()), 0..20),
        last in cluster(),
        order in Just([0, 1, 2]).prop_shuffle(),
        has_pod in any::<bool>(),
    ) {
        let scratch = Scratch::new();
        let start = || {
            let (watching, watched) = Watched::new();
            watching.list_nothing();
            (watching, sources(watched, Recall::new(scratch.path().to_owned())), joined(has_pod))
        };
        let (watching, mut sources, mut world) = start();
        for (cluster, kind, is_looked_at) in before {
            cluster.show(kind, &watching);
            if is_looked_at {
                sources.look(&mut world);
            }
        }
        for kind in order {
            last.show(kind, &watching);
        }
        sources.look(&mut world);
        let (watching, mut sources, mut fresh) = start();
        (0..3).for_each(|kind| last.show(kind, &watching));
        sources.look(&mut fresh);
        prop_assert_eq!(&world.pods, &fresh.pods);
        prop_assert_eq!(&world.namespaces, &fresh.namespaces);
        for change in fresh.policies.diff(&world.policies) {
            let DiffItem::Add(name, _) = change else {
                return Err(TestCaseError::fail(format!("{change:?}")));
            };
            let at = SPACES.iter().position(|space| **space == *name.namespace).unwrap();
            let is_ending = last.namespaces[at] != Some(false);
            let stays = last.policies[at] == Some(0) || at == 0 && has_pod && is_ending;
            prop_assert!(stays, "{name} is still there");
        }
    }
}
