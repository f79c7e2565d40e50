//! The laws of mechanisms, for nftables.

use plan::nft::{Chain, ChainKind, Field, HookPoint, Key, Row, Rule, Statement, Value, Verdict};
use plan::{Changes, Mechanism, Table, diff};
use seaway_kernel::nft::{Former, Learned, Nft, dropping, foreign, learned, leftovers, take_away};

use crate::shapes::{base, chain_name, everything, set_name, v4};
use crate::{BRIDGE, INET, Rows, isolated, nft, put};

#[test]
fn converging_a_second_time_changes_nothing() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        put(&mut kernel, &everything());
        assert!(put(&mut kernel, &everything()).is_empty());
    });
}

#[test]
fn a_change_of_one_chain_or_element_leaves_every_other_rule_in_place() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let mut want = everything();
        put(&mut kernel, &want);
        let forward = || nft("-a list chain inet seaway forward");
        let before = forward();
        let called = Chain {
            hook: None,
            rules: vec![Rule { statements: vec![Statement::Counter], comment: None }],
        };
        want.insert(Key::Chain(INET, chain_name("called")), Row::Chain(called));
        want.insert(Key::Element(INET, set_name("v4"), [v4(77)].into()), Row::Element(None));
        want.remove(&Key::Element(INET, set_name("port"), [Value::Port(80)].into()));
        assert_eq!(put(&mut kernel, &want).len(), 3);
        assert_eq!(forward(), before, "a rule made anew has another handle");
    });
}

#[test]
fn an_empty_plan_removes_both_tables_and_leaves_those_of_others() {
    isolated(|| {
        nft("add table inet theirs { chain c { type filter hook forward priority 0; } ; }");
        nft("add table ip seaway");
        let before = nft("list ruleset");
        let mut kernel = Nft::open().unwrap();
        put(&mut kernel, &everything());
        put(&mut kernel, &Rows::default());
        assert_eq!(nft("list ruleset"), before);
        assert!(foreign(&mut kernel).unwrap().is_empty());
    });
}

#[test]
fn a_map_goes_together_with_the_chains_that_it_leads_to() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let bare: Rows = [(Key::Table(INET), Row::Table)].into_iter().collect();
        let mut full = bare.clone();
        let all = everything();
        let set = set_name("links");
        let wanted = |key: &Key| match key {
            Key::Set(INET, name) | Key::Element(INET, name, _) => *name == set,
            Key::Chain(INET, name) => *name == chain_name("called"),
            Key::Table(_) | Key::Set(..) | Key::Chain(..) | Key::Element(..) => false,
        };
        full.extend(all.iter().filter(|(key, _)| wanted(key)).map(|(k, r)| (k.clone(), r.clone())));
        let lookup = Statement::Vmap(vec![Field::Iifname], set.clone());
        let rules = vec![Rule { statements: vec![lookup], comment: None }];
        let row = base(ChainKind::Filter, HookPoint::Forward, 0, rules);
        full.insert(Key::Chain(INET, chain_name("forward")), row);
        put(&mut kernel, &full);
        put(&mut kernel, &bare);
    });
}

/// The first `count` rows of `changes`, in the order in which they are applied.
fn first(changes: &Changes<Key, Row>, count: usize) -> Changes<Key, Row> {
    let puts = changes.puts.clone().into_iter().take(count).collect();
    let left = count.saturating_sub(changes.puts.len());
    let deletes = changes.deletes.iter().rev().take(left).rev().cloned().collect();
    Changes { puts, deletes }
}

#[test]
fn stopping_after_any_row_and_starting_again_reaches_the_same_end() {
    let (full, mut other) = (everything(), everything());
    other.remove(&Key::Set(BRIDGE, set_name("mark")));
    for mark in 1..7 {
        other.remove(&Key::Element(BRIDGE, set_name("mark"), [Value::Mark(mark)].into()));
    }
    other.insert(Key::Element(INET, set_name("v4"), [v4(99)].into()), Row::Element(None));
    let ways = [(Table::default(), full.clone()), (full.clone(), other), (full, Table::default())];
    for (from, to) in ways {
        let rows = diff(&from, &to).len();
        for count in (0..rows).step_by(rows / 8 + 1) {
            isolated(|| {
                let mut kernel = Nft::open().unwrap();
                put(&mut kernel, &from);
                // Rows that need a later one fail here, as they would after a crash.
                drop(kernel.apply(&first(&diff(&from, &to), count)));
                put(&mut kernel, &to);
            });
        }
    }
}

/// What others may do to Seaway's tables, each a line for nft.
const TAMPERINGS: [&str; 14] = [
    "delete table inet seaway",
    "flush table inet seaway",
    "flush chain inet seaway forward",
    "add rule inet seaway forward tcp dport 99 accept",
    "insert rule inet seaway forward ip saddr { 1.1.1.1, 2.2.2.2 } counter accept",
    "add rule inet seaway called log",
    "add chain inet seaway forward { policy drop; }",
    "add chain inet seaway theirs { type filter hook input priority 3; }",
    "add set inet seaway theirs { type ipv4_addr; flags timeout; }",
    "add element inet seaway v4 { 9.9.9.9 }",
    "delete element inet seaway v4 { 10.0.0.1 }",
    "add element inet seaway cluster { 172.16.0.1-172.16.0.6 }",
    "flush set inet seaway cluster",
    "add element inet seaway v6 { fd00::77 comment \"theirs\" }",
];

