//! `Plan.listeners`: sockets of this process, and the rules that bring packets to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard, PoisonError};

use kernel::nft::{Hold, Owned};
use plan::{Changes, Failure, Listener, Mechanism, ObserveError, Table};
use proxy::dns::{Admits, Listen, Sources};

use super::{Answering, name};

/// Where this agent answers. The place is the process itself, so it starts with nothing.
#[derive(Debug)]
pub(crate) struct Listeners {
    answering: Arc<Answering>,
    /// What was brought about.
    held: Table<Listener, ()>,
    /// What was last said about who holds the rules.
    hold: Option<Hold>,
}

impl Listeners {
    /// Of a server that listens nowhere.
    pub(crate) fn new(answering: Arc<Answering>) -> Self {
        Listeners { answering, held: Table::default(), hold: None }
    }

    fn untracked(&self) -> MutexGuard<'_, Owned> {
        self.answering.untracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves packets to these addresses untracked, and to no others.
    fn track_all_but(&mut self, places: &BTreeSet<SocketAddr>) -> Result<(), String> {
        let rows = match places.is_empty() {
            true => Table::default(),
            false => compile::dns::untracked(places),
        };
        let put = self.untracked().put(&rows);
        let hold = put.map_err(|error| model::chain(&error))?;
        if hold == Hold::Kept && self.hold != Some(hold) {
            tracing::warn!(
                "this kernel has no tables with an owner (Linux 5.12 has): no other node answers DNS \
                 for this one while its agent is away"
            );
        }
        self.hold = Some(hold);
        Ok(())
    }

    /// The sockets of the agent before this one, once.
    fn inherited(&self) -> Vec<OwnedFd> {
        let sockets = &self.answering.sockets;
        (0..).map_while(|i| sockets.take(&name(i))).collect()
    }

    /// Goes from what is held to `wanted`; what failed, by row.
    fn bring(&mut self, wanted: &Table<Listener, ()>) -> BTreeMap<Listener, String> {
        let clients = wanted.keys().filter_map(|row| match row {
            Listener::Client(net) => Some(*net),
            Listener::Local(_) | Listener::Node(_) => None,
        });
        self.answering.names.0.cluster.store(Arc::new(Sources::new(clients)));
        let (before, after) = (locals(&self.held), locals(wanted));
        let mut failed = BTreeMap::new();
        // Packets are led away from a socket before it closes, and to one after it has opened.
        let stays: BTreeSet<SocketAddr> = before.intersection(&after).copied().collect();
        if stays != before
            && let Err(why) = self.track_all_but(&stays)
        {
            failed.extend(stays.iter().map(|place| (Listener::Local(*place), why.clone())));
        }
        let listens: Vec<Listen> = wanted.keys().filter_map(listen).collect();
        let mut open = after;
        for error in self.answering.server.listen(&listens, self.inherited()) {
            open.remove(&error.addr);
            let at = |row: &&Listener| listen(row).is_some_and(|listen| listen.addr == error.addr);
            let rows = wanted.keys().filter(at);
            failed.extend(rows.map(|row| (row.clone(), model::chain(&error))));
        }
        if let Err(why) = self.track_all_but(&open) {
            failed.extend(open.iter().map(|place| (Listener::Local(*place), why.clone())));
        }
        failed
    }
}

impl Mechanism for Listeners {
    type Key = Listener;
    type Row = ();

    fn observe(&mut self) -> Result<Table<Listener, ()>, ObserveError> {
        let attempt = || "look where DNS is answered".to_owned();
        let stands = self.untracked().stands();
        let stands =
            stands.map_err(|error| ObserveError { attempt: attempt(), cause: error.into() })?;
        if !stands {
            let kept = self.held.keys().filter(|row| !matches!(row, Listener::Local(_)));
            self.held = kept.map(|row| (row.clone(), ())).collect();
        }
        Ok(self.held.clone())
    }

    fn apply(&mut self, changes: &Changes<Listener, ()>) -> Vec<Failure<Listener>> {
        let mut wanted = self.held.clone();
        wanted.patch(changes);
        let failed = self.bring(&wanted);
        for row in failed.keys() {
            wanted.remove(row);
        }
        self.held = wanted;
        let failure = |(key, why): (Listener, String)| Failure {
            attempt: format!("answer DNS at {key}"),
            cause: why.into(),
            key,
        };
        failed.into_iter().map(failure).collect()
    }
}

/// The addresses that every node has for itself.
fn locals(rows: &Table<Listener, ()>) -> BTreeSet<SocketAddr> {
    let local = |row: &Listener| match row {
        Listener::Local(place) => Some(*place),
        Listener::Node(_) | Listener::Client(_) => None,
    };
    rows.keys().filter_map(local).collect()
}

fn listen(row: &Listener) -> Option<Listen> {
    match row {
        Listener::Local(addr) => Some(Listen { addr: *addr, admits: Admits::Everyone }),
        Listener::Node(addr) => Some(Listen { addr: *addr, admits: Admits::Cluster }),
        Listener::Client(_) => None,
    }
}
