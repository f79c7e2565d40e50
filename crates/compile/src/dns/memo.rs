//! The zones of the last World, and from them those of the next in the time of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use model::{
    Attachment, AttachmentKey, EndpointSlice, Namespace, Service, ServiceName, SliceKey, World,
};
use plan::zone::{Entry, Zones};

use super::entry::entry;
use crate::Rejected;
use crate::changed::differing;

/// What is remembered of the last World.
#[derive(Debug, Default, Clone)]
pub struct Memo {
    seen: Seen,
    zones: Zones,
    /// What of each Service can't be honored.
    rejected: BTreeMap<ServiceName, Vec<Rejected>>,
}

/// The maps of the last World, to tell what is new.
#[derive(Debug, Default, Clone)]
struct Seen {
    dns: model::Dns,
    services: OrdMap<ServiceName, Arc<Service>>,
    slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
    namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    attachments: BTreeMap<AttachmentKey, Arc<Attachment>>,
}

impl Memo {
    /// The zones of `world`, and what of its Services could not be honored. They are what a memo that
    /// has seen nothing makes of the same World.
    pub fn zones(&mut self, world: &World, rejected: &mut Vec<Rejected>) -> Zones {
        let dns = &world.config.dns;
        let mut changed = differing(&self.seen.services, &world.services);
        let slices = differing(&self.seen.slices, &world.slices);
        changed.extend(slices.into_iter().map(|key| key.service));
        if self.seen.dns != *dns {
            let labels = |dns: &model::Dns| (dns.endpoint_pod_names, dns.hides_empty);
            if labels(&self.seen.dns) != labels(dns) {
                changed.extend(world.services.keys().cloned());
            }
            self.zones = std::mem::take(&mut self.zones).called(dns.clone());
        }
        let entries = changed.into_iter().map(|name| self.entry(world, name)).collect();
        self.zones.put_all(entries);
        for name in differing(&self.seen.namespaces, &world.namespaces) {
            self.zones.put_namespace(&name, world.namespaces.contains_key(&name));
        }
        if self.seen.attachments != world.attachments {
            self.zones.put_local_pods(local_pods(world));
        }
        self.zones.is_complete = true;
        self.seen = Seen {
            dns: dns.clone(),
            services: world.services.clone(),
            slices: world.slices.clone(),
            namespaces: world.namespaces.clone(),
            attachments: world.attachments.clone(),
        };
        rejected.extend(self.rejected.values().flatten().cloned());
        self.zones.clone()
    }

    /// What the Service `name` is called by now, if anything.
    fn entry(&mut self, world: &World, name: ServiceName) -> (ServiceName, Option<Entry>) {
        let mut rejected = Vec::new();
        let entry = world.services.get(&name).and_then(|service| {
            let slices: Vec<&EndpointSlice> =
                world.slices_of(&name).map(|slice| &**slice).collect();
            entry(service, &slices, &world.config.dns, &mut rejected)
        });
        match rejected.is_empty() {
            true => self.rejected.remove(&name),
            false => self.rejected.insert(name.clone(), rejected),
        };
        (name, entry)
    }
}

/// The addresses of this node's pods, with their namespaces.
fn local_pods(world: &World) -> BTreeSet<(IpAddr, Arc<str>)> {
    let pods = world.attachments.values().filter_map(|attachment| {
        let namespace: Arc<str> = attachment.pod.as_ref()?.namespace.as_str().into();
        Some(attachment.addrs.iter().map(move |addr| (*addr, Arc::clone(&namespace))))
    });
    pods.flatten().collect()
}
