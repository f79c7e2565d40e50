//! Pods, each with the addresses that it has on this node; and which of this node's are no pods of Seaway's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Listed;
use model::{Attachment, DiffItem, ObjectName, OrdMap, Pod, Uid, World};

/// Takes the newest level of pods into `world`. Returns whether they are other ones now.
///
/// Until a pod's status tells its addresses, some time after it has started, those are its addresses that
/// this node has leased to it: who is let in by policies of this node's pods is let in at once.
pub(super) fn take(seen: &Listed<ObjectName, Pod>, world: &mut World) -> bool {
    let Some(listed) = &seen.listed else { return false };
    let mut new = listed.clone();
    for attachment in world.attachments.values() {
        if let Some(pod) = addressed(attachment, &new) {
            new.insert(pod.name.clone(), Arc::new(pod));
        }
    }
    if new.ptr_eq(&world.pods) || new.diff(&world.pods).next().is_none() {
        return false;
    }
    world.pods = new;
    true
}

/// The pod of `attachment` with its addresses, where it has none so far. Of which pod of that name they are
/// is only known by its uid.
fn addressed(attachment: &Attachment, pods: &OrdMap<ObjectName, Arc<Pod>>) -> Option<Pod> {
    let named = attachment.pod.as_ref().filter(|named| !named.uid.is_empty())?;
    let pod = pods.get(&ObjectName::new(&named.namespace, &named.name))?;
    let is_without = pod.uid == *named.uid && pod.addrs.is_empty() && !pod.is_host_network;
    is_without.then(|| Pod { addrs: attachment.addrs.clone(), ..Pod::clone(pod) })
}

/// Which pods of this node another network has joined: those that never had an attachment here as long as they
/// were known. What is known of a pod of Seaway's outlives its attachment, while its sandbox is made anew, say.
#[derive(Debug)]
pub(super) struct Others {
    /// How long addresses stay taken after their pods, while others of that network are there.
    rest: Duration,
    /// Those of pods that are gone, each with when they are free.
    leaving: BTreeMap<(IpAddr, ObjectName), Instant>,
    /// The pods as they were last looked at.
    seen: OrdMap<ObjectName, Arc<Pod>>,
    /// Uids of those of them that are or were Seaway's.
    ours: BTreeSet<Uid>,
}

/// Pods on one link take each other's hardware address for known up to 45 s after they have heard of each other
/// (`base_reachable_time_ms`), and ask for it 8 s later at the latest.
const REST: Duration = Duration::from_secs(60);

impl Default for Others {
    fn default() -> Self {
        Others { rest: REST, leaving: BTreeMap::new(), seen: OrdMap::new(), ours: BTreeSet::new() }
    }
}

