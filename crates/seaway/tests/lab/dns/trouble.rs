//! What can be wrong with a node's own DNS: a thread that hangs, an address that somebody else has, a
//! resolver that is itself.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use fixtures::message;

use super::stage::{LINK_LOCAL, VIPS, at, exchange};
use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;
use crate::processes::{self, Process};
use crate::service_stories::{ask_agent, signal};
use crate::services::stage::Place;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("dns107_an_agent_with_a_thread_that_hangs_ends_and_other_nodes_answer", hung),
        test("an_address_that_somebody_else_has_keeps_no_other_from_being_answered_at", taken),
        test("dns97_a_node_that_asks_itself_says_so_and_goes_on", looped),
    ]
}

const NAME: &str = "kubernetes.default.svc.cluster.local.";

/// A lab with a pod `shell` on node-1.
fn up(flags: &[&str]) -> Lab {
    let lab = Lab::up_with(flags, &manifests::pod("shell", "node-1", "seaway/shell"));
    eventually("names are answered", || {
        is_answered(&Place::find(&lab, "shell"), at(VIPS[0], 53)).then_some(()).ok_or("not yet")
    });
    lab
}

/// Whether a process at `place` has an answer from `server`, asking once.
fn is_answered(place: &Place, server: SocketAddr) -> bool {
    let query = message::query(NAME, message::kind("A"), None);
    let ask = || exchange(server, &query, Duration::from_secs(1));
    let reply = place.netns.run(ask).expect("enter the client's network");
    reply.is_some_and(|reply| reply[3] & 15 == 0 && reply[7] > 0)
}

/// The process of node-1 in this role.
fn of_node_1(lab: &Lab, role: &str) -> Process {
    let all = processes::in_role(lab, role);
    let is_its = |process: &Process| process.has_word("node-1") || process.is_for("node-1");
    all.into_iter().find(is_its).unwrap_or_else(|| panic!("no {role} of node-1"))
}

/// Stops one thread of a process and nothing else of it, as a debugger does, until its input ends.
///
/// Source: ptrace(2): PTRACE_SEIZE is 0x4206, PTRACE_INTERRUPT 0x4207.
const STOP_THREAD: &str = "
import ctypes, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
for request in (0x4206, 0x4207):
    if ptrace(request, int(sys.argv[1]), 0, 0):
        sys.exit(f'ptrace: {ctypes.get_errno()}')
print('stopped', flush=True)
sys.stdin.read()
";

fn hung() {
    let lab = up(&["--nodes", "2", "--ip-family", "ipv4"]);
    let (shell, agent) = (Place::find(&lab, "shell"), of_node_1(&lab, "agent"));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid)).expect("its threads");
    let named = tasks.flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "dns-0\n")
    });
    let threads: Vec<_> = named.map(|task| task.file_name()).collect();
    assert_eq!(threads.len(), 1, "one thread is the first that answers: {threads:?}");
    // Who keeps the node's agent alive sleeps, so that nobody starts another one.
    let keeper = of_node_1(&lab, "node");
    signal(&keeper, Signal::SIGSTOP);
    let mut debugger = Command::new("python3");
    debugger.args(["-c", STOP_THREAD]).arg(&threads[0]);
    let mut debugger = held(&mut debugger);
    eventually("it ends by itself", || match processes::left(&[agent.clone()].into()).is_empty() {
        true => Ok(()),
        false => Err("it is there"),
    });
    for _ in 0..50 {
        assert!(is_answered(&shell, at(VIPS[0], 53)), "node-2 answers");
    }
    assert!(!is_answered(&shell, at(LINK_LOCAL, 53)), "node-1 does not");
    drop(debugger.stdin.take());
    debugger.wait().expect("the debugger ends");
    signal(&keeper, Signal::SIGCONT);
    eventually("the next agent answers", || match is_answered(&shell, at(LINK_LOCAL, 53)) {
        true => Ok(()),
        false => Err("not yet"),
    });
    let log = std::fs::read_to_string(lab.dir().join("nodes/node-1/agent.log")).expect("a log");
    assert!(log.contains("of the DNS server hangs; the agent ends at once"), "{log}");
}

/// Starts a command that says a line when it has what it wants.
fn held(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start");
    let mut said = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut said).expect("it says something");
    assert!(!said.is_empty(), "it ended: {:?}", child.wait());
    child
}

/// Takes port 53 of an address over UDP as soon as nobody else has it, until its input ends. It says when it
/// begins and when it has it, five letters each.
const TAKE: &str = "
import socket, sys
print('tries', flush=True, end='')
while True:
    try:
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taken.bind((sys.argv[1], 53))
        break
    except OSError:
        taken.close()
print('taken', flush=True, end='')
sys.stdin.read()
";

fn taken() {
    let lab = up(&["--nodes", "1", "--ip-family", "ipv4"]);
    let shell = Place::find(&lab, "shell");
    let agent = of_node_1(&lab, "agent");
    let mut thief = lab.seaway(&["lab", "node"]);
    thief.args(["node-1", "--", "python3", "-c", TAKE, LINK_LOCAL]);
    thief.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut thief = thief.spawn().expect("start seaway lab node");
    let stdout = thief.stdout.as_mut().expect("it is piped");
    let mut said = [0; 5];
    stdout.read_exact(&mut said).expect("it tries");
    signal(&agent, Signal::SIGKILL);
    stdout.read_exact(&mut said).expect("it has the address");
    let trouble = format!("answer DNS at {LINK_LOCAL}:53");
    eventually("the report says so", || {
        let report = ask_agent(&lab, "node-1", "report")?;
        let is_told = report.contains(&trouble) && report.contains("Address already in use");
        if is_told { Ok(()) } else { Err(report) }
    });
    assert!(ask_agent(&lab, "node-1", "readyz").is_ok(), "pods don't wait for it");
    assert!(is_answered(&shell, at(VIPS[0], 53)), "the other address is answered at");
    assert!(!is_answered(&shell, at(LINK_LOCAL, 53)), "somebody else has this one");
    drop(thief.stdin.take());
    thief.wait().expect("it ends");
    eventually("it is taken when it is free", || match is_answered(&shell, at(LINK_LOCAL, 53)) {
        true => Ok(()),
        false => ask_agent(&lab, "node-1", "report").and_then(Err),
    });
    let report = ask_agent(&lab, "node-1", "report").expect("a report");
    assert!(!report.contains(&trouble), "{report}");
}

/// The node's `resolv.conf` names the address that its own agent answers at.
fn looped() {
    let lab = up(&["--nodes", "1", "--ip-family", "ipv4", "--nameserver", VIPS[0]]);
    let agent = of_node_1(&lab, "agent");
    let complaint = format!("upstream {}:53 sends questions back to this node", VIPS[0]);
    eventually("it is told", || {
        let log = lab.dir().join("nodes/node-1/agent.log");
        let log = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        if log.contains(&complaint) { Ok(()) } else { Err(log) }
    });
    let shell = Place::find(&lab, "shell");
    for _ in 0..5 {
        let asked = ["dig", "+tries=1", "+time=3", &format!("@{}", VIPS[0]), "www.example.org"];
        let said = text(&lab.exec("shell", &asked));
        assert!(said.contains("status: SERVFAIL"), "{said}");
        assert!(is_answered(&shell, at(VIPS[0], 53)), "names of the cluster are answered");
    }
    success(&lab.node("node-1", &["seaway", "dump", "report"])).expect("the agent is there");
    assert_eq!(of_node_1(&lab, "agent"), agent, "nothing ended");
}
