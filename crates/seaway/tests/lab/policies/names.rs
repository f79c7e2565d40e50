//! Egress to names.
//!
//! ```text
//!  internet (all names and all their addresses) ── router ──┬── node-1: near, friend
//!                                                           └── node-2: far
//! ```

use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fixtures::policies::definition::definitions;
use fixtures::policies::write::{cluster, policy, selector};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::outside::{self, NAMESERVER, connect, is_answered, resolve, rotating};
use crate::lab::{Lab, eventually, success, test};
use crate::service_stories::{ask_agent, restart_agent, signal};
use crate::services::stage::{Place, pod};
use crate::{manifests, processes};

/// Where pods ask.
const DNS: &str = "169.254.20.10";
const A: u16 = 1;
const AAAA: u16 = 28;

/// Names that are resolved and connected to at once.
const ROTATIONS: u16 = 300;

pub(crate) fn trials() -> Vec<Trial> {
    let stage = Shared::default();
    vec![
        stage.test(
            "npf1_npf2_npf3_npf6_npf9_what_a_name_stands_for_is_reached_once_asked_for",
            asked,
        ),
        stage.test("npf4_npf7_npf11_no_first_packet_is_lost_however_addresses_rotate", rotates),
        stage.test("npf5_npf8_new_connections_end_with_an_answer_and_old_ones_do_not", ends),
        stage.test("npf11_a_crafted_answer_is_answered_and_nothing_else_comes_of_it", crafted),
        stage.test("npf8_npf11_what_was_allowed_stays_when_agents_are_killed", killed),
        stage.test("npf8_npf11_what_was_allowed_goes_on_when_agents_hand_over", handed_over),
        stage.test("npf7_a_policy_that_comes_later_knows_what_was_answered", later),
    ]
}

/// The lab that these tests share, one after the other: some kill its agents.
#[derive(Default, Clone)]
struct Shared(Arc<(OnceLock<Stage>, Mutex<()>)>);

impl Shared {
    fn test(&self, name: &str, run: impl FnOnce(&Stage) + Send + 'static) -> Trial {
        let stage = self.0.clone();
        test(name, move || {
            let (stage, turn) = &*stage;
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            run(stage.get_or_init(Stage::up));
        })
    }
}

struct Stage {
    lab: Lab,
}

impl Stage {
    fn up() -> Stage {
        let pods = [("near", 1), ("friend", 1), ("far", 2)];
        let pods = pods.map(|(name, node)| pod(name, &format!("node-{node}"), "")).concat();
        let mut lab = Lab::new();
        let file = manifests::write(&lab.dir().with_extension("dns"), "leastAllowed: 2s\n");
        let flags = ["--nodes", "2", "--nameserver", NAMESERVER, "--dns-settings", &file];
        success(&lab.try_up(&flags)).expect("lab up");
        outside::start(&lab);
        definitions().iter().for_each(|definition| Cluster::of(&lab).put(definition));
        eventually("the kind is there", || {
            success(&lab.kubectl(&["get", "clusternetworkpolicies"]))
        });
        lab.apply(&pods);
        success(&lab.kubectl(&["wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s"]))
            .expect("the pods are ready");
        let stage = Stage { lab };
        eventually("outside is reached", || stage.connects("near", [198, 18, 0, 9]).ok_or("not"));
        stage.allow(
            "names",
            1,
            &[
                "www.example.org",
                "*.wild.example.org",
                "alias.example.org",
                "short.example.org",
                "used.example.org",
                "*.rotate.example.org",
                "crafted.example.org",
            ],
        );
        eventually("outside is closed", || match stage.connects("far", [198, 18, 0, 9]) {
            Some(_) => Err("open"),
            None if stage.connects("near", [198, 18, 0, 9]).is_some() => Err("open"),
            None => Ok(()),
        });
        stage
    }

    /// Allows these names and nothing else that is outside.
    fn allow(&self, name: &str, priority: u16, names: &[&str]) {
        Cluster::of(&self.lab).put(&allowlist(name, priority, names));
    }

    fn run<T: Send>(&self, who: &str, run: impl FnOnce() -> T + Send) -> T {
        Place::find(&self.lab, who).netns.run(run).expect("enter")
    }

    fn connects(&self, who: &str, addr: impl Into<IpAddr> + Send) -> Option<TcpStream> {
        self.run(who, || connect(addr.into()))
    }

