//! What load balancers and probes are told, and what people are: curl and kubectl are the judges.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text, within};
use crate::migrate;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s78_s79_a_health_check_port_says_how_many_endpoints_a_node_has", follows_endpoints),
        test("s74_s78_a_node_that_drains_is_unhealthy_and_still_serves", drains),
        test("s80_a_port_that_is_taken_is_told_of_and_opened_when_it_is_free", taken),
        test("s81_s82_s83_a_node_that_leaves_is_not_healthy_but_alive", probes),
        test("s86_kube_proxys_metrics_follow_what_services_do", counted),
        test("s28_s89_faults_of_services_are_told_once", told),
        test("s88_a_table_that_is_almost_full_is_told_of_until_it_has_room", almost_full),
        test("s85_s95_a_node_tells_what_is_in_its_services_way", in_the_way),
    ]
}

/// A LoadBalancer Service with policy Local, asked after at `check`.
fn balanced(name: &str, check: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: LoadBalancer\n  \
         externalTrafficPolicy: Local\n  ipFamilyPolicy: PreferDualStack\n  healthCheckNodePort: {check}\n  \
         selector: {{app: {name}}}\n  ports: [{{port: 80, targetPort: 8080, nodePort: {}}}]\n",
        check - 1000
    )
}

/// A pod of the Service `app` on `node`, which goes on for a minute when it is deleted.
fn endpoint(app: &str, pod: &str, node: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, labels: {{app: {app}}}}}\nspec:\n  \
         nodeName: {node}\n  terminationGracePeriodSeconds: 60\n  containers:\n  - name: main\n    \
         image: seaway/echo\n    lifecycle: {{preStop: {{sleep: {{seconds: 50}}}}}}\n"
    )
}

fn shell(name: &str, node: &str) -> String {
    crate::manifests::pod(name, node, "seaway/shell")
}

/// Each node's addresses, as they stand in a URL.
const NODES: [[&str; 2]; 2] =
    [["10.80.1.11", "[fd00:80:1::11]"], ["10.80.1.12", "[fd00:80:1::12]"]];

/// `STATUS BODY` from the outside client, or curl's exit code.
fn ask(lab: &Lab, url: &str) -> String {
    answer(&lab.client(&curl(url)))
}

fn curl(url: &str) -> [&str; 6] {
    ["curl", "-s", "-m5", "-w", "\n%{http_code}", url]
}

fn answer(output: &std::process::Output) -> String {
    let all = text(output);
    match (output.status.code(), all.rsplit_once('\n')) {
        (Some(0), Some((body, code))) => format!("{code} {body}"),
        (code, _) => format!("curl {code:?}"),
    }
}

/// What a health check port answers for the Service `name`.
fn says(name: &str, endpoints: usize) -> String {
    let code = if endpoints > 0 { 200 } else { 503 };
    format!(
        "{code} {{\n\t\"service\": {{\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    )
}

/// curl's exit code for a connection that was refused.
const REFUSED: &str = "curl Some(7)";

fn is_soon(lab: &Lab, url: &str, expect: &str) {
    eventually(&format!("{url} answers {expect}"), || match ask(lab, url) {
        got if got == expect => Ok(()),
        got => Err(got),
    });
}

/// The Services' endpoints on node-1 and node-2, at every address.
fn are_soon(lab: &Lab, name: &str, port: u16, endpoints: [usize; 2]) {
    for (addrs, count) in NODES.iter().zip(endpoints) {
        for addr in addrs {
            is_soon(lab, &format!("http://{addr}:{port}/"), &says(name, count));
        }
    }
}

fn kubectl(lab: &Lab, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    success(&lab.kubectl(&words)).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"))
}

fn is_ready(lab: &Lab, pod: &str) {
    kubectl(lab, &format!("wait --for=condition=Ready pod/{pod} --timeout=30s"));
}

/// A pod goes to another node, and the answers with it; each Service has its own.
fn follows_endpoints() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&[balanced("web", 32_100), balanced("other", 32_101)].concat());
    lab.apply(&[endpoint("web", "first", "node-1"), shell("inside", "node-1")].concat());
    is_ready(&lab, "first");
    is_ready(&lab, "inside");
    are_soon(&lab, "web", 32_100, [1, 0]);
    are_soon(&lab, "other", 32_101, [0, 0]);
    for addr in NODES[0] {
        let url = format!("http://{addr}:32100/whatever");
        for (from, output) in [
            ("a pod of the node", lab.exec("inside", &curl(&url))),
            ("the node", lab.node("node-1", &curl(&url))),
            ("the other node", lab.node("node-2", &curl(&url))),
        ] {
            assert_eq!(answer(&output), says("web", 1), "{addr} from {from}");
        }
    }
    let head =
        text(&lab.client(&["curl", "-sI", "-m5", "http://10.80.1.11:32100/"])).to_lowercase();
    for line in [
        "http/1.1 200 ok",
        "content-type: application/json",
        "x-content-type-options: nosniff",
        "x-load-balancing-endpoint-weight: 1",
    ] {
        assert!(head.lines().any(|got| got.trim() == line), "{line}: {head}");
    }
    lab.apply(&[endpoint("web", "second", "node-2"), endpoint("web", "third", "node-2")].concat());
    is_ready(&lab, "second");
    is_ready(&lab, "third");
    are_soon(&lab, "web", 32_100, [1, 2]);
    kubectl(&lab, "delete pod first --now --wait=false");
    are_soon(&lab, "web", 32_100, [0, 2]);
    readdressed(&lab);
    kubectl(&lab, r#"patch service web -p {"spec":{"externalTrafficPolicy":"Cluster"}}"#);
    is_soon(&lab, "http://10.80.1.12:32100/", REFUSED);
    kubectl(&lab, "delete service other");
    is_soon(&lab, "http://10.80.1.12:32101/", REFUSED);
}

