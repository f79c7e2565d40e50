//! `Plan.listeners`: sockets of this process, and the rules that bring packets to them.

use std::collections::{BTreeMap, BTreeSet};
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

    /// Has rules for packets to these places, and for no others.
    fn lead_to(&mut self, places: &BTreeSet<Listener>) -> Result<(), String> {
        let rows = match places.is_empty() {
            true => Table::default(),
            false => compile::dns::untracked(places, self.answering.client_rate),
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
        let (before, after) = (places(&self.held), places(wanted));
        let mut failed = BTreeMap::new();
        // Packets are led away from a socket before it closes, and to one after it has opened.
        let stays: BTreeSet<Listener> = before.intersection(&after).cloned().collect();
        if stays != before
            && let Err(why) = self.lead_to(&stays)
        {
            failed.extend(stays.into_iter().map(|place| (place, why.clone())));
        }
        let listens: Vec<Listen> = wanted.keys().filter_map(listen).collect();
        let mut open = after;
        for error in self.answering.server.listen(&listens, self.inherited()) {
            let is_at =
                |row: &Listener| listen(row).is_some_and(|listen| listen.addr == error.addr);
            let closed = open.extract_if(.., is_at);
            failed.extend(closed.map(|row| (row, model::chain(&error))));
        }
        if let Err(why) = self.lead_to(&open) {
            failed.extend(open.into_iter().map(|place| (place, why.clone())));
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
            let clients = self.held.keys().filter(|row| listen(row).is_none());
            self.held = clients.map(|row| (row.clone(), ())).collect();
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

/// The rows that are addresses.
fn places(rows: &Table<Listener, ()>) -> BTreeSet<Listener> {
    rows.keys().filter(|row| listen(row).is_some()).cloned().collect()
}

fn listen(row: &Listener) -> Option<Listen> {
    match row {
        Listener::Local(addr) => Some(Listen { addr: *addr, admits: Admits::Everyone }),
        Listener::Node(addr) => Some(Listen { addr: *addr, admits: Admits::Cluster }),
        Listener::Client(_) => None,
    }
}
