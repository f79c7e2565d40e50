//! Who may be at an end of a connection, as far as policies tell them apart.
//!
//! What becomes of a connection follows from the groups of its pods and from the sets and blocks that have
//! its addresses. Pods that agree in all of that are one end, whatever their nodes and their other labels
//! are, and so are all addresses outside of the cluster that the same blocks have. There are about as many
//! ends as there are workloads, and each question is asked once for all pairs of two ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use model::{Family, ObjectName, World};

use super::judge::Judge;
use super::marks::{Mark, Marks};
use super::{Party, PodPolicy};

/// Some who are not told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Who they are.
    pub who: Who,
    /// The address of one of them in each family, by [`Family::ALL`].
    pub(super) addrs: [Option<IpAddr>; 2],
}

/// Who is at an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// These pods, by name.
    Pods(Vec<ObjectName>),
    /// Whoever has these addresses and is not of the cluster; without any, everybody else.
    Outside(Vec<IpNet>),
}

impl End {
    /// The address by which it is judged in a family.
    pub(super) fn addr(&self, family: Family) -> Option<IpAddr> {
        self.addrs[index(family)]
    }

    /// One of them; of several pods another one for a connection with themselves.
    pub(super) fn party(&self, is_second: bool) -> Party {
        match &self.who {
            Who::Pods(pods) => {
                let pod = pods.get(usize::from(is_second)).or(pods.first());
                pod.map_or(Party::Elsewhere, |pod| Party::Pod(pod.clone()))
            }
            Who::Outside(_) => Party::Elsewhere,
        }
    }

    /// Whether it is one pod alone.
    pub(super) fn is_single(&self) -> bool {
        matches!(&self.who, Who::Pods(pods) if pods.len() == 1)
    }

    /// What a judge asks of them.
    pub(super) fn policy<'a>(&self, judge: &Judge<'a>) -> Option<&'a PodPolicy> {
        match &self.who {
            Who::Pods(pods) => judge.table.pods.get(pods.first()?),
            Who::Outside(_) => None,
        }
    }
}

/// `shop/web`, `shop/web-1 and 2 more`, `outside 203.0.113.0/24`, `outside`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Pods(pods) => match &pods[..] {
                [] => f.write_str("no pod"),
                [one] => one.fmt(f),
                [first, rest @ ..] => write!(f, "{first} and {} more", rest.len()),
            },
            Who::Outside(nets) => match &nets[..] {
                [] => f.write_str("outside"),
                [one] => write!(f, "outside {one}"),
                [first, rest @ ..] => write!(f, "outside {first} and {} more", rest.len()),
            },
        }
    }
}

pub(super) fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// What tells ends apart: for each judge the two groups of a pod, and the marks of its addresses.
type Signature = (Vec<[usize; 2]>, Vec<[Option<Vec<Mark>>; 2]>);

