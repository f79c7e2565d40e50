//! Pods and nodes: what a node's agent and a scheduler do to them, and what users see.
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{Cluster, rows};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: main, image: 'seaway/echo:1', ports: [{containerPort: 80}]}
  - {name: side, image: seaway/shell}
";

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status:
  addresses: [{type: InternalIP, address: 10.80.1.11}]
  conditions: [{type: Ready, status: 'True'}]
  nodeInfo: {kubeletVersion: v1.33.0, osImage: Debian, kernelVersion: '6', containerRuntimeVersion: 'x://1',
    architecture: amd64, bootID: b, machineID: m, systemUUID: s, operatingSystem: linux, kubeProxyVersion: ''}
";

const RUNNING: &str = r#"{"status":{"phase":"Running","podIP":"10.244.1.2","podIPs":[{"ip":"10.244.1.2"}],
  "hostIP":"10.80.1.11","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[
  {"name":"main","ready":true,"restartCount":2,"image":"i","imageID":"","state":{"running":{}}},
  {"name":"side","ready":true,"restartCount":0,"image":"i","imageID":"","state":{"running":{}}}]}}"#;

fn bind(cluster: &Cluster, pod: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{pod}/binding");
    let binding = format!(
        r#"{{"apiVersion":"v1","kind":"Binding","metadata":{{"name":"{pod}"}},"target":{{"kind":"Node","name":"node-1"}}}}"#
    );
    cluster.kubectl_with(&format!("create --raw {path} -f -"), &binding);
}

#[test]
fn a_pod_goes_from_pending_to_running_to_gone() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", NODE);
    assert_eq!(cluster.kubectl_with("apply -f -", POD), "pod/web created\n");
    assert!(rows(&cluster.kubectl("get pods"))[1].starts_with("web 0/2 Pending 0"));
    bind(&cluster, "web");
    cluster.kubectl(&format!("patch pod web --subresource=status --type merge -p '{RUNNING}'"));
    let wide = rows(&cluster.kubectl("get pods -o wide"));
    assert_eq!(wide[0], "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    assert!(wide[1].starts_with("web 2/2 Running 2 "), "{}", wide[1]);
    assert!(wide[1].ends_with(" 10.244.1.2 node-1 <none> <none>"), "{}", wide[1]);
    let nodes = rows(&cluster.kubectl("get nodes -o wide"));
    assert!(
        nodes[1].starts_with("node-1 Ready <none>")
            && nodes[1].contains("10.80.1.11 <none> Debian"),
        "{}",
        nodes[1]
    );
    let described = cluster.kubectl("describe node node-1");
    assert!(
        described.contains("InternalIP:  10.80.1.11") && described.contains("web"),
        "{described}"
    );
    assert!(cluster.kubectl("describe pod web").contains("Node:             node-1/10.80.1.11"));
    cluster.kubectl("wait --for=condition=Ready pod/web --timeout=10s");
    cluster.kubectl("delete pod web --wait=false");
    assert!(rows(&cluster.kubectl("get pods"))[1].contains("Terminating"));
    cluster.kubectl("delete pod web --force --grace-period=0");
    assert_eq!(cluster.kubectl("get pods -o name"), "");
}

#[test]
fn an_unscheduled_pod_goes_at_once() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", POD);
    cluster.kubectl("delete pod web --timeout=10s");
    assert_eq!(cluster.kubectl("get pods -o name"), "");
}

#[test]
fn a_pods_specification_is_what_it_runs_as() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", POD);
    assert_eq!(cluster.kubectl_with("apply -f -", POD), "pod/web unchanged\n");
    assert_eq!(
        cluster.kubectl_with("apply -f -", &POD.replace("echo:1", "echo:2")),
        "pod/web configured\n"
    );
    let error = cluster.refused("apply -f -", &POD.replace("80}", "81}"));
    assert!(
        error.contains("spec: Forbidden: pod updates may not change fields other than"),
        "{error}"
    );
    let images = cluster.kubectl("get pod web -o 'jsonpath={.spec.containers[*].image}'");
    assert_eq!(images, "seaway/echo:2 seaway/shell");
    let defaults = "get pod web -o 'jsonpath={.spec.restartPolicy} {.spec.dnsPolicy} \
        {.spec.containers[0].ports[0].protocol} {.spec.containers[*].imagePullPolicy} {.status.qosClass}'";
    assert_eq!(cluster.kubectl(defaults), "Always ClusterFirst TCP IfNotPresent Always BestEffort");
}

#[test]
fn wrong_pods_are_refused_field_by_field() {
    let cluster = Cluster::start();
    let cases = [
        ("name: side", "name: main", "spec.containers[1].name: Duplicate value: \"main\""),
        ("name: side, ", "", "spec.containers[1].name: Required value"),
        ("name: side", "name: Side_", "spec.containers[1].name: Invalid value: \"Side_\""),
        (
            "containerPort: 80",
            "containerPort: 0",
            "spec.containers[0].ports[0].containerPort: Required value",
        ),
        ("containerPort: 80", "containerPort: 70000", "must be between 1 and 65535, inclusive"),
        (
            "containerPort: 80",
            "containerPort: '80'",
            "cannot unmarshal string into field spec.containers[0].ports[0].containerPort",
        ),
        (
            "containerPort: 80",
            "containerPort: 80, protocol: HTTP",
            "Unsupported value: \"HTTP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        ("image: seaway/shell", "image: ''", "spec.containers[1].image: Required value"),
        (
            "spec:",
            "spec:\n  restartPolicy: Often",
            "spec.restartPolicy: Unsupported value: \"Often\"",
        ),
        (
            "spec:",
            "spec:\n  hostnetwork: true",
            "strict decoding error: unknown field \"spec.hostnetwork\"",
        ),
    ];
    for (from, to, expected) in cases {
        let error = cluster.refused("create -f -", &POD.replace(from, to));
        assert!(error.contains(expected), "{to}: {error}");
    }
    assert_eq!(cluster.kubectl("get pods -o name"), "");
}

#[test]
fn a_watch_prints_changes_as_they_happen() {
    let cluster = Cluster::start();
    let mut command = cluster.command("get pods -w --no-headers");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    cluster.kubectl_with("apply -f -", POD);
    cluster.kubectl("label pod web x=y");
    cluster.kubectl("delete pod web");
    let seen: Vec<String> = lines.take(3).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.iter().all(|line| line.starts_with("web")), "{seen:?}");
}
