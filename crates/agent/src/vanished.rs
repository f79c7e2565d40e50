//! Leases of pods whose network namespaces went while no agent looked.
//!
//! Whoever made a namespace releases what it has with DEL. After a power cut that comes late, and a runtime that
//! has lost what it knew never says it. A lease whose namespace is gone from its path and whose link is gone
//! from the node, too, is nobody's: the kernel removes the link with the namespace. The link is what counts: an agent
//! that is not shown the node's namespaces sees none at their paths.

use kernel::netns::Netns;
use model::{Attachment, chain};
use plan::Plan;

use crate::journal::{Entry, Journal};

/// Releases at `now` (seconds since 1970) what is leased to no pod, as `have` shows the pods' links. Returns how
/// many leases that were.
pub(crate) fn release(journal: &mut Journal, have: &Plan, now: u64) -> usize {
    let is_nobodys = |lease: &Attachment| {
        have.pods.get(&lease.key).is_none()
            && Netns::open(&lease.netns).is_err_and(|error| error.is_gone())
    };
    let leases = journal.leases().attachments.values();
    let released: Vec<Entry> = leases
        .filter(|lease| is_nobodys(lease))
        .map(|lease| Entry::Release { key: lease.key.clone(), at: now })
        .collect();
    if released.is_empty() {
        return 0;
    }
    match journal.commit(&released) {
        Ok(()) => {
            let count = released.len();
            tracing::info!("released {count} leases: their network namespaces are gone");
            count
        }
        Err(error) => {
            tracing::warn!("release leases whose network namespaces are gone: {}", chain(&error));
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{AttachmentKey, Mac};
    use plan::PodLink;

    use super::*;
    use crate::scratch::Scratch;

    const GONE: &str = "/run/netns/of-nobody";
    const THERE: &str = "/proc/self/ns/net";

    fn lease(id: &str, netns: &str, addr: &str) -> Attachment {
        Attachment {
            key: AttachmentKey { container_id: id.into(), ifname: "eth0".parse().unwrap() },
            network: "seaway".to_owned(),
            netns: netns.into(),
            pod: None,
            addrs: vec![addr.parse().unwrap()],
            mac: Mac::derive(id),
            port_mappings: Vec::new(),
            search: None,
        }
    }

    fn link(lease: &Attachment) -> (AttachmentKey, PodLink) {
        let link = PodLink {
            netns: lease.netns.clone(),
            mtu: 0,
            host_mac: Mac::derive("host"),
            mac: lease.mac,
            addrs: Vec::new(),
            gateways: Vec::new(),
            gateway_mac: None,
            master: None,
        };
        (lease.key.clone(), link)
    }

    #[test]
    fn a_lease_goes_when_neither_namespace_nor_link_is_there() {
        let scratch = Scratch::new();
        let (mut journal, _) = Journal::open(scratch.path(), 0).unwrap();
        let leases = [
            (lease("lost", GONE, "10.244.1.2"), false, false),
            (lease("unseen", GONE, "10.244.1.3"), true, true),
            (lease("unmade", THERE, "10.244.1.4"), false, true),
            (lease("whole", THERE, "10.244.1.5"), true, true),
        ];
        let linked = leases.iter().filter(|(_, has_link, _)| *has_link);
        let pods = linked.map(|(lease, ..)| link(lease)).collect();
        let have = Plan { pods, ..Plan::default() };
        for (lease, ..) in &leases {
            journal.commit(&[Entry::Lease(Arc::new(lease.clone()))]).unwrap();
        }
        assert_eq!(release(&mut journal, &have, 7), 1);
        assert_eq!(release(&mut journal, &have, 8), 0);
        for (lease, _, stays) in &leases {
            assert_eq!(journal.leases().attachments.contains_key(&lease.key), *stays, "{lease:?}");
        }
        assert_eq!(journal.leases().resting[&leases[0].0.addrs[0]], 7, "its address rests");
    }
}
