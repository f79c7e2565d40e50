//! A ledger that is gone or damaged, rebuilt from what the kernel shows.
//!
//! The pods' links carry key and namespace in their alias and addresses inside; what they do not
//! carry (pod name, port mappings) is lost, and hostPorts come back when the pod is started again.

use std::sync::Arc;

use model::{Attachment, AttachmentKey};
use plan::{Plan, PodLink};

use crate::install::NETWORK;
use crate::journal::{CommitError, Entry, Found, Journal};
use crate::observe::Metrics;

/// Takes what `have` shows into a ledger that was not `found` whole, so that no address a pod has is
/// leased again. Returns how many attachments that were.
///
/// # Errors
/// When the ledger does not take them. Of two pods with one address only the first is taken.
pub(crate) fn rebuild(
    journal: &mut Journal,
    found: &Found,
    have: &Plan,
    metrics: &Metrics,
) -> Result<usize, CommitError> {
    match found {
        Found::Whole { torn: 0 } => return Ok(0),
        Found::Whole { torn } => {
            tracing::warn!("the ledger ended in {torn} bytes of an unfinished commit; cut off");
            return Ok(0);
        }
        Found::Nothing if have.pods.is_empty() => return Ok(0),
        Found::Nothing => tracing::error!("there is no ledger, but there are pods"),
        Found::Corrupt { kept, why } => {
            tracing::error!("the ledger is damaged ({why}); it is kept as {}", kept.display());
        }
    }
    metrics.ledger_rebuilt();
    let mut taken = 0;
    for (key, link) in &have.pods {
        match journal.commit(&[Entry::Lease(Arc::new(attachment(key, link)))]) {
            Ok(()) => taken += 1,
            Err(CommitError::Doubled(error)) => tracing::error!("rebuild the ledger: {error}"),
            Err(error) => return Err(error),
        }
    }
    tracing::error!("the ledger was rebuilt from {taken} pods that the kernel shows");
    Ok(taken)
}

fn attachment(key: &AttachmentKey, link: &PodLink) -> Attachment {
    Attachment {
        key: key.clone(),
        network: NETWORK.to_owned(),
        netns: link.netns.clone(),
        pod: None,
        addrs: link.addrs.iter().map(ipnet::IpNet::addr).collect(),
        mac: link.mac,
        port_mappings: Vec::new(),
        search: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn pods(pods: &[(&str, &str)]) -> Plan {
        let row = |(id, addr): &(&str, &str)| {
            let ifname = "eth0".parse().unwrap();
            let link = PodLink {
                netns: format!("/run/netns/{id}").into(),
                mtu: 1500,
                host_mac: model::Mac::derive("host"),
                mac: model::Mac::derive(id),
                addrs: vec![addr.parse().unwrap()],
                gateways: Vec::new(),
                gateway_mac: None,
                master: None,
            };
            (AttachmentKey { container_id: (*id).into(), ifname }, link)
        };
        Plan { pods: pods.iter().map(row).collect(), ..Plan::default() }
    }

    #[test]
    fn pods_keep_their_addresses_when_the_ledger_is_lost() {
        let scratch = Scratch::new();
        let (mut journal, found) = Journal::open(scratch.path(), 0).unwrap();
        let have = pods(&[("a", "10.244.1.2/32"), ("b", "10.244.1.3/32"), ("c", "10.244.1.3/32")]);
        assert_eq!(rebuild(&mut journal, &found, &have, &Metrics::default()).unwrap(), 2);
        drop(journal);
        let (mut journal, found) = Journal::open(scratch.path(), 0).unwrap();
        assert_eq!(journal.leases().attachments.len(), 2);
        assert_eq!(rebuild(&mut journal, &found, &pods(&[]), &Metrics::default()).unwrap(), 0);
    }
}
