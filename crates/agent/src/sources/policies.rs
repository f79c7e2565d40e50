//! Policies, which fail closed: what the API server shows, and what it has shown once and still counts.

use std::sync::Arc;

use kube::Listed;
use model::{
    ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, DiffItem, NetworkPolicy, ObjectName,
    OrdMap, World,
};

use super::Watched;

/// Takes the newest level of all policies into `world`. Returns whether they are other ones now.
///
/// Of what the world had and the API server does not show, this stays: a policy of which only a newer
/// version is there that can't be read (decision 0028), and one of a namespace that is being deleted, for as long as this
/// node has a pod of it (NP-N22).
pub(super) fn take(watched: &mut Watched, world: &mut World) -> bool {
    let new = namespaced(&watched.policies.borrow_and_update(), world);
    let new_of_cluster = of_cluster(watched, world);
    let is_new = new.is_some() || new_of_cluster.is_some();
    world.policies = new.unwrap_or_else(|| std::mem::take(&mut world.policies));
    world.cluster_policies =
        new_of_cluster.unwrap_or_else(|| std::mem::take(&mut world.cluster_policies));
    is_new
}

/// Whether something is there that would not be asked for again of a world that is made anew: who has
/// just started does well to look for what was known before.
pub(super) fn are_in_doubt(watched: &Watched, world: &World) -> bool {
    !watched.policies.borrow().rejected.is_empty()
        || !watched.cluster_policies.borrow().rejected.is_empty()
        || !watched.admin_policies.borrow().rejected.is_empty()
        || !watched.baseline_policies.borrow().rejected.is_empty()
        || world
            .attachments
            .values()
            .filter_map(|it| it.pod.as_ref())
            .any(|pod| is_ending(world, &pod.namespace))
}

fn namespaced(
    seen: &Listed<ObjectName, NetworkPolicy>,
    world: &World,
) -> Option<OrdMap<ObjectName, Arc<NetworkPolicy>>> {
    let stays = |name: &ObjectName| {
        seen.rejected.contains_key(&name.to_string())
            || is_ending(world, &name.namespace) && has_pods_here(world, &name.namespace)
    };
    joined(&world.policies, seen.listed.as_ref()?, stays)
}

/// There are some when there are all kinds of them.
fn of_cluster(
    watched: &mut Watched,
    world: &World,
) -> Option<OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>> {
    let Watched { cluster_policies, admin_policies, baseline_policies, .. } = watched;
    let cluster = cluster_policies.borrow_and_update();
    let (admin, baseline) =
        (admin_policies.borrow_and_update(), baseline_policies.borrow_and_update());
    let all = [&cluster.listed, &admin.listed, &baseline.listed].map(Option::as_ref);
    let [Some(a), Some(b), Some(c)] = all else { return None };
    let stays = |name: &ClusterPolicyName| {
        let of_kind = match name.kind {
            ClusterPolicyKind::ClusterNetworkPolicy => &cluster,
            ClusterPolicyKind::AdminNetworkPolicy => &admin,
            ClusterPolicyKind::BaselineAdminNetworkPolicy => &baseline,
        };
        of_kind.rejected.contains_key(&*name.name)
    };
    let listed = OrdMap::unions([a.clone(), b.clone(), c.clone()]);
    joined(&world.cluster_policies, &listed, stays)
}

/// What is `listed`, with that of `known` which `stays` although it is not; `None` when that is what was
/// known.
fn joined<K: Ord + Clone, V: PartialEq>(
    known: &OrdMap<K, Arc<V>>,
    listed: &OrdMap<K, Arc<V>>,
    stays: impl Fn(&K) -> bool,
) -> Option<OrdMap<K, Arc<V>>> {
    if known.ptr_eq(listed) {
        return None;
    }
    let (mut all, mut is_new) = (listed.clone(), false);
    for change in known.diff(listed) {
        match change {
            DiffItem::Remove(key, value) if stays(key) => {
                all.insert(key.clone(), Arc::clone(value));
            }
            DiffItem::Add(..) | DiffItem::Update { .. } | DiffItem::Remove(..) => is_new = true,
        }
    }
    is_new.then_some(all)
}

/// Whether the namespace `name` is being deleted or is gone.
fn is_ending(world: &World, name: &str) -> bool {
    world.namespaces.get(name).is_none_or(|namespace| namespace.is_terminating)
}

