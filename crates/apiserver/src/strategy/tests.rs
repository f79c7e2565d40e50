//! What the server makes of objects that say little.
use super::*;
use crate::resource::Registry;

/// A new object as it would be stored, without what admission adds.
fn created(group: &str, version: &str, plural: &str, mut value: Value) -> Value {
    let registry = Registry::builtin();
    let resource = registry.get(group, version, plural).unwrap();
    schema::check(resource, &mut value).unwrap();
    identify(resource, "default", &mut value).unwrap();
    prepare_create(resource, &mut value);
    value
}

/// A kind, its `spec` (`PODS` stands for a selector and a template, `TEMPLATE` for the latter),
/// and what stands where afterwards.
const UNSET: &str = r#"
apps deployments | {PODS} | {"/spec/replicas": 1, "/spec/strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}
apps deployments | {PODS} | {"/spec/revisionHistoryLimit": 10, "/spec/progressDeadlineSeconds": 600, "/metadata/generation": 1, "/status": {}}
apps deployments | {PODS} | {"/spec/template/spec/containers/0/imagePullPolicy": "Always", "/spec/template/spec/restartPolicy": "Always", "/spec/template/spec/enableServiceLinks": null}
apps replicasets | {PODS} | {"/spec/replicas": 1, "/status": {"replicas": 0}}
apps daemonsets | {PODS} | {"/spec/updateStrategy/rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}, "/spec/revisionHistoryLimit": 10}
apps statefulsets | {PODS} | {"/spec/replicas": 1, "/spec/podManagementPolicy": "OrderedReady", "/spec/updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}
apps statefulsets | {PODS} | {"/spec/persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}
batch jobs | {TEMPLATE} | {"/spec/completions": 1, "/spec/parallelism": 1, "/spec/backoffLimit": 6, "/spec/completionMode": "NonIndexed", "/spec/suspend": false}
batch jobs | {TEMPLATE} | {"/spec/podReplacementPolicy": "TerminatingOrFailed", "/metadata/labels": {"app": "a"}, "/spec/template/metadata/labels/job-name": "x"}
batch jobs | {"parallelism": 2, TEMPLATE} | {"/spec/completions": null, "/spec/parallelism": 2}
batch cronjobs | {"schedule": "* * * * *", "jobTemplate": {"spec": {TEMPLATE}}} | {"/spec/concurrencyPolicy": "Allow", "/spec/successfulJobsHistoryLimit": 3, "/spec/failedJobsHistoryLimit": 1, "/spec/suspend": false}
batch cronjobs | {"schedule": "* * * * *", "jobTemplate": {"spec": {TEMPLATE}}} | {"/spec/jobTemplate/spec/template/spec/dnsPolicy": "ClusterFirst", "/spec/jobTemplate/spec/backoffLimit": null}
 pods | {"containers": [{"name": "a"}]} | {"/spec/enableServiceLinks": true, "/spec/terminationGracePeriodSeconds": 30, "/spec/schedulerName": "default-scheduler", "/spec/securityContext": {}}
 pods | {"containers": [{"name": "a"}]} | {"/status": {"phase": "Pending", "qosClass": "BestEffort"}}
 services | {"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.96.0.9"} | {"/spec/ports/0": {"port": 80, "protocol": "TCP", "targetPort": 80}, "/spec/clusterIPs": ["10.96.0.9"], "/status": {"loadBalancer": {}}}
 services | {"type": "LoadBalancer"} | {"/spec/externalTrafficPolicy": "Cluster", "/spec/internalTrafficPolicy": "Cluster", "/spec/allocateLoadBalancerNodePorts": true, "/spec/sessionAffinity": "None"}
 services | {"type": "ExternalName", "externalName": "a.b"} | {"/spec/internalTrafficPolicy": null, "/spec/externalTrafficPolicy": null}
 services | {"externalIPs": ["192.0.2.1"], "sessionAffinity": "ClientIP"} | {"/spec/externalTrafficPolicy": "Cluster", "/spec/sessionAffinityConfig/clientIP/timeoutSeconds": 10800}
networking.k8s.io networkpolicies | {"egress": [{"ports": [{"port": 53}]}]} | {"/spec/policyTypes": ["Ingress", "Egress"], "/spec/podSelector": {}, "/spec/egress/0/ports/0/protocol": "TCP"}
"#;

#[test]
fn unset_fields_get_the_values_kubernetes_gives_them() {
    let template = r#""template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}"#;
    let pods = format!(r#""selector": {{"matchLabels": {{"app": "a"}}}}, {template}"#);
    for line in UNSET.lines().skip(1) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let (group, plural) = parts[0].split_once(' ').unwrap();
        let spec = parts[1].replace("PODS", &pods).replace("TEMPLATE", template);
        let spec: Value = serde_json::from_str(&spec).unwrap();
        let value = created(group, "v1", plural, json!({"metadata": {"name": "x"}, "spec": spec}));
        let expected: Map<String, Value> = serde_json::from_str(parts[2]).unwrap();
        for (path, wanted) in expected {
            let found = value.pointer(&path).cloned().unwrap_or_default();
            assert_eq!(found, wanted, "{plural} {path}");
        }
        assert!(!value.to_string().contains(":null"), "{plural}: {value}");
    }
}

#[test]
fn a_job_selects_its_pods_by_its_own_identity_unless_told_otherwise() {
    let label = "batch.kubernetes.io/controller-uid";
    let value = created("batch", "v1", "jobs", json!({"metadata": {"name": "x"}, "spec": {}}));
    let uid = &value["metadata"]["uid"];
    assert_eq!(value["spec"]["selector"]["matchLabels"], json!({label: uid}));
    assert_eq!(value["spec"]["template"]["metadata"]["labels"][label], *uid);
    let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}});
    let value = created("batch", "v1", "jobs", json!({"metadata": {"name": "x"}, "spec": manual}));
    assert_eq!(value["spec"]["selector"]["matchLabels"], json!({"a": "b"}));
}

#[test]
fn a_generation_counts_what_is_wanted() {
    let registry = Registry::builtin();
    let deployments = registry.get("apps", "v1", "deployments").unwrap();
    let old = created("apps", "v1", "deployments", json!({"metadata": {"name": "x"}, "spec": {}}));
    let cases = [
        ("nothing", json!({}), Part::Main, 1),
        ("a label", json!({"/metadata/labels": {"a": "b"}}), Part::Main, 1),
        ("an annotation", json!({"/metadata/annotations": {"a": "b"}}), Part::Main, 2),
        ("the size", json!({"/spec/replicas": 3}), Part::Main, 2),
        ("the size by way of the status", json!({"/spec/replicas": 3}), Part::Status, 1),
    ];
    for (claim, changes, part, generation) in cases {
        let mut new = old.clone();
        for (path, value) in changes.as_object().unwrap() {
            let (parent, name) = path.rsplit_once('/').unwrap();
            new.pointer_mut(parent).unwrap()[name] = value.clone();
        }
        prepare_update(deployments, part, &mut new, &old);
        assert_eq!(new["metadata"]["generation"], generation, "{claim}");
    }
}
