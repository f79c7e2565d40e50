//! Server blocks and their plugins.

use std::time::Duration;

use super::lines::Line;
use super::rewrite::rewrites;
use super::{Converted, Left};
use crate::forwarding::document::{MOST_SERVERS, is_server_name};
use crate::forwarding::tree::duration;
use crate::forwarding::{CacheClass, CacheSettings, ForwardZone, Forwarding, Host, Over, Upstream};
use crate::{DomainName, QueryLog};

/// Plugins for which nothing is to be set: an agent does what they do, or has no need of it.
const IMPLIED: [&str; 18] = [
    "any",
    "autopath",
    "bufsize",
    "cancel",
    "debug",
    "errors",
    "health",
    "loadbalance",
    "local",
    "loop",
    "metadata",
    "minimal",
    "multisocket",
    "pprof",
    "prometheus",
    "ready",
    "reload",
    "shed",
];

/// What a conversion has come to.
pub(super) struct Converter {
    settings: Forwarding,
    zones: Vec<ForwardZone>,
    /// Set by the first block that says something of the cache.
    cache: Option<CacheSettings>,
    max_concurrent: Option<usize>,
    left: Vec<Left>,
}

impl Converter {
    pub(super) fn new(left: Vec<Left>) -> Self {
        let settings = Forwarding::default();
        Converter { settings, zones: Vec::new(), cache: None, max_concurrent: None, left }
    }

    pub(super) fn finish(self) -> Converted {
        let mut settings = self.settings;
        let root = settings.zones;
        settings.zones = self.zones;
        if !settings.zones.iter().any(|zone| zone.zone == DomainName::ROOT) {
            settings.zones.extend(root);
        }
        settings.cache = self.cache.unwrap_or(settings.cache);
        settings.max_concurrent = self.max_concurrent.unwrap_or(settings.max_concurrent);
        Converted { settings, left: self.left }
    }

    /// A block `ZONE[:PORT] … { … }`.
    pub(super) fn block(&mut self, block: &Line) {
        let mut zones = Vec::new();
        for key in block.words.iter().flat_map(|word| word.split(',')).filter(|key| !key.is_empty())
        {
            match zone(key) {
                Ok(zone) => zones.push(zone),
                Err(why) => self.left.push(block.left(format!("{key}: {why}"))),
            }
        }
        for line in &block.block {
            self.plugin(&zones, line);
        }
    }

    fn plugin(&mut self, zones: &[DomainName], line: &Line) {
        match line.words.first().map_or("", String::as_str) {
            "forward" => self.forward(zones, line),
            "cache" => self.cache(line),
            "hosts" => self.hosts(line),
            "rewrite" => match rewrites(line) {
                Ok(all) => self.settings.rewrites.extend(all),
                Err(why) => self.leave(line, why),
            },
            "kubernetes" => self.kubernetes(line),
            "log" => self.log(zones, line),
            plugin if IMPLIED.contains(&plugin) => {}
            _ => self.leave(line, "there is no equivalent"),
        }
    }

    /// `log [NAMES…] [FORMAT] { class … }`.
    fn log(&mut self, zones: &[DomainName], line: &Line) {
        self.settings.log = Some(QueryLog::ALL);
        let is_for_all = |word| matches!(word, "." | "{common}");
        if !zones.contains(&DomainName::ROOT) || !line.args().into_iter().all(is_for_all) {
            self.leave(line, "all questions are logged, in the common log format");
        }
        for option in &line.block {
            let words: Vec<&str> = option.words.iter().map(String::as_str).collect();
            if !matches!(words[..], ["class", .., "all"] | ["class", "all", ..]) {
                self.leave(option, "all questions are logged");
            }
        }
    }

    fn leave(&mut self, line: &Line, why: impl Into<String>) {
        self.left.push(line.left(why));
    }

    /// The cluster's names are settings of the agent.
    fn kubernetes(&mut self, line: &Line) {
        let is_default = |zone: &str| {
            matches!(zone, "cluster.local" | "cluster.local." | "in-addr.arpa" | "ip6.arpa")
        };
        if !line.args().into_iter().all(is_default) {
            self.leave(line, "the cluster's domain is a setting of the agent");
        }
        for option in &line.block {
            let words: Vec<&str> = option.words.iter().map(String::as_str).collect();
            match words[..] {
                ["fallthrough", ..] | ["pods", "verified"] | ["ttl", "5"] => {}
                ["pods" | "ttl" | "endpoint_pod_names" | "ignore", ..] => {
                    self.leave(option, "how objects are named is a setting of the agent");
                }
                _ => self.leave(option, "there is no equivalent"),
            }
        }
    }