/// A node that gets another address is asked there, and not where it was.
fn readdressed(lab: &Lab) {
    let script = "ip addr del 10.80.1.11/24 dev eth0; ip addr add 10.80.1.77/24 dev eth0; \
                  ip route replace default via 10.80.1.1";
    success(&lab.node("node-1", &["sh", "-c", script])).expect("change the address");
    is_soon(lab, "http://10.80.1.77:32100/", &says("web", 0));
}

/// The last endpoint of a node goes on serving while the load balancer is told to look elsewhere.
fn drains() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&[balanced("web", 32_100), endpoint("web", "last", "node-1")].concat());
    is_ready(&lab, "last");
    are_soon(&lab, "web", 32_100, [1, 0]);
    kubectl(&lab, "delete pod last --wait=false");
    are_soon(&lab, "web", 32_100, [0, 0]);
    for addr in NODES[0] {
        let served = lab.client(&["curl", "-sf", "-m5", &format!("http://{addr}:31100/")]);
        let body = success(&served).unwrap_or_else(|e| panic!("{addr} still serves: {e}"));
        assert!(body.contains("last"), "{body}");
    }
    are_soon(&lab, "web", 32_100, [0, 0]);
}

/// Something else on the node listens where the agent wants to.
fn taken() {
    let lab = Lab::up(&["--nodes", "1"]);
    let mut command = lab.seaway(&["lab", "node"]);
    command.args(["node-1", "--", "nc", "-l", "-k", "-s", "10.80.1.11", "-p", "32100"]);
    let mut squatter = command.stdout(Stdio::null()).spawn().expect("start nc");
    eventually("nc listens", || {
        let sockets = text(&lab.node("node-1", &["ss", "-Htln"]));
        if sockets.contains("10.80.1.11:32100 ") { Ok(()) } else { Err(sockets) }
    });
    lab.apply(&balanced("web", 32_100));
    eventually("describe says so", || {
        let told = kubectl(&lab, "describe service web");
        let is_it = |line: &str| {
            line.contains("FailedToStartServiceHealthcheck")
                && line.contains(
                    "node node-1 failed to start healthcheck \"default/web\" on port 32100",
                )
        };
        if told.lines().any(is_it) { Ok(()) } else { Err(told) }
    });
    is_soon(&lab, "http://[fd00:80:1::11]:32100/", &says("web", 0));
    success(&lab.node("node-1", &["pkill", "-x", "nc"])).expect("end nc");
    squatter.wait().expect("wait for nc");
    is_soon(&lab, "http://10.80.1.11:32100/", &says("web", 0));
    let reasons = "get events -o jsonpath={.items[*].reason}";
    let told = kubectl(&lab, reasons);
    assert_eq!(told.matches("FailedToStart").count(), 1, "however often it was tried: {told}");
}

