//! `Plan.rules`: policy rules, marked by `FRA_PROTOCOL`.

use plan::{Changes, Failure, Mechanism, ObserveError, PROTOCOL, RouteTable, Rule, RuleKey, Table};

use super::{Foreign, Write, failure, send};
use crate::netlink::{Error, Netlink, Request, RuleRow, RuleSpec};

/// Policy rules.
pub struct Rules {
    netlink: Netlink,
}

impl Rules {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Rules { netlink: Netlink::open()? })
    }

    /// Writes one rule, then takes away what stood under its key before: packets always meet one.
    fn put(
        &mut self,
        key: &RuleKey,
        row: &Rule,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let wanted = spec(key, row);
        let added = self.netlink.send(Request::add_rule(&wanted));
        let standing = self.netlink.rules()?;
        let of_key = |rule: &&RuleRow| is_ours(rule) && key_of(rule) == *key;
        match added {
            Err(error) if !error.is_exists() => return Err(error.into_cause().into()),
            // The kernel does not compare owners: the same rule may be another's.
            Err(_) if !standing.iter().filter(of_key).any(|rule| rule.spec == wanted) => {
                return Err(Foreign(format!("rule {key}")).into());
            }
            _ => {}
        }
        for old in standing.iter().filter(of_key).filter(|rule| rule.spec != wanted) {
            match self.netlink.send(Request::delete_rule(&old.spec)) {
                Err(error) if !error.is_gone() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Mechanism for Rules {
    type Key = RuleKey;
    type Row = Rule;

    fn observe(&mut self) -> Result<Table<RuleKey, Rule>, ObserveError> {
        let rules = self.netlink.rules()?;
        let ours = rules.iter().filter(|rule| is_ours(rule));
        Ok(ours.filter_map(|rule| Some((key_of(rule), Rule { table: table(rule)? }))).collect())
    }

    fn apply(&mut self, changes: &Changes<RuleKey, Rule>) -> Vec<Failure<RuleKey>> {
        let mut failures = Vec::new();
        for (key, put) in &changes.puts {
            if let Err(cause) = self.put(key, &put.row) {
                failures.push(failure(key.clone(), format!("put rule {key} {}", put.row), cause));
            }
        }
        let gone = |key: &RuleKey| {
            let any = RuleSpec { table: 0, ..spec(key, &Rule { table: RouteTable::Main }) };
            let request = Request::delete_rule(&any);
            Write { key: key.clone(), attempt: format!("delete rule {key}"), request }
        };
        let writes = changes.deletes.iter().rev().map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}

fn spec(key: &RuleKey, row: &Rule) -> RuleSpec {
    let RuleKey { priority, from, mark } = *key;
    RuleSpec { priority, from, mark, table: row.table.id(), protocol: PROTOCOL }
}

fn is_ours(rule: &RuleRow) -> bool {
    rule.plain && rule.spec.protocol == PROTOCOL
}

fn key_of(rule: &RuleRow) -> RuleKey {
    let RuleSpec { priority, from, mark, .. } = rule.spec;
    RuleKey { priority, from, mark }
}

fn table(rule: &RuleRow) -> Option<RouteTable> {
    [RouteTable::Main, RouteTable::Overlay].into_iter().find(|table| table.id() == rule.spec.table)
}
