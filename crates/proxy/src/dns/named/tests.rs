//! What is remembered, and what is written when.

use std::collections::BTreeMap;

use model::Family;

use super::*;

/// Sets for these patterns, one for each family.
fn sets(patterns: &str) -> NamedSets {
    let of = |pattern: &str| {
        let name = |family: Family| (family, SetName(format!("{pattern} {family}").into()));
        (pattern.parse().unwrap(), Family::ALL.map(name).into_iter().collect::<BTreeMap<_, _>>())
    };
    patterns.split_whitespace().map(of).collect()
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn addr(last: u16) -> IpAddr {
    let [high, low] = last.to_be_bytes();
    [198, 18, high, low].into()
}

/// It is `seconds` after the beginning, and an address is allowed for a minute.
fn at(start: Instant, seconds: u64) -> Times {
    Times { now: start + Duration::from_secs(seconds), least: Duration::from_secs(60) }
}

/// A memory that has written all that it wanted to.
fn answered(
    memory: &mut Memory,
    patterns: &Patterns,
    (of, addrs): (&str, &[(IpAddr, u32)]),
    times: Times,
) -> Vec<Stay> {
    let mut stays = memory.answered(&name(of), addrs, patterns, times);
    stays.extend(memory.lacking(Some(&name(of)), patterns, times.now));
    memory.wrote(&stays, &Unwritten::default(), times.now);
    stays
}

#[test]
fn npf2_a_name_belongs_into_the_sets_of_all_patterns_that_mean_it() {
    let patterns =
        Patterns::new(&sets("www.example.org *.example.org *.org.example *.b.example.org"));
    for (of, want) in [
        ("www.example.org", "*.example.org www.example.org"),
        ("example.org", ""),
        ("a.b.example.org", "*.b.example.org *.example.org"),
        ("b.example.org", "*.example.org"),
        ("myexample.org", ""),
        ("org", ""),
        (".", ""),
    ] {
        let name = name(of);
        let found: BTreeSet<String> = patterns
            .of(&name)
            .filter(|(family, _)| *family == Family::V4)
            .map(|(_, set)| set.to_string().replace(" ipv4", ""))
            .collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), want, "{of}");
    }
}

#[test]
fn npf5_npf7_an_address_is_allowed_for_its_ttl_and_a_while_and_a_minute_at_least() {
    let (patterns, start) = (Patterns::new(&sets("a.example")), Instant::now());
    for (ttl, stays) in [(0, 60), (5, 60), (30, 60), (31, 61), (300, 330), (u32::MAX, 86_430)] {
        let mut memory = Memory::new(Bounds::default());
        let addrs = [(addr(1), ttl)];
        let wrote = answered(&mut memory, &patterns, ("a.example", &addrs), at(start, 0));
        let want = Stay {
            set: SetName("a.example ipv4".into()),
            addr: addr(1),
            left: Some(Duration::from_secs(stays)),
        };
        assert_eq!(wrote, [want], "{ttl}");
        assert_eq!(memory.ending(at(start, stays - 1).now), [], "{ttl}");
        assert_eq!(memory.ending(at(start, stays).now).len(), 1, "{ttl}");
    }
}

#[test]
fn npf7_an_answer_that_is_given_again_is_written_once_in_a_while() {
    let (patterns, start) = (Patterns::new(&sets("a.example")), Instant::now());
    let writes = |ttl: &dyn Fn(u64) -> u32| -> usize {
        let mut memory = Memory::new(Bounds::default());
        let times = (0..300).map(|seconds| (at(start, seconds), ttl(seconds)));
        let mut count = 0;
        for (times, ttl) in times {
            let addrs = [(addr(1), ttl)];
            if !memory.has(patterns.of(&name("a.example")), &addrs, times) {
                answered(&mut memory, &patterns, ("a.example", &addrs), times);
                count += 1;
            }
            assert!(memory.has(patterns.of(&name("a.example")), &addrs, times));
        }
        count
    };
    assert_eq!(writes(&|_| 5), 8, "the zones give the same TTL each time");
    let remembered = |seconds: u64| 300 - u32::try_from(seconds).unwrap();
    assert_eq!(writes(&remembered), 1, "what is remembered has less and less");
}

