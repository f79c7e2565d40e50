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
//! there, in one transaction (NP-D8). A rule returns what it allows and drops what it denies, and counts
//! it; its comment is the rule's name.

mod base;
mod groups;
mod names;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZero;

use model::{Direction, Family, ObjectName};
use plan::Table;
use plan::nft::{Key, Row, TableFamily, Value, Verdict};

use super::PolicyTable;
use crate::ruleset::Ruleset;
pub use base::{GENERATION, generation};
use groups::Groups;
pub use names::name_set;

/// What is around a node's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// The addresses of the node's pods, and which pod it is where that is known.
    pub pods: BTreeMap<IpAddr, Option<ObjectName>>,
    /// The node's own addresses.
    pub node: BTreeSet<IpAddr>,
}

/// The rows that enforce `table`. While there is no policy, there are none.
///
/// Policies have a number, another one after each change of them. No connection may bear `number` that was
/// allowed by others.
///
/// A pod of the node that `table` does not know is cut off from everybody but its own node's processes: it
/// may be meant by a policy.
pub fn lower(table: &PolicyTable, around: &Around, number: NonZero<u8>) -> Table<Key, Row> {
    let mut rows = Table::default();
    if !table.has_policies {
        return rows;
    }
    let mut rules = Ruleset::new(&mut rows, TableFamily::Inet);
    base::lower(around, number, &mut rules);
    let mut groups = Groups::new(table, rules);
    for (addr, name) in &around.pods {
        let chains = [Direction::Egress, Direction::Ingress].map(|direction| {
            let chain = match name.as_ref().and_then(|name| table.pods.get(name)) {
                Some(pod) => groups.chain(pod.group(direction), direction, Family::of(*addr))?,
                None => base::UNKNOWN.to_owned(),
            };
            Some((direction, chain))
        });
        let chains = chains.into_iter().flatten();
        policed(*addr, chains, groups.rules());
    }
    rows
}

/// Gives `rows` another number, if they are those of policies.
pub(super) fn numbered(number: NonZero<u8>, rows: &mut Table<Key, Row>) {
    let Some(old) = generation(rows) else { return };
    rows.remove(&base::allowed_by(old));
    base::numbered(number, &mut Ruleset::new(rows, TableFamily::Inet));
}

/// The elements of an address that some policies are about.
fn policed(
    addr: IpAddr,
    chains: impl Iterator<Item = (Direction, String)>,
    rules: &mut Ruleset<'_>,
) {
    let family = Family::of(addr);
    let mut is_policed = false;
    for (direction, chain) in chains {
        let to = Verdict::Jump(plan::nft::ChainName(chain.into()));
        rules.verdict(base::dispatch(direction, family), vec![addr.into()], to);
        is_policed = true;
    }
    if is_policed {
        rules.element(base::policed(family), vec![addr.into()]);
        rules.element(base::itself(family), vec![Value::from(addr); 2]);
    }
}
