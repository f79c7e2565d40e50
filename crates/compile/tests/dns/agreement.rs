//! Zones of arbitrary Worlds answer what the oracle says, whatever came before; and the laws of names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use fixtures::message;
use fixtures::names::{Event, event, happen};
use model::{DomainName, World};
use oracle::dns::{Answer, Record, answer as should, records};
use plan::zone::{Question, Zones, answer};
use proptest::prelude::*;
use seaway_compile::dns::Memo;
use wire::dns::{Rcode, RecordType, Section, Transport};

const KINDS: [(&str, RecordType); 9] = [
    ("A", RecordType::A),
    ("AAAA", RecordType::AAAA),
    ("CNAME", RecordType::CNAME),
    ("MX", RecordType::MX),
    ("NS", RecordType::NS),
    ("PTR", RecordType::PTR),
    ("SOA", RecordType::SOA),
    ("SRV", RecordType::SRV),
    ("TXT", RecordType::TXT),
];

fn after(events: Vec<Event>) -> World {
    let mut world = World::default();
    events.into_iter().for_each(|event| happen(&mut world, event));
    world
}

fn zones(world: &World) -> Zones {
    Memo::default().zones(world, &mut Vec::new())
}

/// What `zones` answer, in the oracle's words.
fn does(zones: &Zones, name: &str, kind: RecordType) -> Answer {
    let wire: DomainName = name.parse().unwrap();
    let question = Question { name: &wire, kind, turn: 7 };
    let Some(answer) = answer(zones, &question) else { return Answer::Elsewhere };
    let mut said = BTreeSet::new();
    answer.records(Section::Answer, &mut |record| {
        let owner = record.owner.map_or(name.to_owned(), |owner| owner.to_string().to_lowercase());
        let text = record.rdata.to_string();
        let (kind, value) = text.split_once(' ').unwrap();
        let value = match kind {
            "SOA" => String::new(),
            "SRV" => value.splitn(3, ' ').last().unwrap().to_owned(),
            _ => value.to_lowercase(),
        };
        let kind = KINDS.iter().find(|(known, _)| *known == kind).unwrap().0;
        assert!(
            said.insert(Record { owner, kind, value }) || kind == "SRV" || kind == "PTR",
            "{name}: twice"
        );
        ControlFlow::Continue(())
    });
    match answer.rcode() {
        Rcode::NoError => Answer::Records(said),
        Rcode::NxDomain => Answer::Missing(said),
        Rcode::ServFail => Answer::Endless,
        rcode @ (Rcode::FormErr
        | Rcode::NotImp
        | Rcode::Refused
        | Rcode::BadVers
        | Rcode::BadCookie) => {
            panic!("{name}: {rcode}")
        }
    }
}

/// Names that are in `world`, and names near them.
fn names(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for record in records(world) {
        let mut name = record.owner.as_str();
        for label in ["x", "_tcp", "_x._tcp", "a", "10-244-1-2"] {
            all.insert(format!("{label}.{name}"));
        }
        // It, and everything above it.
        while let Some((_, parent)) = name.split_once('.') {
            all.insert(name.to_owned());
            name = parent;
        }
    }
    let addrs = ["10-244-1-2", "10-244-2-2", "fd00--", "fd00-10-244-1--2", "10-244-1", "1--2"];
    for (addr, space) in
        addrs.iter().flat_map(|addr| ["ns1", "ns2", "empty"].map(|space| (addr, space)))
    {
        all.insert(format!("{addr}.{space}.pod.{}", world.config.dns.domain));
        all.insert(format!("{space}.svc.{}", world.config.dns.domain));
        all.insert(format!("{space}.pod.{}", world.config.dns.domain));
    }
    all.extend(["example.org.", "evil-cluster.local.", "4.3.2.1.in-addr.arpa."].map(str::to_owned));
    all
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn dns1_to_dns45_zones_answer_what_the_specification_says(events in prop::collection::vec(event(), 1..24)) {
        let world = after(events);
        let zones = zones(&world);
        for name in names(&world) {
            for (word, kind) in KINDS {
                let (want, got) = (should(&world, &name, word), does(&zones, &name, kind));
                prop_assert_eq!(&want, &got, "{} {}\n{}", name, word, zones);
            }
        }
    }

    #[test]
    fn whatever_came_before_a_world_has_one_zone(
        events in prop::collection::vec((event(), any::<bool>()), 1..40),
    ) {
        let (mut world, mut memo) = (World::default(), Memo::default());
        for (event, looks) in events {
            happen(&mut world, event);
            if looks {
                let (mut wrong, mut anew) = (Vec::new(), Vec::new());
                let got = memo.zones(&world, &mut wrong);
                prop_assert_eq!(&got, &Memo::default().zones(&world, &mut anew));
                prop_assert_eq!(wrong, anew);
                prop_assert_eq!(&got, &memo.zones(&world, &mut Vec::new()), "no news, no change");
            }
        }
    }

    /// RFC 8020: below what does not exist nothing does. RFC 2308: a name does not exist, or it exists
    /// for every type.
    #[test]
    fn dns22_dns43_a_name_exists_for_every_type_and_below_one_that_does(
        events in prop::collection::vec(event(), 1..24),
    ) {
        let world = after(events);
        let zones = zones(&world);
        let apex = world.config.dns.domain;
        let exists = |name: &DomainName, kind| {
            let answer = answer(&zones, &Question { name, kind, turn: 0 });
            answer.map(|answer| {
                // The rcode of an alias' answer is about where that leads to (RFC 6604).
                answer.rcode() == Rcode::NoError
            })
        };
        for text in names(&world) {
            let name: DomainName = text.parse().unwrap();
            let is_there = exists(&name, RecordType::CNAME);
            prop_assert_eq!(exists(&name, RecordType::ANY), is_there, "{}", text);
            prop_assert!(is_there.is_none() || name.is_under(&apex) || text.ends_with(".arpa."));
            let parent: DomainName = text.split_once('.').unwrap().1.parse().unwrap_or(DomainName::ROOT);
            if is_there == Some(true) && parent.is_under(&apex) {
                prop_assert_eq!(exists(&parent, RecordType::CNAME), Some(true), "above {}", text);
            }
        }
    }

    #[test]
    fn dns38_case_changes_the_question_alone(
        events in prop::collection::vec(event(), 1..24),
        pick in any::<prop::sample::Index>(),
        capitals in any::<u64>(),
    ) {
        let world = after(events);
        let (zones, names) = (zones(&world), names(&world));
        let name = names.iter().nth(pick.index(names.len())).unwrap();
        let is_capital = |i: usize| capitals >> (i % 64) & 1 == 1;
        let capital = |(i, c): (usize, char)| if is_capital(i) { c.to_ascii_uppercase() } else { c };
        let mixed: String = name.chars().enumerate().map(capital).collect();
        for (_, kind) in KINDS {
            let ask = |name: &str| {
                let query = message::query(name, kind.0, None);
                super::respond(&zones, &query, Transport::Tcp).map(|bytes| message::read(&bytes))
            };
            let (Some(lower), Some(upper)) = (ask(name), ask(&mixed)) else {
                prop_assert!(ask(name).is_none() && ask(&mixed).is_none());
                continue;
            };
            prop_assert_eq!(lower.flags, upper.flags);
            for (lower, upper) in lower.sections.concat().iter().zip(upper.sections.concat()) {
                prop_assert_eq!(&lower.text, &upper.text);
                let owner = if lower.owner == *name { &mixed } else { &lower.owner };
                prop_assert!(upper.owner == *owner || upper.owner == lower.owner, "{:?}", upper);
            }
        }
    }
}
