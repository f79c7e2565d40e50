//! What one Service is called.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Dns, DomainName, EndpointSlice, Protocol, Service, ServiceKind};
use plan::zone::{Endpoint, Endpoints, Entry, Port};

use crate::{Fault, Rejected};

/// The longest name of a port: a label begins with `_`.
const LONGEST_PORT: usize = 62;

/// The entry of `service`, and what of it can't be honored. A Service without a name that can be
/// asked for has none.
pub(super) fn entry(
    service: &Service,
    slices: &[&EndpointSlice],
    dns: &Dns,
    rejected: &mut Vec<Rejected>,
) -> Option<Entry> {
    let object = || format!("Service {}", service.name);
    for (field, name) in
        [("metadata.name", &service.name.name), ("metadata.namespace", &service.name.namespace)]
    {
        if !is_label(name) {
            rejected.push(reject(
                object(),
                field,
                format!("{name:?} is no label of a name in DNS"),
            ));
            return None;
        }
    }
    if service.kind == ServiceKind::ExternalName {
        return match external(service) {
            Ok(target) => Some(Entry::External(Box::new(target))),
            Err(why) => {
                rejected.push(reject(object(), "spec.externalName", why));
                None
            }
        };
    }
    let endpoints = endpoints(service, slices, dns, rejected);
    if service.is_headless {
        return Some(Entry::Headless(endpoints));
    }
    let is_hidden = dns.hides_empty && endpoints.is_empty();
    let addrs = if is_hidden { &[][..] } else { &service.cluster_ips };
    let mut ports: Vec<Port> =
        service.ports.iter().map(|p| port(&p.name, p.protocol, p.port)).collect();
    ports.sort();
    ports.dedup();
    Some(Entry::Cluster { addrs: addrs.into(), ports: ports.into(), endpoints })
}

/// The name that an ExternalName Service stands for. An address is none, although the API takes it for
/// one: as in CoreDNS there is no such Service then (DNS-32).
fn external(service: &Service) -> Result<DomainName, String> {
    let text = service.external_name.as_deref().ok_or("there is none")?;
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("{text:?} is an address, not a name"));
    }
    text.parse::<DomainName>().map_err(|error| error.to_string())
}

fn endpoints(
    service: &Service,
    slices: &[&EndpointSlice],
    dns: &Dns,
    rejected: &mut Vec<Rejected>,
) -> Endpoints {
    let ports: Vec<Vec<Port>> = slices
        .iter()
        .map(|slice| slice.ports.iter().map(|p| port(&p.name, p.protocol, p.port)).collect())
        .collect();
    let (mut named, mut hidden_pods) = (Vec::new(), Vec::new());
    for (slice, ports) in slices.iter().zip(&ports) {
        for (i, endpoint) in slice.endpoints.iter().enumerate() {
            if !endpoint.conditions.ready && !service.publishes_not_ready {
                hidden_pods.extend(endpoint.pod.is_some().then_some(endpoint.addr));
                continue;
            }
            let hostname = endpoint.hostname.as_ref().filter(|name| {
                let is_one = is_label(name);
                if !is_one {
                    let object = format!(
                        "EndpointSlice {}/{}",
                        slice.key.service.namespace, slice.key.slice
                    );
                    let field = format!("endpoints[{i}].hostname");
                    let why = format!("{name:?} is no label of a name in DNS");
                    rejected.push(reject(object, &field, why));
                }
                is_one
            });
            let of_pod = || {
                let pod = endpoint.pod.as_ref().filter(|_| dns.endpoint_pod_names);
                pod.filter(|name| is_label(name))
            };
            named.push(Endpoint {
                host: hostname.or_else(of_pod),
                ip: endpoint.addr,
                is_pod: endpoint.pod.is_some(),
                ports,
            });
        }
    }
    Endpoints::new(named, hidden_pods)
}

/// A port whose name can't be asked for is one without a name.
fn port(name: &Arc<str>, protocol: Protocol, port: u16) -> Port {
    let is_name = is_label(name) && name.len() <= LONGEST_PORT;
    Port { name: if is_name { Arc::clone(name) } else { "".into() }, protocol, port }
}

/// Whether `name` is one label, in lower case as the API wants it: questions are, when they are looked
/// up.
fn is_label(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=63).contains(&name.len()) && name.bytes().all(is_plain)
}

fn reject(object: String, field: &str, why: String) -> Rejected {
    Rejected { object, field: field.to_owned(), why, fault: Fault::Invalid }
}
