//! What happens to machines and cables: power cuts, freezes, pulled plugs, loss and delay.

use std::collections::BTreeSet;
use std::process::Output;

use libtest_mimic::Trial;

use crate::capture::{Capture, Where};
use crate::lab::{Lab, eventually, success, test, text};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_node_without_power_says_no_last_word_and_comes_back", killed),
        test("a_paused_node_answers_nobody_and_goes_on_where_it_was", paused),
        test("a_cut_cable_carries_nothing_until_it_is_healed", cut),
        test("a_cable_loses_and_delays_as_much_as_it_is_told_to", impaired),
        test("a_fault_of_what_is_not_there_is_refused_by_name", refused),
        test("nodes_are_spread_over_zones", zones),
    ]
}

/// `seaway lab WORDS`, which must do as told.
fn run(lab: &Lab, words: &[&str]) -> String {
    success(&tell(lab, words)).unwrap_or_else(|why| panic!("{words:?}: {why}\n{}", lab.logs()))
}

fn tell(lab: &Lab, words: &[&str]) -> Output {
    let words = [&["lab"], words].concat();
    lab.seaway(&words).output().expect("start seaway lab")
}

/// One packet there and one back: none is no answer.
const PING: [&str; 6] = ["ping", "-c1", "-W1", "-n", "-q", "-i0.2"];

fn ping(addr: &str) -> Vec<&str> {
    [&PING[..], &[addr]].concat()
}

fn killed() {
    let lab = Lab::up_with(&["--nodes", "2", "--routing", "vxlan"], &manifests::pair());
    let server = lab.pod_field("server", "{.status.podIP}");
    success(&lab.exec("client", &ping(&server))).expect("it answers");
    let farewell = "src host 10.80.1.12 and tcp[tcpflags] & (tcp-fin|tcp-rst) != 0";
    let dump = Capture::start(&lab, Where::Router, "subnet1", 1, farewell);
    run(&lab, &["kill-node", "node-2"]);
    for addr in [&server, "10.80.1.12", "fd00:80:1::12"] {
        let answer = lab.node("node-1", &ping(addr));
        assert!(!answer.status.success(), "{addr} still answers: {}", text(&answer));
    }
    assert_eq!(lab.pod_field("server", "{.status.phase}"), "Running", "nobody was told");
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    eventually("its silence is noticed", || {
        match text(&lab.kubectl(&["get", "node", "node-2", "-o", ready])).as_str() {
            "Unknown" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(dump.lines(), Vec::<String>::new(), "its connections were not closed");
    let gone = tell(&lab, &["kill-node", "node-2"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("node-2 is not running"), "{gone:?}");

    run(&lab, &["join", "node-2"]);
    success(&lab.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]))
        .expect("the pods are ready");
    eventually("every path works again", || {
        let output = lab.seaway(&["check"]).output().expect("start seaway check");
        success(&output).map(drop)
    });
    eventually("what it had leased before is released", || {
        let leases = text(&lab.node("node-2", &["seaway", "dump", "ipam"]));
        if leases.matches(" leased to ").count() == 2 { Ok(()) } else { Err(leases) }
    });
}

fn paused() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let server = lab.pod_field("server", "{.status.podIP}");
    let started = "{.status.containerStatuses[0].state.running.startedAt}";
    let since = lab.pod_field("server", started);
    let own = || -> BTreeSet<_> {
        let roles = ["node", "agent", "pause", "echo"];
        roles.into_iter().flat_map(|role| processes::in_role(&lab, role)).collect()
    };
    let running = own();
    success(&lab.exec("client", &ping(&server))).expect("it answers");
    run(&lab, &["pause-node", "node-2"]);
    for addr in [&server, "10.80.1.12", "fd00:80:1::12"] {
        let answer = lab.node("node-1", &ping(addr));
        assert!(!answer.status.success(), "{addr} still answers: {}", text(&answer));
    }
    let below = processes::in_role(&lab, "node").into_iter().find(|node| node.is_for("node-2"));
    let below = below.expect("the node's process is there");
    let frozen = processes::below(below.pid);
    assert!(frozen.len() >= 4, "node, agent, pause and echo: {frozen:?}");
    for process in frozen {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid));
        let stat = stat.expect("it lives");
        assert!(stat.contains(") T "), "{process:?}: {stat}");
    }
    for output in [lab.node("node-2", &["true"]), lab.exec("server", &["true"])] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("paused"), "{said}");
    }
    run(&lab, &["resume-node", "node-2"]);
    eventually("it answers again", || success(&lab.exec("client", &ping(&server))));
    assert_eq!(lab.pod_field("server", started), since);
    assert_eq!(own(), running, "the same processes go on");
    eventually("every path works again", || {
        let output = lab.seaway(&["check"]).output().expect("start seaway check");
        success(&output).map(drop)
    });
}

