//! What clients may hold at one time: so much all together, and so much each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what is held, by client. Clients that hold nothing take no memory.
#[derive(Debug)]
pub(super) struct Shares {
    /// For all clients together.
    total: usize,
    /// For one client.
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by: HashMap<IpAddr, usize>,
}

/// One of what a client holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    pub(super) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Shares { total, each, held: Mutex::default() })
    }

    /// One more for `client`; `None` when it has its share, or all together have theirs.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let its = held.by.get(&client).copied().unwrap_or(0);
        if held.total >= self.total || its >= self.each {
            return None;
        }
        held.total += 1;
        held.by.insert(client, its + 1);
        Some(Share { of: Arc::clone(self), client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total -= 1;
        match held.by.get_mut(&self.client) {
            Some(its) if *its > 1 => *its -= 1,
            Some(_) | None => drop(held.by.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_holds_its_share_and_all_together_theirs() {
        let shares = Shares::new(3, 2);
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = shares.take(a).unwrap();
        let _second = shares.take(a).unwrap();
        assert!(shares.take(a).is_none(), "its own share");
        let _third = shares.take(b).unwrap();
        assert!(shares.take(c).is_none(), "all together");
        drop(first);
        let fourth = shares.take(c).unwrap();
        drop(fourth);
        assert!(shares.take(a).is_some());
        assert_eq!(shares.held.lock().unwrap().by.len(), 2, "who holds nothing is forgotten");
    }
}
