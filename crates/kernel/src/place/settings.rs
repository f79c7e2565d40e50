//! Settings that every link of Seaway's has: see [`plan::Link`].

use model::IfName;

use crate::netlink::{Ipv4Conf, Ipv6Conf, LinkRow};
use crate::sysctl::{self, SysctlError};

/// No router advertisement is believed and no redirect followed.
const IPV6: Ipv6Conf = Ipv6Conf { accept_ra: 0, accept_redirects: false };

/// The IPv4 settings of a link. Its reverse path filter is strict.
pub(super) const IPV4: Ipv4Conf = Ipv4Conf {
    forwarding: true,
    rp_filter: 1,
    accept_local: false,
    accept_redirects: false,
    send_redirects: false,
    route_localnet: false,
};

/// Whether a link is set up so. A family that is off needs no settings.
pub(super) fn are_in_place(link: &LinkRow) -> bool {
    link.ipv4.is_none_or(|conf| conf == IPV4) && link.ipv6.is_none_or(|conf| conf == IPV6)
}

/// Writes the IPv6 settings of a link in the calling thread's namespace. Where IPv6 is off there
/// are none.
///
/// # Errors
/// When the kernel refuses one.
pub(super) fn write_ipv6(link: &IfName) -> Result<(), SysctlError> {
    for name in ["accept_ra", "accept_redirects"] {
        match sysctl::write(&format!("net/ipv6/conf/{link}/{name}"), "0") {
            Err(error) if !error.is_gone() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
