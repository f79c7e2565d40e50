//! Views as text, in the field's own notation.

use std::fmt::Write;
use std::net::IpAddr;

use http::StatusCode;
use model::{DomainName, Rfc3339};
use plan::zone::Asked;
use plan::{Plan, Table};

use super::{Answer, policy};
use crate::places::PLACES;
use crate::shown::View;
use crate::sources::Basis;

/// What only the agent knows.
const KNOWN: [&str; 12] = [
    "ipam",
    "attachments",
    "peers",
    "services",
    "policy",
    "names",
    "drops",
    "dns",
    "rejected",
    "plan",
    "report",
    "found",
];

/// Everything that `/dump/<name>` and `seaway dump` know: tables of the kernel as last read and
/// written, then what only the agent knows.
pub fn dumps() -> impl Iterator<Item = &'static str> {
    PLACES.into_iter().chain(KNOWN)
}

/// A view by its name; `None` when it is the loop that knows, or nobody.
pub(super) fn dump(name: &str, view: &View) -> Option<String> {
    Some(match name {
        "ipam" => leases(view),
        "attachments" => view.compiled.attachments.to_string(),
        "peers" => view.compiled.peers.to_string(),
        "services" => view.compiled.services.to_string(),
        "names" => names(view),
        "dns" => view.zones.to_string(),
        "plan" => plan(&view.compiled.plan),
        "report" => format!("{}{}\n", basis(view.basis), view.report),
        _ => return None,
    })
}

/// What names stand for that policies ask for, a line for each.
fn names(view: &View) -> String {
    policy::learned(view).iter().fold(String::new(), |mut text, (name, addrs)| {
        let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        writeln!(text, "{name} {}", addrs.join(" ")).expect("writing to a String does not fail");
        text
    })
}

/// What DNS answers to who asks for `name`, or for the name of an address.
pub(super) fn asked(name: &str, view: &View) -> Answer {
    let wanted = match name.parse::<IpAddr>() {
        Ok(addr) => reverse(addr).parse::<DomainName>(),
        Err(_) => name.parse(),
    };
    match wanted {
        Ok(wanted) => Answer::text(Asked(&view.zones, &wanted.lowered()).to_string()),
        Err(error) => Answer::new(StatusCode::NOT_FOUND, format!("{error}\n")),
    }
}

/// The name under which the names of `addr` are asked for.
fn reverse(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(v6) => {
            let nibbles = (0..32).map(|i| format!("{:x}.", v6.to_bits() >> (4 * i) & 0xf));
            format!("{}ip6.arpa.", nibbles.collect::<String>())
        }
    }
}

/// What the World goes by, when that is not what it should be.
fn basis(basis: Basis) -> String {
    match basis {
        Basis::Snapshot(written) => {
            let at = Rfc3339(written);
            format!(
                "by the snapshot of the cluster of {at}: not everything has been listed since\n"
            )
        }
        Basis::Nothing | Basis::Lists => String::new(),
    }
}

/// Pools, then leases in the order of addresses, then what rests.
fn leases(view: &View) -> String {
    let mut text = view.compiled.pools.to_string();
    let attachments = view.leases.attachments.values();
    let mut leases: Vec<_> =
        attachments.flat_map(|a| a.addrs.iter().map(move |addr| (addr, a))).collect();
    leases.sort_by_key(|(addr, _)| **addr);
    for (addr, attachment) in leases {
        let pod = attachment.pod.as_ref().map(|pod| format!(" pod {pod}")).unwrap_or_default();
        line(&mut text, format_args!("{addr} leased to {}{pod}", attachment.key));
    }
    let leased = |addr| view.leases.attachments.values().any(|there| there.addrs.contains(addr));
    for (addr, pod) in view.world.others.keys().filter(|(addr, _)| !leased(addr)) {
        line(&mut text, format_args!("{addr} of pod {pod} by another network"));
    }
    for (addr, at) in &view.leases.resting {
        line(&mut text, format_args!("{addr} released at {at}"));
    }
    text
}

fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    section(&mut text, "links", &plan.links, |key, row| format!("{key} {row}"));
    section(&mut text, "addrs", &plan.addrs, |(link, net), ()| format!("{net} dev {link}"));
    section(&mut text, "pods", &plan.pods, |key, row| format!("{key} {row}"));
    section(&mut text, "sysctls", &plan.sysctls, |key, row| format!("{key} {row}"));
    section(&mut text, "neighbors", &plan.neighbors, |key, row| format!("{key} {row}"));
    section(&mut text, "proxies", &plan.proxies, |key, ()| key.to_string());
    section(&mut text, "fdb", &plan.fdb, |key, row| format!("{key} {row}"));
    section(&mut text, "routes", &plan.routes, |key, row| format!("{key} {row}"));
    section(&mut text, "rules", &plan.rules, |key, row| format!("{key} {row}"));
    section(&mut text, "nft", &plan.nft, |key, row| format!("{key} {row}"));
    section(&mut text, "flows", &plan.flows, |key, row| format!("{key} {row}"));
    section(&mut text, "listeners", &plan.listeners, |key, ()| key.to_string());
    text
}

fn section<K: Ord, R>(
    text: &mut String,
    name: &str,
    table: &Table<K, R>,
    row_line: fn(&K, &R) -> String,
) {
    line(text, format_args!("# {name}"));
    for (key, row) in table {
        // A row that is nothing but its key ends where that ends.
        line(text, format_args!("{}", row_line(key, row).trim_end()));
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("writing to a String does not fail");
}