    /// `forward FROM TO… { … }`.
    fn forward(&mut self, zones: &[DomainName], line: &Line) {
        let args = line.args();
        let Some((from, to)) = args.split_first() else {
            return self.leave(line, "nobody to ask");
        };
        let from = match zone(from) {
            Ok(from) => from,
            Err(why) => return self.leave(line, why),
        };
        let mut route = ForwardZone::new(from, Vec::new());
        for to in to {
            match to.parse() {
                Ok(upstream) => route.to.push(upstream),
                Err(_) => self.leave(line, format!("{to} is no server that can be asked")),
            }
        }
        for option in &line.block {
            self.forward_option(&mut route, option);
        }
        if route.to.len() > MOST_SERVERS {
            self.leave(line, format!("the first {MOST_SERVERS} servers are asked"));
            route.to.truncate(MOST_SERVERS);
        }
        if route.to.is_empty() {
            return self.leave(line, "nobody is left to ask");
        }
        for zone in zones {
            // Names have to be in both.
            let both = match (from.is_under(zone), zone.is_under(&from)) {
                (true, _) => from,
                (_, true) => *zone,
                (false, false) => {
                    self.leave(line, format!("no name is in {zone} and in {from}"));
                    continue;
                }
            };
            if self.zones.iter().any(|route| route.zone == both) {
                self.leave(line, format!("{both} is forwarded already"));
            } else {
                self.zones.push(ForwardZone { zone: both, ..route.clone() });
            }
        }
    }

    fn forward_option(&mut self, route: &mut ForwardZone, line: &Line) {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let mut servers = Vec::new();
        for to in &mut route.to {
            if let Upstream::Server(server) = to {
                servers.push(&mut server.over);
            }
        }
        let is_read = match words[..] {
            ["prefer_udp" | "max_idle_conns" | "max_connect_attempts" | "read_timeout", ..] => true,
            ["force_tcp"] => {
                let plain = servers.into_iter().filter(|over| **over == Over::Udp);
                plain.for_each(|over| *over = Over::Tcp);
                true
            }
            ["tls_servername", name] if is_server_name(name) => {
                for over in servers {
                    if *over == Over::Tls(None) {
                        *over = Over::Tls(Some(name.to_owned()));
                    }
                }
                true
            }
            ["tls"] => true,
            ["tls", ca] => {
                route.ca = Some(ca.to_owned());
                true
            }
            ["policy", policy] => policy.parse().map(|policy| route.policy = policy).is_ok(),
            ["max_fails", number] => number.parse().map(|most| route.max_fails = most).is_ok(),
            ["expire", time] => duration(time).map(|time| route.expire = time).is_some(),
            ["max_concurrent", number] => number.parse().is_ok_and(|most: usize| {
                // There is one bound for all zones.
                self.max_concurrent = Some(self.max_concurrent.map_or(most, |old| old.max(most)));
                true
            }),
            ["failover", ref rcodes @ ..] => {
                rcodes.iter().all(|rcode| matches!(*rcode, "SERVFAIL" | "REFUSED"))
            }
            _ => false,
        };
        if !is_read {
            self.leave(line, "there is no equivalent");
        }
    }

    /// `cache [TTL] [ZONES…] { … }`. There is one cache, for all that is asked of others.
    fn cache(&mut self, line: &Line) {
        let mut cache = CacheSettings::default();
        let args = line.args();
        let ttl = args.first().and_then(|ttl| ttl.parse::<u32>().ok());
        if let Some(ttl) = ttl {
            for class in [&mut cache.success, &mut cache.denial] {
                set_ttl(class, ttl);
            }
        }
        if args.len() > usize::from(ttl.is_some()) {
            self.leave(line, "there is one cache for all zones");
        }
        for option in &line.block {
            if let Err(why) = cache_option(&mut cache, option) {
                self.leave(option, why);
            }
        }
        match &self.cache {
            Some(first) if *first != cache => {
                self.leave(
                    line,
                    "there is one cache for all zones, and another line has set it up",
                );
            }
            Some(_) => {}
            None => self.cache = Some(cache),
        }
    }

