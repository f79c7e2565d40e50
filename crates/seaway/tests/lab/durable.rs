//! A cluster outlives its lab where it has a state directory.

use std::process::Command;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("a_cluster_with_a_state_directory_outlives_its_lab", outlives)]
}

/// The lab's supervisor, and with it every process of the lab, is killed; the next `up` has the same
/// objects, and what they ask for runs.
fn outlives() {
    let mut lab = Lab::new();
    let state = lab.dir().with_extension("state");
    let flags = ["--nodes", "2", "--state-dir", &state.display().to_string()].map(str::to_owned);
    let flags = flags.each_ref().map(String::as_str);
    let up = lab.try_up(&flags);
    assert!(up.status.success(), "{}", lab.told(&up));
    let file = manifests::write(&lab.dir().with_extension("files"), &manifests::pair());
    success(&lab.kubectl(&["apply", "-f", &file])).expect("kubectl apply");
    let service = ["create", "service", "nodeport", "web", "--tcp=80"];
    success(&lab.kubectl(&service)).expect("make a Service");
    let all = ["wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s"];
    success(&lab.kubectl(&all)).expect("wait for the pods");
    let kept = |lab: &Lab| {
        let fields =
            "{.metadata.uid} {.spec.nodeName} {.spec.clusterIPs} {.spec.ports[*].nodePort}";
        ["pod/client", "pod/server", "service/web", "service/kubernetes", "node/node-1"]
            .map(|what| field(lab, what, fields))
    };
    let version = |lab: &Lab| -> u64 {
        let list = success(&lab.kubectl(&["get", "--raw", "/api/v1/pods?limit=1"]));
        let list: serde_json::Value = serde_json::from_str(&list.expect("list")).expect("JSON");
        list["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("version")
    };
    let (before, newest) = (kept(&lab), version(&lab));
    let supervisors = processes::in_role(&lab, "supervisor");
    let supervisor = supervisors.first().expect("a supervisor");
    let kill = Command::new("kill").args(["-9", &supervisor.pid.to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()), "kill {supervisor:?}");
    // Until the kernel has closed what the killed process held, the lab counts as up.
    eventually("the lab comes up again", || {
        let up = lab.try_up(&flags);
        if up.status.success() { Ok(()) } else { Err(lab.told(&up)) }
    });
    assert_eq!(kept(&lab), before);
    assert!(version(&lab) > newest);
    // Whoever asks for the address or the port that is given is refused, as before.
    let port = field(&lab, "service/web", "{.spec.ports[0].nodePort}");
    let taken = ["create", "service", "nodeport", "other", "--tcp=80", "--node-port", &port];
    let taken = lab.kubectl(&taken);
    assert!(
        lab.told(&taken).contains("provided port is already allocated"),
        "{}",
        lab.told(&taken)
    );
    eventually("the pods run again", || {
        let out = lab.exec("client", &["true"]);
        let out = if out.status.success() { lab.exec("server", &["true"]) } else { out };
        success(&out).map(drop)
    });
    lab.check();
}

/// The field of an object that `jsonpath` names, as kubectl prints it.
fn field(lab: &Lab, what: &str, jsonpath: &str) -> String {
    text(&lab.kubectl(&["get", what, "-o", &format!("jsonpath={jsonpath}")]))
}