fn probes() {
    let lab = Lab::up(&["--nodes", "1"]);
    let probe = |path: &str, code: &str, marks: &[&str]| {
        for addr in NODES[0] {
            let url = format!("http://{addr}:10256{path}");
            eventually(&format!("{url} is {code}"), || {
                let got = ask(&lab, &url);
                let is_it = got.starts_with(code) && marks.iter().all(|mark| got.contains(mark));
                if is_it { Ok(()) } else { Err(got) }
            });
        }
    };
    let well = ["\"lastUpdated\":\"2", "\"currentTime\":\"2", "\"nodeEligible\":true", "\"IPv6\":"];
    probe("/healthz", "200", &well);
    probe("/livez", "200", &["\"healthy\":true"]);
    probe("/metrics", "404", &[]);
    let taint = "taint node node-1 ToBeDeletedByClusterAutoscaler=now:NoSchedule";
    kubectl(&lab, taint);
    probe("/healthz", "503", &["\"nodeEligible\":false", "\"healthy\":true"]);
    probe("/livez", "200", &["\"healthy\":true"]);
    kubectl(&lab, &format!("{taint}-"));
    probe("/healthz", "200", &well);
    let here = |path: &str| {
        text(&lab.node("node-1", &["curl", "-s", &format!("http://127.0.0.1:10249{path}")]))
    };
    assert_eq!(here("/proxyMode"), "nftables");
    assert!(here("/statusz").contains("seaway statusz"), "{}", here("/statusz"));
    let counted = here("/metrics");
    assert!(counted.contains("kubeproxy_proxy_healthz_total{code=\"503\"}"), "{counted}");
    // An agent that is not there answers nobody; the lab starts the next one later and later.
    eventually("nobody answers", || {
        let script =
            "pkill -9 -f 'seaway[ ]agent'; curl -s -m5 http://127.0.0.1:10256/livez; echo $?";
        let got = text(&lab.node("node-1", &["sh", "-c", script]));
        if got == "7" { Ok(()) } else { Err(got) }
    });
    probe("/healthz", "200", &well);
}

/// The value of a metric without labels, or with those it is named with.
fn metric(lab: &Lab, name: &str) -> Option<f64> {
    let url = "http://127.0.0.1:10249/metrics";
    let all = text(&lab.node("node-1", &["curl", "-s", url]));
    let line =
        all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line?.parse().ok()
}

fn counted() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&[balanced("web", 32_100), endpoint("web", "away", "node-2")].concat());
    is_ready(&lab, "away");
    let cases = [
        ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 2.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_count", 1.0),
        ("kubeproxy_sync_full_proxy_rules_duration_seconds_count", 1.0),
        ("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", 1.0),
        ("kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}", 1.0),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", 1.7e9),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", 1.7e9),
        (
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv6\"}",
            1.0,
        ),
    ];
    for (name, least) in cases {
        eventually(name, || match metric(&lab, name) {
            Some(value) if value >= least => Ok(()),
            value => Err(value),
        });
    }
    for pending in ["service", "endpoint"] {
        let name = format!("kubeproxy_sync_proxy_rules_{pending}_changes_pending");
        eventually(&name, || match metric(&lab, &name) {
            Some(0.0) => Ok(()),
            value => Err(value),
        });
    }
}

/// An external IP that nobody allowed, a frontend that is another's, ranges of one family.
fn told() {
    let lab = Lab::up(&["--nodes", "1"]);
    let external = "spec: {externalIPs: [203.0.113.77], ports: [{port: 80}]}\n";
    let service = |name: &str| {
        format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n{external}")
    };
    lab.apply(&service("web"));
    eventually("describe says so", || {
        let told = kubectl(&lab, "describe service web");
        let is_it = |line: &str| line.contains("AddressRefused") && line.contains("203.0.113.77");
        if told.lines().any(is_it) { Ok(()) } else { Err(told) }
    });
    // What has nothing to do with it tells nothing again.
    lab.apply(&service("other"));
    let reasons = "get events -o jsonpath={.items[*].reason}";
    eventually("the other is told of", || {
        let told = kubectl(&lab, reasons);
        if told.matches("AddressRefused").count() == 2 { Ok(()) } else { Err(told) }
    });
    let controller = "get events.events.k8s.io -o \
                      jsonpath={.items[?(@.reason==\"AddressRefused\")].reportingController}";
    assert_eq!(kubectl(&lab, controller), "seaway seaway");
}

/// 240,000 of the 262,144 clients that a Service can remember for three hours.
const CLIENTS: &str = "awk 'BEGIN { print \"add element inet seaway clients_10800s_4 {\"; \
    for (i = 0; i < 240000; i++) printf \"10.%d.%d.%d . 0x1 : 0:1,\\n\", i / 65536, i / 256 % 256, i % 256; \
    print \"11.0.0.1 . 0x1 : 0:1 }\" }' | nft -f -";

