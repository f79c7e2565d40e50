//! Every vector as `dig` hears it: over UDP and TCP, IPv4 and IPv6, in both cases, by pods, by nodes
//! themselves, and at a node by others.

use fixtures::vectors::{COREDNS, SPECIFICATION, expand};
use libtest_mimic::Trial;

use super::dig::{Dig, Record, Reply};
use super::stage::{Client, LINK_LOCAL, NODE_1, NODE_PORT, Shared, Stage, VIPS};
use crate::lab::eventually;

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![
        stage.test("dns1_to_dns45_dns60_dns69_pods_hear_every_vector", |stage| {
            for vip in VIPS {
                hears(stage, Client::Pod("shell-1"), &Dig::at(vip));
            }
        }),
        stage.test("dns1_to_dns45_dns60_dns69_nodes_hear_every_vector", |stage| {
            for server in [VIPS[0], VIPS[1], LINK_LOCAL] {
                hears(stage, Client::Host("node-1"), &Dig::at(server));
            }
        }),
        stage.test("dns1_to_dns45_dns60_dns69_other_nodes_hear_every_vector", |stage| {
            for server in NODE_1 {
                hears(stage, Client::Host("node-2"), &Dig::at(server).port(NODE_PORT));
                hears(stage, Client::Pod("shell-2"), &Dig::at(server).port(NODE_PORT));
            }
        }),
        stage.test("dns37_dns39_zones_are_not_given_away", zones),
    ]
}

/// A vector: what it is about, the question, the rcode and the records.
struct Vector {
    what: String,
    name: String,
    kind: String,
    status: String,
    records: Vec<String>,
}

fn vectors() -> Vec<Vector> {
    let rows = SPECIFICATION.lines().chain(COREDNS.lines());
    let rows = rows.filter(|row| !row.trim().is_empty() && !row.contains("XFR"));
    let vectors = rows.flat_map(|row| {
        let cells: Vec<String> = row.split('|').map(|cell| expand(cell.trim())).collect();
        let [id, question, status, records] = &cells[..] else { panic!("{row}") };
        let (name, kind) = question.split_once(' ').expect("a name and a type");
        let records: Vec<String> =
            records.split("; ").filter(|r| !r.is_empty()).map(str::to_owned).collect();
        [name.to_owned(), mixed(name)].map(|name| Vector {
            what: format!("{id}: {name} {kind}"),
            name,
            kind: kind.to_owned(),
            status: status.clone(),
            records: records.clone(),
        })
    });
    vectors.collect()
}

/// Every other letter is a capital one.
fn mixed(name: &str) -> String {
    let capital = |(i, c): (usize, char)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c };
    name.chars().enumerate().map(capital).collect()
}

fn hears(stage: &Stage, client: Client, dig: &Dig) {
    let vectors = vectors();
    let questions: Vec<_> = vectors.iter().map(|v| (v.name.as_str(), v.kind.as_str())).collect();
    for dig in [dig.clone().with("+notcp"), dig.clone().with("+tcp")] {
        eventually("every vector is answered", || {
            let replies = dig.ask(stage, client, &questions)?;
            let pairs = vectors.iter().zip(&replies);
            let wrong = pairs.filter_map(|(vector, reply)| judge(vector, reply).err());
            let wrong: Vec<String> = wrong.collect();
            match wrong.is_empty() {
                true => Ok(()),
                false => Err(format!("{client:?} {dig:?}: {}", wrong.join("\n"))),
            }
        });
    }
}

fn judge(vector: &Vector, reply: &Reply) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{}: {why}: {reply:?}", vector.what));
    if reply.name != vector.name {
        return wrong("another question");
    }
    if !reply.has_opt || !["qr", "rd", "ra"].iter().all(|f| reply.flags.iter().any(|g| g == f)) {
        return wrong("flags");
    }
    let is_ours = reply.flags.iter().any(|flag| flag == "aa");
    if vector.status == "elsewhere" {
        return if is_ours { wrong("not of this cluster") } else { Ok(()) };
    }
    // An alias leads to where it leads: the records of its target come with it.
    let follows = vector.records.len() == 1
        && vector.records[0] == "CNAME example.org."
        && vector.kind != "CNAME";
    if reply.status != vector.status {
        return wrong("status");
    }
    if is_ours != (reply.status != "SERVFAIL") {
        return wrong("AA");
    }
    let mut found: Vec<String> = reply.answer.iter().map(|r| shown(r, &vector.name)).collect();
    if vector.records.first().is_some_and(|r| r.starts_with("CNAME"))
        && found.first() != vector.records.first()
    {
        return wrong("the alias comes first");
    }
    let mut wanted = vector.records.clone();
    if follows && vector.kind == "A" {
        wanted.push("example.org. A 203.0.113.80".to_owned());
    }
    found.sort();
    wanted.sort();
    if found != wanted {
        return wrong("records");
    }
    let is_negative = found.is_empty() || reply.status == "NXDOMAIN";
    let soa = reply.authority.iter().any(|record| record.text.starts_with("SOA "));
    if soa != (is_negative && reply.status != "SERVFAIL") && !follows {
        return wrong("authority");
    }
    Ok(())
}

/// A record as vectors have it: with its owner where that is another, and with their serial.
fn shown(record: &Record, name: &str) -> String {
    let mut words: Vec<&str> = record.text.split(' ').collect();
    if words[0] == "SOA" {
        words[3] = "1700000000";
    }
    let text = words.join(" ");
    if record.owner == name { text } else { format!("{} {text}", record.owner) }
}

/// Whoever asks for all of a zone is refused, over both transports.
fn zones(stage: &Stage) {
    let client = Client::Pod("shell-1");
    for kind in ["AXFR", "IXFR=1"] {
        let at = format!("@{}", VIPS[0]);
        let said = stage.run(client, &["dig", &at, "+tcp", "cluster.local", kind]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("Transfer failed"), "{kind}: {said}");
    }
}
