//! Addresses that policies allow by name: where the kernel holds them, and who uses them.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kernel::conntrack::Entries;
use kernel::nft::Timed;
use model::DomainName;
use plan::nft::SetName;
use plan::{LocalPods, Stay, Unwritten};
use proxy::dns::{AddrSets, Around, Forwarder, Known, Named};

use super::DnsError;

/// Starts to allow what `known` is answered by, and what `others` have been asked lately.
///
/// # Errors
/// [`DnsError::Named`].
pub(super) fn start(known: &Arc<Known>, others: &Arc<Forwarder>) -> Result<Named, DnsError> {
    let sets = Sets(Timed::open().map_err(DnsError::Named)?);
    let entries = Entries::open().map_err(|error| DnsError::Named(io::Error::other(error)))?;
    let (known, others) = (Arc::downgrade(known), Arc::downgrade(others));
    let node = Arc::new(Node { entries: Mutex::new(entries), known, others });
    Named::start(sets, node).map_err(DnsError::Named)
}

/// The kernel's sets.
struct Sets(Timed);

impl AddrSets for Sets {
    fn read(&mut self, set: &SetName) -> io::Result<Vec<Stay>> {
        self.0.read(set)
    }

    fn write(&mut self, stays: &[Stay]) -> io::Result<Unwritten> {
        self.0.write(stays)
    }
}

/// The node, as far as it tells of addresses.
struct Node {
    entries: Mutex<Entries>,
    known: Weak<Known>,
    others: Weak<Forwarder>,
}

impl Around for Node {
    /// Who answers counts, whatever a connection was begun with, as it does in the rules.
    fn in_use(&self, addrs: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
        let pods = self.known.upgrade().map(|known| LocalPods::clone(&known.pods.load()));
        let pods = pods.unwrap_or_default();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let flows = entries
            .flows(&|flow| addrs.contains(&flow.backend.ip()) && pods.at(flow.from.ip()).is_some());
        let flows = flows.map_err(io::Error::other)?;
        Ok(flows.iter().map(|flow| flow.backend.ip()).collect())
    }

    fn lately(&self, meant: &dyn Fn(&DomainName) -> bool) -> Vec<(DomainName, Vec<(IpAddr, u32)>)> {
        self.others.upgrade().map(|others| others.lately(meant)).unwrap_or_default()
    }
}
