//! What the process that becomes a container is told, and what it is allowed.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use kernel::confine::Capabilities;
use serde::{Deserialize, Serialize};

/// One container, ready to start: everything is resolved, nothing is looked up any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// What is executed.
    pub program: Program,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory; `/` when absent.
    pub cwd: Option<PathBuf>,
    /// An empty directory of the node to mount its root on; `None` for a further process of a
    /// container, which is inside already.
    pub root: Option<PathBuf>,
    /// Files and directories of the node to show at other places inside.
    pub binds: Vec<Bind>,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// Bits of the capabilities it may have.
    pub capabilities: u64,
    /// Whether `/proc` and `/sys` stay writable and whole.
    pub privileged: bool,
    /// Whether set-user-ID programs and file capabilities are without effect.
    pub no_new_privileges: bool,
    /// The user it runs as.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

/// What a container executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A command of the machine's root, with its arguments; found like a shell finds it.
    Command(Vec<String>),
    /// A role of this very binary, with its arguments; the first is the role's name.
    Role(Vec<String>),
}

/// A file or directory of the node that a container sees somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Where it is on the node; absolute.
    pub source: PathBuf,
    /// Where the container sees it; absolute.
    pub target: PathBuf,
    /// Whether the container can't write to it.
    pub read_only: bool,
}

/// What a container may do unless its manifest says otherwise.
///
/// Source: containerd `oci.defaultUnixCaps`.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The capabilities `container` runs with. Names that Linux does not have are without effect, as
/// with containerd. `ALL` comes first on both sides, so what is added by name survives
/// `drop: [ALL]`, and what is dropped by name is missing from `add: [ALL]`.
///
/// Source: containerd `sputil.WithCapabilities`; Container API `securityContext.capabilities`.
pub(crate) fn capabilities(container: &Container) -> Capabilities {
    let context = container.security_context.as_ref();
    if context.and_then(|context| context.privileged) == Some(true) {
        return Capabilities::ALL;
    }
    let mut set = union(&DEFAULT);
    let Some(wanted) = context.and_then(|context| context.capabilities.as_ref()) else {
        return set;
    };
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let add = wanted.add.as_deref().unwrap_or_default();
    let drop = wanted.drop.as_deref().unwrap_or_default();
    if add.iter().any(is_all) {
        set = Capabilities::ALL;
    }
    if drop.iter().any(is_all) {
        set = Capabilities::NONE;
    }
    let named = |names: &[String]| {
        let named: Vec<&str> =
            names.iter().filter(|name| !is_all(name)).map(String::as_str).collect();
        union(&named)
    };
    set.with(named(add)).without(named(drop))
}

fn union(names: &[&str]) -> Capabilities {
    let known = names.iter().filter_map(|name| Capabilities::named(name));
    known.fold(Capabilities::NONE, Capabilities::with)
}

/// Who a container runs as: user, group, further groups. What the container says wins over what
/// its pod says; the machine's root names no image user, so the default is root.
///
/// A number that is no user or group is for the API's validation to refuse and counts as unset.
pub(crate) fn user(pod: &PodSpec, container: &Container) -> (u32, u32, Vec<u32>) {
    let own = container.security_context.as_ref();
    let shared = pod.security_context.as_ref();
    let number = |wide: i64| u32::try_from(wide).ok();
    let user = own.and_then(|own| own.run_as_user).or(shared.and_then(|pod| pod.run_as_user));
    let group = own.and_then(|own| own.run_as_group).or(shared.and_then(|pod| pod.run_as_group));
    let listed = shared.and_then(|pod| pod.supplemental_groups.as_ref());
    let mut groups: Vec<u32> =
        listed.into_iter().flatten().filter_map(|group| number(*group)).collect();
    groups.extend(shared.and_then(|pod| pod.fs_group).and_then(number));
    (user.and_then(number).unwrap_or(0), group.and_then(number).unwrap_or(0), groups)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_adds_to_and_drops_from_what_containerd_gives() {
        let defaults = union(&DEFAULT);
        let named = |name| Capabilities::named(name).unwrap();
        let cases = [
            (json!({}), defaults),
            (json!({"add": ["NET_ADMIN"]}), defaults.with(named("NET_ADMIN"))),
            (json!({"drop": ["NET_RAW"]}), defaults.without(named("NET_RAW"))),
            (json!({"drop": ["ALL"]}), Capabilities::NONE),
            (json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}), named("NET_BIND_SERVICE")),
            (json!({"add": ["ALL"]}), Capabilities::ALL),
            (
                json!({"add": ["ALL"], "drop": ["SYS_ADMIN"]}),
                Capabilities::ALL.without(named("SYS_ADMIN")),
            ),
            (json!({"add": ["NO_SUCH"]}), defaults),
        ];
        for (wanted, set) in cases {
            let container = json!({"name": "c", "securityContext": {"capabilities": wanted}});
            let container: Container = serde_json::from_value(container).unwrap();
            assert_eq!(capabilities(&container), set, "{wanted}");
        }
    }

    #[test]
    fn a_containers_user_wins_over_its_pods() {
        let context = json!({"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3, -1]});
        let pod = json!({"containers": [], "securityContext": context});
        let pod: PodSpec = serde_json::from_value(pod).unwrap();
        let own = json!({"name": "c", "securityContext": {"runAsUser": 5}});
        let own: Container = serde_json::from_value(own).unwrap();
        assert_eq!(user(&pod, &own), (5, 2000, vec![3]));
        assert_eq!(user(&pod, &Container::default()), (1000, 2000, vec![3]));
        assert_eq!(user(&PodSpec::default(), &own), (5, 0, vec![]));
    }
}
