//! What a pod shares with its node, who its containers run as, and the settings it may have.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_pod_shares_with_its_node_what_its_manifest_says", shared),
        test("containers_run_as_their_manifests_say", users),
        test("a_pods_sysctls_are_its_own_and_what_is_the_machines_is_refused", sysctls),
    ]
}

/// A pod that says which namespaces it is in and who it is, and stays.
fn pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{spec}  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: sh\n{container}    \
         command: [sh, -c, 'for n in pid ipc net uts mnt; do readlink /proc/self/ns/$n; done; \
         cat /proc/1/comm; id; exec sleep 1000']\n"
    )
}

/// What a pod of [`pod`] said.
fn said(lab: &Lab, pod: &str) -> Vec<String> {
    eventually("the pod has told who it is", || {
        let output = lab.seaway(&["lab", "logs"]).arg(pod).output().expect("start lab logs");
        let lines: Vec<String> = text(&output).lines().map(str::to_owned).collect();
        if lines.len() == 7 { Ok(lines) } else { Err(lab.told(&output)) }
    })
}

fn shared() {
    let all = "  hostPID: true\n  hostIPC: true\n  hostNetwork: true\n";
    let cases = [
        ("none", "", [false; 4]),
        ("pid", "  hostPID: true\n", [true, false, false, false]),
        ("ipc", "  hostIPC: true\n", [false, true, false, false]),
        ("network", "  hostNetwork: true\n", [false, false, true, true]),
        ("everything", all, [true; 4]),
    ];
    let lab = Lab::up(&["--nodes", "1"]);
    let manifests = cases.map(|(name, spec, _)| pod(name, spec, ""));
    lab.apply(&manifests.concat());
    let script =
        "for n in pid ipc net uts mnt; do readlink /proc/self/ns/$n; done; cat /proc/1/comm";
    let node = success(&lab.node("node-1", &["sh", "-c", script])).expect("ask the node");
    let node: Vec<&str> = node.lines().collect();
    for (name, _, wanted) in cases {
        let pod = said(&lab, name);
        let same: Vec<bool> = (0..4).map(|at| pod[at] == node[at]).collect();
        assert_eq!(same, wanted, "{name} shares pid, ipc, net, uts: {pod:?} on {node:?}");
        assert_ne!(pod[4], node[4], "{name} has its own files");
        assert_eq!(pod[5] == node[5], wanted[0], "{name} sees process 1: {pod:?} on {node:?}");
    }
}

fn users() {
    let lab = Lab::up(&["--nodes", "1"]);
    let context =
        "  securityContext: {runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [3000]}\n";
    let own = "    securityContext: {runAsUser: 1001}\n";
    let manifests = [pod("root", "", ""), pod("pods", context, ""), pod("own", context, own)];
    lab.apply(&manifests.concat());
    for (name, uid, gid, groups) in
        [("root", "0", "0", "0"), ("pods", "1000", "2000", "3000"), ("own", "1001", "2000", "3000")]
    {
        let lines = said(&lab, name);
        let id = &lines[6];
        for part in [format!("uid={uid}"), format!("gid={gid}"), groups.to_owned()] {
            assert!(id.contains(&part), "{name}: {id}");
        }
    }
}

fn sysctls() {
    let lab = Lab::up(&["--nodes", "1"]);
    let with = |name: &str, value: &str| {
        format!("  securityContext: {{sysctls: [{{name: {name}, value: '{value}'}}]}}\n")
    };
    let range = "net.ipv4.ip_local_port_range";
    let manifests = [
        pod("tuned", &with(range, "20000 30000"), ""),
        pod("greedy", &with("kernel.msgmax", "65536"), ""),
        pod("plain", "", ""),
    ];
    lab.apply(&manifests.concat());
    said(&lab, "plain");
    said(&lab, "tuned");
    let read = ["sysctl", "-n", range];
    assert_eq!(text(&lab.exec("tuned", &read)), "20000\t30000");
    let others = [lab.exec("plain", &read), lab.node("node-1", &read)];
    assert!(others.iter().all(|output| text(output) != "20000\t30000"), "{others:?}");
    eventually("the refusal names the setting", || {
        let events = text(&lab.kubectl(&["describe", "pod", "greedy"]));
        let parts = ["FailedCreatePodSandBox", "sysctl kernel.msgmax: only net.* can be set"];
        if parts.iter().all(|part| events.contains(part)) { Ok(()) } else { Err(events) }
    });
}
