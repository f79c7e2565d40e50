//! The sets that rules look into.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{DomainPattern, Family};
use plan::nft::{Dynamic, Type, Value};

use super::super::{Members, PolicyTable, SetKey};
use super::base::addr_type;
use super::names::{Names, name_set};
use crate::ruleset::{Ruleset, by_family};

/// How sets hold the addresses of names: elements say themselves how long they stay, and there are as many
/// as DNS of the node remembers of all names.
const NAMED: Dynamic = Dynamic { timeout: Duration::from_secs(60), size: 65_536 };

/// The sets of a table, declared and filled as rules ask for them.
pub(super) struct Sets<'a> {
    table: &'a PolicyTable,
    names: Names,
    there: BTreeSet<String>,
}

impl<'a> Sets<'a> {
    pub(super) fn new(table: &'a PolicyTable) -> Self {
        Sets { table, names: Names::default(), there: BTreeSet::new() }
    }

    /// The name of `text`, as [`Names::of`].
    pub(super) fn name(&mut self, kind: &str, text: String) -> String {
        self.names.of(kind, text)
    }

    /// The addresses of `family` that `key` selects, or its addresses with ports.
    pub(super) fn selected(
        &mut self,
        key: &SetKey,
        family: Family,
        rules: &mut Ruleset<'_>,
    ) -> String {
        let kind = match key {
            SetKey::Pods(_) => by_family(family, "pods4", "pods6"),
            SetKey::Nodes(_) => by_family(family, "nodes4", "nodes6"),
            SetKey::Ports(..) => by_family(family, "ports4", "ports6"),
        };
        let name = self.names.of(kind, format!("{key:?}"));
        if !self.there.insert(name.clone()) {
            return name;
        }
        let is_of = |addr: &IpAddr| Family::of(*addr) == family;
        match self.table.sets.get(key).map(|members| &**members) {
            Some(Members::Ports(members)) => {
                rules.set(&name, &[addr_type(family), Type::InetProto, Type::InetService]);
                for (addr, protocol, port) in members.iter().filter(|(addr, ..)| is_of(addr)) {
                    let protocol = Value::Number(protocol.number());
                    rules.element(&name, vec![(*addr).into(), protocol, Value::Port(*port)]);
                }
            }
            Some(Members::Addrs(members)) => {
                addrs(&name, family, members.iter().filter(|addr| is_of(addr)), rules);
            }
            None => addrs(&name, family, [].iter(), rules),
        }
        name
    }

    /// Ranges of `family`, if any of `blocks` is.
    pub(super) fn blocks(
        &mut self,
        blocks: &[IpNet],
        family: Family,
        rules: &mut Ruleset<'_>,
    ) -> Option<String> {
        let of_family = blocks.iter().filter(|net| Family::of(net.addr()) == family);
        let blocks: Vec<IpNet> = of_family.copied().collect();
        (!blocks.is_empty()).then_some(())?;
        let name = self.names.of(by_family(family, "blocks4", "blocks6"), format!("{blocks:?}"));
        if self.there.insert(name.clone()) {
            rules.prefixes(&name, addr_type(family));
            blocks.iter().for_each(|net| rules.element(&name, vec![(*net).into()]));
        }
        Some(name)
    }

    /// What names like `pattern` stand for: DNS of the node writes it.
    pub(super) fn named(
        &mut self,
        pattern: &DomainPattern,
        family: Family,
        rules: &mut Ruleset<'_>,
    ) -> String {
        let name = name_set(pattern, family).0.to_string();
        if self.there.insert(name.clone()) {
            rules.learned(&name, &[addr_type(family)], NAMED);
        }
        name
    }
}

fn addrs<'a>(
    name: &str,
    family: Family,
    members: impl Iterator<Item = &'a IpAddr>,
    rules: &mut Ruleset<'_>,
) {
    rules.set(name, &[addr_type(family)]);
    members.for_each(|addr| rules.element(name, vec![(*addr).into()]));
}
