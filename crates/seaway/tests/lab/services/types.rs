//! Services that change: their type, their addresses, and who carries their packets.

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::json;

use super::serve::Server;
use super::stage::{Stage, balancer, pods, service};
use super::table::{ALL, Over, TCP, TCP_UDP};
use crate::lab::{Lab, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s10_a_change_of_type_opens_and_closes_what_it_says", types),
        test("s10_a_service_that_is_made_again_has_its_new_address_alone", made_again),
        test("s26_s29_s30_s32_an_address_is_captured_when_its_balancer_says_so", balancers),
        test("s31_an_external_ip_is_somebody_elses_until_the_switch_says_otherwise", external_ips),
        test("s23_node_ports_are_open_at_the_addresses_that_are_named", node_addresses),
    ]
}

/// ClusterIP → NodePort → LoadBalancer → NodePort → ClusterIP → ExternalName → ClusterIP.
fn types() {
    let stage = Stage::up(&[]);
    stage.lab.apply(&service("web", "app: web", ""));
    let cluster = "pod-1 | cluster | web-1 web-2 | itself\n";
    let node_port =
        "client | node-2 | web-1 web-2 | node-2\n pod-1 | node-1 | web-1 web-2 | itself\n";
    let vip = "client | vip | web-1 web-2 | node-1\n pod-2 | vip | web-1 web-2 | itself\n";
    stage.check("web", TCP_UDP, cluster);
    stage.change("web", &json!({"type": "NodePort"}));
    stage.check("web", TCP_UDP, &[cluster, node_port].concat());
    stage.change("web", &json!({"type": "LoadBalancer"}));
    stage.balance("web", &balancer(1));
    stage.check("web", TCP_UDP, &[cluster, node_port, vip].concat());
    let balanced = stage.frontends("web");
    stage.change("web", &json!({"type": "NodePort"}));
    stage.check("web", TCP_UDP, &[cluster, node_port].concat());
    // Nobody has the load balancer's address any more: the router sends it to the node and back.
    stage.check_at(&balanced, TCP, "client | vip | silence");
    stage.change("web", &json!({"type": "ClusterIP"}));
    stage.check("web", TCP_UDP, cluster);
    stage.check_at(&balanced, TCP_UDP, "client | node-2 | refused\n pod-1 | node-1 | refused");
    stage.change("web", &json!({"type": "ExternalName", "externalName": "example.org"}));
    stage.check_at(&balanced, ALL, "pod-1 | cluster | silence\n node-2 | cluster | silence");
    stage.change(
        "web",
        &json!({"type": "ClusterIP", "externalName": null, "ipFamilyPolicy": "PreferDualStack"}),
    );
    stage.check("web", TCP_UDP, cluster);
}

/// Gone and back by the same name.
fn made_again() {
    let stage = Stage::up(&[]);
    let at = |v4: &str, v6: &str| {
        let ips = format!("  type: NodePort\n  clusterIPs: ['{v4}', '{v6}']\n");
        service("web", "app: web", &ips)
    };
    stage.lab.apply(&at("10.96.7.1", "fd00:10:96::701"));
    let everywhere =
        "pod-1 | cluster | web-1 web-2 | itself\n client | node-1 | web-1 web-2 | node-1";
    stage.check("web", ALL, everywhere);
    let old = stage.frontends("web");
    stage.kubectl(&["delete", "service", "web"]);
    stage.lab.apply(&at("10.96.7.2", "fd00:10:96::702"));
    stage.check("web", ALL, everywhere);
    stage.check_at(&old, ALL, "pod-1 | cluster | silence\n node-1 | cluster | silence");
}

