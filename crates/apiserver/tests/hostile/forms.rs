//! Forms in which things are asked and answered.
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use seaway_apiserver::{Options, Server};
use serde_json::{Value, json};

use crate::{ask, furnished, get, post};

#[tokio::test]
async fn health_is_told_check_by_check() {
    let server = Server::new(Options::default()).unwrap();
    let cases = [
        ("/healthz", 200, "ok"),
        ("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n"),
        ("/readyz?verbose", 200, "[+]ping ok\n[+]shutdown ok\nreadyz check passed\n"),
        (
            "/readyz?verbose&exclude=ping&exclude=etcd",
            200,
            "[+]ping excluded: ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no \
             matches for \"etcd\"\nreadyz check passed\n",
        ),
        ("/readyz/ping", 200, "ok"),
    ];
    for (path, code, text) in cases {
        let answer = ask(&server, get(&server, path)).await;
        assert_eq!((answer.code, String::from_utf8(answer.body).unwrap().as_str()), (code, text));
    }
    assert_eq!(ask(&server, get(&server, "/readyz/nothing")).await.code, 404);
    let stranger = Request::get("/readyz/ping").body(Full::default()).unwrap();
    assert_eq!(ask(&server, stranger).await.code, 403);
}

#[tokio::test]
async fn a_large_list_is_compressed_for_who_takes_that() {
    let server = Server::new(Options::default()).unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(200_000)}});
    assert_eq!(ask(&server, post(&server, maps, &map)).await.code, 201);
    let plain = ask(&server, get(&server, maps)).await.body;
    let mut request = get(&server, maps);
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let compressed = ask(&server, request).await.body;
    assert!(compressed.len() * 10 < plain.len() && compressed.starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn a_scale_is_applied_and_its_owner_owns_the_objects_size() {
    let server = furnished().await;
    let scale = "/apis/apps/v1/namespaces/default/deployments/web/scale";
    let apply = async |manager: &str, replicas: u32| {
        let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
        let request = Request::patch(format!("{scale}?fieldManager={manager}"))
            .header("content-type", "application/apply-patch+yaml")
            .header("authorization", format!("Bearer {}", server.token()))
            .body(Full::new(Bytes::from(config.to_string())))
            .unwrap();
        let answer = ask(&server, request).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.code, body)
    };
    let (code, conflict) = apply("a", 4).await;
    assert_eq!(code, 409, "{conflict}");
    let (code, same) = apply("a", 1).await;
    assert_eq!((code, &same["spec"]["replicas"]), (200, &json!(1)), "{same}");
    let web = ask(&server, get(&server, scale.strip_suffix("/scale").unwrap())).await;
    let web: Value = serde_json::from_slice(&web.body).unwrap();
    let owners = web["metadata"]["managedFields"].as_array().unwrap();
    let own = owners.iter().find(|entry| entry["manager"] == "a").unwrap();
    assert_eq!(own["subresource"], "scale", "{own}");
    assert_eq!(own["apiVersion"], "apps/v1");
    assert_eq!(own["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}
