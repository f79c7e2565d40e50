//! Names outside of the cluster: nodes ask the servers of their `resolv.conf`, here NSD.

use libtest_mimic::Trial;

use super::dig::{Dig, Reply};
use super::stage::{Client, Shared, Stage, VIPS};
use crate::capture::{Capture, Where};
use crate::lab::text;

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![
        stage.test("dns31_dns81_dns94_names_outside_are_what_the_server_outside_says", said),
        stage.test("dns95_what_does_not_fit_a_datagram_is_fetched_by_tcp", large),
        stage.test("dns98_nothing_is_remembered_for_longer_than_an_hour", clamped),
        stage.test("dns53_dns90_dns104_a_new_name_outside_costs_one_question", once),
    ]
}

fn ask(stage: &Stage, client: Client, name: &str, kind: &str) -> Reply {
    let replies = Dig::at(VIPS[0]).ask(stage, client, &[(name, kind)]);
    replies.unwrap_or_else(|error| panic!("{client:?}: {name} {kind}: {error}")).remove(0)
}

fn said(stage: &Stage) {
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("example.org", "A", "NOERROR", &["A 203.0.113.80"]),
        ("example.org", "AAAA", "NOERROR", &["AAAA 2001:db8:1::80"]),
        ("example.org", "TXT", "NOERROR", &["TXT \"outside\""]),
        ("example.org", "MX", "NOERROR", &["MX 10 mail.example.org."]),
        ("www.example.org", "A", "NOERROR", &["CNAME example.org.", "A 203.0.113.80"]),
        ("10.113.0.203.in-addr.arpa", "PTR", "NOERROR", &["PTR ns.example."]),
        ("nobody.example.org", "A", "NXDOMAIN", &[]),
        ("example.org", "SRV", "NOERROR", &[]),
    ];
    for client in [Client::Pod("shell-1"), Client::Pod("shell-2"), Client::Host("node-1")] {
        for (name, kind, status, records) in cases {
            let reply = ask(stage, client, name, kind);
            let found: Vec<&str> = reply.answer.iter().map(|record| record.text.as_str()).collect();
            assert_eq!((reply.status.as_str(), &found[..]), (status, records), "{name}: {reply:?}");
            assert!(!reply.flags.iter().any(|flag| flag == "aa"), "not ours: {reply:?}");
            let has_soa = reply.authority.iter().any(|record| record.text.starts_with("SOA"));
            assert_eq!(has_soa, records.is_empty(), "how long there is nothing: {reply:?}");
        }
    }
    // Aliases that lead around end somewhere.
    let reply = ask(stage, Client::Pod("shell-1"), "loop.example.org", "A");
    assert!(reply.answer.len() <= 16, "{reply:?}");
}

fn large(stage: &Stage) {
    for (transport, records, is_cut) in [("+tcp", 90, false), ("+ignore", 0, true)] {
        let dig = Dig::at(VIPS[0]).with(transport);
        let asked = dig.ask(stage, Client::Pod("shell-1"), &[("big.example.org", "A")]);
        let reply = asked.expect("an answer").remove(0);
        let is_truncated = reply.flags.iter().any(|flag| flag == "tc");
        assert_eq!((reply.answer.len(), is_truncated), (records, is_cut), "{transport}: {reply:?}");
    }
}

fn clamped(stage: &Stage) {
    let reply = ask(stage, Client::Pod("shell-1"), "old.example.org", "A");
    assert!(reply.answer[0].ttl <= 3600, "{reply:?}");
}

/// Four domains to search in, of which the cluster knows that the name is in none.
fn once(stage: &Stage) {
    stage.shell("far", "node-1", "  dnsConfig: {searches: [ns1.svc.cluster.local]}\n");
    let name = "one.wild.example.org";
    let dump = Capture::start(&stage.lab, Where::Router, "internet", 1000, "udp dst port 53");
    for _ in 0..3 {
        let found = text(&stage.lab.exec("far", &["getent", "ahostsv4", name]));
        assert!(found.contains("203.0.113.82"), "{found}");
    }
    let seen = dump.lines();
    let asked: Vec<&String> = seen.iter().filter(|line| line.contains("one.wild")).collect();
    assert_eq!(asked.len(), 1, "{seen:?}");
}
