//! Blocks that describe the cluster.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use model::{
    Attachment, AttachmentKey, Config, Host, IfName, Mac, NodeName, PodRef, PortMapping,
    ServiceName, Uplink, decode,
};

use super::{Cluster, yaml};

type Containers = BTreeMap<AttachmentKey, Arc<Attachment>>;

/// Takes in every object of `body`, by its kind.
pub(super) fn objects(cluster: &mut Cluster, body: &str) -> Result<(), String> {
    for document in yaml::documents(body)? {
        let json = document.to_string();
        object(cluster, document["kind"].as_str().unwrap_or_default(), json.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn object(cluster: &mut Cluster, kind: &str, json: &[u8]) -> Result<(), decode::DecodeError> {
    match kind {
        "Service" => {
            let service = decode::service(json)?;
            cluster.services.insert(service.name.clone(), Arc::new(service));
        }
        "EndpointSlice" => {
            if let Some(slice) = decode::endpoint_slice(json)? {
                cluster.slices.insert(slice.key.clone(), Arc::new(slice));
            }
        }
        "ServiceCIDR" => {
            let cidr = decode::service_cidr(json)?;
            cluster.service_cidrs.insert(cidr.name.clone(), Arc::new(cidr));
        }
        _ => {
            let node = decode::node(json)?;
            cluster.nodes.insert(node.name.clone(), Arc::new(node));
        }
    }
    Ok(())
}

/// Takes out the nodes, and Services (`NAMESPACE/NAME`) with their slices, that are named.
pub(super) fn delete(cluster: &mut Cluster, body: &str) {
    for line in body.lines() {
        let Some(name) = service_name(line) else {
            cluster.nodes.remove(&NodeName::from(line));
            continue;
        };
        cluster.services.remove(&name);
        let slices = cluster.slices.iter().filter(|(key, _)| key.service != name);
        cluster.slices = slices.map(|(key, slice)| (key.clone(), Arc::clone(slice))).collect();
    }
}

/// `NAMESPACE/NAME`.
pub(super) fn service_name(text: &str) -> Option<ServiceName> {
    let (namespace, name) = text.split_once('/')?;
    Some(ServiceName::new(namespace, name))
}

pub(super) fn config(config: &mut Config, body: &str) -> Result<(), String> {
    for line in body.lines() {
        let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
        match flag {
            "pod-link" => config.pod_link = parse(value)?,
            "routing" => config.routing = parse(value)?,
            "mtu" => config.mtu = Some(parse(value)?),
            "vxlan-port" => config.vxlan.port = parse(value)?,
            "vxlan-vni" => config.vxlan.vni = parse(value)?,
            "nodeport-addresses" => {
                config.node_port_addrs = value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            "external-ips" => {
                config.external_ips = value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            "masquerade-all" => config.masquerade_all = true,
            "dns-local-addresses" => {
                config.dns.local_addrs = value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            "dns-clients" => {
                config.dns.clients = value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            "no-dns" => config.dns.is_served = false,
            "no-masquerade" => config.masquerade = false,
            "non-masquerade-cidrs" => {
                config.non_masquerade_cidrs =
                    value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("{flag:?} is no setting")),
        }
    }
    Ok(())
}

pub(super) fn host(body: &str) -> Result<Host, String> {
    let uplink = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, mtu) = (words.next(), words.nth(1));
        Ok(Uplink {
            name: parse(name.unwrap_or_default())?,
            mtu: parse(mtu.unwrap_or_default())?,
            addrs: words.map(parse).collect::<Result<_, String>>()?,
        })
    };
    let (routes, links): (Vec<&str>, Vec<&str>) =
        body.lines().partition(|line| line.starts_with("route "));
    let route = |line: &&str| parse(line.trim_start_matches("route "));
    Ok(Host {
        uplinks: links.into_iter().map(uplink).collect::<Result<_, String>>()?,
        routes: routes.iter().map(route).collect::<Result<_, String>>()?,
    })
}

/// The key of the container that a scenario calls `name`.
pub(super) fn key(name: &str) -> AttachmentKey {
    let ifname = IfName::new("eth0").expect("a plain name");
    AttachmentKey { container_id: name.into(), ifname }
}

pub(super) fn attachments(body: &str) -> Result<Containers, String> {
    let mut containers = Containers::new();
    for line in body.lines() {
        let mut words = line.split_whitespace();
        let key = key(words.next().unwrap_or_default());
        let (mut addrs, mut port_mappings) = (Vec::new(), Vec::new());
        for word in words {
            match word.parse::<IpAddr>() {
                Ok(addr) => addrs.push(addr),
                Err(_) => port_mappings.push(port(word)?),
            }
        }
        let name = key.container_id.to_string();
        let attachment = Attachment {
            network: "seaway".to_owned(),
            netns: format!("/run/netns/{name}").into(),
            pod: Some(PodRef { namespace: "default".to_owned(), name, uid: String::new() }),
            mac: Mac::derive(&format!("pod/{key}")),
            addrs,
            port_mappings,
            search: None,
            key: key.clone(),
        };
        containers.insert(key, Arc::new(attachment));
    }
    Ok(containers)
}

/// `[hostIP@]PORT:PORT/PROTOCOL`.
fn port(word: &str) -> Result<PortMapping, String> {
    let (host_ip, rest) = match word.split_once('@') {
        Some((ip, rest)) => (Some(parse(ip)?), rest),
        None => (None, word),
    };
    let split = rest.split_once(':').and_then(|(host, rest)| Some((host, rest.split_once('/')?)));
    let (host_port, (container_port, protocol)) =
        split.ok_or(format!("{word:?} is neither an address nor a hostPort"))?;
    Ok(PortMapping {
        host_port: parse(host_port)?,
        container_port: parse(container_port)?,
        protocol: protocol.parse()?,
        host_ip,
    })
}

pub(super) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}
