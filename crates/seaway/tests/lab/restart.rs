//! The agent dies, restarts and upgrades under traffic, and nobody notices.

use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;
use crate::service_stories::has_changed_nothing;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_killed_agent_breaks_no_stream_and_loses_no_packet", killed_agent),
        test("a_restarted_agent_changes_nothing", restart_changes_nothing),
        test("a_dead_container_keeps_the_address_and_a_dead_pause_does_not_leak", dead_processes),
    ]
}

/// client (node-1) ── ping train, open TCP stream ── server (node-2); both agents die three times.
fn killed_agent() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let server = lab.pod_field("server", "{.status.podIP}");
    let ping = background(&lab, "client", &format!("ping -i 0.05 -c 120 -W 2 {server}"));
    // One connection, a line every 50 ms, each must come back.
    let stream = background(
        &lab,
        "client",
        &format!(
            "exec 3<>/dev/tcp/{server}/9090; IFS= read -r -t 5 welcome <&3 || exit 2; for i in $(seq 1 100); do echo line-$i >&3; \
             IFS= read -r -t 5 back <&3 || exit 3; case \"$back\" in *line-$i*) ;; *) exit 4;; esac; \
             sleep 0.05; done; echo all lines came back"
        ),
    );
    for _ in 0..3 {
        kill_agents(&lab);
    }
    let ping = ping.wait_with_output().expect("wait for ping");
    assert!(text(&ping).contains(" 0% packet loss"), "{}", text(&ping));
    let stream = stream.wait_with_output().expect("wait for the stream");
    assert!(text(&stream).contains("all lines came back"), "{}", lab.told(&stream));
    lab.check();
}

/// After a restart the first pass finds everything as it should be.
fn restart_changes_nothing() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let before = snapshot(&lab);
    kill_agents(&lab);
    for node in ["node-1", "node-2"] {
        has_changed_nothing(&lab, node).expect("a restart finds all as it should be");
    }
    assert_eq!(before, snapshot(&lab));
}

/// A container that dies comes back with the address it had; a pause that dies takes its sandbox with
/// it, and the pod comes back with another, and nothing of the old one stays.
fn dead_processes() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let address = lab.pod_field("server", "{.status.podIP}");
    let restarts = "{.status.containerStatuses[0].restartCount}";
    let killed = lab.node("node-2", &["pkill", "-9", "-f", "seaway-echo"]);
    assert!(killed.status.success(), "{}", lab.told(&killed));
    eventually("the container is back", || match lab.pod_field("server", restarts).as_str() {
        "0" | "" => Err("not restarted".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(lab.pod_field("server", "{.status.podIP}"), address);
    let killed = lab.node("node-2", &["pkill", "-9", "-x", "pause"]);
    assert!(killed.status.success(), "{}", lab.told(&killed));
    eventually("a new sandbox with a new address is ready", || {
        // Both of one version: the old sandbox's `Ready` says nothing about the new one's address.
        let fields = "{.status.conditions[?(@.type==\"Ready\")].status} {.status.podIP}";
        let seen = lab.pod_field("server", fields);
        match seen.split_once(' ') {
            Some(("True", now)) if now != address => Ok(()),
            _ => Err(seen),
        }
    });
    let links = text(&lab.node("node-2", &["ip", "-o", "link", "show", "type", "veth"]));
    assert_eq!(links.lines().filter(|l| l.contains(": sw")).count(), 1, "{links}");
    lab.check();
}

fn background(lab: &Lab, pod: &str, script: &str) -> std::process::Child {
    let mut command: Command = lab.seaway(&["lab", "exec"]);
    command.args([pod, "--", "bash", "-c", script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start seaway lab exec")
}

/// Kills both agents with SIGKILL and waits until both answer again.
fn kill_agents(lab: &Lab) {
    for node in ["node-1", "node-2"] {
        let killed = lab.node(node, &["pkill", "-9", "-f", "seaway agent"]);
        assert!(killed.status.success(), "no agent to kill: {}", lab.told(&killed));
    }
    for node in ["node-1", "node-2"] {
        eventually("the agent is ready again", || {
            success(&lab.node(node, &agent_says("http://agent/readyz")))
        });
    }
}

/// Asks the agent of the node this runs on.
fn agent_says(url: &str) -> [&str; 5] {
    ["curl", "-sf", "--unix-socket", "/run/seaway/agent.sock", url]
}

/// What both nodes hold, with indexes, as iproute2 prints it.
fn snapshot(lab: &Lab) -> String {
    let script = "ip -o link | sed 's/state.*//'; ip route show table all; ip -6 route show table all proto 83; \
                  ip rule; bridge fdb show dev sw-vxlan 2>/dev/null; ip neigh show nud permanent";
    ["node-1", "node-2"].map(|node| text(&lab.node(node, &["sh", "-c", script]))).join("\n")
}