    /// `hosts [FILE [ZONES…]] { ADDRESS NAME… }`.
    fn hosts(&mut self, line: &Line) {
        if !line.args().is_empty() {
            self.leave(line, "files and zones of hosts are not read: write their lines as hosts");
        }
        let mut falls_through = false;
        for inner in &line.block {
            let words: Vec<&str> = inner.words.iter().map(String::as_str).collect();
            match words[..] {
                ["fallthrough"] => falls_through = true,
                ["ttl", seconds] if seconds.parse::<u32>().is_ok() => {
                    self.settings.hosts_ttl = seconds.parse().unwrap_or_default();
                }
                ["reload", _] => {}
                [ip, ref names @ ..]
                    if !names.is_empty() && ip.parse::<std::net::IpAddr>().is_ok() =>
                {
                    self.host(inner, names);
                }
                _ => self.leave(inner, "there is no equivalent"),
            }
        }
        if !falls_through {
            self.leave(
                line,
                "a name that has no host is looked up elsewhere, as with `fallthrough`",
            );
        }
    }

    fn host(&mut self, line: &Line, names: &[&str]) {
        let Some(ip) = line.words.first().and_then(|ip| ip.parse().ok()) else { return };
        let mut host = Host { ip, names: Vec::new() };
        for name in names {
            match name.parse::<DomainName>() {
                Ok(parsed) if !name.starts_with('*') => host.names.push(parsed.lowered()),
                Ok(_) => self.leave(line, format!("{name}: a host has no wildcards")),
                Err(error) => self.leave(line, error.to_string()),
            }
        }
        if !host.names.is_empty() {
            self.settings.hosts.push(host);
        }
    }
}

fn set_ttl(class: &mut CacheClass, ttl: u32) {
    class.max_ttl = ttl.min(class.max_ttl);
}

fn cache_option(cache: &mut CacheSettings, line: &Line) -> Result<(), String> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let unread = || "it cannot be read".to_owned();
    match words[..] {
        ["success" | "denial", capacity, ref ttls @ ..] => {
            let is_denial = words[0] == "denial";
            let class = if is_denial { &mut cache.denial } else { &mut cache.success };
            class.capacity = capacity.parse::<usize>().map_err(|_| unread())?.min(1_000_000);
            if let [ttl, ref min @ ..] = *ttls {
                set_ttl(class, ttl.parse().map_err(|_| unread())?);
                if let [min] = *min {
                    class.min_ttl = min.parse::<u32>().map_err(|_| unread())?.min(3600);
                }
            }
            Ok(())
        }
        ["prefetch", amount, ref rest @ ..] => {
            cache.prefetch = amount.parse().map_err(|_| unread())?;
            match *rest {
                [] | ["1m"] | ["1m", "10%"] => Ok(()),
                _ => Err("only the number is carried over: the others are 1m and 10%".to_owned()),
            }
        }
        ["serve_stale", ref rest @ ..] => {
            if let Some(time) = rest.first().and_then(|time| duration(time)) {
                cache.serve_stale = time;
            }
            match rest.contains(&"immediate") {
                true => {
                    Err("a fresh answer is waited for, for 100 ms, as with `verify`".to_owned())
                }
                false => Ok(()),
            }
        }
        ["servfail", time] => {
            let time = duration(time).or_else(|| (time == "0").then_some(Duration::ZERO));
            cache.servfail = time.ok_or_else(unread)?.min(Duration::from_secs(300));
            Ok(())
        }
        // Its names are not remembered: they are known.
        ["disable", "success" | "denial", "cluster.local" | "cluster.local."] => Ok(()),
        ["disable", "success"] => {
            cache.success.capacity = 0;
            Ok(())
        }
        ["disable", "denial"] => {
            cache.denial.capacity = 0;
            Ok(())
        }
        _ => Err("there is no equivalent".to_owned()),
    }
}

/// The zone that a key like `corp.example:53` or `dns://.` stands for.
fn zone(key: &str) -> Result<DomainName, String> {
    let (scheme, rest) = key.split_once("://").unwrap_or(("dns", key));
    let (name, port) = rest.split_once(':').unwrap_or((rest, "53"));
    if scheme != "dns" || port != "53" {
        return Err("questions come by UDP and TCP at port 53".to_owned());
    }
    if name.contains('/') {
        return Err("write the reverse zone's name in place of a prefix".to_owned());
    }
    let name = if name.is_empty() { "." } else { name };
    let name: DomainName = name.parse().map_err(|error| format!("{error}"))?;
    Ok(name.lowered())
}
