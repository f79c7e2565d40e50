//! Agents are killed while they program: a client sees the old Service or the new one, and the next agent
//! brings the kernel where it should be.

use std::fmt::Write;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::change::{addrs, by_hand, slice_of};
use super::load::{Load, Style};
use super::{netns, signal};
use crate::lab::{Lab, eventually, success, test};
use crate::processes::{self, Process};

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("s91_s92_s94_killed_while_it_programs_an_agent_never_shows_half_a_service", killed)]
}

/// Services beside the one that clients use.
const OTHERS: usize = 60;

/// Objects that the API takes and that are hard to program: ranges inside of each other, an address of two
/// Services, an endpoint at an address that is everybody's, twice the same, and too many ports.
const ODD: &str = "
---
{apiVersion: v1, kind: Service, metadata: {name: odd-ranges}, spec: {type: LoadBalancer, ports: [{port: 80}],
  loadBalancerSourceRanges: [10.0.0.0/8, 10.1.0.0/16, 10.1.2.3/32, '0.0.0.0/0 ', 10.0.0.0/8]}}
---
{apiVersion: v1, kind: Service, metadata: {name: odd-taken}, spec: {externalIPs: [192.0.2.7], ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: odd-taken-too}, spec: {externalIPs: [192.0.2.7], ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: odd-taken-1, labels: {kubernetes.io/service-name: odd-taken}}
addressType: IPv4
ports: [{port: 80}, {port: 80, name: other}, {name: none}]
endpoints: [{addresses: [255.255.255.255]}, {addresses: [10.9.9.9]}, {addresses: [10.9.9.9]}, {addresses: [0.0.0.1]}]
";

fn killed() {
    let flags = ["--nodes", "2", "--external-ips", "192.0.2.0/24"];
    let (lab, flap) = by_hand(&flags, ["node-1", "node-2"]);
    let addrs = addrs(&lab);
    let others: String = (0..OTHERS)
        .map(|n| super::service(&format!("other-{n}"), "ClusterIP").replace("  selector:", "  #"))
        .collect();
    lab.apply(&[&others, ODD].concat());
    let load = Load::start(&netns(&lab, "one"), flap, Style::Anew, 3);
    for round in 0..5_usize {
        let is_even = round % 2 == 0;
        let mut slices = slice_of("flap", addrs.clone(), [is_even, !is_even]);
        for number in 0..OTHERS {
            let name = format!("other-{number}");
            write!(slices, "{}", slice_of(&name, addrs.clone(), [is_even, true]))
                .expect("a String");
            if number == OTHERS / 2 {
                write!(slices, "{}", slice_of("flap", addrs.clone(), [!is_even, is_even]))
                    .expect("a String");
            }
        }
        let agent = agent(&lab).expect("an agent");
        std::thread::scope(|scope| {
            scope.spawn(|| lab.apply(&slices));
            // Somewhere among the passes that follow from it.
            std::thread::sleep(Duration::from_millis(40 + 67 * u64::try_from(round).expect("few")));
            signal(&agent, Signal::SIGKILL);
        });
        load.goes_on_for(20);
        another(&lab, &agent);
    }
    let tally = load.end_whole("clients of a Service that changes under an agent that dies");
    assert!(tally.answers.len() == 2, "both had flows: {:?}", tally.answers);
    // What the last agent made is what one that reads everything wants, and nothing was refused.
    let last = agent(&lab).expect("an agent");
    signal(&last, Signal::SIGKILL);
    another(&lab, &last);
    super::has_changed_nothing(&lab, "node-1").expect("the kernel is as planned");
    let report = success(&lab.node("node-1", &["seaway", "dump", "report"])).expect("a report");
    assert!(report.contains(" 0 failures"), "{report}");
}

/// The agent of node-1.
fn agent(lab: &Lab) -> Option<Process> {
    processes::in_role(lab, "agent").into_iter().find(|agent| agent.has_word("node-1"))
}

/// Waits until another agent than `old` is ready.
fn another(lab: &Lab, old: &Process) {
    eventually("the next agent is ready", || match agent(lab) {
        Some(agent) if agent != *old => super::ask_agent(lab, "node-1", "readyz").map(drop),
        other => Err(format!("{other:?}")),
    });
}
