//! What a container and a sandbox are started with, worked out from the pod's manifest.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service, VolumeMount};
use kube_rs::api::{Api, ListParams};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use super::cni::Join;
use super::env::{self, Sources};
use super::launch::{self, Base, Bind, Launch, ReadOnly, Root};
use super::start::title;
use super::worker::Worker;
use super::{files, init, services, stop};
use crate::images::Image;

/// Where a container leaves its last words when its manifest does not say.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// A container that is ready to start.
pub(super) struct Prepared {
    /// What its process is told.
    pub launch: Launch,
    /// As its status names its image: name and id.
    pub image: (String, String),
    /// The signal that asks it to end.
    pub signal: Signal,
    /// Where it leaves its last words, as the node sees it, and whether its log will do.
    pub message: (PathBuf, bool),
    /// The container whose processes it sees as well.
    pub target: Option<Arc<OwnedFd>>,
}

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
    ) -> Result<Prepared, Unprepared> {
        let image = manifest.image.as_deref().unwrap_or_default();
        let sources = self.sources(pod, manifest).await.map_err(Unprepared::Config)?;
        let env = env::environment(pod, manifest, &self.facts(), &sources)
            .map_err(|missing| Unprepared::Config(missing.to_string()))?;
        let has_command = manifest.command.as_ref().is_some_and(|words| !words.is_empty());
        let images = &self.node.settings.images;
        let found = images.find(image, has_command).map_err(Unprepared::Image)?;
        let expand = |it: &Option<Vec<_>>| env::expand_all(it.as_deref().unwrap_or_default(), &env);
        let (command, args) = (expand(&manifest.command), expand(&manifest.args));
        let program = found.program(&command, &args).map_err(Unprepared::Config)?;
        let spec = pod.spec.clone().unwrap_or_default();
        let own_user = found.config.user.as_deref().unwrap_or_default();
        if let Some(why) = launch::breaks_non_root(&spec, manifest, own_user) {
            let of = format!("pod: {:?}, container: {}", title(pod), manifest.name);
            return Err(Unprepared::Config(format!("{why} ({of})")));
        }
        let no_file =
            |error: std::io::Error| Unprepared::Config(format!("make the message file: {error}"));
        let message = self.message_file(pod, manifest).map_err(no_file)?;
        let mut binds = self.binds(pod, manifest, &env).map_err(Unprepared::Config)?;
        binds.push(plain_bind(message.clone(), Path::new(message_path(manifest))));
        let context = manifest.security_context.as_ref();
        let is = |field: Option<bool>| field == Some(true);
        let privileged = is(context.and_then(|context| context.privileged));
        let proc_mount = context.and_then(|context| context.proc_mount.as_deref());
        let dirs = [manifest.working_dir.as_deref(), found.config.working_dir.as_deref()];
        let cwd = dirs.into_iter().flatten().find(|dir| !dir.is_empty()).unwrap_or("/");
        // The machine's root names no user of the image's.
        let image_user = (found.base != Base::Machine).then_some(own_user);
        let launch = Launch {
            program,
            env: with_defaults(
                pod,
                manifest,
                &self.node.settings.dns.domain,
                of_image(&found, env),
            ),
            cwd: PathBuf::from(cwd),
            root: Some(Root {
                at: self.folder(pod).join("root"),
                base: found.base,
                binds,
                privileged,
                unmasked: privileged || proc_mount == Some("Unmasked"),
                read_only: is(context.and_then(|context| context.read_only_root_filesystem)),
            }),
            terminal: manifest.tty == Some(true),
            identity: launch::identity(&spec, manifest, image_user),
        };
        let signal = manifest.lifecycle.as_ref().and_then(|hooks| hooks.stop_signal.as_deref());
        let signal = signal.or(found.config.stop_signal.as_deref());
        let or_log = manifest.termination_message_policy.as_deref();
        Ok(Prepared {
            target: self.target(pod, &manifest.name).map_err(Unprepared::Config)?,
            launch,
            image: (image.to_owned(), found.id),
            signal: stop::signal(signal.unwrap_or_default()),
            message: (message, or_log == Some("FallbackToLogsOnError")),
        })
    }

    /// The process of the container that the one called `name` was added to look at.
    ///
    /// Source: EphemeralContainer API `targetContainerName`; kubelet `startSpec.getTargetID`.
    fn target(&self, pod: &Pod, name: &str) -> Result<Option<Arc<OwnedFd>>, String> {
        let added = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let mut wanted = added.filter(|one| one.name == name);
        let wanted = wanted.next().and_then(|one| one.target_container_name.as_deref());
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else { return Ok(None) };
        let slot = self.slots().find(|slot| slot.name == wanted);
        let process = slot.and_then(|slot| slot.found.process.as_ref());
        let process = process.map(|(_, process)| process.clone());
        process.map(Some).ok_or_else(|| format!("unable to find target container {wanted:?}"))
    }

    /// What the container is shown of the node: the files every pod has, and its volumes, those
    /// that are higher up first.
    fn binds(
        &self,
        pod: &Pod,
        manifest: &Container,
        env: &[(String, String)],
    ) -> Result<Vec<Bind>, String> {
        if let Some(device) = manifest.volume_devices.iter().flatten().next() {
            return Err(format!("volume {:?}: the lab has no block devices", device.name));
        }
        let mounts = manifest.volume_mounts.as_deref().unwrap_or_default();
        let folder = self.folder(pod);
        let is_covered =
            |target: &Path| mounts.iter().any(|it| Path::new(&it.mount_path) == target);
        let own = ["hosts", "resolv.conf", "hostname"].iter().filter_map(|name| {
            let target = Path::new("/etc").join(name);
            // A volume in its place is what the manifest asks for.
            (!is_covered(&target)).then(|| plain_bind(folder.join(name), &target))
        });
        let mut binds: Vec<Bind> = own.collect();
        for mount in mounts {
            binds.push(self.volume_bind(mount, env)?);
        }
        binds.sort_by_key(|bind| bind.target.components().count());
        Ok(binds)
    }

    fn volume_bind(&self, mount: &VolumeMount, env: &[(String, String)]) -> Result<Bind, String> {
        let volume = self.volumes.get(&mount.name);
        let volume = volume.ok_or_else(|| format!("there is no volume {:?}", mount.name))?;
        let plain = mount.sub_path.clone().filter(|path| !path.is_empty());
        let within = match mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()) {
            None => plain,
            Some(template) => {
                let path = env::expand_all(&[template.to_owned()], env).concat();
                if path.contains("$(") {
                    return Err(format!("subPathExpr {template:?}: a variable has no value"));
                }
                Some(path)
            }
        };
        let within = within.map(PathBuf::from);
        let leads_out = |path: &PathBuf| {
            path.is_absolute() || path.components().any(|part| part == Component::ParentDir)
        };
        if let Some(path) = within.as_ref().filter(|path| leads_out(path)) {
            return Err(format!("subPath {:?} must be inside the volume", path.display()));
        }
        let read_only = match mount.recursive_read_only.as_deref() {
            _ if !volume.read_only && mount.read_only != Some(true) => ReadOnly::No,
            Some("Enabled" | "IfPossible") => ReadOnly::All,
            _ => ReadOnly::Top,
        };
        let target = Path::new("/").join(&mount.mount_path);
        // What a container mounts is never seen outside of it: Bidirectional is half of what it says.
        let follows =
            matches!(mount.mount_propagation.as_deref(), Some("HostToContainer" | "Bidirectional"));
        Ok(Bind { source: volume.path.clone(), within, target, read_only, follows })
    }

    /// A new, empty file for the last words of the container's next run.
    fn message_file(&self, pod: &Pod, manifest: &Container) -> std::io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder(pod).join("messages").join(&manifest.name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // A run before this one may still have the old file mounted.
        drop(std::fs::remove_file(&path));
        std::fs::File::create_new(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(path)
    }

    /// The ConfigMaps, Secrets and Services that the container's environment tells of.
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
        let services = self.services(pod, namespace).await;
        sources.services = services.map_err(|error| format!("list services: {error}"))?;
        Ok(sources)
    }

    /// Where Services are: those of the pod's namespace, if it wants to know, and the API server in
    /// any case.
    ///
    /// Source: kubelet `getServiceEnvVarMap`; Pod API `enableServiceLinks`.
    async fn services(
        &self,
        pod: &Pod,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, kube_rs::Error> {
        let client = &self.node.client;
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        let mut found = Vec::new();
        if links != Some(false) {
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            found = api.list(&ListParams::default()).await?.items;
        }
        let is_named = |service: &Service| service.metadata.name.as_deref() == Some("kubernetes");
        // A Service of that name in the pod's own namespace wins.
        if !found.iter().any(is_named) {
            let api: Api<Service> = Api::namespaced(client.clone(), "default");
            found.extend(api.get_opt("kubernetes").await?);
        }
        Ok(services::variables(found.iter()))
    }
}

