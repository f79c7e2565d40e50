//! One lease at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Pool;

/// How long a released address rests before it is leased again, in seconds: the time stale
/// conntrack entries, neighbor caches and peers' policies get to forget its last owner.
pub const REST: u64 = 30;

/// When each address was last released, in seconds since 1970. An address that is not here was
/// never used, as far as the ledger remembers.
pub type Released = BTreeMap<IpAddr, u64>;

/// A leased address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub addr: IpAddr,
    /// It had not rested for [`REST`] yet, and nothing better was left.
    pub early: bool,
}

/// Why no address was leased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every address of the pool is leased.
    #[error("pool {pool} is exhausted: all {capacity} addresses are leased")]
    Exhausted {
        /// The pool.
        pool: Pool,
        /// How many addresses it has.
        capacity: u128,
    },
    /// The requested address is not the node's to give.
    #[error("{addr} was requested, and is outside of pool {pool}")]
    OutsidePool {
        /// The address.
        addr: IpAddr,
        /// The pool of its family.
        pool: Pool,
    },
    /// The requested address is kept back: network, gateway or broadcast.
    #[error("{addr} was requested, and is reserved in pool {pool}")]
    Reserved {
        /// The address.
        addr: IpAddr,
        /// The pool.
        pool: Pool,
    },
    /// The requested address is leased.
    #[error("{addr} was requested, and is leased to {owner}")]
    InUse {
        /// The address.
        addr: IpAddr,
        /// Who holds it.
        owner: String,
    },
}

/// Leases an address of `pool` that nobody in `leased` (address → owner) holds.
///
/// Without a request: the lowest address that was never used; then, of those released at least
/// [`REST`] ago, the one released longest ago; then the one released longest ago at all, which is
/// `early`. A requested address is leased when it is free, rested or not: who asks for it by number
/// knows why (a container that is restored, say), and waiting would not make it another's less.
///
/// A clock that went backwards makes a release look recent, never an address free twice.
///
/// # Errors
/// [`IpamError`]; nothing is leased then.
///
/// Source: CNI spec 1.1.0 §5; CH-3 (30 s of rest, longest unused first).
pub fn allocate(
    pool: &Pool,
    leased: &BTreeMap<IpAddr, impl ToString>,
    released: &Released,
    now: u64,
    requested: Option<IpAddr>,
) -> Result<Allocation, IpamError> {
    if let Some(addr) = requested {
        return fixed(pool, leased, addr);
    }
    let fresh = |addr: &IpAddr| !leased.contains_key(addr) && !released.contains_key(addr);
    if let Some(addr) = pool.addrs().find(fresh) {
        return Ok(Allocation { addr, early: false });
    }
    let free = released.iter().filter(|(addr, _)| pool.holds(**addr) && !leased.contains_key(addr));
    let (addr, at) = free
        .min_by_key(|(addr, at)| (**at, **addr))
        .ok_or_else(|| IpamError::Exhausted { pool: *pool, capacity: pool.capacity() })?;
    Ok(Allocation { addr: *addr, early: now < at.saturating_add(REST) })
}

fn fixed(
    pool: &Pool,
    leased: &BTreeMap<IpAddr, impl ToString>,
    addr: IpAddr,
) -> Result<Allocation, IpamError> {
    if !pool.cidr().contains(&addr) {
        return Err(IpamError::OutsidePool { addr, pool: *pool });
    }
    if !pool.holds(addr) {
        return Err(IpamError::Reserved { addr, pool: *pool });
    }
    match leased.get(&addr) {
        Some(owner) => Err(IpamError::InUse { addr, owner: owner.to_string() }),
        None => Ok(Allocation { addr, early: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases from 10.0.0.0/29 (.2 to .6): `pod@addr` are leased, `addr@time` were released.
    fn check(line: &str) {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [claim, leased, released, now, requested, want] = parts[..] else { panic!("{line}") };
        let addr = |last: &str| format!("10.0.0.{last}").parse::<IpAddr>().unwrap();
        let pairs = |text: &str| -> Vec<(String, String)> {
            let pair = |item: &str| item.split_once('@').map(|(a, b)| (a.into(), b.into()));
            text.split_whitespace().map(|item| pair(item).unwrap()).collect()
        };
        let leased: BTreeMap<_, _> =
            pairs(leased).into_iter().map(|(pod, last)| (addr(&last), pod)).collect();
        let released =
            pairs(released).into_iter().map(|(last, at)| (addr(&last), at.parse().unwrap()));
        let pool = Pool::new("10.0.0.0/29".parse().unwrap()).unwrap();
        let requested = (!requested.is_empty()).then(|| requested.parse().unwrap());
        let got = allocate(&pool, &leased, &released.collect(), now.parse().unwrap(), requested);
        let got = match got {
            Ok(Allocation { addr, early }) => {
                format!("{addr}{}", if early { " early" } else { "" })
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{claim}");
    }

    #[test]
    fn the_ledger_decides_which_address_is_next() {
        let cases = "
            the lowest comes first          |                     |                     | 100 | | 10.0.0.2
            a leased one is skipped         | a@2 b@3             |                     | 100 | | 10.0.0.4
            never used before long rested   | a@3                 | 2@1                 | 100 | | 10.0.0.4
            then released longest ago       | a@3                 | 2@50 4@40 5@45 6@60 | 100 | | 10.0.0.4
            also when none has rested       | a@3                 | 2@99 4@98 5@97 6@99 | 100 | | 10.0.0.5 early
            rest ends on the second         | a@2 b@3 c@4 d@5     | 6@70                | 100 | | 10.0.0.6
            a clock gone back is no harm    | a@2 b@3 c@4 d@5     | 6@900               | 100 | | 10.0.0.6 early
            nothing left                    | a@2 b@3 c@4 d@5 e@6 |                     | 100 | | pool 10.0.0.0/29 is exhausted: all 5 addresses are leased
            a request is honored            | a@2                 |                     | 100 | 10.0.0.5 | 10.0.0.5
            also while it rests             | a@2                 | 5@99                | 100 | 10.0.0.5 | 10.0.0.5
            not when another holds it       | a@2                 |                     | 100 | 10.0.0.2 | 10.0.0.2 was requested, and is leased to a
            not when it is reserved         |                     |                     | 100 | 10.0.0.1 | 10.0.0.1 was requested, and is reserved in pool 10.0.0.0/29
            not outside of the pool         |                     |                     | 100 | 10.0.1.5 | 10.0.1.5 was requested, and is outside of pool 10.0.0.0/29";
        cases.trim().lines().for_each(check);
    }
}
