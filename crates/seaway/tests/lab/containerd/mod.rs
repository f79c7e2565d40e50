//! containerd, Debian's own, runs on a node of a lab and gives its containers Seaway's network, by
//! the conflist and through the plugin that the agent put in place.

use std::fs;
use std::process::{Child, Stdio};

use libtest_mimic::Trial;

use crate::cri::{Runtime, Sandbox};
use crate::images;
use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("ctr_gives_a_rootfs_container_the_network", rootfs_container),
        test("the_cri_starts_and_removes_sandboxes_with_the_network", sandboxes),
        test("dns101_dns103_containerd_tells_where_its_pods_look_for_names", search_lists),
        test(
            "a_sandbox_stopped_while_the_agent_is_down_is_released_by_the_next",
            stopped_meanwhile,
        ),
        test("the_image_of_seaway_runs_in_containerd", own_image),
    ]
}

/// `ctr run --rootfs --cni`: the container reaches a pod of the lab on another node by its address.
fn rootfs_container() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let server = lab.pod_field("server", "{.status.podIP}");
    let before = state(&lab, "node-1");
    let script = format!(
        "PATH=/usr/bin:/usr/sbin; ip -o -4 addr show dev eth0; curl -sf --max-time 5 http://{server}:8080/"
    );
    // `ctr` makes the control group of a container in one named after the namespace.
    let run = ["-n", &containerd.cgroup(), "run", "--rm", "--rootfs", "--cni", ROOTFS, "c1"];
    let said = success(&containerd.ctr(&[&run[..], &["/bin/sh", "-c", &script]].concat()));
    let said = said.unwrap_or_else(|why| panic!("{why}\n{}", containerd.log()));
    assert!(said.contains(" 10.244."), "an address of the node's pod CIDR: {said}");
    eventually("DEL leaves the node as it was", || {
        let now = state(&lab, "node-1");
        if now == before { Ok(()) } else { Err(now) }
    });
}

/// RunPodSandbox → reachable from a pod on the other node; StopPodSandbox → gone; twice is fine.
fn sandboxes() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let runtime = containerd.runtime();
    let before = state(&lab, "node-1");
    let ids: Vec<String> = (0..3)
        .map(|n| {
            let (name, uid) = (format!("pod-{n}"), format!("uid-{n}"));
            let host_port = (n == 0).then_some((8088, 80));
            let sandbox = Sandbox { name: &name, uid: &uid, host_port, ..Sandbox::default() };
            runtime.run(&sandbox).unwrap_or_else(|why| panic!("{why}\n{}", containerd.log()))
        })
        .collect();
    let nft = text(&lab.node("node-1", &["nft", "list", "table", "inet", "seaway"]));
    assert!(nft.contains("8088"), "the hostPort is in place: {nft}");
    for id in &ids {
        let addresses = runtime.addresses(id).expect("PodSandboxStatus");
        assert!(addresses[0].starts_with("10.244."), "{addresses:?}");
        for address in &addresses {
            let ping = lab.exec("server", &["ping", "-c1", "-W2", address]);
            assert!(ping.status.success(), "ping {address}: {}", lab.told(&ping));
        }
    }
    for id in &ids {
        runtime.stop(id).expect("StopPodSandbox");
        runtime.stop(id).expect("StopPodSandbox again");
        runtime.remove(id).expect("RemovePodSandbox");
    }
    assert_eq!(state(&lab, "node-1"), before, "DEL leaves the node as it was");
    lab.check();
}

/// What the kubelet makes of a pod's DNS policy, and the pod's annotations, get from containerd to the agent:
/// it goes along the list of the one pod that has one and does not opt out.
fn search_lists() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let runtime = containerd.runtime();
    let list = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    let alone = Some(("seaway.io/dns-autopath", "false"));
    for (name, searches, annotation, status) in [
        ("helped", &list[..], Some(("a", "b")), "NOERROR"),
        ("alone", &list[..], alone, "NXDOMAIN"),
        ("listless", &[], None, "NXDOMAIN"),
    ] {
        let sandbox = Sandbox { name, uid: name, searches, annotation, host_port: None };
        let id = runtime.run(&sandbox);
        let id = id.unwrap_or_else(|why| panic!("{why}\n{}", containerd.log()));
        let addresses = runtime.addresses(&id).expect("PodSandboxStatus");
        let script = "for n in /run/netns/*; do \
             if nsenter --net=$n ip -o addr | grep -q \" $1/\"; then \
             nsenter --net=$n dig @169.254.20.10 kubernetes.default.shop.svc.cluster.local; fi; done";
        let said = text(&lab.node("node-1", &["sh", "-c", script, "sh", &addresses[0]]));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("status: {status}")), "{name}: {said}");
        let leads = said.contains("CNAME kubernetes.default.svc.cluster.local.");
        assert_eq!(leads, status == "NOERROR", "{name}: {said}");
    }
}

