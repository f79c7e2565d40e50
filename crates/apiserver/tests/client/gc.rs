//! What becomes of objects whose owners, or whose namespace, are deleted.
use std::time::Duration;

use kube_rs::Client;
use serde_json::{Value, json};

use super::cluster;
use super::http::send;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Sends a request with a body, which may be null.
async fn ask(client: &Client, line: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    send(client, line, &JSON, body).await
}

/// Makes a map in `default` and says its uid.
async fn make(client: &Client, name: &str, owners: &[(&str, &str)], finalizers: &[&str]) -> String {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(name, uid)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid,
                "blockOwnerDeletion": true})
        })
        .collect();
    let metadata = json!({"name": name, "ownerReferences": owners, "finalizers": finalizers});
    let (code, made) = ask(client, &format!("POST {MAPS}"), &json!({"metadata": metadata})).await;
    assert_eq!(code, 201, "{made}");
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// The metadata of a map; null if there is none.
async fn metadata(client: &Client, name: &str) -> Value {
    let (code, object) = ask(client, &format!("GET {MAPS}/{name}"), &Value::Null).await;
    if code == 404 { Value::Null } else { object["metadata"].clone() }
}

/// Waits until `level` holds of a map's metadata.
async fn until(client: &Client, name: &str, level: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..400 {
        let metadata = metadata(client, name).await;
        if level(&metadata) {
            return metadata;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{name}: {}", metadata(client, name).await);
}

async fn gone(client: &Client, name: &str) {
    until(client, name, Value::is_null).await;
}

async fn delete(client: &Client, name: &str, policy: &str) -> (u16, Value) {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    ask(client, &format!("DELETE {MAPS}/{name}"), &options).await
}

async fn release(client: &Client, name: &str) {
    let patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]).to_string().into_bytes();
    let kind = [("content-type", "application/json-patch+json")];
    let (code, answer) = send(client, &format!("PATCH {MAPS}/{name}"), &kind, patch).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test]
async fn foreground_deletion_waits_for_what_blocks_it() {
    let client = cluster().await;
    let owner = make(&client, "owner", &[], &[]).await;
    let child = make(&client, "child", &[("owner", &owner)], &["test.example/hold"]).await;
    make(&client, "grandchild", &[("child", &child)], &[]).await;
    let (code, marked) = delete(&client, "owner", "Foreground").await;
    assert_eq!((code, &marked["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])));
    // Children of those who wait are deleted in the foreground too.
    gone(&client, "grandchild").await;
    until(&client, "child", |m| m["finalizers"] == json!(["test.example/hold"])).await;
    assert!(metadata(&client, "owner").await["deletionTimestamp"].is_string());
    release(&client, "child").await;
    gone(&client, "child").await;
    gone(&client, "owner").await;
}

#[tokio::test]
async fn background_deletion_does_not_wait() {
    let client = cluster().await;
    let owner = make(&client, "owner", &[], &[]).await;
    make(&client, "child", &[("owner", &owner)], &["test.example/hold"]).await;
    let (code, status) = delete(&client, "owner", "Background").await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert!(metadata(&client, "owner").await.is_null());
    until(&client, "child", |m| m["deletionTimestamp"].is_string()).await;
    release(&client, "child").await;
    gone(&client, "child").await;
}

#[tokio::test]
async fn an_object_stays_while_it_has_an_owner() {
    let client = cluster().await;
    let one = make(&client, "one", &[], &[]).await;
    let two = make(&client, "two", &[], &[]).await;
    make(&client, "child", &[("one", &one), ("two", &two)], &[]).await;
    delete(&client, "one", "Background").await;
    let left =
        until(&client, "child", |m| m["ownerReferences"].as_array().is_some_and(|l| l.len() == 1));
    assert_eq!(left.await["ownerReferences"][0]["name"], "two");
    delete(&client, "two", "Orphan").await;
    gone(&client, "two").await;
    let orphan = metadata(&client, "child").await;
    assert!(orphan.is_object() && orphan["ownerReferences"].is_null(), "{orphan}");
}

#[tokio::test]
async fn an_owner_that_never_was_or_is_another_now_is_no_owner() {
    let client = cluster().await;
    make(&client, "real", &[], &[]).await;
    make(&client, "of-nobody", &[("nobody", "0000")], &[]).await;
    make(&client, "of-another", &[("real", "0000")], &[]).await;
    gone(&client, "of-nobody").await;
    gone(&client, "of-another").await;
    // Those whose owner is of a kind nobody knows stay: it may come.
    let unknown = json!({"metadata": {"name": "of-unknown", "ownerReferences": [{
        "apiVersion": "none.example/v1", "kind": "None", "name": "x", "uid": "1"}]}});
    assert_eq!(ask(&client, &format!("POST {MAPS}"), &unknown).await.0, 201);
    make(&client, "later", &[("nobody", "0000")], &[]).await;
    gone(&client, "later").await;
    assert!(metadata(&client, "of-unknown").await.is_object());
}

#[tokio::test]
async fn a_circle_of_owners_can_be_deleted() {
    let client = cluster().await;
    let one = make(&client, "one", &[], &[]).await;
    let two = make(&client, "two", &[("one", &one)], &[]).await;
    let patch = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
        "name": "two", "uid": two, "blockOwnerDeletion": true}]}});
    let kind = [("content-type", "application/merge-patch+json")];
    let patch = patch.to_string().into_bytes();
    let (code, patched) = send(&client, &format!("PATCH {MAPS}/one"), &kind, patch).await;
    assert_eq!(code, 200, "{patched}");
    delete(&client, "one", "Foreground").await;
    gone(&client, "one").await;
    gone(&client, "two").await;
}

