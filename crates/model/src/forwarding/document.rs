//! The settings, read from a document: YAML, with CoreDNS's words.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::tree::{self, Invalid, Node};
use super::{
    CacheClass, ForwardZone, Forwarding, Host, Over, Pattern, Policy, Rewrite, Server, Upstream,
};
use crate::DomainName;

/// Names that one host, or items that one list, may have.
const MOST: usize = 100_000;

/// Servers of one zone (DNS-81).
pub(super) const MOST_SERVERS: usize = 15;

/// Ports of DNS, and of DNS over TLS.
const PLAIN_PORT: u16 = 53;
const TLS_PORT: u16 = 853;

/// Reads a document. What it does not say is as by default; of zones, the root.
impl FromStr for Forwarding {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let default = Forwarding::default();
        let mut settings = Forwarding { zones: Vec::new(), ..default };
        if let Some(root) = tree::read(text)? {
            for (name, node) in root.fields()? {
                match name {
                    "hosts" => settings.hosts = each(node, host)?,
                    "hostsTTL" => settings.hosts_ttl = node.parse("a number of seconds")?,
                    "rewrites" => settings.rewrites = each(node, rewrite)?,
                    "forward" => settings.zones = zones(node)?,
                    "cache" => cache(node, &mut settings)?,
                    "log" => settings.log = Some(node.parse("off, all, or one of so many: 1/100")?),
                    "leastAllowed" => settings.least_allowed = least_allowed(node)?,
                    "maxConcurrent" => settings.max_concurrent = node.parse("a number")?,
                    _ => return Err(node.invalid("there is no such setting")),
                }
            }
        }
        if !settings.zones.iter().any(|zone| zone.zone == DomainName::ROOT) {
            settings.zones.extend(Forwarding::default().zones);
        }
        Ok(settings)
    }
}

fn least_allowed(node: &Node) -> Result<Duration, Invalid> {
    let time = node.duration()?;
    match (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&time) {
        true => Ok(time),
        false => Err(node.invalid("not from 1s to 24h")),
    }
}

fn each<T>(node: &Node, read: impl Fn(&Node) -> Result<T, Invalid>) -> Result<Vec<T>, Invalid> {
    let items = node.list()?;
    if items.len() > MOST {
        return Err(node.invalid(format!("more than {MOST}")));
    }
    items.iter().map(read).collect()
}

fn name(node: &Node) -> Result<DomainName, Invalid> {
    let text = node.text()?;
    let name: DomainName = text.parse().map_err(|error| node.invalid(format!("{error}")))?;
    Ok(name.lowered())
}

fn host(node: &Node) -> Result<Host, Invalid> {
    let (mut ip, mut names) = (None, Vec::new());
    for (field, node) in node.fields()? {
        match field {
            "address" => ip = Some(node.parse::<IpAddr>("an address")?),
            "names" => names = each(node, name)?,
            _ => return Err(node.invalid("a host has an address and names")),
        }
    }
    match ip {
        Some(ip) if !names.is_empty() => Ok(Host { ip, names }),
        Some(_) => Err(node.invalid("names are missing")),
        None => Err(node.invalid("an address is missing")),
    }
}

fn rewrite(node: &Node) -> Result<Rewrite, Invalid> {
    let (mut from, mut to) = (None, None);
    for (field, node) in node.fields()? {
        let old = match field {
            "exact" => from.replace(Pattern::Exact(name(node)?)),
            "suffix" => from.replace(Pattern::Suffix(name(node)?)),
            "to" => {
                to = Some(name(node)?);
                None
            }
            _ => return Err(node.invalid("a rewrite has exact or suffix, and to")),
        };
        if old.is_some() {
            return Err(node.invalid("a rewrite has one of exact and suffix"));
        }
    }
    match (from, to) {
        (Some(from), Some(to)) => Ok(Rewrite { from, to }),
        (None, _) => Err(node.invalid("exact or suffix is missing")),
        (_, None) => Err(node.invalid("to is missing")),
    }
}

fn zones(node: &Node) -> Result<Vec<ForwardZone>, Invalid> {
    let mut all: Vec<ForwardZone> = Vec::new();
    for item in node.list()? {
        let zone = zone(item)?;
        if all.iter().any(|other| other.zone == zone.zone) {
            return Err(item.invalid(format!("zone {} is there twice", zone.zone)));
        }
        all.push(zone);
    }
    Ok(all)
}