/// The map of clients fills up and empties again.
fn almost_full() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&[balanced("web", 32_100), endpoint("web", "only", "node-1")].concat());
    is_ready(&lab, "only");
    let sticky = r#"patch service web -p {"spec":{"sessionAffinity":"ClientIP"}}"#;
    kubectl(&lab, sticky);
    let list = ["nft", "list", "map", "inet", "seaway", "clients_10800s_4"];
    eventually("clients are remembered", || success(&lab.node("node-1", &list)));
    let condition = |expect: &str| {
        let path = "get node node-1 -o jsonpath={.status.conditions[?(@.type==\"NetworkPressure\")].status}";
        within(Duration::from_secs(60), &format!("NetworkPressure is {expect}"), || {
            let got = kubectl(&lab, path);
            if got == expect { Ok(()) } else { Err(got) }
        });
    };
    condition("False");
    success(&lab.node("node-1", &["sh", "-c", CLIENTS])).expect("fill the map");
    assert!(metric(&lab, "seaway_nft_learned_elements") >= Some(240_000.0));
    assert_eq!(metric(&lab, "seaway_nft_learned_limit"), Some(262_144.0));
    condition("True");
    eventually("describe says so", || {
        let told = kubectl(&lab, "describe node node-1");
        if told.contains("AffinityAlmostFull") { Ok(()) } else { Err(told) }
    });
    let flush = ["nft", "flush", "map", "inet", "seaway", "clients_10800s_4"];
    success(&lab.node("node-1", &flush)).expect("empty the map");
    condition("False");
}

/// Leftovers and firewalls are named and harm nothing; leftovers go when somebody asks, and nothing else.
fn in_the_way() {
    let lab = Lab::up_with(&["--nodes", "1"], &crate::manifests::echoes(2));
    let check = || text(&lab.node("node-1", &["seaway", "check", "--node"]));
    let clean = check();
    // Whether anybody answers for names outside depends on where the lab is.
    let mut lines = clean.lines().filter(|line| !line.contains(" DNS of others: "));
    assert!(lines.all(|line| line.starts_with("ok ")), "{clean}");
    for line in [
        "kube-proxy has left nothing here",
        "answer at 1 cluster IPs",
        "open at 10.80.1.11",
        "DNS: answers at 10.96.0.10:53",
    ] {
        assert!(clean.contains(line), "{line}: {clean}");
    }
    let slice = "---\napiVersion: v1\nkind: Service\nmetadata: {name: dead}\nspec: {clusterIP: 10.96.0.77, \
                 ports: [{port: 80}]}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: \
                 {name: dead, labels: {kubernetes.io/service-name: dead}}\naddressType: IPv4\n\
                 ports: [{name: '', port: 9}]\nendpoints: [{addresses: [10.80.1.11]}]\n";
    lab.apply(slice);
    success(&lab.node("node-1", &["sh", "-c", migrate::LEAVE])).expect("leave things");
    eventually("the check names all of it", || {
        let found = check();
        let named = [
            "chain ip nat KUBE-SERVICES",
            "and 3 more",
            "chain inet wall in hook input priority 9 with rules that drop",
            "default/dead at 10.96.0.77:80",
        ];
        let is_named = |name: &&str| found.contains(*name);
        if named.iter().all(is_named) && !found.contains("FAILED") { Ok(()) } else { Err(found) }
    });
    lab.check();
    migrate::take_away(&lab, "kube-proxy");
    migrate::take_away(&lab, "cni");
    let left = check();
    assert!(left.contains("kube-proxy has left nothing here"), "{left}");
    assert!(left.contains("another network has left nothing here"), "{left}");
    let script = "iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; nft list tables";
    let left = text(&lab.node("node-1", &["sh", "-c", script]));
    assert_eq!(left.matches("-A PREROUTING -j THEIRS").count(), 3, "{left}");
    for gone in ["KUBE-S", "CNI-", "FLANNEL"] {
        assert!(!left.contains(gone), "{gone}: {left}");
    }
    assert_eq!(left.matches("-A KUBE-FIREWALL -p tcp").count(), 2, "{left}");
    assert!(left.contains("KUBE-KUBELET-CANARY") && left.contains("table inet seaway"), "{left}");
}
