//! The alias by which a pod's host end is known again: `seaway <container id> <ifname> <netns path>`.

use std::path::{Path, PathBuf};

use model::{AttachmentKey, IfName};

use crate::netlink::{LinkKindRow, LinkRow};

/// Longest alias the kernel keeps, in bytes (`IFALIASZ` is 256 with the final zero).
const ALIAS_MAX: usize = 255;

/// What an alias says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::place) struct AliasedKey {
    pub(super) key: AttachmentKey,
    pub(super) netns: PathBuf,
}

/// Key and path do not fit into an alias.
#[derive(Debug, thiserror::Error)]
#[error(
    "container id, interface name and netns path are {0} bytes, and {room} fit into the link's alias",
    room = ALIAS_MAX - "seaway   ".len()
)]
pub(super) struct AliasTooLong(usize);

/// The alias of an attachment.
pub(super) fn text(key: &AttachmentKey, netns: &Path) -> Result<String, AliasTooLong> {
    let alias = format!("seaway {} {} {}", key.container_id, key.ifname, netns.display());
    if alias.len() > ALIAS_MAX {
        return Err(AliasTooLong(alias.len() - "seaway   ".len()));
    }
    Ok(alias)
}

impl AliasedKey {
    /// What the alias of `link` says; `None` when it is no pod's host end.
    pub(in crate::place) fn parse(link: &LinkRow) -> Option<Self> {
        if link.kind != LinkKindRow::Veth || !link.name.as_str().starts_with("sw") {
            return None;
        }
        let mut words = link.alias.as_deref()?.splitn(4, ' ');
        let is_ours = words.next() == Some("seaway");
        let container_id = words.next().filter(|id| is_ours && !id.is_empty())?.into();
        let ifname = IfName::new(words.next()?).ok()?;
        let key = AttachmentKey { container_id, ifname };
        let netns = PathBuf::from(words.next().filter(|path| !path.is_empty())?);
        // The name follows from the key: an alias copied to another link is not believed.
        (key.host_link() == link.name).then_some(AliasedKey { key, netns })
    }
}
