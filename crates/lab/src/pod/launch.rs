//! What the process that becomes a container is told, and what it is allowed.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use kernel::confine::Capabilities;
use serde::{Deserialize, Serialize};

/// One process, ready to start: everything is resolved, nothing is looked up any more but names of
/// users in the container's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// What is executed.
    pub program: Program,
    /// Its environment; `HOME` is added if it is missing.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// The file system to make for it; `None` for a process beside others, in theirs.
    pub root: Option<Root>,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// As whom it runs.
    pub identity: Identity,
}

/// The file system of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    /// An empty directory of the node to mount it on.
    pub at: PathBuf,
    /// What it starts as. What is written goes into memory and is gone with the container.
    pub base: Base,
    /// Files and directories of the node to show at other places inside, in order.
    pub binds: Vec<Bind>,
    /// Whether `/sys` stays writable.
    pub privileged: bool,
    /// Whether all of `/proc` is seen and writable.
    pub unmasked: bool,
    /// Whether nothing can be written but what is bound writable.
    pub read_only: bool,
}

/// What a container's file system starts as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Base {
    /// This machine's, with empty `/run` and `/tmp`.
    Machine,
    /// These directories, the first over the others.
    Layers(Vec<PathBuf>),
}

/// A file or directory of the node that a container sees somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Where it is on the node; absolute. Links on the way count as on the node.
    pub source: PathBuf,
    /// What of it to show; the way there never leaves `source`, and is made if it is missing.
    pub within: Option<PathBuf>,
    /// Where the container sees it; absolute.
    pub target: PathBuf,
    /// Whether the container can't write to it.
    pub read_only: ReadOnly,
    /// Whether what the node mounts below it later is seen, too.
    ///
    /// Source: VolumeMount API `mountPropagation`.
    pub follows: bool,
}

/// How much of what is shown can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReadOnly {
    /// Nothing.
    No,
    /// It, but not other mounts below it.
    Top,
    /// It and every mount below it (KEP-3857).
    All,
}

/// As whom a process runs and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Like an image's `User`: a name or number, and perhaps `:` and a group's. Empty is root.
    pub user: String,
    /// Its group, whatever `user` says.
    pub group: Option<u32>,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Whether the container's `/etc/passwd` and `/etc/group` have a say; else a number is all.
    pub by_files: bool,
    /// Whether `/etc/group` adds the groups that the user is a member of.
    pub memberships: bool,
    /// Bits of the capabilities it may have.
    pub capabilities: u64,
    /// Whether set-user-ID programs and file capabilities are without effect.
    pub no_new_privileges: bool,
}

/// What a container executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A command of the container's root, with its arguments; found like a shell finds it.
    Command(Vec<String>),
    /// A role of this very binary, with its arguments; the first is the role's name.
    Role(Vec<String>),
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

/// As whom `container` runs, whose image says `image_user`; `None` is an image that is this machine.
/// What the container says wins over what its pod says, and that over its image.
///
/// A number that is no user or group is for the API's validation to refuse and counts as unset.
///
/// Source: kubelet `determineEffectiveSecurityContext`; containerd `userstr`.
pub(crate) fn identity(pod: &PodSpec, container: &Container, image_user: Option<&str>) -> Identity {
    let own = container.security_context.as_ref();
    let shared = pod.security_context.as_ref();
    let number = |wide: i64| u32::try_from(wide).ok();
    let user = own.and_then(|own| own.run_as_user).or(shared.and_then(|pod| pod.run_as_user));
    let group = own.and_then(|own| own.run_as_group).or(shared.and_then(|pod| pod.run_as_group));
    let listed = shared.and_then(|pod| pod.supplemental_groups.as_ref());
    let mut groups: Vec<u32> =
        listed.into_iter().flatten().filter_map(|group| number(*group)).collect();
    groups.extend(shared.and_then(|pod| pod.fs_group).and_then(number));
    let policy = shared.and_then(|pod| pod.supplemental_groups_policy.as_deref());
    let numbered = user.and_then(number).map(|user| user.to_string());
    Identity {
        user: numbered.unwrap_or_else(|| image_user.unwrap_or_default().to_owned()),
        group: group.and_then(number),
        groups,
        by_files: image_user.is_some(),
        memberships: policy != Some("Strict"),
        capabilities: capabilities(container).bits(),
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
    }
}

/// Why `container` must not run, if its manifest says that it must not be root.
///
/// Source: kubelet `verifyRunAsNonRoot`.
pub(crate) fn breaks_non_root(
    pod: &PodSpec,
    container: &Container,
    image_user: &str,
) -> Option<String> {
    let own = container.security_context.as_ref();
    let shared = pod.security_context.as_ref();
    let must = own.and_then(|own| own.run_as_non_root);
    if !must.or(shared.and_then(|pod| pod.run_as_non_root)).unwrap_or(false) {
        return None;
    }
    let user = own.and_then(|own| own.run_as_user).or(shared.and_then(|pod| pod.run_as_user));
    match user {
        Some(0) => return Some("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => return None,
        None => {}
    }
    let name = image_user.split(':').next().unwrap_or_default();
    match name.parse::<u32>() {
        _ if name.is_empty() => {}
        Ok(0) => {}
        Ok(_) => return None,
        Err(_) => {
            return Some(format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot \
                 verify user is non-root"
            ));
        }
    }
    Some("container has runAsNonRoot and image will run as root".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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

    fn pod(context: &Value) -> PodSpec {
        serde_json::from_value(json!({"containers": [], "securityContext": context})).unwrap()
    }

    fn container(context: &Value) -> Container {
        serde_json::from_value(json!({"name": "c", "securityContext": context})).unwrap()
    }

    #[test]
    fn a_containers_user_wins_over_its_pods_and_that_over_its_images() {
        let shared = json!({"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3, -1], "fsGroup": 4});
        let own = json!({"runAsUser": 5});
        let none = json!({});
        let cases = [
            (&shared, &own, Some("web"), "5 Some(2000) [3, 4]"),
            (&shared, &none, Some("web"), "1000 Some(2000) [3, 4]"),
            (&none, &own, Some("web:www"), "5 None []"),
            (&none, &none, Some("web:www"), "web:www None []"),
            (&none, &none, None, " None []"),
        ];
        for (shared, own, image, expected) in cases {
            let it = identity(&pod(shared), &container(own), image);
            assert_eq!(format!("{} {:?} {:?}", it.user, it.group, it.groups), expected);
        }
    }

    #[test]
    fn who_must_not_be_root_is_not() {
        let must = json!({"runAsNonRoot": true});
        let root = "container has runAsNonRoot and image will run as root";
        let cases = [
            (json!({}), json!({}), "", None),
            (must.clone(), json!({}), "", Some(root)),
            (must.clone(), json!({}), "0", Some(root)),
            (must.clone(), json!({}), "7", None),
            (must.clone(), json!({"runAsNonRoot": false}), "", None),
            (must.clone(), json!({"runAsUser": 7}), "", None),
            (
                must.clone(),
                json!({"runAsUser": 0}),
                "7",
                Some("container's runAsUser breaks non-root policy"),
            ),
            (
                must,
                json!({}),
                "web:7",
                Some(
                    "container has runAsNonRoot and image has non-numeric user (web), cannot \
                     verify user is non-root",
                ),
            ),
        ];
        for (shared, own, image, expected) in cases {
            let found = breaks_non_root(&pod(&shared), &container(&own), image);
            assert_eq!(found.as_deref(), expected, "{shared} {own} {image:?}");
        }
    }
}
