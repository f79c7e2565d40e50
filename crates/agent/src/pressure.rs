//! How full the kernel's tables are in which new flows need a place, told before there is none left: as a
//! condition of the Node and as an event (S-88).

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::conntrack;
use kernel::nft::{Nft, learned};
use kube::{Event, NETWORK_PRESSURE, NodeCondition, Regarding};
use model::NodeName;
use tokio::sync::watch::Sender;

use crate::observe::Teller;

/// Time between two looks.
const ROUND: Duration = Duration::from_secs(10);

/// A table is almost full from this percentage on, and until it is below the other again.
const ALMOST_FULL: u64 = 90;
const HAS_ROOM: u64 = 80;

/// How much of a table is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    table: Table,
    used: u64,
    size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    /// Connections that are tracked: without a place, packets of new ones are dropped.
    Conntrack,
    /// Maps that packets write, the fullest of them: without a place, a client is not remembered.
    Learned,
}

/// Tables that are almost full, with their sizes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pressure(BTreeMap<Table, u64>);

/// Looks at the tables until the future is dropped, keeps `pressure` what they are, and tells about
/// those of `node` that become almost full.
pub(crate) async fn look(pressure: Sender<Option<Pressure>>, node: NodeName, teller: Teller) {
    loop {
        let before = pressure.borrow().clone().unwrap_or_default();
        let now = before.then(&uses());
        for (table, size) in now.0.iter().filter(|(table, _)| !before.0.contains_key(table)) {
            teller.tell(event(*table, *size, &node));
        }
        pressure.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&now);
            *known = Some(now);
            is_new
        });
        tokio::time::sleep(ROUND).await;
    }
}

/// What the kernel says; what it does not say is left out.
fn uses() -> Vec<Use> {
    let conntrack = conntrack::observe().ok();
    let conntrack = conntrack.map(|have| (Table::Conntrack, have.entries, have.limit));
    let learned = Nft::open().ok().and_then(|mut nft| learned(&mut nft).ok()?);
    let learned = learned.map(|map| (Table::Learned, map.used.into(), map.size.into()));
    let both = conntrack.into_iter().chain(learned);
    both.map(|(table, used, size)| Use { table, used, size }).collect()
}

impl Pressure {
    /// What becomes of it with these numbers.
    fn then(&self, uses: &[Use]) -> Pressure {
        let full = uses.iter().filter(|Use { table, used, size }| {
            let least = if self.0.contains_key(table) { HAS_ROOM } else { ALMOST_FULL };
            *size > 0 && used * 100 >= size * least
        });
        Pressure(full.map(|row| (row.table, row.size)).collect())
    }
}

fn note(table: Table, size: u64) -> String {
    match table {
        Table::Conntrack => format!(
            "connection tracking is almost full; it has room for {size} (nf_conntrack_max), and packets of \
             new connections are dropped when it is full"
        ),
        Table::Learned => format!(
            "a map of clients is almost full; it has room for {size}, and clients beyond are not remembered \
             (sessionAffinity)"
        ),
    }
}

fn event(table: Table, size: u64, node: &NodeName) -> Event {
    Event {
        regarding: Regarding::Node(node.clone()),
        is_warning: true,
        reason: match table {
            Table::Conntrack => "ConntrackAlmostFull",
            Table::Learned => "AffinityAlmostFull",
        },
        action: "Track",
        note: note(table, size),
    }
}

/// The condition that tells it; nothing before anybody looked.
pub(crate) fn condition(pressure: &Option<Pressure>) -> Option<NodeCondition> {
    let Pressure(full) = pressure.as_ref()?;
    let notes: Vec<String> = full.iter().map(|(table, size)| note(*table, *size)).collect();
    let (reason, message) = match full.is_empty() {
        true => ("TablesHaveRoom", "the kernel's tables have room for new flows".to_owned()),
        false => ("TablesAlmostFull", notes.join("; ")),
    };
    Some(NodeCondition { kind: NETWORK_PRESSURE, is_true: !full.is_empty(), reason, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_almost_full_from_90_to_80_percent() {
        let mut pressure = Pressure::default();
        for (used, is_full) in
            [(0, false), (89, false), (90, true), (80, true), (79, false), (85, false)]
        {
            let learned = Use { table: Table::Learned, used: 0, size: 0 };
            let conntrack = Use { table: Table::Conntrack, used: used * 10, size: 1000 };
            pressure = pressure.then(&[conntrack, learned]);
            let told = condition(&Some(pressure.clone())).unwrap();
            assert_eq!(told.is_true, is_full, "{used}");
            assert_eq!(told.message.contains("room for 1000 (nf_conntrack_max)"), is_full);
        }
        assert_eq!(condition(&None), None);
        assert_eq!(pressure.then(&[]), Pressure::default(), "what the kernel does not say");
    }
}
