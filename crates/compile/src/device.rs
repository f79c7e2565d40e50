//! Names of the links Seaway makes on a node. Host ends of pods are named by their key
//! ([`model::AttachmentKey::host_link`]).

use model::IfName;

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
