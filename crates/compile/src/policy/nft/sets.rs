//! The sets that rules look into.

use std::time::Duration;

use ipnet::IpNet;
use model::{DomainPattern, Family};
use plan::nft::{SetName, Type, Value};

use super::super::{Members, SetKey};
use super::base::addr_type;
use super::groups::Writer;
use super::names::name_set;
use crate::ruleset::{Ruleset, by_family};

/// How sets hold the addresses of names: elements say themselves how long they stay, and there are as many
/// as DNS of the node remembers of all names.
const NAMED: (u32, Duration) = (65_536, Duration::from_secs(60));

impl Writer<'_> {
    /// The addresses of `family` that `key` selects, or its addresses with ports.
    pub(super) fn selected(&mut self, key: &SetKey, family: Family) -> String {
        let kind = match key {
            SetKey::Pods(_) => by_family(family, "pods4", "pods6"),
            SetKey::Nodes(_) => by_family(family, "nodes4", "nodes6"),
            SetKey::Ports(..) => by_family(family, "ports4", "ports6"),
        };
        let set = self.table.sets.get(key);
        self.part(kind, format!("{key:?}"), Some((key.clone(), family)), |rules, name| {
            let members = set.cloned().unwrap_or_else(|| Members::none(key));
            match members {
                Members::Ports(_) => {
                    rules.set(name, &[addr_type(family), Type::InetProto, Type::InetService]);
                }
                Members::Addrs(_) => rules.set(name, &[addr_type(family)]),
            }
            follow(name, family, &Members::none(key), &members, rules);
        })
    }

    /// Ranges of `family`, if any of `blocks` is.
    pub(super) fn blocks(&mut self, blocks: &[IpNet], family: Family) -> Option<String> {
        let of_family = blocks.iter().filter(|net| Family::of(net.addr()) == family);
        let blocks: Vec<IpNet> = of_family.copied().collect();
        (!blocks.is_empty()).then_some(())?;
        let kind = by_family(family, "blocks4", "blocks6");
        Some(self.part(kind, format!("{blocks:?}"), None, |rules, name| {
            rules.prefixes(name, addr_type(family));
            rules.elements(name, blocks.iter().map(|net| vec![(*net).into()]));
        }))
    }

    /// What names like `pattern` stand for: DNS of the node writes it.
    pub(super) fn named(&mut self, pattern: &DomainPattern, family: Family) -> String {
        let SetName(name) = name_set(pattern, family);
        self.declared(&name, pattern.to_string(), None, |rules, name| {
            rules.learned(name, &[addr_type(family)], NAMED);
        })
    }
}

/// Brings the elements of the set `name`, which are the members of `family`, from `old` to `new`.
pub(super) fn follow(
    name: &str,
    family: Family,
    old: &Members,
    new: &Members,
    rules: &mut Ruleset<'_>,
) {
    match (old, new) {
        (Members::Addrs(old), Members::Addrs(new)) => {
            let [gone, come] = old.differing(new).map(|addrs| {
                let of_family = addrs.into_iter().filter(|addr| Family::of(**addr) == family);
                of_family.map(|addr| vec![Value::from(*addr)])
            });
            gone.for_each(|key| rules.remove(name, key));
            rules.elements(name, come);
        }
        (Members::Ports(old), Members::Ports(new)) => {
            let [gone, come] = old.differing(new).map(|ports| {
                let of_family = ports.into_iter().filter(|(addr, ..)| Family::of(*addr) == family);
                of_family.map(|(addr, protocol, port)| {
                    vec![(*addr).into(), Value::Number(protocol.number()), Value::Port(*port)]
                })
            });
            gone.for_each(|key| rules.remove(name, key));
            rules.elements(name, come);
        }
        // A key has members of one kind.
        (Members::Addrs(_), Members::Ports(_)) | (Members::Ports(_), Members::Addrs(_)) => {}
    }
}