impl Others {
    /// When the next address is free.
    pub(super) fn due(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    /// Brings `world.others` up to date, in the time of what is new. Returns whether they are other ones.
    pub(super) fn look(&mut self, world: &mut World) -> bool {
        let before = world.others.clone();
        for change in self.seen.diff(&world.pods) {
            let (old, new) = match change {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            if let Some(old) = old {
                let until = Instant::now() + self.rest;
                let taken = keys(old).filter(|key| world.others.contains_key(key));
                self.leaving.extend(taken.map(|key| (key, until)));
                if new.is_none_or(|new| new.uid != old.uid) {
                    self.ours.remove(&old.uid);
                }
            }
            let is_here = |pod: &&Arc<Pod>| pod.node.as_ref() == Some(&world.config.node);
            if let Some(new) = new.filter(is_here).filter(|new| !self.ours.contains(&new.uid)) {
                for key in keys(new).filter(|_| !new.is_host_network) {
                    self.leaving.remove(&key);
                    world.others.insert(key, ());
                }
            }
        }
        self.seen = world.pods.clone();
        let named = world.attachments.values().filter_map(|there| there.pod.as_ref());
        let known = named.filter(|named| !named.uid.is_empty()).filter_map(|it| world.pod_of(it));
        let joined: Vec<_> =
            known.filter(|pod| self.ours.insert(pod.uid.clone())).cloned().collect();
        joined.iter().flat_map(|pod| keys(pod)).for_each(|key| {
            self.leaving.remove(&key);
            world.others.remove(&key);
        });
        // When none of them is left there is nobody who takes a hardware address for known.
        let is_over = world.others.keys().all(|key| self.leaving.contains_key(key));
        let now = Instant::now();
        for (key, _) in self.leaving.extract_if(.., |_, until| is_over || *until <= now) {
            world.others.remove(&key);
        }
        world.others != before
    }
}

fn keys(pod: &Pod) -> impl Iterator<Item = (IpAddr, ObjectName)> {
    pod.addrs.iter().map(|addr| (*addr, pod.name.clone()))
}

#[cfg(test)]
mod tests {
    use model::{AttachmentKey, Mac, PodRef, decode};

    use super::*;

    fn pod(uid: &str, rest: &str) -> Arc<Pod> {
        let json = format!(r#"{{"metadata":{{"namespace":"ns","name":"p","uid":"{uid}"}}{rest}}}"#);
        Arc::new(decode::pod(json.as_bytes()).unwrap())
    }

    fn world(uid: &str) -> World {
        let key = AttachmentKey { container_id: "c".into(), ifname: "eth0".parse().unwrap() };
        let pod = PodRef { namespace: "ns".into(), name: "p".into(), uid: uid.into() };
        let attachment = Attachment {
            key: key.clone(),
            network: "seaway".into(),
            netns: "/run/netns/p".into(),
            pod: Some(pod),
            addrs: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            mac: Mac([2, 0, 0, 0, 0, 1]),
            port_mappings: Vec::new(),
            search: None,
        };
        let mut world = World::default();
        world.attachments.insert(key, Arc::new(attachment));
        world
    }

    fn listed(pod: Arc<Pod>) -> Listed<ObjectName, Pod> {
        Listed { listed: Some(OrdMap::unit(pod.name.clone(), pod)), ..Listed::default() }
    }

    fn addrs(world: &World) -> Vec<IpAddr> {
        world.pods.values().next().unwrap().addrs.clone()
    }

    #[test]
    fn a_pod_has_the_addresses_that_its_node_has_leased_to_it_until_its_status_says_which() {
        let told = r#","status":{"podIP":"10.244.1.9"}"#;
        let cases = [
            (pod("u", ""), "u", "10.244.1.2 fd00::2"),
            (pod("u", told), "u", "10.244.1.9"),
            (pod("u", r#","spec":{"hostNetwork":true}"#), "u", ""),
            (pod("u", ""), "before", ""),
            (pod("u", ""), "", ""),
        ];
        for (pod, uid, want) in cases {
            let mut world = world(uid);
            let seen = listed(pod);
            assert!(take(&seen, &mut world));
            let found: Vec<String> = addrs(&world).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), want, "{uid}");
            let before = world.pods.clone();
            assert!(!take(&seen, &mut world) && world.pods.ptr_eq(&before), "nothing is new");
        }
    }

    #[test]
    fn a_status_that_tells_what_was_leased_is_no_news() {
        let mut world = world("u");
        assert!(take(&listed(pod("u", "")), &mut world));
        let both = r#","status":{"podIPs":[{"ip":"10.244.1.2"},{"ip":"fd00::2"}]}"#;
        assert!(!take(&listed(pod("u", both)), &mut world));
        world.attachments.clear();
        assert!(take(&listed(pod("u", "")), &mut world));
        assert!(addrs(&world).is_empty(), "what has been released is nobody's");
    }

    /// `others` after each step: the pod as it is listed, or None, and whether it has its attachment.
    #[test]
    fn pods_that_never_were_seaways_have_their_addresses_from_another_network() {
        let here = |uid, ip: &str| {
            let status = if ip.is_empty() { "" } else { r#","status":{"podIP":"ADDR"}"# };
            let rest = format!(r#","spec":{{"nodeName":"me"}}{status}"#);
            Some(pod(uid, &rest.replace("ADDR", ip)))
        };
        let elsewhere = pod("u", r#","spec":{"nodeName":"b"},"status":{"podIP":"10.244.1.5"}"#);
        let host = r#","spec":{"nodeName":"me","hostNetwork":true},"status":{"podIP":"192.0.2.1"}"#;
        let over = r#","spec":{"nodeName":"me"},"status":{"phase":"Failed","podIP":"10.244.1.5"}"#;
        let (theirs, ours, unknown) =
            (here("u", "10.244.1.5"), here("u", "10.244.1.2"), here("u", ""));
        type Story = Vec<(Option<Arc<Pod>>, bool, &'static str)>;
        let stories: Vec<Story> = vec![
            vec![(theirs.clone(), false, "10.244.1.5"), (None, false, "")],
            vec![(theirs.clone(), false, "10.244.1.5"), (Some(pod("u", over)), false, "")],
            vec![
                (theirs.clone(), false, "10.244.1.5"),
                (here("u", "10.244.1.6"), false, "10.244.1.6"),
            ],
            vec![(Some(elsewhere), false, ""), (Some(pod("u", host)), false, "")],
            // From the beginning, and again while there is no sandbox.
            vec![(unknown.clone(), true, ""), (ours.clone(), true, ""), (ours.clone(), false, "")],
            // An agent that starts.
            vec![(ours.clone(), true, ""), (ours.clone(), false, ""), (None, false, "")],
            // Its sandbox is made anew, and is Seaway's this time.
            vec![
                (theirs.clone(), false, "10.244.1.5"),
                (theirs.clone(), true, ""),
                (ours, true, ""),
            ],
            // Another pod of the same name.
            vec![(unknown, true, ""), (here("v", "10.244.1.5"), false, "10.244.1.5")],
        ];
        for story in stories {
            let attachments = world("u").attachments;
            let mut others = Others { rest: Duration::ZERO, ..Others::default() };
            let mut world = World::default();
            world.config.node = "me".into();
            for (step, (pod, is_attached, want)) in story.into_iter().enumerate() {
                world.attachments =
                    if is_attached { attachments.clone() } else { Default::default() };
                let listed = pod.map(|pod| OrdMap::unit(pod.name.clone(), pod)).unwrap_or_default();
                take(&Listed { listed: Some(listed), ..Listed::default() }, &mut world);
                let before = world.others.clone();
                let is_new = others.look(&mut world);
                let found: Vec<String> =
                    world.others.keys().map(|(addr, _)| addr.to_string()).collect();
                assert_eq!(
                    (found.join(" "), is_new),
                    (want.to_owned(), before != world.others),
                    "{step}"
                );
            }
        }
    }

    #[test]
    fn what_a_pod_of_another_network_had_rests_while_its_neighbors_may_remember_it() {
        let there = |names: &[&str]| {
            let pod = |(at, name): (usize, &&str)| {
                let json = format!(
                    r#"{{"metadata":{{"namespace":"ns","name":"{name}","uid":"{name}"}},
                        "spec":{{"nodeName":"me"}},"status":{{"podIP":"10.244.1.{}"}}}}"#,
                    at + 5
                );
                let pod = decode::pod(json.as_bytes()).unwrap();
                (pod.name.clone(), Arc::new(pod))
            };
            let listed = names.iter().enumerate().map(pod).collect();
            Listed { listed: Some(listed), ..Listed::default() }
        };
        let (mut others, mut world) = (Others::default(), World::default());
        world.config.node = "me".into();
        let mut look = |others: &mut Others, names: &[&str]| {
            take(&there(names), &mut world);
            others.look(&mut world);
            world.others.len()
        };
        for (names, want) in [(&["a", "b"][..], 2), (&["a"], 2), (&["a", "b"], 2)] {
            assert_eq!(look(&mut others, names), want);
        }
        assert!(others.leaving.is_empty(), "it is there again");
        assert_eq!(look(&mut others, &["a"]), 2);
        others.leaving.values_mut().for_each(|until| *until = Instant::now());
        assert_eq!(look(&mut others, &["a"]), 1);
        assert_eq!(look(&mut others, &["a", "b"]), 2);
        assert_eq!(look(&mut others, &["a"]), 2);
        assert_eq!(look(&mut others, &[]), 0, "nobody is left who remembers");
        assert_eq!(others.due(), None);
    }
}
