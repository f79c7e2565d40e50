//! Commands and ports over WebSocket, with the client of the kube crate: channels by number, v4 and v5.

use k8s_openapi::api::core::v1::Pod;
use kube_rs::api::{Api, AttachParams};
use kube_rs::config::{KubeConfigOptions, Kubeconfig};
use kube_rs::{Client, Config};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, success, test};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("websocket_clients_run_commands_and_reach_ports", commands_and_ports)]
}

fn commands_and_ports() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&manifests::pod("web", "", "seaway/echo"));
    success(&lab.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"]))
        .expect("the pod is ready");
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let pods = pods(&lab).await;
        command(&pods).await;
        port(&pods).await;
    });
}

async fn pods(lab: &Lab) -> Api<Pod> {
    let kubeconfig = Kubeconfig::read_from(lab.dir().join("kubeconfig")).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.expect("a configuration")).expect("a client");
    Api::default_namespaced(client)
}

/// Its standard input is closed while its output goes on: only v5 can say so.
async fn command(pods: &Api<Pod>) {
    let argv = ["sh", "-c", "cat; echo over; echo late >&2; exit 3"];
    let streams = AttachParams::default().stdin(true).stdout(true).stderr(true);
    let mut process = pods.exec("web", argv, &streams).await.expect("exec");
    let mut stdin = process.stdin().expect("standard input");
    let mut stdout = process.stdout().expect("standard output");
    let mut stderr = process.stderr().expect("standard error");
    stdin.write_all(b"typed\n").await.expect("write");
    stdin.shutdown().await.expect("close");
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.expect("read");
    stderr.read_to_string(&mut err).await.expect("read");
    assert_eq!((out.as_str(), err.as_str()), ("typed\nover\n", "late\n"));
    let status = process.take_status().expect("a status").await.expect("it has ended");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    assert_eq!(causes.first().and_then(|cause| cause.message.as_deref()), Some("3"));
}

async fn port(pods: &Api<Pod>) {
    let mut forward = pods.portforward("web", &[9090, 81]).await.expect("portforward");
    let mut stream = forward.take_stream(9090).expect("a stream");
    let big = vec![b'x'; 3_000_000];
    let (mut from, mut to) = tokio::io::split(&mut stream);
    let writing = async { to.write_all(&big).await.expect("write") };
    let reading = async {
        // A greeting of a line comes first.
        let (mut seen, mut buffer) = (0, vec![0; 65536]);
        while seen < big.len() {
            let read = from.read(&mut buffer).await.expect("read");
            assert!(read > 0, "it ended after {seen}");
            seen += buffer[..read].iter().filter(|byte| **byte == b'x').count();
        }
    };
    tokio::join!(writing, reading);
    let error = forward.take_error(81).expect("an error channel").await;
    let error = error.unwrap_or_default();
    assert!(error.contains("failed to connect to localhost:81"), "{error}");
}