/// The ends that are told apart by none of the judges: pods that each of them knows and that have an address,
/// of `namespaces` unless there are none, and the addresses outside.
pub(super) fn ends(judges: &[Judge<'_>], namespaces: &BTreeSet<Arc<str>>) -> Vec<End> {
    let marks: Vec<Marks> = judges.iter().map(Marks::of).collect();
    let mut found: BTreeMap<Signature, End> = BTreeMap::new();
    let Some(first) = judges.first() else { return Vec::new() };
    for name in first.table.pods.keys() {
        let is_meant = namespaces.is_empty() || namespaces.contains(&name.namespace);
        let Some(pod) = first.world.pods.get(name).filter(|_| is_meant) else { continue };
        let policies: Option<Vec<&PodPolicy>> =
            judges.iter().map(|judge| judge.table.pods.get(name)).collect();
        let Some(policies) = policies.filter(|_| !pod.addrs.is_empty()) else { continue };
        let addrs = Family::ALL
            .map(|family| pod.addrs.iter().copied().find(|addr| Family::of(*addr) == family));
        let groups = policies
            .iter()
            .map(|policy| [&policy.ingress, &policy.egress].map(|group| Arc::as_ptr(group).addr()));
        let marked = marks.iter().map(|marks| addrs.map(|addr| addr.map(|addr| marks.at(addr))));
        let end = found.entry((groups.collect(), marked.collect()));
        let end = end.or_insert_with(|| End { who: Who::Pods(Vec::new()), addrs });
        if let Who::Pods(pods) = &mut end.who {
            pods.push(name.clone());
        }
    }
    let mut all: Vec<End> = found.into_values().collect();
    all.sort_by(|a, b| first_pod(a).cmp(&first_pod(b)));
    all.extend(outside(judges, &marks));
    all
}

fn first_pod(end: &End) -> Option<&ObjectName> {
    match &end.who {
        Who::Pods(pods) => pods.first(),
        Who::Outside(_) => None,
    }
}

/// The addresses of nobody in the cluster, by the blocks that have them; those of no block last.
fn outside(judges: &[Judge<'_>], marks: &[Marks]) -> Vec<End> {
    let (taken, inside) = cluster(judges);
    let mut found: BTreeMap<Vec<Vec<Mark>>, End> = BTreeMap::new();
    for family in Family::ALL {
        let blocks = marks.iter().flat_map(Marks::blocks).chain(&inside);
        for (first, last) in pieces(blocks, family) {
            let at = addr(first, family);
            if inside.iter().any(|net| net.contains(&at)) {
                continue;
            }
            // There are fewer addresses taken than there are to be tried.
            let mut free = (first..=last).map(|number| addr(number, family));
            let Some(free) = free.find(|addr| !taken.contains(addr)) else { continue };
            let key: Vec<Vec<Mark>> = marks.iter().map(|marks| marks.blocks_at(at)).collect();
            let is_rest = key.iter().all(Vec::is_empty);
            let end = found
                .entry(key)
                .or_insert_with(|| End { who: Who::Outside(Vec::new()), addrs: [None; 2] });
            end.addrs[index(family)].get_or_insert(free);
            if let (Who::Outside(nets), false) = (&mut end.who, is_rest) {
                nets.extend(subnets(first, last, family));
            }
        }
    }
    let mut all: Vec<End> = found.into_values().collect();
    for end in &mut all {
        if let Who::Outside(nets) = &mut end.who {
            *nets = IpNet::aggregate(nets);
        }
    }
    all.sort_by_key(|end| matches!(&end.who, Who::Outside(nets) if nets.is_empty()));
    all
}

/// The addresses of pods and nodes, and the ranges that pods have theirs of.
fn cluster(judges: &[Judge<'_>]) -> (BTreeSet<IpAddr>, Vec<IpNet>) {
    let worlds = || judges.iter().map(|judge| judge.world);
    let of_pods = worlds().flat_map(|world| world.pods.values()).flat_map(|pod| pod.addrs.clone());
    let of_nodes = worlds().flat_map(|world: &World| world.nodes.values()).flat_map(|n| n.ips());
    let pools = worlds().flat_map(|world| world.nodes.values()).flat_map(|n| n.pod_cidrs.clone());
    (of_pods.chain(of_nodes).collect(), pools.collect())
}

/// All addresses of a family in pieces: none is partly in a block.
fn pieces<'a>(
    blocks: impl Iterator<Item = &'a IpNet>,
    family: Family,
) -> impl Iterator<Item = (u128, u128)> {
    let end = match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    let mut starts = BTreeSet::from([0]);
    for net in blocks.filter(|net| Family::of(net.addr()) == family) {
        starts.insert(number(net.network()));
        starts.extend(number(net.broadcast()).checked_add(1).filter(|next| *next <= end));
    }
    let starts: Vec<u128> = starts.into_iter().collect();
    let lasts: Vec<u128> = starts[1..].iter().map(|next| next - 1).chain([end]).collect();
    starts.into_iter().zip(lasts)
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn addr(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

fn subnets(first: u128, last: u128, family: Family) -> Vec<IpNet> {
    match (addr(first, family), addr(last, family)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}
