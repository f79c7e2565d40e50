//! What `resourceVersion` and its companions mean to lists and watches.
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use kube_rs::Client;
use kube_rs::api::{Api, DeleteParams, ListParams, PostParams};
use kube_rs::client::Body;
use serde_json::{Value, json};

use super::http::send;
use super::{ConfigMap, cluster, map};

const MAPS: &str = "/api/v1/namespaces/kube-public/configmaps";

/// Client, and the versions at which `a` was made, `b` was made and `a` was deleted again.
async fn history() -> (Client, [String; 3]) {
    let client = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let made = |object: ConfigMap| object.metadata.resource_version.unwrap();
    let a = made(maps.create(&PostParams::default(), &map("a")).await.unwrap());
    let b = made(maps.create(&PostParams::default(), &map("b")).await.unwrap());
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    (client, [a, b, list.metadata.resource_version.unwrap()])
}

/// Names of a list's items, separated by spaces, or the message of its refusal.
fn shown(answer: &Value) -> String {
    let Some(items) = answer["items"].as_array() else {
        return answer["message"].as_str().unwrap().to_owned();
    };
    let names: Vec<&str> =
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    names.join(" ")
}

#[tokio::test]
async fn a_list_shows_the_state_that_version_and_match_ask_for() {
    let (client, [a, b, now]) = history().await;
    let cases = "
                                                            | 200 | b kube-root-ca.crt
        resourceVersion=0                                   | 200 | b kube-root-ca.crt
        resourceVersion=A                                   | 200 | b kube-root-ca.crt
        resourceVersion=A&limit=9                           | 200 | a kube-root-ca.crt
        resourceVersion=0&limit=9                           | 200 | b kube-root-ca.crt
        resourceVersion=A&resourceVersionMatch=NotOlderThan | 200 | b kube-root-ca.crt
        resourceVersion=A&resourceVersionMatch=Exact        | 200 | a kube-root-ca.crt
        resourceVersion=B&resourceVersionMatch=Exact        | 200 | a b kube-root-ca.crt
        resourceVersion=N&resourceVersionMatch=Exact        | 200 | b kube-root-ca.crt
        resourceVersion=0&resourceVersionMatch=NotOlderThan | 200 | b kube-root-ca.crt
        resourceVersion=0&resourceVersionMatch=Exact        | 422 | is forbidden for resourceVersion
        resourceVersionMatch=Exact                          | 422 | forbidden unless resourceVersion
        resourceVersion=A&resourceVersionMatch=Newer        | 422 | Unsupported value
        resourceVersion=A&continue=x&resourceVersionMatch=Exact | 422 | forbidden when continue
        sendInitialEvents=true                              | 422 | sendInitialEvents is forbidden
        resourceVersion=x                                   | 400 | invalid resource version
        resourceVersion=999999                              | 504 | Too large resource version
        resourceVersion=999999&resourceVersionMatch=Exact   | 504 | Too large resource version";
    for line in cases.trim_matches('\n').lines() {
        let [query, code, text] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let query = query.replace("=A", &format!("={a}")).replace("=B", &format!("={b}"));
        let query = query.replace("=N&", &format!("={now}&"));
        let (actual, answer) = send(&client, &format!("GET {MAPS}?{query}"), &[], vec![]).await;
        assert_eq!(actual.to_string(), code, "{line}: {answer}");
        assert!(shown(&answer).contains(text), "{line}: {}", shown(&answer));
        assert_eq!(answer["items"].is_array(), shown(&answer) == text, "{line}");
    }
}

#[tokio::test]
async fn an_object_is_not_shown_as_of_a_version_that_is_to_come() {
    let (client, [a, ..]) = history().await;
    let get = |version: String| {
        let client = client.clone();
        async move {
            send(&client, &format!("GET {MAPS}/b?resourceVersion={version}"), &[], vec![]).await
        }
    };
    assert_eq!(get(a).await.0, 200);
    assert_eq!(get("0".to_owned()).await.0, 200);
    let (code, status) = get("999999".to_owned()).await;
    assert_eq!((code, &status["details"]["retryAfterSeconds"]), (504, &json!(1)));
}

