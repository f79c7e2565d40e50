//! Others change what is Seaway's: it comes back. What is theirs stays. And when all of it is to go, it
//! goes.

use libtest_mimic::Trial;

use crate::lab::{Lab, difference, eventually, success, test, text};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("what_others_change_on_a_node_comes_back_routed", || drift("routed")),
        test("what_others_change_on_a_node_comes_back_bridge", || drift("bridge")),
        test("cleanup_leaves_what_was_there_before_and_an_agent_makes_it_again", cleanup),
    ]
}

/// Commands that harm; `$pod` is the host end of the client's link.
const HARM: [&str; 12] = [
    "ip route del 10.244.2.0/24",
    "ip -6 route flush proto 83",
    "ip rule del pref 8377",
    "nft flush table inet seaway",
    "nft delete table inet seaway",
    "ip neigh flush nud permanent",
    "ip link set $pod mtu 1300",
    "ip link set $pod down",
    "ip link set sw-vxlan mtu 1300",
    "ip link set sw-vxlan down",
    "bridge fdb show dev sw-vxlan | while read mac rest; do bridge fdb del $mac dev sw-vxlan; done",
    "ip link del sw-vxlan",
];

fn drift(link: &str) {
    let lab = Lab::up_with(
        &["--nodes", "2", "--routing", "vxlan", "--pod-link", link],
        &manifests::pair(),
    );
    let foreign = "set -e; ip route add 198.18.0.0/15 via 10.80.1.1; nft add table inet other; \
                   nft add chain inet other mine; ip link add theirs type bridge";
    success(&lab.node("node-1", &["sh", "-c", foreign])).expect("make what is foreign");
    made_in_one_pass(&lab);
    let before = state(&lab);
    for harm in HARM {
        let script = format!("pod=$(basename /sys/class/net/sw????????????); {harm}");
        let harmed = lab.node("node-1", &["sh", "-c", &script]);
        assert!(harmed.status.success(), "{harm}: {}", lab.told(&harmed));
        eventually(harm, || {
            let now = state(&lab);
            if now == before { Ok(()) } else { Err(difference(&before, &now)) }
        });
    }
    lab.check();
}

/// `seaway agent cleanup` between two agents; the lab starts the next one a while after the last of
/// many deaths.
fn cleanup() {
    let lab = Lab::up_with(&["--nodes", "2", "--routing", "vxlan"], &manifests::pair());
    let foreign = "set -e; ip route add 198.18.0.0/15 via 10.80.1.1; nft add table inet other";
    success(&lab.node("node-1", &["sh", "-c", foreign])).expect("make what is foreign");
    made_in_one_pass(&lab);
    let before = state(&lab);
    // In one command, and again if the next agent was there before it had looked.
    let script = format!("seaway agent cleanup {DIRECTORIES} && ({LEFT})");
    eventually("cleanup leaves nothing of Seaway's", || {
        let agents = processes::in_role(&lab, "agent");
        for agent in agents.iter().filter(|agent| agent.has_word("node-1")) {
            let pid = agent.pid.to_string();
            let kill = std::process::Command::new("kill").args(["-9", &pid]).status();
            kill.map_err(|error| error.to_string())?;
        }
        let left = lab.node("node-1", &["sh", "-c", &script]);
        success(&left)?;
        let wanted = "0\n198.18.0.0/15 via 10.80.1.1 dev eth0 \ntable inet other";
        if text(&left) == wanted { Ok(()) } else { Err(difference(wanted, &text(&left))) }
    });
    eventually("the next agent makes it all again", || {
        let now = state(&lab);
        if now == before { Ok(()) } else { Err(difference(&before, &now)) }
    });
    lab.check();
}

/// Sets and chains are listed in the order they were made in: from here on, that of one pass, however many
/// the agent needed until it knew the cluster.
fn made_in_one_pass(lab: &Lab) {
    let slices =
        ["-n", "kube-system", "get", "endpointslices", "-o", "jsonpath={..conditions.ready}"];
    eventually("both nodes are endpoints of kube-dns", || match success(&lab.kubectl(&slices))? {
        ready if ready.split(' ').filter(|ready| *ready == "true").count() == 4 => Ok(()),
        other => Err(other),
    });
    let chains = || success(&lab.node("node-1", &["nft", "list", "chains", "inet"]));
    eventually("the agent knows them", || {
        let before = chains()?;
        success(&lab.node("node-1", &["nft", "delete", "table", "inet", "seaway"]))?;
        eventually("the table is back", || {
            success(&lab.node("node-1", &["nft", "list", "table", "inet", "seaway"]))
        });
        let now = chains()?;
        if now == before { Ok(()) } else { Err(difference(&before, &now)) }
    });
}

/// Where a lab's agent keeps its things.
const DIRECTORIES: &str = "--run-dir /run/seaway --state-dir /run/seaway/state \
    --cni-conf-dir /run/cni/net.d --cni-bin-dir /run/cni/bin";

/// What may be left by name or mark, the setting that was 0 before any agent, and what is foreign.
const LEFT: &str = "ip -o link | grep -E 'sw|seaway'; ip route show table all proto 83; \
    ip -6 route show table all proto 83; ip rule | grep 8377; ip neigh show proto 83; \
    ls /run/cni/net.d /run/cni/bin | grep seaway; ls /run/seaway | grep sock; \
    sysctl -n net.ipv4.ip_forward; ip route show 198.18.0.0/15; nft list tables";

/// All that node-1 has, without what changes by itself.
fn state(lab: &Lab) -> String {
    let script = "ip -o link | sed -e 's/^[0-9]*: //' -e 's/@if[0-9]*//' | sort; \
                  ip -o addr | sed -e 's/^[0-9]*: //' -e 's/valid_lft.*//' | sort; \
                  ip route show table all | sort; ip -6 route show table all | sed 's/expires.*//' | sort; \
                  ip rule; ip -6 rule; ip neigh show nud permanent | sort; \
                  bridge fdb show | grep -v 33:33 | sort; \
                  for table in 'inet other' 'inet seaway' 'bridge seaway'; do \
                  nft list table $table 2>/dev/null; done | sed 's/packets [0-9]* bytes [0-9]*//'; \
                  sysctl net.ipv4.ip_forward";
    text(&lab.node("node-1", &["sh", "-c", script]))
}
