//! What the server answers to requests that no well-behaved client sends.
use http_body_util::BodyExt;
use kube_rs::Client;
use kube_rs::client::Body;
use serde_json::Value;

use super::config;

/// Request line, header, body; the answer's code and a part of its message.
type Case = (&'static str, (&'static str, &'static str), Vec<u8>, u16, &'static str);

/// Sends one request; the answer's code and its `Status` or other JSON.
pub(super) async fn send(
    client: &Client,
    line: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = ::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn wrong_requests_are_answered_and_not_feared() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let client = Client::try_from(config().await).unwrap();
    let json = ("content-type", "application/json");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20)).into_bytes();
    let deep = "[".repeat(100_000).into_bytes();
    let cases: [Case; 20] = [
        ("GET /api/v1/nothing", json, vec![], 404, "could not find the requested resource"),
        ("GET /apis/none.example/v1/things", json, vec![], 404, "could not find"),
        ("GET /api/v1/namespaces/default/nodes", json, vec![], 404, "could not find"),
        ("GET /api/v1/namespaces/default/pods/web/nothing", json, vec![], 404, "could not find"),
        ("POST /api/v1/pods", json, b"{}".to_vec(), 405, "does not allow this method"),
        ("POST MAPS", json, b"{".to_vec(), 400, "not valid JSON"),
        ("POST MAPS", json, b"[]".to_vec(), 400, "not an object"),
        ("POST MAPS", json, deep, 400, "recursion limit"),
        ("POST MAPS", json, large, 413, "limit is 3145728"),
        ("POST MAPS", json, b"{\"metadata\":[]}".to_vec(), 400, "metadata"),
        (
            "POST MAPS",
            json,
            b"{\"kind\":\"Pod\"}".to_vec(),
            400,
            "does not match the expected kind",
        ),
        ("POST MAPS", ("content-type", "text/plain"), b"{}".to_vec(), 415, "unknown format"),
        (
            "POST MAPS",
            ("content-type", "application/vnd.kubernetes.protobuf"),
            b"k8s\0\xff".to_vec(),
            400,
            "malformed protobuf",
        ),
        ("GET MAPS", ("accept", "application/cbor"), vec![], 406, "only the following media types"),
        ("GET MAPS?labelSelector=a%20in%20b", json, vec![], 400, "unable to parse requirement"),
        ("GET MAPS?fieldSelector=a%3Db", json, vec![], 400, "\"a\" is not a known field selector"),
        ("GET MAPS?limit=many", json, vec![], 400, "limit: invalid number"),
        ("GET MAPS?continue=xyz", json, vec![], 400, "continue key is not valid"),
        (
            "GET MAPS?resourceVersionMatch=Exact",
            json,
            vec![],
            422,
            "forbidden unless resourceVersion",
        ),
        ("PATCH MAPS/kube-root-ca.crt", json, b"{}".to_vec(), 415, "application/merge-patch+json"),
    ];
    for (line, header, body, code, message) in cases {
        let line = line.replace("MAPS", MAPS);
        let (actual, status) = send(&client, &line, &[header], body).await;
        assert_eq!(actual, code, "{line}: {status}");
        assert_eq!(status["kind"], "Status", "{line}");
        let text = status["message"].as_str().unwrap();
        assert!(text.contains(message), "{line}: {text}");
    }
}

#[tokio::test]
async fn only_those_who_are_known_see_objects() {
    let mut config = config().await;
    config.auth_info = kube_rs::config::AuthInfo::default();
    let client = Client::try_from(config).unwrap();
    for (path, code) in
        [("/healthz", 200), ("/version", 200), ("/api", 403), ("/api/v1/pods", 403), ("/nope", 403)]
    {
        assert_eq!(send(&client, &format!("GET {path}"), &[], vec![]).await.0, code, "{path}");
    }
    let stranger = [("authorization", "Bearer nobody")];
    assert_eq!(send(&client, "GET /api/v1/pods", &stranger, vec![]).await.0, 401);
}

#[tokio::test]
async fn discovery_comes_in_the_form_the_client_asks_for() {
    let client = Client::try_from(config().await).unwrap();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (_, list) = send(&client, "GET /apis", &[("accept", aggregated)], vec![]).await;
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    let (_, list) = send(&client, "GET /apis", &[("accept", "application/json")], vec![]).await;
    assert_eq!(list["kind"], "APIGroupList");
    let (_, list) = send(&client, "GET /api/v1", &[], vec![]).await;
    let names: Vec<_> = list["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert!(
        names.contains(&&"pods/status".into()) && names.contains(&&"nodes".into()),
        "{names:?}"
    );
}
