//! Seaway as a cluster gets it: nodes without anything, one manifest, and what is left when it goes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::images::ours;
use crate::lab::{Lab, SEAWAY, difference, eventually, success, test, text, within};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("one_manifest_brings_the_network_with_its_own_rights_and_takes_it_away", installed),
        test("an_agent_goes_to_another_api_server_when_its_own_falls_silent", fails_over),
    ]
}

/// Where nodes of a lab have what others have elsewhere.
const PLACES: [&str; 3] =
    ["stateDir=/run/seaway/state", "cniConfDir=/run/cni/net.d", "cniBinDir=/run/cni/bin"];

/// Has nobody give nodes pod CIDRs, and nobody make a Service of DNS.
pub(crate) const LACKS: [&str; 2] = ["--no-controller", "cidrAllocator,cluster-dns"];

/// A lab of so many nodes that have nothing but a kubelet, and the image.
pub(crate) fn bare(nodes: &str) -> Lab {
    bare_with(nodes, &[], &[])
}

/// The same, with these flags, and these variables for its parts.
pub(crate) fn bare_with(nodes: &str, flags: &[&str], variables: &[(&str, &str)]) -> Lab {
    let lab = Lab::up_with_env(&[&["--nodes", nodes, "--no-agent"], flags].concat(), variables);
    let load = lab.seaway(&["lab", "load"]).arg(ours("seaway")).output();
    success(&load.expect("start lab load")).expect("load the image");
    lab
}

/// What `seaway install` prints with these settings.
pub(crate) fn manifest(lab: &Lab, flags: &[&str], settings: &[&str]) -> String {
    let mut command = Command::new(SEAWAY);
    command.arg("install").args(flags);
    for setting in PLACES.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    let printed = command.output().expect("start seaway install");
    assert!(printed.status.success(), "{}", lab.told(&printed));
    let path = lab.dir().join("install.yaml");
    std::fs::write(&path, printed.stdout).expect("write the manifest");
    path.display().to_string()
}

pub(crate) fn kubectl(lab: &Lab, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    success(&lab.kubectl(&words)).unwrap_or_else(|why| panic!("{words:?}: {why}\n{}", lab.logs()))
}

/// The same with the oldest kubectl that is supported.
fn oldest_kubectl(lab: &Lab, words: &str) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients");
    let mut command = Command::new(clients.join("kubectl-oldest/kubectl"));
    command.arg("--kubeconfig").arg(lab.dir().join("kubeconfig")).args(words.split_whitespace());
    let said = command.env("HOME", lab.dir()).output().expect("start the oldest kubectl");
    assert!(said.status.success(), "{words}: {}", lab.told(&said));
}

/// What agents have said on all nodes.
pub(crate) fn agents_say(lab: &Lab) -> String {
    kubectl(
        lab,
        "-n kube-system logs -l app.kubernetes.io/component=agent --all-containers --tail=-1",
    )
}

/// What Seaway may have on a node: in the kernel, and as files.
const LEFT: &str = "nft list ruleset | grep seaway; ip -o link | grep -E 'seaway0|sw-vxlan|: sw[0-9a-f]{12}'; \
                    ip rule | grep 837; ip route show table all | grep 'proto 83'; \
                    ls -A /run/seaway /run/cni/net.d /run/cni/bin 2>/dev/null | grep -v :; true";

fn installed() {
    let lab = bare_with("2", &LACKS, &[]);
    let before = written(&lab);
    let path = manifest(&lab, &[], &["apiServer=/run/kubeconfig", "acknowledgeDrains=true"]);
    oldest_kubectl(&lab, &format!("apply -f {path}"));
    kubectl(&lab, &format!("apply --server-side --validate=strict --force-conflicts -f {path}"));
    kubectl(&lab, "-n kube-system rollout status daemonset/seaway --timeout=90s");
    kubectl(&lab, "wait --for=condition=Ready nodes --all --timeout=60s");
    lab.apply(&manifests::pair());
    kubectl(&lab, "wait --for=condition=Ready pod --all --timeout=60s");
    lab.check();
    let endpoints = "-n kube-system get endpointslices -l endpointslice.kubernetes.io/managed-by=seaway \
                     -o jsonpath={.items[*].endpoints[*].addresses[0]}";
    eventually("nodes stand in for each other's DNS", || {
        let told = kubectl(&lab, endpoints);
        if told.split(' ').count() == 4 { Ok(()) } else { Err(told) }
    });
    let found = text(&lab.node("node-1", &["seaway", "dump", "found"]));
    assert!(found.contains("as the kubelet's /run/kubeconfig says"), "{found}");
    bundled(&lab);
    kubectl(&lab, "-n kube-system rollout restart daemonset/seaway");
    kubectl(&lab, "-n kube-system rollout status daemonset/seaway --timeout=90s");
    lab.check();
    let said = agents_say(&lab);
    let taken_over = said.matches("took over from the agent that ran here").count();
    assert_eq!(taken_over, 2, "{said}");
    // A time may have these digits, too.
    let refused = said.lines().find(|line| line.contains(" 403") || line.contains("orbidden"));
    assert_eq!(refused, None, "{said}");
    // A daemon that is gone is no network that is gone.
    kubectl(&lab, "-n kube-system delete daemonset seaway --timeout=60s");
    let server = lab.pod_field("server", "{.status.podIP}");
    success(&lab.exec("client", &["ping", "-c1", "-W2", &server])).expect("pods still talk");
    kubectl(&lab, "delete pod --all --timeout=60s");
    // One node after the other: until the last one, what is there for all stays.
    let leases = "-n kube-system get leases,services -o name";
    for (node, has) in [("node-2", true), ("node-1", false)] {
        let selector = format!("kubernetes.io/hostname={node}");
        let path = manifest(&lab, &["--cleanup", "--node-selector", &selector], &[]);
        kubectl(&lab, &format!("apply -f {path}"));
        kubectl(&lab, "-n kube-system rollout status daemonset/seaway-cleanup --timeout=60s");
        let left = kubectl(&lab, leases);
        assert_eq!(left.contains("lease.coordination.k8s.io/seaway-node-1"), has, "{left}");
        assert_eq!(left.contains("service/kube-dns"), has, "{left}");
        assert!(!left.contains("seaway-node-2"), "{left}");
        kubectl(&lab, &format!("delete -f {path} --timeout=60s"));
    }
    for node in ["node-1", "node-2"] {
        let left = text(&lab.node(node, &["sh", "-c", LEFT]));
        assert_eq!(left, "", "on {node}");
    }
    nothing_written(&lab, &before);
}