/// Each cable, who can't reach whom without it.
fn cut() {
    let flags = ["--nodes", "2", "--subnets", "2"];
    let lab = Lab::up_with(&flags, &manifests::pair());
    type Ask = fn(&Lab, &[&str]) -> Output;
    let (node, client): (Ask, Ask) = (|lab, argv| lab.node("node-1", argv), Lab::client);
    let cases: [(&str, Ask, [&str; 2]); 5] = [
        ("node-2", node, ["10.80.2.12", "fd00:80:2::12"]),
        ("subnet2", node, ["10.80.2.12", "fd00:80:2::12"]),
        ("control", node, ["10.80.0.2", "fd00:80::2"]),
        ("client", client, ["10.80.1.11", "fd00:80:1::11"]),
        ("internet", node, ["203.0.113.10", "2001:db8:1::10"]),
    ];
    for (cable, ask, addrs) in cases {
        for addr in addrs {
            eventually("it answers", || success(&ask(&lab, &ping(addr))));
        }
        run(&lab, &["cut", cable]);
        let state = run(&lab, &["cables"]);
        let is_cut = |line: &str| line.starts_with(cable) && line.ends_with("\tcut");
        assert!(state.lines().any(is_cut), "{cable}: {state}");
        for addr in addrs {
            let answer = ask(&lab, &ping(addr));
            assert!(!answer.status.success(), "{addr} without {cable}: {}", text(&answer));
        }
        run(&lab, &["heal", cable]);
        for addr in addrs {
            eventually("it answers again", || success(&ask(&lab, &ping(addr))));
        }
    }
    run(&lab, &["cut", "node-2"]);
    run(&lab, &["cut", "client"]);
    run(&lab, &["heal"]);
    let state = run(&lab, &["cables"]);
    assert!(state.lines().all(|line| line.ends_with("\twhole")), "{state}");
    eventually("every path works again", || {
        let output = lab.seaway(&["check"]).output().expect("start seaway check");
        success(&output).map(drop)
    });
}

fn impaired() {
    let flags = ["--nodes", "2", "--subnets", "2", "--routing", "auto"];
    let lab = Lab::up_with(&flags, &manifests::pair());
    let server = lab.pod_field("server", "{.status.podIP}");
    let answered = |count: &str| {
        let argv = ["ping", "-c", count, "-i", "0.005", "-W", "2", "-q", "-n", &server];
        let said = text(&lab.exec("client", &argv));
        let received = said.split(", ").nth(1).and_then(|part| part.split(' ').next());
        let least = said.split("mdev = ").nth(1).and_then(|times| times.split('/').next());
        let number = |text: &str| text.parse::<f64>().ok();
        (received.and_then(number).expect("ping counts"), least.and_then(number))
    };
    for cable in ["node-2", "subnet2"] {
        run(&lab, &["impair", cable, "--delay", "30"]);
        let (received, least) = answered("5");
        assert_eq!(received, 5., "{cable} loses nothing");
        assert!(least.is_some_and(|ms| ms >= 60.), "{cable}: 30 ms each way, and not {least:?}");
        lab.check();
        run(&lab, &["impair", cable, "--loss", "20%"]);
        let (received, _) = answered("200");
        // 128 are expected, give or take 7.
        assert!((80. ..175.).contains(&received), "{cable}: {received} of 200");
        let push = format!(
            "head -c 500000 /dev/zero | tr '\\0' x | timeout 60 nc -N {server} 9090 | wc -c"
        );
        run(&lab, &["impair", cable, "--loss", "0.5%", "--delay", "1"]);
        let echoed = success(&lab.exec("client", &["sh", "-c", &push])).expect("it is echoed");
        let echoed: usize = echoed.parse().expect("a number");
        assert!(echoed >= 500_000, "{cable}: TCP gets through whole: {echoed}");
        run(&lab, &["impair", cable, "--loss", "100%"]);
        assert_eq!(answered("3").0, 0., "{cable}");
        run(&lab, &["heal", cable]);
        eventually("it answers at once again", || match answered("3") {
            (3., Some(least)) if least < 60. => Ok(()),
            other => Err(other),
        });
    }
    lab.check();
    let switch = lab.seaway(&["lab", "switch"]).args(["--", "ip", "-br", "link"]).output();
    let left = success(&switch.expect("start lab switch")).expect("list the switch's links");
    assert!(left.contains("node2") && !left.contains("relay"), "{left}");
}

fn refused() {
    let lab = Lab::up(&["--nodes", "1"]);
    let known = "this lab has node-1, subnet1, control, client, internet";
    for (words, parts) in [
        (&["cut", "node-2"][..], ["node-2", known]),
        (&["cut", "backbone"], ["backbone", known]),
        (&["impair", "client", "--delay", "5"], ["client", "does not end at the switch"]),
        (&["impair", "node-1", "--loss", "120%"], ["--loss", "\"120%\" is no share"]),
        (&["impair", "node-1", "--delay", "60000"], ["--delay 60000", "at most 10s"]),
        (&["kill-node", "node-2"], ["no node node-2", "it has node-1"]),
        (&["pause-node", "client"], ["no node client", "it has node-1"]),
        (&["resume-node", "node-1"], ["node-1", "not paused"]),
    ] {
        let output = tell(&lab, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
    let state = run(&lab, &["cables"]);
    assert!(state.lines().all(|line| line.ends_with("\twhole")), "{state}");
}

fn zones() {
    let lab = Lab::up(&["--nodes", "3", "--zones", "2"]);
    let path = "jsonpath={range .items[*]}{.metadata.name} \
                {.metadata.labels.topology\\.kubernetes\\.io/region} \
                {.metadata.labels.topology\\.kubernetes\\.io/zone}{\"\\n\"}{end}";
    let nodes = text(&lab.kubectl(&["get", "nodes", "-o", path]));
    assert_eq!(nodes, "node-1 lab lab-zone-1\nnode-2 lab lab-zone-2\nnode-3 lab lab-zone-1");
}
