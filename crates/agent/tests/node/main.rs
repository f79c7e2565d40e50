//! Whole agents on a real kernel: each test has its own network and mount namespace with one uplink,
//! a small API server, and an agent in a process of its own that can be killed.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod api;
mod bench;
mod crash;
mod handover;
mod stops;

use std::path::Path;

use bench::{Bench, run_agent_if_asked};

/// Not a test of its own: the process in which an agent runs.
#[test]
fn agent_process() {
    run_agent_if_asked();
}

#[test]
fn a_pod_comes_and_goes_and_leaves_nothing() {
    let bench = Bench::new();
    let agent = bench.start();
    let before = bench.state();
    let pod = bench.pod();
    let result = agent.add("c1", &pod).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    assert!(bench.run("ip", &["-o", "route", "show", "10.244.1.2"]).contains("scope link"));
    assert!(pod.run("ip", &["-o", "addr", "show", "eth0"]).contains("10.244.1.2/32"));
    agent.check("c1", &pod, &result).unwrap();
    agent.del("c1").unwrap();
    agent.del("c1").unwrap();
    assert_eq!(bench.state(), before);
}

#[test]
fn killed_and_started_again_it_finds_nothing_to_do() {
    let bench = Bench::new();
    let agent = bench.start();
    let pods: Vec<_> = (0..5).map(|_| bench.pod()).collect();
    for (number, pod) in pods.iter().enumerate() {
        agent.add(&format!("c{number}"), pod).unwrap();
    }
    let before = bench.state();
    agent.kill();
    assert_eq!(bench.state(), before, "the network stays while there is no agent");
    let agent = bench.start();
    let report = agent.report();
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 13);
    // Sockets are the process's own.
    for step in steps.iter().filter(|step| step["step"] != "listeners") {
        assert_eq!((&step["puts"], &step["deletes"]), (&0.into(), &0.into()), "{step}");
        assert_eq!(step["failures"].as_array().unwrap().len(), 0, "{step}");
    }
    assert_eq!(bench.state(), before);
}

#[test]
fn what_others_delete_comes_back_and_what_is_theirs_stays() {
    let bench = Bench::new();
    bench.run("ip", &["route", "add", "203.0.113.0/24", "via", "192.0.2.254"]);
    bench.run("nft", &["add table inet other"]);
    let agent = bench.start();
    let pod = bench.pod();
    agent.add("c1", &pod).unwrap();
    let before = bench.state();
    bench.run("ip", &["route", "del", "10.244.2.0/24"]);
    bench.eventually("the route is back", || bench.state() == before);
    bench.run("nft", &["delete", "table", "inet", "seaway"]);
    bench.eventually("the nftables table is back", || bench.state() == before);
    bench.run("ip", &["link", "set", "dev", "sw-vxlan", "mtu", "1300"]);
    bench.eventually("the MTU is back", || bench.state() == before);
    agent.kill();
    bench.cleanup();
    assert!(bench.run("ip", &["route"]).contains("203.0.113.0/24"));
    assert_eq!(bench.run("nft", &["list", "tables"]).trim(), "table inet other");
    let left = bench.run("ip", &["-o", "link"]);
    assert!(!left.contains("sw-vxlan") && !left.contains("master"), "{left}");
    assert!(!bench.run("ip", &["rule"]).contains("8377"));
}

#[test]
fn nodes_join_and_leave_at_run_time() {
    let bench = Bench::new();
    let _agent = bench.start();
    let before = bench.state();
    bench.api.put("d", "10.244.4.0/24", "192.0.2.4");
    bench.eventually("the route to the new node is there", || {
        bench.run("ip", &["route"]).contains("10.244.4.0/24 via 192.0.2.4")
    });
    bench.api.delete("d");
    bench.eventually("the route is withdrawn", || bench.state() == before);
}

#[test]
fn a_damaged_ledger_is_rebuilt_from_what_the_kernel_shows() {
    let bench = Bench::new();
    let agent = bench.start();
    let (one, two, three) = (bench.pod(), bench.pod(), bench.pod());
    agent.add("c1", &one).unwrap();
    agent.add("c2", &two).unwrap();
    agent.del("c1").unwrap();
    agent.kill();
    let ledger = bench.state_dir().join("ledger");
    let mut text = std::fs::read(&ledger).unwrap();
    text[40] ^= 0xff;
    std::fs::write(&ledger, text).unwrap();
    let agent = bench.start();
    let kept = |entry: &std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("ledger.corrupt-")
    };
    let files = std::fs::read_dir(bench.state_dir()).unwrap().map(Result::unwrap);
    assert_eq!(files.filter(kept).count(), 1);
    let leases = agent.dump("ipam");
    assert!(leases.contains("10.244.1.3 leased to c2/eth0"), "{leases}");
    let result = agent.add("c3", &three).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    agent.del("c2").unwrap();
}

#[test]
fn a_full_disk_refuses_add_and_still_records_del() {
    let bench = Bench::new();
    bench.small_disk(bench.state_dir());
    let agent = bench.start();
    let (one, two) = (bench.pod(), bench.pod());
    agent.add("c1", &one).unwrap();
    fill(&bench.state_dir());
    let mut refused = None;
    for number in 0..2000 {
        match agent.add(&format!("{number:0200}"), &two) {
            Ok(_) => agent.del(&format!("{number:0200}")).unwrap(),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("the disk is full at some point");
    assert!(error.contains("the disk is full"), "{error}");
    agent.del("c1").unwrap();
    agent.kill();
    let agent = bench.start();
    let leases = agent.dump("ipam");
    assert!(!leases.contains("leased to"), "{leases}");
}

/// Writes into `dir` until the disk takes no more.
fn fill(dir: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("filler")).unwrap();
    for size in [65536, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn without_the_api_server_an_add_waits_and_a_del_is_done() {
    let bench = Bench::new();
    let agent = bench.start();
    let pod = bench.pod();
    agent.add("c1", &pod).unwrap();
    agent.kill();
    bench.api.go_away();
    let agent = bench.start_unready();
    let before = bench.state();
    let error = agent.add("c2", &pod).unwrap_err();
    assert!(error.contains("\"code\":11"), "{error}");
    assert_eq!(bench.state(), before, "nothing is removed");
    agent.del("c1").unwrap();
    assert!(!bench.run("ip", &["-o", "link"]).contains("alias seaway c1"));
}

#[test]
fn dns86_an_agent_is_well_before_it_is_ready_and_ready_once_it_knows_the_cluster() {
    let bench = Bench::new();
    bench.api.go_away();
    let agent = bench.start_unready();
    let ready = agent.get("/readyz").unwrap_err();
    assert!(agent.get("/healthz").is_ok() && ready.contains(" 503 "), "{ready}");
    bench.api.come_back();
    bench.eventually("it is ready", || agent.get("/readyz").is_ok());
}
