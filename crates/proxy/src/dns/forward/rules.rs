//! What settings say of a name before anybody looks it up: rewrites, then hosts, then names that mean this
//! machine wherever they are asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use model::DomainName;
use model::forwarding::{Forwarding, Host, Pattern, Rewrite};
use wire::dns::{Rcode, RecordType, Section};

use crate::dns::{Found, FoundRecord, Prior, Sought};

/// Settings, ready to be looked into for every question.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rewrites: Vec<Rewrite>,
    exact: HashMap<Box<[u8]>, usize>,
    suffixes: HashMap<Box<[u8]>, usize>,
    addrs: HashMap<Box<[u8]>, Vec<IpAddr>>,
    names: HashMap<Box<[u8]>, Vec<DomainName>>,
    ttl: u32,
}

impl Rules {
    /// Makes `settings` ready.
    pub(super) fn new(settings: &Forwarding) -> Self {
        let mut rules = Rules {
            rewrites: settings.rewrites.clone(),
            ttl: settings.hosts_ttl,
            ..Rules::default()
        };
        for (i, rewrite) in settings.rewrites.iter().enumerate() {
            let (map, name) = match &rewrite.from {
                Pattern::Exact(name) => (&mut rules.exact, name),
                Pattern::Suffix(name) => (&mut rules.suffixes, name),
            };
            map.entry(name.as_wire().into()).or_insert(i);
        }
        for Host { ip, names } in &settings.hosts {
            for name in names {
                let addrs = rules.addrs.entry(name.as_wire().into()).or_default();
                addrs.extend((!addrs.contains(ip)).then_some(*ip));
                let reverse = DomainName::reverse(*ip);
                let all = rules.names.entry(reverse.as_wire().into()).or_default();
                all.extend((!all.contains(name)).then_some(*name));
            }
        }
        rules
    }

    /// What they say of `sought`.
    pub(super) fn prior(&self, sought: &Sought) -> Prior {
        let renamed = self.rename(&sought.name);
        let name = renamed.as_ref().unwrap_or(&sought.name);
        if let Some(records) = self.records(name, sought.kind).or_else(|| local(name, sought.kind))
        {
            return Prior::Answered(answer(sought, records));
        }
        renamed.map_or(Prior::Open, Prior::Renamed)
    }

    /// What `name` is looked up as, if not as itself.
    fn rename(&self, name: &DomainName) -> Option<DomainName> {
        if self.rewrites.is_empty() {
            return None;
        }
        let wire = name.as_wire();
        let exact = self.exact.get(wire).copied();
        let mut first = exact.map(|i| (i, 0));
        for at in parents(wire) {
            if let Some(i) = self.suffixes.get(&wire[at..]).copied()
                && first.is_none_or(|(first, _)| i < first)
            {
                first = Some((i, at));
            }
        }
        let (i, kept) = first?;
        let whole = [&wire[..kept], self.rewrites[i].to.as_wire()].concat();
        // A name that gets too long has no other: it is looked up as it is.
        DomainName::from_wire(&whole)
    }

    /// Records of a host, if `name` is one or an address of one.
    fn records(&self, name: &DomainName, kind: RecordType) -> Option<Records> {
        if let Some(addrs) = self.addrs.get(name.as_wire()) {
            return Some(Records::Addrs(kind, addrs.clone(), self.ttl));
        }
        let names = self.names.get(name.as_wire())?;
        let names = if kind == RecordType::PTR { names.clone() } else { Vec::new() };
        Some(Records::Names(names, self.ttl))
    }
}

/// What is known of a name.
enum Records {
    /// Of these addresses those of the type in question.
    Addrs(RecordType, Vec<IpAddr>, u32),
    /// These names.
    Names(Vec<DomainName>, u32),
    /// That there is none.
    Missing,
}

/// For how long it may be remembered what this machine is called, in seconds.
const LOCAL_TTL: u32 = 86_400;

static LOCALHOST: DomainName = DomainName::constant(b"\x09localhost\0");
static V4_ARPA: DomainName = DomainName::constant(b"\x07in-addr\x04arpa\0");
static LOOPBACK: LazyLock<[DomainName; 2]> = LazyLock::new(|| {
    let addrs: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    addrs.map(DomainName::reverse)
});

/// What is the same on every machine, and nobody outside is asked: `localhost` and what is under it, the
/// loopback addresses, and `0`, `127` and `255.in-addr.arpa`.
///
/// Source: RFC 6761 §6.3, RFC 6303 §4; CoreDNS's plugin `local`.
fn local(name: &DomainName, kind: RecordType) -> Option<Records> {
    if name.is_under(&LOCALHOST) {
        let addrs = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Some(Records::Addrs(kind, addrs, LOCAL_TTL));
    }
    if LOOPBACK.contains(name) {
        let names = if kind == RecordType::PTR { vec![LOCALHOST] } else { Vec::new() };
        return Some(Records::Names(names, LOCAL_TTL));
    }
    let nets = name.below(&V4_ARPA).and_then(Iterator::last);
    let is_local = matches!(nets, Some(b"0" | b"127" | b"255"));
    is_local.then_some(Records::Missing)
}