fn zone(node: &Node) -> Result<ForwardZone, Invalid> {
    let mut all = ForwardZone::new(DomainName::ROOT, Vec::new());
    let mut is_named = false;
    for (field, node) in node.fields()? {
        match field {
            "zone" => (all.zone, is_named) = (name(node)?, true),
            "to" => all.to = each(node, upstream)?,
            "policy" => all.policy = node.parse("random, round_robin or sequential")?,
            "ca" => all.ca = Some(node.text()?.to_owned()),
            "maxFails" => all.max_fails = node.parse("a number")?,
            "expire" => all.expire = node.duration()?,
            _ => return Err(node.invalid("a zone has no such setting")),
        }
    }
    if !is_named {
        return Err(node.invalid("zone is missing"));
    }
    if all.to.is_empty() || all.to.len() > MOST_SERVERS {
        return Err(node.invalid(format!("to names 1 to {MOST_SERVERS} servers or files")));
    }
    Ok(all)
}

fn upstream(node: &Node) -> Result<Upstream, Invalid> {
    let text = node.text()?;
    let what = "an address, tcp://ADDRESS, tls://ADDRESS%NAME or the path of a resolv.conf";
    text.parse().map_err(|NoUpstream| node.invalid(format!("{text:?} is not {what}")))
}

fn cache(node: &Node, settings: &mut Forwarding) -> Result<(), Invalid> {
    let cache = &mut settings.cache;
    for (field, node) in node.fields()? {
        match field {
            "success" => class(node, &mut cache.success)?,
            "denial" => class(node, &mut cache.denial)?,
            "servfail" => {
                cache.servfail = node.duration()?;
                if cache.servfail > Duration::from_secs(300) {
                    return Err(node.invalid("failures are remembered for 5m at most"));
                }
            }
            "serveStale" => cache.serve_stale = node.duration()?,
            "prefetch" => cache.prefetch = node.parse("a number")?,
            _ => return Err(node.invalid("there is no such setting of the cache")),
        }
    }
    Ok(())
}

fn class(node: &Node, class: &mut CacheClass) -> Result<(), Invalid> {
    for (field, node) in node.fields()? {
        match field {
            "capacity" => class.capacity = node.parse("a number")?,
            "maxTTL" => class.max_ttl = node.parse("a number of seconds")?,
            "minTTL" => class.min_ttl = node.parse("a number of seconds")?,
            _ => return Err(node.invalid("there is no such setting of a class")),
        }
        if class.capacity > 1_000_000 || class.max_ttl > 3600 {
            return Err(node.invalid("more than 1000000 answers, or 3600 seconds"));
        }
    }
    Ok(())
}

impl FromStr for Policy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "random" => Ok(Policy::Random),
            "round_robin" => Ok(Policy::RoundRobin),
            "sequential" => Ok(Policy::Sequential),
            _ => Err(()),
        }
    }
}

/// Text that names nobody who could be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoUpstream;

/// As in CoreDNS: `192.0.2.53`, `[2001:db8::53]:5353`, `dns://…`, `tls://9.9.9.9%dns.quad9.net`,
/// `/etc/resolv.conf`; and `tcp://…`.
impl FromStr for Upstream {
    type Err = NoUpstream;

    fn from_str(text: &str) -> Result<Self, NoUpstream> {
        if text.starts_with('/') {
            return Ok(Upstream::File(text.to_owned()));
        }
        let (over, rest) = text.split_once("://").unwrap_or(("dns", text));
        let (over, rest, port) = match over {
            "dns" => (Over::Udp, rest.to_owned(), PLAIN_PORT),
            "tcp" => (Over::Tcp, rest.to_owned(), PLAIN_PORT),
            "tls" => {
                let (name, rest) = split_name(rest).ok_or(NoUpstream)?;
                (Over::Tls(name), rest, TLS_PORT)
            }
            _ => return Err(NoUpstream),
        };
        let addr = rest.parse::<SocketAddr>().ok().or_else(|| {
            let ip = rest.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
            Some(SocketAddr::new(ip.unwrap_or(&rest).parse().ok()?, port))
        });
        let addr = addr.filter(|addr| addr.port() != 0).ok_or(NoUpstream)?;
        Ok(Upstream::Server(Server { addr, over }))
    }
}

/// Takes the name out of `ADDRESS%NAME` or `ADDRESS%NAME:PORT`.
fn split_name(text: &str) -> Option<(Option<String>, String)> {
    let Some((addr, name)) = text.split_once('%') else { return Some((None, text.to_owned())) };
    let (name, port) = name.split_once(':').map_or((name, None), |(name, port)| (name, Some(port)));
    let addr = match port {
        None => addr.to_owned(),
        Some(port) if addr.contains(':') && !addr.starts_with('[') => format!("[{addr}]:{port}"),
        Some(port) => format!("{addr}:{port}"),
    };
    is_server_name(name).then(|| (Some(name.to_owned()), addr))
}

