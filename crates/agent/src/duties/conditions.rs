//! What the status of a policy of the cluster says of it (NP-C12): whether it is understood, and whether all
//! nodes go by it.

use model::decode::DecodeError;
use model::{Condition, NodeTold, PolicyState, Rfc3339};

/// Whether every rule is understood.
const ACCEPTED: &str = "Accepted";

/// Whether every node goes by this generation.
const PROGRAMMED: &str = "Programmed";

/// Most faults, and most nodes, that a message names.
const NAMED: usize = 5;

/// A condition before it is known since when it is so.
struct Said {
    is_true: bool,
    reason: &'static str,
    message: String,
}

/// The conditions that `policy` should have, where it has others: `told` by all nodes that tell, as of `now`.
/// `None` when it has them.
pub(super) fn due<'a>(
    policy: &PolicyState,
    told: impl Iterator<Item = &'a NodeTold>,
    now: Rfc3339,
) -> Option<[Condition; 2]> {
    let wanted = [(ACCEPTED, accepted(policy)), (PROGRAMMED, programmed(policy, told))];
    let wanted = wanted.map(|(kind, said)| condition(policy, kind, said, now));
    let has = |wanted: &Condition| policy.conditions.contains(wanted);
    if wanted.iter().all(has) { None } else { Some(wanted) }
}

/// Whether two conditions say the same, whatever they say of since when.
pub(super) fn are_same(some: &[Condition], others: &[Condition]) -> bool {
    let is_same = |(a, b): (&Condition, &Condition)| {
        let since = a.since;
        *a == Condition { since, ..b.clone() }
    };
    some.len() == others.len() && some.iter().zip(others).all(is_same)
}

/// What is `said`, since when that is so: the moment stays while the status does.
fn condition(policy: &PolicyState, kind: &str, said: Said, now: Rfc3339) -> Condition {
    let Said { is_true, reason, message } = said;
    let mut old = policy.conditions.iter().filter(|old| old.kind == kind);
    let since = old.find(|old| old.is_true == is_true).map_or(now, |old| old.since);
    let (kind, reason) = (kind.to_owned(), reason.to_owned());
    Condition { kind, is_true, reason, message, generation: policy.edition.generation, since }
}

fn accepted(policy: &PolicyState) -> Said {
    let (faults, follows) = match &policy.read {
        Ok(faults) if faults.is_empty() => {
            let message = "every rule is understood".to_owned();
            return Said { is_true: true, reason: ACCEPTED, message };
        }
        Ok(faults) => (&**faults, "the rule is closed"),
        Err(error) => (std::slice::from_ref(error), "this version is left out"),
    };
    let all = faults.iter().all(DecodeError::is_unheard_of);
    let lines = faults.iter().map(|fault| fault_line(fault, follows));
    Said {
        is_true: false,
        reason: if all { "Unsupported" } else { "Invalid" },
        message: first_of(lines, faults.len(), ". "),
    }
}

/// The object is the one whose status it is.
fn fault_line(fault: &DecodeError, follows: &str) -> String {
    match &*fault.field {
        "" => format!("{}; {follows}", fault.reason),
        field => format!("{field}: {}; {follows}", fault.reason),
    }
}

fn programmed<'a>(policy: &PolicyState, told: impl Iterator<Item = &'a NodeTold>) -> Said {
    let no = |reason, message: String| Said { is_true: false, reason, message };
    if policy.read.is_err() {
        let message = "nodes go by the version before this one, if there was one";
        return no("Invalid", message.to_owned());
    }
    let (mut all, mut behind) = (0, Vec::new());
    for node in told {
        all += 1;
        if !node.realised.has(&policy.edition) {
            behind.push(node.node.to_string());
        }
    }
    match (all, behind.len()) {
        (0, _) => no("Pending", "no node has told yet by what it goes".to_owned()),
        (_, 0) => {
            let message = "all nodes go by it".to_owned();
            Said { is_true: true, reason: PROGRAMMED, message }
        }
        (all, count) => {
            let names = first_of(behind.into_iter(), count, ", ");
            no("Pending", format!("{} of {all} nodes go by it; not yet: {names}", all - count))
        }
    }
}

