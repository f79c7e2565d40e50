//! Resolvers of others, each asking in its own way: those of glibc, musl, busybox and c-ares, Knot's
//! tools, and dnsperf, which counts.

use fixtures::vectors::{COREDNS, SPECIFICATION, big, expand};
use libtest_mimic::Trial;

use super::dig::Dig;
use super::stage::{CLIENTS, Client, Shared, Stage, VIPS};
use super::upstream::ADDRS;
use crate::lab::{success, text};

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![
        stage.test("dns50_dns54_dns55_glibc_musl_busybox_and_c_ares_find_names", resolvers),
        stage.test("dns55_names_are_searched_as_resolv_conf_says", searches),
        stage.test("dns52_a_policy_says_whom_a_pod_asks", policies),
        stage.test(
            "dns64_dns71_kdig_is_answered_over_udp_tcp_and_by_the_server_outside_over_tls",
            kdig,
        ),
        stage.test("dns66_dns77_dns172_every_resolver_hears_of_250_endpoints", crowds),
        stage.test("dns171_dnsperf_loses_nothing", dnsperf),
    ]
}

/// Names and all of their addresses, as a pod in `default` looks them up.
const NAMES: [(&str, &[&str]); 6] = [
    ("web.ns1", &["10.96.0.20", "fd00:96::20"]),
    ("web.ns1.svc", &["10.96.0.20", "fd00:96::20"]),
    ("web.ns1.svc.cluster.local", &["10.96.0.20", "fd00:96::20"]),
    ("db-0.db.ns1.svc.cluster.local.", &["10.244.1.5"]),
    ("exin.ns1", &["10.96.0.20", "fd00:96::20"]),
    ("www.example.org", &["203.0.113.80", "2001:db8:1::80"]),
];

/// The resolvers, each with what it takes to look one name up; addresses are among its words.
pub(super) fn lookups() -> Vec<(&'static str, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let here = |name: &str| format!("{CLIENTS}/{name}");
    vec![
        ("glibc", words(&["getent", "ahosts"])),
        ("musl", words(&[&here("musl")])),
        ("c-ares", words(&["/usr/bin/python3", &here("c_ares.py")])),
        ("busybox", words(&["busybox", "nslookup"])),
    ]
}

fn resolvers(stage: &Stage) {
    for (resolver, command) in lookups() {
        for (name, addresses) in NAMES {
            // The tool of busybox searches nowhere when it is asked for both families.
            if resolver == "busybox" && !name.contains("cluster.local") && !name.starts_with("www")
            {
                continue;
            }
            for pod in ["shell-1", "shell-2"] {
                let found = look_up(stage, pod, &command, name);
                let missing = addresses.iter().find(|address| !found.contains(**address));
                assert_eq!(missing, None, "{resolver} in {pod}: {name}: {found}");
            }
        }
        let nobody = look_up(stage, "shell-1", &command, "missing.ns1.svc.cluster.local.");
        assert!(!nobody.contains("10.96.0.20"), "{resolver}: {nobody}");
    }
}

pub(super) fn look_up(stage: &Stage, pod: &'static str, command: &[String], name: &str) -> String {
    let mut argv: Vec<&str> = command.iter().map(String::as_str).collect();
    argv.push(name);
    text(&stage.run(Client::Pod(pod), &argv))
}

/// Partial names, more domains than old C libraries took, some of them odd.
fn searches(stage: &Stage) {
    let more: Vec<String> =
        (1..=8).map(|n| format!("domain-{n}.{}.example", "x".repeat(40))).collect();
    let more =
        [more.as_slice(), &["_odd.example".to_owned(), "7digit.example".to_owned()]].concat();
    let spec =
        format!("  dnsConfig: {{searches: ['{}', ns1.svc.cluster.local]}}\n", more.join("', '"));
    stage.shell("searcher", "node-1", &spec);
    // musl takes no list of more than 256 characters.
    let takes = |(resolver, _): &(&str, _)| ["glibc", "c-ares"].contains(resolver);
    for (resolver, command) in lookups().into_iter().filter(takes) {
        for name in ["web.ns1", "web.ns1.svc", "web"] {
            let found = look_up(stage, "searcher", &command, name);
            assert!(found.contains("10.96.0.20"), "{resolver}: {name}: {found}");
        }
    }
    let words = ["dig", "+search", "+short", "_http._tcp.web.ns1.svc", "SRV"];
    let found = success(&stage.lab.exec("shell-1", &words)).expect("dig ends well");
    // After the alias that the node's going along the list has given it.
    assert_eq!(found.lines().last(), Some("0 100 80 web.ns1.svc.cluster.local."));
}

