//! Bad input: each is a clear error that names what is wrong, and nothing is made or lost.

use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::lab::{Lab, SEAWAY, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("flags_that_cannot_work_are_refused_before_anything_is_made", flags),
        test("a_manifest_that_cannot_be_read_names_its_place", unreadable),
        test("a_missing_capability_is_named", capabilities),
        test("without_root_a_lab_says_so", not_root),
        test("an_agent_names_the_flag_that_is_wrong", agent),
    ]
}

/// Flags of `lab up`, and what the message has to contain.
const FLAGS: [(&str, &[&str]); 17] = [
    (
        "--pod-cidr 10.80.0.0/16",
        &["--pod-cidr 10.80.0.0/16", "overlaps", "--node-cidr 10.80.0.0/16"],
    ),
    ("--pod-cidr 203.0.0.0/8", &["203.0.0.0/8", "overlaps", "203.0.113.0/24"]),
    ("--pod-cidr 10.244.0.0/23", &["--pod-cidr 10.244.0.0/23", "room for 2", "needs 3"]),
    ("--pod-cidr 10.244.0.0/28 --nodes 1", &["--pod-cidr 10.244.0.0/28"]),
    ("--node-cidr 10.80.0.0/24", &["--node-cidr 10.80.0.0/24", "room for 1", "needs 2"]),
    ("--pod-cidr 10.244.0.1/16", &["10.244.0.1/16", "10.244.0.0/16"]),
    ("--pod-cidr 10.1.0.0/16,10.2.0.0/16", &["--pod-cidr", "2 ", "needs 1"]),
    ("--ip-family ipv6 --pod-cidr 10.1.0.0/16", &["--pod-cidr", "--ip-family ipv6"]),
    ("--pod-cidr 10.244", &["--pod-cidr", "10.244"]),
    ("--mtu 1279", &["--mtu 1279", "1280"]),
    ("--underlay-mtu 1279", &["--underlay-mtu 1279", "1280"]),
    ("--nodes 0", &["--nodes 0"]),
    ("--nodes 241", &["--nodes 241", "240"]),
    ("--pod-link bridged", &["--pod-link", "bridged", "routed"]),
    ("--routing ipsec", &["--routing", "ipsec", "vxlan"]),
    ("--routing direct --subnets 2", &["--routing direct", "--subnets 2"]),
    ("--image web", &["--image \"web\"", "NAME=COMMAND"]),
];

fn flags() {
    for (flags, parts) in FLAGS {
        let mut lab = Lab::new();
        let output = lab.try_up(&flags.split(' ').collect::<Vec<_>>());
        refused(flags, &output, parts);
        assert!(!lab.dir().exists(), "{flags}: {} has been made", lab.dir().display());
    }
}

/// What is wrong with a manifest, and what is said of it.
const MANIFESTS: [(&str, &[&str]); 3] = [
    ("kind: Pod\nmetadata: {name: [x\n", &["manifest.yaml:", "document 1"]),
    (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: p}\n",
        &["manifest.yaml:5", "document 2", "Pod p", "apiVersion"],
    ),
    ("apiVersion: v1\nmetadata: {name: p}\n", &["manifest.yaml:1", "document 1", "kind"]),
];

fn unreadable() {
    for (yaml, parts) in MANIFESTS {
        let mut lab = Lab::new();
        let file = manifests::write(&lab.dir().with_extension("files"), yaml);
        let output = lab.try_up(&["--nodes", "1", "-f", &file]);
        refused(yaml, &output, parts);
        assert!(!lab.dir().exists(), "{} has been made", lab.dir().display());
    }
    let mut lab = Lab::new();
    refused("a file that is not there", &lab.try_up(&["-f", "/nowhere.yaml"]), &["/nowhere.yaml"]);
}

fn capabilities() {
    for (name, what) in [("sys_admin", "CAP_SYS_ADMIN"), ("net_admin", "CAP_NET_ADMIN")] {
        let lab = Lab::new();
        let mut up = Command::new("setpriv");
        up.args([&format!("--bounding-set=-{name}"), SEAWAY, "lab", "up", "--name", lab.name()]);
        let output = up.env("SEAWAY_LAB_DIR", lab.dir().with_extension("labs")).output();
        refused(name, &output.expect("start setpriv"), &["this machine cannot run a lab", what]);
        let mut agent = Command::new("setpriv");
        agent.args([&format!("--bounding-set=-{name}"), SEAWAY, "agent", "--node-name", "x"]);
        agent.args([
            "--kubeconfig",
            "/nowhere",
            "--run-dir",
            "/nowhere",
            "--state-dir",
            "/nowhere",
        ]);
        refused(name, &agent.output().expect("start setpriv"), &["the agent lacks", what]);
    }
}

/// The binary is opened first: its folder may be closed to others.
fn not_root() {
    let lab = Lab::new();
    let script = "exec 9<\"$0\"; exec setpriv --reuid 65534 --clear-groups /proc/self/fd/9 lab up";
    let mut up = Command::new("sh");
    up.args(["-c", script, SEAWAY]).env("SEAWAY_LAB_DIR", lab.dir().with_extension("labs"));
    refused("without root", &up.output().expect("start sh"), &["needs root"]);
}

/// Flags of `agent`, and what the message has to contain.
const AGENT: [(&str, &[&str]); 5] = [
    ("--mtu 1000 --node-name x", &["--mtu 1000", "1280"]),
    ("--routing ipsec --node-name x", &["--routing", "ipsec", "vxlan"]),
    ("--pod-link bridged --node-name x", &["--pod-link", "bridged", "routed"]),
    ("--node-name x --kubeconfig /nowhere.conf", &["/nowhere.conf"]),
    ("--no-such-flag", &["--no-such-flag"]),
];

fn agent() {
    let lab = Lab::new();
    let dir = lab.dir().with_extension("agent");
    for (flags, parts) in AGENT {
        // In a network of its own: what is refused too late must not reach the machine's.
        let mut agent = Command::new("unshare");
        agent.args(["--net", SEAWAY, "agent", "--metrics-bind", "none"]);
        for flag in ["--run-dir", "--state-dir", "--cni-conf-dir", "--cni-bin-dir"] {
            agent.arg(flag).arg(dir.join(flag.trim_start_matches('-')));
        }
        let output = agent.args(flags.split(' ')).output().expect("start unshare");
        refused(flags, &output, parts);
    }
}

/// The command failed and said each of `parts`, on stderr and without a panic.
fn refused(what: &str, output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{what}: succeeded: {}{said}", text(output));
    for part in parts {
        assert!(said.contains(part), "{what}: no {part:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{what}: {said}");
}
