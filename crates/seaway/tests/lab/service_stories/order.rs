//! Whatever happened in whatever order, an agent that saw it all holds what a new one would make.

use std::fmt::Write;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::change::slice_of;
use super::{ask_agent, has_changed_nothing, kubectl, service, signal};
use crate::lab::{Lab, difference, eventually, success, test, text};
use crate::processes;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("s90_s94_after_any_operations_an_agent_holds_what_a_new_one_would_make", any_order)]
}

/// Chance that is the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides` (Marsaglia, xorshift).
    fn roll(&mut self, sides: usize) -> usize {
        for shift in [13, 7, 17] {
            self.0 ^= if shift == 7 { self.0 >> shift } else { self.0 << shift };
        }
        usize::try_from(self.0 % 1_000_000_007).expect("fits") % sides
    }
}

fn any_order() {
    let lab = Lab::up(&["--nodes", "2", "--external-ips", "192.0.2.0/24"]);
    let mut dice = Dice(0x5eed);
    for _ in 0..8 {
        for _ in 0..10 {
            lab.apply(&something(&mut dice));
        }
        let name = format!("s{}", dice.roll(5));
        match dice.roll(4) {
            0 => drop(lab.kubectl(&["delete", "service", &name])),
            1 => drop(lab.kubectl(&["delete", "endpointslice", &format!("{name}-1")])),
            2 => drop(kubectl(
                &lab,
                &format!(
                    "label node node-2 topology.kubernetes.io/zone=z{} --overwrite",
                    dice.roll(2)
                ),
            )),
            _ => kill_agent(&lab, "node-2"),
        }
    }
    let last =
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: last}\nspec: {ports: [{port: 80}]}\n";
    lab.apply(last);
    for node in ["node-1", "node-2"] {
        eventually("the agent has seen the last of it", || {
            let shown = dump(&lab, node);
            if shown.contains("default/last") { Ok(()) } else { Err(shown) }
        });
        let before = dump(&lab, node);
        kill_agent(&lab, node);
        let now = dump(&lab, node);
        assert_eq!(now, before, "{node}: {}", difference(&before, &now));
        has_changed_nothing(&lab, node).expect("the kernel is as planned");
    }
}

/// One of five Services, or its slice, in one of many shapes.
fn something(dice: &mut Dice) -> String {
    let name = format!("s{}", dice.roll(5));
    if dice.roll(2) == 0 {
        let addrs = [0, 1].map(|_| format!("10.244.{}.{}", 1 + dice.roll(2), 200 + dice.roll(20)));
        return slice_of(&name, addrs, [dice.roll(3) > 0, dice.roll(3) > 0]);
    }
    let kind = ["ClusterIP", "NodePort", "LoadBalancer"][dice.roll(3)];
    let mut yaml = service(&name, kind).replace("  selector:", "  #");
    if dice.roll(3) == 0 {
        writeln!(yaml, "  sessionAffinity: ClientIP").expect("a String takes any text");
    }
    if dice.roll(3) == 0 {
        writeln!(yaml, "  externalIPs: [192.0.2.{}]", dice.roll(3))
            .expect("a String takes any text");
    }
    if kind != "ClusterIP" && dice.roll(2) == 0 {
        writeln!(yaml, "  externalTrafficPolicy: Local").expect("a String takes any text");
    }
    if dice.roll(4) == 0 {
        writeln!(yaml, "  internalTrafficPolicy: Local").expect("a String takes any text");
    }
    yaml
}

/// Everything that the agent of `node` decided about Services, and what it knows of the kernel.
fn dump(lab: &Lab, node: &str) -> String {
    ["services", "rejected", "nft"]
        .map(|what| text(&lab.node(node, &["seaway", "dump", what])))
        .join("\n")
}

/// Kills the agent and waits for the next one.
fn kill_agent(lab: &Lab, node: &str) {
    let agent = || {
        let agents = processes::in_role(lab, "agent");
        agents.into_iter().find(|agent| agent.has_word(node))
    };
    let old = agent().expect("an agent");
    signal(&old, Signal::SIGKILL);
    eventually("the next agent is ready", || match agent() {
        Some(new) if new != old => ask_agent(lab, node, "readyz").map(drop),
        other => Err(format!("{other:?}")),
    });
    success(&lab.node(node, &["true"])).expect("the node lives");
}
