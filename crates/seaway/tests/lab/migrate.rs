//! Seaway takes the place of another network on the same pod CIDRs, node by node, and no pod is made anew: pods
//! by the real `bridge` and `host-local` plugins, between nodes a VXLAN device set up as flannel does it.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::install::{bare, kubectl, manifest};
use crate::lab::{Lab, difference, eventually, success, test, text, within};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("p28_flannels_pods_go_on_while_seaway_takes_its_place_node_by_node", adopted),
        test("p28_what_flannel_masqueraded_reaches_nodes_behind_the_tunnel", masqueraded),
    ]
}

/// What flannel and its plugin make of a node: the arguments are its own and the other's addresses, pod CIDRs
/// and numbers.
const FLANNEL: &str = r#"set -e
self=$1 n=$2 peer=$3 p=$4 cidr4=$5 cidr6=$6
dev=$(ip -o -4 addr show | awk -v a="$self" 'index($4, a "/") == 1 {print $2}')
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
ip link add flannel.1 address 02:00:00:00:00:0$n mtu 1450 type vxlan id 1 local $self dev $dev dstport 8472 nolearning
ip addr add ${7%/*}/32 dev flannel.1
ip addr add fe80::$n/64 dev flannel.1 nodad
ip link set flannel.1 up
ip neigh add ${cidr4%/*} lladdr 02:00:00:00:00:0$p dev flannel.1 nud permanent
ip neigh add fe80::$p lladdr 02:00:00:00:00:0$p dev flannel.1 nud permanent
bridge fdb add 02:00:00:00:00:0$p dev flannel.1 dst $peer
ip route add $cidr4 via ${cidr4%/*} dev flannel.1 onlink
ip -6 route add $cidr6 via fe80::$p dev flannel.1
mkdir -p /run/cni/bin /run/cni/net.d
ln -sf /usr/lib/cni/bridge /usr/lib/cni/host-local /run/cni/bin/
cat > /run/cni/net.d/10-flannel.conflist
"#;

/// What the plugin `flannel` has the plugin `bridge` do.
fn conflist(cidrs: &[String]) -> String {
    let ranges: Vec<Value> = cidrs.iter().map(|cidr| json!([{ "subnet": cidr }])).collect();
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true,
        "hairpinMode": true, "ipMasq": false, "mtu": 1450,
        "ipam": { "type": "host-local", "dataDir": "/run/cni/networks", "ranges": ranges },
    });
    json!({ "cniVersion": "0.3.1", "name": "cbr0", "plugins": [bridge] }).to_string()
}

struct Node {
    name: &'static str,
    number: String,
    addr: String,
    cidrs: Vec<String>,
}

fn node(lab: &Lab, name: &'static str, number: u8) -> Node {
    let field = |path: &str| kubectl(lab, &format!("get node {name} -o jsonpath={path}"));
    let addr = field("{.status.addresses[0].address}");
    let cidrs = field("{.spec.podCIDRs[*]}").split(' ').map(str::to_owned).collect();
    Node { name, number: number.to_string(), addr, cidrs }
}

fn flannel(lab: &Lab, node: &Node, peer: &Node) {
    let mut command = lab.seaway(&["lab", "node"]);
    command.args([node.name, "--", "sh", "-c", FLANNEL, "sh", &node.addr, &node.number]);
    command.args([&peer.addr, &peer.number, &peer.cidrs[0], &peer.cidrs[1], &node.cidrs[0]]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, conflist(&node.cidrs).as_bytes()).expect("write");
    drop(stdin);
    let done = child.wait_with_output().expect("wait");
    assert!(done.status.success(), "{}: {}", node.name, lab.told(&done));
}

/// A pod that echoes, and has a shell, with a Service of its own.
fn pod(name: &str, node: &str) -> String {
    let pod = manifests::pod(name, node, "seaway/echo");
    let pod = pod.replace(
        &format!("{{name: {name}}}"),
        &format!("{{name: {name}, labels: {{app: {name}}}}}"),
    );
    format!(
        "{pod}---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, ipFamilyPolicy: PreferDualStack, ports: [{{port: 80, targetPort: 8080}}]}}\n"
    )
}

fn addrs(lab: &Lab, pod: &str) -> Vec<IpAddr> {
    let told = lab.pod_field(pod, "{.status.podIPs[*].ip}");
    told.split(' ').map(|addr| addr.parse().expect("an address")).collect()
}

/// Every pod reaches every pod, itself included: at its addresses, and with `services` at its cluster IPs.
fn all_reach_all(lab: &Lab, pods: &[&str], services: bool) {
    let mut goals = Vec::new();
    for pod in pods {
        goals.extend(addrs(lab, pod).into_iter().map(|addr| match addr {
            IpAddr::V4(addr) => format!("{addr}:8080"),
            IpAddr::V6(addr) => format!("[{addr}]:8080"),
        }));
        if services {
            let ips =
                kubectl(lab, &format!("get service {pod} -o jsonpath={{.spec.clusterIPs[*]}}"));
            goals.extend(ips.split(' ').map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:80"),
                false => format!("{ip}:80"),
            }));
        }
    }
    let script = "for to in \"$@\"; do curl -sf -o /dev/null --max-time 5 http://$to/ || echo \"$to: $?\"; done";
    for pod in pods {
        eventually(&format!("{pod} reaches all"), || {
            let mut words = vec!["bash", "-c", script, "bash"];
            words.extend(goals.iter().map(String::as_str));
            let said = lab.exec(pod, &words);
            match said.status.success() && said.stdout.is_empty() {
                true => Ok(()),
                false => Err(lab.told(&said)),
            }
        });
    }
}

/// A connection over which a line goes back and forth until the file is there.
fn stream(lab: &Lab, from: &str, to: &str) -> Child {
    let script = format!(
        "exec 3<>/dev/tcp/{to}/9090; IFS= read -r -t 5 welcome <&3 || exit 2; for i in $(seq 1 100000); do \
         [ -e /tmp/enough ] && break; echo line-$i >&3; IFS= read -r -t 20 back <&3 || exit 3; \
         case \"$back\" in *line-$i*) ;; *) exit 4;; esac; sleep 0.05; done; echo all lines came back"
    );
    let mut command: Command = lab.seaway(&["lab", "exec"]);
    command.args([from, "--", "bash", "-c", &script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start seaway lab exec")
}

fn migrated(lab: &Lab, node: &str) {
    kubectl(lab, &format!("label node {node} seaway.io/network=seaway"));
    within(Duration::from_secs(90), &format!("Seaway is there on {node}"), || {
        let conflist = lab.node(node, &["ls", "/run/cni/net.d/05-seaway.conflist"]);
        if conflist.status.success() { Ok(()) } else { Err(lab.logs()) }
    });
}

fn ready(lab: &Lab) {
    kubectl(lab, "wait --for=condition=Ready pod --all --timeout=60s");
}

fn adopted() {
    let lab = bare("2");
    let (one, two) = (node(&lab, "node-1", 1), node(&lab, "node-2", 2));
    flannel(&lab, &one, &two);
    flannel(&lab, &two, &one);
    lab.apply(&[pod("old", "node-1"), pod("beside", "node-1"), pod("far", "node-2")].concat());
    ready(&lab);
    let [old, beside, far] = ["old", "beside", "far"].map(|pod| addrs(&lab, pod));
    all_reach_all(&lab, &["old", "beside", "far"], false);
    let streams =
        [stream(&lab, "old", &far[0].to_string()), stream(&lab, "old", &beside[0].to_string())];

    let path = manifest(
        &lab,
        &["--node-selector", "seaway.io/network=seaway"],
        &["apiServer=/run/kubeconfig"],
    );
    kubectl(&lab, &format!("apply -f {path}"));
    migrated(&lab, "node-1");
    lab.apply(&pod("new", "node-1"));
    ready(&lab);
    let new = addrs(&lab, "new");
    assert!(!new.iter().any(|addr| old.contains(addr) || beside.contains(addr)), "{new:?}");
    all_reach_all(&lab, &["old", "beside", "new"], true);
    all_reach_all(&lab, &["old", "new", "far"], false);
    node_tells(&lab, &old[0], &beside[1], &new[0]);
    policies_hold(&lab);

    migrated(&lab, "node-2");
    lab.apply(&pod("distant", "node-2"));
    ready(&lab);
    all_reach_all(&lab, &["old", "beside", "new", "far", "distant"], true);

    // Pods beside it know yet where it was.
    kubectl(&lab, "delete pod beside --timeout=60s");
    lab.apply(&pod("next", "node-1"));
    ready(&lab);
    assert!(!addrs(&lab, "next").iter().any(|addr| beside.contains(addr)));
    all_reach_all(&lab, &["old", "new", "next", "far", "distant"], true);

    for (pod, had) in [("old", &old), ("far", &far)] {
        assert_eq!(addrs(&lab, pod), *had, "{pod} is the same as ever");
        assert_eq!(lab.pod_field(pod, "{.status.containerStatuses[0].restartCount}"), "0");
    }
    let [to_far, to_beside] = streams;
    drop(to_beside.wait_with_output());
    success(&lab.exec("old", &["touch", "/tmp/enough"])).expect("end the connection");
    let said = to_far.wait_with_output().expect("wait for the connection");
    assert!(text(&said).contains("all lines came back"), "{}", lab.told(&said));

    removed(&lab, &one, &two);
    // What flannel's pods had is Seaway's to give.
    lab.apply(&pod("later", "node-1"));
    ready(&lab);
    // `host-local` locks each family for itself: of two that start at once, each may have had the lower address of one.
    let had = [old, beside].concat();
    let later = addrs(&lab, "later");
    assert_eq!(later.len(), 2, "{later:?}");
    assert!(later.iter().all(|addr| had.contains(addr)), "{later:?} of {had:?}");
    all_reach_all(&lab, &["new", "next", "later", "distant"], true);
    lab.check();
}

/// As flanneld does it with `--ip-masq`.
const MASQUERADES: &str = "iptables-nft -t nat -N FLANNEL-POSTRTG; \
    iptables-nft -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG; \
    iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN; \
    iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully";

/// A pod's connections to another node's own address: one that flannel has masqueraded goes on, and new ones take the
/// tunnel, to where a strict filter of reverse paths waits for them.
fn masqueraded() {
    let lab = bare("2");
    let (one, two) = (node(&lab, "node-1", 1), node(&lab, "node-2", 2));
    for (node, peer) in [(&one, &two), (&two, &one)] {
        flannel(&lab, node, peer);
        success(&lab.node(node.name, &["sh", "-ec", MASQUERADES])).expect("masquerade");
    }
    let host = pod("host", "node-2").replace("spec:\n", "spec:\n  hostNetwork: true\n");
    lab.apply(&[pod("old", "node-1"), host].concat());
    ready(&lab);
    let stream = stream(&lab, "old", &two.addr);
    let flags = ["--node-selector", "seaway.io/network=seaway"];
    let path = manifest(&lab, &flags, &["apiServer=/run/kubeconfig", "routing=vxlan"]);
    kubectl(&lab, &format!("apply -f {path}"));
    ["node-1", "node-2"].into_iter().for_each(|node| migrated(&lab, node));

    for (node, peer) in [(&one, &two), (&two, &one)] {
        let taken = success(&lab.node(node.name, &["seaway", "migrate", "cni", "--masquerading"]));
        let named = "chain ip nat FLANNEL-POSTRTG\nrule of chain ip nat POSTROUTING that leads to FLANNEL-POSTRTG";
        assert_eq!(taken.as_deref(), Ok(named), "{}", node.name);
        without_routes(&lab, node, peer);
    }
    lab.apply(&pod("new", "node-1"));
    ready(&lab);
    all_reach_all(&lab, &["old", "new"], true);
    let url = format!("http://{}:8080/", two.addr);
    for pod in ["old", "new"] {
        let ask = ["curl", "-sf", "-o", "/dev/null", "--max-time", "3", &url];
        eventually(&format!("{pod} reaches node-2"), || success(&lab.exec(pod, &ask)));
    }
    success(&lab.exec("old", &["touch", "/tmp/enough"])).expect("end the connection");
    let said = stream.wait_with_output().expect("wait for the connection");
    assert!(text(&said).contains("all lines came back"), "{}", lab.told(&said));
}

/// The ways of flannel to `peer` go.
fn without_routes(lab: &Lab, node: &Node, peer: &Node) {
    let script = format!("ip route del {}; ip -6 route del {}", peer.cidrs[0], peer.cidrs[1]);
    success(&lab.node(node.name, &["sh", "-ec", &script])).expect("remove flannel's routes");
}

/// What the agent of node-1 says of a pod of flannel's, another one, and one of its own.
fn node_tells(lab: &Lab, old: &IpAddr, beside: &IpAddr, new: &IpAddr) {
    let known = text(&lab.node("node-1", &["seaway", "dump", "ipam"]));
    for line in [
        format!("{} of pod default/old by another network", old),
        format!("{} of pod default/beside by another network", beside),
        format!("{} leased to ", new),
    ] {
        assert!(known.contains(&line), "{line}: {known}");
    }
    let peers = text(&lab.node("node-1", &["seaway", "dump", "peers"]));
    assert_eq!(peers.matches("node node-2 by another network's route").count(), 2, "{peers}");
    let failing = text(&lab.node("node-1", &["seaway", "dump", "report"]));
    assert!(failing.contains(" 0 failures,"), "{failing}");
}

/// Flannel's routes go, everywhere, then its pods and its links.
fn removed(lab: &Lab, one: &Node, two: &Node) {
    for (node, peer) in [(one, two), (two, one)] {
        without_routes(lab, node, peer);
    }
    all_reach_all(lab, &["old", "new", "next", "far", "distant"], true);
    let migrate = ["seaway", "migrate", "cni"];
    let refused = lab.node("node-1", &migrate);
    assert!(lab.told(&refused).contains("link cni0 has 1 pods on it"), "{}", lab.told(&refused));
    kubectl(lab, "delete pod old far --timeout=60s");
    let left = "ip neigh show proxy; ip -6 neigh show proxy; seaway dump ipam | grep another; \
                ip route show table main | grep -E 'cni0|flannel'; ip route show type unreachable | grep -c 10.244";
    for node in ["node-1", "node-2"] {
        let taken = success(&lab.node(node, &migrate));
        assert_eq!(taken.as_deref(), Ok("link cni0\nlink flannel.1"), "{node}");
        success(&lab.node(node, &["rm", "/run/cni/net.d/10-flannel.conflist"])).expect("remove it");
        within(Duration::from_secs(120), "nothing of it is left", || {
            match text(&lab.node(node, &["sh", "-c", left])).as_str() {
                "1" => Ok(()),
                left => Err(left.to_owned()),
            }
        });
    }
}

/// A policy about a pod of flannel's holds for what comes by the node.
fn policies_hold(lab: &Lab) {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: beside}\nspec:\n  \
                  podSelector: {matchLabels: {app: beside}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: new}}}]\n";
    lab.apply(policy);
    let url = format!("http://{}:8080/", addrs(lab, "beside")[0]);
    let asks =
        |pod: &str| lab.exec(pod, &["curl", "-sf", "-o", "/dev/null", "--max-time", "2", &url]);
    eventually("who is not named is kept out", || match asks("far").status.success() {
        true => Err("it answers"),
        false => Ok(()),
    });
    assert!(asks("new").status.success(), "who is named is let in");
    kubectl(lab, "delete networkpolicy beside");
    eventually("everybody is let in again", || success(&asks("far")));
}

/// What a kube-proxy of each mode leaves, a kubelet has, flannel and the plugin `portmap` leave; and a firewall.
pub(crate) const LEAVE: &str = "set -e; nft add table ip kube-proxy; ip link add kube-ipvs0 type bridge; \
    for command in iptables-nft ip6tables-nft iptables-legacy; do \
    $command -t nat -N KUBE-SERVICES; $command -t nat -N KUBE-SVC-ABC; $command -t nat -N THEIRS; \
    $command -t nat -A KUBE-SERVICES -j KUBE-SVC-ABC; \
    $command -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES; \
    $command -t nat -A PREROUTING -j THEIRS; done; \
    for command in iptables-nft ip6tables-nft; do \
    $command -N KUBE-FIREWALL; $command -A INPUT -j KUBE-FIREWALL; \
    $command -A KUBE-FIREWALL -p tcp --dport 9 -m comment --comment 'block incoming localnet connections' -j DROP; \
    $command -t mangle -N KUBE-KUBELET-CANARY; \
    $command -N FLANNEL-FWD; $command -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD; \
    $command -A FLANNEL-FWD -j ACCEPT; done; \
    iptables-nft -t nat -N CNI-HOSTPORT-DNAT; iptables-nft -t nat -N CNI-DN-abc; \
    iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT; \
    iptables-nft -t nat -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8081 -j CNI-DN-abc; \
    iptables-nft -t nat -A CNI-DN-abc -p tcp --dport 8081 -j DNAT --to-destination 10.244.1.9:80; \
    nft add table inet cni_hostport; ip link add flannel.1 type bridge; ip link add cni0 type bridge; \
    nft add table inet wall; \
    nft add chain inet wall in '{ type filter hook input priority 9; policy accept; }'; \
    nft add rule inet wall in tcp dport 9 reject";

/// What is left goes, all of it and nothing else: what is listed before without lines that are about it is what
/// is listed then. A second time there is nothing to do.
pub(crate) fn take_away(lab: &Lab, whose: &str) {
    let rules = || text(&lab.node("node-1", &["nft", "-s", "list", "ruleset"]));
    let migrate = |words: &[&str]| {
        let said = lab.node("node-1", &[&["seaway", "migrate", whose], words].concat());
        success(&said).unwrap_or_else(|why| panic!("migrate {whose} {words:?}: {why}"))
    };
    let before = rules();
    let named = migrate(&["--dry-run"]);
    let json: Value = serde_json::from_str(&migrate(&["--dry-run", "-o", "json"])).expect("JSON");
    assert_eq!(rules(), before, "nothing was taken away");
    let lines: Vec<&str> = named.lines().collect();
    assert_eq!(json["found"], json!(lines));
    assert_eq!((&json["dryRun"], &json["inUse"]), (&json!(true), &Value::Null));
    assert_eq!(migrate(&[]), named);
    let now = rules();
    let now: Vec<&str> = now.lines().filter(|line| !line.is_empty()).collect();
    let stays = without_theirs(&before, whose);
    assert!(stays == now, "{}", difference(&stays.join("\n"), &now.join("\n")));
    assert_eq!(migrate(&[]), "", "nothing was left of {named}");
}

/// A ruleset without the chains of a kube-proxy or other plugins, rules that lead there, and their tables.
fn without_theirs<'a>(rules: &'a str, whose: &str) -> Vec<&'a str> {
    let (theirs, table) = match whose {
        "kube-proxy" => (["KUBE-SERVICES", "KUBE-SVC-"], "table ip kube-proxy"),
        _ => (["CNI-", "FLANNEL-"], "table inet cni_hostport"),
    };
    let is_theirs = |line: &str| theirs.iter().any(|name| line.contains(name));
    let (mut out, mut skips) = (Vec::new(), None);
    for line in rules.lines().filter(|line| !line.is_empty()) {
        match (skips, line) {
            (Some(end), line) if line == end => skips = None,
            (Some(_), _) => {}
            (None, head) if head.starts_with("\tchain ") && is_theirs(head) => skips = Some("\t}"),
            (None, head) if head.starts_with(table) => skips = Some("}"),
            (None, rule) if is_theirs(rule) => {}
            (None, _) => out.push(line),
        }
    }
    out
}
