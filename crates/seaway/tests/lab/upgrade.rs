//! The agents of a cluster are replaced, as a DaemonSet replaces its pods, and put back, under traffic that notices.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use kernel::netns::Netns;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::dns_restarts::Perf;
use crate::images::ours;
use crate::install::{agents_say, bare, kubectl, manifest};
use crate::lab::{Lab, eventually, success, test};
use crate::manifests;
use crate::service_stories::load::{Load, Style};
use crate::service_stories::streams::Streams;
use crate::service_stories::{cluster_ip, netns, service};
use crate::services::stage;
use crate::status;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test(
        "ch2_ru6_a_rolling_update_and_its_undoing_break_no_flow_lose_no_query_and_open_nothing",
        updated_and_undone,
    )]
}

/// The release that is tested.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

const SETTING: &str = "apiServer=/run/kubeconfig";
/// The image of the next minor release.
const NEXT: &str = "localhost/seaway/seaway:next";
/// Makes an archive (as `docker save` does) of the image in `$1`, in which every `$3` is a `$4` of the same length, as
/// `$5`: a release that differs from this one in its number.
const RENUMBER: &str = r#"
set -e
mkdir -p "$2/oci" "$2/root"
tar -xf "$1" -C "$2/oci"
tar -xzf "$(ls -S "$2"/oci/blobs/sha256/* | head -n1)" -C "$2/root"
LC_ALL=C sed -i "s/$(echo "$3" | sed 's/[.]/[.]/g')/$4/g" "$2/root/usr/bin/seaway"
tar -cf "$2/layer.tar" -C "$2/root" --owner=0 --group=0 .
sum=$(sha256sum "$2/layer.tar" | cut -d' ' -f1)
cat > "$2/config.json" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux",
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]},
 "config": {"Entrypoint": ["/usr/bin/seaway"], "Cmd": ["agent"], "Env": ["PATH=/usr/bin"]}}
END
echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$5\"], \"Layers\": [\"layer.tar\"]}]" > "$2/manifest.json"
tar -cf "$2/next.tar" -C "$2" manifest.json config.json layer.tar
"#;

/// A pod that nobody may reach.
const CLOSED: &str = "closed-1";
const POLICY: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: closed}}, policyTypes: [Ingress]}
";
/// How long a connection to it may take, if there is one.
const KNOCK: Duration = Duration::from_millis(200);

/// How long open flows rest between two rounds of questions.
const REST: Duration = Duration::from_millis(500);

/// client-1 (node-1), client outside ── web-1, web-2 by their Service, direct-1 by its address, closed-1 never (node-2).
fn updated_and_undone() {
    let lab = up();
    let web = cluster_ip(&lab, "web", 80);
    let lines = cluster_ip(&lab, "web", 90);
    let node_port = |name: &str| {
        let path = format!("{{.spec.ports[?(@.name==\"{name}\")].nodePort}}");
        let port = kubectl(&lab, &format!("get service web -o jsonpath={path}"));
        format!("10.80.1.12:{port}").parse().expect("an address and a port")
    };
    let direct = lab.pod_field("direct-1", "{.status.podIP}");
    let direct = format!("{direct}:9090").parse().expect("an address");
    let (pod, outside) = (netns(&lab, "client-1"), netns(&lab, "client"));
    let mut flows = [
        Streams::open(&pod, lines, 500, 40),
        Streams::open(&pod, direct, 400, 40),
        Streams::open(&outside, node_port("tcp-90"), 100, 0),
    ];
    let loads = [
        Load::start(&pod, web, Style::Anew, 1),
        Load::start(&outside, node_port("tcp-80"), Style::Anew, 1),
    ];
    let perfs = ["udp", "tcp"].map(|mode| Perf::start(&lab, 1, mode));
    let knocks = Knocks::start(pod.clone(), &lab.pod_field(CLOSED, "{.status.podIP}"));
    let first = image(&lab);
    let update = manifest(&lab, &[], &[SETTING, &format!("image={NEXT}"), "logFormat=json"]);
    for (words, wanted, release) in [
        (format!("apply -f {update}"), NEXT, next_release()),
        (
            "-n kube-system rollout undo daemonset/seaway".to_owned(),
            first.as_str(),
            RELEASE.to_owned(),
        ),
    ] {
        std::thread::scope(|scope| {
            let rolls = scope.spawn(|| roll(&lab, &words));
            while !rolls.is_finished() {
                flows.iter_mut().for_each(|flows| flows.all_answer(&words));
                std::thread::sleep(REST);
            }
            ScopedJoinHandle::join(rolls).expect("agents are replaced");
        });
        assert_eq!(image(&lab), wanted, "after {words}");
        assert_eq!(releases(&lab), [release.as_str(), release.as_str()], "after {words}");
    }
    flows.iter_mut().for_each(|flows| flows.all_answer("afterwards"));
    knocks.end();
    for (load, who) in loads.into_iter().zip(["a pod, by the Service", "outside, by a node port"]) {
        let tally = load.end_whole(who);
        assert!(tally.answered() > 100, "{who}: {tally:?}");
    }
    for perf in perfs {
        let (who, tally) = (perf.who.clone(), perf.end(&lab));
        assert!(tally.sent > 1000 && tally.lost == 0, "{who}: {tally:?}\n{}", lab.logs());
    }
}

