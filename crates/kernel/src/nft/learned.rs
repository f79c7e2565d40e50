//! How full the maps are that packets write.

use std::io;

use plan::nft::{Set, TABLE, TableFamily};

use super::Nft;
use super::abi::{self, msg};
use super::decode::named_set;

/// A map that packets write, and how much of it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// Its name.
    pub set: String,
    /// Elements there are, or were until lately: the kernel counts those whose time is over until it has
    /// swept them out.
    pub used: u32,
    /// Elements there is room for.
    pub size: u32,
}

/// The fullest map of Seaway's that packets write; `None` when there is none, or the kernel (before 6.16)
/// does not say how many elements a map has.
///
/// # Errors
/// When nf_tables could not be read.
pub fn learned(nft: &mut Nft) -> io::Result<Option<Learned>> {
    let mut maps = Vec::new();
    let family = super::nfproto(TableFamily::Inet);
    let listed =
        nft.socket.dump(
            msg::GETSET,
            family,
            |out| out.text(abi::set::TABLE, TABLE),
            |message| {
                let attrs = message.attrs();
                let set = named_set(attrs);
                if let Some((
                    name,
                    Some(Set { dynamic: Some(_), size: Some(size), data: Some(_), .. }),
                )) = set
                    && let Some(used) = attrs.be32(abi::set::COUNT)
                {
                    maps.push(Learned { set: name.0.to_string(), used, size });
                }
            },
        );
    match listed {
        // There is no table.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed?,
    }
    Ok(maps.into_iter().max_by_key(|map| u64::from(map.used) * 1000 / u64::from(map.size.max(1))))
}
