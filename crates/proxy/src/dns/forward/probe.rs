//! Whether questions come back: each server is asked for a name that nobody can guess, and when somebody
//! asks us for it, that server leads to us (DNS-97).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use model::DomainName;
use tokio::time::timeout;
use wire::dns::RecordType;

use super::routes::Route;
use super::upstream::Upstream;
use crate::dns::{Sought, random};

/// How long a question takes to come back, at most.
const ROUND: Duration = Duration::from_secs(2);

/// Names that were sent out, and to whom.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<DomainName, Weak<Upstream>>>);

impl Probes {
    /// Whether `sought` is one of the names; then the server that was asked for it is a loop.
    pub(super) fn has_come_back(&self, sought: &Sought) -> bool {
        if sought.kind != RecordType::HINFO {
            return false;
        }
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(upstream) = sent.remove(&sought.name) else { return false };
        if let Some(upstream) = upstream.upgrade() {
            upstream.set_loop(true);
        }
        true
    }

    /// Sends a name to each server of `route`, and waits for what becomes of it. Says whether each of them
    /// has shown whether it is a loop.
    pub(super) async fn send(&self, route: &Route) -> bool {
        let mut have_shown = true;
        for upstream in route.upstreams() {
            have_shown &= self.probe(route.zone(), upstream).await;
        }
        have_shown
    }

    async fn probe(&self, zone: &DomainName, upstream: &Arc<Upstream>) -> bool {
        // Two labels, for some forward no single ones. In a zone whose name is that long nothing is asked.
        let name = zone.under(random::label().as_bytes());
        let Some(name) = name.and_then(|name| name.under(random::label().as_bytes())) else {
            return true;
        };
        let sent = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent().insert(name, Arc::downgrade(upstream));
        let kind = RecordType::HINFO;
        let sought = Sought { name, kind, dnssec_ok: false, checking_disabled: false };
        let asked = timeout(ROUND, upstream.ask(&sought)).await;
        let has_come_back = sent().remove(&name).is_none();
        // Who did not answer has shown nothing.
        let has_answered = matches!(asked, Ok(Ok(_)));
        if !has_come_back && has_answered {
            upstream.set_loop(false);
        }
        has_come_back || has_answered
    }
}
