//! What stands under a pod's containers: the pause process and the plugins that join it.

use std::process::Command;

use nix::sys::signal::Signal;
use seaway_lab::pod::cni;
use seaway_lab::pod::sandbox::{Pause, Sandbox, Sharing};
use serde_json::{Value, json};

use crate::bench::{Lab, files, level};

async fn sandbox(lab: &Lab, sharing: Sharing) -> Sandbox {
    let with = (std::path::Path::new("/run/test-netns"), &lab.children);
    Sandbox::start(&Pause::load().unwrap(), "host", sharing, Vec::new(), with).await.unwrap()
}

pub(crate) async fn pause_is_small_and_ends_when_asked(lab: &Lab) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sandbox = sandbox(lab, Sharing::default()).await;
        let status =
            || std::fs::read_to_string(format!("/proc/{}/status", sandbox.pause.pid)).unwrap();
        level("pause is itself", || status().contains("Name:\tpause")).await;
        let status = status();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib <= 200, "{kib} KiB");
        sandbox.pause.signal(signal).unwrap();
        assert_eq!(sandbox.pause.wait().await.code(), Some(0));
        sandbox.stop().await;
    }
}

pub(crate) async fn pause_buries_the_orphans_of_its_pod(lab: &Lab) {
    let sharing = Sharing { one_pid: true, ..Sharing::default() };
    let mut sandbox = sandbox(lab, sharing).await;
    let children = lab.children.clone();
    let script = "for i in 1 2 3; do (sleep 0.1 &); done; sleep 60";
    let spawn = move || children.spawn(Command::new("sh").args(["-c", script]));
    let mut child = sandbox.enter(spawn).await.unwrap();
    let pause = sandbox.pause.pid.to_string();
    let of_pause = || {
        let stats = files("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
        let stat = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let parent = |stat: &String| {
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).map(str::to_owned)
        };
        stats
            .filter_map(|pid| stat(&pid))
            .filter(|stat| parent(stat).as_ref() == Some(&pause))
            .count()
    };
    level("three orphans", || of_pause() == 3).await;
    level("no orphan, and no zombie of one", || of_pause() == 0).await;
    sandbox.stop().await;
    // The end of process 1 is the end of all.
    assert!(!child.wait().await.success());
}

pub(crate) async fn plugins_are_run_in_order_and_undone_in_reverse(lab: &Lab) {
    let runtime = cni::Runtime {
        children: lab.children.clone(),
        conf_dir: "/run/cni/net.d".into(),
        bin_dir: "/run/cni/bin".into(),
        cache_dir: "/run/test-results".into(),
    };
    let ports = json!([{"hostPort": 80}]);
    let join = cni::Join {
        container_id: "abc".to_owned(),
        netns: "/run/netns/x".into(),
        args: vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "chain".into())],
        capabilities: [("portMappings".to_owned(), ports.clone())].into_iter().collect(),
    };
    assert_eq!(
        runtime.add(&join).await.unwrap(),
        ["10.244.1.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(files("/run/test-results"), ["abc-eth0.json"]);
    runtime.check(&join).await.unwrap();
    runtime.del(&join).await.unwrap();
    assert!(files("/run/test-results").is_empty());
    runtime.del(&join).await.unwrap();
    let calls = files("/run/notes/chain");
    assert_eq!(
        calls,
        [
            "0 ADD first",
            "1 ADD second",
            "2 CHECK first",
            "3 CHECK second",
            "4 DEL second",
            "5 DEL first"
        ]
    );
    let note = |call: usize| {
        let text = std::fs::read_to_string(format!("/run/notes/chain/{}", calls[call])).unwrap();
        let (env, conf) = text.split_once("\n\n").unwrap();
        (env.to_owned(), serde_json::from_str::<Value>(conf).unwrap())
    };
    let (env, conf) = note(0);
    assert_eq!(
        env,
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=chain\nCNI_COMMAND=ADD\nCNI_CONTAINERID=abc\n\
         CNI_IFNAME=eth0\nCNI_NETNS=/run/netns/x\nCNI_PATH=/run/cni/bin"
    );
    assert_eq!(conf, json!({"type": "first", "mine": 1, "name": "net", "cniVersion": "1.0.0"}));
    let (_, conf) = note(1);
    assert_eq!(conf["prevResult"]["by"], "first");
    assert_eq!(conf["runtimeConfig"], json!({"portMappings": ports}));
    for (call, name) in calls.iter().enumerate().skip(2) {
        assert_eq!(note(call).1["prevResult"]["by"], "second", "{name}");
    }

    let refused = vec![("K8S_POD_NAME".to_owned(), "refused".to_owned())];
    let refused = cni::Join { container_id: "def".to_owned(), args: refused, ..join };
    let error = runtime.add(&refused).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"first\" failed (ADD): not now; busy");
    runtime.del(&refused).await.unwrap();
    assert_eq!(files("/run/notes/refused"), ["0 ADD first", "1 DEL second", "2 DEL first"]);
}