fn policies(stage: &Stage) {
    let servers = |pod: &str| {
        let conf = text(&stage.lab.exec(pod, &["cat", "/etc/resolv.conf"]));
        let servers = conf.lines().filter_map(|line| line.strip_prefix("nameserver "));
        servers.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let outside = ADDRS.join(" ");
    for (name, spec, expected) in [
        ("first", "  dnsPolicy: ClusterFirst\n", VIPS[0]),
        ("default", "  dnsPolicy: Default\n", &outside),
        ("host", "  hostNetwork: true\n", &outside),
        ("both", "  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet\n", VIPS[0]),
        (
            "none",
            "  dnsPolicy: None\n  dnsConfig: {nameservers: [169.254.20.10]}\n",
            "169.254.20.10",
        ),
    ] {
        stage.shell(name, "node-1", spec);
        assert_eq!(servers(name), expected, "{name}");
        let found = text(&stage.lab.exec(name, &["getent", "ahostsv4", "example.org"]));
        assert!(found.contains("203.0.113.80"), "{name}: {found}");
        let found =
            text(&stage.lab.exec(name, &["getent", "ahostsv4", "web.ns1.svc.cluster.local"]));
        assert_eq!(found.contains("10.96.0.20"), expected != outside, "{name}: {found}");
    }
}

fn kdig(stage: &Stage) {
    let client = Client::Pod("shell-1");
    let questions = [("web.ns1.svc.cluster.local", "A"), ("www.example.org", "AAAA")];
    for vip in VIPS {
        for transport in ["+notcp", "+tcp", "+keepopen"] {
            let replies = Dig::knot(vip).with(transport).ask(stage, client, &questions);
            let replies = replies.unwrap_or_else(|error| panic!("{vip} {transport}: {error}"));
            assert_eq!(replies[0].answer[0].text, "A 10.96.0.20", "{vip} {transport}");
            let last = replies[1].answer.last().map(|record| record.text.as_str());
            assert_eq!(last, Some("AAAA 2001:db8:1::80"), "{vip} {transport}");
        }
    }
    let ca = format!("+tls-ca={}", stage.upstream.certificate.display());
    for addr in ADDRS {
        let dig = Dig::knot(addr).with("+tls").with(&ca).with("+tls-hostname=dns.example");
        let replies = dig.ask(stage, Client::Host("node-1"), &[("example.org", "A")]);
        assert_eq!(replies.expect("an answer over TLS")[0].answer[0].text, "A 203.0.113.80");
    }
}

fn crowds(stage: &Stage) {
    stage.put(&big(250));
    stage.knows(Client::Pod("shell-1"), "10-250-0-250.big.ns1.svc.cluster.local", "A 10.250.0.250");
    for (resolver, command) in lookups() {
        let found = look_up(stage, "shell-1", &command, "big.ns1.svc.cluster.local.");
        let different: std::collections::BTreeSet<&str> =
            found.split_whitespace().filter(|word| word.starts_with("10.250.")).collect();
        // Without TCP, of which busybox and musl before 1.2.4 know nothing, it is what a datagram holds.
        let least = match resolver {
            "busybox" => 1,
            "musl" => 29,
            _ => 250,
        };
        assert!(different.len() >= least, "{resolver} found {}: {found}", different.len());
    }
}

/// Every vector's question, for a few seconds, each answered.
fn dnsperf(stage: &Stage) {
    let questions = SPECIFICATION.lines().chain(COREDNS.lines());
    let questions = questions.filter(|row| !row.contains("XFR") && !row.contains("ANY"));
    let questions: Vec<String> =
        questions.filter_map(|row| row.split('|').nth(1)).map(|q| expand(q.trim())).collect();
    let file = stage.clients().join("questions");
    std::fs::write(&file, questions.join("\n") + "\n").expect("write the questions");
    let (there, here) = (format!("{CLIENTS}/questions"), file.display().to_string());
    for (client, server) in [
        (Client::Pod("shell-1"), VIPS[0]),
        (Client::Pod("shell-2"), VIPS[1]),
        (Client::Host("node-1"), VIPS[0]),
    ] {
        for mode in ["udp", "tcp"] {
            let file = if matches!(client, Client::Pod(_)) { &there } else { &here };
            let argv = [
                // Slower than what one client may ask at most.
                "dnsperf", "-s", server, "-d", file, "-m", mode, "-n", "100", "-c", "8", "-q", "50",
                "-Q", "20000",
            ];
            let said = success(&stage.run(client, &argv)).expect("dnsperf ends well");
            let lost = said.lines().find(|line| line.contains("Queries lost:"));
            assert!(lost.is_some_and(|line| line.contains(" 0 (")), "{client:?} {mode}: {said}");
        }
    }
}
