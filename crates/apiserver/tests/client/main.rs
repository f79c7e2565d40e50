//! The `kube` crate's client works against the server: typed calls, watches, conflicts, pages.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other variant is a failure")]

mod custom;
mod durable;
mod gc;
mod http;
mod limits;
mod versions;
mod watches;
mod writes;

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube_rs::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube_rs::config::{KubeConfigOptions, Kubeconfig};
use kube_rs::runtime::watcher;
use kube_rs::{Client, Config};
use seaway_apiserver::{Options, Server};
use serde_json::json;

/// A server that ends with the test's runtime, and a client of its administrator.
async fn cluster() -> Client {
    Client::try_from(config().await).unwrap()
}

/// A server that ends with the test's runtime, and how its administrator reaches it.
async fn config() -> Config {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = Server::new(Options { listeners: vec![listener], ..Options::default() }).unwrap();
    let kubeconfig = server.kubeconfig(&url);
    tokio::spawn(async move { server.run(std::future::pending()).await });
    config_of(&kubeconfig).await
}

/// A client for whom a kubeconfig is.
async fn client_of(kubeconfig: &str) -> Client {
    Client::try_from(config_of(kubeconfig).await).unwrap()
}

async fn config_of(kubeconfig: &str) -> Config {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    // A refusal is what some tests are about.
    config.default_retry = false;
    config
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

/// A map named `owned`.
fn owned_by(owner: &ConfigMap) -> ConfigMap {
    let mut owned = map("owned");
    owned.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
        }))
        .unwrap(),
    ]);
    owned
}

fn pod(name: &str) -> Pod {
    let spec = json!({"containers": [{"name": "main", "image": "seaway/echo:1"}]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// The code of a refusal.
fn code<T: std::fmt::Debug>(result: Result<T, kube_rs::Error>) -> u16 {
    match result.unwrap_err() {
        kube_rs::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_second_of_two_writers_learns_of_the_first() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let first = maps.create(&PostParams::default(), &map("a")).await.unwrap();
    assert_eq!(code(maps.create(&PostParams::default(), &map("a")).await), 409);
    let mut newer = first.clone();
    newer.data.get_or_insert_default().insert("b".into(), "2".into());
    let newer = maps.replace("a", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(code(maps.replace("a", &PostParams::default(), &first).await), 409);
    let same = maps.replace("a", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(same.metadata.resource_version, newer.metadata.resource_version);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("b")).await.unwrap();
    assert_eq!(code(maps.get("b").await), 404);
}

#[tokio::test]
async fn a_watch_goes_on_where_the_list_was() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let list = maps.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"a": "2"}}));
    maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let events = maps.watch(&WatchParams::default(), &version).await.unwrap();
    let events: Vec<_> = events.take(3).try_collect().await.unwrap();
    assert!(matches!(&events[..], [
        WatchEvent::Added(_), WatchEvent::Modified(changed), WatchEvent::Deleted(last),
    ] if changed.data.as_ref().unwrap()["a"] == "2"
        && last.metadata.resource_version > changed.metadata.resource_version));
}

#[tokio::test]
async fn an_object_enters_and_leaves_what_a_watch_selects() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version;
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    for labels in [json!({"app": "web"}), json!({"app": "db"})] {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let params = WatchParams::default().labels("app=web");
    let events = maps.watch(&params, &version.unwrap()).await.unwrap();
    let events: Vec<_> = events.take(2).try_collect().await.unwrap();
    assert!(matches!(&events[..], [WatchEvent::Added(_), WatchEvent::Deleted(_)]), "{events:?}");
}

#[tokio::test]
async fn watchers_of_both_kinds_see_what_there_is_and_what_comes() {
    let client = cluster().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("before")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = Box::pin(watcher(maps.clone(), config));
        let mut seen = Vec::new();
        loop {
            match events.next().await.unwrap().unwrap() {
                watcher::Event::Init => {}
                watcher::Event::InitApply(object) => seen.push(object.metadata.name.unwrap()),
                watcher::Event::InitDone => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, ["before", "kube-root-ca.crt"]);
        let after = maps.create(&PostParams::default(), &map("after")).await.unwrap();
        let event = events.next().await.unwrap().unwrap();
        assert!(matches!(event, watcher::Event::Apply(object) if object == after));
        maps.delete("after", &DeleteParams::default()).await.unwrap();
        let event = events.next().await.unwrap().unwrap();
        assert!(matches!(event, watcher::Event::Delete(_)));
    }
}

