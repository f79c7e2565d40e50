//! What tables know addresses by: which of their sets and blocks have them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::judge::Judge;
use super::{Group, Members, Peers};

/// A set, a port of a set, a list of blocks or a name.
pub(super) type Mark = usize;

/// What one table knows addresses by.
#[derive(Debug, Default)]
pub(super) struct Marks {
    count: usize,
    by_addr: BTreeMap<IpAddr, Vec<Mark>>,
    by_net: BTreeMap<IpNet, Vec<Mark>>,
    /// The lengths of those, by whether they are of IPv4.
    lengths: BTreeSet<(bool, u8)>,
}

impl Marks {
    /// The marks of a judge's table.
    pub(super) fn of(judge: &Judge<'_>) -> Self {
        let mut marks = Marks::default();
        for members in judge.table.sets.values() {
            marks.add_members(members);
        }
        for addrs in judge.learned.values() {
            let mark = marks.another();
            addrs.iter().for_each(|addr| marks.by_addr.entry(*addr).or_default().push(mark));
        }
        let groups = judge.table.pods.values().flat_map(|pod| [&pod.ingress, &pod.egress]);
        let distinct: BTreeMap<usize, &Group> =
            groups.map(|group| (std::sync::Arc::as_ptr(group).addr(), &**group)).collect();
        let targets = distinct.values().flat_map(|group| group.rules()).flat_map(|r| &r.targets);
        let lists: BTreeSet<&Vec<IpNet>> = targets
            .filter_map(|target| match &target.peers {
                Peers::Any => None,
                Peers::Of { blocks, .. } => Some(blocks),
            })
            .collect();
        for blocks in lists {
            let mark = marks.another();
            for net in blocks {
                marks.by_net.entry(*net).or_default().push(mark);
                marks.lengths.insert((net.addr().is_ipv4(), net.prefix_len()));
            }
        }
        marks
    }

    fn add_members(&mut self, members: &Members) {
        match members {
            Members::Addrs(addrs) => {
                let mark = self.another();
                addrs.iter().for_each(|addr| self.by_addr.entry(*addr).or_default().push(mark));
            }
            Members::Ports(all) => {
                let mut by_port = BTreeMap::new();
                for (addr, protocol, port) in all.iter() {
                    let mark = *by_port.entry((*protocol, *port)).or_insert_with(|| self.another());
                    self.by_addr.entry(*addr).or_default().push(mark);
                }
            }
        }
    }

    fn another(&mut self) -> Mark {
        self.count += 1;
        self.count
    }

    /// The blocks of all rules.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        self.by_net.keys()
    }

    /// All that is known of `addr`.
    pub(super) fn at(&self, addr: IpAddr) -> Vec<Mark> {
        let mut all = self.blocks_at(addr);
        all.extend(self.by_addr.get(&addr).into_iter().flatten());
        all
    }

    /// The lists of blocks that `addr` is in.
    pub(super) fn blocks_at(&self, addr: IpAddr) -> Vec<Mark> {
        let lengths = self.lengths.iter().filter(|(is_v4, _)| *is_v4 == addr.is_ipv4());
        let nets = lengths.filter_map(|(_, length)| Some(IpNet::new(addr, *length).ok()?.trunc()));
        let mut all: Vec<Mark> =
            nets.filter_map(|net| self.by_net.get(&net)).flatten().copied().collect();
        all.sort_unstable();
        all
    }
}
