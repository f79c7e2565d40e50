//! What a forwarder has done so far, in numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::dns::Rcode;

use super::upstream::Upstream;
use crate::dns::counts::{Classes, DURATIONS, Histogram, RCODES};

/// What a forwarder did so far, and what it remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of answers.
    pub success: CacheTally,
    /// Of denials.
    pub denial: CacheTally,
    /// Questions that were not answered from memory.
    pub misses: u64,
    /// Answers that were renewed before their time.
    pub prefetches: u64,
    /// Answers that were given after their time.
    pub stale: u64,
    /// Questions for which there was no room.
    pub rejects: u64,
    /// Questions about a zone none of whose servers passed its last health check.
    pub broken: u64,
    /// Of the servers that there are now, each once.
    pub upstreams: Vec<UpstreamTally>,
}

/// What is remembered, and of what use it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheTally {
    /// How many are remembered.
    pub entries: usize,
    /// Questions that were answered by them.
    pub hits: u64,
    /// How many had to go for others.
    pub evictions: u64,
}

/// How it went with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTally {
    /// The server.
    pub to: SocketAddr,
    /// How long its answers took, in classes of [`DURATIONS`]. Without rcodes that it never gave.
    pub took: Vec<(Rcode, Classes)>,
    /// Health checks that it failed.
    pub failed_checks: u64,
    /// Of connections over TCP.
    pub tcp: Connections,
    /// Of connections over TLS.
    pub tls: Connections,
}

/// What became of questions that were asked over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// There was one.
    pub reused: u64,
    /// One had to be made.
    pub made: u64,
}

/// What is counted of one server.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// By rcode.
    took: [Histogram<{ DURATIONS.len() + 1 }>; RCODES.len()],
    pub(super) failed_checks: AtomicU64,
}

impl Account {
    /// Counts an answer.
    pub(super) fn add(&self, rcode: Rcode, took: Duration) {
        if let Some(at) = RCODES.iter().position(|known| *known == rcode) {
            self.took[at].add_took(took, 1);
        }
    }

    fn add_all(&self, other: &Account) {
        self.took.iter().zip(&other.took).for_each(|(mine, its)| mine.add_all(its));
        let failed = other.failed_checks.load(Ordering::Relaxed);
        self.failed_checks.fetch_add(failed, Ordering::Relaxed);
    }
}

/// The numbers of `upstreams`, those of one server together: it may be asked about several zones.
pub(super) fn by_server<'u>(upstreams: impl Iterator<Item = &'u Upstream>) -> Vec<UpstreamTally> {
    let mut all: BTreeMap<SocketAddr, (Account, [Connections; 2])> = BTreeMap::new();
    for upstream in upstreams {
        let (account, [tcp, tls]) = all.entry(upstream.addr()).or_default();
        account.add_all(&upstream.account);
        let its = upstream.connections();
        let connections = if upstream.is_tls() { tls } else { tcp };
        connections.reused += its.reused;
        connections.made += its.made;
    }
    let shown = |(to, (account, [tcp, tls])): (SocketAddr, (Account, [Connections; 2]))| {
        let took = RCODES.into_iter().zip(account.took.iter().map(Histogram::shown));
        let took = took.filter(|(_, classes)| classes.counts.iter().any(|count| *count > 0));
        let failed_checks = account.failed_checks.load(Ordering::Relaxed);
        UpstreamTally { to, took: took.collect(), failed_checks, tcp, tls }
    };
    all.into_iter().map(shown).collect()
}
