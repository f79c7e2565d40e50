//! Every vector: what the zones of its cluster answer.

use fixtures::message::{self, Message, Record};
use fixtures::vectors::{COREDNS, SPECIFICATION, expand};
use model::{Dns, PodRecords, World};
use plan::zone::{Question, Zones, answer};
use wire::dns::Transport;

use super::world::{world, zones};

/// What is wrong in the cluster of the vectors.
const WRONG: [&str; 1] = ["Service ns1/exip: spec.externalName: \"192.0.2.1\" is an address"];

fn of_world() -> Zones {
    let mut zones = zones(&world(), &WRONG);
    zones.serial = 1_700_000_000;
    zones
}

#[test]
fn dns1_to_dns14_names_are_answered_as_the_specification_says() {
    check(&of_world(), SPECIFICATION);
}

#[test]
fn dns20_to_dns45_dns69_names_are_answered_as_coredns_does() {
    check(&of_world(), COREDNS);
}

#[test]
fn dns20_dns24_dns27_dns29_dns91_options_change_what_there_is() {
    let with = |change: &dyn Fn(&mut Dns)| {
        let mut world: World = world();
        change(&mut world.config.dns);
        zones(&world, &WRONG)
    };
    let hiding = with(&|dns| dns.hides_empty = true);
    check(
        &hiding,
        "DNS-24 | v4.ns1~ A | NXDOMAIN |\n DNS-24 | web.ns1~ A | NOERROR | A 10.96.0.20",
    );
    let pod_names = with(&|dns| dns.endpoint_pod_names = true);
    check(
        &pod_names,
        "DNS-27 | p-7.db.ns1~ A        | NOERROR  | A 10.244.2.7
         DNS-27 | 10-244-2-7.db.ns1~ A | NXDOMAIN |
         DNS-27 | db-0.db.ns1~ A       | NOERROR  | A 10.244.1.5",
    );
    let disabled = with(&|dns| dns.pods = PodRecords::Disabled);
    check(
        &disabled,
        "DNS-29 | 10-244-2-7.ns1.pod.cluster.local. A | NXDOMAIN |
         DNS-20 | pod.cluster.local. A                | NOERROR  |",
    );
    let insecure = with(&|dns| dns.pods = PodRecords::Insecure);
    check(
        &insecure,
        "DNS-29 | 1-2-3-4.ns1.pod.cluster.local. A          | NOERROR  | A 1.2.3.4
         DNS-29 | 1-2-3-4.nope.pod.cluster.local. A         | NXDOMAIN |
         DNS-29 | 2001-db8--1.empty.pod.cluster.local. AAAA | NOERROR  | AAAA 2001:db8::1
         DNS-29 | web.ns1.pod.cluster.local. A              | NXDOMAIN |",
    );
    let other = with(&|dns| dns.domain = "corp.example".parse().unwrap());
    check(
        &other,
        "DNS-91 | web.ns1.svc.corp.example. A  | NOERROR | A 10.96.0.20
         DNS-91 | web.ns1~ A                   | elsewhere |
         DNS-91 | evil-corp.example. A         | elsewhere |
         DNS-91 | 20.0.96.10.in-addr.arpa. PTR | NOERROR | PTR web.ns1.svc.corp.example.",
    );
}

#[test]
fn dns40_what_is_not_known_yet_is_not_denied() {
    let mut zones = of_world();
    zones.is_complete = false;
    check(
        &zones,
        "DNS-40 | web.ns1~ A                   | NOERROR   | A 10.96.0.20
         DNS-40 | missing.ns1~ A               | SERVFAIL  |
         DNS-40 | web.ns1~ TXT                 | SERVFAIL  |
         DNS-40 | foo.cluster.local. A         | SERVFAIL  |
         DNS-40 | 9.9.9.10.in-addr.arpa. PTR   | SERVFAIL  |
         DNS-40 | ext.ns1~ A                   | NOERROR   | CNAME example.org.
         DNS-40 | example.org. A               | elsewhere |",
    );
    check(&Zones::default(), "DNS-40 | web.ns1~ A | SERVFAIL |");
}

#[test]
fn dns25_dns26_dns36_targets_come_with_their_addresses() {
    let cases = [
        ("DNS-25", "web.ns1~ SRV", "web.ns1~ A 10.96.0.20; web.ns1~ AAAA fd00:96::20"),
        ("DNS-26", "_pg._tcp.dup.ns1~ SRV", "a.dup.ns1~ A 10.244.3.1; a.dup.ns1~ A 10.244.3.2"),
        (
            "DNS-36",
            "cluster.local. NS",
            "kube-dns.kube-system~ A 10.96.0.10; kube-dns.kube-system~ AAAA fd00:96::a",
        ),
        ("DNS-5", "db.ns1~ A", ""),
        ("DNS-11", "ext.ns1~ SRV", ""),
    ];
    for (id, question, want) in cases {
        let question = expand(question);
        let (name, kind) = question.split_once(' ').unwrap();
        let got = ask(&of_world(), name, kind, Transport::Tcp).unwrap();
        let owned = |r: &Record| format!("{} {}", r.owner, r.text);
        let got: Vec<_> = got.sections[2].iter().map(owned).collect();
        assert_eq!(got.join("; "), expand(want), "{id}");
    }
}