#[test]
fn whatever_others_do_to_the_tables_one_pass_repairs() {
    for tampering in TAMPERINGS {
        isolated(|| {
            let mut kernel = Nft::open().unwrap();
            put(&mut kernel, &everything());
            nft(tampering);
            assert!(!kernel.stands(), "not noticed: {tampering}");
            assert!(!put(&mut kernel, &everything()).is_empty(), "not seen: {tampering}");
        });
    }
}

#[test]
fn a_set_of_another_type_and_a_chain_at_another_hook_replace_the_old_ones() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let mut want = everything();
        put(&mut kernel, &want);
        let pods = set_name("cluster6");
        let Some(Row::Set(set)) = want.get(&Key::Set(INET, set_name("v6"))).cloned() else {
            panic!("everything() declares v6")
        };
        let of = |key: &Key| matches!(key, Key::Element(INET, set, _) if *set == pods);
        let old: Vec<_> = want.keys().filter(|key| of(key)).cloned().collect();
        for key in &old {
            want.remove(key);
        }
        want.insert(Key::Set(INET, pods), Row::Set(set));
        let input = Key::Chain(INET, chain_name("in"));
        let Some(Row::Chain(mut chain)) = want.get(&input).cloned() else {
            panic!("everything() has a chain at input")
        };
        chain.hook.as_mut().unwrap().priority = 17;
        chain.rules = vec![Rule {
            statements: vec![Statement::Verdict(Verdict::Accept)],
            comment: Some("late".to_owned()),
        }];
        want.insert(input, Row::Chain(chain));
        put(&mut kernel, &want);
    });
}

#[test]
fn base_chains_of_others_that_drop_are_found() {
    isolated(|| {
        nft(
            "add table ip docker { chain f { type filter hook forward priority 5; policy drop; } ; }",
        );
        nft("add table inet fw { chain i { type filter hook input priority 0; policy drop; } ; }");
        let found = foreign(&mut Nft::open().unwrap()).unwrap();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let policies = [
            "chain inet fw i hook input priority 0 policy drop",
            "chain ip docker f hook forward priority 5 policy drop",
        ];
        assert_eq!(found, policies);
        nft(
            "add table ip6 t { chain deep { tcp dport 80 reject with icmpv6 type admin-prohibited; } ; chain mid { jump deep; } ; chain f { type filter hook forward priority 1; jump mid; } ; chain o { type filter hook output priority 1; drop; } ; }",
        );
        nft("add table inet u { chain in { type filter hook input priority 1; accept; } ; }");
        nft(
            "add table ip filter { chain KUBE-FIREWALL { ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 ct status dnat drop; } ; chain INPUT { type filter hook input priority 0; jump KUBE-FIREWALL; } ; }",
        );
        let found = dropping(&mut Nft::open().unwrap()).unwrap();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let by_rule = "chain ip6 t f hook forward priority 1 with rules that drop";
        assert_eq!(found, [policies[0], policies[1], by_rule]);
    });
}

#[test]
fn what_kube_proxy_left_is_told_from_what_is_the_kubelets_and_goes_alone() {
    isolated(|| {
        let theirs = "chain KUBE-KUBELET-CANARY { } ; chain KUBE-FIREWALL { drop ; } ; chain DOCKER { accept ; } ;";
        nft(&format!("add table ip nat {{ {theirs} }}"));
        let before = nft("list ruleset");
        nft("add table ip kube-proxy; add table ip6 kube-proxy { chain services { } ; }");
        nft(
            "add table ip nat { chain KUBE-SEP-ABC { accept ; } ; chain KUBE-SERVICES { jump KUBE-SEP-ABC ; } ; }",
        );
        nft("insert rule ip nat DOCKER ip daddr 10.0.0.1 goto KUBE-SERVICES");
        let mut kernel = Nft::open().unwrap();
        let found = leftovers(&mut kernel, Former::KubeProxy).unwrap();
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        let wanted = [
            "table ip kube-proxy",
            "chain ip nat KUBE-SEP-ABC",
            "chain ip nat KUBE-SERVICES",
            "rule of chain ip nat DOCKER that leads to KUBE-SERVICES",
            "table ip6 kube-proxy",
        ];
        assert_eq!(names, wanted);
        take_away(&mut kernel, &found).unwrap();
        assert_eq!(nft("list ruleset"), before);
        assert!(leftovers(&mut kernel, Former::KubeProxy).unwrap().is_empty());
        take_away(&mut kernel, &found).unwrap_err();
    });
}

#[test]
fn the_fullest_map_that_packets_write_says_how_full_it_is() {
    isolated(|| {
        let fullest = || learned(&mut Nft::open().unwrap()).unwrap();
        assert_eq!(fullest(), None);
        nft(
            "add table inet seaway { map a { type ipv4_addr : mark; size 100; flags dynamic,timeout; timeout 60s; } ; map b { type ipv4_addr : mark; size 4; flags dynamic,timeout; timeout 60s; } ; set c { type ipv4_addr; size 2; } ; }",
        );
        nft("add element inet seaway a { 10.0.0.1 : 1, 10.0.0.2 : 1, 10.0.0.3 : 1 }");
        nft("add element inet seaway b { 10.0.0.1 : 1 }");
        nft("add element inet seaway c { 10.0.0.1, 10.0.0.2 }");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let is_said = (numbers.next(), numbers.next()) >= (Some(6), Some(16));
        let wanted = Learned { set: "b".to_owned(), used: 1, size: 4 };
        assert_eq!(fullest(), is_said.then_some(wanted), "{release}");
    });
}
