//! How connections are tracked: kernel settings of the node.

use model::{Conntrack, World};
use plan::{Plan, Setting, SysctlKey};

/// Entries for each place of the kernel's hash table, at most: as kube-proxy has it.
const PER_BUCKET: u64 = 4;

/// Writes the settings that `world` asks for (S-72), with those of TCP (docs/decisions/0021 and 0034).
pub(super) fn compile(world: &World, plan: &mut Plan) {
    let Conntrack { max, tcp_established, tcp_close_wait, tcp_be_liberal, tcp_strict } =
        world.config.conntrack;
    let seconds = |time: std::time::Duration| Setting::Is(time.as_secs().to_string());
    let settings = [
        ("max", max.map(Setting::AtLeast)),
        ("buckets", max.map(|max| Setting::AtLeast(max / PER_BUCKET))),
        ("tcp_timeout_established", tcp_established.map(seconds)),
        ("tcp_timeout_close_wait", tcp_close_wait.map(seconds)),
        ("tcp_be_liberal", tcp_be_liberal.then(|| "1".into())),
        ("tcp_loose", tcp_strict.then(|| "0".into())),
    ];
    for (name, setting) in settings {
        let key = SysctlKey(format!("net/netfilter/nf_conntrack_{name}"));
        plan.sysctls.extend(setting.map(|setting| (key, setting)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn planned(conntrack: Conntrack) -> String {
        let mut world = World::default();
        world.config.conntrack = conntrack;
        let mut plan = Plan::default();
        compile(&world, &mut plan);
        let line = |(key, setting): (&SysctlKey, &Setting)| format!("{key} {setting}\n");
        plan.sysctls.iter().map(line).collect()
    }

    #[test]
    fn s72_what_is_not_asked_for_is_left_as_it_is() {
        let all = Conntrack {
            max: Some(131_072),
            tcp_established: Some(Duration::from_secs(86400)),
            tcp_close_wait: Some(Duration::from_secs(3600)),
            tcp_be_liberal: true,
            tcp_strict: true,
        };
        let want = "\
net.netfilter.nf_conntrack_buckets >= 32768
net.netfilter.nf_conntrack_max >= 131072
net.netfilter.nf_conntrack_tcp_be_liberal = 1
net.netfilter.nf_conntrack_tcp_loose = 0
net.netfilter.nf_conntrack_tcp_timeout_close_wait = 3600
net.netfilter.nf_conntrack_tcp_timeout_established = 86400
";
        assert_eq!(planned(all), want);
        let none = Conntrack {
            max: None,
            tcp_established: None,
            tcp_close_wait: None,
            tcp_be_liberal: false,
            tcp_strict: false,
        };
        assert_eq!(planned(none), "");
    }
}