/// The first few of `count` words, and how many more there are.
fn first_of(words: impl Iterator<Item = String>, count: usize, between: &str) -> String {
    let mut named: Vec<String> = words.take(NAMED).collect();
    if count > NAMED {
        named.push(format!("and {} more", count - NAMED));
    }
    named.join(between)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{ClusterPolicyKind, Edition, decode};
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: u64) -> Rfc3339 {
        Rfc3339(Duration::from_secs(seconds))
    }

    fn policy(generation: i64, spec: Value) -> PolicyState {
        let object =
            json!({"metadata": {"name": "p", "uid": "u", "generation": generation}, "spec": spec});
        let kind = ClusterPolicyKind::ClusterNetworkPolicy;
        decode::policy_state(kind, object.to_string().as_bytes()).unwrap()
    }

    fn good() -> Value {
        json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}})
    }

    /// Nodes, and the generation that each goes by.
    fn nodes(told: &[i64]) -> Vec<NodeTold> {
        let node = |(number, generation): (usize, &i64)| NodeTold {
            node: format!("node-{number}").into(),
            realised: [&Edition { uid: "u".into(), generation: *generation }].into_iter().collect(),
        };
        told.iter().enumerate().map(node).collect()
    }

    /// `Accepted` and `Programmed` in a line each.
    fn said(policy: &PolicyState, told: &[i64], now: u64) -> Vec<String> {
        let due = due(policy, nodes(told).iter(), at(now));
        due.into_iter()
            .flatten()
            .map(|it| {
                let Condition { kind, is_true, reason, message, generation, since } = it;
                format!(
                    "{kind}={is_true} {reason} @{generation} since {}: {message}",
                    since.0.as_secs()
                )
            })
            .collect()
    }

    #[test]
    fn npc12_a_policy_is_programmed_when_all_nodes_go_by_its_generation() {
        let cases: [(&[i64], &str); 5] = [
            (&[], "false Pending @2 since 9: no node has told yet by what it goes"),
            (&[1, 1], "false Pending @2 since 9: 0 of 2 nodes go by it; not yet: node-0, node-1"),
            (&[2, 1, 2], "false Pending @2 since 9: 2 of 3 nodes go by it; not yet: node-1"),
            (&[2, 2], "true Programmed @2 since 9: all nodes go by it"),
            (
                &[1; 8],
                "false Pending @2 since 9: 0 of 8 nodes go by it; not yet: node-0, node-1, node-2, \
                 node-3, node-4, and 3 more",
            ),
        ];
        for (told, want) in cases {
            let said = said(&policy(2, good()), told, 9);
            assert_eq!(said[0], "Accepted=true Accepted @2 since 9: every rule is understood");
            assert_eq!(said[1], format!("Programmed={want}"));
        }
    }

    #[test]
    fn npc12_a_policy_that_is_not_understood_says_why() {
        let rules = |rules: Value| {
            let mut spec = good();
            spec["egress"] = rules;
            spec
        };
        let mut ranked = good();
        ranked["priority"] = json!(2000);
        let cases = [
            (
                rules(json!([{"action": "Deny", "to": [{"planets": []}]}])),
                "Unsupported",
                "spec.egress[0].to[0]: unknown field `planets`",
                true,
            ),
            (
                rules(
                    json!([{"action": "Deny", "to": [{"planets": []}]}, {"action": "Deny", "to": []}]),
                ),
                "Invalid",
                "; the rule is closed. spec.egress[1].to: names no peer; the rule is closed",
                true,
            ),
            (rules(json!(vec![json!({"action": "Deny"}); 8])), "Invalid", ". and 3 more", true),
            (
                ranked,
                "Invalid",
                "spec.priority: 2000 is not between 0 and 1000; this version is left out",
                false,
            ),
        ];
        for (spec, reason, why, is_in_place) in cases {
            let said = said(&policy(3, spec), &[3], 9);
            assert!(said[0].starts_with(&format!("Accepted=false {reason} @3 ")), "{}", said[0]);
            assert!(said[0].contains(why), "{}", said[0]);
            let want = if is_in_place { "true Programmed" } else { "false Invalid" };
            assert!(said[1].starts_with(&format!("Programmed={want} @3 ")), "{}", said[1]);
        }
    }

    #[test]
    fn npc12_nothing_is_due_when_it_is_said_and_since_when_stays_while_the_status_does() {
        let mut policy = policy(1, good());
        let keep = |policy: &mut PolicyState, told: &[i64], now: u64| {
            let due = due(policy, nodes(told).iter(), at(now));
            let theirs = policy.conditions.iter().filter(|it| it.kind == "Theirs").cloned();
            if let Some(due) = &due {
                policy.conditions = theirs.chain(due.clone()).collect();
            }
            due.map(|due| due.map(|it| it.since.0.as_secs()))
        };
        policy.conditions = vec![Condition {
            kind: "Theirs".to_owned(),
            is_true: true,
            reason: "X".to_owned(),
            message: String::new(),
            generation: 0,
            since: at(1),
        }];
        assert_eq!(keep(&mut policy, &[0, 0], 10), Some([10, 10]));
        assert_eq!(keep(&mut policy, &[0, 0], 11), None);
        assert_eq!(keep(&mut policy, &[1, 0], 12), Some([10, 10]), "another message");
        assert_eq!(keep(&mut policy, &[1, 1], 13), Some([10, 13]));
        assert_eq!(keep(&mut policy, &[1, 1], 14), None);
        policy.edition.generation = 2;
        assert_eq!(keep(&mut policy, &[1, 1], 15), Some([10, 15]));
        assert_eq!(keep(&mut policy, &[2, 2], 16), Some([10, 16]));
        policy.conditions.truncate(2);
        assert_eq!(keep(&mut policy, &[2, 2], 17), Some([10, 17]), "somebody has deleted one");
        policy.edition.uid = "another".into();
        assert_eq!(keep(&mut policy, &[2, 2], 18), Some([10, 18]), "another policy of that name");
    }

    #[test]
    fn conditions_that_differ_in_their_moment_alone_say_the_same() {
        let some = due(&policy(1, good()), nodes(&[1]).iter(), at(1)).unwrap();
        let later = due(&policy(1, good()), nodes(&[1]).iter(), at(2)).unwrap();
        let others = due(&policy(1, good()), nodes(&[0]).iter(), at(1)).unwrap();
        assert!(are_same(&some, &later) && !are_same(&some, &others) && !are_same(&some, &[]));
    }
}
