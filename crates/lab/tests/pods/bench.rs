//! A node without a network: the API server, one pod runner, plugins that take notes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::serde::{Serialize, de::DeserializeOwned};
use kube_rs::api::{Api, DeleteParams, ListParams, PostParams};
use kube_rs::core::NamespaceResourceScope;
use kube_rs::{Client, Resource};
use seaway_lab::children::Children;
use seaway_lab::images::{Images, Store};
use seaway_lab::node::Context;
use seaway_lab::pod::{Runner, Settings};
use serde_json::{Value, json};

/// Notes each call in a file of its own, numbered, and answers ADD with an address.
const PLUGIN: &str = r#"#!/bin/sh
me=$(basename "$0")
pod=$(echo "$CNI_ARGS" | sed 's/.*K8S_POD_NAME=\([^;]*\).*/\1/')
mkdir -p "/run/notes/$pod"
n=$(ls "/run/notes/$pod" | wc -l)
{ env | grep ^CNI_ | sort; echo; cat; } > "/run/notes/$pod/$n $CNI_COMMAND $me"
[ "$CNI_COMMAND" = ADD ] || exit 0
[ "$pod" != refused ] || { echo '{"code": 11, "msg": "not now", "details": "busy"}'; exit 1; }
echo '{"cniVersion": "1.0.0", "by": "'$me'", "interfaces": [{"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
 "ips": [{"address": "10.244.1.2/24", "interface": 0}]}'
"#;

pub(crate) struct Lab {
    pub(crate) children: Children,
    pub(crate) client: Client,
    pub(crate) runner: Runner,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        for folder in ["/run/cni/bin", "/run/cni/net.d", "/run/notes"] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for name in ["first", "second"] {
            let path = format!("/run/cni/bin/{name}");
            std::fs::write(&path, PLUGIN).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let list = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
            {"type": "first", "mine": 1},
            {"type": "second", "capabilities": {"portMappings": true, "bandwidth": true}}]});
        std::fs::write("/run/cni/net.d/10-a.conflist", list.to_string()).unwrap();
        std::fs::write("/run/cni/net.d/20-b.conflist", "not json").unwrap();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let options =
            apiserver::Options { listeners: vec![listener], ..apiserver::Options::default() };
        let server = apiserver::Server::new(options).unwrap();
        std::fs::write("/run/kubeconfig", server.kubeconfig(&url)).unwrap();
        tokio::spawn(async move { server.run(std::future::pending()).await });
        let access = kube::Access::Kubeconfig("/run/kubeconfig".into());
        let client = kube::connect(&access).await.unwrap();

        let children = Children::adopt().unwrap();
        let context = Context {
            labels: std::collections::BTreeMap::new(),
            name: "node-1".to_owned(),
            addrs: vec!["10.80.1.11".parse().unwrap()],
            kubeconfig: "/run/kubeconfig".into(),
            run_dir: "/run".into(),
            cni_conf_dir: "/run/cni/net.d".into(),
            cni_bin_dir: "/run/cni/bin".into(),
            children: children.clone(),
        };
        let mut images = Images::default().with_store(Store::at("/run/images"));
        images.map("bare=rootfs:/run/test-root").unwrap();
        let settings = Settings { images, ..Settings::default() };
        let runner = Runner::start(Arc::new(context), client.clone(), settings).unwrap();
        Self { children, client, runner }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn run(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("node-1");
        if spec.get("terminationGracePeriodSeconds").is_none() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// The pod, once `is` holds for it.
    pub(crate) async fn eventually(&self, name: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        let mut last = None;
        for _ in 0..600 {
            let pod = self.pods().get_opt(name).await.unwrap();
            if let Some(pod) = pod.as_ref().filter(|pod| is(pod)) {
                return pod.clone();
            }
            last = pod;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("pod {name}: {}", serde_json::to_string_pretty(&last).unwrap());
    }

    /// Reasons and messages of the events about a pod, in order.
    pub(crate) async fn events(&self, pod: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let mut events = api.list(&about).await.unwrap().items;
        events.sort_by_key(|event| event.metadata.name.clone());
        let show = |event: Event| {
            let text = |field: Option<String>| field.unwrap_or_default();
            format!("{}: {}", text(event.reason), text(event.message))
        };
        events.into_iter().map(show).collect()
    }

    /// Waits for an event about a pod that contains `part`.
    pub(crate) async fn told(&self, pod: &str, part: &str) {
        let mut events = Vec::new();
        for _ in 0..600 {
            events = self.events(pod).await;
            if events.iter().any(|event| event.contains(part)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("pod {pod}: no event {part:?} among {events:#?}");
    }

    pub(crate) async fn create<K>(&self, object: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let api: Api<K> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Asks a pod to end and waits until it has.
    pub(crate) async fn delete(&self, name: &str, params: &DeleteParams) {
        self.pods().delete(name, params).await.unwrap();
        for _ in 0..600 {
            if self.pods().get_opt(name).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("pod {name} is still there");
    }

    pub(crate) async fn log(&self, pod: &str) -> Vec<String> {
        self.log_of(pod, None).await
    }

    pub(crate) async fn log_of(&self, pod: &str, container: Option<&str>) -> Vec<String> {
        let found = self.runner.find("default", pod, container).await.unwrap();
        let text = std::fs::read_to_string(found.log).unwrap();
        let line = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
        text.lines().map(line).collect()
    }
}

pub(crate) async fn level(what: &str, is: impl Fn() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn container(pod: &Pod) -> ContainerStatus {
    let all = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
    all.and_then(|all| all.into_iter().next()).unwrap_or_default()
}

/// Why the pod's first container waits.
pub(crate) fn waits(pod: &Pod) -> Option<String> {
    container(pod).state.and_then(|state| state.waiting?.reason)
}

pub(crate) fn files(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// The status of a pod's condition.
pub(crate) fn condition(pod: &Pod, kind: &str) -> String {
    let all = pod.status.as_ref().and_then(|status| status.conditions.clone());
    let found = all.into_iter().flatten().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.status).unwrap_or_default()
}

pub(crate) fn shell_pod(script: &str) -> Value {
    json!({"restartPolicy": "Never",
        "containers": [{"name": "main", "image": "any", "command": ["sh", "-c", script]}]})
}
