//! Keeps what tells of Services' addresses: an IPAddress for each that is in use, and the condition of
//! each ServiceCIDR, which can't go while addresses of it are in use.
//!
//! Source: KEP-1880; Kubernetes, `pkg/controller/servicecidrs` and
//! `pkg/registry/core/service/ipallocator`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    IPAddress, IPAddressSpec, ParentReference, ServiceCIDR, ServiceCIDRStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use serde_json::json;

use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write};

/// What a ServiceCIDR waits for before it goes.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// The controller of IPAddresses; its keys are addresses.
#[derive(Default)]
pub(super) struct Addresses {
    /// The key of the Service that has an address, as changes have told.
    holders: BTreeMap<String, Arc<str>>,
}

impl Controller for Addresses {
    fn name(&self) -> &'static str {
        "ipallocator-repair-controller"
    }

    fn concerns(&mut self, _: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Service(changed) = change {
            for address in changed.old.iter().flat_map(|service| addresses(service)) {
                if self.holders.get(address) == Some(&changed.key) {
                    self.holders.remove(address);
                }
                keys.add(address);
            }
            for address in changed.new.iter().flat_map(|service| addresses(service)) {
                self.holders.insert(address.to_owned(), changed.key.clone());
                keys.add(address);
            }
        } else if let Change::IPAddress(changed) = change {
            keys.add(changed.key.clone());
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, _: &Turn<'_>) -> Plan {
        let Ok(address) = key.parse::<IpAddr>() else { return Plan::nothing() };
        let holder = self.holders.get(key).and_then(|holder| cluster.services.get(holder));
        let there = cluster.ip_addresses.get(key);
        let write = match (holder, there) {
            (Some(service), None) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                let labels = [
                    ("ipaddress.kubernetes.io/ip-family", family),
                    ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"),
                ];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let metadata = ObjectMeta {
                    name: Some(key.to_owned()),
                    labels: Some(labels.into()),
                    ..ObjectMeta::default()
                };
                let parent_ref = ParentReference {
                    group: None,
                    resource: "services".to_owned(),
                    namespace: service.metadata.namespace.clone(),
                    name: service.metadata.name.clone().unwrap_or_default(),
                };
                let spec = Some(IPAddressSpec { parent_ref });
                Some(Write::new(Action::Create, IPAddress { metadata, spec }))
            }
            (None, Some(there)) => {
                Some(Write::new(Action::Delete { grace: None }, IPAddress::clone(there)))
            }
            _ => None,
        };
        Plan { writes: write.into_iter().collect(), ..Plan::default() }
    }
}

/// The addresses of a Service.
fn addresses(service: &Service) -> impl Iterator<Item = &str> {
    let addresses = service.spec.as_ref().and_then(|spec| spec.cluster_ips.as_ref());
    addresses.into_iter().flatten().map(String::as_str).filter(|address| *address != "None")
}

/// The controller of ServiceCIDRs.
pub(super) struct Ranges;

impl Controller for Ranges {
    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::ServiceCIDR(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::IPAddress(changed) = change
            && changed.new.is_none()
        {
            // A range that leaves may have waited for this.
            cluster.service_cidrs.iter().for_each(|(key, _)| keys.add(key.clone()));
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(range) = cluster.service_cidrs.get(key) else { return Plan::nothing() };
        let finalizers = range.metadata.finalizers.as_deref().unwrap_or_default();
        let is_held = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let leaves = range.metadata.deletion_timestamp.is_some();
        let mut plan = Plan::nothing();
        let (ready, reason, message) = match leaves {
            false => ("True", "", "Kubernetes Service CIDR is ready"),
            true => (
                "False",
                "Terminating",
                "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
            ),
        };
        if leaves && !is_used(cluster, key, range) {
            if is_held {
                let kept: Vec<_> = finalizers.iter().filter(|f| *f != FINALIZER).collect();
                let patch = json!({ "metadata": { "finalizers": kept } });
                plan.writes.push(Write::new(Action::Patch(patch), ServiceCIDR::clone(range)));
            }
            return plan;
        }
        if !leaves && !is_held {
            let all: Vec<_> = finalizers.iter().map(String::as_str).chain([FINALIZER]).collect();
            let patch = json!({ "metadata": { "finalizers": all } });
            plan.writes.push(Write::new(Action::Patch(patch), ServiceCIDR::clone(range)));
            return plan; // Its status follows when that is done.
        }
        let conditions = range.status.as_ref().and_then(|status| status.conditions.as_ref());
        let said =
            conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == ready);
        if !said {
            let condition = Condition {
                type_: "Ready".to_owned(),
                status: ready.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                last_transition_time: Time(turn.now),
                observed_generation: None,
            };
            let status = Some(ServiceCIDRStatus { conditions: Some(vec![condition]) });
            let range = ServiceCIDR { status, ..ServiceCIDR::clone(range) };
            plan.writes.push(Write::new(Action::ReplaceStatus, range));
        }
        plan
    }
}

/// Whether an address in use is in this range and in no other that stays.
fn is_used(cluster: &Cluster, key: &str, range: &ServiceCIDR) -> bool {
    let others = cluster
        .service_cidrs
        .iter()
        .filter(|(other, range)| &***other != key && range.metadata.deletion_timestamp.is_none());
    let others: Vec<IpNet> = others.flat_map(|(_, range)| cidrs(range)).collect();
    let own = cidrs(range);
    let mut used = cluster.ip_addresses.iter().filter_map(|(name, _)| name.parse::<IpAddr>().ok());
    used.any(|address| {
        let within = |cidrs: &[IpNet]| cidrs.iter().any(|cidr| cidr.contains(&address));
        within(&own) && !within(&others)
    })
}

fn cidrs(range: &ServiceCIDR) -> Vec<IpNet> {
    let texts = range.spec.as_ref().and_then(|spec| spec.cidrs.as_ref()).into_iter().flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}
