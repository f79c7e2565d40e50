//! CHECK: whether what ADD returned is still true.
//!
//! The loop reads back from the kernel that the attachment is as planned; here the runtime's memory
//! (`prevResult`) is held against that. Only what Seaway made is compared: later plugins of a chain
//! may have added interfaces, addresses and routes of their own.

use wire::cni::{AddResult, Interface};

use crate::Attached;

/// What in `previous` is not true of `attached`; empty when all is well.
pub(super) fn differences(previous: &AddResult, attached: &Attached, netns: &str) -> Vec<String> {
    let ifname = attached.attachment.key.ifname.as_str();
    let ours = |i: &Interface| i.name == ifname && i.sandbox.as_deref() == Some(netns);
    let Some(index) = previous.interfaces.iter().position(ours) else {
        return vec![format!("prevResult lists no interface {ifname} in {netns}")];
    };
    let mut differences = Vec::new();
    let listed_mac = previous.interfaces[index].mac.as_deref().unwrap_or_default();
    let mac = attached.link.mac.to_string();
    if !listed_mac.is_empty() && !listed_mac.eq_ignore_ascii_case(&mac) {
        differences.push(format!("{ifname} has hardware address {mac}, ADD returned {listed_mac}"));
    }
    for ip in previous.ips.iter().filter(|ip| ip.interface == Some(index)) {
        if !attached.link.addrs.contains(&ip.address) {
            differences.push(format!("{ifname} does not have {}, which ADD returned", ip.address));
        }
    }
    for addr in &attached.link.addrs {
        if !previous.ips.iter().any(|ip| ip.address == *addr) {
            differences.push(format!("{ifname} has {addr}, which ADD did not return"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::answer::result_of;
    use crate::cni::answer::tests::attached;

    #[test]
    fn check_names_what_is_no_longer_as_add_returned_it() {
        type Change = fn(&mut AddResult);
        let cases: [(&str, Change, &[&str]); 5] = [
            ("nothing changed", |_| {}, &[]),
            (
                "a later plugin added its own",
                |r| {
                    r.interfaces.push(Interface { name: "ifb0".into(), ..Interface::default() });
                    r.ips.push(wire::cni::Ip {
                        address: "192.0.2.1/24".parse().unwrap(),
                        gateway: None,
                        interface: Some(2),
                    });
                },
                &[],
            ),
            (
                "another hardware address",
                |r| r.interfaces[1].mac = Some("02:00:00:00:00:99".into()),
                &["eth0 has hardware address 02:00:00:00:00:01, ADD returned 02:00:00:00:00:99"],
            ),
            (
                "another address",
                |r| r.ips[0].address = "10.244.1.9/32".parse().unwrap(),
                &[
                    "eth0 does not have 10.244.1.9/32, which ADD returned",
                    "eth0 has 10.244.1.2/32, which ADD did not return",
                ],
            ),
            (
                "another interface",
                |r| r.interfaces[1].name = "eth1".into(),
                &["prevResult lists no interface eth0 in /run/netns/blue"],
            ),
        ];
        for (case, change, expected) in cases {
            let attached = attached();
            let mut previous = result_of(&attached, "/run/netns/blue");
            change(&mut previous);
            assert_eq!(differences(&previous, &attached, "/run/netns/blue"), expected, "{case}");
        }
    }
}
