//! CNI plugins, driven as a runtime drives them: a process with an environment and a configuration
//! on stdin, timed from its start to its end.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::run::{Result, output};

/// A plugin and what it is given.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    plugin: &'static str,
    conf: String,
}

impl Contestant {
    /// Seaway, as the agent of this node has put it in place.
    pub(super) fn seaway() -> Result<Self> {
        let file = "/run/cni/net.d/05-seaway.conflist";
        let text = std::fs::read_to_string(file).map_err(|e| format!("read {file}: {e}"))?;
        let list: Value = serde_json::from_str(&text).map_err(|e| format!("read {file}: {e}"))?;
        let mut conf = list["plugins"][0].clone();
        conf["name"] = list["name"].clone();
        conf["cniVersion"] = json!("1.0.0");
        let plugin = "/run/cni/bin/seaway-cni";
        Ok(Contestant { name: "seaway", plugin, conf: conf.to_string() })
    }

    /// The classic pair, as containerd's documentation configures it.
    pub(super) fn bridge() -> Self {
        let conf = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0",
            "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": "/run/bench-host-local",
                "ranges": [[{ "subnet": "10.99.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }]
            }
        });
        let plugin = "/usr/lib/cni/bridge";
        Contestant { name: "bridge + host-local", plugin, conf: conf.to_string() }
    }

    /// One operation on the container whose network namespace has that name, from the start of the
    /// process to its end.
    pub(super) fn operate(&self, operation: &str, namespace: &str) -> Result<Duration> {
        let mut command = Command::new(self.plugin);
        command
            .env_clear()
            .env("CNI_COMMAND", operation)
            .env("CNI_CONTAINERID", namespace)
            .env("CNI_NETNS", format!("/run/netns/{namespace}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/usr/lib/cni")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let failed = |why: String| format!("{} {operation} {namespace}: {why}", self.name);
        let start = Instant::now();
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let mut stdin = child.stdin.take().ok_or_else(|| failed("no stdin".into()))?;
        stdin.write_all(self.conf.as_bytes()).map_err(|e| failed(e.to_string()))?;
        drop(stdin);
        let done = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
        let took = start.elapsed();
        if done.status.success() {
            return Ok(took);
        }
        Err(failed(String::from_utf8_lossy(&done.stdout).into_owned()))
    }
}

/// Makes `count` empty network namespaces, and gives their names.
pub(super) fn namespaces(count: usize) -> Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|n| format!("bench{n}")).collect();
    for name in &names {
        let made = output(Command::new("ip").args(["netns", "add", name]))?;
        if !made.status.success() {
            return Err(format!("ip netns add: {}", String::from_utf8_lossy(&made.stderr)));
        }
    }
    Ok(names)
}
