//! What clients reach below an object: its scale, its eviction, its ephemeral containers.
use crate::{Cluster, rows};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: Exists}]}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec: {containers: [{name: main, image: 'seaway/echo:1'}]}
";

#[test]
fn a_deployment_is_scaled_by_its_subresource() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", DEPLOYMENT);
    let raw = "get --raw /apis/apps/v1/namespaces/default/deployments/web/scale";
    let scale: serde_json::Value = serde_json::from_str(&cluster.kubectl(raw)).unwrap();
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["status"]["selector"], "app=web,tier");
    cluster.kubectl("scale deployment web --replicas=5");
    assert_eq!(cluster.kubectl("get deployment web -o 'jsonpath={.spec.replicas}'"), "5");
    assert_eq!(cluster.kubectl("get deployment web -o 'jsonpath={.metadata.generation}'"), "2");
    let error = cluster.refused("scale deployment web --replicas=1 --current-replicas=2", "");
    assert!(error.contains("Expected replicas to be 2, was 5"), "{error}");
    let patch =
        r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":3}}'"#;
    cluster.kubectl(patch);
    let shown = rows(&cluster.kubectl("get deployment web --subresource=scale"));
    assert_eq!(shown[0], "NAME DESIRED AVAILABLE AGE");
    assert!(shown[1].starts_with("web 3 0 "), "{}", shown[1]);
    let error = cluster.refused(&patch.replace(":3", ":-1"), "");
    let expected = "The Scale \"web\" is invalid: spec.replicas: Invalid value: -1";
    assert!(error.contains(expected), "{error}");
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: main, image: 'seaway/echo:1'}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
";

const EVICTION: &str = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web","namespace":"default"}}"#;

#[test]
fn an_eviction_asks_the_disruption_budget() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", POD);
    let running =
        r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster.kubectl(&format!("patch pod web --subresource=status --type=merge -p '{running}'"));
    let path = "create --raw /api/v1/namespaces/default/pods/web/eviction -f -";
    let budget = |allowed: u8, healthy: u8| {
        let status = format!(
            r#"{{"status":{{"observedGeneration":1,"disruptionsAllowed":{allowed},"desiredHealthy":1,"currentHealthy":{healthy},"expectedPods":1}}}}"#
        );
        cluster.kubectl(&format!("patch pdb web --subresource=status --type=merge -p '{status}'"));
    };
    let denied = "Cannot evict pod as it would violate the pod's disruption budget.";
    let error = cluster.refused(path, EVICTION);
    assert!(error.contains(denied), "its controller has not looked yet: {error}");
    budget(0, 1);
    let error = cluster.refused(path, EVICTION);
    assert!(error.contains(denied), "{error}");
    budget(1, 2);
    cluster.kubectl_with(&path.replace("eviction", "eviction?dryRun=All"), EVICTION);
    assert_eq!(cluster.kubectl("get pdb web -o 'jsonpath={.status.disruptionsAllowed}'"), "1");
    cluster.kubectl_with(path, EVICTION);
    let left = cluster
        .kubectl("get pdb web -o 'jsonpath={.status.disruptionsAllowed} {.status.disruptedPods}'");
    assert!(left.starts_with("0 {\"web\":"), "{left}");
    let why = "get pod web -o 'jsonpath={.metadata.deletionTimestamp} {.status.conditions[?(@.type==\"DisruptionTarget\")].reason}'";
    let why = cluster.kubectl(why);
    assert!(why.starts_with("20") && why.ends_with("EvictionByEvictionAPI"), "{why}");
}

#[test]
fn a_running_pod_gets_containers_for_debugging() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", POD);
    cluster.kubectl("debug web --image=seaway/shell --container=look -- true");
    let shown = cluster.kubectl("get pod web -o 'jsonpath={.spec.ephemeralContainers[*].name}'");
    assert_eq!(shown, "look");
    let change = r#"patch pod web --subresource=ephemeralcontainers -p '{"spec":{"ephemeralContainers":[{"name":"look","image":"other"}]}}'"#;
    let error = cluster.refused(change, "");
    assert!(error.contains("existing ephemeral containers \"look\" may not be changed"), "{error}");
    let main = change.replace("--subresource=ephemeralcontainers ", "");
    let error = cluster.refused(&main, "");
    assert!(error.contains("pod updates may not change fields other than"), "{error}");
}
