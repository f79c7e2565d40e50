//! Defaults of services, and what an update keeps that its sender left out.
//!
//! A service's type says which of its other fields mean anything. An update that changes the type
//! without touching them drops those that no longer do; an update that leaves out what was
//! allocated keeps it.
//!
//! Source: Kubernetes pkg/apis/core/v1 `SetDefaults_Service`; pkg/registry/core/service
//! `dropTypeDependentFields`, `patchAllocatedValues`, `normalizeClusterIPs`.
use serde_json::{Value, json};

use super::defaults::drop_nulls;

/// How long a client stays with its endpoint, in seconds.
const AFFINITY_SECONDS: u64 = 10_800;

/// Completes a new or changed service.
pub(super) fn complete(value: &mut Value) {
    let Some(spec) = value.get_mut("spec") else { return };
    if is_external(spec) && spec["externalTrafficPolicy"].as_str().unwrap_or("").is_empty() {
        spec["externalTrafficPolicy"] = json!("Cluster");
    }
    if spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"].is_null() {
        spec["allocateLoadBalancerNodePorts"] = json!(true);
    }
    if spec["type"] != "ExternalName" && spec["internalTrafficPolicy"].is_null() {
        spec["internalTrafficPolicy"] = json!("Cluster");
    }
    if spec["sessionAffinity"] != "ClientIP" {
        spec["sessionAffinityConfig"] = Value::Null;
    } else if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"].clone();
        }
        drop_nulls(port);
    }
    drop_nulls(spec);
}

/// Completes a new service, once [`complete`] has been over it.
pub(super) fn new(value: &mut Value) {
    value["status"] = json!({"loadBalancer": {}});
    let Some(spec) = value.get_mut("spec") else { return };
    let address = spec["clusterIP"].as_str().filter(|address| !address.is_empty());
    if let Some(address) = address.filter(|_| none(&spec["clusterIPs"])) {
        spec["clusterIPs"] = json!([address]);
    }
    drop_nulls(spec);
}

/// Takes from the stored service what an update left out, and drops what its new type does not
/// have.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    if !is_balancer(&new["spec"]) && new["status"]["loadBalancer"].is_object() {
        new["status"]["loadBalancer"] = json!({});
    }
    let (Some(new), Some(old)) = (new.get_mut("spec"), old.get("spec")) else { return };
    keep_allocated(new, old);
    drop_foreign(new, old);
    follow_cluster_ip(new, old);
    for port in new["ports"].as_array_mut().into_iter().flatten() {
        drop_nulls(port);
    }
    drop_nulls(new);
}

fn keep_allocated(new: &mut Value, old: &Value) {
    let unset = |value: &Value| value.as_str().unwrap_or("").is_empty();
    if has_cluster_ip(new) && has_cluster_ip(old) {
        if unset(&new["clusterIP"]) {
            new["clusterIP"] = old["clusterIP"].clone();
        }
        if none(&new["clusterIPs"]) && new["clusterIP"] == old["clusterIP"] {
            new["clusterIPs"] = old["clusterIPs"].clone();
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        let used = node_ports(new);
        for port in new["ports"].as_array_mut().into_iter().flatten() {
            let name = port["name"].as_str().unwrap_or("");
            let ports = old["ports"].as_array().map_or(&[][..], Vec::as_slice).iter();
            let before = ports.rev().find(|port| port["name"].as_str().unwrap_or("") == name);
            let before = before.map_or(0, |port| port["nodePort"].as_u64().unwrap_or(0));
            if port["nodePort"].as_u64().unwrap_or(0) == 0 && before > 0 && !used.contains(&before)
            {
                port["nodePort"] = json!(before);
            }
        }
    }
    if needs_health_check(new)
        && needs_health_check(old)
        && new["healthCheckNodePort"].as_u64().unwrap_or(0) == 0
    {
        new["healthCheckNodePort"] = old["healthCheckNodePort"].clone();
    }
}

/// Whether a service's type and policies give a group of fields a meaning.
type Has = fn(&Value) -> bool;

/// Fields that go together, and whether a service has them.
const DEPENDENT: &[(Has, &[&str])] = &[
    (has_cluster_ip, &["clusterIP", "clusterIPs"]),
    (has_cluster_ip, &["ipFamilies"]),
    (has_cluster_ip, &["ipFamilyPolicy"]),
    (needs_health_check, &["healthCheckNodePort"]),
    (is_balancer, &["allocateLoadBalancerNodePorts"]),
    (is_balancer, &["loadBalancerClass"]),
    (is_external, &["externalTrafficPolicy"]),
];

/// Drops fields that are as they were and mean nothing any more.
fn drop_foreign(new: &mut Value, old: &Value) {
    for (has, fields) in DEPENDENT {
        let untouched = fields.iter().all(|field| new[*field] == old[*field]);
        if has(old) && !has(new) && untouched {
            fields.iter().for_each(|field| new[*field] = Value::Null);
        }
    }
    let before = node_ports(old);
    let untouched = node_ports(new).iter().all(|port| before.contains(port));
    if needs_node_ports(old) && !needs_node_ports(new) && untouched {
        for port in new["ports"].as_array_mut().into_iter().flatten() {
            port["nodePort"] = Value::Null;
        }
    }
}

/// The list of addresses follows the first of them, if that is what changed.
fn follow_cluster_ip(new: &mut Value, old: &Value) {
    if new["clusterIP"] == old["clusterIP"] || new["clusterIPs"] != old["clusterIPs"] {
        return;
    }
    new["clusterIPs"] = match new["clusterIP"].as_str() {
        Some(address) if !address.is_empty() => json!([address]),
        _ => Value::Null,
    };
}

fn has_cluster_ip(spec: &Value) -> bool {
    spec["type"] != "ExternalName"
}

fn is_balancer(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer"
}

fn needs_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || is_balancer(spec)
}

