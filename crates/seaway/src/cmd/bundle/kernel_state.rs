//! What a node's kernel shows of its network, as files of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use kernel::netlink::Netlink;
use model::chain;

use super::Gathered;

/// What the system is, and how busy.
const SYSTEM: [&str; 6] = [
    "/proc/version",
    "/etc/os-release",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/modules",
];

/// Tables and counters of this network namespace.
const NETWORK: [&str; 14] = [
    "fib_trie",
    "ipv6_route",
    "if_inet6",
    "arp",
    "dev",
    "snmp",
    "snmp6",
    "netstat",
    "sockstat",
    "sockstat6",
    "softnet_stat",
    "protocols",
    "stat/nf_conntrack",
    "stat/arp_cache",
];

/// Settings that packets depend on, below `/proc/sys/net`.
const SETTINGS: [&str; 5] = ["core", "ipv4", "ipv6", "bridge", "netfilter"];

/// Settings that are keys.
const SECRET: [&str; 3] = ["tcp_fastopen_key", "stable_secret", "netdev_rss_key"];

pub(super) fn gather(into: &mut Gathered) {
    for path in SYSTEM {
        into.put(format!("system{path}"), fs::read(path));
    }
    for name in NETWORK {
        into.put(format!("kernel/{name}"), fs::read(Path::new("/proc/net").join(name)));
    }
    into.put("kernel/links.txt", rows(|netlink| netlink.links()));
    into.put("kernel/rules.txt", rows(|netlink| netlink.rules()));
    into.put("kernel/ruleset.nft", said("nft", &["--stateless", "list", "ruleset"]));
    let mut text = String::new();
    for name in SETTINGS {
        settings(&Path::new("/proc/sys/net").join(name), &mut text);
    }
    into.put("kernel/sysctls.txt", Ok::<_, io::Error>(text));
}

fn rows<T: std::fmt::Debug>(
    read: impl FnOnce(&mut Netlink) -> Result<Vec<T>, kernel::netlink::Error>,
) -> Result<String, String> {
    let rows = Netlink::open().and_then(|mut netlink| read(&mut netlink));
    let line = |row: &T| format!("{row:?}\n");
    rows.map(|rows| rows.iter().map(line).collect()).map_err(|error| chain(&error))
}

/// What a program of the node prints, should there be one: only it can read others' rules.
fn said(program: &str, args: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("start {program}: {error}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
    }
}

/// Every setting below `path` that can be read and is no key, a line each, in the order of their names.
fn settings(path: &Path, text: &mut String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if SECRET.contains(&&*name) {
        return;
    }
    if let Ok(entries) = fs::read_dir(path) {
        let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        entries.sort_unstable();
        entries.iter().for_each(|entry| settings(entry, text));
    } else if let Ok(value) = fs::read_to_string(path) {
        let name = path.strip_prefix("/proc/sys").unwrap_or(path).display();
        text.push_str(&format!("{name} = {}\n", value.trim_end().replace('\n', "; ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_no_settings() {
        let dir = std::env::temp_dir().join(format!("seaway-settings-{}", std::process::id()));
        fs::create_dir_all(dir.join("conf/eth0")).unwrap();
        fs::write(dir.join("conf/eth0/mtu"), "1500\n").unwrap();
        fs::write(dir.join("conf/eth0/stable_secret"), "2001:db8::1\n").unwrap();
        fs::write(dir.join("tcp_fastopen_key"), "0-0-0-0\n").unwrap();
        let mut text = String::new();
        settings(&dir, &mut text);
        assert_eq!(text, format!("{}/conf/eth0/mtu = 1500\n", dir.display()));
        fs::remove_dir_all(&dir).unwrap();
    }
}
