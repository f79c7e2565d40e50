//! The released CustomResourceDefinitions of other projects, as their Go modules hold them.
//!
//! `go mod download` fetches a module through whatever proxy this machine's Go is set to; nothing
//! of it is kept in this repository.
use std::path::{Path, PathBuf};

use super::*;

const GATEWAY: &str = "sigs.k8s.io/gateway-api@v1.7.0";
const NETWORK_POLICY: &str = "sigs.k8s.io/network-policy-api@v0.2.0";

/// The files below `folder` of a module that hold definitions and what goes with them.
fn files(module: &str, folder: &str) -> Vec<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let folder = home.join("pkg/mod").join(module).join(folder);
    std::fs::create_dir_all(&home).unwrap();
    // Go keeps what it has, and keeps tests that run beside each other apart. A module may ask for
    // a newer Go than there is; its files come all the same.
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .current_dir(&home)
        .env("GOPATH", &home)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod -modcacherw")
        .output()
        .expect("go is not installed: run `cargo xtask install`");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(folder.exists(), "go mod download {module}: {said}");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(".io_");
    let mut files: Vec<PathBuf> = entries.filter(wanted).collect();
    files.sort();
    files
}

/// A cluster with the definitions, all served.
fn with(files: &[PathBuf], how: &str) -> Cluster {
    let cluster = Cluster::start();
    let list: Vec<String> = files.iter().map(|file| format!("-f {}", file.display())).collect();
    cluster.kubectl(&format!("apply {how} {}", list.join(" ")));
    cluster.kubectl("wait --for=condition=Established --timeout=60s crd --all");
    let count = rows(&cluster.kubectl("get crd --no-headers")).len();
    let expected = files.iter().filter(|file| !file.to_str().unwrap().contains("_vap_")).count();
    assert_eq!(count, expected);
    cluster
}

/// Objects and what is said about them; those about which nothing is said are created.
fn check(cluster: &Cluster, objects: &str) {
    for case in objects.split("\n---\n") {
        let (expected, object) = case.trim().split_once('\n').unwrap();
        let expected = expected.trim_start_matches('#').trim();
        if expected == "good" {
            cluster.kubectl_with("create -f -", object);
            cluster.kubectl_with("apply --server-side --force-conflicts -f -", object);
        } else {
            let said = cluster.refused("create -f -", object);
            assert!(said.contains(expected), "{object}: {said}");
        }
    }
}

const GATEWAYS: &str = r#"# good
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: seaway}, spec: {controllerName: example.com/gw}}
---
# spec.controllerName: Invalid value: "nope": spec.controllerName in body should match
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: b}, spec: {controllerName: nope}}
---
# good
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: seaway, listeners: [{name: http, port: 80, protocol: HTTP}, {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]}}
---
# spec.listeners: Required value
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway}}
---
# tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway, listeners: [{name: http, port: 80, protocol: HTTP, tls: {mode: Terminate, certificateRefs: [{name: cert}]}}]}}
---
# spec.listeners[1]: Duplicate value: {"name":"a"}
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway, listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}]}}
---
# Combination of port, protocol and hostname must be unique for each listener
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway, listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]}}
---
# spec.listeners[0].port: Invalid value: 70000: spec.listeners[0].port in body should be less than or equal to 65535
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway, listeners: [{name: a, port: 70000, protocol: HTTP}]}}
---
# unknown field "spec.listener"
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: seaway, listener: []}}
---
# good
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, spec: {parentRefs: [{name: a}], rules: [{matches: [{path: {type: PathPrefix, value: /x}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}], backendRefs: [{name: web, port: 80}]}]}}
---
# value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {rules: [{matches: [{path: {type: PathPrefix, value: x}}]}]}}
---
# must not contain '//' when type one of ['Exact', 'PathPrefix']
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {rules: [{matches: [{path: {type: Exact, value: /a//b}}]}]}}
---
# filter.requestRedirect must be specified for RequestRedirect filter.type
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {rules: [{filters: [{type: RequestRedirect}]}]}}
---
# Must have port for Service reference
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {rules: [{backendRefs: [{name: web}]}]}}
---
# spec.rules[0].matches[0].method: Unsupported value: "FETCH": supported values:
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {rules: [{matches: [{method: FETCH}]}]}}
---
# good
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}, spec: {rules: [{matches: [{method: {service: a.B, method: C}}], backendRefs: [{name: web, port: 80}]}]}}
---
# One or both of 'service' or 'method' must be specified
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: b}, spec: {rules: [{matches: [{method: {type: Exact}}]}]}}
---
# good
{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: a}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: x}], to: [{group: "", kind: Service}]}}
---
# spec.to: Required value
{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: b}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: x}]}}"#;

const POLICIES: &str = r#"# good
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: a}, spec: {tier: Admin, priority: 10, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/8, "fd00::/8"]}]}], ingress: [{action: Accept, from: [{namespaces: {}}]}]}}
---
# spec.tier: Unsupported value: "Other": supported values: "Admin", "Baseline"
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: b}, spec: {tier: Other, priority: 1, subject: {namespaces: {}}}}
---
# spec.priority: Invalid value: 1001: spec.priority in body should be less than or equal to 1000
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: b}, spec: {tier: Admin, priority: 1001, subject: {namespaces: {}}}}
---
# Invalid CIDR
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: b}, spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/33]}]}]}}"#;

#[test]
fn the_standard_gateway_api_installs_and_judges_its_objects() {
    let cluster = with(&files(GATEWAY, "config/crd/standard"), "--server-side");
    check(&cluster, GATEWAYS);
    let explained = cluster.kubectl("explain httproute.spec.rules.matches.path");
    assert!(explained.contains("PathPrefix"), "{explained}");
    let table = rows(&cluster.kubectl("get gateways"));
    assert_eq!(table[0], "NAME CLASS ADDRESS PROGRAMMED AGE");
    let changed =
        "patch gatewayclass seaway --type=merge -p {\"spec\":{\"controllerName\":\"a.b/c\"}}";
    let said = cluster.refused(changed, "");
    assert!(
        said.contains("spec.controllerName: Invalid value: \"a.b/c\": field is immutable"),
        "{said}"
    );
}

#[test]
fn the_experimental_gateway_api_installs_and_judges_its_objects() {
    let cluster = with(&files(GATEWAY, "config/crd/experimental"), "--server-side");
    check(&cluster, GATEWAYS);
}

#[test]
fn cluster_network_policies_install_and_judge_their_objects() {
    for folder in ["config/crd/standard", "config/crd/experimental"] {
        let cluster = with(&files(NETWORK_POLICY, folder), "");
        check(&cluster, POLICIES);
    }
}

#[test]
fn a_definition_too_large_for_an_annotation_is_only_applied_on_the_server() {
    let files = files(GATEWAY, "config/crd/experimental");
    let large = files.iter().find(|file| file.to_str().unwrap().contains("httproutes")).unwrap();
    let cluster = Cluster::start();
    let said = cluster.refused(&format!("apply -f {}", large.display()), "");
    assert!(said.contains("metadata.annotations: Too long"), "{said}");
    for small in files.iter().filter(|file| file.metadata().unwrap().len() < 200_000) {
        cluster.kubectl(&format!("apply -f {}", small.display()));
    }
}
