//! Keeps the Endpoints of Services with a selector, for clients that do not read EndpointSlices: the
//! pods of the Service's first family that are not leaving.
//!
//! Source: Kubernetes, `pkg/controller/endpoint`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Object, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoint_slices::endpoints::{address, hostname, reference, selector, target};
use super::endpoint_slices::mirror::SKIP;
use super::endpoint_slices::selecting;
use super::pods;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write};

/// Most addresses of Endpoints; those that are ready come first.
const MOST: usize = 1000;
/// The annotation of Endpoints that do not show everything.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The label of Endpoints that this controller keeps.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// The label of Endpoints whose Service has no address.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The controller of Endpoints.
pub(super) struct Endpoints;

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Service(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::Endpoints(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::Pod(changed) = change {
            changed.states().for_each(|pod| keys.extend(selecting(cluster, pod)));
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, _: &Turn<'_>) -> Plan {
        let there = cluster.endpoints.get(key);
        let Some(service) = cluster.services.get(key) else {
            // Those that people wrote, and old locks, are theirs.
            let ours = there.filter(|endpoints| is_ours(endpoints));
            let gone = ours.map(|endpoints| {
                Write::new(Action::Delete { grace: None }, Object::clone(endpoints))
            });
            return Plan { writes: gone.into_iter().collect(), ..Plan::default() };
        };
        if selector(service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Plan::nothing();
        }
        let wanted = wanted(cluster, service, there);
        let write = match there {
            None => Some(Write::new(Action::Create, wanted)),
            Some(there) if **there != wanted => Some(Write::new(Action::Replace, wanted)),
            Some(_) => None,
        };
        Plan { writes: write.into_iter().collect(), ..Plan::default() }
    }
}

/// The Endpoints of `service`, which has a selector.
fn wanted(cluster: &Cluster, service: &Service, there: Option<&Arc<Object>>) -> Object {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let spec = service.spec.as_ref();
    let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let publishes = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let mut found: Vec<(bool, EndpointAddress, Vec<EndpointPort>)> = Vec::new();
    let none = BTreeMap::new();
    let selector = selector(service).unwrap_or(&none);
    for pod in cluster.pods.labeled(namespace, selector) {
        let is_in = !pods::is_over(pod) && (publishes || !pods::is_leaving(pod));
        let Some(ip) = address(pod, family.as_deref().unwrap_or("IPv4")).filter(|_| is_in) else {
            continue;
        };
        let address = EndpointAddress {
            ip,
            hostname: hostname(service, pod),
            node_name: pods::node_of(pod).map(str::to_owned),
            target_ref: Some(reference(pod)),
        };
        found.push((publishes || pods::is_ready(pod), address, ports(service, pod)));
    }
    let all = found.len();
    found.sort_by(|(a_ready, a, _), (b_ready, b, _)| b_ready.cmp(a_ready).then(a.ip.cmp(&b.ip)));
    found.truncate(MOST);
    let subsets = subsets(found);
    let mut object = there.map(|there| Object::clone(there)).unwrap_or_default();
    let meta = &mut object.metadata;
    *meta = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels(service)),
        ..std::mem::take(meta)
    };
    let annotations = meta.annotations.get_or_insert_default();
    match all > MOST {
        true => drop(annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned())),
        false => drop(annotations.remove(OVER_CAPACITY)),
    }
    if annotations.is_empty() {
        meta.annotations = None;
    }
    object.subsets = (!subsets.is_empty()).then_some(subsets);
    object
}

/// Addresses with the same ports together.
fn subsets(found: Vec<(bool, EndpointAddress, Vec<EndpointPort>)>) -> Vec<EndpointSubset> {
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    for (ready, address, ports) in found {
        let subset = match subsets.iter().position(|subset| subset.ports.as_ref() == Some(&ports)) {
            Some(at) => &mut subsets[at],
            None => {
                subsets.push(EndpointSubset { ports: Some(ports), ..EndpointSubset::default() });
                let last = subsets.len() - 1;
                &mut subsets[last]
            }
        };
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    subsets
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: target(port, pod)?,
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// The Service's labels, and that nobody needs to mirror these: slices are made from the pods.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SKIP.to_owned(), "true".to_owned());
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    match address == Some("None") {
        true => drop(labels.insert(HEADLESS.to_owned(), String::new())),
        false => drop(labels.remove(HEADLESS)),
    }
    labels
}

fn is_ours(endpoints: &Object) -> bool {
    let label = endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
    label.map(String::as_str) == Some(MANAGED_BY.1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plane::runtime::testing::World;

    fn subsets_of(world: &World) -> Value {
        let endpoints = world.cluster.endpoints.named("ns", "web").unwrap();
        serde_json::to_value(&endpoints.subsets).unwrap()
    }

    #[test]
    fn they_show_the_pods_that_are_ready_and_those_that_are_not() {
        let mut world = World::new();
        world.put::<Service>(&json!({ "metadata": { "name": "web", "labels": { "team": "a" } },
            "spec": { "selector": { "app": "web" }, "ipFamilies": ["IPv4"],
                "ports": [{ "port": 80, "targetPort": "http" }] } }));
        for (name, ready) in [("a", "True"), ("b", "False")] {
            world.put::<Pod>(&json!({ "metadata": { "name": name, "labels": { "app": "web" } },
                "spec": { "nodeName": "n", "containers": [{ "name": "c", "ports": [
                    { "name": "http", "containerPort": 8080 }] }] },
                "status": { "phase": "Running", "podIP": format!("10.0.0.{}", name.len() + usize::from(name == "b")),
                    "conditions": [{ "type": "Ready", "status": ready }] } }));
        }
        world.settle(&mut Endpoints, "ns/web");
        let reference =
            |name: &str| json!({ "kind": "Pod", "name": name, "namespace": "ns", "uid": name });
        let expect = json!([{
            "addresses": [{ "ip": "10.0.0.1", "nodeName": "n", "targetRef": reference("a") }],
            "notReadyAddresses": [{ "ip": "10.0.0.2", "nodeName": "n", "targetRef": reference("b") }],
            "ports": [{ "port": 8080, "protocol": "TCP" }],
        }]);
        assert_eq!(subsets_of(&world), expect);
        world.change_pod("a", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
        });
        world.settle(&mut Endpoints, "ns/web");
        assert_eq!(subsets_of(&world)[0]["addresses"], Value::Null, "who leaves gets nothing new");
    }

    #[test]
    fn those_of_a_service_that_is_gone_go_unless_somebody_wrote_them() {
        let mut world = World::new();
        let mine =
            json!({ "metadata": { "name": "web", "labels": { MANAGED_BY.0: MANAGED_BY.1 } } });
        world.put::<Object>(&mine);
        world.put::<Object>(&json!({ "metadata": { "name": "theirs" } }));
        assert_eq!(world.settle(&mut Endpoints, "ns/web"), ["delete Endpoints web"]);
        assert!(world.settle(&mut Endpoints, "ns/theirs").is_empty());
    }
}
