//! What others left in nf_tables where they no longer run: found, and taken away when somebody asks.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use plan::nft::Verdict;

use super::Nft;
use super::abi::{self, msg};
use super::expression::Expression;
use super::foreign::family_name;
use super::socket::{ACK, Refusal};
use super::wire::{Attrs, Head, Message, Writer};

/// Name of kube-proxy's tables in its mode nftables.
pub(super) const KUBE_PROXY: &str = "kube-proxy";

/// Who left something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// kube-proxy, in any of its modes.
    KubeProxy,
    /// Networks of other CNI plugins: the reference ones, flannel, kindnet.
    Plugins,
    /// Of those, who masquerades by a daemon: flannel, kindnet.
    Masquerading,
}

impl Former {
    /// Whether a chain of iptables has a name of theirs.
    ///
    /// Source: kube-proxy's `iptables/cleanup.go`, `ipvs/cleanup.go`; containernetworking/plugins `utils.FormatChainName`,
    /// `portmap`, `firewall`; flannel `trafficmngr/iptables`; kindnetd `masq.go`.
    pub fn has_chain(self, chain: &str) -> bool {
        match self {
            Former::KubeProxy => is_kube_proxys(chain),
            Former::Plugins => {
                let prefixes = ["CNI-", "FLANNEL-"];
                chain == "KIND-MASQ-AGENT" || prefixes.iter().any(|start| chain.starts_with(start))
            }
            Former::Masquerading => ["KIND-MASQ-AGENT", "FLANNEL-POSTRTG"].contains(&chain),
        }
    }

    /// Whether a table is all theirs.
    ///
    /// Source: kube-proxy's `nftables/proxier.go`; containernetworking/plugins `portmap_nftables.go`,
    /// `ipmasq_nftables_linux.go`; flannel `trafficmngr/nftables`.
    fn has_table(self, table: &str) -> bool {
        match self {
            Former::KubeProxy => table == KUBE_PROXY,
            Former::Plugins => {
                ["cni_hostport", "cni_plugins_masquerade", "flannel-ipv4", "flannel-ipv6"]
                    .contains(&table)
            }
            Former::Masquerading => ["flannel-ipv4", "flannel-ipv6"].contains(&table),
        }
    }
}

fn is_kube_proxys(chain: &str) -> bool {
    const NAMES: [&str; 13] = [
        "SERVICES",
        "EXTERNAL-SERVICES",
        "NODEPORTS",
        "NODE-PORT",
        "POSTROUTING",
        "MARK-MASQ",
        "FORWARD",
        "PROXY-FIREWALL",
        "PROXY-CANARY",
        "LOAD-BALANCER",
        "SOURCE-RANGES-FIREWALL",
        "IPVS-FILTER",
        "IPVS-OUT-FILTER",
    ];
    const PREFIXES: [&str; 6] = ["SVC-", "SVL-", "SEP-", "FW-", "XLB-", "EXT-"];
    chain.strip_prefix("KUBE-").is_some_and(|name| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// One thing that was left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Of its table, as the kernel numbers it.
    family: u8,
    table: String,
    part: Part,
}

/// Which part of a table it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A chain of theirs in a table of iptables.
    Chain(String),
    /// A rule in somebody else's chain that leads to one of theirs.
    Rule { chain: String, handle: u64, to: String },
    /// All of it.
    Table,
}

impl Leftover {
    /// Whether it is a rule in somebody else's chain.
    pub fn is_rule(&self) -> bool {
        matches!(self.part, Part::Rule { .. })
    }
}