#[test]
fn npf4_npf11_a_name_has_a_thousand_addresses_and_those_of_all_have_a_bound() {
    let (patterns, start) = (Patterns::new(&sets("*.b.example")), Instant::now());
    let bounds = Bounds { names: 4, addrs: 2500, each: 1000 };
    let mut memory = Memory::new(bounds);
    let mut held = BTreeSet::new();
    let mut note = |stays: Vec<Stay>| {
        for stay in stays {
            if stay.left.is_some() {
                held.insert(stay.addr)
            } else {
                held.remove(&stay.addr)
            };
        }
        held.clone()
    };
    // It rotates through 5000.
    for i in 0..5000 {
        let times = at(start, u64::from(i) / 100);
        note(answered(&mut memory, &patterns, ("s3.b.example", &[(addr(i), 60)]), times));
    }
    let left = note(Vec::new());
    assert_eq!(left, (4000..5000).map(addr).collect(), "the last thousand");
    for (i, other) in
        ["a.b.example", "b.b.example", "c.b.example", "d.b.example"].iter().enumerate()
    {
        let first = 10_000 + 500 * u16::try_from(i).unwrap();
        let addrs: Vec<_> = (first..first + 500).map(|i| (addr(i), 60)).collect();
        note(answered(&mut memory, &patterns, (other, &addrs), at(start, 51)));
    }
    let left = note(Vec::new());
    assert!(left.len() <= 2500 && memory.tally().names <= 4, "{:?}", memory.tally());
    assert_eq!(memory.tally().addrs, left.len());
    assert!((11_500..12_000).all(|i| left.contains(&addr(i))), "the newest are there");
}

#[test]
fn npf7_what_a_set_has_lost_is_put_back_and_what_it_has_more_stays() {
    let (patterns, start) = (Patterns::new(&sets("a.example *.b.example")), Instant::now());
    let mut memory = Memory::new(Bounds::default());
    for of in ["a.example", "x.b.example"] {
        answered(&mut memory, &patterns, (of, &[(addr(1), 300)]), at(start, 0));
    }
    let [a, b] = ["a.example ipv4", "*.b.example ipv4"].map(|set| SetName(set.into()));
    let stay = |set: &SetName, last, left| Stay {
        set: set.clone(),
        addr: addr(last),
        left: Some(Duration::from_secs(left)),
    };
    // Somebody has emptied one; an agent before this one has filled the other.
    let now = at(start, 10).now;
    memory.found(&a, Vec::new(), now);
    memory.found(&b, vec![stay(&b, 1, 320), stay(&b, 2, 90)], now);
    assert_eq!(memory.lacking(None, &patterns, now), [stay(&a, 1, 320)]);
    let all = memory.stand_for(&patterns, now);
    let names: Vec<String> =
        all.iter().map(|(name, addrs)| format!("{name} {}", addrs.len())).collect();
    assert_eq!(names, ["*.b.example. 1", "x.b.example. 1"], "what is not in a set is not allowed");
    // No rule asks for it any more.
    memory.retain(Some(&Patterns::new(&sets("a.example"))), now);
    assert_eq!(memory.ending(at(start, 1000).now), []);
    assert_eq!(memory.tally().names, 1);
}

#[test]
fn npf8_what_is_in_use_stays_and_what_was_said_later_counts() {
    let (patterns, start) = (Patterns::new(&sets("a.example")), Instant::now());
    let mut memory = Memory::new(Bounds::default());
    answered(&mut memory, &patterns, ("a.example", &[(addr(1), 5), (addr(2), 5)]), at(start, 0));
    let ending = memory.ending(at(start, 70).now);
    assert_eq!(ending.len(), 2);
    // One is answered again before what was seen in use is written.
    answered(&mut memory, &patterns, ("a.example", &[(addr(2), 600)]), at(start, 50));
    let kept = memory.kept(&ending, at(start, 50));
    let minute = Some(Duration::from_secs(60));
    assert_eq!(
        kept.iter().map(|stay| (stay.addr, stay.left)).collect::<Vec<_>>(),
        [(addr(1), minute)]
    );
}
