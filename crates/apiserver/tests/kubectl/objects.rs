//! Objects of all kinds: create, apply, change, select, delete.
use crate::{Cluster, rows};

const CONFIG: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: colors, labels: {app: paint}}
data: {sky: blue, grass: green}
";

#[test]
fn a_new_cluster_has_the_namespaces_every_cluster_has() {
    let cluster = Cluster::start();
    let listed = cluster.kubectl("get namespaces --no-headers");
    let names: Vec<_> =
        rows(&listed).iter().map(|r| r.rsplit_once(' ').unwrap().0.to_owned()).collect();
    let expected =
        ["default Active", "kube-node-lease Active", "kube-public Active", "kube-system Active"];
    assert_eq!(names, expected);
    assert_eq!(cluster.kubectl("get sa -o name"), "serviceaccount/default\n");
    assert_eq!(cluster.kubectl("get cm -o name"), "configmap/kube-root-ca.crt\n");
    assert_eq!(cluster.kubectl("get --raw /healthz"), "ok");
    assert_eq!(cluster.kubectl("auth can-i create pods").trim(), "yes");
    assert!(cluster.kubectl("auth whoami").contains("kubernetes-admin"));
    assert!(cluster.kubectl("version").contains("Server Version: v1.33"));
    assert!(cluster.kubectl("api-resources").contains("networkpolicies"));
}

#[test]
fn apply_creates_changes_and_leaves_alone() {
    let cluster = Cluster::start();
    let apply = |yaml: &str| cluster.kubectl_with("apply -f -", yaml);
    assert_eq!(apply(CONFIG), "configmap/colors created\n");
    assert_eq!(apply(CONFIG), "configmap/colors unchanged\n");
    assert_eq!(apply(&CONFIG.replace(", grass: green", "")), "configmap/colors configured\n");
    assert_eq!(cluster.kubectl("get cm colors -o 'jsonpath={.data}'"), r#"{"sky":"blue"}"#);
    assert_eq!(cluster.kubectl("get cm -l app=paint -o name"), "configmap/colors\n");
    assert_eq!(cluster.kubectl("get cm -l app!=paint -o name"), "configmap/kube-root-ca.crt\n");
    let by_name = "get cm --field-selector metadata.name=colors -o name";
    assert_eq!(cluster.kubectl(by_name), "configmap/colors\n");
    cluster.kubectl("label cm colors season=spring app-");
    cluster.kubectl("annotate cm colors note=hello");
    let labels = cluster.kubectl("get cm colors -o 'jsonpath={.metadata.labels}'");
    assert_eq!(labels, r#"{"season":"spring"}"#);
    cluster.kubectl(r#"patch cm colors --type merge -p '{"data":{"sea":"grey"}}'"#);
    cluster.kubectl(r#"patch cm colors --type json -p '[{"op":"remove","path":"/data/sky"}]'"#);
    assert_eq!(cluster.kubectl("get cm colors -o 'jsonpath={.data}'"), r#"{"sea":"grey"}"#);
    assert!(cluster.kubectl("describe cm colors").contains("note: hello"));
    // Newer ones say from which namespace, too.
    assert!(cluster.kubectl("delete cm colors").starts_with("configmap \"colors\" deleted"));
    let error = cluster.refused("get cm colors", "");
    assert_eq!(error, "Error from server (NotFound): configmaps \"colors\" not found\n");
}

#[test]
fn wrong_objects_are_refused_in_the_words_of_kubernetes() {
    let cluster = Cluster::start();
    let cases = [
        (
            CONFIG.replace("name: colors", "name: Colors"),
            "metadata.name: Invalid value: \"Colors\": a lowercase RFC 1123 subdomain",
        ),
        (CONFIG.replace("data:", "dta:"), "unknown field \"dta\""),
        (CONFIG.replace("blue", "7"), "cannot unmarshal number into field data.sky of type string"),
        (
            CONFIG.replace("{name:", "{namespace: nowhere, name:"),
            "namespaces \"nowhere\" not found",
        ),
    ];
    for (yaml, expected) in cases {
        let error = cluster.refused("create -f -", &yaml);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_namespace_takes_what_is_in_it_along() {
    let cluster = Cluster::start();
    cluster.kubectl("create namespace shop");
    cluster.kubectl("create cm list -n shop --from-literal=a=b");
    cluster.kubectl("delete namespace shop --timeout=20s");
    assert!(cluster.refused("get cm list -n shop", "").contains("not found"));
    cluster.kubectl("create namespace shop");
    assert!(cluster.refused("get cm list -n shop", "").contains("not found"));
}

#[test]
fn other_kinds_are_listed_as_kubectl_users_know_them() {
    let cluster = Cluster::start();
    cluster.kubectl("create service clusterip web --tcp=80:8080");
    cluster.kubectl("create secret generic key --from-literal=a=b");
    cluster.kubectl("create serviceaccount robot");
    let services = rows(&cluster.kubectl("get svc -o wide"));
    assert_eq!(services[0], "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR");
    assert!(services[1].starts_with("web ClusterIP <none> <none> 80/TCP"), "{}", services[1]);
    assert!(cluster.kubectl("get secrets").contains("Opaque"));
    assert!(!cluster.kubectl("create token robot").is_empty());
    for kind in ["netpol", "ing", "ep", "endpointslices", "leases", "events", "nodes", "all"] {
        cluster.kubectl(&format!("get {kind} -A"));
    }
}
