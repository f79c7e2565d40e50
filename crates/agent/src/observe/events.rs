//! What people should know about Services, told once when it becomes so: addresses that are not
//! honored, addresses that are and should worry somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compile::services::{At, FrontendKind, Resolved};
use compile::{Fault, Rejected, ServiceTable};
use imbl::ordmap::DiffItem;
use kube::{Event, Events, Regarding};
use model::{OrdMap, ServiceName};

use super::Metrics;
use crate::shown::Shown;

/// Tells what follows from every view, until the future is dropped.
pub(crate) async fn tell_faults(shown: Arc<Shown>, teller: Teller) {
    let mut views = shown.views();
    let mut known = Known::default();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        for event in known.news(&view.compiled.rejected, &view.compiled.services) {
            teller.tell(event);
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Tells events, and counts those that are lost.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
}

impl Teller {
    /// Has `event` written, some time soon, unless too many wait.
    pub(crate) fn tell(&self, event: Event) {
        if !self.events.tell(event) {
            self.metrics.event_lost();
        }
    }
}

/// What was so in the last view.
#[derive(Debug, Default)]
struct Known {
    rejected: Vec<Rejected>,
    faults: BTreeSet<Event>,
    services: OrdMap<ServiceName, Arc<Resolved>>,
    /// The external IPs that each Service has.
    external: BTreeMap<ServiceName, BTreeSet<String>>,
}

impl Known {
    /// What is so now and was not before.
    fn news(&mut self, rejected: &[Rejected], table: &ServiceTable) -> Vec<Event> {
        let mut news = Vec::new();
        if self.rejected != rejected {
            let faults: BTreeSet<Event> = rejected.iter().filter_map(fault).collect();
            news.extend(faults.difference(&self.faults).cloned());
            self.rejected = rejected.to_vec();
            self.faults = faults;
        }
        let services = std::mem::replace(&mut self.services, table.services.clone());
        for change in services.diff(&table.services) {
            let (name, addrs) = match change {
                DiffItem::Remove(name, _) => (name, BTreeSet::new()),
                DiffItem::Add(name, new) | DiffItem::Update { new: (name, new), .. } => {
                    (name, external_ips(new))
                }
            };
            let had = self.external.remove(name).unwrap_or_default();
            if !addrs.is_subset(&had) {
                news.push(exposed(name, &addrs));
            }
            if !addrs.is_empty() {
                self.external.insert(name.clone(), addrs);
            }
        }
        news
    }
}

/// The event about a Service of which something is not honored; none about other objects.
fn fault(rejected: &Rejected) -> Option<Event> {
    let Rejected { object, field, why, fault } = rejected;
    let (namespace, name) = object.strip_prefix("Service ")?.split_once('/')?;
    // Sources: kube-proxy for the first; the others are Seaway's own.
    let (reason, action) = match fault {
        Fault::WrongFamily => ("KubeProxyIncorrectIPVersion", "GatherEndpoints"),
        Fault::Taken => ("FrontendTaken", "OpenFrontend"),
        Fault::Refused => ("AddressRefused", "OpenFrontend"),
        Fault::Open => ("SourceRangesIncomplete", "RestrictClients"),
        Fault::Invalid => ("Invalid", "OpenFrontend"),
    };
    Some(Event {
        regarding: Regarding::Service(ServiceName::new(namespace, name)),
        is_warning: true,
        reason,
        action,
        note: format!("{field}: {why}"),
    })
}

fn external_ips(resolved: &Resolved) -> BTreeSet<String> {
    let frontends = resolved.ports.iter().flat_map(|port| &port.frontends);
    let external = frontends.filter(|frontend| frontend.kind == FrontendKind::ExternalIp);
    let addrs = external.filter_map(|frontend| match frontend.at {
        At::Ip(addr) => Some(addr.to_string()),
        At::NodeAddresses => None,
    });
    addrs.collect()
}

/// Source: KEP-5707, which does away with them.
fn exposed(name: &ServiceName, addrs: &BTreeSet<String>) -> Event {
    let addrs: Vec<&str> = addrs.iter().map(String::as_str).collect();
    Event {
        regarding: Regarding::Service(name.clone()),
        is_warning: true,
        reason: "ExternalIPsInUse",
        action: "OpenFrontend",
        note: format!(
            "spec.externalIPs: nodes take traffic to {}, because --external-ips allows it; the field is deprecated",
            addrs.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use compile::services::{Action, Frontend, PortEntry};
    use model::{Family, Protocol};

    use super::*;

    fn rejected(object: &str, fault: Fault, why: &str) -> Rejected {
        let (object, field) = (object.to_owned(), "spec.x".to_owned());
        Rejected { object, field, why: why.to_owned(), fault }
    }

    fn told(known: &mut Known, rejected: &[Rejected], table: &ServiceTable) -> Vec<String> {
        let news = known.news(rejected, table);
        news.iter().map(|event| format!("{} {}", event.reason, event.note)).collect()
    }

    #[test]
    fn a_fault_is_told_when_it_begins_and_not_again() {
        let (mut known, none) = (Known::default(), ServiceTable::default());
        let taken = rejected("Service a/web", Fault::Taken, "taken");
        let family = rejected("Service a/web", Fault::WrongFamily, "family");
        let node = rejected("Node a", Fault::Invalid, "empty");
        let first = told(&mut known, &[node.clone(), taken.clone()], &none);
        assert_eq!(first, ["FrontendTaken spec.x: taken"]);
        assert!(told(&mut known, &[node.clone(), taken.clone()], &none).is_empty());
        let more = told(&mut known, &[node, taken.clone(), family], &none);
        assert_eq!(more, ["KubeProxyIncorrectIPVersion spec.x: family"]);
        assert!(told(&mut known, &[], &none).is_empty());
        assert_eq!(told(&mut known, &[taken], &none).len(), 1, "it begins again");
    }

    #[test]
    fn external_ips_in_use_are_told_of_when_one_is_new() {
        let frontend = |addr: &str| Frontend {
            kind: FrontendKind::ExternalIp,
            at: At::Ip(addr.parse().unwrap()),
            port: 80,
            inside: Action::Reject,
            outside: Action::Reject,
            allowed: None,
        };
        let table = |addrs: &[&str]| {
            let port = PortEntry {
                name: "".into(),
                protocol: Protocol::Tcp,
                family: Family::V4,
                affinity: None,
                cluster: Vec::new().into(),
                local: Vec::new().into(),
                serving: plan::Serving::default(),
                frontends: addrs.iter().map(|addr| frontend(addr)).collect(),
            };
            let resolved = Resolved { ports: vec![port], ..Resolved::default() };
            let services = [(ServiceName::new("a", "web"), Arc::new(resolved))];
            ServiceTable { services: services.into_iter().collect(), ..ServiceTable::default() }
        };
        let mut known = Known::default();
        let cases: [(&[&str], bool); 6] = [
            (&[], false),
            (&["192.0.2.9"], true),
            (&["192.0.2.9"], false),
            (&["192.0.2.8", "192.0.2.9"], true),
            (&["192.0.2.8"], false),
            (&["192.0.2.9"], true),
        ];
        for (addrs, is_told) in cases {
            let news = told(&mut known, &[], &table(addrs));
            assert_eq!(!news.is_empty(), is_told, "{addrs:?}: {news:?}");
            assert!(news.iter().all(|note| addrs.iter().all(|addr| note.contains(addr))));
        }
    }
}
