//! containerd on a node of a lab: how it starts, is killed, and what is asked of it.

use std::fs;
use std::process::{Child, Output, Stdio};

use crate::cri::Runtime;
use crate::images;
use crate::lab::{Lab, eventually, success};

/// A container's root: the machine's own, read-only, as the lab's pods have it.
pub(super) const ROOTFS: &str = "/run/ctrd/rootfs";

/// containerd on a node, in a mount namespace of its own, with everything it writes in the node's
/// `/run/ctrd`. It ends with this value, and with the lab.
pub(super) struct Containerd<'a> {
    lab: &'a Lab,
    node: &'a str,
    process: Child,
}

impl<'a> Containerd<'a> {
    /// containerd, once it finds its network.
    pub(super) fn start(lab: &'a Lab, node: &'a str) -> Containerd<'a> {
        let containerd = Containerd::start_alone(lab, node);
        eventually("containerd finds its network", || containerd.runtime().network_ready());
        containerd
    }

    /// containerd on a node that may have no network.
    pub(super) fn start_alone(lab: &'a Lab, node: &'a str) -> Containerd<'a> {
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
        containerd.answers();
        let import = containerd.ctr(&["-n", "k8s.io", "image", "import", "/run/ctrd/pause.tar"]);
        success(&import).expect("import the pause image");
        containerd
    }

    fn answers(&self) {
        eventually("containerd answers", || self.runtime().sandboxes().map(drop));
    }

    /// `kill -9`. Nobody is there until [`come_back`](Self::come_back).
    pub(super) fn kill(&self) {
        let script = "touch /run/ctrd/away; kill -9 $(cat /run/ctrd/containerd)";
        success(&self.lab.node(self.node, &["sh", "-c", script])).expect("kill containerd");
        eventually("containerd has ended", || match self.runtime().sandboxes() {
            Ok(_) => Err("it answers"),
            Err(_) => Ok(()),
        });
    }

    /// Starts it again.
    pub(super) fn come_back(&self) {
        success(&self.lab.node(self.node, &["rm", "/run/ctrd/away"])).expect("let it start");
        self.answers();
    }

    /// The CRI: the socket's file is seen from outside of the node as well.
    pub(super) fn runtime(&self) -> Runtime {
        let run = self.lab.dir().join("nodes").join(self.node).join("run");
        Runtime::new(&run.join("ctrd/containerd.sock"), format!("/{}", self.cgroup()))
    }

    /// The control group of everything this containerd starts. Control groups are the machine's, so
    /// its name is this lab's own.
    pub(super) fn cgroup(&self) -> String {
        format!("seaway-test-{}", self.lab.name())
    }

    /// `ctr`, in containerd's mount namespace, where the CNI directories it insists on are ours.
    pub(super) fn ctr(&self, args: &[&str]) -> Output {
        let enter = "exec nsenter --mount=/proc/$(cat /run/ctrd/pid)/ns/mnt \
                     ctr --address /run/ctrd/containerd.sock \"$@\"";
        let words = [&["sh", "-c", enter, "ctr"], args].concat();
        self.lab.node(self.node, &words)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.lab.dir().join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // runc removes the groups of containers that were stopped, but not the one they are in.
        let end = "nsenter --mount=/proc/$(cat /run/ctrd/pid)/ns/mnt sh -c '
                       for n in $(seq 50); do
                           left=$(find /sys/fs/cgroup/ -path \"*/$1/*\" -name cgroup.procs -exec cat {} +)
                           [ -n \"$left\" ] || break
                           kill -9 $left; sleep 0.1
                       done
                       find /sys/fs/cgroup/ -depth -type d \"(\" -path \"*/$1\" -o -path \"*/$1/*\" \")\" \
                           -exec rmdir {} \";\"' sh \"$1\"
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

/// Makes the places containerd and `ctr` insist on, then starts containerd, and again when it has ended. `ctr` reads only
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
    trap 'kill $child; wait; exit' TERM
    echo $$ > /run/ctrd/pid
    while :; do
        containerd --config /run/ctrd/config.toml & child=$!
        echo $child > /run/ctrd/containerd
        wait $child || true
        while [ -e /run/ctrd/away ]; do sleep 0.05; done
    done
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