/// The agent is stopped for good, a sandbox goes, and the next agent releases what it had.
fn stopped_meanwhile() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let runtime = containerd.runtime();
    let before = state(&lab, "node-1");
    let sandbox = Sandbox { name: "pod", uid: "uid", ..Sandbox::default() };
    let id = runtime.run(&sandbox).expect("RunPodSandbox");
    // The lab starts the agent again after a moment, so its socket is hidden for the meantime.
    let hide = success(&lab.node("node-1", &["mv", "/run/seaway/cni.sock", "/run/seaway/hidden"]));
    hide.expect("hide the socket");
    runtime.stop(&id).expect("StopPodSandbox without an agent");
    let waiting = text(&lab.node("node-1", &["ls", "/run/seaway/state/pending"]));
    assert!(waiting.starts_with("sw"), "the DEL waits on disk: {waiting:?}");
    eventually("the DEL that waited is done", || {
        let now = state(&lab, "node-1");
        if now == before { Ok(()) } else { Err(now) }
    });
    runtime.remove(&id).expect("RemovePodSandbox");
}

/// The archives that `cargo xtask image` writes, as `ctr image import` takes them: the CRI finds both by the names
/// that manifests have, and Seaway runs where there is nothing but its image.
fn own_image() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let import =
        |namespace| containerd.ctr(&["-n", namespace, "image", "import", "/run/ctrd/seaway.tar"]);
    success(&import("k8s.io")).expect("import the image of Seaway");
    let runtime = containerd.runtime();
    let version = env!("CARGO_PKG_VERSION");
    for name in ["localhost/seaway/seaway", "localhost/seaway/pause"] {
        let id = runtime.image(&format!("{name}:{version}"));
        assert!(id.as_ref().is_ok_and(|id| id.starts_with("sha256:")), "{name}: {id:?}");
    }
    assert_eq!(runtime.image("localhost/seaway/other:1"), Ok(String::new()), "no image");
    // Containers' control groups are named after the namespace.
    success(&import(&containerd.cgroup())).expect("import it for ctr as well");
    let image = format!("localhost/seaway/seaway:{version}");
    let run = ["-n", &containerd.cgroup(), "run", "--rm", &image, "c1", "seaway", "--version"];
    let said = success(&containerd.ctr(&run));
    assert_eq!(said.map(|said| said.trim().to_owned()), Ok(format!("seaway {version}")));
}

/// A container's root: the machine's own, read-only, as the lab's pods have it.
const ROOTFS: &str = "/run/ctrd/rootfs";

/// containerd on a node, in a mount namespace of its own, with everything it writes in the node's
/// `/run/ctrd`. It ends with this value, and with the lab.
struct Containerd<'a> {
    lab: &'a Lab,
    node: &'a str,
    process: Child,
}

