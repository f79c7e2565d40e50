//! Who asks.

use std::sync::Arc;

use model::{SearchList, World};
use plan::{LocalPod, LocalPods};

/// The pods of this node. Names are looked for in the place of those whose search list begins in the
/// cluster's zone, unless the settings say otherwise.
pub(crate) fn pods(world: &World) -> LocalPods {
    let dns = &world.config.dns;
    // Where two claim an address, the first one has it.
    let attachments = world.attachments.values().rev();
    let pods = attachments.map(|attachment| {
        let is_ours = |list: &SearchList| list.domains()[0].is_under(&dns.domain);
        let search = attachment.search.as_ref().filter(|list| dns.autopath && is_ours(list));
        let pod =
            LocalPod { pod: attachment.pod.clone().map(Arc::new), search: search.map(Arc::clone) };
        attachment.addrs.iter().map(move |addr| (*addr, pod.clone()))
    });
    pods.flatten().collect()
}

#[cfg(test)]
mod tests {
    use model::{Attachment, AttachmentKey, Dns, Mac, PodRef};

    use super::*;

    #[test]
    fn dns101_dns103_names_are_looked_for_where_the_list_begins_in_the_zone_and_nobody_objects() {
        let cases = [
            (true, "ns.svc.cluster.local svc.cluster.local corp", true),
            (true, "cluster.local", true),
            (true, "corp ns.svc.cluster.local", false),
            (true, "evil-cluster.local", false),
            (true, ". cluster.local", false),
            (true, "", false),
            (false, "ns.svc.cluster.local", false),
        ];
        for (autopath, domains, is_helped) in cases {
            let domains: Vec<&str> = domains.split_whitespace().collect();
            let mut world = World::default();
            world.config.dns = Dns { autopath, ..Dns::default() };
            let key = AttachmentKey { container_id: "c".into(), ifname: "eth0".parse().unwrap() };
            let addrs = ["10.244.1.2", "fd00::2"].map(|addr| addr.parse().unwrap());
            let pod = PodRef { namespace: "ns".into(), name: "web".into(), uid: String::new() };
            let attachment = Attachment {
                key: key.clone(),
                network: "seaway".into(),
                netns: "/run/netns/c".into(),
                pod: Some(pod.clone()),
                addrs: addrs.into(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                port_mappings: Vec::new(),
                search: SearchList::new(&domains, &["ndots:5"]).map(Arc::new),
            };
            world.attachments.insert(key, Arc::new(attachment));
            let pods = pods(&world);
            for addr in addrs {
                let found = pods.at(addr).unwrap();
                assert_eq!(found.pod.as_deref(), Some(&pod));
                assert_eq!(found.search.is_some(), is_helped, "{domains:?}, {autopath}");
            }
            assert_eq!(pods.at("10.244.1.3".parse().unwrap()), None);
        }
    }
}