/// Whether a container of the namespace `name` is joined to the network on this node.
fn has_pods_here(world: &World, name: &str) -> bool {
    let pods = world.attachments.values().filter_map(|attachment| attachment.pod.as_ref());
    pods.into_iter().any(|pod| pod.namespace == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use model::decode::{self, DecodeError};
    use model::{Attachment, AttachmentKey, Mac, Namespace, PodRef};
    use tokio::sync::watch;

    use super::super::{Disturbed, Sources, Watching};
    use super::*;
    use crate::scratch::Scratch;
    use crate::snapshot::{self, Recall};

    fn policy(namespace: &str, name: &str) -> (ObjectName, Arc<NetworkPolicy>) {
        let json = format!(
            r#"{{"metadata":{{"namespace":"{namespace}","name":"{name}"}},"spec":{{"podSelector":{{}}}}}}"#
        );
        let policy = decode::network_policy(json.as_bytes()).unwrap();
        (policy.name.clone(), Arc::new(policy))
    }

    fn cluster_policy(name: &str) -> (ClusterPolicyName, Arc<ClusterPolicy>) {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"priority":1,"subject":{{"namespaces":{{}}}}}}}}"#
        );
        let policy = decode::admin_policy(json.as_bytes()).unwrap();
        (policy.name.clone(), Arc::new(policy))
    }

    /// The world as the loop has it: namespaces, and a pod of each of `pods`' namespaces on this node.
    fn world(namespaces: &[(&str, bool)], pods: &[&str]) -> World {
        let mut world = World::default();
        for (name, is_terminating) in namespaces {
            let namespace =
                Namespace { is_terminating: *is_terminating, ..Namespace::new(name, []) };
            world.namespaces.insert((*name).into(), Arc::new(namespace));
        }
        for namespace in pods {
            let key = AttachmentKey {
                container_id: (*namespace).into(),
                ifname: "eth0".parse().unwrap(),
            };
            let pod =
                PodRef { namespace: (*namespace).into(), name: "p".into(), uid: String::new() };
            let attachment = Attachment {
                key: key.clone(),
                network: "seaway".into(),
                netns: "/run/netns/p".into(),
                pod: Some(pod),
                addrs: Vec::new(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                port_mappings: Vec::new(),
                search: None,
            };
            world.attachments.insert(key, Arc::new(attachment));
        }
        world
    }

    fn unreadable(name: &str) -> BTreeMap<String, DecodeError> {
        let error = DecodeError { object: name.into(), field: "spec".into(), reason: "new".into() };
        [(name.to_owned(), error)].into()
    }

    /// Names of the policies, in order.
    fn names(world: &World) -> String {
        let namespaced = world.policies.keys().map(ToString::to_string);
        let cluster = world.cluster_policies.keys().map(ToString::to_string);
        namespaced.chain(cluster).collect::<Vec<_>>().join(" ")
    }

    fn list(watching: &Watching, policies: &[(&str, &str)], cluster: &[&str]) {
        watching.policies.send_modify(|shown| {
            shown.listed = Some(policies.iter().map(|(ns, name)| policy(ns, name)).collect());
            shown.rejected.clear();
        });
        watching.admin_policies.send_modify(|shown| {
            shown.listed = Some(cluster.iter().map(|name| cluster_policy(name)).collect());
            shown.rejected.clear();
        });
    }

    #[test]
    fn npn22_policies_outlive_the_pods_that_a_namespace_which_ends_has_here() {
        let cases = [
            (world(&[("a", false)], &["a"]), false),
            (world(&[("a", true)], &["a"]), true),
            (world(&[("a", true)], &["b"]), false),
            (world(&[("a", true), ("b", false)], &["b", "a"]), true),
            (world(&[], &["a"]), true),
        ];
        for (mut world, stays) in cases {
            let (watching, mut watched) = Watched::new();
            watching.list_nothing();
            list(&watching, &[("a", "one"), ("a", "two")], &[]);
            assert!(take(&mut watched, &mut world));
            list(&watching, &[("a", "two")], &[]);
            assert_eq!(take(&mut watched, &mut world), !stays);
            let want = if stays { "a/one a/two" } else { "a/two" };
            assert_eq!(names(&world), want);
            let before = world.policies.clone();
            assert!(!take(&mut watched, &mut world));
            assert!(world.policies.ptr_eq(&before), "nothing has to be looked at or written again");
            world.attachments.clear();
            assert_eq!(take(&mut watched, &mut world), stays);
            assert_eq!(names(&world), "a/two");
        }
    }

    #[test]
    fn npn22_a_namespace_that_is_made_again_has_no_policies_of_the_one_before() {
        let (watching, mut watched) = Watched::new();
        watching.list_nothing();
        list(&watching, &[("a", "one")], &[]);
        let mut world = world(&[("a", true)], &["a"]);
        take(&mut watched, &mut world);
        list(&watching, &[], &[]);
        assert!(!take(&mut watched, &mut world));
        world.namespaces.insert("a".into(), Arc::new(Namespace::new("a", [])));
        assert!(take(&mut watched, &mut world));
        assert_eq!(names(&world), "");
    }

    #[test]
    fn a_policy_that_cannot_be_read_any_more_is_what_it_was_until_it_is_read_or_gone() {
        let (watching, mut watched) = Watched::new();
        watching.list_nothing();
        list(&watching, &[("a", "one")], &["x"]);
        let mut world = world(&[("a", false)], &[]);
        take(&mut watched, &mut world);
        list(&watching, &[("a", "two")], &["y"]);
        watching.policies.send_modify(|shown| shown.rejected = unreadable("a/one"));
        watching.admin_policies.send_modify(|shown| shown.rejected = unreadable("x"));
        assert!(take(&mut watched, &mut world));
        assert_eq!(names(&world), "a/one a/two AdminNetworkPolicy x AdminNetworkPolicy y");
        assert!(!take(&mut watched, &mut world));
        list(&watching, &[("a", "two")], &["y"]);
        assert!(take(&mut watched, &mut world));
        assert_eq!(names(&world), "a/two AdminNetworkPolicy y");
        watching.policies.send_modify(|shown| shown.rejected = unreadable("a/never"));
        watching.cluster_policies.send_modify(|shown| shown.rejected = unreadable("y"));
        assert!(
            !take(&mut watched, &mut world),
            "one never read is none, nor is one of another kind"
        );
    }

    #[test]
    fn of_the_clusters_policies_nothing_is_taken_before_all_kinds_are_listed() {
        let (watching, mut watched) = Watched::new();
        list(&watching, &[], &["x"]);
        watching.cluster_policies.send_modify(|shown| shown.listed = Some(OrdMap::new()));
        let mut world = World::default();
        assert!(!take(&mut watched, &mut world));
        watching.baseline_policies.send_modify(|shown| shown.listed = Some(OrdMap::new()));
        assert!(take(&mut watched, &mut world));
        assert_eq!(names(&world), "AdminNetworkPolicy x");
    }

    fn sources(watched: Watched, state: &Path) -> Sources {
        let read_host = Box::new(|| Ok(model::Host::default()));
        let recall = Recall::new(state.to_owned());
        Sources::new(watched, recall, Disturbed::default(), read_host, watch::Sender::new(()))
    }

    #[test]
    fn a_restart_opens_nothing_that_an_agent_kept_closed() {
        let scratch = Scratch::new();
        let mut before = world(&[], &[]);
        before.policies.extend([policy("a", "one"), policy("a", "two"), policy("b", "three")]);
        before.cluster_policies.extend([cluster_policy("x"), cluster_policy("y")]);
        snapshot::write_now(scratch.path(), &before);
        let start = |attachments: World, is_unreadable: bool| {
            let (watching, watched) = Watched::new();
            watching.list_nothing();
            let ending = Namespace { is_terminating: true, ..Namespace::new("a", []) };
            let spaces = [ending, Namespace::new("b", [])];
            let spaces = spaces.map(|space| (Arc::clone(&space.name), Arc::new(space)));
            watching
                .namespaces
                .send_modify(|shown| shown.listed = Some(spaces.into_iter().collect()));
            list(&watching, &[("a", "two")], &["y"]);
            if is_unreadable {
                watching.policies.send_modify(|shown| shown.rejected = unreadable("b/three"));
                watching.admin_policies.send_modify(|shown| shown.rejected = unreadable("x"));
            }
            let mut world = attachments;
            sources(watched, scratch.path()).look(&mut world);
            names(&world)
        };
        assert_eq!(start(world(&[], &["b"]), false), "a/two AdminNetworkPolicy y");
        assert_eq!(start(world(&[], &["a"]), false), "a/one a/two AdminNetworkPolicy y");
        let want = "a/two b/three AdminNetworkPolicy x AdminNetworkPolicy y";
        assert_eq!(start(world(&[], &[]), true), want);
    }
}