impl<'a> Containerd<'a> {
    fn start(lab: &'a Lab, node: &'a str) -> Containerd<'a> {
        let dir = lab.dir().join("nodes").join(node).join("run/ctrd");
        fs::create_dir_all(dir.join("rootfs")).expect("make containerd's folder");
        let config = CONFIG.replace("VERSION", env!("CARGO_PKG_VERSION"));
        fs::write(dir.join("config.toml"), config).expect("write containerd's configuration");
        for image in ["pause", "seaway"] {
            let archive = images::ours(image);
            let copied = fs::copy(&archive, dir.join(format!("{image}.tar")));
            copied.unwrap_or_else(|error| panic!("copy {}: {error}", archive.display()));
        }
        let log = fs::File::create(lab.dir().join("containerd.log")).expect("make the log");
        let mut command = lab.seaway(&["lab", "node"]);
        command.args([node, "--", "sh", "-ec", SHARE, "sh", START]);
        command.stdout(log.try_clone().expect("share the log")).stderr(log).stdin(Stdio::null());
        let process = command.spawn().expect("start containerd");
        let containerd = Containerd { lab, node, process };
        eventually("containerd answers and finds its network", || {
            containerd.runtime().network_ready()
        });
        let import = containerd.ctr(&["-n", "k8s.io", "image", "import", "/run/ctrd/pause.tar"]);
        success(&import).expect("import the pause image");
        containerd
    }

    /// The CRI: the socket's file is seen from outside of the node as well.
    fn runtime(&self) -> Runtime {
        let run = self.lab.dir().join("nodes").join(self.node).join("run");
        Runtime::new(&run.join("ctrd/containerd.sock"), format!("/{}", self.cgroup()))
    }

    /// The control group of everything this containerd starts. Control groups are the machine's, so
    /// its name is this lab's own.
    fn cgroup(&self) -> String {
        format!("seaway-test-{}", self.lab.name())
    }

    /// `ctr`, in containerd's mount namespace, where the CNI directories it insists on are ours.
    fn ctr(&self, args: &[&str]) -> std::process::Output {
        let enter = "exec nsenter --mount=/proc/$(cat /run/ctrd/pid)/ns/mnt \
                     ctr --address /run/ctrd/containerd.sock \"$@\"";
        let words = [&["sh", "-c", enter, "ctr"], args].concat();
        self.lab.node(self.node, &words)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.lab.dir().join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // runc removes the groups of containers, but not the one they are in.
        let end = "nsenter --mount=/proc/$(cat /run/ctrd/pid)/ns/mnt \
                   find /sys/fs/cgroup/ -depth -type d '(' -path \"*/$1\" -o -path \"*/$1/*\" ')' \
                   -exec rmdir {} ';' ; \
                   kill $(cat /run/ctrd/pid)";
        drop(self.lab.node(self.node, &["sh", "-c", end, "end", &self.cgroup()]));
        drop(self.process.wait());
    }
}

/// Containers' network namespaces are mounts, which the agent has to see: `/run/netns` is shared, as
/// `ip netns` makes it, and the rest of containerd's mounts are its own. Whether it is a mount already
/// is found by trying: `mountpoint` takes the machine's, which the node's `/run` hides, for the node's.
const SHARE: &str = r#"
    mkdir -p /run/netns
    if ! mount --make-shared /run/netns 2>/dev/null; then
        mount --rbind /run/netns /run/netns
        mount --make-shared /run/netns
    fi
    exec unshare --mount --propagation unchanged sh -ec "$1"
"#;

/// Makes the places containerd and `ctr` insist on, then becomes containerd. `ctr` reads only
/// `/etc/cni/net.d` and `/opt/cni/bin`; runc wants the cgroup hierarchies where they are usually.
const START: &str = r#"
    mkdir -p /run/ctrd/etc /run/ctrd/work
    mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/ctrd/etc,workdir=/run/ctrd/work /etc
    mkdir -p /etc/cni && ln -s /run/cni/net.d /etc/cni/net.d
    mount -t tmpfs tmpfs /opt && mkdir /opt/cni && ln -s /run/cni/bin /opt/cni/bin
    if ! [ -d /sys/fs/cgroup/pids ]; then
        mount -t tmpfs tmpfs /sys/fs/cgroup
        for c in $(awk 'NR > 1 && $4 == 1 { print $1 }' /proc/cgroups); do
            mkdir /sys/fs/cgroup/$c && mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c || rmdir /sys/fs/cgroup/$c
        done
    fi
    mount --bind / /run/ctrd/rootfs && mount -o remount,bind,ro /run/ctrd/rootfs
    echo $$ > /run/ctrd/pid
    exec containerd --config /run/ctrd/config.toml
"#;

/// `native`: a snapshotter that needs no overlay on overlay. `restrict_oom_score_adj`: as a kubelet
/// in a container, we may not have CAP_SYS_RESOURCE.
const CONFIG: &str = r#"
version = 2
root = "/run/ctrd/root"
state = "/run/ctrd/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "/run/ctrd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/seaway/pause:VERSION"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/run/cni/bin"
    conf_dir = "/run/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"#;

/// What attachments leave on a node: links, routes, neighbors, leases.
fn state(lab: &Lab, node: &str) -> String {
    let script = "ip -o link show type veth | sed 's/^[0-9]*: \\([^@]*\\).*/\\1/'; ip route; \
                  ip -6 route show proto 83; ip neigh show nud permanent; seaway dump ipam | grep -v released";
    text(&lab.node(node, &["sh", "-c", script]))
}
