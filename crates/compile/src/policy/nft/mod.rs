//! [`PolicyTable`] → chains that several pods share, and the constant rules that lead there.
//!
//! Rules judge a **connection**, by who began it and who answers it, and not a packet by its header: what a
//! Service or a node rewrites makes no difference, and whichever end speaks next is judged alike. What was
//! allowed bears the number of the policies that allowed it, in its connection's mark, and passes while
//! that is the current one; so a change of policies is asked about every connection once more, at its
//! next packet. See docs/decisions/0031.
//!
//! Each direction of a pod leads to the chain of its group: Admin, what NetworkPolicies allow, Baseline, each
//! a chain named by what it says. A change of rules is a chain under another name and an element that leads
//! there, in one transaction (NP-D8). A rule counts; its comment is the rule's name. It returns what it allows,
//! and what it denies it leads to the chain in which all such packets end ([`super::Ending`]).

mod base;
mod counts;
mod groups;
mod names;
mod parts;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use model::{DNS_PORT, Direction, Family, ObjectName, Protocol};
use plan::nft::{ChainName, Key, Row, SetName, TableFamily, Value, Verdict};
use plan::{Changes, Table};

use super::dns::{OVER, Said};
use super::{Group, Members, Places, PolicyTable};
use crate::ruleset::Ruleset;
pub use base::{GENERATION, generation};
pub use counts::Counted;
use groups::{Chains, Way, Writer};
pub use names::name_set;
use parts::{Needs, Parts};

/// What is around a node's policies.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Around {
    /// The addresses of the node's pods, and which pod it is where that is known.
    pub pods: BTreeMap<IpAddr, Option<ObjectName>>,
    /// The node's own addresses.
    pub node: BTreeSet<IpAddr>,
    /// Whether the kernel can show packets that are dropped, which is the same for as long as an agent runs.
    pub has_log: bool,
    /// Where the cluster's DNS is asked, if nodes answer.
    pub dns: Option<Places>,
}

/// The rows that enforce `table`. While there is no policy, there are none.
///
/// Policies have a number, another one after each change of them. No connection may bear `number` that was
/// allowed by others.
///
/// A pod of the node that `table` does not know is cut off from everybody but its own node's processes: it
/// may be meant by a policy.
pub fn lower(table: &PolicyTable, around: &Around, number: NonZero<u8>) -> Table<Key, Row> {
    let mut lowered = Lowered::default();
    lowered.update(table, around, number);
    lowered.rows
}

/// The rows of one table after another, each in the time of what is new.
#[derive(Debug, Default, Clone)]
pub(super) struct Lowered {
    rows: Table<Key, Row>,
    table: PolicyTable,
    around: Around,
    parts: Parts,
    groups: BTreeMap<Asked, Written>,
    /// What is asked about each address.
    addrs: BTreeMap<IpAddr, [To; 2]>,
}

/// What is asked one way.
type Asked = (Way, Arc<Group>);

/// A group's chains; what it needs; and of how many addresses it is asked.
#[derive(Debug, Clone)]
struct Written {
    asks: Asks,
    needs: Needs,
    addrs: usize,
}

/// Where an address leads one way, and by which protocols it may ask other nodes' DNS, where that is asked about.
#[derive(Debug, Default, Clone)]
struct Asks {
    chains: Chains,
    by: Vec<Protocol>,
}

/// Where an address leads one way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    /// To nobody: its pod is not known.
    Unknown,
    /// To a pod's group.
    Group(Arc<Group>),
}

/// Both ways, in the order in which they are asked.
const BOTH: [Direction; 2] = [Direction::Egress, Direction::Ingress];

impl Lowered {
    /// The rows.
    pub(super) fn rows(&self) -> &Table<Key, Row> {
        &self.rows
    }

