//! What clients can make the server hold is bounded.
use futures_util::StreamExt;
use http_body_util::BodyExt;
use kube_rs::Client;
use kube_rs::api::{Api, Patch, PatchParams, PostParams};
use kube_rs::client::Body;
use serde_json::{Value, json};

use super::durable::{Process, Scratch};
use super::http::send;
use super::{ConfigMap, cluster, map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_larger_than_etcd_would_take_is_refused_in_its_words() {
    let client = cluster().await;
    let json = [("content-type", "application/json")];
    let of =
        |bytes: usize| json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(bytes)}});
    let post = |bytes: usize| {
        let (client, body) = (client.clone(), of(bytes).to_string().into_bytes());
        async move { send(&client, &format!("POST {MAPS}"), &json, body).await }
    };
    let (code, status) = post(1600 * 1024).await;
    assert_eq!((code, &status["message"]), (500, &json!("etcdserver: request is too large")));
    assert!(status["reason"].is_null());
    assert_eq!(post(3200 * 1024).await.0, 413);
    assert_eq!(post(1000 * 1024).await.0, 201);
    let body = of(1600 * 1024).to_string().into_bytes();
    let (code, _) = send(&client, &format!("PUT {MAPS}/large"), &json, body).await;
    assert_eq!(code, 500);
}

#[tokio::test]
async fn a_long_list_is_whole_in_every_form() {
    let client = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let mut names: Vec<String> = (0..150).map(|n| format!("map-{n:03}")).collect();
    for name in &names {
        let mut large = map(name);
        large.data.get_or_insert_default().insert("text".into(), "x".repeat(1000));
        maps.create(&PostParams::default(), &large).await.unwrap();
    }
    names.insert(0, "kube-root-ca.crt".to_owned());
    let path = "/api/v1/namespaces/kube-public/configmaps";
    for (accept, items, name) in [
        ("application/json", "items", "/metadata/name"),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "items",
            "/metadata/name",
        ),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "rows", "/object/metadata/name"),
    ] {
        let accept = [("accept", accept)];
        let query = if items == "rows" { "?includeObject=Object" } else { "" };
        let (code, list) = send(&client, &format!("GET {path}{query}"), &accept, vec![]).await;
        assert_eq!(code, 200);
        let found = list[items].as_array().unwrap().iter();
        let found: Vec<&str> =
            found.map(|item| item.pointer(name).unwrap().as_str().unwrap()).collect();
        assert_eq!(found, names);
        assert!(list["metadata"]["resourceVersion"].is_string());
    }
}

/// Opens a watch of maps, of which nothing has been read.
async fn open(client: &Client, version: &str) -> ::http::Response<Body> {
    let path = format!("{MAPS}?watch=true&resourceVersion={version}");
    let request = ::http::Request::get(path).body(Body::empty()).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// A thousand watches, over the ten connections they last as long as.
async fn open_a_thousand(
    process: &Process,
    version: &str,
) -> (Vec<Client>, Vec<::http::Response<Body>>) {
    let (mut clients, mut watches) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let client = process.client().await;
        for _ in 0..100 {
            watches.push(open(&client, version).await);
        }
        clients.push(client);
    }
    (clients, watches)
}

/// Resident memory of a process, in MiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_that_nobody_reads_cost_little_and_learn_that_they_are_late() {
    let scratch = Scratch::new("watches");
    let process = Process::start(&scratch.0);
    let client = process.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let version = made.metadata.resource_version.unwrap();
    let before = resident(&process);
    let (_clients, mut watches) = open_a_thousand(&process, &version).await;
    let opened = resident(&process);
    assert!(opened < before + 100, "{before} MiB, then {opened} MiB");
    // More than a kind's events may take.
    for n in 0..500 {
        let patch = Patch::Merge(json!({"data": {"n": format!("{n} {}", "x".repeat(100_000))}}));
        maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let written = resident(&process);
    assert!(written < opened + 350, "{opened} MiB, then {written} MiB");
    let mut late = std::pin::pin!(watches.pop().unwrap().into_body().into_data_stream());
    let mut text = Vec::new();
    while let Some(piece) = late.next().await {
        text.extend_from_slice(&piece.unwrap());
    }
    let last = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    let message = last["object"]["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: "), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_all_see_a_write() {
    let scratch = Scratch::new("seen");
    let process = Process::start(&scratch.0);
    let client = process.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let version = made.metadata.resource_version.unwrap();
    let (_clients, watches) = open_a_thousand(&process, &version).await;
    maps.create(&PostParams::default(), &map("b")).await.unwrap();
    for watch in watches {
        let frame = watch.into_body().frame().await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&frame.into_data().unwrap()).unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!("b"))
        );
    }
}
