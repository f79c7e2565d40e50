//! After many pods have come and gone, a node is as it was (INV-4).

use libtest_mimic::Trial;

use crate::lab::{Lab, difference, eventually, success, test, text};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("five_hundred_cycles_of_the_plugin_leave_a_node_as_it_was", || plugin("routed", 100)),
        test("a_hundred_cycles_on_a_bridge_leave_a_node_as_it_was", || plugin("bridge", 20)),
        test("fifty_pods_that_come_and_go_leave_a_node_as_it_was", pods),
    ]
}

/// Five loops of ADD and DEL side by side; each container is heard at once.
const LOOPS: &str = r#"
seaway=/run/cni/bin/seaway-cni
cycle() {
    ip netns add $1 || return 1
    export CNI_CONTAINERID=$1 CNI_NETNS=/run/netns/$1 CNI_IFNAME=eth0 CNI_PATH=/run/cni/bin
    result=$(echo "$CONF" | CNI_COMMAND=ADD $seaway) || { echo "ADD $1: $result"; return 1; }
    address=${result#*\"address\":\"}; address=${address%%/*}
    ping -c1 -W2 -q $address >/dev/null || { echo "$1: no answer from $address"; return 1; }
    result=$(echo "$CONF" | CNI_COMMAND=DEL $seaway) || { echo "DEL $1: $result"; return 1; }
    ip netns del $1
}
many() { for n in $(seq $EACH); do cycle c$1-$n || return 1; done; }
for worker in 1 2 3 4 5; do many $worker & workers="$workers $!"; done
for worker in $workers; do wait $worker || exit 1; done
"#;

fn plugin(link: &str, each: u32) {
    let lab = Lab::up(&["--nodes", "1", "--pod-link", link]);
    let list = success(&lab.node("node-1", &["cat", "/run/cni/net.d/05-seaway.conflist"]));
    let list: serde_json::Value =
        serde_json::from_str(&list.expect("read the conflist")).expect("JSON");
    let mut conf = list["plugins"][0].clone();
    conf["name"] = list["name"].clone();
    conf["cniVersion"] = list["cniVersion"].clone();
    let (conf, each) = (format!("CONF={conf}"), format!("EACH={each}"));
    let before = state(&lab);
    let looped = lab.node("node-1", &["env", &conf, &each, "bash", "-c", LOOPS]);
    assert!(looped.status.success(), "{}", lab.told(&looped));
    as_before(&lab, &before);
}

/// Five rounds of ten pods, through the API server and the runner.
fn pods() {
    let lab = Lab::up(&["--nodes", "1"]);
    let file = manifests::write(&lab.dir().join("files"), &manifests::echoes(10));
    let before = state(&lab);
    for _ in 0..5 {
        success(&lab.kubectl(&["apply", "-f", &file])).expect("kubectl apply");
        let wait = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s"];
        success(&lab.kubectl(&wait)).expect("kubectl wait");
        let delete = ["delete", "-f", &file, "--grace-period=1", "--timeout=30s"];
        success(&lab.kubectl(&delete)).expect("kubectl delete");
    }
    as_before(&lab, &before);
}

fn as_before(lab: &Lab, before: &str) {
    eventually("the node is as it was", || {
        let now = state(lab);
        if now == before { Ok(()) } else { Err(difference(before, &now)) }
    });
}

/// What the node and its agent hold; resting addresses are not leases.
fn state(lab: &Lab) -> String {
    let script = "ip -o link | sed -e 's/<[^>]*>//' -e 's/ state.*//'; ip -o addr | sed 's/valid_lft.*//'; \
                  ip route show table all | sed 's/ *linkdown//'; ip -6 route show table all | sed -e 's/expires.*//' -e 's/ *linkdown//'; ip rule; \
                  ip -6 rule; ip neigh show nud permanent; bridge fdb show; \
                  nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; /limit rate over.* expires /d'; \
                  find /run/netns /run/pods /run/seaway/state/pending -mindepth 1 2>/dev/null; \
                  seaway dump ipam | grep ' leased'; sysctl net.ipv4.ip_forward";
    let node = text(&lab.node("node-1", &["sh", "-c", script]));
    let agents = processes::in_role(lab, "agent");
    let files = std::fs::read_dir(format!("/proc/{}/fd", agents[0].pid)).expect("list its files");
    format!("{node}\nopen files of the agent: {}\n", files.count())
}