/// Whether a certificate may be for `name`.
pub(super) fn is_server_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(is_letter) && name != "." && name.parse::<DomainName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
hosts:
- address: 192.0.2.7
  names: [Db.example]
rewrites:
- {exact: a.example, to: b.example}
forward:
- zone: corp.example
  to: [192.0.2.53, "tcp://[2001:db8::53]:5353", "tls://9.9.9.9%dns.quad9.net", /run/resolv.conf]
  policy: sequential
  maxFails: 0
cache:
  success: {maxTTL: 30}
  serveStale: 0s
maxConcurrent: 10
log: 1/100
"#;

    #[test]
    fn a_document_is_read_and_what_is_printed_says_the_same() {
        let settings: Forwarding = DOCUMENT.parse().unwrap();
        assert_eq!(settings.hosts[0].names[0].to_string(), "db.example.");
        let [corp, root] = &settings.zones[..] else { panic!("{:?}", settings.zones) };
        assert_eq!((root, corp.to.len()), (&Forwarding::default().zones[0], 4));
        let Upstream::Server(server) = &corp.to[2] else { panic!("{:?}", corp.to[2]) };
        assert_eq!(server.addr.to_string(), "9.9.9.9:853");
        assert_eq!((settings.cache.success.max_ttl, settings.max_concurrent), (30, 10));
        assert_eq!(settings.to_string().parse(), Ok(settings));
        for nothing in ["", "# nothing", "---\n"] {
            assert_eq!(nothing.parse(), Ok(Forwarding::default()), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_field() {
        for (text, told) in [
            ("hosts:\n- address: 1.2.3\n", "line 2: hosts[0].address: \"1.2.3\" is not an address"),
            ("hosts:\n- address: 192.0.2.1", "line 2: hosts[0]: names are missing"),
            ("\nhost: []", "line 2: host: there is no such setting"),
            ("hosts: []\nhosts: []", "line 2: hosts: it is there twice"),
            (
                "forward:\n- zone: a\n  to: [a]",
                "line 3: forward[0].to[0]: \"a\" is not an address, ",
            ),
            ("forward:\n- {zone: a, to: []}", "line 2: forward[0]: to names 1 to 15 servers"),
            ("forward:\n- to: [192.0.2.1]", "line 2: forward[0]: zone is missing"),
            (
                "rewrites:\n- {exact: a, suffix: b, to: c}",
                "line 2: rewrites[0].suffix: a rewrite has",
            ),
            ("cache: {servfail: 1}", "line 1: cache.servfail: \"1\" is not a time"),
            ("cache: {success: {maxTTL: 7200}}", "line 1: cache.success.maxTTL: more than"),
            ("log: 5%", "line 1: log: \"5%\" is not off, all, or one of so many"),
            ("leastAllowed: 10ms", "line 1: leastAllowed: not from 1s to 24h"),
            ("maxConcurrent: -1", "line 1: maxConcurrent: \"-1\" is not a number"),
            ("a: *b", "line 1: "),
            ("a: [", "line "),
            ("- a", "line 1: fields are wanted"),
            ("a: [[[[[[[[[[1]]]]]]]]]]", "line 1: a[0]"),
        ] {
            let error = text.parse::<Forwarding>().unwrap_err().to_string();
            assert!(error.starts_with(told), "{text:?}: {error}");
        }
    }

    #[test]
    fn servers_are_written_as_for_coredns() {
        for (text, server) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("dns://192.0.2.1:5353", Some("192.0.2.1:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("tcp://[2001:db8::1]", Some("tcp://[2001:db8::1]:53")),
            ("tls://1.1.1.1", Some("tls://1.1.1.1:853")),
            ("tls://9.9.9.9%dns.quad9.net:10853", Some("tls://9.9.9.9%dns.quad9.net:10853")),
            ("tls://2620:fe::fe%dns.quad9.net", Some("tls://[2620:fe::fe]%dns.quad9.net:853")),
            (
                "tls://[2620:fe::fe]%dns.quad9.net:853",
                Some("tls://[2620:fe::fe]%dns.quad9.net:853"),
            ),
            ("https://9.9.9.9", None),
            ("dns.example", None),
            ("192.0.2.1:0", None),
            ("tls://9.9.9.9%", None),
            ("", None),
        ] {
            let read = text.parse::<Upstream>().ok().map(|read| match read {
                Upstream::Server(server) => server.to_string(),
                Upstream::File(file) => file,
            });
            assert_eq!(read.as_deref(), server, "{text:?}");
        }
    }
}