/// As nft would name it.
impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leftover { family, table, part } = self;
        let family = family_name(*family).unwrap_or("?");
        match part {
            Part::Chain(chain) => write!(f, "chain {family} {table} {chain}"),
            Part::Rule { chain, to, .. } => {
                write!(f, "rule of chain {family} {table} {chain} that leads to {to}")
            }
            Part::Table => write!(f, "table {family} {table}"),
        }
    }
}

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`: the families of the tables of iptables.
const OF_IPTABLES: [u8; 2] = [2, 10];

/// What `whose` left: tables, chains in the tables of `iptables-nft`, and what leads there. The kubelet's
/// chains are nobody's leftovers.
///
/// # Errors
/// When nf_tables could not be read.
pub fn leftovers(nft: &mut Nft, whose: Former) -> io::Result<BTreeSet<Leftover>> {
    let mut found = BTreeSet::new();
    let mut tables = |message: Message<'_>| {
        let name = message.attrs().text(abi::table::NAME).filter(|name| whose.has_table(name));
        found.extend(name.map(|name| Leftover {
            family: message.family(),
            table: name.to_owned(),
            part: Part::Table,
        }));
    };
    nft.socket.dump(msg::GETTABLE, 0, |_| {}, &mut tables)?;
    let mut chains = |message: Message<'_>| {
        let attrs = message.attrs();
        let name = attrs.text(abi::chain::NAME).filter(|name| whose.has_chain(name));
        let place = name.zip(attrs.text(abi::chain::TABLE));
        found.extend(place.map(|(name, table)| Leftover {
            family: message.family(),
            table: table.to_owned(),
            part: Part::Chain(name.to_owned()),
        }));
    };
    let mut rules = BTreeSet::new();
    for family in OF_IPTABLES {
        nft.socket.dump(msg::GETCHAIN, family, |_| {}, &mut chains)?;
        nft.socket.dump(
            msg::GETRULE,
            family,
            |_| {},
            |message| rules.extend(leading(message, whose)),
        )?;
    }
    found.extend(rules);
    Ok(found)
}

/// A rule of another's chain that leads to a chain of theirs.
fn leading(message: Message<'_>, whose: Former) -> Option<Leftover> {
    let attrs = message.attrs();
    let chain = attrs.text(abi::rule::CHAIN).filter(|chain| !whose.has_chain(chain))?;
    let table = attrs.text(abi::rule::TABLE).filter(|table| !whose.has_table(table))?;
    let handle = attrs.get(abi::rule::HANDLE)?.try_into().ok().map(u64::from_be_bytes)?;
    let leads = |element| {
        let Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) =
            Expression::read(Attrs(element))
        else {
            return None;
        };
        Some(to.0.to_string())
    };
    let mut expressions = attrs.nested(abi::rule::EXPRESSIONS)?;
    let to = expressions.find_map(|(_, element)| leads(element))?;
    let part = Part::Rule { chain: chain.to_owned(), handle, to: to.clone() };
    let rule = Leftover { family: message.family(), table: table.to_owned(), part };
    whose.has_chain(&to).then_some(rule)
}

/// Takes all of it away, or nothing.
///
/// # Errors
/// When the kernel refuses: somebody changed it meanwhile, or a rule that was not found leads there.
pub fn take_away(nft: &mut Nft, found: &BTreeSet<Leftover>) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    batch.edge(msg::BATCH_BEGIN);
    // What leads to chains, then what is in them, then they themselves.
    for left in found {
        if let Part::Rule { chain, handle, .. } = &left.part {
            batch.message(msg::DELRULE, left.family, |out| {
                out.text(abi::rule::TABLE, &left.table);
                out.text(abi::rule::CHAIN, chain);
                out.attr(abi::rule::HANDLE, &handle.to_be_bytes());
            });
        }
    }
    for (operation, name) in [(msg::DELRULE, abi::rule::CHAIN), (msg::DELCHAIN, abi::chain::NAME)] {
        for left in found {
            if let Part::Chain(chain) = &left.part {
                batch.message(operation, left.family, |out| {
                    out.text(abi::rule::TABLE, &left.table);
                    out.text(name, chain);
                });
            }
        }
    }
    for left in found.iter().filter(|left| left.part == Part::Table) {
        batch.message(msg::DELTABLE, left.family, |out| out.text(abi::table::NAME, &left.table));
    }
    batch.out.add_flags(batch.last, ACK);
    batch.edge(msg::BATCH_END);
    match nft.socket.commit(&batch.out.bytes)?.first() {
        None => Ok(()),
        Some(Refusal { errno, .. }) => Err((*errno).into()),
    }
}

/// Messages of one transaction.
#[derive(Default)]
struct Batch {
    out: Writer,
    seq: u32,
    /// Where the last one begins.
    last: usize,
}

impl Batch {
    fn message(&mut self, operation: u16, family: u8, body: impl FnOnce(&mut Writer)) {
        self.seq += 1;
        self.last = self.out.bytes.len();
        let kind = msg::SUBSYSTEM << 8 | operation;
        self.out.message(Head { kind, flags: 0, seq: self.seq, family, res_id: 0 }, body);
    }

    fn edge(&mut self, kind: u16) {
        let res_id = msg::SUBSYSTEM;
        self.out.message(Head { kind, flags: 0, seq: 0, family: 0, res_id }, |_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_chains_are_nobodys_leftovers() {
        let cases = [
            ("KUBE-SERVICES", [true, false, false]),
            ("KUBE-SEP-2CVPB6XFGT2CVPB6", [true, false, false]),
            ("KUBE-PROXY-CANARY", [true, false, false]),
            ("KUBE-KUBELET-CANARY", [false, false, false]),
            ("KUBE-FIREWALL", [false, false, false]),
            ("KUBE-ROUTER-INPUT", [false, false, false]),
            ("FLANNEL-POSTRTG", [false, true, true]),
            ("FLANNEL-FWD", [false, true, false]),
            ("CNI-HOSTPORT-DNAT", [false, true, false]),
            ("KIND-MASQ-AGENT", [false, true, true]),
            ("DOCKER", [false, false, false]),
        ];
        let all = [Former::KubeProxy, Former::Plugins, Former::Masquerading];
        for (chain, want) in cases {
            assert_eq!(all.map(|whose| whose.has_chain(chain)), want, "{chain}");
        }
    }
}
