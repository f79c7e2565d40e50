//! What a kube-proxy or another network leaves on a node where it no longer runs: found, named, and taken away.
//! None of that is Seaway's, so it stays until somebody asks.
//!
//! What is in nf_tables, which includes the chains of `iptables-nft`, needs no other program. The older iptables
//! and ipvs are their own programs' business: where these are missing, it is said what stays and what removes it.
//!
//! Source: kube-proxy's `--cleanup`: `iptables/cleanup.go`, `ipvs/cleanup.go`, `nftables/cleanup.go`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use kernel::netlink::{Netlink, Request};
use kernel::nft::{Former, Leftover, Nft, leftovers, take_away};
use model::chain;

/// Links that are theirs alone. kube-proxy in its mode ipvs has all addresses of Services on one.
fn links_of(whose: Former) -> &'static [&'static str] {
    match whose {
        Former::KubeProxy => &["kube-ipvs0"],
        Former::Plugins => &[POD_BRIDGE, "flannel.1", "flannel-v6.1"],
        // Pods need no such rule where Seaway is.
        Former::Masquerading => &[],
    }
}

/// The bridge that flannel's plugin, and the plugin `bridge` by default, has pods on.
const POD_BRIDGE: &str = "cni0";

/// The commands of the older iptables, without `-save`, each with the file that says which of its tables there
/// are: asking for one makes it.
const LEGACY: [(&str, &str); 2] =
    [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")];

/// What was found.
#[derive(Debug)]
pub(crate) struct Leftovers {
    whose: Former,
    /// In nf_tables: tables of their own, chains in those of iptables, and what leads there.
    nft: BTreeSet<Leftover>,
    /// What the older iptables have saved that has such chains.
    legacy: Vec<(&'static str, String)>,
    /// Commands of the older iptables that are not here, while the kernel has tables of theirs.
    unread: Vec<&'static str>,
    links: Vec<&'static str>,
    /// How many links are on the bridge of pods.
    pods: usize,
    /// The kernel balances for virtual servers, which are kube-proxy's if its link is there.
    has_servers: bool,
}

impl Leftovers {
    /// A line for each, but for rules of others that lead there.
    pub(crate) fn names(&self) -> Vec<String> {
        let nft = self.nft.iter().filter(|left| !left.is_rule()).map(ToString::to_string);
        nft.chain(self.other_names()).collect()
    }

    /// A line for each.
    pub(crate) fn all_names(&self) -> Vec<String> {
        self.nft.iter().map(ToString::to_string).chain(self.other_names()).collect()
    }

    fn other_names(&self) -> impl Iterator<Item = String> {
        let chains = self.legacy.iter().flat_map(|(command, saved)| {
            let all =
                saved.lines().filter_map(chain_of).filter(|chain| self.whose.has_chain(chain));
            all.map(move |chain| format!("chain {command} {chain}"))
        });
        let links = self.links.iter().map(|link| format!("link {link}"));
        let servers = self.has_servers.then(|| "ipvs servers".to_owned());
        chains.chain(links).chain(servers)
    }

    /// Whether something is in use.
    pub(crate) fn in_use(&self) -> Option<String> {
        (self.pods > 0).then(|| {
            format!("link {POD_BRIDGE} has {} pods on it, which would be cut off", self.pods)
        })
    }

    /// What can't be looked at here, and what does so.
    pub(crate) fn unread(&self) -> Vec<String> {
        let pattern = match self.whose {
            Former::KubeProxy => "KUBE-",
            Former::Plugins => "-e CNI- -e FLANNEL- -e KIND-MASQ-AGENT",
            Former::Masquerading => "-e FLANNEL-POSTRTG -e KIND-MASQ-AGENT",
        };
        let line = |command: &&str| {
            format!(
                "the kernel has tables of {command}, and that is not here; if `{command}-save | grep -- {pattern}` on \
                 the node shows any: `{command}-save | grep -v -- {pattern} | {command}-restore`"
            )
        };
        self.unread.iter().map(line).collect()
    }
}

/// The processes that are a kube-proxy, as far as this one sees them.
pub(crate) fn running() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.filter(|pid| name(*pid).trim_end() == "kube-proxy").collect()
}

/// Looks for everything that `whose` left.
///
/// # Errors
/// What could not be looked at, and why.
pub(crate) fn find(whose: Former) -> Result<Leftovers, String> {
    let mut nft = Nft::open().map_err(|error| chain(&error))?;
    let nft = leftovers(&mut nft, whose).map_err(|error| format!("read nf_tables: {error}"))?;
    let links = Netlink::open().and_then(|mut netlink| netlink.links());
    let links = links.map_err(|error| chain(&error))?;
    let there = |name: &&&str| links.iter().any(|link| link.name.as_str() == **name);
    let theirs: Vec<&str> = links_of(whose).iter().filter(there).copied().collect();
    let bridge = links.iter().find(|link| link.name.as_str() == POD_BRIDGE).map(|link| link.index);
    let bridge = bridge.filter(|_| theirs.contains(&POD_BRIDGE));
    let pods = links.iter().filter(|link| bridge.is_some() && link.master == bridge).count();
    let servers = std::fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default();
    let mut servers = servers.lines();
    let is_server = |line: &str| ["TCP ", "UDP ", "SCTP"].iter().any(|p| line.starts_with(p));
    let mut found = Leftovers {
        whose,
        nft,
        legacy: Vec::new(),
        unread: Vec::new(),
        has_servers: whose == Former::KubeProxy && !theirs.is_empty() && servers.any(is_server),
        links: theirs,
        pods,
    };
    for (command, names) in LEGACY {
        let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}"));
        if names.is_ok_and(|names| !names.trim().is_empty()) {
            match saved(command) {
                Some(saved) => found.legacy.push((command, saved)),
                None => found.unread.push(command),
            }
        }
    }
    Ok(found)
}

