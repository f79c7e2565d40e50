//! Packets to Services through whole plans: oracle and walk say the same set of outcomes.

use fixtures::clusters::{Call, calls, cluster_with_services, script};
use fixtures::paper::{self, Flow, Network, Origin, Trip};
use oracle::{Cluster, Course, Memory, Outcome, courses};
use proptest::prelude::*;
use proptest::sample::Index;

use super::agrees;

/// What oracle and nodes remember, one packet after the other.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    told: Memory,
    learned: paper::Memory,
    /// How many packets there were: each is of a flow of its own.
    sent: u16,
}

/// Sends one packet, whatever chance does with it, and says where walk and oracle differ. `pick` is
/// what chance then did.
pub(super) fn judge(
    cluster: &Cluster,
    network: &Network,
    remembered: &mut Remembered,
    (sender, by, packet): &Call,
    pick: Index,
) -> Result<(), String> {
    let want = courses(cluster, (sender, by.as_ref()), packet, &remembered.told);
    let from = Origin::of(sender, by.as_ref(), packet);
    remembered.sent += 1;
    let flow = Flow::of(packet, 40_000 + remembered.sent);
    let mut got = network.trips(&from, flow, &remembered.learned);
    let explained = |why: &str| format!("{why}\nshould: {want:#?}\ndoes: {got:#?}");
    for trip in &got {
        let Some(course) = course_of(trip, &want) else {
            return Err(explained(&format!("{:?} is no choice", trip.led)));
        };
        if !agrees(cluster, packet, &course.outcome, &trip.fate) {
            return Err(explained(&format!("{:?} came out wrong", trip.led)));
        }
    }
    for course in want.iter().filter(|course| course.outcome != Outcome::Unsaid) {
        if !got.iter().any(|trip| course_of(trip, &want) == Some(course)) {
            return Err(explained(&format!("{:?} never happens", course.chosen)));
        }
    }
    let trip = got.swap_remove(pick.index(got.len()));
    let course = course_of(&trip, &want).filter(|course| course.outcome != Outcome::Unsaid);
    // Where nobody says what becomes of it, nobody says what is remembered of it.
    let Some(course) = course else { return Ok(()) };
    for choice in &course.chosen {
        if let Some(key) = &choice.affinity {
            remembered.told.insert((choice.node.clone(), key.clone()), choice.endpoint);
        }
    }
    remembered.learned = trip.memory;
    Ok(())
}

/// The course that `trip` took: the one with the most of its rewrites in common. A hostPort may have
/// added one of its own.
fn course_of<'a>(trip: &Trip, courses: &'a [Course]) -> Option<&'a Course> {
    let leads = |course: &&Course| {
        let chosen = course.chosen.iter().map(|choice| (choice.node.clone(), choice.endpoint));
        trip.led.starts_with(&chosen.collect::<Vec<_>>())
    };
    courses.iter().filter(leads).max_by_key(|course| course.chosen.len())
}

/// 128 clusters, or half of what `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 2, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plans_do_to_packets_to_services_what_the_specifications_say(
        cluster in cluster_with_services(),
        script in script(40),
        picks in prop::collection::vec(any::<Index>(), 40),
    ) {
        let network = Network::new(cluster.clone());
        let mut remembered = Remembered::default();
        for (call, pick) in calls(&cluster, &script).iter().zip(picks) {
            let judged = judge(&cluster, &network, &mut remembered, call, pick);
            prop_assert!(judged.is_ok(), "{call:?}\n{}", judged.unwrap_err());
        }
    }
}
