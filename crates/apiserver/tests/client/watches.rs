//! Watches held against lists while others write.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use http_body_util::BodyExt;
use kube_rs::Client;
use kube_rs::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube_rs::client::Body;
use serde_json::{Value, json};

use super::http::send;
use super::{ConfigMap, cluster, map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Of the maps a watch selects some; labels come and go.
const SELECTOR: &str = "labelSelector=app%3Dweb";

/// Versions by name.
type Known = BTreeMap<String, u64>;

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Creates, changes, labels and deletes maps, over whose names several fight.
async fn write(client: Client, seed: u64) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for n in 0..120 {
        let of = format!("map-{}", (n * 7 + seed * 3) % 5);
        let label = if (n + seed).is_multiple_of(3) { "web" } else { "db" };
        let patch =
            json!({"metadata": {"labels": {"app": label}}, "data": {"n": format!("{seed}-{n}")}});
        // The others may have been faster.
        match (n + seed) % 4 {
            0 => drop(maps.create(&PostParams::default(), &map(&of)).await),
            3 => drop(maps.delete(&of, &DeleteParams::default()).await),
            _ => drop(maps.patch(&of, &PatchParams::default(), &Patch::Merge(patch)).await),
        }
    }
}

async fn list(client: &Client) -> (u64, Known) {
    let (code, list) = send(client, &format!("GET {MAPS}?{SELECTOR}"), &[], vec![]).await;
    assert_eq!(code, 200);
    let items = list["items"].as_array().unwrap().iter();
    (version(&list), items.map(|item| (name(item), version(item))).collect())
}

/// Follows until `end` (0 while that is not known), in watches that are cut off and go on where the
/// last one was; `streaming`: the first begins with what there is.
async fn follow(client: Client, streaming: bool, end: Arc<AtomicU64>) -> Known {
    let (mut reached, mut known) = (0, Known::new());
    let mut from = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned();
    if !streaming {
        (reached, known) = list(&client).await;
        from = format!("resourceVersion={reached}");
    }
    loop {
        let query =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds=1&{from}&{SELECTOR}");
        let request = ::http::Request::get(format!("{MAPS}?{query}")).body(Body::empty()).unwrap();
        let mut pieces = client.send(request).await.unwrap().into_body().into_data_stream();
        let mut initial = from.starts_with("send");
        let mut text = Vec::new();
        while let Some(Ok(piece)) = pieces.next().await {
            text.extend_from_slice(&piece);
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let lines: Vec<u8> = text.drain(..whole).collect();
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let event: Value = serde_json::from_slice(line).unwrap();
                let object = &event["object"];
                let at = version(object);
                // Initial objects come in the order of names, each with its own version.
                assert!(
                    initial || at > reached || event["type"] == "BOOKMARK",
                    "{event} after {reached}"
                );
                match event["type"].as_str().unwrap() {
                    "ADDED" => assert_eq!(known.insert(name(object), at), None, "{event}"),
                    "MODIFIED" => assert!(known.insert(name(object), at).unwrap() < at, "{event}"),
                    "DELETED" => assert!(known.remove(&name(object)).unwrap() < at, "{event}"),
                    _ => {
                        assert!(at >= reached, "{event}");
                        initial = false;
                    }
                }
                reached = if initial { reached } else { at };
            }
        }
        assert!(!initial, "the initial objects end within a second");
        from = format!("resourceVersion={reached}");
        let end = end.load(Ordering::Acquire);
        // A watch's last word is the version it has reached.
        if end > 0 && reached >= end {
            return known;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_select_and_go_on_agree_with_lists_under_concurrent_writers() {
    let client = cluster().await;
    let end = Arc::new(AtomicU64::new(0));
    let watchers: Vec<_> =
        (0..6).map(|n| tokio::spawn(follow(client.clone(), n % 2 == 0, end.clone()))).collect();
    let writers = (0..4).map(|seed| tokio::spawn(write(client.clone(), seed)));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let (version, known) = list(&client).await;
    end.store(version, Ordering::Release);
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), known);
    }
}