#[tokio::test]
async fn an_owner_in_another_namespace_is_out_of_reach_and_told() {
    let client = cluster().await;
    let owner = make(&client, "owner", &[], &[]).await;
    let child = json!({"metadata": {"name": "child", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}]}});
    let there = "/api/v1/namespaces/kube-public";
    assert_eq!(ask(&client, &format!("POST {there}/configmaps"), &child).await.0, 201);
    for _ in 0..400 {
        let (_, events) = ask(&client, &format!("GET {there}/events"), &Value::Null).await;
        if events["items"][0]["reason"] == "OwnerRefInvalidNamespace" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no event");
}

#[tokio::test]
async fn a_namespace_ends_pods_first_and_says_what_is_left() {
    let client = cluster().await;
    let namespaces = "/api/v1/namespaces";
    ask(&client, &format!("POST {namespaces}"), &json!({"metadata": {"name": "shop"}})).await;
    let hold = json!({"metadata": {"name": "held", "finalizers": ["test.example/hold"]},
        "spec": {"containers": [{"name": "main", "image": "seaway/echo:1"}]}});
    assert_eq!(ask(&client, &format!("POST {namespaces}/shop/pods"), &hold).await.0, 201);
    let map = json!({"metadata": {"name": "map"}});
    ask(&client, &format!("POST {namespaces}/shop/configmaps"), &map).await;
    let (code, _) = ask(&client, &format!("DELETE {namespaces}/shop"), &Value::Null).await;
    assert_eq!(code, 200);
    let get = format!("GET {namespaces}/shop");
    let mut said = Value::Null;
    for _ in 0..400 {
        said = ask(&client, &get, &Value::Null).await.1["status"].clone();
        if said["conditions"].is_array() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let condition = |kind: &str| {
        let all = said["conditions"].as_array().into_iter().flatten();
        all.filter(|one| one["type"] == kind).map(|one| one["message"].clone()).next().unwrap()
    };
    assert_eq!(said["phase"], "Terminating");
    assert_eq!(
        condition("NamespaceContentRemaining"),
        "Some resources are remaining: pods. has 1 resource instances"
    );
    assert_eq!(
        condition("NamespaceFinalizersRemaining"),
        "Some content in the namespace has finalizers remaining: test.example/hold in 1 resource \
         instances"
    );
    assert_eq!(
        condition("NamespaceDeletionDiscoveryFailure"),
        "All resources successfully discovered"
    );
    // Nothing but pods has been touched, and nothing new comes in.
    let (code, _) =
        ask(&client, &format!("GET {namespaces}/shop/configmaps/map"), &Value::Null).await;
    assert_eq!(code, 200);
    let (code, refused) = ask(
        &client,
        &format!("POST {namespaces}/shop/configmaps"),
        &json!({"metadata": {"name": "new"}}),
    )
    .await;
    assert_eq!(code, 403, "{refused}");
    let patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]).to_string().into_bytes();
    let kind = [("content-type", "application/json-patch+json")];
    send(&client, &format!("PATCH {namespaces}/shop/pods/held"), &kind, patch).await;
    for _ in 0..400 {
        if ask(&client, &get, &Value::Null).await.0 == 404 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the namespace is still there");
}
