//! A server that fuzz targets ask: furnished once, with an object of the kinds that matter, and made
//! anew now and then so that what inputs leave behind doesn't grow.
#![expect(clippy::unwrap_used, reason = "what surprises a target is a finding")]

use std::cell::RefCell;
use std::sync::Arc;

use apiserver::{Options, Server};
use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How many inputs one server takes.
const INPUTS: usize = 500;

/// What every server starts with: path of the collection, object.
const THERE: [(&str, &str); 5] = [
    (
        "/api/v1/namespaces/default/pods",
        r#"{"metadata":{"name":"web","labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"a"}]}}"#,
    ),
    (
        "/api/v1/namespaces/default/services",
        r#"{"metadata":{"name":"web"},"spec":{"clusterIP":"None","ports":[{"port":80}]}}"#,
    ),
    (
        "/apis/apps/v1/namespaces/default/deployments",
        r#"{"metadata":{"name":"web"},"spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"a"}]}}}}"#,
    ),
    ("/api/v1/namespaces/default/configmaps", r#"{"metadata":{"name":"web"},"data":{"a":"b"}}"#),
    (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
        r#"{"metadata":{"name":"web"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}"#,
    ),
];

/// A server with its own threadless runtime, in which its background tasks get their turns.
#[derive(Debug)]
struct Served {
    runtime: Runtime,
    server: Arc<Server>,
    running: JoinHandle<()>,
    left: usize,
}

thread_local!(static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) });

/// A request in parts.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub media_type: &'a str,
    pub body: &'a [u8],
}

/// Answers `requests` one after the other by one server. The codes; 0 where no client could write
/// the request.
///
/// # Panics
/// When an answer is none in the API's form, or the server blames itself.
pub fn answer(requests: &[Asked<'_>]) -> Vec<u16> {
    SERVED.with_borrow_mut(|served| {
        if served.as_ref().is_none_or(|served| served.left == 0) {
            *served = Some(Served::new());
        }
        let served = served.as_mut().unwrap();
        served.left -= 1;
        requests.iter().map(|asked| served.ask(*asked)).collect()
    })
}

impl Served {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = Arc::new(Server::new(Options::default()).unwrap());
        let runs = server.clone();
        let running = runtime.spawn(async move { runs.run(std::future::pending()).await.unwrap() });
        let served = Self { runtime, server, running, left: INPUTS };
        for (target, body) in THERE {
            let (media_type, body) = ("application/json", body.as_bytes());
            let code = served.ask(Asked { method: "POST", target, media_type, body });
            assert_eq!(code, 201, "{target}");
        }
        served
    }

    fn ask(&self, asked: Asked<'_>) -> u16 {
        let request = Request::builder()
            .method(asked.method)
            .uri(asked.target)
            .header("content-type", asked.media_type)
            .header("authorization", format!("Bearer {}", self.server.token()));
        let Ok(request) = request.body(Full::new(Bytes::copy_from_slice(asked.body))) else {
            return 0;
        };
        let response = self.runtime.block_on(async {
            let response = self.server.answer(request).await;
            // Others see to what follows from it.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            response
        });
        let code = response.status().as_u16();
        // A watch looks at the clock.
        let _clock = self.runtime.enter();
        let mut body = std::pin::pin!(response.into_body());
        let mut whole = Vec::new();
        while let Some(Some(Ok(frame))) = body.as_mut().frame().now_or_never() {
            whole.extend(frame.into_data().unwrap_or_default());
        }
        if code >= 400 {
            let status: Value = serde_json::from_slice(&whole).expect("a refusal is a Status");
            assert_eq!(status["code"], code, "{status}");
            let foreseen = code < 500 || status["reason"] == "" || status["reason"] == "Timeout";
            assert!(foreseen, "{status}");
        }
        code
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.running.abort();
    }
}
