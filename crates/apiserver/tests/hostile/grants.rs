//! Nobody gives what they don't have, and nobody speaks for others without leave.
use base64::Engine;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use seaway_apiserver::{Options, Server};
use serde_json::{Value, json};

use crate::{ask, get};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";
const JANE: &[(&str, &str)] = &[("impersonate-user", "jane")];

/// What the administrator's server says to `object`, sent with more headers: code and body.
async fn send(
    server: &Server,
    line: &str,
    headers: &[(&str, &str)],
    object: &Value,
) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let media_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("authorization", format!("Bearer {}", server.token()));
    request = request.header("content-type", media_type);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if object.is_null() { String::new() } else { object.to_string() };
    let answer = ask(server, request.body(Full::new(Bytes::from(body))).unwrap()).await;
    (answer.code, serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn role(verbs: &[&str], resource: &str) -> Value {
    json!({"metadata": {"name": "r"},
        "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]})
}

fn binding(kind: &str, name: &str) -> Value {
    json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "joe"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}})
}

/// A server on which jane may read pods and write roles and bindings of the default namespace.
async fn with_jane() -> Server {
    let server = Server::new(Options::default()).unwrap();
    let rules = json!([
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"],
         "resources": ["rolebindings"]},
        {"verbs": ["create", "patch", "update", "get"],
         "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
         "resources": ["clusterroles"], "resourceNames": ["view"]},
    ]);
    let own = json!({"metadata": {"name": "own"}, "rules": rules});
    let jane = json!({"metadata": {"name": "jane"},
        "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "own"}});
    for (plural, object) in [("roles", own), ("rolebindings", jane)] {
        let line = format!("POST {ROLES}/namespaces/default/{plural}");
        assert_eq!(send(&server, &line, &[], &object).await.0, 201);
    }
    server
}

#[tokio::test]
async fn nobody_grants_what_they_lack() {
    let server = with_jane().await;
    let roles = format!("POST {ROLES}/namespaces/default/roles");
    let (code, status) = send(&server, &roles, JANE, &role(&["get", "delete"], "pods")).await;
    assert_eq!(code, 403, "{status}");
    assert_eq!(
        status["message"],
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" \
         (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently \
         held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
    assert_eq!(send(&server, &roles, JANE, &role(&["get"], "pods")).await.0, 201);
    let one = format!("{ROLES}/namespaces/default/roles/r");
    let more = json!({"rules": role(&["get"], "secrets")["rules"]});
    assert_eq!(send(&server, &format!("PATCH {one}"), JANE, &more).await.0, 403);
    assert_eq!(send(&server, &format!("PUT {one}"), JANE, &role(&["*"], "*")).await.0, 403);
    // What changes no right needs none.
    assert_eq!(send(&server, &format!("PATCH {one}"), &[], &more).await.0, 200);
    let held = json!({"metadata": {"finalizers": ["a.test/b"]}});
    assert_eq!(send(&server, &format!("PATCH {one}"), JANE, &held).await.0, 200);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(send(&server, &format!("PATCH {one}"), JANE, &label).await.0, 403);
}

#[tokio::test]
async fn nobody_binds_to_more_than_they_have_unless_they_may() {
    let server = with_jane().await;
    let bindings = format!("POST {ROLES}/namespaces/default/rolebindings?dryRun=All");
    let cases = [
        ("ClusterRole", "cluster-admin", 403),
        ("ClusterRole", "view", 201),
        ("ClusterRole", "none", 404),
        ("Role", "own", 201),
        ("Role", "none", 404),
    ];
    for (kind, name, code) in cases {
        let (found, status) = send(&server, &bindings, JANE, &binding(kind, name)).await;
        assert_eq!(found, code, "{kind} {name}: {status}");
    }
}

#[tokio::test]
async fn who_speaks_for_others_may_do_so_in_every_respect() {
    let server = with_jane().await;
    let review = json!({});
    let path = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let all = [
        ("impersonate-user", "joe"),
        ("impersonate-group", "dev"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-acme.com%2fscope", "a"),
        ("impersonate-extra-acme.com%2fscope", "b"),
    ];
    let (code, me) = send(&server, path, &all, &review).await;
    assert_eq!(code, 201, "{me}");
    let expected = json!({
        "username": "joe", "uid": "7", "groups": ["dev", "system:authenticated"],
        "extra": {"acme.com/scope": ["a", "b"]},
    });
    assert_eq!(me["status"]["userInfo"], expected);
    let (code, status) = send(&server, path, &all[1..], &review).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "requested [{Group  dev    } {UserExtra  a  authentication.k8s.io/v1  acme.com/scope} \
         {UserExtra  b  authentication.k8s.io/v1  acme.com/scope} \
         {UID  7  authentication.k8s.io/v1  }] without impersonating a user"
    );
}

#[tokio::test]
async fn a_secret_is_given_its_accounts_token_which_ends_with_both() {
    let server = std::sync::Arc::new(Server::new(Options::default()).unwrap());
    let running = server.clone();
    tokio::spawn(async move { running.run(std::future::pending()).await });
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str, account: &str| {
        json!({"metadata": {"name": name,
            "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token"})
    };
    let create = format!("POST {secrets}");
    assert_eq!(send(&server, &create, &[], &secret("token", "default")).await.0, 201);
    assert_eq!(send(&server, &create, &[], &secret("stray", "nobody")).await.0, 201);
    let (code, status) = send(&server, &create, &[], &secret("none", "")).await;
    assert_eq!(code, 422, "{status}");
    let token = format!("{secrets}/token");
    let filled = until(&server, &token, |secret| secret["data"].is_object()).await;
    until(&server, &format!("{secrets}/stray"), |answer| answer["code"] == 404).await;
    let annotations = &filled["metadata"]["annotations"];
    assert!(annotations["kubernetes.io/service-account.uid"].is_string(), "{filled}");
    let part = |key: &str| {
        let text = filled["data"][key].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!((part("namespace").as_str(), part("ca.crt").as_str()), ("default", server.ca_pem()));
    let bearer = format!("Bearer {}", part("token"));
    let whoami = async || {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.header("authorization", &bearer).body(Full::from("{}")).unwrap();
        let answer = ask(&server, request).await;
        (answer.code, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (code, me) = whoami().await;
    assert_eq!(code, 201, "{me}");
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    assert_eq!(send(&server, &format!("DELETE {secrets}/token"), &[], &Value::Null).await.0, 200);
    assert_eq!(whoami().await.0, 401);
}

/// Waits until what is at `path` is as wanted, which others see to.
async fn until(server: &Server, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1000 {
        let answer = ask(server, get(server, path)).await;
        let value = serde_json::from_slice(&answer.body).unwrap();
        if wanted(&value) {
            return value;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{path} does not become what it should");
}