/// Two nodes, whose agents are pods of the DaemonSet, and who asks and answers.
fn up() -> Lab {
    let lab = bare("2");
    load_next(&lab);
    kubectl(&lab, &format!("apply -f {}", manifest(&lab, &[], &[SETTING])));
    kubectl(&lab, "-n kube-system rollout status daemonset/seaway --timeout=90s");
    kubectl(&lab, "wait --for=condition=Ready nodes --all --timeout=60s");
    let servers = ["web-1", "web-2", "direct-1", CLOSED].map(|name| stage::pod(name, "node-2", ""));
    let client = manifests::pod("client-1", "node-1", "seaway/shell");
    let policy = POLICY.to_owned();
    lab.apply(&[policy, client, servers.concat(), service("web", "NodePort")].concat());
    kubectl(&lab, "wait --for=condition=Ready pod --all --timeout=60s");
    let web = format!("http://{}/", cluster_ip(&lab, "web", 80));
    eventually("the Service answers", || success(&lab.exec("client-1", &["curl", "-sf", &web])));
    lab
}

/// Loads the image of the next release.
fn load_next(lab: &Lab) {
    let folder = lab.dir().join("next");
    let mut renumber = Command::new("sh");
    renumber.args(["-c", RENUMBER, "sh"]).arg(ours("seaway")).arg(&folder);
    renumber.args([RELEASE, &next_release(), NEXT]);
    success(&renumber.output().expect("start sh")).expect("make the image of another release");
    let load = lab.seaway(&["lab", "load"]).arg(folder.join("next.tar")).output();
    success(&load.expect("start lab load")).expect("load it");
    std::fs::remove_dir_all(&folder).expect("remove what it was made of");
}

/// The number of the next minor release, as long as that of this one.
fn next_release() -> String {
    let [major, minor, patch] = RELEASE.split('.').collect::<Vec<_>>()[..] else {
        panic!("{RELEASE} has three numbers")
    };
    let minor: u32 = minor.parse().expect("a number");
    let next = if minor.to_string().len() == (minor + 1).to_string().len() {
        minor + 1
    } else {
        minor - 1
    };
    format!("{major}.{next}.{patch}")
}

/// Changes the DaemonSet and waits until both nodes have followed, each by taking over.
fn roll(lab: &Lab, change: &str) {
    kubectl(lab, change);
    kubectl(lab, "-n kube-system rollout status daemonset/seaway --timeout=120s");
    let said = agents_say(lab);
    assert_eq!(said.matches("took over from the agent that ran here").count(), 2, "{said}");
}

/// Somebody who tries again and again to reach what policies close.
struct Knocks {
    ends: Arc<AtomicBool>,
    /// How often there was a connection, and how often not.
    counts: JoinHandle<(u64, u64)>,
}

impl Knocks {
    fn start(netns: Netns, closed: &str) -> Knocks {
        let closed: SocketAddr = format!("{closed}:8080").parse().expect("an address");
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let knock = move || {
            let mut counts = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&closed, KNOCK) {
                    Ok(_) => counts.0 += 1,
                    Err(_) => counts.1 += 1,
                }
            }
            counts
        };
        let counts = std::thread::spawn(move || netns.run(knock).expect("enter the pod"));
        Knocks { ends, counts }
    }

    /// Nobody was let in.
    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        let (came_through, stayed_out) = self.counts.join().expect("it ends");
        assert!(
            came_through == 0 && stayed_out > 10,
            "{came_through} came through, {stayed_out} not"
        );
    }
}

/// What the nodes say of which release they are.
fn releases(lab: &Lab) -> Vec<String> {
    let said = success(&status::seaway(lab, &["status", "-o", "json"])).expect("a green status");
    let said: Value = serde_json::from_str(&said).expect("it is JSON");
    let nodes = said["nodes"].as_array().expect("nodes");
    nodes.iter().map(|node| node["version"].as_str().unwrap_or("none").to_owned()).collect()
}

/// The image of all agents.
fn image(lab: &Lab) -> String {
    let path = "{.items[*].spec.containers[0].image}";
    let label = "app.kubernetes.io/component=agent";
    let images = kubectl(lab, &format!("-n kube-system get pods -l {label} -o jsonpath={path}"));
    let images: std::collections::BTreeSet<&str> = images.split_whitespace().collect();
    images.into_iter().collect::<Vec<_>>().join(" and ")
}
