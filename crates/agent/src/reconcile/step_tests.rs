//! A step against a place that does as it is told, or not.

use super::super::stage::table;
use super::*;
use crate::fake::Place;
use model::AttachmentKey;

fn rule(octet: u8) -> (plan::RuleKey, plan::Rule) {
    let from = format!("10.{octet}.0.0/16").parse().unwrap();
    let rule = plan::Rule { table: plan::RouteTable::Overlay };
    (plan::RuleKey { priority: 8377, from, mark: 0 }, rule)
}

fn wanted(octets: &[u8]) -> Plan {
    Plan { rules: octets.iter().map(|octet| rule(*octet)).collect(), ..Plan::default() }
}

fn step(place: &Place<plan::RuleKey, plan::Rule>) -> Step<Place<plan::RuleKey, plan::Rule>> {
    Step::new("rules", place.clone(), table!(rules), |key, row| format!("{key} {row}"))
}

fn pass(step: &mut impl Stage, plan: &Plan) -> StepReport {
    step.put(plan, Reach::All);
    step.delete();
    step.report()
}

#[test]
fn a_pass_costs_the_rows_that_differ_and_no_reading() {
    let place = Place::default();
    let mut step = step(&place);
    assert_eq!(pass(&mut step, &wanted(&[1, 2])).puts, 2);
    let report = pass(&mut step, &wanted(&[2, 3]));
    assert_eq!((report.puts, report.deletes), (1, 1));
    assert_eq!((place.reads(), place.rows()), (1, wanted(&[2, 3]).rules));
}

#[test]
fn drift_is_counted_and_repaired_once_the_place_is_read_again() {
    let place = Place::default();
    let mut step = step(&place);
    pass(&mut step, &wanted(&[1, 2]));
    place.disturb(|rows| {
        rows.remove(&rule(1).0);
    });
    assert_eq!(pass(&mut step, &wanted(&[1, 2])).puts, 0);
    step.mark_stale();
    let report = pass(&mut step, &wanted(&[1, 2]));
    assert_eq!((report.drift, report.puts), (1, 1));
}

#[test]
fn a_row_that_failed_is_tried_again_or_removed_and_stops_no_other() {
    let place = Place::default();
    let mut step = step(&place);
    place.refuse(Some(rule(1).0));
    let report = pass(&mut step, &wanted(&[1, 2]));
    assert_eq!((report.puts, report.failures.len()), (1, 1));
    place.refuse(None);
    assert_eq!(pass(&mut step, &wanted(&[1, 2])).puts, 1);
    place.refuse(Some(rule(3).0));
    pass(&mut step, &wanted(&[1, 2, 3]));
    place.refuse(None);
    assert_eq!(pass(&mut step, &wanted(&[1, 2])).deletes, 1);
}

#[test]
fn a_place_that_cannot_be_read_is_not_written() {
    let place = Place::default();
    let mut step = step(&place);
    place.go_blind(true);
    let report = pass(&mut step, &wanted(&[1]));
    assert_eq!((report.puts, report.failures.len()), (0, 1));
    place.go_blind(false);
    assert_eq!(pass(&mut step, &wanted(&[1])).puts, 1);
}

#[test]
fn rows_that_were_not_there_for_a_while_shake_the_steps_that_take_them_for_granted() {
    let place = Place::default();
    let mut step = step(&place).leading();
    assert!(step.put(&wanted(&[1]), Reach::All), "nobody knows what was there before");
    assert!(!step.put(&wanted(&[1, 2]), Reach::All));
    place.refuse(Some(rule(3).0));
    assert!(!step.put(&wanted(&[1, 3]), Reach::All));
    place.refuse(None);
    assert!(step.put(&wanted(&[1, 3]), Reach::All), "it failed, and is there now");
    assert!(!step.put(&wanted(&[1, 3]), Reach::All));
    place.disturb(|rows| {
        rows.remove(&rule(1).0);
    });
    step.mark_stale();
    assert!(step.put(&wanted(&[1, 3]), Reach::All), "somebody had removed it");
}

#[test]
fn a_doubtful_link_is_read_alone_and_its_loss_shakes_later_steps() {
    let row = plan::PodLink {
        netns: "/run/netns/a".into(),
        mtu: 1500,
        host_mac: model::Mac::derive("host"),
        mac: model::Mac::derive("pod"),
        addrs: Vec::new(),
        gateways: Vec::new(),
        gateway_mac: None,
        master: None,
    };
    let key = |id: &str| {
        let ifname = "eth0".parse().unwrap();
        AttachmentKey { container_id: id.into(), ifname }
    };
    let pods = ["a", "b"].map(|id| (key(id), row.clone())).into_iter().collect();
    let plan = Plan { pods, ..Plan::default() };
    let place = Place::default();
    let own = OwnLinks {
        key: AttachmentKey::clone,
        link: AttachmentKey::host_link,
        read: Place::observe_only,
    };
    let line: Line<Place<_, _>> = |key, row| format!("{key} {row}");
    let mut step = Step::new("pods", place.clone(), table!(pods), line).of_links(own).carrying();
    assert_eq!((pass(&mut step, &plan).puts, place.reads()), (2, 1));

    step.mark_doubtful(&[key("a").host_link()].into());
    assert!(!step.put(&plan, Reach::All), "it is as it was");
    place.disturb(|rows| drop(rows.remove(&key("a"))));
    step.mark_doubtful(&[key("b").host_link()].into());
    assert!(!step.put(&plan, Reach::All), "nobody looked at a");
    step.mark_doubtful(&[key("a").host_link()].into());
    assert!(step.put(&plan, Reach::All));
    assert_eq!((step.report().drift, place.rows(), place.reads()), (1, plan.pods, 1));
}

#[test]
fn detach_touches_only_places_of_links() {
    let place = Place::default();
    let mut step = step(&place);
    pass(&mut step, &wanted(&[1]));
    let ifname = "eth0".parse().unwrap();
    step.detach(&[AttachmentKey { container_id: "a".into(), ifname }]);
    assert_eq!(place.rows(), wanted(&[1]).rules);
}

#[test]
fn a_plan_of_old_knowledge_changes_what_it_was_asked_for_since_and_nothing_else() {
    let place = Place::default();
    place.disturb(|rows| *rows = wanted(&[1, 9]).rules);
    let mut step = step(&place);
    // Rule 2 is in the first plan and not there: who wrote the place last may have known better.
    for (plan, there) in
        [([2, 3].as_slice(), [1, 9].as_slice()), (&[2, 3, 4], &[1, 4, 9]), (&[2, 3], &[1, 9])]
    {
        step.put(&wanted(plan), Reach::Changes);
        step.delete();
        assert_eq!(place.rows(), wanted(there).rules, "{plan:?}");
    }
    place.disturb(|rows| *rows = Table::default());
    step.mark_stale();
    step.put(&wanted(&[2, 3]), Reach::Changes);
    assert_eq!(place.rows(), wanted(&[1, 9]).rules, "drift is repaired to what was there");
    pass(&mut step, &wanted(&[2, 3]));
    assert_eq!(place.rows(), wanted(&[2, 3]).rules);
}

#[test]
fn where_there_was_nothing_a_plan_of_old_knowledge_is_all_there_is() {
    let place = Place::default();
    let mut step = step(&place);
    for plan in [[1, 2].as_slice(), &[2, 3], &[3]] {
        step.put(&wanted(plan), Reach::Changes);
        step.delete();
        assert_eq!(place.rows(), wanted(plan).rules);
    }
}
