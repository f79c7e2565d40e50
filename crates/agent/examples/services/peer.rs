//! The peer: the ruleset that kube-proxy makes in its nftables mode, given to `nft` as it does. A chain
//! for each Service with an anonymous map of `numgen`, a chain for each endpoint, and a verdict map by
//! address, protocol and port.
//!
//! Source: KEP-3866.

use std::fmt::Write as _;
use std::time::Duration;

use model::World;

use crate::{Outcome, peer_nft};

/// Programs the Services of `world` in the calling thread's namespace. Returns how long `nft` took.
pub(crate) fn program(world: &World) -> Outcome<Duration> {
    peer_nft::load(&ruleset(world)?)
}

fn ruleset(world: &World) -> Outcome<String> {
    let mut text = "table ip kube-proxy {\n".to_owned();
    text.push_str("chain mark-for-masquerade {\nmeta mark set meta mark or 0x4000\n}\n");
    let mut frontends = String::new();
    for (number, slice) in world.slices.values().enumerate() {
        let service = world.services.get(&slice.key.service).ok_or("a slice of no Service")?;
        let mut choices = String::new();
        for (at, endpoint) in slice.endpoints.iter().enumerate() {
            let (to, chain) = (endpoint.addr, format!("endpoint-{number}-{at}"));
            writeln!(text, "chain {chain} {{\nip saddr {to} jump mark-for-masquerade")?;
            writeln!(text, "meta l4proto tcp dnat to {to}:{}\n}}", slice.ports[0].port)?;
            write!(choices, "{at} : goto {chain}, ")?;
        }
        let (ip, port) = (service.cluster_ips[0], service.ports[0].port);
        writeln!(text, "chain service-{number} {{")?;
        let others = format!("ip daddr {ip} tcp dport {port} ip saddr != 10.244.0.0/16");
        writeln!(text, "{others} jump mark-for-masquerade")?;
        let count = slice.endpoints.len();
        writeln!(text, "numgen random mod {count} vmap {{ {choices} }}\n}}")?;
        writeln!(frontends, "{ip} . tcp . {port} : goto service-{number},")?;
    }
    writeln!(text, "map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict")?;
    writeln!(text, "elements = {{ {frontends} }}\n}}")?;
    writeln!(text, "chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips\n}}")?;
    for (chain, hook) in [("nat-prerouting", "prerouting"), ("nat-output", "output")] {
        writeln!(text, "chain {chain} {{ type nat hook {hook} priority -100\njump services\n}}")?;
    }
    writeln!(text, "chain masquerading {{\nmeta mark & 0x4000 != 0 masquerade fully-random\n}}")?;
    writeln!(text, "chain nat-postrouting {{ type nat hook postrouting priority 100")?;
    writeln!(text, "jump masquerading\n}}\n}}")?;
    Ok(text)
}
