//! What a Service is called, and its endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{DomainName, Family, Protocol};

use super::dashed;

/// What the name of a Service stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Addresses of its own.
    Cluster {
        /// The cluster IPs.
        addrs: Box<[IpAddr]>,
        /// Its ports.
        ports: Box<[Port]>,
        /// Names below it (DNS-28).
        endpoints: Endpoints,
    },
    /// Its endpoints.
    Headless(Endpoints),
    /// Another name, in the case in which it was written.
    External(Box<DomainName>),
}

impl Entry {
    /// Whether there is such a name: one that stands for nothing is none (DNS-6).
    pub(super) fn is_there(&self) -> bool {
        match self {
            Entry::Cluster { addrs, .. } => !addrs.is_empty(),
            Entry::Headless(endpoints) => !endpoints.hosts.is_empty(),
            Entry::External(_) => true,
        }
    }

    /// The named ports over `protocol`, of the Service or of any endpoint.
    pub(super) fn ports(&self, protocol: Protocol) -> impl Iterator<Item = &Port> {
        let sets = match self {
            Entry::Cluster { ports, .. } => std::slice::from_ref(ports),
            Entry::Headless(endpoints) => &*endpoints.port_sets,
            Entry::External(_) => &[],
        };
        let all = sets.iter().flatten();
        all.filter(move |port| port.protocol == protocol && !port.name.is_empty())
    }

    pub(super) fn endpoints(&self) -> Option<&Endpoints> {
        match self {
            Entry::Cluster { endpoints, .. } | Entry::Headless(endpoints) => Some(endpoints),
            Entry::External(_) => None,
        }
    }
}

/// A port of a Service, or of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name in lower case; empty for one without.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// An endpoint, before it is together with the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint<'a> {
    /// The label that it is known by, in lower case; `None` when that follows from its address.
    pub host: Option<&'a Arc<str>>,
    /// Where it is.
    pub ip: IpAddr,
    /// Whether it is a pod.
    pub is_pod: bool,
    /// Its ports.
    pub ports: &'a [Port],
}

/// The endpoints of a Service that have a name.
///
/// Endpoints of one name are one host: those without a hostname by address, then the others by name.
/// Sets of ports are few; a host says which one is its.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Endpoints {
    hosts: Box<[Host]>,
    addrs: Box<[Address]>,
    port_sets: Box<[Box<[Port]>]>,
    /// How many different addresses there are of each family.
    count: [usize; 2],
    hidden_pods: Box<[IpAddr]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: Option<Arc<str>>,
    /// Where its addresses begin.
    first: u32,
    /// Which set of ports it has.
    ports: u32,
}

/// An address of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) is_pod: bool,
    /// Whether a host before has it, too: a Service's name stands for it once.
    is_repeated: bool,
}

/// One host of a Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostView<'a> {
    pub(super) name: Option<&'a Arc<str>>,
    pub(super) addrs: &'a [Address],
    pub(super) ports: &'a [Port],
}

impl Endpoints {
    /// Endpoints of one Service, however often each is said to be one. `hidden_pods` are those that
    /// are not ready: they have no name by the Service, and are known to be pods.
    pub fn new(mut endpoints: Vec<Endpoint<'_>>, mut hidden_pods: Vec<IpAddr>) -> Self {
        // Without a hostname each address is a host of its own.
        fn host<'a>(e: &Endpoint<'a>) -> (Option<&'a Arc<str>>, Option<IpAddr>) {
            (e.host, e.host.is_none().then_some(e.ip))
        }
        endpoints.sort();
        endpoints.dedup();
        hidden_pods.sort();
        hidden_pods.dedup();
        let (mut hosts, mut addrs) = (Vec::new(), Vec::<Address>::new());
        let (mut port_sets, mut seen) = (PortSets::default(), BTreeSet::new());
        let mut count = [0; 2];
        for group in endpoints.chunk_by(|a, b| host(a) == host(b)) {
            let first = addrs.len();
            for at in group.chunk_by(|a, b| a.ip == b.ip) {
                let is_repeated = !seen.insert(at[0].ip);
                count[family(at[0].ip)] += usize::from(!is_repeated);
                let is_pod = at.iter().any(|endpoint| endpoint.is_pod);
                addrs.push(Address { ip: at[0].ip, is_pod, is_repeated });
            }
            hosts.push(Host {
                name: group[0].host.cloned(),
                first: u32::try_from(first).unwrap_or(u32::MAX),
                ports: port_sets.of(group),
            });
        }
        Endpoints {
            hosts: hosts.into(),
            addrs: addrs.into(),
            port_sets: port_sets.sets.into(),
            count,
            hidden_pods: hidden_pods.into(),
        }
    }

    /// Whether there is none that has a name.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether there is an address of `of`.
    pub(super) fn has(&self, of: Family) -> bool {
        self.count[of as usize] > 0
    }

    /// Each address of the Service once.
    pub(super) fn addrs(&self, turn: u32) -> impl Iterator<Item = IpAddr> {
        let once = rotated(&self.addrs, turn).filter(|addr| !addr.is_repeated);
        once.map(|addr| addr.ip)
    }

    /// Every host.
    pub(super) fn hosts(&self) -> impl Iterator<Item = HostView<'_>> {
        (0..self.hosts.len()).map(|i| self.host(i))
    }

    pub(super) fn hidden_pods(&self) -> &[IpAddr] {
        &self.hidden_pods
    }

    /// The hosts that `label`, in lower case, names: there may be one by its hostname, and another by
    /// its address.
    pub(super) fn named(&self, label: &[u8]) -> [Option<HostView<'_>>; 2] {
        let nameless = self.hosts.partition_point(|host| host.name.is_none());
        let (by_addr, by_name) = self.hosts.split_at(nameless);
        let first = |host: &Host| self.addrs[host.first as usize].ip;
        let at = dashed::endpoint(label)
            .and_then(|ip| by_addr.binary_search_by_key(&ip, first).ok())
            .map(|i| self.host(i));
        let name = |host: &Host| host.name.as_deref().unwrap_or_default().as_bytes().cmp(label);
        let named = by_name.binary_search_by(name).ok().map(|i| self.host(nameless + i));
        [named, at]
    }

    fn host(&self, i: usize) -> HostView<'_> {
        let Host { name, first, ports } = &self.hosts[i];
        let end = self.hosts.get(i + 1).map_or(self.addrs.len(), |next| next.first as usize);
        HostView {
            name: name.as_ref(),
            addrs: &self.addrs[*first as usize..end],
            ports: &self.port_sets[*ports as usize],
        }
    }
}

