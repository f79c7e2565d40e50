//! What is written to Nodes, by what an API server says afterwards.

use apiserver::Server;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use model::{NodeState, decode};
use serde_json::{Value, json};

use super::super::served::serve;
use crate::scratch::Scratch;

async fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Vec<u8> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", server.token()))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(body.to_string()))
        .unwrap();
    let answer = server.answer(request).await;
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn state(server: &Server, name: &str) -> NodeState {
    let path = format!("/api/v1/nodes/{name}");
    decode::node_state(&ask(server, "GET", &path, &Value::Null).await).unwrap()
}

#[tokio::test]
async fn whoever_gives_a_node_pod_cidrs_first_wins() {
    let scratch = Scratch::new();
    let (access, server) = serve(&scratch);
    let client = kube::connect(&access).await.unwrap();
    let give = async |node: &NodeState, cidrs: &[&str]| {
        let cidrs: Vec<String> = cidrs.iter().map(|net| (*net).to_owned()).collect();
        kube::give_cidrs(&client, node, &cidrs).await.unwrap()
    };
    let said = async |name: &str| {
        let state = state(&server, name).await;
        let nets: Vec<String> = state.pod_cidrs.iter().map(ToString::to_string).collect();
        (nets.join(" "), state.is_ours)
    };
    let (first, second) = (["10.1.0.0/24", "fd00:1::/64"], ["10.2.0.0/24"]);
    ask(&server, "POST", "/api/v1/nodes", &json!({"metadata": {"name": "a"}})).await;
    let a = state(&server, "a").await;
    assert!(give(&a, &first).await);
    assert_eq!(said("a").await, ("10.1.0.0/24 fd00:1::/64".to_owned(), true));
    assert!(!give(&a, &second).await, "it has some, which this one has not seen");
    assert_eq!(said("a").await, ("10.1.0.0/24 fd00:1::/64".to_owned(), true));
    let theirs = json!({"metadata": {"name": "b"}, "spec": {"podCIDRs": ["10.3.0.0/24"]}});
    ask(&server, "POST", "/api/v1/nodes", &theirs).await;
    let b = state(&server, "b").await;
    assert!(!give(&b, &second).await);
    assert_eq!(said("b").await, ("10.3.0.0/24".to_owned(), false));
    ask(&server, "POST", "/api/v1/nodes", &json!({"metadata": {"name": "c"}})).await;
    let before = NodeState { uid: "another".into(), ..state(&server, "c").await };
    assert!(!give(&before, &second).await, "another Node of that name");
    assert_eq!(said("c").await, (String::new(), false));
    let gone = NodeState { name: "gone".into(), ..before };
    assert!(!give(&gone, &second).await);
}