fn answer(sought: &Sought, records: Records) -> Found {
    let record = |kind, ttl, rdata: &[u8]| FoundRecord {
        section: Section::Answer,
        owner: sought.name,
        kind,
        ttl,
        rdata: Arc::from(rdata),
    };
    let (rcode, records) = match records {
        Records::Missing => (Rcode::NxDomain, Vec::new()),
        Records::Names(names, ttl) => {
            let pointer = |name: &DomainName| record(RecordType::PTR, ttl, name.as_wire());
            (Rcode::NoError, names.iter().map(pointer).collect())
        }
        Records::Addrs(kind, addrs, ttl) => {
            let address = |ip: &IpAddr| match (ip, kind) {
                (IpAddr::V4(ip), RecordType::A) => Some(record(kind, ttl, &ip.octets())),
                (IpAddr::V6(ip), RecordType::AAAA) => Some(record(kind, ttl, &ip.octets())),
                (IpAddr::V4(_) | IpAddr::V6(_), RecordType(_)) => None,
            };
            (Rcode::NoError, addrs.iter().filter_map(address).collect())
        }
    };
    Found { rcode, is_authentic: false, records }
}

/// Where the names that the name `wire` is under begin in it, the nearest one first.
pub(super) fn parents(wire: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = usize::from(wire[at]);
        at += len + 1;
        (len > 0).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns84_dns92_static_entries_and_rewrites_come_first_and_the_final_name_counts() {
        let document = "
hosts:
- {address: 192.0.2.7, names: [db.example, other.example]}
- {address: '2001:db8::7', names: [db.example]}
hostsTTL: 60
rewrites:
- {exact: old.example, to: db.example}
- {suffix: shop.example, to: shop.svc.cluster.local}
- {exact: web.shop.example, to: never.example}
";
        let rules = Rules::new(&document.parse().unwrap());
        let renamed = |name: &str| Prior::Renamed(name.parse().unwrap());
        let prior = |name: &str, kind| {
            let name = name.parse().unwrap();
            rules.prior(&Sought { name, kind, dnssec_ok: false, checking_disabled: false })
        };
        for (name, kind, wanted) in [
            ("db.example.", RecordType::A, vec!["db.example. 60 c0000207"]),
            ("other.example.", RecordType::AAAA, vec![]),
            ("old.example.", RecordType::A, vec!["old.example. 60 c0000207"]),
            (
                "7.2.0.192.in-addr.arpa.",
                RecordType::PTR,
                vec![
                    "7.2.0.192.in-addr.arpa. 60 026462076578616d706c6500",
                    "7.2.0.192.in-addr.arpa. 60 056f74686572076578616d706c6500",
                ],
            ),
        ] {
            let Prior::Answered(found) = prior(name, kind) else { panic!("{name} is open") };
            let shown = found.records.iter().map(|record| {
                let hex: String = record.rdata.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{} {} {hex}", record.owner, record.ttl)
            });
            assert_eq!(shown.collect::<Vec<_>>(), wanted, "{name} {kind}");
        }
        for (name, wanted) in [
            ("web.shop.example.", renamed("web.shop.svc.cluster.local.")),
            ("shop.example.", Prior::Open),
            ("a.db.example.", Prior::Open),
            ("evil-shop.example.", Prior::Open),
        ] {
            assert_eq!(prior(name, RecordType::A), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_the_same_on_every_machine_is_asked_of_nobody() {
        let cases = [
            ("localhost.", RecordType::A, Some((Rcode::NoError, 1))),
            ("a.localhost.", RecordType::AAAA, Some((Rcode::NoError, 1))),
            ("localhost.", RecordType::MX, Some((Rcode::NoError, 0))),
            ("1.0.0.127.in-addr.arpa.", RecordType::PTR, Some((Rcode::NoError, 1))),
            ("2.0.0.127.in-addr.arpa.", RecordType::PTR, Some((Rcode::NxDomain, 0))),
            ("0.in-addr.arpa.", RecordType::PTR, Some((Rcode::NxDomain, 0))),
            ("1.255.in-addr.arpa.", RecordType::PTR, Some((Rcode::NxDomain, 0))),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
                RecordType::PTR,
                Some((Rcode::NoError, 1)),
            ),
            ("127.0.0.10.in-addr.arpa.", RecordType::PTR, None),
            ("in-addr.arpa.", RecordType::NS, None),
            ("localhost.example.", RecordType::A, None),
        ];
        for (name, kind, wanted) in cases {
            let name = name.parse().unwrap();
            let sought = Sought { name, kind, dnssec_ok: false, checking_disabled: false };
            let found = local(&name, kind).map(|records| answer(&sought, records));
            let got = found.map(|found| (found.rcode, found.records.len()));
            assert_eq!(got, wanted, "{name} {kind}");
        }
    }
}
