//! Search lists that nodes go along for their pods: how often a pod asks, how often others are asked, and
//! who searches by himself.

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::clients::{look_up, lookups};
use super::dig::Dig;
use super::stage::{Client, Shared, Stage, VIPS};
use crate::capture::{Capture, Where};
use crate::lab::{eventually, success, test};
use crate::processes;
use crate::service_stories::{restart_agent, signal};

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![
        stage.test("dns53_dns101_dns102_a_pod_asks_once_for_a_name_outside", pods),
        stage.test("dns102_a_name_outside_costs_one_question_of_its_type", outside),
        stage.test("dns102_the_answer_leads_to_the_name_that_is_there", answers),
        stage.test("dns103_who_opts_out_or_is_no_pod_searches_by_himself", themselves),
        test("dns101_a_search_list_outlives_the_agent_that_was_told_it", outlives),
    ]
}

/// The annotation of a pod that searches by itself.
const ALONE: &str = "seaway.io/dns-autopath: 'false'";

/// Of what was captured, the questions of this type for a name, or for those that begin so.
fn questions(seen: &[String], kind: &str, name: &str) -> usize {
    let asked = format!(" {kind}? {name}");
    seen.iter().filter(|line| line.contains(&asked)).count()
}

/// Every resolver, in a pod whose list is gone along and in one that opts out: three domains of the cluster,
/// and the name as it is.
fn pods(stage: &Stage) {
    stage.annotated_shell("alone", ALONE, "node-1", "");
    for (pod, times) in [("shell-1", 1), ("alone", 4)] {
        let filter = "udp dst port 53";
        let dump = Capture::start(&stage.lab, Where::Pod(pod), "eth0", 1000, filter);
        let resolvers = lookups().into_iter().filter(|(resolver, _)| *resolver != "busybox");
        let resolvers: Vec<_> = resolvers
            .map(|(resolver, command)| {
                let name = format!("{pod}-{resolver}.wild.example.org.");
                let found = look_up(stage, pod, &command, name.trim_end_matches('.'));
                assert!(found.contains("203.0.113.82"), "{pod}: {resolver}: {found}");
                (resolver, name)
            })
            .collect();
        let seen = dump.lines();
        for (resolver, name) in resolvers {
            for kind in ["A", "AAAA"] {
                assert_eq!(questions(&seen, kind, &name), times, "{pod}: {resolver}: {seen:#?}");
            }
        }
    }
}

/// With four domains of the cluster one question leaves it for each type. A domain of somebody else's costs
/// one more, once.
fn outside(stage: &Stage) {
    stage.shell("four", "node-1", "  dnsConfig: {searches: [ns1.svc.cluster.local]}\n");
    stage.shell("office", "node-1", "  dnsConfig: {searches: [office.example.org]}\n");
    let dump = Capture::start(&stage.lab, Where::Router, "internet", 1000, "udp dst port 53");
    for (pod, name) in [("four", "four-1"), ("office", "office-1"), ("office", "office-1")] {
        let name = format!("{name}.wild.example.org");
        for (resolver, command) in lookups().into_iter().filter(|(r, _)| *r != "busybox") {
            let found = look_up(stage, pod, &command, &name);
            assert!(found.contains("203.0.113.82"), "{pod}: {resolver}: {found}");
        }
    }
    let seen = dump.lines();
    for kind in ["A", "AAAA"] {
        for name in ["four-1.wild", "office-1.wild", "office-1.wild.example.org.office"] {
            let name = format!("{name}.example.org. ");
            assert_eq!(questions(&seen, kind, &name), 1, "{name} {kind}: {seen:#?}");
        }
    }
}

/// What `client` is answered: status, and the answer section.
fn ask(stage: &Stage, client: Client, name: &str, kind: &str) -> Result<(String, String), String> {
    let reply = Dig::at(VIPS[0]).ask(stage, client, &[(name, kind)])?.remove(0);
    let records: Vec<&str> = reply.answer.iter().map(|record| record.text.as_str()).collect();
    Ok((reply.status, records.join(", ")))
}

