//! Others on the node: a kube-proxy, what one left behind, firewalls.

use kernel::nft::{Drops, ForeignChain, Former, Nft, Passing, dropping};
use model::chain;

use super::{Finding, Verdict};
use crate::cmd::leftovers;

/// Leftovers that are named.
const NAMED: usize = 5;

pub(super) fn findings() -> Vec<Finding> {
    let proxys = left(Former::KubeProxy, leftovers::find(Former::KubeProxy));
    let plugins = left(Former::Plugins, leftovers::find(Former::Plugins));
    let mut findings = vec![running(&leftovers::running()), proxys, plugins];
    let chains = Nft::open().map_err(|error| chain(&error));
    let chains = chains.and_then(|mut nft| dropping(&mut nft).map_err(|error| chain(&error)));
    match chains {
        Err(why) => findings.push(Finding::new("firewall", Verdict::Bad, why)),
        Ok(chains) if chains.is_empty() => {
            let text = "nobody else drops packets to this node or through it";
            findings.push(Finding::new("firewall", Verdict::Good, text));
        }
        Ok(chains) => findings.extend(chains.iter().map(dropped)),
    }
    findings
}

fn running(pids: &[u32]) -> Finding {
    if pids.is_empty() {
        return Finding::new("kube-proxy", Verdict::Good, "does not run here");
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let text =
        format!("runs here (process {}): remove it, or Services are served twice", pids.join(", "));
    Finding::new("kube-proxy", Verdict::Doubtful, text)
}

fn left(whose: Former, found: Result<leftovers::Leftovers, String>) -> Finding {
    let (who, once, command) = match whose {
        Former::KubeProxy => ("kube-proxy", "once it is gone", "kube-proxy"),
        Former::Plugins | Former::Masquerading => {
            ("another network", "once its pods are gone from all nodes", "cni")
        }
    };
    let (names, kept) = match found {
        Err(why) => return Finding::new("leftovers", Verdict::Doubtful, why),
        Ok(found) => (found.names(), found.unread()),
    };
    if names.is_empty() {
        return match kept.is_empty() {
            true => {
                Finding::new("leftovers", Verdict::Good, format!("{who} has left nothing here"))
            }
            false => Finding::new("leftovers", Verdict::Doubtful, kept.join("; ")),
        };
    }
    let named: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = match names.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!(" and {more} more"),
        Some(0) | None => String::new(),
    };
    let text = format!(
        "of {who}: {}{more}; {once}, `seaway migrate {command}` takes them away",
        named.join(", ")
    );
    Finding::new("leftovers", Verdict::Doubtful, text)
}

/// Whose network new pods get, by what the agent has found. One that asks others in turn, as Multus does, is
/// meant to come before ours.
pub(super) fn configuration(found: &str) -> Finding {
    let what = "CNI configuration";
    match found.lines().find_map(|line| line.strip_prefix("CNI ")) {
        Some(why) => Finding::new(what, Verdict::Doubtful, why.trim_start()),
        None => Finding::new(what, Verdict::Good, "the container runtime takes Seaway's"),
    }
}

/// A firewall that drops. Accepting in Seaway's own tables cannot overrule it.
fn dropped(chain: &ForeignChain) -> Finding {
    let whose = match chain.hook {
        Passing::ToNode => "to this node (health checks, node ports of pods in its network)",
        Passing::Forwarded => "of pods and to node ports",
    };
    let how = match chain.drops {
        Drops::ByPolicy => "unless a rule of it accepts them",
        Drops::ByRule => "by a rule",
    };
    let text = format!("{chain}: may drop packets {whose}, {how}");
    Finding::new("firewall", Verdict::Doubtful, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_comes_before_ours_is_doubtful() {
        let found = configuration("routing        auto: see\nCNI            the runtime takes x\n");
        assert_eq!((found.verdict, &*found.text), (Verdict::Doubtful, "the runtime takes x"));
        assert_eq!(configuration("routing        auto: see\n").verdict, Verdict::Good);
    }

    #[test]
    fn what_is_in_the_way_is_named_with_what_it_does() {
        let chain = ForeignChain {
            family: "ip",
            table: "filter".to_owned(),
            chain: "INPUT".to_owned(),
            hook: Passing::ToNode,
            priority: 0,
            drops: Drops::ByPolicy,
        };
        let found = dropped(&chain);
        assert_eq!(found.verdict, Verdict::Doubtful);
        let text = "chain ip filter INPUT hook input priority 0 policy drop: may drop packets to this node";
        assert!(found.text.starts_with(text), "{}", found.text);
        assert_eq!(running(&[]).verdict, Verdict::Good);
        assert!(running(&[7, 9]).text.contains("process 7, 9"));
    }
}
