//! The settings, written as the document that they are read from.

use std::fmt;

use super::{CacheClass, ForwardZone, Forwarding, Host, Pattern, Policy, Rewrite, Upstream};
use crate::DomainName;

/// A document that says the same, and nothing that goes without saying.
impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Forwarding::default();
        list(f, "hosts:", &self.hosts, |f, Host { ip, names }| {
            let names: Vec<String> = names.iter().map(|name| quoted(&plain(name))).collect();
            write!(f, "- address: {}\n  names: [{}]", quoted(&ip.to_string()), names.join(", "))
        })?;
        if self.hosts_ttl != default.hosts_ttl {
            writeln!(f, "hostsTTL: {}", self.hosts_ttl)?;
        }
        list(f, "rewrites:", &self.rewrites, |f, Rewrite { from, to }| {
            let (how, from) = match from {
                Pattern::Exact(name) => ("exact", name),
                Pattern::Suffix(name) => ("suffix", name),
            };
            write!(f, "- {how}: {}\n  to: {}", quoted(&plain(from)), quoted(&plain(to)))
        })?;
        if self.zones != default.zones {
            list(f, "forward:", &self.zones, print_zone)?;
        }
        print_cache(f, self)?;
        if self.max_concurrent != default.max_concurrent {
            writeln!(f, "maxConcurrent: {}", self.max_concurrent)?;
        }
        if self.least_allowed != default.least_allowed {
            writeln!(f, "leastAllowed: {}ms", self.least_allowed.as_millis())?;
        }
        if let Some(log) = self.log {
            writeln!(f, "log: {}", quoted(&log.to_string()))?;
        }
        Ok(())
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    items: &[T],
    print: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "{name}")?;
    for item in items {
        print(f, item)?;
        writeln!(f)?;
    }
    Ok(())
}

fn print_zone(f: &mut fmt::Formatter<'_>, zone: &ForwardZone) -> fmt::Result {
    let ForwardZone { zone: name, to, policy, ca, max_fails, expire } = zone;
    let default = ForwardZone::new(*name, Vec::new());
    let to: Vec<String> = to
        .iter()
        .map(|to| match to {
            Upstream::File(file) => quoted(file),
            Upstream::Server(server) => quoted(&server.to_string()),
        })
        .collect();
    write!(f, "- zone: {}\n  to: [{}]", quoted(&plain(name)), to.join(", "))?;
    match policy {
        Policy::Random => {}
        Policy::RoundRobin => write!(f, "\n  policy: round_robin")?,
        Policy::Sequential => write!(f, "\n  policy: sequential")?,
    }
    if let Some(ca) = ca {
        write!(f, "\n  ca: {}", quoted(ca))?;
    }
    if *max_fails != default.max_fails {
        write!(f, "\n  maxFails: {max_fails}")?;
    }
    if *expire != default.expire {
        write!(f, "\n  expire: {}ms", expire.as_millis())?;
    }
    Ok(())
}

fn print_cache(f: &mut fmt::Formatter<'_>, settings: &Forwarding) -> fmt::Result {
    let (cache, default) = (&settings.cache, Forwarding::default().cache);
    if *cache == default {
        return Ok(());
    }
    writeln!(f, "cache:")?;
    for (name, class, default) in
        [("success", &cache.success, &default.success), ("denial", &cache.denial, &default.denial)]
    {
        if class != default {
            let CacheClass { capacity, max_ttl, min_ttl } = class;
            writeln!(
                f,
                "  {name}: {{capacity: {capacity}, maxTTL: {max_ttl}, minTTL: {min_ttl}}}"
            )?;
        }
    }
    if cache.servfail != default.servfail {
        writeln!(f, "  servfail: {}ms", cache.servfail.as_millis())?;
    }
    if cache.serve_stale != default.serve_stale {
        writeln!(f, "  serveStale: {}ms", cache.serve_stale.as_millis())?;
    }
    if cache.prefetch != default.prefetch {
        writeln!(f, "  prefetch: {}", cache.prefetch)?;
    }
    Ok(())
}

/// A name as people write it: without the dot of the root, unless that is all.
fn plain(name: &DomainName) -> String {
    let labels: Vec<_> = name.labels().map(String::from_utf8_lossy).collect();
    if labels.is_empty() { ".".to_owned() } else { labels.join(".") }
}

/// As a YAML scalar: in quotes where it is more than a word.
fn quoted(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/' | '_');
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if is_plain && text.chars().all(is_word) {
        return text.to_owned();
    }
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        c => format!("\\U{:08x}", u32::from(c)),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
