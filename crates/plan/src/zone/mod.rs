//! The names of a cluster, and what is answered to who asks for one.
//!
//! [`Zones`] holds no names: it holds Services by namespace and name, and what a question means is
//! found by taking its name apart, label by label from the right. So ten names of an endpoint cost as
//! much as one, and a change of a Service touches that Service alone. Addresses lead back to names by
//! an index of their own.
//!
//! [`answer()`] is what the DNS server runs; [`write()`] puts its outcome into a message.
//!
//! Sources: the DNS specification of Kubernetes 1.1.0, CoreDNS, RFC 1034, RFC 2308, RFC 8020; DNS-1 to
//! DNS-45.

mod answer;
mod dashed;
mod entry;
mod find;
mod print;
mod record;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, OrdSet};
use model::{Dns, DomainName, ServiceName, packed_set};

pub use answer::{Answer, Question, answer};
pub use entry::{Endpoint, Endpoints, Entry, Port};
pub use print::Asked;
pub use record::{Domain, HostLabel, Rdata, Record};
pub use write::{write, write_section};

/// Every name of a cluster. Two of them share what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// How objects are named.
    dns: Dns,
    /// When it last changed, in seconds since 1970: the serial of the zone (DNS-37). Who answers from
    /// it sets it.
    pub serial: u32,
    /// Whether everything that should be in it is. As long as not, a name that is not in it may exist
    /// all the same, and the answer is SERVFAIL (DNS-40).
    pub is_complete: bool,
    /// `ns.dns.ZONE`.
    primary: DomainName,
    /// `hostmaster.ZONE`.
    mailbox: DomainName,
    spaces: ByName<Space>,
    pointers: OrdSet<Pointer>,
    /// The pods of this node, with their namespaces.
    local_pods: Arc<BTreeSet<(IpAddr, Arc<str>)>>,
    /// A name before all others.
    first: Arc<ServiceName>,
}

/// What is looked up for every question: two steps whatever there is, and none by comparing names.
type ByName<T> = GenericHashMap<Arc<str>, T, RandomState, DefaultSharedPtr>;

/// A namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Space {
    /// Whether there is such an object, or only something in it.
    is_object: bool,
    services: ByName<Arc<Row>>,
}

/// A Service under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: Arc<ServiceName>,
    entry: Entry,
}

/// What an address is to a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pointer {
    ip: IpAddr,
    role: Role,
    service: Arc<ServiceName>,
    /// The hostname of an endpoint that has one.
    host: Option<Arc<str>>,
}

/// In the order in which they are of interest: who has a cluster IP is nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// One of its own.
    ClusterIp,
    /// An endpoint, and a pod.
    Pod,
    /// An endpoint that is no pod.
    Other,
    /// A pod that is not ready: it has no name by the Service.
    Hidden,
}

impl Zones {
    /// Zones without a name in them, which are not complete.
    pub fn new(dns: Dns) -> Self {
        let under = |zone: &DomainName, label: &[u8]| zone.under(label).unwrap_or(*zone);
        Zones {
            serial: 0,
            is_complete: false,
            primary: under(&under(&dns.domain, b"dns"), b"ns"),
            mailbox: under(&dns.domain, b"hostmaster"),
            spaces: ByName::default(),
            pointers: OrdSet::new(),
            local_pods: Arc::default(),
            first: Arc::new(ServiceName::new("", "")),
            dns,
        }
    }

    /// The same names, called as `dns` says.
    #[must_use]
    pub fn called(self, dns: Dns) -> Self {
        let Zones { serial, is_complete, spaces, pointers, local_pods, .. } = self;
        Zones { serial, is_complete, spaces, pointers, local_pods, ..Zones::new(dns) }
    }

    /// Whether `other` is surely the same but for its serial, found without looking inside.
    pub fn is_same(&self, other: &Zones) -> bool {
        self.dns == other.dns
            && self.is_complete == other.is_complete
            && self.spaces.ptr_eq(&other.spaces)
            && self.pointers.ptr_eq(&other.pointers)
            && Arc::ptr_eq(&self.local_pods, &other.local_pods)
    }

    /// Puts what the Service `name` is called, or takes it out.
    pub fn put(&mut self, name: &ServiceName, entry: Option<Entry>) {
        self.put_all([(name.clone(), entry)].into());
    }

    /// The same of many Services.
    pub fn put_all(&mut self, entries: BTreeMap<ServiceName, Option<Entry>>) {
        let mut come = Vec::new();
        for (name, entry) in entries {
            let (old, mut new) = self.replace(&name, entry);
            for pointer in &old {
                if !new.remove(pointer) {
                    self.pointers.remove(pointer);
                }
            }
            come.extend(new);
        }
        if come.len() > self.pointers.len() {
            self.pointers = packed_set(std::mem::take(&mut self.pointers).into_iter().chain(come));
        } else {
            self.pointers.extend(come);
        }
    }

