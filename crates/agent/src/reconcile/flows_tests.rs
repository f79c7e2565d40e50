//! The step against entries in memory: which it removes, and how often it looks.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use compile::flows::LeftBehind;
use plan::nft::{Key, Row, SetName, TableFamily, Value};

use super::*;

/// Entries in memory, and the walks through them.
#[derive(Debug, Default)]
struct Inside {
    entries: Vec<Flow>,
    walks: Vec<FlowFilter>,
    is_down: bool,
}

#[derive(Debug, Default, Clone)]
struct Memory(Arc<Mutex<Inside>>);

impl Memory {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// `udp 10.96.0.1:53 to 10.1.0.2:53`, an entry.
    fn add(&self, text: &str) {
        self.inside().entries.push(flow(text));
    }

    /// The same, of a packet that nobody has answered.
    fn ask(&self, text: &str) {
        self.inside().entries.push(Flow { is_answered: false, ..flow(text) });
    }

    fn left(&self) -> Vec<String> {
        let show = |flow: &Flow| format!("{} to {}", flow.to, flow.backend);
        self.inside().entries.iter().map(show).collect()
    }

    /// How many walks there were since the last time.
    fn walks(&self) -> usize {
        std::mem::take(&mut self.inside().walks).len()
    }
}

impl Tracking for Memory {
    fn remove(
        &mut self,
        filter: &FlowFilter,
        wrong: &dyn Fn(&Flow) -> bool,
    ) -> Result<Walked, Error> {
        let mut inside = self.inside();
        if inside.is_down {
            return Err(Error::new("list the entries", std::io::ErrorKind::Other.into()));
        }
        inside.walks.push(*filter);
        let shown = inside.entries.iter().filter(|flow| filter.lets_through(flow)).count();
        let before = inside.entries.len();
        inside.entries.retain(|flow| !(filter.lets_through(flow) && wrong(flow)));
        Ok(Walked { shown, removed: before - inside.entries.len() })
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(text: &str) -> Flow {
    let (key, backend) = text.split_once(" to ").unwrap();
    Flow { from: at("192.0.2.7:4000"), to: key_of(key), backend: at(backend), is_answered: true }
}

fn key_of(text: &str) -> FlowKey {
    let (protocol, frontend) = text.split_once(' ').unwrap();
    FlowKey { protocol: protocol.parse().unwrap(), at: at(frontend) }
}

/// `udp 10.96.0.1:53 -> 10.1.0.2:53`, a row each.
fn plan(rows: &[&str]) -> Plan {
    let row = |text: &&str| {
        let (key, backends) = text.split_once(" ->").unwrap();
        (key_of(key), backends.split_whitespace().map(at).collect())
    };
    Plan { flows: rows.iter().map(row).collect(), ..Plan::default() }
}

fn step(memory: &Memory) -> Flows<Memory> {
    Flows::new(memory.clone(), Arc::default())
}

fn pass(step: &mut Flows<Memory>, plan: &Plan) -> StepReport {
    step.put(plan, Reach::All);
    step.report()
}

const DNS: &str = "udp 10.96.0.1:53 -> 10.1.0.2:53 10.1.0.3:53";

#[test]
fn at_the_start_what_agrees_stays_and_what_is_not_ours_too() {
    let memory = Memory::default();
    let stay = [
        "udp 10.96.0.1:53 to 10.1.0.2:53",
        "udp 10.96.0.1:53 to 10.1.0.3:53",
        "udp 10.96.0.9:53 to 10.1.0.9:53",
        "udp 8.8.8.8:53 to 8.8.8.8:53",
        "sctp 10.96.0.1:53 to 10.1.0.9:53",
    ];
    stay.iter().for_each(|text| memory.add(text));
    let mut first = step(&memory);
    assert_eq!(pass(&mut first, &plan(&[DNS])).deletes, 0);
    assert_eq!(memory.left(), stay);
    assert_eq!(memory.walks(), 4, "by protocol and family");
    memory.add("udp 10.96.0.1:53 to 10.1.0.9:53");
    memory.add("udp 10.96.0.1:53 to 10.96.0.1:53");
    let mut second = step(&memory);
    assert_eq!(pass(&mut second, &plan(&[DNS])).deletes, 2);
    assert_eq!(memory.left(), stay);
}

#[test]
fn flows_of_a_frontend_that_went_while_nobody_looked_are_known_from_the_rules() {
    let memory = Memory::default();
    memory.add("udp 10.96.0.9:53 to 10.1.0.9:53");
    memory.add("udp 10.96.0.8:53 to 10.1.0.9:53");
    let element = [Value::Ipv4([10, 96, 0, 9].into()), Value::Number(17), Value::Port(53)];
    let key = Key::Element(TableFamily::Inet, SetName("services4".into()), element.into());
    let nft = [(key, Row::Element(None))].into_iter().collect();
    let have = Plan { nft, ..Plan::default() };
    assert_ne!(LeftBehind::of(&have.nft), LeftBehind::default());
    let mut step = step(&memory);
    step.note(&have);
    assert_eq!(pass(&mut step, &plan(&[])).deletes, 1);
    assert_eq!(memory.left(), ["udp 10.96.0.8:53 to 10.1.0.9:53"]);
}

#[test]
fn a_change_costs_one_walk_through_what_it_can_have_put_in_the_wrong() {
    let memory = Memory::default();
    let mut step = step(&memory);
    let node_port = "udp 192.0.2.1:30053 -> 10.1.0.2:53 10.1.0.3:53";
    pass(&mut step, &plan(&[DNS, node_port]));
    memory.walks();
    for to in ["10.96.0.1:53", "192.0.2.1:30053"] {
        for backend in ["10.1.0.2:53", "10.1.0.3:53"] {
            memory.add(&format!("udp {to} to {backend}"));
        }
    }
    pass(&mut step, &plan(&[DNS, node_port]));
    assert_eq!(memory.walks(), 0, "nothing changed");
    let less = ["udp 10.96.0.1:53 -> 10.1.0.3:53", "udp 192.0.2.1:30053 -> 10.1.0.3:53"];
    assert_eq!(pass(&mut step, &plan(&less)).deletes, 2);
    let walks = std::mem::take(&mut memory.inside().walks);
    assert_eq!(walks.len(), 1);
    assert_eq!(walks[0].backend_addr, Some([10, 1, 0, 2].into()));
    let more = [DNS, "udp 192.0.2.1:30053 -> 10.1.0.3:53"];
    assert_eq!(pass(&mut step, &plan(&more)).deletes, 0);
    assert_eq!(memory.walks(), 0, "a backend more cuts nothing");
    assert_eq!(pass(&mut step, &plan(&[])).deletes, 2, "the Services are gone");
    assert_eq!(memory.left(), Vec::<String>::new());
}

#[test]
fn an_entry_that_came_just_after_the_walk_is_found_when_it_has_settled() {
    let memory = Memory::default();
    let mut step = step(&memory);
    pass(&mut step, &plan(&[]));
    assert!(!step.is_unsettled(), "nothing changed");
    pass(&mut step, &plan(&["udp 10.96.0.1:53 ->"]));
    assert!(step.is_unsettled());
    memory.add("udp 10.96.0.1:53 to 10.1.0.2:53");
    memory.walks();
    pass(&mut step, &plan(&["udp 10.96.0.1:53 ->"]));
    assert_eq!(memory.walks(), 0, "it is too early");
    for (since, _) in &mut step.settling {
        *since -= SETTLE;
    }
    assert_eq!(pass(&mut step, &plan(&["udp 10.96.0.1:53 ->"])).deletes, 1);
    assert!(!step.is_unsettled());
    assert_eq!(memory.walks(), 1);
}

#[test]
fn what_waits_for_its_answer_goes_when_that_had_its_time() {
    let memory = Memory::default();
    let mut step = step(&memory);
    pass(&mut step, &plan(&[DNS]));
    memory.add("udp 10.96.0.1:53 to 10.1.0.2:53");
    memory.ask("udp 10.96.0.1:53 to 10.1.0.2:53");
    let less = plan(&["udp 10.96.0.1:53 -> 10.1.0.3:53"]);
    assert_eq!(pass(&mut step, &less).deletes, 1);
    assert!(!memory.inside().entries[0].is_answered);
    for (since, _) in &mut step.settling {
        *since -= SETTLE;
    }
    assert_eq!(pass(&mut step, &less).deletes, 1, "whoever only sends is heard by others now");
    // What began before there was a Service was asked of nobody.
    memory.ask("udp 10.96.0.2:53 to 10.96.0.2:53");
    let new = plan(&["udp 10.96.0.1:53 -> 10.1.0.3:53", "udp 10.96.0.2:53 -> 10.1.0.3:53"]);
    assert_eq!(pass(&mut step, &new).deletes, 1);
}

#[test]
fn what_could_not_be_looked_at_is_looked_at_again() {
    let memory = Memory::default();
    let mut step = step(&memory);
    pass(&mut step, &plan(&[DNS]));
    memory.add("udp 10.96.0.1:53 to 10.1.0.2:53");
    memory.inside().is_down = true;
    let less = plan(&["udp 10.96.0.1:53 -> 10.1.0.3:53"]);
    let report = pass(&mut step, &less);
    assert_eq!((report.failures.len(), report.deletes), (1, 0));
    assert_eq!(report.failures[0].subject, Subject::Others, "no ADD fails for it");
    memory.inside().is_down = false;
    assert_eq!(pass(&mut step, &less).deletes, 1);
}

#[test]
fn entries_that_changed_behind_our_back_are_found_when_everything_is_read() {
    let memory = Memory::default();
    let mut step = step(&memory);
    pass(&mut step, &plan(&[DNS]));
    memory.add("udp 10.96.0.1:53 to 10.1.0.9:53");
    assert_eq!(pass(&mut step, &plan(&[DNS])).deletes, 0);
    step.mark_stale();
    assert_eq!(pass(&mut step, &plan(&[DNS])).deletes, 1);
    assert_eq!(step.dump(), format!("{DNS}\n"));
}
