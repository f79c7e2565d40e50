//! A pod's volumes: made before its sandbox, kept true while it runs, taken away with it.
//!
//! Each is a file or directory of the node, which containers see through a bind mount. One that
//! can't be made is told as an event, and tried again when what it shows changes, or after a while.
//!
//! Source: kubelet `volumemanager`, `volume/*`; Pod API `volumes`.

mod atomic;
mod local;
pub(super) mod objects;
mod payload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube_rs::api::{Api, PostParams};
use tokio::task::JoinSet;

use self::atomic::{Entry, Payload};
use self::payload::{Kind, Source, Sources};
use super::worker::{News, Worker};
use crate::events::Kind as Matters;

/// First wait before a volume is tried again; each one after it doubles.
///
/// Source: kubelet `exponentialbackoff`.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(122);
/// How long a token is good for when the manifest does not say, in seconds.
const TOKEN_LIFE: i64 = 3600;

/// What a pod's volumes have come to.
#[derive(Default)]
pub(super) struct Volumes {
    /// Where each is that has been made, and whether nobody may write to it.
    made: BTreeMap<String, Made>,
    tokens: BTreeMap<(String, String), Token>,
    followed: BTreeSet<(Kind, String)>,
    follows: JoinSet<()>,
    failures: u32,
    retry: Option<Instant>,
    /// Whether something that they show may have changed.
    pub stale: bool,
}

/// A volume that has been made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Where it is on the node.
    pub path: PathBuf,
    /// Whether containers can only read it, whatever they ask for.
    pub read_only: bool,
    /// Whether it is a mount on the node.
    is_mount: bool,
}

#[derive(Clone)]
struct Token {
    text: String,
    refresh: Instant,
}

impl Volumes {
    /// The volume of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Made> {
        self.made.get(name)
    }
}

