//! A lab leaves the machine as it was, whatever dies, and labs don't see each other.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Trial;

use crate::lab::{Lab, SEAWAY, eventually, success, test, text};
use crate::processes::Process;
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("two_labs_live_side_by_side_and_the_machine_is_untouched", side_by_side),
        test("a_second_lab_of_the_same_name_is_refused", same_name),
        test("a_lab_works_where_nothing_may_be_executed", no_exec),
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
    let all = [&one, &two].map(processes::of);
    one.down();
    two.check();
    two.down();
    assert_eq!(before, machine());
    for (lab, processes) in [&one, &two].into_iter().zip(&all) {
        nothing_left(lab, processes);
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
    let mut lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let all = processes::of(&lab);
    let victims = processes::in_role(&lab, victim);
    let victim = victims.first().unwrap_or_else(|| panic!("no {victim} among {all:#?}"));
    let kill = Command::new("kill").args(["-9", &victim.pid.to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()), "kill {victim:?}");
    lab.down();
    nothing_left(&lab, &all);
}

/// No process, mount or folder of the lab.
fn nothing_left(lab: &Lab, processes: &BTreeSet<Process>) {
    assert!(!lab.dir().exists(), "{} is still there", lab.dir().display());
    let dir = lab.dir().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    assert!(!mounts.contains(&dir), "a mount is left");
    assert!(processes.len() > 3, "{processes:#?}");
    eventually("the lab's processes are gone", || {
        let left = processes::left(processes);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Where labs are on Debian: `/run` is a tmpfs that nothing can be executed from.
fn no_exec() {
    let lab = Lab::new();
    let file = manifests::write(&lab.dir().with_extension("files"), &manifests::pair());
    let script = "mkdir $DIR/run && mount -t tmpfs -o nosuid,nodev,noexec tmpfs $DIR/run && \
                  cp $SEAWAY $DIR/run/seaway && ! $DIR/run/seaway --help 2>/dev/null && \
                  export SEAWAY_LAB_DIR=$DIR/run && \
                  $SEAWAY lab up --name $NAME --nodes 2 -f $FILE && $SEAWAY check --name $NAME && \
                  $SEAWAY lab down --name $NAME && ls $DIR/run";
    let dir = lab.dir();
    let parent = dir.parent().expect("a lab's folder is in another");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-e", "-c", script]);
    unshare.env("SEAWAY", SEAWAY).env("DIR", parent).env("NAME", lab.name()).env("FILE", &file);
    let output = unshare.output().expect("start unshare");
    let left = success(&output).unwrap_or_else(|why| panic!("{why}\n{}", text(&output)));
    assert!(left.ends_with("seaway"), "the lab's folder is still there: {left}");
}

/// The machine's own network, as iproute2 and sysctl print it.
fn machine() -> String {
    let script = "ip -o link | sed 's/ state.*//'; ip -o addr | sed 's/valid_lft.*//'; ip route; \
                  ip -6 route | sed 's/expires.*//'; ip rule; sysctl net.ipv4.ip_forward \
                  net.ipv6.conf.all.forwarding net.ipv4.conf.all.rp_filter; nft list ruleset; ls /run/netns 2>/dev/null";
    let output = Command::new("sh").args(["-c", script]).output().expect("start sh");
    text(&output)
}
