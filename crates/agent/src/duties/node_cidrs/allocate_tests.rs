//! Parts on paper.

use proptest::prelude::*;

use super::*;

/// A Node: `NAME ADDR,… CIDR,…`, where `-` is none of them, and a `*` behind the CIDRs says that somebody else gave them.
fn node(line: &str) -> Arc<NodeState> {
    let words: Vec<&str> = line.split(' ').collect();
    let list = |word: &str| match word.trim_end_matches('*') {
        "-" => Vec::new(),
        word => word.split(',').map(str::to_owned).collect(),
    };
    let pod_cidrs: Vec<IpNet> = list(words[2]).iter().map(|net| net.parse().unwrap()).collect();
    Arc::new(NodeState {
        name: words[0].into(),
        uid: words[0].into(),
        is_ready: true,
        is_leaving: false,
        is_incomplete: false,
        internal_ips: list(words[1]).iter().map(|ip| ip.parse().unwrap()).collect(),
        has_pod_cidrs: !pod_cidrs.is_empty(),
        pod_cidrs,
        is_ours: !words[2].ends_with('*'),
    })
}

fn nodes(lines: &[&str]) -> Nodes {
    lines.iter().map(|line| node(line)).map(|node| (node.name.clone(), node)).collect()
}

fn others(services: &[&str]) -> Others {
    Others { services: services.iter().map(|net| net.parse().unwrap()).collect() }
}

/// What each Node without pod CIDRs gets, or why it gets none.
fn given(settings: &str, lines: &[&str], services: &[&str], promised: &Promised) -> Vec<String> {
    let nodes = nodes(lines);
    let candidates: Vec<_> = waiting(&nodes).cloned().collect();
    let settings = settings.parse().unwrap();
    let given = allocate(&settings, &nodes, &others(services), promised, &candidates);
    let line = |(node, verdict): &(Arc<NodeState>, Verdict)| match verdict {
        Verdict::Gets(cidrs) => {
            let cidrs: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
            format!("{} {}", node.name, cidrs.join(","))
        }
        Verdict::Lacks(why) => format!("{}: {why}", node.name),
    };
    given.iter().map(line).collect()
}

#[test]
fn a_node_without_pod_cidrs_gets_the_lowest_parts_that_nobody_has() {
    type Case = (&'static str, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 11] = [
        ("auto", &["a 192.0.2.1 -", "b 192.0.2.2 -"], &["a 10.244.0.0/24", "b 10.244.1.0/24"]),
        (
            "auto",
            &["a fd00::1,192.0.2.1 -", "b 192.0.2.2,fd00::2 -", "c fd00::3 -"],
            &[
                "a fd00:10:244::/64,10.244.0.0/24",
                "b 10.244.1.0/24,fd00:10:244:1::/64",
                "c fd00:10:244:2::/64",
            ],
        ),
        (
            "auto",
            &[
                "a 192.0.2.1 10.244.0.0/24",
                "b 192.0.2.2 10.244.2.0/24",
                "c 192.0.2.3 -",
                "d 192.0.2.4 -",
            ],
            &["c 10.244.1.0/24", "d 10.244.3.0/24"],
        ),
        // Parts of other sizes, within and around.
        ("auto", &["a 192.0.2.1 10.244.0.0/23", "b 192.0.2.2 -"], &["b 10.244.2.0/24"]),
        ("auto", &["a 192.0.2.1 10.244.0.128/25", "b 192.0.2.2 -"], &["b 10.244.1.0/24"]),
        (
            "auto",
            &["a 192.0.2.1 10.0.0.0/8", "b 192.0.2.2 -"],
            &["b: 10.244.0.0/16 has no /24 left for it"],
        ),
        // Whoever comes first, and nobody else's matter.
        (
            "10.1.0.0/23",
            &["a 192.0.2.1 -", "b 192.0.2.2 10.1.0.0/24", "c 192.0.2.3 -", "d 192.0.2.4 -"],
            &[
                "a 10.1.1.0/24",
                "c: 10.1.0.0/23 has no /24 left for it",
                "d: 10.1.0.0/23 has no /24 left for it",
            ],
        ),
        // No part of one family where there is none of the other.
        (
            "10.1.0.0/23,fd00::/64",
            &["a 192.0.2.1 -", "b 192.0.2.2 -"],
            &["a 10.1.0.0/24,fd00::/64", "b: fd00::/64 has no /64 left for it"],
        ),
        ("auto", &["a - -"], &["a: it has no InternalIP, which says of which families it is"]),
        ("10.1.0.0/16/26", &["a - -", "b - -"], &["a 10.1.0.0/26", "b 10.1.0.64/26"]),
        (
            "255.255.255.0/24/25",
            &["a - 255.255.255.0/25", "b - -", "c - -"],
            &["b 255.255.255.128/25", "c: 255.255.255.0/24 has no /25 left for it"],
        ),
    ];
    for (settings, lines, want) in cases {
        assert_eq!(given(settings, lines, &["10.96.0.0/12"], &Promised::new()), want, "{lines:?}");
    }
}