    /// Puts what the Service `name` is called. Returns where addresses led back to it, and where they do now.
    fn replace(
        &mut self,
        name: &ServiceName,
        entry: Option<Entry>,
    ) -> (BTreeSet<Pointer>, BTreeSet<Pointer>) {
        let row = entry.map(|entry| Arc::new(Row { name: Arc::new(name.clone()), entry }));
        let mut space = self.spaces.get(&name.namespace).cloned().unwrap_or_default();
        let old = match &row {
            Some(row) => space.services.insert(Arc::clone(&name.name), Arc::clone(row)),
            None => space.services.remove(&name.name),
        };
        self.put_space(&name.namespace, space);
        (pointers(old.as_deref()), pointers(row.as_deref()))
    }

    /// Puts a namespace, or takes it out; what is in it stays.
    pub fn put_namespace(&mut self, name: &Arc<str>, is_there: bool) {
        let space = self.spaces.get(name).cloned().unwrap_or_default();
        self.put_space(name, Space { is_object: is_there, ..space });
    }

    fn put_space(&mut self, name: &Arc<str>, space: Space) {
        if space.is_object || !space.services.is_empty() {
            self.spaces.insert(Arc::clone(name), space);
        } else {
            self.spaces.remove(name);
        }
    }

    /// Puts the pods of this node: address and namespace.
    pub fn put_local_pods(&mut self, pods: BTreeSet<(IpAddr, Arc<str>)>) {
        if *self.local_pods != pods {
            self.local_pods = Arc::new(pods);
        }
    }

    fn space(&self, name: &[u8]) -> Option<&Space> {
        self.spaces.get(std::str::from_utf8(name).ok()?)
    }

    /// Whether the namespace exists: as an object, or because a name in it does.
    fn has_space(&self, name: &[u8]) -> bool {
        let is_there = |space: &Space| {
            space.is_object || space.services.values().any(|row| row.entry.is_there())
        };
        self.space(name).is_some_and(is_there)
    }

    /// The Service that clients ask, if it can be asked.
    fn server(&self) -> Option<&Row> {
        let space = self.spaces.get(&self.dns.service.namespace)?;
        space
            .services
            .get(&self.dns.service.name)
            .map(|row| &**row)
            .filter(|row| row.entry.is_there())
    }

    /// What `ip` is to Services, a cluster IP first.
    fn pointers_at(&self, ip: IpAddr) -> impl Iterator<Item = &Pointer> {
        let service = Arc::clone(&self.first);
        let first = Pointer { ip, role: Role::ClusterIp, service, host: None };
        self.pointers.range(first..).take_while(move |pointer| pointer.ip == ip)
    }

    /// Whether a pod of `namespace` is known to have `ip`.
    fn is_pod(&self, namespace: &[u8], ip: IpAddr) -> bool {
        let is_its = |pointer: &Pointer| {
            matches!(pointer.role, Role::Pod | Role::Hidden)
                && pointer.service.namespace.as_bytes() == namespace
        };
        let from = (ip, Arc::clone(&self.first.namespace));
        let mut local = self.local_pods.range(from..).take_while(|(local, _)| *local == ip);
        self.pointers_at(ip).any(is_its) || local.any(|(_, space)| space.as_bytes() == namespace)
    }
}

/// Where the addresses of `row` lead back to: to a Service that has no name, only as to a pod.
fn pointers(row: Option<&Row>) -> BTreeSet<Pointer> {
    let Some(Row { name, entry }) = row else { return BTreeSet::new() };
    let point = |ip, role, host| Pointer { ip, role, service: Arc::clone(name), host };
    let (addrs, endpoints) = match entry {
        Entry::Cluster { addrs, endpoints, .. } => (&**addrs, endpoints),
        Entry::Headless(endpoints) => (&[][..], endpoints),
        Entry::External(_) => return BTreeSet::new(),
    };
    let mut all: BTreeSet<_> = addrs.iter().map(|ip| point(*ip, Role::ClusterIp, None)).collect();
    let is_there = entry.is_there();
    for host in endpoints.hosts() {
        all.extend(host.addrs.iter().filter_map(|addr| {
            let role = match (is_there, addr.is_pod) {
                (true, true) => Role::Pod,
                (true, false) => Role::Other,
                (false, true) => Role::Hidden,
                (false, false) => return None,
            };
            Some(point(addr.ip, role, host.name.cloned().filter(|_| is_there)))
        }));
    }
    all.extend(endpoints.hidden_pods().iter().map(|ip| point(*ip, Role::Hidden, None)));
    all
}

impl Default for Zones {
    fn default() -> Self {
        Zones::new(Dns::default())
    }
}

/// Zones in which addresses lead back to names.
mod reverse {
    use model::DomainName;

    pub(super) static V4: DomainName = DomainName::constant(b"\x07in-addr\x04arpa\0");
    pub(super) static V6: DomainName = DomainName::constant(b"\x03ip6\x04arpa\0");
}
