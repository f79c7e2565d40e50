//! What rules have counted.

use std::io;

use plan::nft::{ChainName, TABLE, TableFamily};

use super::Nft;
use super::abi::{self, msg};
use super::decode::comment;
use super::wire::Attrs;

/// A rule of the table `inet seaway` that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its chain.
    pub chain: ChainName,
    /// What is said of it; empty when nothing is.
    pub comment: String,
    /// Packets it has counted since it is there.
    pub packets: u64,
}

/// The rules of the table that count, or those of `chain` alone, in order. None when there is no such table
/// or chain.
///
/// # Errors
/// When nf_tables could not be read.
pub fn counted(nft: &mut Nft, chain: Option<&str>) -> io::Result<Vec<Counted>> {
    let mut found = Vec::new();
    let listed = nft.socket.dump(
        msg::GETRULE,
        super::nfproto(TableFamily::Inet),
        |out| {
            out.text(abi::rule::TABLE, TABLE);
            if let Some(chain) = chain {
                out.text(abi::rule::CHAIN, chain);
            }
        },
        |message| found.extend(read(message.attrs())),
    );
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map(|()| found),
    }
}

fn read(rule: Attrs<'_>) -> Option<Counted> {
    (rule.text(abi::rule::TABLE) == Some(TABLE)).then_some(())?;
    let packets = counters(rule).reduce(u64::saturating_add)?;
    let chain = ChainName(rule.text(abi::rule::CHAIN)?.into());
    let comment = rule.get(abi::rule::USERDATA).and_then(comment).unwrap_or_default();
    Some(Counted { chain, comment, packets })
}

/// What the counters of a rule say.
pub(super) fn counters(rule: Attrs<'_>) -> impl Iterator<Item = u64> {
    let list = rule.nested(abi::rule::EXPRESSIONS).unwrap_or(Attrs(&[]));
    list.filter_map(|(_, expression)| {
        let expression = Attrs(expression);
        (expression.text(abi::expr::NAME) == Some("counter")).then_some(())?;
        let packets = expression.nested(abi::expr::DATA)?.get(abi::counter::PACKETS)?;
        Some(u64::from_be_bytes(packets.try_into().ok()?))
    })
}
