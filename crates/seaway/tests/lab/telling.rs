//! What a person is told about pods: their events and their logs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("describe_tells_where_a_pod_was_scheduled_and_why_it_was_not", scheduled),
        test("followed_logs_go_on_after_a_restart_and_end_with_the_pod", followed),
    ]
}

fn scheduled() {
    let lab = Lab::up(&["--nodes", "1"]);
    let picky = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: picky}\nspec:\n  \
                 nodeSelector: {disk: gold}\n  containers: [{name: main, image: seaway/echo}]\n";
    lab.apply(&format!("{}{picky}", manifests::echoes(1)));
    for (pod, line) in [
        ("p0", "Successfully assigned default/p0 to node-1"),
        ("picky", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
    ] {
        eventually("the event is there", || {
            let told = success(&lab.kubectl(&["describe", "pod", pod]))?;
            let is_it = |l: &str| l.contains(line) && l.contains("default-scheduler");
            if told.lines().any(is_it) { Ok(()) } else { Err(told) }
        });
    }
}

/// A container that says hello and ends, again and again.
fn followed() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: greeter}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: seaway/shell\n    \
         command: [sh, -c, 'echo hello; sleep 1; echo bye']\n",
    );
    eventually("the container has run", || {
        let logs = lab.seaway(&["lab", "logs", "greeter"]).output();
        let said = text(&logs.expect("start seaway lab logs"));
        if said.contains("hello") { Ok(()) } else { Err(said) }
    });
    let mut command = lab.seaway(&["lab", "logs", "greeter", "--follow"]);
    let mut following = command.stdout(Stdio::piped()).spawn().expect("start seaway lab logs -f");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    for expected in ["hello", "bye", "hello", "bye"] {
        assert_eq!(lines.next().expect("another line").expect("read it"), expected);
    }
    let deleted = lab.kubectl(&["delete", "pod", "greeter", "--now"]);
    success(&deleted).expect("delete the pod");
    assert!(following.wait().expect("wait for it").success(), "it ends by itself");
}