    /// What `who` hears for a name, asking again while it hears nothing.
    fn asks(&self, who: &str, name: &str, kind: u16) -> Vec<IpAddr> {
        eventually(&format!("{who} hears of {name}"), || {
            self.run(who, || resolve(DNS, name, kind)).ok_or("nothing")
        })
    }
}

/// Names are allowed, and to ask for them, by rules of their own.
fn allowlist(name: &str, priority: u16, names: &[&str]) -> Value {
    let dns = json!({
        "namespaceSelector": selector("kubernetes.io/metadata.name=kube-system"),
        "podSelector": selector("k8s-app=kube-dns"),
    });
    let egress = json!([
        {"action": "Accept", "to": [{"domainNames": names}]},
        {"action": "Accept", "to": [{"pods": dns}]},
        {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]},
    ]);
    cluster(name, "Admin", priority, json!({"subject": {"namespaces": {}}, "egress": egress}))
}

fn asked(stage: &Stage) {
    let www: IpAddr = [198, 18, 0, 1].into();
    assert!(stage.connects("near", www).is_none(), "nobody has asked");
    // Who asks another server hears nothing of it, and is allowed nothing.
    assert_eq!(stage.run("near", || resolve(NAMESERVER, "www.example.org", A)), None);
    assert!(stage.connects("near", www).is_none(), "nobody has asked here");
    for (name, kind, is_allowed) in [
        ("www.example.org", A, true),
        ("WWW.Example.ORG", AAAA, true),
        ("wild.example.org", A, false),
        ("notwild.example.org", A, false),
        ("a.b.wild.example.org", A, true),
        ("cdn.example.net", A, false),
        ("alias.example.org", A, true),
    ] {
        let addrs = stage.asks("near", name, kind);
        assert!(!addrs.is_empty(), "{name} can be asked for whatever policies say");
        for addr in addrs {
            assert_eq!(stage.connects("near", addr).is_some(), is_allowed, "{name}: {addr}");
        }
    }
    assert!(stage.connects("friend", www).is_some(), "a neighbor's answers count on the node");
    assert!(stage.connects("far", www).is_none(), "and on no other");
    let names = ask_agent(&stage.lab, "node-1", "dump/names").expect("names");
    assert!(names.contains("www.example.org. 198.18.0.1 2001:db8:18::1"), "{names}");
    let shown =
        stage.lab.node("node-1", &["seaway", "policy", "trace", "near", "198.18.0.1", "tcp/443"]);
    let shown = success(&shown).expect("a trace");
    assert!(shown.contains("egress allowed: Admin ClusterNetworkPolicy names rule 0"), "{shown}");
}

/// Each name has four addresses of its own, which nobody has heard of before.
fn rotates(stage: &Stage) {
    let netns = Place::find(&stage.lab, "near").netns;
    let lost: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let netns = &netns;
                let mine = (0..ROTATIONS).filter(move |number| number % 6 == client);
                let run = move || mine.filter_map(resolve_and_connect).collect::<Vec<_>>();
                scope.spawn(move || netns.run(run).expect("enter"))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    assert_eq!(lost, [""; 0]);
    let metrics = ask_agent(&stage.lab, "node-1", "metrics").expect("metrics");
    for line in ["dns_policy_failures_total 0", "dns_policy_late_total 0", "panics_total 0"] {
        assert!(metrics.contains(&format!("coredns_{line}")), "{metrics}");
    }
}

/// What went wrong, if anything did.
fn resolve_and_connect(number: u16) -> Option<String> {
    let name = format!("{number}.rotate.example.org");
    let Some(addrs) = resolve(DNS, &name, A) else { return Some(format!("{name}: no answer")) };
    let want: Vec<IpAddr> = rotating(number).map(IpAddr::from).into();
    if addrs.iter().any(|addr| !want.contains(addr)) || addrs.len() != want.len() {
        return Some(format!("{name}: {addrs:?}"));
    }
    // Who does not wait to be answered fills the server's queue, and that loses first packets, too.
    let is_lost =
        |addr: &IpAddr| !connect(*addr).is_some_and(|mut stream| is_answered(&mut stream));
    let lost = addrs.into_iter().find(is_lost);
    lost.map(|addr| format!("{name}: {addr} is not reached"))
}

