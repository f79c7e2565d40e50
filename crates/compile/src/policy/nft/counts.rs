//! What the rules of one pod have counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use model::{Direction, DropReason, Family};
use plan::Table;
use plan::nft::{ChainName, Data, Key, Row, Statement, TableFamily, Verdict};

use super::super::endings::rule_comment;
use super::super::{Explained, ExplainedWay};
use super::base::{dispatch, to_node};
use super::names;
use crate::ruleset::name;

/// Packets that rules have counted, by chain and comment.
pub type Counted = BTreeMap<ChainName, BTreeMap<String, u64>>;

impl Explained {
    /// Puts in what the rules have counted that the pod's addresses lead to in `rows`. A rule that several pods
    /// share has counted for all of them.
    pub fn count(&mut self, rows: &Table<Key, Row>, counted: &Counted) {
        for way in &mut self.ways {
            let chains = chains(rows, &self.addrs, way.direction);
            let packets = |what: String| {
                let comment = names::comment(what);
                let all = chains.iter().filter_map(|chain| counted.get(*chain)?.get(&comment));
                all.copied().reduce(u64::saturating_add)
            };
            if let Some(would) = &mut way.audit {
                would.put(|direction, what| packets(rule_comment(direction, what, true)));
            }
            way.put(|direction, what| packets(rule_comment(direction, what, false)));
        }
    }
}

impl ExplainedWay {
    fn put(&mut self, packets: impl Fn(Direction, &dyn Display) -> Option<u64>) {
        for rule in &mut self.rules {
            rule.packets = packets(self.direction, &rule.rule);
        }
        self.dropped = packets(self.direction, &DropReason::NotAllowed);
    }
}

/// The chains that these addresses lead to, but for those in which packets end.
fn chains<'a>(
    rows: &'a Table<Key, Row>,
    addrs: &[IpAddr],
    direction: Direction,
) -> BTreeSet<&'a ChainName> {
    let first = addrs.iter().flat_map(|addr| {
        let family = Family::of(*addr);
        let node = (direction == Direction::Egress).then(|| to_node(family));
        let maps = [dispatch(direction, family)].into_iter().chain(node);
        maps.filter_map(|map| {
            match rows.get(&Key::Element(TableFamily::Inet, name(map), [(*addr).into()].into()))? {
                Row::Element(Some(Data::Verdict(verdict))) => to(verdict),
                Row::Element(_) | Row::Table | Row::Set(_) | Row::Chain(_) => None,
            }
        })
    });
    let (mut found, mut next) = (BTreeSet::new(), first.collect::<Vec<_>>());
    while let Some(chain) = next.pop() {
        let row = rows.get(&Key::Chain(TableFamily::Inet, chain.clone()));
        if let Some(Row::Chain(row)) = row.filter(|_| !chain.0.starts_with("policy_"))
            && found.insert(chain)
        {
            let statements = row.rules.iter().flat_map(|rule| &rule.statements);
            next.extend(statements.filter_map(|statement| {
                let Statement::Verdict(verdict) = statement else { return None };
                to(verdict)
            }));
        }
    }
    found
}

fn to(verdict: &Verdict) -> Option<&ChainName> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    }
}
