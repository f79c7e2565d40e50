//! What a kube-proxy leaves on a node where it no longer runs: found, named, and taken away with the
//! tools that come with what it used. None of that is Seaway's, so it stays until somebody asks.
//!
//! Source: kube-proxy's `--cleanup`: `iptables/cleanup.go`, `ipvs/cleanup.go`, `nftables/cleanup.go`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use kernel::netlink::Netlink;
use kernel::nft::{KUBE_PROXY, Nft, is_kube_proxys, kube_proxys};
use model::chain;

/// The link on which kube-proxy in its mode ipvs has all addresses of Services.
const IPVS_LINK: &str = "kube-ipvs0";

/// The commands of iptables, in each family and over each of the kernel's ways, without `-save`.
const IPTABLES: [&str; 4] =
    ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// In nf_tables: tables of its own, chains in those of iptables.
    nft: BTreeSet<String>,
    /// Chains of the older iptables.
    legacy: BTreeSet<String>,
    /// The link of its mode ipvs is there.
    has_link: bool,
    /// The kernel balances for virtual servers, which are kube-proxy's if the link is there.
    has_servers: bool,
}

impl Leftovers {
    /// A line for each.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.nft.iter().chain(&self.legacy).cloned();
        let link = self.has_link.then(|| format!("link {IPVS_LINK}"));
        let servers = (self.has_link && self.has_servers).then(|| "ipvs servers".to_owned());
        all.chain(link).chain(servers).collect()
    }
}

/// The processes that are a kube-proxy, as far as this one sees them.
pub(crate) fn running() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.filter(|pid| name(*pid).trim_end() == "kube-proxy").collect()
}

/// Looks for everything.
///
/// # Errors
/// What could not be looked at, and why.
pub(crate) fn find() -> Result<Leftovers, String> {
    let nft = Nft::open().map_err(|error| chain(&error))?;
    let links = Netlink::open().and_then(|mut netlink| netlink.links());
    let links = links.map_err(|error| chain(&error))?;
    let servers = std::fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default();
    Ok(Leftovers {
        nft: in_nftables(nft)?,
        legacy: in_legacy(),
        has_link: links.iter().any(|link| link.name.as_str() == IPVS_LINK),
        has_servers: servers
            .lines()
            .any(|line| ["TCP ", "UDP ", "SCTP"].iter().any(|p| line.starts_with(p))),
    })
}

fn in_nftables(mut nft: Nft) -> Result<BTreeSet<String>, String> {
    kube_proxys(&mut nft).map_err(|error| chain(&error))
}

/// Chains of the older iptables, which its own command alone can list. It is not asked where the kernel
/// has no such table, for that would make one.
fn in_legacy() -> BTreeSet<String> {
    let families =
        [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")];
    let used = families.into_iter().filter(|(_, names)| {
        let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}"));
        names.is_ok_and(|names| !names.trim().is_empty())
    });
    let chains = |command: &str| -> BTreeSet<String> {
        let saved = saved(command).unwrap_or_default();
        let chains = saved.lines().filter_map(chain_of).filter(|chain| is_kube_proxys(chain));
        chains.map(|chain| format!("chain {command} {chain}")).collect()
    };
    used.flat_map(|(command, _)| chains(command)).collect()
}

/// The chain that a line of `iptables-save` declares.
fn chain_of(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split_whitespace().next()
}

/// What `command` has, as `iptables-save` prints it; nothing when there is no such command.
fn saved(command: &str) -> io::Result<String> {
    let output = Command::new(format!("{command}-save")).stderr(Stdio::null()).output();
    match output {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Takes everything away that is there, and says what still is.
///
/// # Errors
/// The first command that failed. Running it again goes on.
pub(crate) fn remove() -> anyhow::Result<Vec<String>> {
    let found = find().map_err(anyhow::Error::msg)?;
    for family in ["ip", "ip6"] {
        if found.nft.contains(&format!("table {family} {KUBE_PROXY}")) {
            run(Command::new("nft").args(["delete", "table", family, KUBE_PROXY]), "")?;
        }
    }
    for command in IPTABLES {
        // Asking makes what is asked for in the older iptables.
        let is_asked =
            command.ends_with("-nft") || found.legacy.iter().any(|c| c.contains(command));
        let undoing = if is_asked { undone(&saved(command)?) } else { String::new() };
        if !undoing.is_empty() {
            let mut restore = Command::new(format!("{command}-restore"));
            run(restore.arg("--noflush"), &undoing)?;
        }
    }
    if found.has_link {
        if found.has_servers {
            run(Command::new("ipvsadm").arg("--clear"), "")?;
        }
        run(Command::new("ip").args(["link", "delete", IPVS_LINK]), "")?;
    }
    Ok(find().map_err(anyhow::Error::msg)?.names())
}

/// Runs a command that reads `input`.
fn run(command: &mut Command, input: &str) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("start {name}; is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("write to {name}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {}", output.status, said.trim());
    Ok(())
}

/// What takes kube-proxy's chains out of what `iptables-save` printed, for `iptables-restore`: empty
/// them, drop the rules of others that lead there, then delete them. Empty when there is nothing.
fn undone(saved: &str) -> String {
    let mut all = String::new();
    for table in saved.split("COMMIT") {
        let Some(name) = table.lines().find(|line| line.starts_with('*')) else { continue };
        let chains: Vec<&str> =
            table.lines().filter_map(chain_of).filter(|chain| is_kube_proxys(chain)).collect();
        if chains.is_empty() {
            continue;
        }
        let mut lines = vec![name.to_owned()];
        lines.extend(chains.iter().map(|chain| format!(":{chain} - [0:0]")));
        lines.extend(table.lines().filter_map(unlinked));
        lines.extend(chains.iter().map(|chain| format!("-X {chain}")));
        for line in lines {
            writeln!(all, "{line}").expect("a String takes any text");
        }
        all.push_str("COMMIT\n");
    }
    all
}

/// The deletion of a rule of another's chain that leads to one of kube-proxy's.
fn unlinked(line: &str) -> Option<String> {
    let rule = line.strip_prefix("-A ")?;
    let chain = rule.split(' ').next()?;
    let words: Vec<&str> = rule.split(' ').collect();
    let target = words.windows(2).find(|pair| pair[0] == "-j" || pair[0] == "-g")?[1];
    (is_kube_proxys(target) && !is_kube_proxys(chain)).then(|| format!("-D {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "# Generated by iptables-save
*filter
:INPUT ACCEPT [1:2]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -j DOCKER
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -g KUBE-SVC-ABC
COMMIT
";

    #[test]
    fn only_kube_proxys_chains_and_what_leads_there_are_undone() {
        let wanted = "*filter
:KUBE-FORWARD - [0:0]
-D FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-X KUBE-FORWARD
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
-D PREROUTING -j KUBE-SERVICES
-X KUBE-SERVICES
-X KUBE-SVC-ABC
COMMIT
";
        assert_eq!(undone(SAVED), wanted);
        assert_eq!(undone("*nat\n:DOCKER - [0:0]\nCOMMIT\n"), "");
    }
}