fn is_held(stage: &Stage, addr: &str) -> bool {
    let names = ask_agent(&stage.lab, "node-1", "dump/names").expect("names");
    names.split_whitespace().any(|word| word == addr)
}

/// Answers are remembered for five seconds at the least, and count for one more.
fn ends(stage: &Stage) {
    let short = stage.asks("near", "short.example.org", A)[0];
    let used = stage.asks("near", "used.example.org", A)[0];
    let mut old = stage.connects("near", used).expect("it was asked for");
    assert!(is_answered(&mut old));
    eventually("the answer is over", || match is_held(stage, "198.18.0.7") {
        true => Err("there"),
        false => Ok(()),
    });
    assert!(stage.connects("near", short).is_none(), "its time is over");
    // Three times as long as it would be there by itself.
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(15) {
        // Each change has all connections judged again.
        number += 1;
        let rules = json!([{}, {"ports": [{"port": number}]}]);
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules});
        Cluster::of(&stage.lab).put(&policy("default", "other", spec));
        thread::sleep(Duration::from_millis(500));
        assert!(is_answered(&mut old), "it goes on");
    }
    assert!(is_held(stage, "198.18.0.8"));
}

fn crafted(stage: &Stage) {
    for kind in [A, AAAA] {
        assert_eq!(stage.asks("near", "crafted.example.org", kind), [] as [IpAddr; 0]);
    }
    let metrics = ask_agent(&stage.lab, "node-1", "metrics").expect("metrics");
    assert!(metrics.contains("coredns_panics_total 0"), "{metrics}");
}

fn killed(stage: &Stage) {
    let www = stage.asks("near", "www.example.org", A)[0];
    let mut old = stage.connects("near", www).expect("it was asked for");
    let agents = processes::in_role(&stage.lab, "agent");
    agents.iter().for_each(|agent| signal(agent, Signal::SIGKILL));
    let mut count = 0;
    eventually("the next agents are ready", || {
        count += 1;
        assert!(is_answered(&mut old), "it goes on");
        assert!(stage.connects("near", www).is_some(), "so do new ones");
        let now = processes::in_role(&stage.lab, "agent");
        if now.len() < 2 || now.iter().any(|agent| agents.contains(agent)) {
            return Err(format!("{now:?}"));
        }
        ask_agent(&stage.lab, "node-1", "readyz").map(drop)
    });
    assert!(count > 1);
    eventually("the next one knows it", || match is_held(stage, "198.18.0.1") {
        true => Ok(()),
        false => Err("it does not"),
    });
    assert!(is_answered(&mut old) && stage.connects("near", www).is_some());
    let addr = stage.asks("near", "new.wild.example.org", A)[0];
    assert!(stage.connects("near", addr).is_some(), "it learns more");
}

/// The next agent has the sockets, the connections and what names stand for from the last one: nothing is lost.
fn handed_over(stage: &Stage) {
    let www = stage.asks("near", "www.example.org", A)[0];
    let mut old = stage.connects("near", www).expect("it was asked for");
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) {
                let number = ROTATIONS + count;
                assert_eq!(stage.run("near", || resolve_and_connect(number)), None);
                assert!(is_answered(&mut old), "it goes on");
                assert!(stage.connects("near", www).is_some(), "so do new ones");
                count += 1;
            }
            count
        });
        for node in ["node-1", "node-2", "node-1"] {
            restart_agent(&stage.lab, node);
        }
        ends.store(true, Ordering::Relaxed);
        assert!(asking.join().expect("nothing was lost") > 3);
    });
    assert!(is_held(stage, "198.18.0.1"), "the next one knows it");
    assert!(stage.connects("near", [198, 18, 0, 9]).is_none(), "and opens nothing");
}

fn later(stage: &Stage) {
    let cdn = stage.asks("near", "cdn.example.net", A)[0];
    assert!(stage.connects("near", cdn).is_none(), "no rule allows it");
    stage.allow("later", 0, &["cdn.example.net"]);
    eventually("what was answered before is allowed", || {
        stage.connects("near", cdn).map(drop).ok_or("not")
    });
    Cluster::of(&stage.lab).remove(&allowlist("later", 0, &["cdn.example.net"]));
    eventually("it is not any more", || match stage.connects("near", cdn) {
        Some(_) => Err("it is"),
        None => Ok(()),
    });
}