#[test]
fn a_range_that_is_somebody_elses_is_not_used_and_named() {
    let lines = ["a 192.0.2.1 -"];
    for (settings, services, why) in [
        (
            "10.96.0.0/11",
            &["10.96.0.0/12"][..],
            "a: 10.96.0.0/11 overlaps 10.96.0.0/12 of Services",
        ),
        ("10.100.0.0/16", &["10.96.0.0/12"], "a: 10.100.0.0/16 overlaps 10.96.0.0/12 of Services"),
        (
            "auto",
            &["fd00:10:244::7/128", "10.244.7.7/32"],
            "a: 10.244.0.0/16 overlaps 10.244.7.7/32 of Services",
        ),
        ("192.0.0.0/16", &[], "a: 192.0.0.0/16 holds an address of Node a"),
    ] {
        assert_eq!(given(settings, &lines, services, &Promised::new()), [why]);
    }
}

#[test]
fn a_promise_is_kept_and_one_to_another_node_of_that_name_is_none() {
    let net = |text: &str| vec![text.parse().unwrap()];
    let promised = |uid: &str| Promised::from([("b".into(), (uid.into(), net("10.244.0.0/24")))]);
    let lines = ["a 192.0.2.1 -", "b 192.0.2.2 -"];
    let kept = given("auto", &lines, &[], &promised("b"));
    assert_eq!(kept, ["a 10.244.1.0/24", "b 10.244.0.0/24"]);
    let broken = given("auto", &lines, &[], &promised("another"));
    assert_eq!(broken, ["a 10.244.0.0/24", "b 10.244.1.0/24"]);
}

#[test]
fn who_waits_and_who_has_been_served_by_somebody_else() {
    let change = |change: fn(&mut NodeState)| {
        let mut state = NodeState::clone(&node("a 192.0.2.1 -"));
        change(&mut state);
        let nodes: Nodes = [(state.name.clone(), Arc::new(state))].into_iter().collect();
        (waiting(&nodes).count(), foreign(&nodes).is_some())
    };
    assert_eq!(change(|_| {}), (1, false));
    assert_eq!(change(|node| node.is_leaving = true), (0, false));
    assert_eq!(change(|node| node.is_incomplete = true), (0, false));
    assert_eq!(change(|node| node.has_pod_cidrs = true), (0, false), "it is marked as ours");
    assert_eq!(change(|node| (node.has_pod_cidrs, node.is_ours) = (true, false)), (0, true));
}

/// One step in the life of a cluster, each about one of a few Nodes.
#[derive(Debug, Clone)]
enum Step {
    Join(u8),
    Leave(u8),
    /// Somebody else gives it this part of the range, of some length.
    Foreign(u8, u8, u8),
    /// All that wait are served.
    Allocate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12_u8).prop_map(Step::Join),
        2 => (0..12_u8).prop_map(Step::Leave),
        1 => (0..12_u8, any::<u8>(), 20..29_u8).prop_map(|(n, at, len)| Step::Foreign(n, at, len)),
        4 => Just(Step::Allocate),
    ];
    prop::collection::vec(step, 1..60)
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

proptest! {
    /// Whatever has come and gone: a part is of its range and nobody else's; what a Node has it keeps; who gets
    /// none finds none free; and another leader would have decided the same.
    #[test]
    fn parts_never_overlap_are_of_their_range_and_stay(steps in steps()) {
        let settings: PodCidrs = "10.1.0.0/21,fd00::/61".parse().unwrap();
        let ranges = settings.ranges(&[]);
        let mut nodes = Nodes::new();
        for step in steps {
            match step {
                Step::Join(n) => {
                    let node = node(&format!("n{n} 192.0.2.{n} -"));
                    if !nodes.contains_key(&node.name) {
                        nodes.insert(node.name.clone(), node);
                    }
                }
                Step::Leave(n) => drop(nodes.remove(&NodeName::from(format!("n{n}")))),
                Step::Foreign(n, at, length) => {
                    let net = IpNet::new_assert(IpAddr::from([10, 1, at % 16, 0]), length).trunc();
                    let name = NodeName::from(format!("n{n}"));
                    let is_free = nodes.values().flat_map(|node| &node.pod_cidrs).all(|had| !overlap(had, &net));
                    if let Some(node) = nodes.get_mut(&name)
                        && !node.has_pod_cidrs && is_free
                    {
                        let node = Arc::make_mut(node);
                        (node.has_pod_cidrs, node.pod_cidrs) = (true, vec![net]);
                    }
                }
                Step::Allocate => {
                    let candidates: Vec<_> = waiting(&nodes).cloned().collect();
                    let decide = || allocate(&settings, &nodes, &Others::default(), &Promised::new(), &candidates);
                    let decided = decide();
                    prop_assert_eq!(&decided, &decide());
                    for (state, verdict) in decided {
                        let had: Vec<IpNet> = nodes.values().flat_map(|node| node.pod_cidrs.clone()).collect();
                        match verdict {
                            Verdict::Gets(parts) => {
                                prop_assert_eq!(parts.len(), ranges.len());
                                for (part, range) in parts.iter().zip(&ranges) {
                                    prop_assert!(range.net.contains(part) && part.prefix_len() == range.prefix);
                                    prop_assert!(had.iter().all(|had| !overlap(had, part)), "{part} of {had:?}");
                                }
                                let node = Arc::make_mut(nodes.get_mut(&state.name).unwrap());
                                (node.has_pod_cidrs, node.pod_cidrs) = (true, parts);
                            }
                            Verdict::Lacks(_) => {
                                let is_full = ranges.iter().any(|range| {
                                    let mut parts = range.net.subnets(range.prefix).unwrap();
                                    parts.all(|part| had.iter().any(|had| overlap(had, &part)))
                                });
                                prop_assert!(is_full, "{} got none of {:?}", state.name, had);
                            }
                        }
                    }
                }
            }
        }
    }
}