/// What the API has that agents may write, line by line: kinds of conditions, Leases, Services and their slices.
fn written(lab: &Lab) -> String {
    let words = "get nodes -o jsonpath={range.items[*]}{.metadata.name}:{.status.conditions[*].type}{\"\\n\"}{end}";
    let nodes = kubectl(lab, words);
    let objects = kubectl(lab, "get leases,services,endpointslices -A -o name");
    format!("{nodes}\n{objects}")
}

/// The API is as it was before Seaway came.
fn nothing_written(lab: &Lab, before: &str) {
    eventually("slices have gone with their Service", || {
        let now = written(lab);
        if now == before { Ok(()) } else { Err(difference(before, &now)) }
    });
    let path = manifest(lab, &[], &[]);
    kubectl(lab, &format!("delete -f {path} --ignore-not-found --timeout=60s"));
    let all = "-n kube-system get all,configmaps,serviceaccounts,roles,rolebindings -o name";
    let wide = "get clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings -o name";
    let all = [kubectl(lab, all), kubectl(lab, wide)].concat();
    // `seaway:node` is the lab's.
    let is_ours = |object: &&str| object.ends_with("/seaway") || object.contains("/seaway-");
    let left: Vec<&str> = all.lines().filter(is_ours).collect();
    assert_eq!(left, [""; 0]);
}

/// Whoever reaches the API server gathers what all nodes hold, and what they have said.
fn bundled(lab: &Lab) {
    let file = lab.dir().join("bundle.tar.gz");
    let mut command = Command::new(SEAWAY);
    command.args(["bundle", "--cluster", "--file"]).arg(&file);
    let made = command.env("KUBECONFIG", lab.dir().join("kubeconfig")).output();
    success(&made.expect("start seaway bundle")).expect("gather a bundle");
    let tar = Command::new("tar").args(["--list", "--gzip", "--file"]).arg(&file).output();
    let names = success(&tar.expect("start tar")).expect("tar reads it");
    for end in [
        "/objects/daemonsets.json",
        "/node-1/agent.log",
        "/node-1/agent/plan.txt",
        "/node-2/agent/metrics.txt",
        "/node-2/kernel/links.txt",
        "/node-2/check.json",
    ] {
        assert!(names.lines().any(|name| name.ends_with(end)), "{end} is in {names}");
    }
}

/// An address that leads to the API server by way of the router.
const DETOUR: &str = "198.51.100.77";

fn fails_over() {
    let lab = bare("1");
    let router = |script: &str| {
        let mut command = lab.seaway(&["lab", "router"]);
        let said =
            command.args(["--", "sh", "-c", script]).output().expect("start seaway lab router");
        assert!(said.status.success(), "{script}: {}", lab.told(&said));
    };
    router(&format!(
        "nft 'table ip detour {{ chain to {{ type nat hook prerouting priority -100; ip daddr {DETOUR} dnat to 10.80.0.2; }}; \
         chain cut {{ type filter hook forward priority 0; }}; }}'"
    ));
    let setting = format!("apiServer=https://198.51.100.78:6443,https://{DETOUR}:6443");
    let path = manifest(&lab, &[], &[&setting, "cniBinDir=/run/cni/bin"]);
    kubectl(&lab, &format!("apply -f {path}"));
    kubectl(&lab, "wait --for=condition=Ready nodes --all --timeout=90s");
    let present = || text(&lab.node("node-1", &["seaway", "dump", "found"]));
    let found = present();
    assert!(found.contains(&format!("https://{DETOUR}:6443, as --api-server says")), "{found}");
    eventually("the cluster's own word is kept", || {
        let kept = lab.node("node-1", &["cat", "/run/seaway/state/api-servers"]);
        match text(&kept).contains("https://10.80.0.2:6443") {
            true => Ok(()),
            false => Err(lab.told(&kept)),
        }
    });
    router(&format!(
        "nft flush chain ip detour to; nft add rule ip detour cut ct original ip daddr {DETOUR} reject with tcp reset"
    ));
    within(Duration::from_secs(60), "the other address is used", || {
        let found = present();
        match found.contains("https://10.80.0.2:6443, an endpoint of default/kubernetes") {
            true => Ok(()),
            false => Err(found),
        }
    });
    lab.apply(&manifests::pair().replace("node-2", "node-1"));
    kubectl(&lab, "wait --for=condition=Ready pod --all --timeout=60s");
}