fn needs_health_check(spec: &Value) -> bool {
    is_balancer(spec) && spec["externalTrafficPolicy"] == "Local"
}

/// Whether clients outside the cluster can reach it.
fn is_external(spec: &Value) -> bool {
    let by_address = spec["type"] == "ClusterIP" && !none(&spec["externalIPs"]);
    needs_node_ports(spec) || by_address
}

fn node_ports(spec: &Value) -> Vec<u64> {
    let ports = spec["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| port["nodePort"].as_u64()).filter(|port| *port > 0).collect()
}

fn none(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_what_was_allocated_and_drops_what_its_type_lacks() {
        let balancer = json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "allocateLoadBalancerNodePorts": true,
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}],
        });
        let kept =
            ["clusterIP", "clusterIPs", "externalTrafficPolicy", "healthCheckNodePort", "nodePort"];
        let cases = [
            (json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), &kept[..]),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}),
                &["clusterIP", "clusterIPs", "externalTrafficPolicy", "nodePort"],
            ),
            (json!({"type": "NodePort"}), &["clusterIP", "clusterIPs", "nodePort"]),
            (json!({"type": "ClusterIP"}), &["clusterIP", "clusterIPs"]),
            (json!({"type": "ExternalName"}), &[]),
        ];
        for (mut new, expected) in cases {
            new["ports"] = json!([{"name": "a", "port": 80}]);
            let mut new = json!({"spec": new});
            carry_over(&mut new, &json!({"spec": balancer}));
            let spec = &new["spec"];
            let has = |name: &&str| !spec[*name].is_null() || !spec["ports"][0][*name].is_null();
            let found: Vec<&str> = kept.iter().copied().filter(|name| has(name)).collect();
            assert_eq!(found, expected, "{new}");
        }
        // All as it was but for the type: what the type lacks goes.
        let mut new = json!({"spec": balancer.clone()});
        new["spec"]["type"] = json!("ClusterIP");
        carry_over(&mut new, &json!({"spec": balancer}));
        let expected = json!({
            "type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "a", "port": 80}],
        });
        assert_eq!(new["spec"], expected);
    }

    #[test]
    fn the_list_of_addresses_follows_the_first() {
        let old = json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"]});
        let cases = [
            (json!({}), json!(["10.96.0.9", "fd00::9"])),
            (json!({"clusterIP": "10.96.0.9"}), json!(["10.96.0.9", "fd00::9"])),
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": old["clusterIPs"]}),
                json!(["10.96.0.7"]),
            ),
            (json!({"clusterIP": "None"}), json!(null)),
        ];
        for (new, expected) in cases {
            let mut new = json!({"spec": new});
            carry_over(&mut new, &json!({"spec": old}));
            assert_eq!(new["spec"]["clusterIPs"], expected, "{new}");
        }
    }
}