#[tokio::test]
async fn pages_of_one_list_agree_while_others_write() {
    let maps: Api<ConfigMap> = Api::namespaced(cluster().await, "kube-public");
    for n in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("m{n}"))).await.unwrap();
    }
    let mut params = ListParams::default().limit(2);
    let mut names = Vec::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.items.into_iter().filter_map(|object| object.metadata.name));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        params = ListParams::default().limit(2).continue_token(&token);
        // Neither what goes nor what comes shows in the pages that are left.
        drop(maps.delete("m3", &DeleteParams::default()).await);
        drop(maps.create(&PostParams::default(), &map("m9")).await);
    }
    assert_eq!(names, ["kube-root-ca.crt", "m0", "m1", "m2", "m3", "m4"]);
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_gone() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    for n in 0..8200 {
        let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
        maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let result = maps.watch(&WatchParams::default(), "2").await;
    let gone = match result {
        Err(error) => code::<()>(Err(error)),
        Ok(events) => match Box::pin(events).next().await {
            Some(Ok(WatchEvent::Error(status))) => status.code,
            Some(Err(error)) => code::<()>(Err(error)),
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(gone, 410);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let mut held = map("held");
    held.metadata.finalizers = Some(vec!["seaway.test/hold".into()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    let left = maps.delete("held", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(left.metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(code(maps.get("held").await), 404);
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let owner = maps.create(&PostParams::default(), &map("owner")).await.unwrap();
    let owned = owned_by(&owner);
    maps.create(&PostParams::default(), &owned).await.unwrap();
    maps.delete("owner", &DeleteParams::default()).await.unwrap();
    for _ in 0..200 {
        if maps.get_opt("owned").await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still there");
}

#[tokio::test]
async fn what_was_owned_stays_when_it_is_orphaned() {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster().await);
    let owner = maps.create(&PostParams::default(), &map("owner")).await.unwrap();
    maps.create(&PostParams::default(), &owned_by(&owner)).await.unwrap();
    let policy = Some(kube_rs::api::PropagationPolicy::Orphan);
    let orphan = DeleteParams { propagation_policy: policy, ..DeleteParams::default() };
    maps.delete("owner", &orphan).await.unwrap();
    for _ in 0..200 {
        if maps.get_opt("owner").await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(maps.get_opt("owner").await.unwrap().is_none());
    let left = maps.get("owned").await.unwrap();
    assert!(left.metadata.owner_references.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_status_write_and_a_specification_write_keep_to_themselves() {
    let client = cluster().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut new = pod("");
    new.metadata.name = None;
    new.metadata.generate_name = Some("web-".into());
    let created = pods.create(&PostParams::default(), &new).await.unwrap();
    let name = created.metadata.name.clone().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let both = json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Running"}});
    let patched = pods.patch(&name, &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    assert_eq!(patched.status.unwrap().phase.unwrap(), "Pending");
    let both = json!({"spec": {"nodeName": "x"}, "status": {"phase": "Running"}});
    let patched =
        pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&both)).await.unwrap();
    assert_eq!(patched.status.unwrap().phase.unwrap(), "Running");
    assert_eq!(patched.spec.unwrap().node_name, None);
    let nodes: Api<Node> = Api::all(client);
    let node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let cidr = Patch::Merge(json!({"spec": {"podCIDR": "10.244.1.0/24"}}));
    let node = nodes.patch("n", &PatchParams::default(), &cidr).await.unwrap();
    assert_eq!(node.spec.unwrap().pod_cidrs.unwrap(), ["10.244.1.0/24"]);
    let other =
        Patch::Merge(json!({"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}}));
    assert_eq!(code(nodes.patch("n", &PatchParams::default(), &other).await), 422);
}
