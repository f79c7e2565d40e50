//! kubectl, as people type it, against the lab's API server.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("kubectl_sees_pods_running_with_addresses", pods_run),
        test("kubectl_applies_describes_and_deletes", apply_and_delete),
        test("a_bad_object_is_rejected_alone_with_its_line", bad_object),
        test("an_unknown_image_is_a_clear_condition", unknown_image),
        test("pods_are_spread_over_nodes", spread),
    ]
}

fn pods_run() {
    let lab = Lab::up(&["--nodes", "3", "-f", hello().as_str()]);
    let pods = success(&lab.kubectl(&["get", "pods", "-A", "-o", "wide", "--no-headers"]));
    let pods = pods.expect("kubectl get pods");
    assert!(pods.lines().count() >= 4, "{pods}");
    for line in pods.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3], "Running", "{line}");
        let ip = line.split_whitespace().find_map(|w| w.parse::<std::net::IpAddr>().ok());
        assert!(ip.is_some(), "no address: {line}");
    }
    let nodes = success(&lab.kubectl(&["get", "nodes", "-o", "wide"])).expect("kubectl get nodes");
    assert_eq!(nodes.lines().filter(|l| l.contains(" Ready ")).count(), 3, "{nodes}");
    lab.check();
}

fn apply_and_delete() {
    let lab = Lab::up(&["--nodes", "1"]);
    let file =
        manifests::write(&lab.dir().join("files"), &manifests::pod("web", "", "seaway/echo"));
    let created = success(&lab.kubectl(&["apply", "-f", &file])).expect("kubectl apply");
    assert!(created.contains("pod/web created"), "{created}");
    let wait = ["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"];
    success(&lab.kubectl(&wait)).expect("kubectl wait");
    let again = success(&lab.kubectl(&["apply", "-f", &file])).expect("kubectl apply again");
    assert!(again.contains("pod/web unchanged"), "{again}");
    let described = success(&lab.kubectl(&["describe", "pod", "web"])).expect("kubectl describe");
    for word in ["Node:", "node-1", "IP:", "Scheduled", "Started", "seaway/echo"] {
        assert!(described.contains(word), "no {word:?} in:\n{described}");
    }
    success(&lab.kubectl(&["label", "pod", "web", "tier=front"])).expect("kubectl label");
    let labeled = success(&lab.kubectl(&["get", "pods", "-l", "tier=front", "-o", "name"]));
    assert_eq!(labeled.as_deref(), Ok("pod/web"));
    success(&lab.kubectl(&["delete", "-f", &file, "--timeout=30s"])).expect("kubectl delete");
    assert_eq!(text(&lab.kubectl(&["get", "pods", "-o", "name"])), "");
    let links = text(&lab.node("node-1", &["ip", "-o", "link", "show", "type", "veth"]));
    assert!(!links.contains(": sw"), "the pod's link is still there: {links}");
}

/// Three documents, the middle one wrong: the others are there, the message names file and line.
fn bad_object() {
    let lab = Lab::up(&["--nodes", "1"]);
    let good = |name: &str| manifests::pod(name, "", "seaway/shell");
    let yaml = format!(
        "{}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: broken\nspec:\n  containers:\n  - image: x\n{}",
        good("one"),
        good("two")
    );
    let file = manifests::write(&lab.dir().join("files"), &yaml);
    let output = lab.seaway(&["lab", "apply"]).args(["-f", &file]).output().expect("start apply");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &text(&output);
    assert!(!output.status.success(), "{said}");
    let line = yaml.lines().position(|l| l.contains("image: x")).expect("it is there") + 1;
    for part in [&format!("manifest.yaml:{line}"), "document 2", "Pod broken", "containers[0].name"]
    {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    for pod in ["one", "two"] {
        eventually("the good pods run", || match lab.pod_field(pod, "{.status.phase}").as_str() {
            "Running" => Ok(()),
            other => Err(other.to_owned()),
        });
    }
}

fn unknown_image() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&manifests::pod("stranger", "", "nginx:1.27"));
    let waiting = "{.status.containerStatuses[0].state.waiting}";
    let why = eventually("the reason is shown", || {
        let why = lab.pod_field("stranger", waiting);
        if why.contains("Image") { Ok(why) } else { Err(why) }
    });
    assert!(why.contains("nginx:1.27") && why.contains("seaway/echo"), "{why}");
}

fn spread() {
    let lab = Lab::up(&["--nodes", "3"]);
    lab.apply(&manifests::echoes(6));
    eventually("six pods on three nodes, two each", || {
        let path = "jsonpath={.items[*].spec.nodeName}";
        let nodes = text(&lab.kubectl(&["get", "pods", "-o", path]));
        let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
        nodes.sort_unstable();
        let want = ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"];
        if nodes == want { Ok(()) } else { Err(nodes.join(" ")) }
    });
}

fn hello() -> String {
    format!("{}/../../examples/hello.yaml", env!("CARGO_MANIFEST_DIR"))
}
