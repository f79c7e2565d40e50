//! The judge of the rows is judged: a mistake in them does not pass.

use fixtures::policies::arbitrary::{Picks, picks, world};
use fixtures::policies::fate::{AllRows, Rows, answered, fate, rows};
use model::World;
use oracle::policy::{Flow, Learned};
use plan::nft::{
    Chain, ChainName, Field, Key, Row, Rule, SetName, Statement, TableFamily, Value, Verdict,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::mistakes::judged;

/// Something that could be wrong with rows, and how it comes about.
type Mistake = (&'static str, fn(&mut Rows));

/// What could be wrong.
const MISTAKES: [Mistake; 21] = [
    ("the ends change places", |rows| each_field(rows, swapped)),
    ("who sends a packet is taken for who began it", |rows| each_field(rows, of_header)),
    ("the packet's port is taken for the server's", |rows| {
        each_field(rows, |field| if field == Field::ServerPort { Field::Dport } else { field });
    }),
    ("what one end allows, the other is not asked about", |rows| {
        each_verdict(rows, |to| if *to == Verdict::Return { Verdict::Accept } else { to.clone() });
    }),
    ("what is denied goes on", |rows| {
        each_verdict(rows, |to| if *to == Verdict::Drop { Verdict::Return } else { to.clone() });
    }),
    ("the first tier is the last", |rows| {
        each_verdict(rows, |to| {
            let is_on = |next: &ChainName| !next.0.starts_with("policy");
            let is_next = matches!(to, Verdict::Goto(next) if is_on(next));
            if is_next { Verdict::Return } else { to.clone() }
        });
    }),
    ("nobody is isolated", |rows| without(rows, |rule| is(rule, "no NetworkPolicy"))),
    ("what comes back is isolated", |rows| without(rows, |rule| is(rule, "back to its own"))),
    ("the own node is another", |rows| without(rows, |rule| is(rule, "to its own node"))),
    ("what goes to the own node is not asked", |rows| {
        let is_asked = |key: &&Key| matches!(key, Key::Element(_, set, _) if set.0.starts_with("policy_to_node"));
        let asked: Vec<Key> = rows.iter().map(|(key, _)| key).filter(is_asked).cloned().collect();
        for key in asked {
            rows.remove(&key);
        }
    }),
    ("discovery is cut", |rows| without(rows, |rule| is(rule, "addresses are found"))),
    ("who answers is not asked", |rows| without(rows, |rule| is(rule, "who answers"))),
    ("who begins is not asked", |rows| without(rows, |rule| is(rule, "who began"))),
    ("all protocols are one", |rows| {
        each_rule(rows, |rule| {
            let is_protocol = |s: &Statement| matches!(s, Statement::Match(Field::L4proto, ..));
            rule.statements.retain(|statement| !is_protocol(statement));
        });
    }),
    ("a range is its first port", |rows| {
        each_rule(rows, |rule| {
            for statement in &mut rule.statements {
                if let Statement::Within(_, first, last) = statement {
                    *last = *first;
                }
            }
        });
    }),
    ("a rule is about everybody", |rows| {
        each_rule(rows, |rule| {
            if !is(rule, "its own") && !is(rule, "no connection") {
                rule.statements.retain(|statement| !matches!(statement, Statement::Lookup(..)));
            }
        });
    }),
    ("names are nobody", |rows| without(rows, asks_for_names)),
    ("pods are missing from sets", |rows| forget(rows, "pods")),
    ("ranges are missing from sets", |rows| forget(rows, "blocks")),
    ("what is allowed bears no number", |rows| {
        without(rows, |rule| is(rule, "by the policies of this number"));
    }),
    ("other policies' numbers are good", |rows| {
        let key = [Value::Mark(6 << 24)].into();
        let set = SetName("policy_generation".into());
        rows.insert(Key::Element(TableFamily::Inet, set, key), Row::Element(None));
    }),
];

/// Whether a rule looks into a set of the addresses of names.
fn asks_for_names(rule: &Rule) -> bool {
    rule.statements.iter().any(|statement| {
        let Statement::Lookup(_, _, set) = statement else { return false };
        ["names", "below"].iter().any(|kind| set.0.starts_with(kind))
    })
}

fn swapped(field: Field) -> Field {
    let pairs = [(Field::Client4, Field::Server4), (Field::Client6, Field::Server6)];
    let both = pairs.into_iter().chain(pairs.map(|(a, b)| (b, a)));
    one_of(both, field)
}

fn of_header(field: Field) -> Field {
    one_of([(Field::Client4, Field::Ip4Saddr), (Field::Client6, Field::Ip6Saddr)], field)
}

/// What stands for `field`, if anything does.
fn one_of(pairs: impl IntoIterator<Item = (Field, Field)>, field: Field) -> Field {
    let found = pairs.into_iter().find(|(right, _)| *right == field);
    found.map_or(field, |(_, wrong)| wrong)
}

fn is(rule: &Rule, part: &str) -> bool {
    rule.comment.as_ref().is_some_and(|comment| comment.contains(part))
}

fn each_chain(rows: &mut Rows, change: impl Fn(&mut Chain)) {
    let chains: Vec<(Key, Chain)> = rows
        .iter()
        .filter_map(|(key, row)| match row {
            Row::Chain(chain) => Some((key.clone(), chain.clone())),
            Row::Table | Row::Set(_) | Row::Element(_) => None,
        })
        .collect();
    for (key, mut chain) in chains {
        change(&mut chain);
        rows.insert(key, Row::Chain(chain));
    }
}

fn each_rule(rows: &mut Rows, change: impl Fn(&mut Rule)) {
    each_chain(rows, |chain| chain.rules.iter_mut().for_each(&change));
}

fn without(rows: &mut Rows, which: impl Fn(&Rule) -> bool) {
    each_chain(rows, |chain| chain.rules.retain(|rule| !which(rule)));
}

fn each_verdict(rows: &mut Rows, change: impl Fn(&Verdict) -> Verdict) {
    each_rule(rows, |rule| {
        for statement in &mut rule.statements {
            if let Statement::Verdict(verdict) = statement {
                *verdict = change(verdict);
            }
        }
    });
}

fn each_field(rows: &mut Rows, change: impl Fn(Field) -> Field) {
    each_rule(rows, |rule| {
        for statement in &mut rule.statements {
            if let Statement::Match(field, ..) | Statement::Within(field, ..) = statement {
                *field = change(*field);
            }
            if let Statement::Lookup(fields, ..) | Statement::Vmap(fields, _) = statement {
                fields.iter_mut().for_each(|field| *field = change(*field));
            }
        }
    });
}

/// Takes the first member out of every set of a kind.
fn forget(rows: &mut Rows, kind: &str) {
    let mut seen = std::collections::BTreeSet::new();
    let first = rows.iter().filter_map(|(key, _)| {
        let Key::Element(_, set, _) = key else { return None };
        (set.0.starts_with(kind) && seen.insert(set.clone())).then(|| key.clone())
    });
    for key in first.collect::<Vec<_>>() {
        rows.remove(&key);
    }
}

#[test]
fn npo6_every_mistake_in_lowering_is_caught() {
    let mut runner = TestRunner::deterministic();
    let one = (world(), prop::collection::vec(picks(), 60));
    let mut uncaught = MISTAKES.to_vec();
    for _ in 0..2000 {
        let ((world, learned), all): ((World, Learned), Vec<Picks>) =
            one.new_tree(&mut runner).expect("a world").current();
        let (right, answered) = (rows(&world), answered(&world, &learned));
        let judged = judged(&world, &learned, &all);
        uncaught.retain(|(_, mistake)| {
            let mut wrong: AllRows = right.clone();
            wrong.values_mut().filter(|rows| !rows.is_empty()).for_each(mistake);
            let is_right = |(flow, want): &(Flow, bool)| {
                let fate = fate(&world, (&wrong, &answered), flow);
                fate.first == *want && fate.later == *want && fate.is_marked
            };
            judged.iter().all(is_right)
        });
        if uncaught.is_empty() {
            return;
        }
    }
    let names: Vec<&str> = uncaught.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [""; 0]);
}