fn answers(stage: &Stage) {
    let cases = [
        ("www.example.org", "A", "CNAME www.example.org., CNAME example.org., A 203.0.113.80"),
        ("example.org", "MX", "CNAME example.org., MX 10 mail.example.org."),
        ("web.ns1", "AAAA", "CNAME web.ns1.svc.cluster.local., AAAA fd00:96::20"),
        (
            "_http._tcp.web.ns1.svc",
            "SRV",
            "CNAME _http._tcp.web.ns1.svc.cluster.local., SRV 0 100 80 web.ns1.svc.cluster.local.",
        ),
        ("example.org", "SRV", ""),
        ("ns1", "A", ""),
    ];
    for (name, kind, records) in cases {
        for pod in ["shell-1", "shell-2"] {
            let asked = format!("{name}.default.svc.cluster.local");
            let found = ask(stage, Client::Pod(pod), &asked, kind).expect("an answer");
            assert_eq!(found, ("NOERROR".to_owned(), records.to_owned()), "{pod}: {asked} {kind}");
        }
    }
    let missing = "nobody.example.org.default.svc.cluster.local";
    let found = ask(stage, Client::Pod("shell-1"), missing, "A").expect("an answer");
    assert_eq!(found, ("NXDOMAIN".to_owned(), String::new()));
    let found =
        success(&stage.lab.exec("shell-1", &["dig", "+search", "+short", "www.example.org"]));
    assert_eq!(found.expect("dig ends well").lines().last(), Some("203.0.113.80"));
}

fn themselves(stage: &Stage) {
    let none = "  dnsPolicy: None\n  dnsConfig: {nameservers: [10.96.0.10], \
                options: [{name: ndots, value: '5'}], searches: ";
    stage.annotated_shell("alone-too", ALONE, "node-2", "");
    stage.shell("own-list", "node-2", &format!("{none}[ns1.svc.cluster.local, example.org]}}\n"));
    stage.shell("other-list", "node-2", &format!("{none}[example.org]}}\n"));
    stage.shell("on-node", "node-2", "  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet\n");
    let (default, ns1) = ("default.svc.cluster.local", "ns1.svc.cluster.local");
    for (client, domain, is_helped) in [
        (Client::Pod("shell-2"), default, true),
        (Client::Pod("shell-2"), ns1, false),
        (Client::Pod("alone-too"), default, false),
        (Client::Pod("own-list"), ns1, true),
        (Client::Pod("own-list"), default, false),
        (Client::Pod("other-list"), default, false),
        (Client::Pod("on-node"), default, false),
        (Client::Host("node-2"), default, false),
    ] {
        let name = format!("www.example.org.{domain}");
        let (status, records) = ask(stage, client, &name, "A").expect("an answer");
        assert_eq!(status == "NOERROR", is_helped, "{client:?}: {name}: {status} {records}");
    }
    let second = ask(stage, Client::Pod("own-list"), &format!("www.{ns1}"), "A");
    let (_, records) = second.expect("an answer");
    assert!(records.starts_with("CNAME www.example.org., "), "its own list counts: {records}");
    for pod in ["alone-too", "own-list", "other-list", "on-node"] {
        let found = success(&stage.lab.exec(pod, &["getent", "ahostsv4", "www.example.org"]));
        assert!(found.expect("it is found").contains("203.0.113.80"), "{pod}");
    }
}

/// What a pod was started with is known to the agents after that one, whatever ended it.
fn outlives() {
    let stage = Stage::up();
    let is_helped = || {
        let name = "www.example.org.default.svc.cluster.local";
        match ask(&stage, Client::Pod("shell-1"), name, "A")? {
            (status, _) if status == "NOERROR" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("the list is gone along", is_helped);
    restart_agent(&stage.lab, "node-1");
    is_helped().expect("after a planned restart");
    let agents = processes::in_role(&stage.lab, "agent");
    let agent = agents.iter().find(|agent| agent.has_word("node-1")).expect("an agent");
    signal(agent, Signal::SIGKILL);
    // Meanwhile node-2 answers, who knows nothing of this pod.
    eventually("the next agent goes along the list", is_helped);
}
