//! Tells whoever leads which policies of the cluster this node's kernel goes by (NP-C12).

use std::sync::Arc;
use std::time::Duration;

use kube::Access;
use model::{ClusterPolicy, ClusterPolicyName, NodeName, OrdMap, Realised};
use tokio::sync::watch::Receiver;

use crate::lease::{Lease, Word};
use crate::reconcile::{MARKS, RULES};
use crate::shown::View;
use crate::sources::Basis;

/// Least time between two writes: what changes meanwhile is told together.
const BETWEEN: Duration = Duration::from_secs(1);

/// How often it is told although nothing has changed, in case somebody has deleted the Lease.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// First pause after the API server did not take it.
const SHORTEST: Duration = Duration::from_millis(500);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Keeps the node's Lease what `views` show, and owned by the Node that there is, until the future is dropped.
pub(crate) async fn tell(access: Access, node: NodeName, mut views: Receiver<Arc<View>>) {
    let mut lease = Lease::new(access, node.clone(), SHORTEST..=LONGEST);
    let (mut known, mut told) = (Known::default(), None);
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        // What is told of a Node that is gone would stay for good, and goes with it of one that has come again.
        let uid = view.world.nodes.get(&node).map(|node| node.uid.clone());
        if let Some(now) = known.realised(&view).zip(uid).filter(|now| told.as_ref() != Some(now)) {
            if lease.tell(Word::Realised(&now.0)).await {
                if told.is_none_or(|(_, owner)| owner != now.1) {
                    lease.mention(Word::Owner(&now.1.to_string())).await;
                }
                told = Some(now);
                tokio::time::sleep(BETWEEN).await;
            }
            continue;
        }
        match tokio::time::timeout(AGAIN, views.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => told = None,
        }
    }
}

/// What follows from the policies that a good pass was last about.
#[derive(Debug, Default)]
struct Known {
    policies: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
    realised: Option<Realised>,
}

impl Known {
    /// What the kernel goes by as of `view`, or went by as of an earlier one. `None` before the first good
    /// pass over all that is listed.
    fn realised(&mut self, view: &View) -> Option<Realised> {
        let policies = &view.world.cluster_policies;
        let is_new = self.realised.is_none() || !self.policies.ptr_eq(policies);
        if is_new && is_in_place(view) {
            self.policies.clone_from(policies);
            self.realised = Some(policies.values().map(|policy| &policy.edition).collect());
        }
        self.realised.clone()
    }
}

/// Whether the kernel has all rules of policies that follow from the world of `view`.
fn is_in_place(view: &View) -> bool {
    let report = &view.report;
    let mut failures = [RULES, MARKS].into_iter().flat_map(|step| report.failures_of(step));
    view.basis == Basis::Lists
        && !report.steps.is_empty()
        && report.generation == view.world.generation
        && failures.next().is_none()
}

#[cfg(test)]
mod tests {
    use model::{Edition, Generation, World, decode};

    use super::*;
    use crate::reconcile::{FailureRow, Report, StepReport, Subject};

    fn view(generation: i64, of_world: u64, of_report: u64, failing: &str) -> View {
        let json = format!(
            r#"{{"metadata":{{"name":"p","uid":"u","generation":{generation}}},"spec":{{"priority":1,"subject":{{"namespaces":{{}}}}}}}}"#
        );
        let policy = decode::admin_policy(json.as_bytes()).unwrap();
        let mut world = World { generation: Generation(of_world), ..World::default() };
        world.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
        let steps = [RULES, MARKS, "routes"].map(|step| {
            let failure = FailureRow { subject: Subject::Others, text: "no".to_owned() };
            let failures = if step == failing { vec![failure] } else { Vec::new() };
            StepReport { step, failures, ..StepReport::default() }
        });
        let report =
            Report { generation: Generation(of_report), steps: steps.into(), ..Report::default() };
        View { world, basis: Basis::Lists, report: Arc::new(report), ..View::default() }
    }

    fn has(realised: Option<Realised>) -> Vec<i64> {
        let edition = |generation| Edition { uid: "u".into(), generation };
        let Some(realised) = realised else { return vec![-1] };
        (0..9).filter(|generation| realised.has(&edition(*generation))).collect()
    }

    #[test]
    fn npc12_a_node_tells_what_a_good_pass_was_about_and_nothing_else() {
        let mut known = Known::default();
        assert_eq!(has(known.realised(&View::default())), [-1]);
        let early = View { basis: Basis::Snapshot(Duration::ZERO), ..view(1, 1, 1, "") };
        let steps = [
            (early, -1),
            (view(1, 2, 1, ""), -1),
            (view(1, 1, 1, ""), 1),
            (view(2, 2, 2, RULES), 1),
            (view(2, 2, 2, MARKS), 1),
            (view(2, 3, 2, ""), 1),
            (view(3, 4, 4, "routes"), 3),
        ];
        for (view, want) in steps {
            assert_eq!(has(known.realised(&view)), [want], "{:?}", view.report);
        }
        let none = View {
            world: World { generation: Generation(4), ..World::default() },
            ..view(3, 4, 4, "")
        };
        assert_eq!(has(known.realised(&none)), [0; 0], "a policy that is gone");
    }
}
