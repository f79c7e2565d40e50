//! Chains of others that may drop what Seaway lets through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use plan::nft::{HookPoint, TABLE, Verdict};

use super::Nft;
use super::abi::{self, msg};
use super::decode::hook_point;
use super::expression::Expression;
use super::leftover::KUBE_PROXY;
use super::wire::{Attrs, Message};

/// A base chain of somebody else that drops or refuses packets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// Family of its table, as nft names it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whose packets pass it.
    pub hook: Passing,
    /// Order among the chains of the hook.
    pub priority: i32,
    /// What it drops.
    pub drops: Drops,
}

/// Whose packets pass a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passing {
    /// Those to the node itself: health checks, pods in the node's network (the input hook).
    ToNode,
    /// Those of pods, and to them (the forward hook).
    Forwarded,
}

/// What a chain drops or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drops {
    /// Everything that no rule accepts.
    ByPolicy,
    /// What some rule of it says, or of a chain that it leads to.
    ByRule,
}

/// As nft would declare it.
impl fmt::Display for ForeignChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForeignChain { family, table, chain, hook, priority, drops } = self;
        let hook = match hook {
            Passing::ToNode => "input",
            Passing::Forwarded => "forward",
        };
        write!(f, "chain {family} {table} {chain} hook {hook} priority {priority}")?;
        f.write_str(match drops {
            Drops::ByPolicy => " policy drop",
            Drops::ByRule => " with rules that drop",
        })
    }
}

/// `NF_DROP`.
const DROP: u32 = 0;

/// The kubelet's chain, on every node that has one: it drops what came from elsewhere to a loopback
/// address (CVE-2020-8558), as Seaway does, and so is in nobody's way.
///
/// Source: the kubelet's `kubelet_network_linux.go`.
const KUBELETS: &str = "KUBE-FIREWALL";

/// A chain among all tables: family, table, name.
type Place = (u8, String, String);

/// Base chains of other tables that packets to this node or through it pass, and whose policy is to
/// drop: docker's and firewalld's are known to be there. An accept in a table of Seaway's can't
/// overrule them.
///
/// # Errors
/// When nf_tables could not be read.
pub fn foreign(nft: &mut Nft) -> io::Result<Vec<ForeignChain>> {
    let mut chains = Vec::new();
    // Family 0 is all of them.
    nft.socket.dump(msg::GETCHAIN, 0, |_| {}, |message| chains.extend(base(message)))?;
    chains.retain(|chain| chain.drops == Drops::ByPolicy);
    chains.sort();
    Ok(chains)
}

/// As [`foreign`], and those whose rules drop something, but for the kubelet's. Every rule of the node is read for that.
///
/// # Errors
/// When nf_tables could not be read.
pub fn dropping(nft: &mut Nft) -> io::Result<Vec<ForeignChain>> {
    let mut found = Vec::new();
    nft.socket.dump(
        msg::GETCHAIN,
        0,
        |_| {},
        |message| {
            found.extend(base(message).map(|chain| (message.family(), chain)));
        },
    )?;
    let mut rules = Rules::default();
    nft.socket.dump(msg::GETRULE, 0, |_| {}, |message| rules.read(message))?;
    let chains = found.into_iter().filter_map(|(family, chain)| {
        let place = (family, chain.table.clone(), chain.chain.clone());
        (chain.drops == Drops::ByPolicy || rules.drop_in(&place)).then_some(chain)
    });
    let mut chains: Vec<ForeignChain> = chains.collect();
    chains.sort();
    Ok(chains)
}

/// What is needed of all rules: which chains drop, and which lead where.
#[derive(Debug, Default)]
struct Rules {
    dropping: BTreeSet<Place>,
    leads: BTreeMap<Place, BTreeSet<String>>,
}

impl Rules {
    fn read(&mut self, message: Message<'_>) {
        let attrs = message.attrs();
        let (Some(table), Some(chain)) =
            (attrs.text(abi::rule::TABLE), attrs.text(abi::rule::CHAIN))
        else {
            return;
        };
        if chain == KUBELETS {
            return;
        }
        let place = (message.family(), table.to_owned(), chain.to_owned());
        let Some(expressions) = attrs.nested(abi::rule::EXPRESSIONS) else { return };
        for (_, element) in expressions {
            match Expression::read(Attrs(element)) {
                Expression::Verdict(Verdict::Drop)
                | Expression::RejectPort
                | Expression::RejectReset => {
                    self.dropping.insert(place.clone());
                }
                Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                    self.leads.entry(place.clone()).or_default().insert(to.0.to_string());
                }
                Expression::Foreign if is_refusal(Attrs(element)) => {
                    self.dropping.insert(place.clone());
                }
                Expression::Verdict(Verdict::Accept | Verdict::Return)
                | Expression::Load { .. }
                | Expression::Cmp { .. }
                | Expression::Range { .. }
                | Expression::Bits { .. }
                | Expression::Lookup { .. }
                | Expression::Fill { .. }
                | Expression::SetMeta(_)
                | Expression::SetConnectionMark
                | Expression::Dynamic { .. }
                | Expression::Excess { .. }
                | Expression::Counter
                | Expression::Notrack
                | Expression::Limit(_)
                | Expression::Log { .. }
                | Expression::Nat { .. }
                | Expression::Masquerade { .. }
                | Expression::Foreign => {}
            }
        }
    }

    /// Whether a packet in this chain may come to a rule that drops it.
    fn drop_in(&self, place: &Place) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![place.clone()]);
        while let Some(place) = next.pop() {
            if self.dropping.contains(&place) {
                return true;
            }
            let (family, table, _) = &place;
            for chain in self.leads.get(&place).into_iter().flatten() {
                let to = (*family, table.clone(), chain.clone());
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        false
    }
}

/// A refusal of a kind that Seaway does not write: `reject with icmp …`, or a target of iptables.
fn is_refusal(element: Attrs<'_>) -> bool {
    match element.text(abi::expr::NAME) {
        Some("reject") => true,
        Some("target") => element
            .nested(abi::expr::DATA)
            .and_then(|attrs| attrs.text(abi::target::NAME))
            .is_some_and(|name| name == "REJECT" || name == "DROP"),
        Some(_) | None => false,
    }
}

pub(super) fn family_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "inet",
        2 => "ip",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    })
}

/// A base chain of another table on the way to the node or through it; by its rules, if not by policy.
fn base(message: Message<'_>) -> Option<ForeignChain> {
    let attrs = message.attrs();
    let hook = attrs.nested(abi::chain::HOOK)?;
    let passing = match hook_point(hook.be32(abi::chain::HOOK_NUM)?)? {
        HookPoint::Input => Passing::ToNode,
        HookPoint::Forward => Passing::Forwarded,
        HookPoint::Prerouting | HookPoint::Output | HookPoint::Postrouting => return None,
    };
    let by_policy = attrs.be32(abi::chain::POLICY) == Some(DROP);
    let theirs = |table: &&str| *table != TABLE && *table != KUBE_PROXY;
    Some(ForeignChain {
        family: family_name(message.family())?,
        table: attrs.text(abi::chain::TABLE).filter(theirs)?.to_owned(),
        chain: attrs.text(abi::chain::NAME)?.to_owned(),
        hook: passing,
        priority: hook.be32(abi::chain::HOOK_PRIORITY)?.cast_signed(),
        drops: if by_policy { Drops::ByPolicy } else { Drops::ByRule },
    })
}