fn plain_bind(source: PathBuf, target: &Path) -> Bind {
    let target = target.to_owned();
    Bind { source, within: None, target, read_only: ReadOnly::No, follows: false }
}

fn message_path(manifest: &Container) -> &str {
    let named = manifest.termination_message_path.as_deref();
    named.filter(|path| !path.is_empty()).unwrap_or(MESSAGE_PATH)
}

/// The environment `env`, and before it what the image sets.
fn of_image(image: &Image, env: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = image.config.env.iter().flatten().filter_map(|line| line.split_once('='));
    let own = own.filter(|(name, _)| !env.iter().any(|(set, _)| set == name));
    let mut all: Vec<_> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.extend(env);
    all
}

/// What a runtime gives every container, unless the manifest sets it.
fn with_defaults(
    pod: &Pod,
    manifest: &Container,
    domain: &str,
    env: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let terminal = (manifest.tty == Some(true)).then(|| ("TERM", "xterm".to_owned()));
    let defaults =
        [("PATH", init::DEFAULT_PATH.to_owned()), ("HOSTNAME", files::host_name(pod, domain).0)];
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

/// The wish of a pod to be on the network; `dns` is how it resolves names.
///
/// Source: kubelet's `CNI_ARGS`; containerd `cniNamespaceOpts`.
pub(super) fn join(pod: &Pod, container_id: String, netns: PathBuf, dns: Value) -> Join {
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
    capabilities.insert("dns".to_owned(), dns);
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
