//! What a container and a sandbox are started with, worked out from the pod's manifest.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube_rs::api::Api;
use serde_json::{Map, Value, json};

use super::cni::Join;
use super::env::{self, Sources};
use super::launch::{self, Bind, Launch};
use super::worker::Worker;
use super::{files, init};

/// Why a container can't be started yet.
pub(super) enum Unprepared {
    /// Its image is not known.
    Image(crate::images::Unknown),
    /// Its configuration asks for something that isn't there.
    Config(String),
}

impl Worker {
    /// Everything a container needs to know, or why it can't start.
    pub(super) async fn prepare(
        &self,
        pod: &Pod,
        manifest: &Container,
    ) -> Result<Launch, Unprepared> {
        without_volumes(manifest).map_err(Unprepared::Config)?;
        let image = manifest.image.as_deref().unwrap_or_default();
        let (words, args) = (manifest.command.as_deref(), manifest.args.as_deref());
        let sources = self.sources(pod, manifest).await.map_err(Unprepared::Config)?;
        let env = env::environment(pod, manifest, &self.facts(), &sources)
            .map_err(|missing| Unprepared::Config(missing.to_string()))?;
        let command = env::expand_all(words.unwrap_or_default(), &env);
        let args = env::expand_all(args.unwrap_or_default(), &env);
        let images = &self.node.settings.images;
        let program = images.program(image, &command, &args).map_err(Unprepared::Image)?;
        let folder = self.folder(pod);
        let file = |name: &str| Bind {
            source: folder.join(name),
            target: PathBuf::from("/etc").join(name),
            read_only: false,
        };
        let context = manifest.security_context.as_ref();
        let spec = pod.spec.clone().unwrap_or_default();
        let (user, group, groups) = launch::user(&spec, manifest);
        Ok(Launch {
            program,
            env: with_defaults(pod, manifest, &self.node.settings.dns.domain, env),
            cwd: manifest.working_dir.as_deref().filter(|dir| !dir.is_empty()).map(PathBuf::from),
            root: Some(folder.join("root")),
            binds: ["hosts", "resolv.conf", "hostname"].map(file).into(),
            terminal: manifest.tty == Some(true),
            capabilities: launch::capabilities(manifest).bits(),
            privileged: context.and_then(|context| context.privileged) == Some(true),
            no_new_privileges: context.and_then(|it| it.allow_privilege_escalation) == Some(false),
            user,
            group,
            groups,
        })
    }

    /// The ConfigMaps and Secrets the container's environment uses.
    async fn sources(&self, pod: &Pod, manifest: &Container) -> Result<Sources, String> {
        let (config_maps, secrets) = env::references(manifest);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let client = &self.node.client;
        let mut sources = Sources::default();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        for name in config_maps {
            if let Some(found) = maps.get_opt(name).await.map_err(|error| error.to_string())? {
                sources.config_maps.insert(name.to_owned(), found.data.unwrap_or_default());
            }
        }
        let hidden: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in secrets {
            if let Some(found) = hidden.get_opt(name).await.map_err(|error| error.to_string())? {
                sources.secrets.insert(name.to_owned(), found.data.unwrap_or_default());
            }
        }
        Ok(sources)
    }
}

/// Refuses a container that wants to see a volume: without it, it would start and miss something.
fn without_volumes(manifest: &Container) -> Result<(), String> {
    let mounts = manifest.volume_mounts.iter().flatten().map(|it| (&it.name, &it.mount_path));
    let devices = manifest.volume_devices.iter().flatten().map(|it| (&it.name, &it.device_path));
    match mounts.chain(devices).next() {
        Some((name, path)) => {
            Err(format!("volume {name:?} at {path}: the lab has no volumes yet, of any kind"))
        }
        None => Ok(()),
    }
}

/// What a runtime gives every container, unless the manifest sets it.
fn with_defaults(
    pod: &Pod,
    manifest: &Container,
    domain: &str,
    env: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let terminal = (manifest.tty == Some(true)).then(|| ("TERM", "xterm".to_owned()));
    let defaults = [
        ("PATH", init::DEFAULT_PATH.to_owned()),
        ("HOSTNAME", files::host_name(pod, domain).0),
        ("HOME", "/root".to_owned()),
    ];
    let defaults = defaults.into_iter().chain(terminal);
    let missing = defaults.filter(|(name, _)| !env.iter().any(|(set, _)| set == name));
    let mut all: Vec<_> = missing.map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(env);
    all
}

/// The manifest's, after those that newer runtimes set for everybody: binding low ports and
/// sending pings take no capability (containerd `enable_unprivileged_ports`, `_icmp`).
pub(super) fn sysctls(pod: &Pod) -> Vec<(String, String)> {
    let defaults = [
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
    ];
    let mut all: Vec<_> = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = context.and_then(|context| context.sysctls.as_deref()).unwrap_or_default();
    all.extend(own.iter().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())));
    all
}

/// Source: kubelet's `CNI_ARGS`; containerd `toCNIPortMappings`.
pub(super) fn join(pod: &Pod, container_id: String, netns: PathBuf) -> Join {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let args = [
        ("IgnoreUnknown", "1".to_owned()),
        ("K8S_POD_NAMESPACE", text(&pod.metadata.namespace)),
        ("K8S_POD_NAME", text(&pod.metadata.name)),
        ("K8S_POD_INFRA_CONTAINER_ID", container_id.clone()),
        ("K8S_POD_UID", text(&pod.metadata.uid)),
    ];
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mappings: Vec<Value> = ports
        .filter(|port| port.host_port.is_some_and(|number| number > 0))
        .map(|port| {
            json!({
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                "hostIP": text(&port.host_ip)
            })
        })
        .collect();
    let mut capabilities = Map::new();
    if !mappings.is_empty() {
        capabilities.insert("portMappings".to_owned(), Value::Array(mappings));
    }
    if let Some(annotations) = &pod.metadata.annotations {
        let name = "io.kubernetes.cri.pod-annotations".to_owned();
        capabilities.insert(name, json!(annotations));
    }
    let args = args.map(|(name, value)| (name.to_owned(), value)).into();
    Join { container_id, netns, args, capabilities }
}