#[test]
fn dns11_dns31_an_alias_of_a_foreign_name_is_followed_elsewhere() {
    let zones = of_world();
    for (name, kind, follow) in [
        ("ext.ns1~", "A", Some("example.org.")),
        ("loud.ns1~", "A", Some("Example.ORG.")),
        ("ext.ns1~", "CNAME", None),
        ("exin.ns1~", "A", None),
        ("web.ns1~", "A", None),
    ] {
        let name = expand(name).parse().unwrap();
        let kind = wire::dns::RecordType(message::kind(kind));
        let answer = answer(&zones, &Question { name: &name, kind, turn: 0 }).unwrap();
        assert_eq!(answer.follow().map(ToString::to_string).as_deref(), follow, "{name}");
    }
}

#[test]
fn dns42_dns44_every_answer_is_remembered_for_as_long() {
    let zones = of_world();
    let ttl = |name: &str, kind: &str| {
        let got = ask(&zones, &expand(name), kind, Transport::Udp).unwrap();
        got.sections.concat().iter().map(|record| record.ttl).max()
    };
    assert_eq!(ttl("dns-version.cluster.local.", "TXT"), Some(28_800), "DNS-42");
    for (name, kind) in
        [("web.ns1~", "A"), ("web.ns1~", "TXT"), ("missing.ns1~", "A"), ("web.ns1~", "SRV")]
    {
        assert_eq!(ttl(name, kind), Some(5), "DNS-42, DNS-44: {name}");
    }
}

#[test]
fn dns72_addresses_take_turns() {
    let (zones, name) = (of_world(), expand("db.ns1~").parse().unwrap());
    let first = |turn| {
        let question = Question { name: &name, kind: wire::dns::RecordType::A, turn };
        let (answer, mut first) = (answer(&zones, &question).unwrap(), None);
        answer.records(wire::dns::Section::Answer, &mut |record| {
            first = Some(record.rdata.to_string());
            std::ops::ControlFlow::Break(())
        });
        first
    };
    let all: std::collections::BTreeSet<_> = (0..3).map(first).collect();
    assert_eq!(all.len(), 3, "DNS-72: {all:?}");
}

#[test]
fn zones_print_what_they_answer() {
    let printed = of_world().to_string();
    for line in [
        "dns-version.cluster.local. 28800 IN TXT \"1.1.0\"",
        "web.ns1~ 5 IN AAAA fd00:96::20",
        "db-0.db.ns1~ 5 IN A 10.244.1.5",
        "loud.ns1~ 5 IN CNAME Example.ORG.",
        "web.ns1~ 5 IN SRV 0 50 80 web.ns1~",
        "; 10.96.0.20 5 IN PTR web.ns1~",
    ] {
        assert!(printed.lines().any(|printed| printed == expand(line)), "{line}\n{printed}");
    }
    assert!(!printed.contains("none.ns1") && !printed.contains("192.0.2.1"), "{printed}");
}

fn check(zones: &Zones, rows: &str) {
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let cells: Vec<_> = row.split('|').map(|cell| expand(cell.trim())).collect();
        let [id, question, rcode, records] = &cells[..] else { panic!("{row}") };
        let (name, kind) = question.split_once(' ').unwrap();
        for name in [name.to_owned(), mixed(name)] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let got = ask(zones, &name, kind, transport);
                check_one(&format!("{id}: {name} {kind}"), got, rcode, (&name, records));
            }
        }
    }
}

fn check_one(what: &str, got: Option<Message>, rcode: &str, (name, records): (&str, &str)) {
    let Some(got) = got else { return assert_eq!(rcode, "elsewhere", "{what}") };
    let rcodes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    assert_eq!(rcodes.get(usize::from(got.rcode())), Some(&rcode), "{what}");
    let is_answer = matches!(rcode, "NOERROR" | "NXDOMAIN");
    // QR, RD as it was sent, RA (DNS-60).
    assert_eq!(got.flags & 0xfff0, if is_answer { 0x8580 } else { 0x8180 }, "{what}");
    let mut want: Vec<_> =
        records.split("; ").filter(|r| !r.is_empty()).map(str::to_owned).collect();
    let shown = |record: &Record| match record.owner == name {
        // In the case of the question, which is nobody else's (DNS-38).
        true => record.text.clone(),
        false => format!("{} {}", record.owner, record.text),
    };
    let mut shown: Vec<_> = got.sections[0].iter().map(shown).collect();
    if records.starts_with("CNAME") {
        assert!(shown[0].starts_with("CNAME"), "{what}: the alias comes first");
    }
    want.sort();
    shown.sort();
    assert_eq!(shown, want, "{what}");
    // NODATA and NXDOMAIN say how long (DNS-44); an alias of a foreign name is not all of the answer.
    let is_last = got.sections[0].last().is_some_and(|r| !r.text.starts_with("CNAME"));
    let is_foreign = !is_last && !got.sections[0].is_empty() && rcode == "NOERROR";
    let is_negative = is_answer && !is_last && !is_foreign;
    let soa: Vec<_> = got.sections[1].iter().map(|r| r.text.starts_with("SOA ")).collect();
    assert_eq!(soa, if is_negative { vec![true] } else { vec![] }, "{what}: authority");
}

fn ask(zones: &Zones, name: &str, kind: &str, transport: Transport) -> Option<Message> {
    let query = message::query(name, message::kind(kind), Some(1232));
    let bytes = super::respond(zones, &query, transport)?;
    let got = message::read(&bytes);
    assert_eq!(got.id, 0xabcd);
    assert_eq!(got.question, query[12..12 + got.question.len()], "DNS-38: byte for byte");
    assert_eq!(got.opt, Some((1232, 0)), "DNS-64");
    Some(got)
}

/// Every other letter is a capital one.
fn mixed(name: &str) -> String {
    let capital = |(i, c): (usize, char)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c };
    name.chars().enumerate().map(capital).collect()
}
