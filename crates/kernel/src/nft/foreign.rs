//! Chains of others that may drop what Seaway forwards.

use std::fmt;
use std::io;

use plan::nft::{HookPoint, TABLE};

use super::Nft;
use super::abi::{self, msg};
use super::decode::hook_point;
use super::wire::Message;

/// A base chain of somebody else whose policy drops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// Family of its table, as nft names it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// `hook forward`, or where else it hangs.
    pub hook: &'static str,
    /// Order among the chains of the hook.
    pub priority: i32,
}

/// `NF_DROP`.
const DROP: u32 = 0;

/// As nft would declare it.
impl fmt::Display for ForeignChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForeignChain { family, table, chain, hook, priority } = self;
        write!(f, "chain {family} {table} {chain} hook {hook} priority {priority} policy drop")
    }
}

/// Base chains of other tables that packets of pods pass on their way through this node (the
/// forward hook) and whose policy is to drop: docker's and firewalld's are known to be there. An
/// accept in a table of Seaway's can't overrule them.
///
/// # Errors
/// When nf_tables could not be read.
pub fn foreign(nft: &mut Nft) -> io::Result<Vec<ForeignChain>> {
    let mut chains = Vec::new();
    // Family 0 is all of them.
    nft.socket.dump(msg::GETCHAIN, 0, |_| {}, |message| chains.extend(dropping(message)))?;
    chains.sort();
    Ok(chains)
}

fn dropping(message: Message<'_>) -> Option<ForeignChain> {
    let attrs = message.attrs();
    let hook = attrs.nested(abi::chain::HOOK)?;
    let family = match message.family() {
        1 => "inet",
        2 => "ip",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    let forwards = hook_point(hook.be32(abi::chain::HOOK_NUM)?)? == HookPoint::Forward;
    let drops = attrs.be32(abi::chain::POLICY)? == DROP;
    let table = attrs.text(abi::chain::TABLE).filter(|table| *table != TABLE)?;
    (forwards && drops).then_some(())?;
    Some(ForeignChain {
        family,
        table: table.to_owned(),
        chain: attrs.text(abi::chain::NAME)?.to_owned(),
        hook: "forward",
        priority: hook.be32(abi::chain::HOOK_PRIORITY)?.cast_signed(),
    })
}
