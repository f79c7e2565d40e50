//! Names of the links Seaway makes on a node. Host ends of pods are named by their key
//! ([`model::AttachmentKey::host_link`]).

use model::IfName;
use plan::SysctlKey;

/// The node bridge, when pods are bridged.
pub fn bridge() -> IfName {
    fixed("seaway0")
}

/// The VXLAN device.
pub fn overlay() -> IfName {
    fixed("sw-vxlan")
}

fn fixed(name: &str) -> IfName {
    IfName::new(name).expect("short names of letters and dashes are valid")
}

/// Settings of a link of Seaway's, with its reverse path filter (0 off, 1 strict, 2 loose): it
/// forwards, follows no redirect and no router advertisement, sends no redirect, and keeps 127/8 on
/// the machine.
///
/// Source: ip-sysctl.rst; P-21, P-22, T01, T04.
pub(crate) fn settings(dev: &IfName, rp_filter: &str) -> Vec<(SysctlKey, String)> {
    let rows = [
        ("ipv4", "forwarding", "1"),
        ("ipv4", "rp_filter", rp_filter),
        ("ipv4", "accept_local", "0"),
        ("ipv4", "accept_redirects", "0"),
        ("ipv4", "send_redirects", "0"),
        ("ipv4", "route_localnet", "0"),
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "accept_redirects", "0"),
    ];
    let row = |(family, name, value): (&str, &str, &str)| {
        (SysctlKey(format!("net/{family}/conf/{dev}/{name}")), value.to_owned())
    };
    rows.map(row).to_vec()
}