    /// Brings the rows to `table` and what is around it now. They keep the number that they have; `number`
    /// is for those that have none.
    pub(super) fn update(&mut self, table: &PolicyTable, around: &Around, number: NonZero<u8>) {
        if !table.has_policies {
            *self = Lowered::default();
            return;
        }
        let is_new = self.rows.is_empty();
        if is_new || self.is_dns_another(table, around) {
            // What all groups say of it is found out again, which is rare.
            let number = generation(&self.rows).unwrap_or(number);
            *self = Lowered::default();
            let rules = &mut Ruleset::new(&mut self.rows, TableFamily::Inet);
            base::lower(number, around.has_log, around.dns.as_ref(), rules);
        }
        let before = std::mem::replace(&mut self.table, table.clone());
        self.members(&before);
        if self.around != *around || before.pods != self.table.pods {
            self.around(around);
        }
    }

    /// Whether the cluster's DNS is asked elsewhere now, or is meant by others of the sets that are there.
    fn is_dns_another(&self, table: &PolicyTable, around: &Around) -> bool {
        let places = |around: &Around| {
            Some((around.dns.as_ref()?.addrs.clone(), around.dns.as_ref()?.node_port))
        };
        let now = places(around);
        if places(&self.around) != now {
            return true;
        }
        let addrs = now.map(|(addrs, _)| addrs).unwrap_or_default();
        let has = |members: &Members, addr: IpAddr| match members {
            Members::Addrs(all) => [all.contains(&addr), false],
            Members::Ports(all) => OVER.map(|protocol| all.contains(&(addr, protocol, DNS_PORT))),
        };
        self.table.sets.diff(&table.sets).any(|item| match item {
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                addrs.iter().any(|addr| has(old, *addr) != has(new, *addr))
            }
            DiffItem::Add(..) | DiffItem::Remove(..) => false,
        })
    }

    /// Gives the rows another number, if there are any.
    pub(super) fn number(&mut self, number: NonZero<u8>) {
        let Some(old) = generation(&self.rows) else { return };
        self.rows.remove(&base::allowed_by(old));
        base::numbered(number, &mut Ruleset::new(&mut self.rows, TableFamily::Inet));
    }

    /// Whether `changes` of the rows do nothing but allow more: there are members more of sets that only
    /// rules go by that accept.
    pub(super) fn only_allow(&self, changes: &Changes<Key, Row>) -> bool {
        let is_member = |(key, put): (&Key, &plan::Put<Row>)| match key {
            Key::Element(_, SetName(set), _) => put.old.is_none() && self.parts.only_accepts(set),
            Key::Table(_) | Key::Set(..) | Key::Chain(..) => false,
        };
        changes.deletes.is_empty() && changes.puts.iter().all(is_member)
    }

    /// Members come to the sets that are there, and leave.
    fn members(&mut self, before: &PolicyTable) {
        let mut rules = Ruleset::new(&mut self.rows, TableFamily::Inet);
        for item in before.sets.diff(&self.table.sets) {
            let DiffItem::Update { old: (key, old), new: (_, new) } = item else { continue };
            for family in Family::ALL {
                if let Some(name) = self.parts.selected(key, family) {
                    sets::follow(name, family, old, new, &mut rules);
                }
            }
        }
    }

    /// Addresses come and leave, or are asked something else.
    fn around(&mut self, around: &Around) {
        base::node(&self.around, around, &mut Ruleset::new(&mut self.rows, TableFamily::Inet));
        let gone = self.around.pods.keys().filter(|addr| !around.pods.contains_key(addr));
        let gone: Vec<IpAddr> = gone.copied().collect();
        gone.into_iter().for_each(|addr| self.lead(addr, None));
        self.around = around.clone();
        for (addr, name) in &around.pods {
            let pod = name.as_ref().and_then(|name| self.table.pods.get(name));
            let to = BOTH.map(|direction| match pod {
                Some(pod) => To::Group(Arc::clone(pod.group(direction))),
                None => To::Unknown,
            });
            if self.addrs.get(addr) != Some(&to) {
                self.lead(*addr, Some(to));
            }
        }
    }

    /// Leads an address elsewhere, or nowhere. What it needs is there before that is released which it has
    /// needed.
    fn lead(&mut self, addr: IpAddr, to: Option<[To; 2]>) {
        let family = Family::of(addr);
        let ways = BOTH.map(|direction| Way { direction, family });
        let each = to.as_ref().map_or([None; 2], |to| to.each_ref().map(Some));
        let [egress, ingress] =
            [0, 1].map(|i| each[i].map(|to| self.asks(ways[i], to)).unwrap_or_default());
        let mut rules = Ruleset::new(&mut self.rows, TableFamily::Inet);
        if self.around.dns.is_some() {
            asking(addr, &egress, &mut rules);
        }
        policed(addr, [egress.chains, ingress.chains], &mut rules);
        let old = match to {
            Some(to) => self.addrs.insert(addr, to),
            None => self.addrs.remove(&addr),
        };
        for (way, old) in ways.into_iter().zip(old.into_iter().flatten()) {
            if let To::Group(group) = old {
                self.release((way, group));
            }
        }
    }

    /// Where an address leads, which is one more that does.
    fn asks(&mut self, way: Way, to: &To) -> Asks {
        let To::Group(group) = to else { return unknown(way.direction) };
        let written = self.groups.entry((way, Arc::clone(group))).or_insert_with(|| {
            let writer = Writer::new(&self.table, &mut self.parts, &mut self.rows);
            let places = self.around.dns.as_ref();
            let places = places.filter(|_| way.direction == Direction::Egress);
            let said =
                places.map(|places| (Said::of(places, &self.table, group), places.node_port));
            let (chains, needs) =
                writer.write(group, way, said.as_ref().map(|(said, port)| (said, *port)));
            let is_ever = |one: &Protocol| match &said {
                Some((said, _)) => !said.never.iter().any(|(never, _)| never == one),
                None => false,
            };
            // Who is asked nothing needs no leave.
            let by = OVER.into_iter().filter(|one| chains.all.is_some() && is_ever(one)).collect();
            Written { asks: Asks { chains, by }, needs, addrs: 0 }
        });
        written.addrs += 1;
        written.asks.clone()
    }

    fn release(&mut self, asked: Asked) {
        let Some(written) = self.groups.get_mut(&asked) else { return };
        written.addrs -= 1;
        if written.addrs == 0
            && let Some(written) = self.groups.remove(&asked)
        {
            self.parts.release(&written.needs, &mut self.rows);
        }
    }
}