#[tokio::test]
async fn what_remains_of_a_list_is_counted_where_no_selector_is() {
    let (client, _) = history().await;
    let page = |query: &'static str| {
        let client = client.clone();
        async move { send(&client, &format!("GET {MAPS}?limit=1{query}"), &[], vec![]).await.1 }
    };
    let first = page("").await;
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let selected = page("&labelSelector=!none").await;
    assert!(selected["metadata"]["continue"].is_string());
    assert!(selected["metadata"]["remainingItemCount"].is_null());
    let token = first["metadata"]["continue"].as_str().unwrap();
    let mixed = format!("GET {MAPS}?continue={token}&resourceVersion=5");
    assert_eq!(send(&client, &mixed, &[], vec![]).await.0, 400);
    let rest = send(&client, &format!("GET {MAPS}?continue={token}"), &[], vec![]).await.1;
    assert_eq!(shown(&rest), "kube-root-ca.crt");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_list_whose_version_is_forgotten_may_go_on_inconsistently() {
    let (client, [a, ..]) = history().await;
    let first = send(&client, &format!("GET {MAPS}?limit=1"), &[], vec![]).await.1;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    for n in 0..4200 {
        maps.create(&PostParams::default(), &map("n")).await.unwrap();
        maps.delete("n", &DeleteParams::default()).await.unwrap_or_else(|e| panic!("{n}: {e}"));
    }
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (code, gone) = send(&client, &format!("GET {MAPS}?continue={token}"), &[], vec![]).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = send(&client, &format!("GET {MAPS}?continue={token}"), &[], vec![]).await;
    assert_eq!((code, shown(&rest).as_str()), (200, "kube-root-ca.crt"));
    let exact = format!("GET {MAPS}?resourceVersion={a}&resourceVersionMatch=Exact");
    let (code, gone) = send(&client, &exact, &[], vec![]).await;
    assert_eq!((code, &gone["metadata"]["continue"]), (410, &Value::Null));
    // A watch is refused in its stream, as everywhere.
    let lines = watched(&client, &format!("{MAPS}?watch=1&resourceVersion={a}"), 1).await;
    assert_eq!((&lines[0]["type"], &lines[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
}

/// The first `count` events of a watch.
async fn watched(client: &Client, path: &str, count: usize) -> Vec<Value> {
    let request = ::http::Request::get(path).body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let chunks = response.into_body().into_data_stream();
    let mut text = Vec::new();
    let mut chunks = std::pin::pin!(chunks);
    loop {
        let lines: Vec<Value> = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line: &&[u8]| line.ends_with(b"\n"))
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        if lines.len() >= count {
            return lines;
        }
        let next = tokio::time::timeout(Duration::from_secs(20), chunks.next()).await;
        match next.unwrap_or_else(|_| panic!("{path}: {lines:?}")) {
            Some(chunk) => text.extend_from_slice(&chunk.unwrap()),
            None => return lines,
        }
    }
}

/// What a watch said, as words: `ADDED a`, `BOOKMARK`, and `BOOKMARK end` for the annotated one.
fn said(lines: &[Value]) -> String {
    let word = |line: &Value| {
        let metadata = &line["object"]["metadata"];
        let end = &metadata["annotations"]["k8s.io/initial-events-end"] == "true";
        let name = metadata["name"].as_str().unwrap_or(if end { "end" } else { "" });
        format!("{} {name}", line["type"].as_str().unwrap()).trim().to_owned()
    };
    lines.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_watch_starts_where_version_and_initial_events_ask() {
    let (client, [a, ..]) = history().await;
    let initial = "ADDED b, ADDED kube-root-ca.crt";
    let cases = [
        ("", initial),
        ("&resourceVersion=0", initial),
        (
            "&resourceVersion=0&allowWatchBookmarks=true",
            "ADDED b, ADDED kube-root-ca.crt, BOOKMARK",
        ),
        ("&resourceVersion=A", "ADDED b, DELETED a"),
        ("&resourceVersion=A&fieldSelector=metadata.name=b", "ADDED b"),
        ("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", initial),
        (
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            "ADDED b, ADDED kube-root-ca.crt, BOOKMARK end, BOOKMARK",
        ),
        ("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=A", initial),
        (
            "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=A",
            "ADDED b, DELETED a",
        ),
        ("&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", ""),
    ];
    let all = cases.map(|(query, expected)| {
        let client = client.clone();
        let path =
            format!("{MAPS}?watch=true&timeoutSeconds=1{query}").replace("=A", &format!("={a}"));
        async move { assert_eq!(said(&watched(&client, &path, 9).await), expected, "{query}") }
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_watch_with_contradicting_options_is_refused() {
    let (client, _) = history().await;
    for (query, text) in [
        ("sendInitialEvents=true", "requires setting resourceVersionMatch to NotOlderThan"),
        ("resourceVersionMatch=NotOlderThan", "unless sendInitialEvents is provided"),
        ("sendInitialEvents=true&resourceVersionMatch=Exact", "Unsupported value"),
        ("sendInitialEvents=1&resourceVersionMatch=NotOlderThan&continue=x", "when continue"),
    ] {
        let line = format!("GET {MAPS}?watch=true&{query}");
        let (code, status) = send(&client, &line, &[], vec![]).await;
        assert!(code == 422 && status["message"].as_str().unwrap().contains(text), "{status}");
    }
}

#[tokio::test]
async fn the_old_paths_watch_too() {
    let (client, _) = history().await;
    for (path, expected) in [
        ("/api/v1/watch/namespaces/kube-public/configmaps", "ADDED b, ADDED kube-root-ca.crt"),
        ("/api/v1/watch/namespaces/kube-public/configmaps/b", "ADDED b"),
        ("/api/v1/watch/namespaces/kube-public", "ADDED kube-public"),
        ("/apis/coordination.k8s.io/v1/watch/leases", ""),
    ] {
        let lines = watched(&client, &format!("{path}?timeoutSeconds=1"), 9).await;
        assert_eq!(said(&lines), expected, "{path}");
    }
    let (code, answer) = send(&client, &format!("GET {MAPS}/b?watch=true"), &[], vec![]).await;
    assert_eq!((code, &answer["kind"]), (200, &json!("ConfigMap")));
}

#[tokio::test]
async fn a_watch_works_over_http_1_1() {
    let (client, _) = history().await;
    // The client's own protocol is negotiated; one request says otherwise.
    let request = ::http::Request::get(format!("{MAPS}?watch=true&timeoutSeconds=1"))
        .version(::http::Version::HTTP_11)
        .body(Body::empty())
        .unwrap();
    let response = client.send(request).await.unwrap();
    let chunks: Vec<_> = response.into_body().into_data_stream().try_collect().await.unwrap();
    let text = String::from_utf8(chunks.concat()).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
}
