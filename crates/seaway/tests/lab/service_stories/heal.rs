//! Others take rules of Services away: they come back, and what is others' is left alone.

use libtest_mimic::Trial;

use super::load::{Load, Style};
use super::streams::Streams;
use super::{cluster_ip, echoes, netns, with_clients};
use crate::lab::{Lab, difference, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("s93_s95_what_others_delete_of_services_comes_back_and_removal_leaves_nothing", heal)]
}

/// What is somebody else's, with everything a table can hold.
const FOREIGN: &str = "
table inet other {
    map balanced { type ipv4_addr . inet_service : verdict; elements = { 10.96.0.10 . 53 : accept } }
    set blocked { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
    chain early { type filter hook prerouting priority raw; policy accept; ip saddr @blocked drop; }
    chain services { type nat hook prerouting priority dstnat; policy accept; ip daddr . tcp dport vmap @balanced; }
}
table ip kube-proxy {
    chain services {
        counter accept
    }
}
";

/// What somebody does to the table; `$ip` is the cluster IP of a Service.
const HARM: [&str; 6] = [
    "nft delete table inet seaway",
    "nft flush table inet seaway",
    "nft flush map inet seaway services4",
    "nft flush map inet seaway cluster_slots4",
    "nft delete element inet seaway services4 \"{ $ip . tcp . 80 }\"",
    "nft flush ruleset && nft -f -",
];

fn heal() {
    let lab = with_clients(&["--nodes", "2"], &echoes("web", 3), "NodePort");
    let web = cluster_ip(&lab, "web", 80);
    let pod = netns(&lab, "one");
    let mut streams = Streams::open(&pod, std::net::SocketAddr::new(web.ip(), 90), 20, 0);
    let feed = |script: &str| {
        let script = format!("ip={}; {script} <<'END'\n{FOREIGN}END\n", web.ip());
        success(&lab.node("node-1", &["sh", "-c", &script]))
            .unwrap_or_else(|e| panic!("{script}: {e}"));
    };
    feed("nft -f -");
    let foreign = others(&lab);
    let before = own(&lab);
    assert!(before.contains(&web.ip().to_string()), "{before}");
    for harm in HARM {
        feed(harm);
        eventually(harm, || {
            let now = own(&lab);
            if now == before { Ok(()) } else { Err(difference(&before, &now)) }
        });
        assert_eq!(others(&lab), foreign, "{harm}");
        streams.all_answer(harm);
    }
    let load = Load::start(&pod, web, Style::Anew, 2);
    load.goes_on_for(50);
    load.end_whole("clients after all that");
    let script = "pid=$(pgrep -of 'seaway agent'); kill -9 $pid; \
                  seaway agent cleanup --run-dir /run/seaway --state-dir /run/seaway/state \
                  --cni-conf-dir /run/cni/net.d --cni-bin-dir /run/cni/bin && nft list tables";
    eventually("cleanup leaves what is others'", || {
        let left = success(&lab.node("node-1", &["sh", "-c", script]))?;
        if left == "table inet other\ntable ip kube-proxy" { Ok(()) } else { Err(left) }
    });
    eventually("the next agent makes it all again", || {
        let now = own(&lab);
        if now == before { Ok(()) } else { Err(difference(&before, &now)) }
    });
    assert_eq!(others(&lab), foreign);
    streams.all_answer("with the next agent");
}

/// The table of Seaway, whatever order it was made in.
fn own(lab: &Lab) -> String {
    let listed = text(&lab.node("node-1", &["nft", "list", "table", "inet", "seaway"]));
    let words = listed.replace(['{', '}', ','], "\n");
    let mut lines: Vec<&str> = words
        .lines()
        .map(|line| line.split("counter packets").next().unwrap_or_default().trim())
        .map(|line| line.trim_start_matches("elements = "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What is others', byte for byte.
fn others(lab: &Lab) -> String {
    let list = "nft -a list table inet other; nft -a list table ip kube-proxy";
    // Who lists handles lists each rule made anew as another one; names and order stay.
    let listed =
        success(&lab.node("node-1", &["sh", "-c", list])).expect("list the tables of others");
    listed
        .lines()
        .map(|line| format!("{}\n", line.split(" # handle").next().unwrap_or_default()))
        .collect()
}
