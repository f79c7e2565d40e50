//! containerd, Debian's own, runs on a node of a lab and gives its containers Seaway's network, by
//! the conflist and through the plugin that the agent put in place.

mod process;
mod stories;

use libtest_mimic::Trial;

use crate::cri::Sandbox;
use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;
use process::{Containerd, ROOTFS};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("ctr_gives_a_rootfs_container_the_network", rootfs_container),
        test("the_cri_starts_and_removes_sandboxes_with_the_network", sandboxes),
        test("dns101_dns103_containerd_tells_where_its_pods_look_for_names", search_lists),
        test(
            "a_sandbox_stopped_while_the_agent_is_down_is_released_by_the_next",
            stopped_meanwhile,
        ),
        test("the_image_of_seaway_runs_in_containerd", own_image),
    ];
    trials.extend(stories::trials());
    trials
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
        let sandbox = Sandbox { name, uid: name, searches, annotation, ..Sandbox::default() };
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

/// What attachments leave on a node: links, routes, neighbors, leases.
fn state(lab: &Lab, node: &str) -> String {
    let script = "ip -o link show type veth | sed 's/^[0-9]*: \\([^@]*\\).*/\\1/'; ip route; \
                  ip -6 route show proto 83; ip neigh show nud permanent; seaway dump ipam | grep -v released";
    text(&lab.node(node, &["sh", "-c", script]))
}