/// What is captured is what `status` says: by `ip`, unless `ipMode` is Proxy. There may be several
/// addresses, several Services at one of them, no node port, and any class of load balancer.
fn balancers() {
    let stage = Stage::up(&[]);
    let balanced = "  type: LoadBalancer\n  loadBalancerClass: example.org/any\n  \
                    allocateLoadBalancerNodePorts: false\n";
    let other = service("other", "pod: web-2", balanced).replace("port: 80,", "port: 81,");
    let objects =
        [service("web", "pod: web-1", balanced), service("proxied", "app: web", balanced), other];
    stage.lab.apply(&objects.concat());
    let several =
        [balancer(1), balancer(2), r#"{"hostname": "lb.example.org"}"#.to_owned()].join(", ");
    stage.balance("web", &several);
    stage.balance("other", &balancer(1));
    let ports = stage.object(&["service", "web"])["spec"]["ports"].to_string();
    assert!(!ports.contains("nodePort"), "{ports}");
    stage.check(
        "web",
        ALL,
        "pod-2  | vip   | web-1 | itself
         node-2 | vip   | web-1 | itself
         client | vip   | web-1 | node-1
         client | vip-2 | web-1 | node-2
         pod-2  | vip-2 | web-1 | itself",
    );
    stage.check("other", ALL, "pod-1 | vip | web-2 | itself\n client | vip | web-2 | node-1");
    // Where nodes play the balancer's part, its address is theirs.
    stage.balance("other", r#"{"ip": "10.80.1.11"}, {"ip": "fd00:80:1::11"}"#);
    stage.check(
        "other",
        ALL,
        "client | vip | web-2 | node-1
         node-1 | vip | web-2 | itself
         node-2 | vip | web-2 | itself
         pod-1  | vip | web-2 | itself
         pod-2  | vip | web-2 | itself",
    );
    // A balancer that wants to see the packets itself: it is at the address of a host outside.
    let _balancer = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Server::start(&stage.at("internet").netns, protocol, 80, "balancer"));
    let at = |mode: &str| {
        let ips = ["203.0.113.10", "2001:db8:1::10"];
        ips.map(|ip| format!(r#"{{"ip": "{ip}", "ipMode": "{mode}"}}"#)).join(", ")
    };
    stage.balance("proxied", &at("Proxy"));
    stage.check(
        "proxied",
        TCP_UDP,
        "pod-1 | vip | balancer | node-1\n node-1 | vip | balancer | itself",
    );
    stage.balance("proxied", &at("VIP"));
    stage.check(
        "proxied",
        TCP_UDP,
        "pod-2 | vip | web-1 web-2 | itself\n node-1 | vip | web-1 web-2 | itself",
    );
}

/// Without the switch, whoever may write a Service takes nobody's traffic (CVE-2020-8554).
fn external_ips() {
    let claimed = "  externalIPs: [203.0.113.10, '2001:db8:1::10']\n";
    for (flag, answer) in [
        ("192.0.2.0/24", "owner | node-1"),
        ("203.0.113.0/24,2001:db8:1::/64", "web-1 web-2 | itself"),
    ] {
        let stage = Stage::of(Lab::up_with(&["--nodes", "2", "--external-ips", flag], &pods()));
        let _owner = Server::start(&stage.at("internet").netns, Protocol::Tcp, 80, "owner");
        stage.lab.apply(&service("web", "app: web", claimed));
        stage.check("web", TCP, "pod-1 | cluster | web-1 web-2 | itself");
        stage.check("web", TCP, &format!("pod-1 | external | {answer}"));
        let rejected = stage.dump("node-1", &["rejected"]);
        assert_eq!(rejected.contains("--external-ips"), answer.starts_with("owner"), "{rejected}");
    }
}

/// The first InternalIP; every address; those inside of a range; never loopback; and live.
fn node_addresses() {
    let open = |at: &str| {
        format!(
            "client | port@{at} | web-1 web-2 | node-1
             node-2 | port@{at} | web-1 web-2 | node-1
             pod-1  | port@{at} | web-1 web-2 | itself
             node-1 | port@{at} | web-1 web-2 | itself\n"
        )
    };
    let closed = |at: &str| {
        format!(
            "client | port@{at} | refused\n pod-1 | port@{at} | refused\n node-1 | port@{at} | refused\n"
        )
    };
    let [first, second, loopback] = ["10.80.1.11", "10.80.1.99", "127.0.0.1"];
    for (setting, table) in [
        ("primary", [open(first), closed(second)]),
        ("all", [open(first), open(second)]),
        ("10.80.1.99/32,fd00:80:1::99/128", [closed(first), open(second)]),
    ] {
        let stage = Stage::up(&["--nodeport-addresses", setting]);
        stage.lab.apply(&service("web", "app: web", "  type: NodePort\n"));
        for net in ["10.80.1.99/24", "fd00:80:1::99/64"] {
            let nodad = net.contains("::").then_some("nodad");
            let words = ["ip", "addr", "add", net, "dev", "eth0"];
            let words: Vec<&str> = words.into_iter().chain(nodad).collect();
            success(&stage.lab.node("node-1", &words)).expect("give the node an address");
        }
        let table = table.concat() + &format!("node-1 | port@{loopback} | refused");
        let table6 = table.replace("10.80.1.", "fd00:80:1::").replace(loopback, "::1");
        stage.check("web", Over { families: &[Family::V4], ..TCP_UDP }, &table);
        stage.check("web", Over { families: &[Family::V6], ..TCP_UDP }, &table6);
    }
}
