//! What should be answered to a question for a name of the cluster.
//!
//! Written from the DNS specification of Kubernetes 1.1.0, and from CoreDNS where that is silent: every
//! record of the cluster is listed, and whoever asks for a name gets those that stand at it. A name
//! exists when a record stands at it or below it (RFC 8020).

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Endpoint, EndpointSlice, PodRecords, Protocol, Service, ServiceKind, World};

/// One record, in text and in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Whose it is, with the dot of the root.
    pub owner: String,
    /// `A`, `AAAA`, `CNAME`, `NS`, `PTR`, `SOA`, `SRV` or `TXT`.
    pub kind: &'static str,
    /// As in a zone file; of SRV port and target alone, for nobody says how often which is chosen, and
    /// nothing of SOA.
    pub value: String,
}

/// What should be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The cluster says nothing of the name. Others may.
    Elsewhere,
    /// These records, if any; the name exists.
    Records(BTreeSet<Record>),
    /// The name does not exist: it is in question, or these aliases end at it.
    Missing(BTreeSet<Record>),
    /// Aliases lead nowhere.
    Endless,
}

/// The most aliases that are followed (DNS-94).
const LONGEST_CHAIN: usize = 16;

/// What should be answered to a question for the records of `kind` at `name`: in lower case, and with
/// the dot of the root.
pub fn answer(world: &World, name: &str, kind: &str) -> Answer {
    let records = records(world);
    let (mut name, mut said) = (name.to_owned(), BTreeSet::new());
    for links in 0.. {
        let alias =
            records.iter().find(|r| r.owner == name && r.kind == "CNAME" && kind != "CNAME");
        let Some(alias) = alias else { break };
        if links == LONGEST_CHAIN {
            return Answer::Endless;
        }
        said.insert(alias.clone());
        name.clone_from(&alias.value);
    }
    let pod = pod_record(world, &records, &name);
    let here = || records.iter().chain(&pod).filter(|record| record.owner == name);
    let is_reverse = name.ends_with(".in-addr.arpa.") || name.ends_with(".ip6.arpa.");
    if !is_under(&name, &zone(world)) && (!is_reverse || here().next().is_none()) {
        return if said.is_empty() { Answer::Elsewhere } else { Answer::Records(said) };
    }
    let mut all = records.iter().chain(&pod).map(|record| record.owner.as_str());
    let exists = all.any(|owner| is_under(owner, &name)) || empty(world, &records).contains(&name);
    said.extend(here().filter(|record| record.kind == kind).cloned());
    if exists { Answer::Records(said) } else { Answer::Missing(said) }
}

/// Whether `name` is `parent`, or below it.
fn is_under(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn zone(world: &World) -> String {
    world.config.dns.domain.to_string()
}

/// Every record but those of pods' addresses.
pub fn records(world: &World) -> Vec<Record> {
    let (zone, mut all) = (zone(world), Vec::new());
    put(&mut all, &zone, "SOA", String::new());
    put(&mut all, &format!("dns-version.{zone}"), "TXT", "\"1.1.0\"".to_owned());
    for service in world.services.values() {
        let name = format!("{}.{}.svc.{zone}", service.name.name, service.name.namespace);
        all.extend(of_service(world, service, &name));
    }
    // A cluster IP has one name, and is no endpoint's.
    let cluster_ips: BTreeSet<IpAddr> = world
        .services
        .values()
        .filter(|s| is_shown(world, s))
        .flat_map(|s| s.cluster_ips.clone())
        .collect();
    let owners: BTreeSet<String> = cluster_ips.iter().map(|ip| reverse(*ip)).collect();
    let mut named = BTreeSet::new();
    all.retain(|record| {
        let mut is_first =
            || is_service_name(&record.value, &zone) && named.insert(record.owner.clone());
        record.kind != "PTR" || !owners.contains(&record.owner) || is_first()
    });
    let server = &world.config.dns.service;
    let server = format!("{}.{}.svc.{zone}", server.name, server.namespace);
    let primary = format!("ns.dns.{zone}");
    let at_server = |r: &&Record| r.owner == server && ["A", "AAAA"].contains(&r.kind);
    let glue: Vec<Record> = all.iter().filter(at_server).cloned().collect();
    let is_alias = all.iter().any(|r| r.owner == server && r.kind == "CNAME");
    let ns = if glue.is_empty() && !is_alias { primary.clone() } else { server };
    put(&mut all, &zone, "NS", ns);
    for record in glue {
        put(&mut all, &primary, record.kind, record.value);
    }
    if is_alias && !all.iter().any(|record| record.owner == primary) {
        put(&mut all, &primary, "", String::new());
    }
    all
}

/// Whether a PTR record names a Service, rather than an endpoint of one.
fn is_service_name(name: &str, zone: &str) -> bool {
    let labels = name.strip_suffix(&format!(".svc.{zone}"));
    labels.is_some_and(|labels| labels.split('.').count() == 2)
}

fn put(all: &mut Vec<Record>, owner: &str, kind: &'static str, value: String) {
    all.push(Record { owner: owner.to_owned(), kind, value });
}

fn address(all: &mut Vec<Record>, owner: &str, ip: IpAddr) {
    put(all, owner, if ip.is_ipv4() { "A" } else { "AAAA" }, ip.to_string());
}

/// Whether a Service with cluster IPs has its names: with an option, only while an endpoint is ready
/// (DNS-24).
fn is_shown(world: &World, service: &Service) -> bool {
    let is_cluster = !service.is_headless && service.kind != ServiceKind::ExternalName;
    let is_ready = || ready(world, service).next().is_some();
    is_cluster && !service.cluster_ips.is_empty() && (!world.config.dns.hides_empty || is_ready())
}

fn of_service(world: &World, service: &Service, name: &str) -> Vec<Record> {
    let mut all = Vec::new();
    if service.kind == ServiceKind::ExternalName {
        // An address is no name (DNS-32).
        let target = service.external_name.as_deref().filter(|t| t.parse::<IpAddr>().is_err());
        if let Some(target) = target {
            let target = target.trim_end_matches('.').to_lowercase();
            put(&mut all, name, "CNAME", format!("{target}."));
        }
        return all;
    }
    if !service.is_headless && !is_shown(world, service) {
        return all; // Nor have its endpoints.
    }
    all.extend(of_endpoints(world, service, name));
    if service.is_headless {
        return all;
    }
    for ip in &service.cluster_ips {
        address(&mut all, name, *ip);
        put(&mut all, &reverse(*ip), "PTR", name.to_owned());
    }
    for port in &service.ports {
        srv(&mut all, name, (&port.name, port.protocol, port.port), name);
    }
    all
}

/// The SRV record of a port: at the Service's name, and at that of the port if it has one.
fn srv(
    all: &mut Vec<Record>,
    service: &str,
    (port, protocol, number): (&str, Protocol, u16),
    target: &str,
) {
    let value = format!("{number} {target}");
    put(all, service, "SRV", value.clone());
    if !port.is_empty() {
        put(all, &format!("_{port}._{protocol}.{service}"), "SRV", value);
    }
}

fn of_endpoints(world: &World, service: &Service, name: &str) -> Vec<Record> {
    let mut all = Vec::new();
    for (slice, endpoint) in ready(world, service) {
        let pod = endpoint.pod.as_deref();
        let pod = pod.filter(|pod| world.config.dns.endpoint_pod_names && is_label(pod));
        let label = match (endpoint.hostname.as_deref(), pod) {
            (Some(hostname), _) => hostname.to_owned(),
            (None, Some(pod)) => pod.to_owned(),
            (None, None) => dashed(endpoint.addr),
        };
        let host = format!("{label}.{name}");
        address(&mut all, &host, endpoint.addr);
        put(&mut all, &reverse(endpoint.addr), "PTR", host.clone());
        if service.is_headless {
            address(&mut all, name, endpoint.addr);
            for port in &slice.ports {
                srv(&mut all, name, (&port.name, port.protocol, port.port), &host);
            }
        }
    }
    all
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.')
}

/// The endpoints of `service` that have names (DNS-12).
fn ready<'a>(
    world: &'a World,
    service: &'a Service,
) -> impl Iterator<Item = (&'a EndpointSlice, &'a Endpoint)> {
    let slices = world.slices.values().filter(|slice| slice.key.service == service.name);
    let all = slices.flat_map(|slice| slice.endpoints.iter().map(move |e| (&**slice, e)));
    all.filter(|(_, endpoint)| endpoint.conditions.ready || service.publishes_not_ready)
}

