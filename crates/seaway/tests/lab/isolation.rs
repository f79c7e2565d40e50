//! A lab leaves the machine as it was, whatever dies, and labs don't see each other.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("two_labs_live_side_by_side_and_the_machine_is_untouched", side_by_side),
        test("a_second_lab_of_the_same_name_is_refused", same_name),
    ];
    for victim in ["supervisor", "node", "agent", "pause"] {
        let name = format!("down_leaves_nothing_after_kill_9_of_{victim}");
        trials.push(test(&name, move || killed(victim)));
    }
    trials
}

fn side_by_side() {
    let before = machine();
    let flags = ["--nodes", "2"];
    let (mut one, mut two) = (Lab::up(&flags), Lab::up(&flags));
    for lab in [&one, &two] {
        lab.apply(&manifests::pair());
        eventually("pods run", || match lab.pod_field("server", "{.status.phase}").as_str() {
            "Running" => Ok(()),
            other => Err(other.to_owned()),
        });
        lab.check();
    }
    assert_eq!(before, machine(), "a lab that is up changed the machine's own network");
    one.down();
    two.check();
    two.down();
    assert_eq!(before, machine());
    for lab in [&one, &two] {
        nothing_left(lab);
    }
}

fn same_name() {
    let mut lab = Lab::up(&["--nodes", "1"]);
    let second = lab.try_up(&["--nodes", "1"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains(lab.name()), "{said}");
    success(&lab.kubectl(&["get", "nodes"])).expect("the first lab is unharmed");
}

fn killed(victim: &str) {
    let mut lab = Lab::new();
    let file = manifests::write(&lab.dir().with_extension("files"), &manifests::pair());
    let output = lab.try_up(&["--nodes", "2", "-f", &file]);
    assert!(output.status.success(), "lab up: {}", lab.told(&output));
    let victims = processes(&lab, victim);
    let pid = victims.first().unwrap_or_else(|| panic!("no {victim} among the lab's processes"));
    let kill = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()), "kill {victim}");
    lab.down();
    nothing_left(&lab);
}

/// Processes of the lab of one role, by what they are called and where they run.
fn processes(lab: &Lab, role: &str) -> Vec<u32> {
    let status = lab.seaway(&["lab", "status", "-o", "json"]).output().expect("start lab status");
    let status: serde_json::Value =
        serde_json::from_str(&text(&status)).unwrap_or_else(|e| panic!("lab status: {e}"));
    let pids = &status["processes"][role];
    pids.as_array()
        .unwrap_or_else(|| panic!("no processes.{role} in lab status: {status:#}"))
        .iter()
        .filter_map(|pid| u32::try_from(pid.as_u64()?).ok())
        .collect()
}

/// No process, mount or folder of the lab.
fn nothing_left(lab: &Lab) {
    assert!(!lab.dir().exists(), "{} is still there", lab.dir().display());
    let dir = lab.dir().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    assert!(!mounts.contains(&dir), "a mount is left");
    eventually("the lab's processes are gone", || {
        let left = with_argument(&dir);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Processes whose command line or environment names `word`, but not the test's own.
fn with_argument(word: &str) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").expect("read /proc");
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| read(*pid, "cmdline").contains(word))
        .collect()
}

/// The machine's own network, as iproute2 and sysctl print it.
fn machine() -> String {
    let script = "ip -o link | sed 's/ state.*//'; ip -o addr | sed 's/valid_lft.*//'; ip route; \
                  ip -6 route | sed 's/expires.*//'; ip rule; sysctl net.ipv4.ip_forward \
                  net.ipv6.conf.all.forwarding net.ipv4.conf.all.rp_filter; nft list ruleset; ls /run/netns 2>/dev/null";
    let output = Command::new("sh").args(["-c", script]).output().expect("start sh");
    text(&output)
}