/// The chain that a line of `iptables-save` declares.
fn chain_of(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split_whitespace().next()
}

/// What `command` has, as `iptables-save` prints it; nothing when there is no such command.
fn saved(command: &str) -> Option<String> {
    let output = Command::new(format!("{command}-save")).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Takes away what was `found`.
///
/// # Errors
/// The first that failed. Running it again goes on.
pub(crate) fn remove(found: &Leftovers) -> anyhow::Result<()> {
    let mut nft = Nft::open()?;
    take_away(&mut nft, &found.nft)
        .context("remove what is in nf_tables; does somebody else write there? Try again")?;
    for (command, saved) in &found.legacy {
        let undoing = undone(found.whose, saved);
        if !undoing.is_empty() {
            let mut restore = Command::new(format!("{command}-restore"));
            run(restore.arg("--noflush"), &undoing)?;
        }
    }
    if found.has_servers {
        run(Command::new("ipvsadm").arg("--clear"), "")?;
    }
    for link in &found.links {
        Netlink::open()?.send(Request::delete_link(*link))?;
    }
    Ok(())
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

/// What takes their chains out of what `iptables-save` printed, for `iptables-restore`: empty them, drop the
/// rules of others that lead there, then delete them. Empty when there is nothing.
fn undone(whose: Former, saved: &str) -> String {
    let mut all = String::new();
    for table in saved.split("COMMIT") {
        let Some(name) = table.lines().find(|line| line.starts_with('*')) else { continue };
        let chains: Vec<&str> =
            table.lines().filter_map(chain_of).filter(|chain| whose.has_chain(chain)).collect();
        if chains.is_empty() {
            continue;
        }
        let mut lines = vec![name.to_owned()];
        lines.extend(chains.iter().map(|chain| format!(":{chain} - [0:0]")));
        lines.extend(table.lines().filter_map(|line| unlinked(whose, line)));
        lines.extend(chains.iter().map(|chain| format!("-X {chain}")));
        for line in lines {
            writeln!(all, "{line}").expect("a String takes any text");
        }
        all.push_str("COMMIT\n");
    }
    all
}

/// The deletion of a rule of another's chain that leads to one of theirs.
fn unlinked(whose: Former, line: &str) -> Option<String> {
    let rule = line.strip_prefix("-A ")?;
    let chain = rule.split(' ').next()?;
    let words: Vec<&str> = rule.split(' ').collect();
    let target = words.windows(2).find(|pair| pair[0] == "-j" || pair[0] == "-g")?[1];
    (whose.has_chain(target) && !whose.has_chain(chain)).then(|| format!("-D {rule}"))
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
        assert_eq!(undone(Former::KubeProxy, SAVED), wanted);
        assert_eq!(undone(Former::KubeProxy, "*nat\n:DOCKER - [0:0]\nCOMMIT\n"), "");
    }
}
