//! Other people's suites, played on paper.

use std::collections::BTreeSet;

use fixtures::policies::{Case, Play, Stage, cluster, differences, kubernetes, matrix};
use model::Family;
use oracle::policy::{Learned, verdicts};

/// Every case of every suite, with the stage that it is played on.
pub(crate) fn all() -> Vec<(Stage, Case)> {
    let matrix = matrix::cases().into_iter().flat_map(|(_, cases)| cases);
    let nine = kubernetes::cases().into_iter().chain(matrix).map(|case| (Stage::NINE, case));
    nine.chain(cluster::cases().into_iter().map(|case| (Stage::FOUR_BY_TWO, case))).collect()
}

#[track_caller]
fn agree(stage: Stage, cases: &[Case], count: usize) {
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!((names.len(), cases.len()), (count, count));
    for family in Family::ALL {
        let allows =
            |world: &model::World, flow: &_| verdicts(world, &Learned::new(), flow).is_allowed();
        let all = cases.iter().flat_map(|case| differences(stage, case, family, allows));
        assert_eq!(all.collect::<Vec<_>>(), [""; 0], "{family}");
    }
}

#[test]
fn nps1_the_cases_of_kubernetes_own_tests() {
    agree(Stage::NINE, &kubernetes::cases(), 48);
}

#[test]
fn nps3_the_cases_of_the_conformance_tests_of_cluster_network_policy() {
    agree(Stage::FOUR_BY_TWO, &cluster::cases(), 24);
}

#[test]
fn nps2_the_matrix_has_its_230_cases_and_every_one_can_be_read() {
    let groups = matrix::cases();
    let counts: Vec<(&str, usize)> = groups.iter().map(|(name, all)| (*name, all.len())).collect();
    let want = [
        ("target", 6),
        ("rules", 4),
        ("peers", 112),
        ("port and protocol", 70),
        ("conflict", 16),
        ("namespace", 2),
        ("action", 6),
        ("upstream", 13),
        ("example", 1),
    ];
    assert_eq!(counts, want);
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>(), 230);
    for case in groups.iter().flat_map(|(_, cases)| cases) {
        for family in Family::ALL {
            let mut play = Play::new(Stage::NINE, family);
            for step in &case.steps {
                play.happen(step);
                let faults = play.world.policies.values().flat_map(|policy| &policy.faults);
                assert_eq!(faults.count(), 0, "{}", case.name);
            }
        }
    }
}
