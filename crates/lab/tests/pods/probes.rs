//! Probes: who is asked when, and what the answers lead to.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_rs::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::bench::{Lab, condition, container, shell_pod};

fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, "failureThreshold": 1})
}

fn always(script: &str) -> Value {
    let mut spec = shell_pod(script);
    spec["restartPolicy"] = json!("Always");
    spec
}

pub(crate) async fn readiness_is_false_until_its_probe_has_succeeded(lab: &Lab) {
    let mut spec = always("sleep 1; touch /tmp/ready; sleep 2; rm /tmp/ready; sleep 1000");
    spec["containers"][0]["readinessProbe"] = exec("cat /tmp/ready");
    lab.run("readiness", spec).await;
    let pod = lab.eventually("readiness", |pod| container(pod).started == Some(true)).await;
    assert!(!container(&pod).ready);
    assert_eq!(condition(&pod, "Ready"), "False");
    lab.eventually("readiness", |pod| condition(pod, "Ready") == "True").await;
    let pod = lab.eventually("readiness", |pod| condition(pod, "Ready") == "False").await;
    assert_eq!(container(&pod).restart_count, 0);
    lab.told("readiness", "Unhealthy: Readiness probe failed: cat: /tmp/ready").await;
}

pub(crate) async fn a_failed_liveness_probe_restarts_the_container(lab: &Lab) {
    let mut spec = always("trap 'exit 0' TERM; touch /tmp/broken; sleep 1000 & wait");
    spec["containers"][0]["livenessProbe"] =
        exec("[ ! -e /tmp/broken ] || { echo broken; exit 1; }");
    lab.run("liveness", spec).await;
    let pod = lab.eventually("liveness", |pod| container(pod).restart_count > 0).await;
    let end = container(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (0, Some("Completed")));
    lab.told("liveness", "Unhealthy: Liveness probe failed: broken").await;
    lab.told("liveness", "Killing: Container main failed liveness probe, will be restarted").await;
}

pub(crate) async fn nothing_is_asked_before_the_startup_probe_has_succeeded(lab: &Lab) {
    let mut spec = always("sleep 2; touch /tmp/up; sleep 1000");
    let main = &mut spec["containers"][0];
    main["startupProbe"] = exec("cat /tmp/up");
    main["startupProbe"]["failureThreshold"] = json!(30);
    main["livenessProbe"] = exec("cat /tmp/up");
    lab.run("startup", spec).await;
    let runs = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let pod = lab.eventually("startup", |pod| runs(&container(pod))).await;
    assert_eq!((container(&pod).started, container(&pod).ready), (Some(false), false));
    let pod = lab.eventually("startup", |pod| container(pod).ready).await;
    assert_eq!(container(&pod).restart_count, 0, "the liveness probe would have failed");
}

pub(crate) async fn probes_go_from_the_node_over_http_tcp_and_grpc(lab: &Lab) {
    let listener = tokio::net::TcpListener::bind("10.80.1.11:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve_health(listener));
    let echo = json!(["--http", "18080", "--tcp", "19090", "--udp", "19090"]);
    let probes = [
        ("tcp", json!({"tcpSocket": {"port": 19090}, "periodSeconds": 1}), true),
        ("grpc", json!({"grpc": {"port": port}, "periodSeconds": 1}), true),
        ("named", json!({"grpc": {"port": port, "service": "good"}, "periodSeconds": 1}), true),
        ("other", json!({"grpc": {"port": port, "service": "x"}, "periodSeconds": 1}), false),
        ("closed", json!({"tcpSocket": {"port": 1}, "periodSeconds": 1}), false),
    ];
    let get = json!({"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1});
    let mut containers = vec![json!({"name": "http", "image": "seaway/echo", "args": echo,
        "ports": [{"name": "web", "containerPort": 18080}], "readinessProbe": get})];
    for (name, probe, _) in &probes {
        containers.push(json!({"name": name, "image": "seaway/shell", "readinessProbe": probe}));
    }
    lab.run("asked", json!({"hostNetwork": true, "containers": containers})).await;
    let is_ready = |pod: &k8s_openapi::api::core::v1::Pod, wanted: &str| {
        let all = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        all.into_iter().flatten().any(|status| status.name == wanted && status.ready)
    };
    let all_ready =
        |pod: &_| probes.iter().filter(|(_, _, ok)| *ok).all(|(name, ..)| is_ready(pod, name));
    let pod = lab.eventually("asked", all_ready).await;
    lab.told("asked", "Readiness probe failed: dial tcp 10.80.1.11:1: connect: connection refused")
        .await;
    lab.told("asked", "rpc error: code = NotFound desc = unknown service").await;
    for (name, _, ok) in &probes {
        assert!(*ok || !is_ready(&pod, name), "{name}");
    }
    server.abort();
}

/// Answers health checks as gRPC servers do: healthy as a whole, so is its service `good`, and there is no
/// other.
async fn serve_health(listener: tokio::net::TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            // A frame's head of five bytes, and field 1, the service's name, unless it is empty.
            let is_known = [&b""[..], b"\x0a\x04good"].contains(&&body[5..]);
            Ok::<_, std::convert::Infallible>(answer(is_known))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(ok: bool) -> Response<BoxBody<Bytes, std::convert::Infallible>> {
    let response = Response::builder().header("content-type", "application/grpc");
    if !ok {
        let response =
            response.header("grpc-status", "5").header("grpc-message", "unknown service");
        return response.body(Full::new(Bytes::new()).boxed()).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let serving = Frame::data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]));
    let frames = [Ok(serving), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    response.body(BodyExt::boxed(body)).unwrap()
}

/// The API server's certificate is by an authority that no node knows.
pub(crate) async fn an_https_probe_takes_any_certificate(lab: &Lab) {
    let kubeconfig = std::fs::read_to_string("/run/kubeconfig").unwrap();
    let port = kubeconfig.split("https://127.0.0.1:").nth(1).unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    let get = |path: &str| {
        json!({"httpGet": {"host": "127.0.0.1", "scheme": "HTTPS", "path": path,
            "port": port.parse::<u16>().unwrap()}, "periodSeconds": 1})
    };
    let container = |name: &str, path: &str| json!({"name": name, "image": "seaway/shell", "readinessProbe": get(path)});
    let both = [container("known", "/livez"), container("unknown", "/nothing")];
    lab.run("https", json!({"hostNetwork": true, "containers": both})).await;
    let pod = lab
        .eventually("https", |pod| {
            let all = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            all.into_iter().flatten().any(|status| status.name == "known" && status.ready)
        })
        .await;
    lab.told("https", "Readiness probe failed: HTTP probe failed with statuscode: 40").await;
    assert_eq!(condition(&pod, "Ready"), "False");
}

pub(crate) async fn a_readiness_gate_holds_the_pod_back(lab: &Lab) {
    let mut spec = always("sleep 1000");
    spec["readinessGates"] = json!([{"conditionType": "example.com/lb"}]);
    lab.run("gate", spec).await;
    let is_held =
        |pod: &_| condition(pod, "ContainersReady") == "True" && condition(pod, "Ready") == "False";
    lab.eventually("gate", is_held).await;
    let open = json!({"status": {"conditions": [{"type": "example.com/lb", "status": "True"}]}});
    let patch = Patch::Strategic(open);
    lab.pods().patch_status("gate", &PatchParams::default(), &patch).await.unwrap();
    lab.eventually("gate", |pod| condition(pod, "Ready") == "True").await;
}
