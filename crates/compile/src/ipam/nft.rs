//! This node's pod CIDRs as sets, for whoever asks whether an address is a local pod's.

use plan::Plan;
use plan::nft::{TableFamily, Type};

use super::Pool;
use crate::ruleset::{Ruleset, by_family};

pub(super) fn local_pods(pools: &[Pool], plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    rules.prefixes("local_pods4", Type::Ipv4Addr);
    rules.prefixes("local_pods6", Type::Ipv6Addr);
    for pool in pools {
        let set = by_family(pool.family(), "local_pods4", "local_pods6");
        rules.element(set, vec![pool.cidr().into()]);
    }
}
