//! Installs what the machine lacks: Debian packages, when root; else it prints the command.

use crate::run::{Result, command, is_root, output, say, step, which};

/// A program that the build, the tests, the examples or the demo call, and the Debian package that
/// holds it. What every Debian has (coreutils, findutils, grep, sed, tar, dash) is not listed.
const PROGRAMS: &[(&str, &str)] = &[
    ("git", "git"),
    ("cc", "gcc"),
    ("/usr/include/stdlib.h", "libc6-dev"),
    ("bash", "bash"),
    ("ps", "procps"),
    ("pkill", "procps"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("mountpoint", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables"),
    ("tcpdump", "tcpdump"),
    ("wrk", "wrk"),
    ("curl", "curl"),
    ("ping", "iputils-ping"),
    ("nc", "netcat-openbsd"),
    ("kubectl", "kubernetes-client"),
    ("go", "golang-go"),
    ("python3", "python3"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("busybox", "busybox-static"),
    ("knotd", "knot"),
    ("nsd", "nsd"),
    ("dnsperf", "dnsperf"),
    ("dig", "bind9-dnsutils"),
    ("kdig", "knot-dnsutils"),
    ("openssl", "openssl"),
    ("musl-gcc", "musl-tools"),
    ("/usr/lib/python3/dist-packages/pycares", "python3-pycares"),
];

/// The package that Debian keeps apart from `python3` and without which it makes no environments.
const VENV: &str = "python3-venv";

/// The packages that are missing.
fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| {
            if program.starts_with('/') {
                !std::path::Path::new(program).exists()
            } else {
                which(program).is_none()
            }
        })
        .map(|(_, package)| *package)
        .collect();
    let venv = output(&mut command("python3", &["-c", "import ensurepip"]));
    if !venv.is_ok_and(|venv| venv.status.success()) {
        packages.push(VENV);
    }
    packages.dedup();
    packages
}

/// Installs what is missing.
pub(crate) fn run() -> Result {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_root() {
        return Err(format!("these packages are missing; as root: apt-get install {list}"));
    }
    if which("apt-get").is_none() {
        return Err(format!("no apt-get here; install what Debian calls: {list}"));
    }
    say(&format!("── install {list}"));
    step("apt-get update", apt(&["update", "-qq"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&packages);
    step("apt-get install", &mut apt(&args))
}

/// apt-get, quiet, and without starting the services a package brings.
fn apt(args: &[&str]) -> std::process::Command {
    let mut apt = command("apt-get", args);
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    apt.stdout(std::process::Stdio::null());
    apt
}