fn family(ip: IpAddr) -> usize {
    Family::of(ip) as usize
}

/// Sets of ports, each once.
#[derive(Debug, Default)]
struct PortSets<'a> {
    /// By how slices say them: most say the same.
    said: BTreeMap<Vec<&'a [Port]>, u32>,
    known: BTreeMap<Box<[Port]>, u32>,
    sets: Vec<Box<[Port]>>,
}

impl<'a> PortSets<'a> {
    /// The place of all ports of `endpoints`.
    fn of(&mut self, endpoints: &[Endpoint<'a>]) -> u32 {
        let mut said: Vec<_> = endpoints.iter().map(|endpoint| endpoint.ports).collect();
        said.sort();
        said.dedup();
        if let Some(place) = self.said.get(&said) {
            return *place;
        }
        let set: BTreeSet<Port> = said.iter().copied().flatten().cloned().collect();
        let set: Box<[Port]> = set.into_iter().collect();
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let place = *self.known.entry(set.clone()).or_insert(next);
        if place == next {
            self.sets.push(set);
        }
        self.said.insert(said, place);
        place
    }
}

/// All of `items`, from the one whose turn it is.
pub(super) fn rotated<T>(items: &[T], turn: u32) -> impl Iterator<Item = &T> {
    let at = if items.len() < 2 { 0 } else { turn as usize % items.len() };
    let (before, from) = items.split_at(at);
    from.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_of_one_name_are_one_host_with_all_their_ports() {
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        let port = |name: &str, port| Port { name: name.into(), protocol: Protocol::Tcp, port };
        let (pg, both) = ([port("pg", 5432)], [port("pg", 5432), port("web", 80)]);
        let at = |host, addr: &str, ports| Endpoint { host, ip: ip(addr), is_pod: true, ports };
        let endpoints = Endpoints::new(
            vec![
                at(Some(&names[1]), "10.0.0.2", &pg),
                at(Some(&names[0]), "10.0.0.1", &pg[..]),
                at(Some(&names[0]), "fd00::1", &both),
                at(None, "10.0.0.1", &pg),
                at(Some(&names[0]), "10.0.0.1", &both),
            ],
            vec![],
        );
        let host = |host: HostView<'_>| {
            let addrs: Vec<_> = host.addrs.iter().map(|addr| addr.ip.to_string()).collect();
            (host.name.map(|name| name.to_string()), addrs.join(" "), host.ports.len())
        };
        let got: Vec<_> = endpoints.hosts().map(host).collect();
        let want =
            [(None, "10.0.0.1", 1), (Some("a"), "10.0.0.1 fd00::1", 2), (Some("b"), "10.0.0.2", 1)];
        let want = want.map(|(name, addrs, n)| (name.map(str::to_owned), addrs.to_owned(), n));
        assert_eq!(got, want);
        assert_eq!(endpoints.addrs(0).count(), 3, "10.0.0.1 is one address of the Service");
        assert_eq!((endpoints.port_sets.len(), endpoints.count), (2, [2, 1]));
        let found =
            |label: &str| endpoints.named(label.as_bytes()).into_iter().flatten().map(host).count();
        assert_eq!(
            [found("a"), found("b"), found("10-0-0-1"), found("10-0-0-2"), found("c")],
            [1, 1, 1, 0, 0]
        );
    }
}
