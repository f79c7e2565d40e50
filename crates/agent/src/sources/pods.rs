//! Pods, each with the addresses that it has on this node.

use std::sync::Arc;

use kube::Listed;
use model::{Attachment, ObjectName, OrdMap, Pod, World};

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
    let is_without = *pod.uid == *named.uid && pod.addrs.is_empty() && !pod.is_host_network;
    is_without.then(|| Pod { addrs: attachment.addrs.clone(), ..Pod::clone(pod) })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
}
