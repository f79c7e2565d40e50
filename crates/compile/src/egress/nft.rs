//! [`Unmasqueraded`] → the masquerade rules.

use model::Family;
use plan::Plan;
use plan::nft::{ChainName, Field, Op, Statement, TableFamily, Type, Value, Verdict};

use super::Unmasqueraded;
use crate::ruleset::{self, Ruleset, by_family, lookup};

pub(super) fn lower(unmasqueraded: &Unmasqueraded, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    rules.prefixes("unmasqueraded4", Type::Ipv4Addr);
    rules.prefixes("unmasqueraded6", Type::Ipv6Addr);
    for net in &unmasqueraded.prefixes {
        let set = by_family(Family::of(net.addr()), "unmasqueraded4", "unmasqueraded6");
        rules.element(set, vec![(*net).into()]);
    }
    let leaves = |saddr, pods, daddr, set| {
        let goto = Statement::Verdict(Verdict::Goto(ChainName("leaving".into())));
        let matches = vec![lookup(&[saddr], Op::Eq, pods), lookup(&[daddr], Op::Ne, set), goto];
        ruleset::rule(matches, "pods to outside of the cluster")
    };
    rules.base_chain(
        "egress",
        ruleset::source_nat(),
        vec![
            leaves(Field::Ip4Saddr, "local_pods4", Field::Ip4Daddr, "unmasqueraded4"),
            leaves(Field::Ip6Saddr, "local_pods6", Field::Ip6Daddr, "unmasqueraded6"),
        ],
    );
    let tcp = Statement::Match(Field::L4proto, Op::Eq, Value::Number(6));
    rules.chain(
        "leaving",
        vec![
            ruleset::rule(
                vec![tcp, Statement::Masquerade { fully_random: true }],
                "ports nobody can guess",
            ),
            ruleset::rule(
                vec![Statement::Masquerade { fully_random: false }],
                "keeps its port where it can",
            ),
        ],
    );
}