/// `.` and `:` are `-`, and no label ends with that (DNS-27).
fn dashed(ip: IpAddr) -> String {
    let label = ip.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') { format!("{label}0") } else { label }
}

/// The name of an address (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let digits = ip.octets().map(|octet| format!("{octet:02x}")).concat();
            let digits: String = digits.chars().rev().flat_map(|digit| [digit, '.']).collect();
            format!("{digits}ip6.arpa.")
        }
    }
}

/// Names that exist with nothing at them (DNS-20), however little there is below.
fn empty(world: &World, records: &[Record]) -> BTreeSet<String> {
    let zone = zone(world);
    let mut all: BTreeSet<String> = [format!("svc.{zone}"), format!("pod.{zone}")].into();
    for space in spaces(world, records) {
        all.insert(format!("{space}.svc.{zone}"));
        if world.config.dns.pods != PodRecords::Disabled {
            all.insert(format!("{space}.pod.{zone}"));
        }
    }
    all
}

/// Namespaces that exist: with an object, or with a Service that has a name.
fn spaces(world: &World, records: &[Record]) -> BTreeSet<String> {
    let zone = zone(world);
    let of_service = |record: &Record| {
        let labels = record.owner.strip_suffix(&format!(".svc.{zone}"))?;
        Some(labels.rsplit('.').next().unwrap_or_default().to_owned())
    };
    let in_use = records.iter().filter_map(of_service);
    world.namespaces.keys().map(ToString::to_string).chain(in_use).collect()
}

/// The record of a pod's address, if that is what `name` spells (DNS-29, DNS-45).
fn pod_record(world: &World, records: &[Record], name: &str) -> Option<Record> {
    let labels = name.strip_suffix(&format!(".pod.{}", zone(world)))?;
    let (label, space) = labels.split_once('.')?;
    let is_v4 = label.matches('-').count() == 3 && !label.contains("--");
    let text = label.replace('-', if is_v4 { "." } else { ":" });
    let ip: IpAddr = text.parse().ok()?;
    let mut slices = world.slices.values().filter(|slice| *slice.key.service.namespace == *space);
    let of_slice = |slice: &EndpointSlice| {
        let service = world.services.get(&slice.key.service);
        service.is_some_and(|service| service.kind != ServiceKind::ExternalName)
            && slice.endpoints.iter().any(|e| e.addr == ip && e.pod.is_some())
    };
    let local = || {
        world.attachments.values().any(|attachment| {
            let pod = attachment.pod.as_ref();
            attachment.addrs.contains(&ip) && pod.is_some_and(|pod| pod.namespace == space)
        })
    };
    let is_there = spaces(world, records).contains(space)
        && match world.config.dns.pods {
            PodRecords::Disabled => false,
            PodRecords::Verified => slices.any(|slice| of_slice(slice)) || local(),
            PodRecords::Insecure => true,
        };
    let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
    is_there.then(|| Record { owner: name.to_owned(), kind, value: ip.to_string() })
}