/// Where addresses lead whose pods are not known.
fn unknown(direction: Direction) -> Asks {
    let ends = Some(base::unknown(direction));
    let (to_node, questions) = match direction {
        Direction::Egress => (ends.clone(), Some(base::UNKNOWN_ASKS.to_owned())),
        Direction::Ingress => (None, None),
    };
    Asks { chains: Chains { all: ends, to_node, questions }, by: Vec::new() }
}

/// Leads the questions of an address to where this is said of them.
fn asking(addr: IpAddr, asks: &Asks, rules: &mut Ruleset<'_>) {
    let family = Family::of(addr);
    lead(addr, base::questions(family), asks.chains.questions.clone(), rules);
    for protocol in OVER {
        let key = vec![addr.into(), Value::Number(protocol.number())];
        match asks.by.contains(&protocol) {
            true => rules.element(base::askers(family), key),
            false => rules.remove(base::askers(family), key),
        }
    }
}

/// Leads an address to these chains; one that leads nowhere is nobody's matter.
fn policed(addr: IpAddr, [egress, ingress]: [Chains; 2], rules: &mut Ruleset<'_>) {
    let family = Family::of(addr);
    let is_policed = egress.all.is_some() || ingress.all.is_some();
    lead(addr, base::dispatch(Direction::Egress, family), egress.all, rules);
    lead(addr, base::dispatch(Direction::Ingress, family), ingress.all, rules);
    lead(addr, base::to_node(family), egress.to_node, rules);
    for (set, key) in [
        (base::policed(family), vec![Value::from(addr)]),
        (base::itself(family), vec![Value::from(addr); 2]),
    ] {
        if is_policed {
            rules.element(set, key);
        } else {
            rules.remove(set, key);
        }
    }
}

/// Has `map` lead an address to this chain, or nowhere.
fn lead(addr: IpAddr, map: &str, chain: Option<String>, rules: &mut Ruleset<'_>) {
    match chain {
        Some(chain) => {
            let jump = Verdict::Jump(ChainName(chain.into()));
            rules.verdict(map, vec![addr.into()], jump);
        }
        None => rules.remove(map, vec![addr.into()]),
    }
}