impl Worker {
    /// Makes the volumes that are not there yet, and brings those up to date whose objects have
    /// changed. Says when to look again; `Err` if containers can't start before that.
    pub(super) async fn keep_volumes(&mut self, pod: &Pod) -> Result<Option<Instant>, Instant> {
        let wanted = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref());
        let wanted = wanted.unwrap_or_default();
        let now = Instant::now();
        let is_due = self.volumes.tokens.values().any(|token| token.refresh <= now);
        let is_stale = std::mem::take(&mut self.volumes.stale) || is_due;
        let is_whole = wanted.iter().all(|volume| self.volumes.made.contains_key(&volume.name));
        if is_whole && !is_stale {
            return Ok(self.next_refresh());
        }
        if !is_stale && let Some(at) = self.volumes.retry.filter(|at| *at > now) {
            return Err(at);
        }
        let mut failed = false;
        for volume in wanted {
            if let Err(why) = self.make_volume(pod, volume).await {
                failed = true;
                let message =
                    format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name);
                self.node.events.tell(pod, None, Matters::Warning, "FailedMount", message);
            }
        }
        if failed {
            let wait = FIRST.saturating_mul(1 << self.volumes.failures.min(16)).min(LONGEST);
            self.volumes.failures += 1;
            self.volumes.retry = Some(now + wait);
        } else {
            (self.volumes.failures, self.volumes.retry) = (0, None);
        }
        let is_whole = wanted.iter().all(|volume| self.volumes.made.contains_key(&volume.name));
        match self.volumes.retry {
            Some(at) if !is_whole => Err(at),
            // What is there stays as it is until its objects are.
            Some(at) => Ok(Some(at)),
            None => Ok(self.next_refresh()),
        }
    }

    fn next_refresh(&self) -> Option<Instant> {
        self.volumes.tokens.values().map(|token| token.refresh).min()
    }

    async fn make_volume(&mut self, pod: &Pod, volume: &Volume) -> Result<(), String> {
        let known = self.volumes.made.get(&volume.name).cloned();
        let group = fs_group(pod);
        if let Some(sources) = Sources::of(volume) {
            self.follow(pod, &sources);
            let payload = self.payload(pod, &volume.name, &sources).await?;
            let path = self.volume_path(pod, &volume.name);
            let failed = |error: std::io::Error| error.to_string();
            local::make_dir(&path, 0o1777, group).map_err(failed)?;
            atomic::write(&path, &payload, group).map_err(failed)?;
            let made = Made { path, read_only: true, is_mount: false };
            self.volumes.made.insert(volume.name.clone(), made);
            return Ok(());
        }
        if known.is_some() {
            return Ok(());
        }
        let (path, is_mount) = if let Some(empty) = &volume.empty_dir {
            let path = self.volume_path(pod, &volume.name);
            let is_mount = local::make_empty(&path, empty, group)?;
            (path, is_mount)
        } else if let Some(host) = &volume.host_path {
            local::check_host_path(host)?;
            (PathBuf::from(&host.path), false)
        } else {
            return Err(local::unsupported(volume));
        };
        let made = Made { path, read_only: false, is_mount };
        self.volumes.made.insert(volume.name.clone(), made);
        Ok(())
    }

    /// Takes the volumes away; what they hold goes with the pod's folder.
    pub(super) fn drop_volumes(&mut self) {
        let volumes = std::mem::take(&mut self.volumes);
        for made in volumes.made.values().filter(|made| made.is_mount) {
            local::unmount(&made.path);
        }
    }

    fn volume_path(&self, pod: &Pod, name: &str) -> PathBuf {
        self.folder(pod).join("volumes").join(name)
    }

    /// Sees to it that changes of the objects that `sources` show are told.
    fn follow(&mut self, pod: &Pod, sources: &Sources) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        for source in &sources.list {
            let Source::Object { kind, name, .. } = source else { continue };
            if !self.volumes.followed.insert((*kind, name.clone())) {
                continue;
            }
            let mut changes = self.node.objects.follow((*kind, namespace.clone(), name.clone()));
            let news = self.news.clone();
            self.volumes.follows.spawn(async move {
                while changes.changed().await.is_ok() && news.send(News::Changed).is_ok() {}
            });
        }
    }

    async fn payload(
        &mut self,
        pod: &Pod,
        volume: &str,
        sources: &Sources,
    ) -> Result<Payload, String> {
        let mut payload = Payload::new();
        for source in &sources.list {
            match source {
                Source::Object { kind, name, items, optional } => {
                    let found = self.entries(pod, *kind, name).await?;
                    let source = (*kind, name.as_str(), items.as_deref(), *optional);
                    sources.add_object(&mut payload, source, found)?;
                }
                Source::Pod(files) => sources.add_fields(&mut payload, files, pod)?,
                Source::Token(wanted) => {
                    let text = self.token(pod, volume, wanted).await?;
                    payload.insert(wanted.path.clone(), token_file(pod, sources, text));
                }
                Source::Unknown => {
                    return Err("the lab does not have that kind of projection".to_owned());
                }
            }
        }
        Ok(payload)
    }

    async fn entries(
        &self,
        pod: &Pod,
        kind: Kind,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let client = self.node.client.clone();
        match kind {
            Kind::ConfigMap => {
                let found = Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await;
                Ok(found.map_err(|error| error.to_string())?.map(payload::of_config_map))
            }
            Kind::Secret => {
                let found = Api::<Secret>::namespaced(client, namespace).get_opt(name).await;
                Ok(found.map_err(|error| error.to_string())?.map(payload::of_secret))
            }
        }
    }

    /// A token that is good for a while: the one there is, or a new one once four fifths of its life
    /// are over.
    ///
    /// Source: kubelet `token.Manager`.
    async fn token(
        &mut self,
        pod: &Pod,
        volume: &str,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let key = (volume.to_owned(), wanted.path.clone());
        let now = Instant::now();
        if let Some(token) = self.volumes.tokens.get(&key).filter(|token| token.refresh > now) {
            return Ok(token.text.clone());
        }
        let life = wanted.expiration_seconds.unwrap_or(TOKEN_LIFE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted.audience.iter().cloned().collect(),
                expiration_seconds: Some(life),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..TokenRequest::default()
        };
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let api = Api::<ServiceAccount>::namespaced(self.node.client.clone(), namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| format!("failed to fetch token: {error}"))?;
        let status = answer.status.ok_or("failed to fetch token: the answer has none")?;
        let life = u64::try_from(answer.spec.expiration_seconds.unwrap_or(life)).unwrap_or(0);
        let refresh = now + Duration::from_secs((life * 4 / 5).max(1));
        let text = status.token;
        self.volumes.tokens.insert(key, Token { text: text.clone(), refresh });
        Ok(text)
    }
}

/// A token is for those alone who run in the pod: for its one user, if all containers have the same;
/// for its group, if it has one; else for everybody inside.
///
/// Source: kubelet `projected.collectData`, `util.FsUserFrom`.
fn token_file(pod: &Pod, sources: &Sources, text: String) -> Entry {
    let user = only_user(pod);
    let is_narrow = user.is_some() || fs_group(pod).is_some();
    let mode = if is_narrow { 0o600 } else { sources.mode(None) };
    Entry { bytes: text.into_bytes(), mode, user }
}

fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let shared = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let own = |context: Option<i64>| context.or(shared);
    let mut users = all.map(|one| own(one.security_context.as_ref().and_then(|it| it.run_as_user)));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|group| u32::try_from(group).ok())
}
