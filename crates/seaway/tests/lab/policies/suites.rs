//! The suites of others (NP-S1 to NP-S3), case by case, in one lab for many of them.

use fixtures::policies::{Case, Stage, cluster, kubernetes, matrix};
use libtest_mimic::Trial;
use model::Family;

use super::staged::Staged;
use crate::lab::test;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for link in ["routed", "bridge"] {
        let name = format!(
            "nps3_npc9_the_conformance_cases_of_the_clusters_policies_hold_for_packets_{link}"
        );
        trials.push(test(&name, move || perform(Stage::FOUR_BY_TWO, link, cluster::cases())));
        let name = format!("nps1_npc9_the_cases_of_kubernetes_own_tests_hold_for_packets_{link}");
        trials.push(test(&name, move || perform(Stage::NINE, link, kubernetes::cases())));
        let name = format!("nps2_npc9_the_matrix_holds_for_packets_{link}");
        trials.push(test(&name, move || {
            let all = matrix::cases().into_iter().flat_map(|(_, cases)| cases);
            perform(Stage::NINE, link, all.collect());
        }));
    }
    trials
}

/// Plays `cases`, with addresses of either family in turn.
fn perform(stage: Stage, link: &str, cases: Vec<Case>) {
    let mut staged = Staged::up(stage, &["--pod-link", link]);
    for (case, family) in cases.iter().zip(Family::ALL.into_iter().cycle()) {
        staged.perform(case, family);
    }
}
