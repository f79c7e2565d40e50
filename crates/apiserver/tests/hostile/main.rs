//! Whatever clients send, there is an answer in the API's form, and what was there stays.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod forms;
mod grants;
mod requests;
mod slow;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seaway_apiserver::{Options, Server, yaml};
use serde_json::{Value, json};

use requests::Made;

/// An object of every kind that people write.
const KINDS: &str = include_str!("../kubectl/kinds.yaml");

/// How long an answer may take. Nothing is expected to come near.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many requests one server answers before there is a new one.
const ROUND: u32 = 64;

/// Everything that was answered: the code and, if it is JSON, the body; of a watch, what came at
/// once.
#[derive(Debug)]
struct Answer {
    code: u16,
    media_type: String,
    body: Vec<u8>,
}

async fn ask(server: &Server, request: Request<Full<Bytes>>) -> Answer {
    let response = tokio::time::timeout(PATIENCE, server.answer(request)).await;
    read(response.expect("an answer in time"))
}

/// What of an answer is there without waiting.
fn read<B: Body<Data = Bytes, Error = std::convert::Infallible>>(response: Response<B>) -> Answer {
    let (parts, body) = response.into_parts();
    let mut frames = std::pin::pin!(body);
    let mut whole = Vec::new();
    while let Some(Some(Ok(frame))) = frames.as_mut().frame().now_or_never() {
        whole.extend(frame.into_data().unwrap_or_default());
    }
    let media_type = parts.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    Answer { code: parts.status.as_u16(), media_type: media_type.to_owned(), body: whole }
}

fn post(server: &Server, path: &str, object: &Value) -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::from(object.to_string()));
    let request = Request::post(path).header("content-type", "application/json");
    request.header("authorization", format!("Bearer {}", server.token())).body(body).unwrap()
}

fn get(server: &Server, path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path);
    let request = request.header("authorization", format!("Bearer {}", server.token()));
    request.body(Full::default()).unwrap()
}

/// The version of the newest write.
async fn version(server: &Server) -> Value {
    let list = ask(server, get(server, "/api/v1/namespaces?limit=1")).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    list["metadata"]["resourceVersion"].clone()
}

/// The documents of `text`, each with the path of the object that it describes.
fn objects(text: &str) -> Vec<(String, Value)> {
    let documents = text.split("\n---\n").map(|text| yaml::read(text).unwrap().unwrap());
    documents.map(|document| document.root.value()).map(|object| (path(&object), object)).collect()
}

fn path(object: &Value) -> String {
    let word = |field: &str| object[field].as_str().unwrap().to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind").to_lowercase());
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let plural = match kind.as_str() {
        "endpoints" => kind,
        kind if kind.ends_with("ss") => format!("{kind}es"),
        kind => match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{kind}s"),
        },
    };
    let cluster = [
        "namespaces",
        "nodes",
        "ingressclasses",
        "priorityclasses",
        "runtimeclasses",
        "storageclasses",
        "clusterroles",
        "clusterrolebindings",
        "persistentvolumes",
        "servicecidrs",
        "ipaddresses",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    ];
    let inside = if cluster.contains(&plural.as_str()) { "" } else { "/namespaces/default" };
    let name = object["metadata"]["name"].as_str().unwrap();
    format!("/{root}/{api_version}{inside}/{plural}/{name}")
}

/// A server with an object of every kind.
async fn furnished() -> Server {
    let server = Server::new(Options::default()).unwrap();
    for (path, object) in objects(KINDS) {
        let collection = path.rsplit_once('/').unwrap().0;
        let answer = ask(&server, post(&server, collection, &object)).await;
        let said = String::from_utf8_lossy(&answer.body);
        assert!(answer.code == 201, "{path}: {said}");
    }
    let web = json!({"metadata": {"name": "web"},
        "spec": {"containers": [{"name": "main", "image": "seaway/echo:1"}]}});
    assert_eq!(
        ask(&server, post(&server, "/api/v1/namespaces/default/pods", &web)).await.code,
        201
    );
    server
}

/// What is wrong with an answer, whatever was asked.
fn check(made: &Made, answer: &Answer) -> Result<(), String> {
    let Answer { code, media_type, body } = answer;
    let shown = String::from_utf8_lossy(body);
    let wrong = |what: &str| Err(format!("{what}: {code} {media_type} {shown}"));
    if media_type != "application/json" {
        return if *code < 400 { Ok(()) } else { wrong("a refusal that is no object") };
    }
    let mut documents = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let Some(Ok(first)) = documents.next() else {
        // A watch on which nothing has happened yet.
        let silent = *code == 200 && body.is_empty();
        return if silent { Ok(()) } else { wrong("not JSON") };
    };
    if *code < 400 {
        return if first.is_object() { Ok(()) } else { wrong("not an object") };
    }
    let is_status = first["kind"] == "Status" && first["status"] == "Failure";
    let message = first["message"].as_str().unwrap_or("");
    if !is_status || first["code"] != *code || message.is_empty() {
        return wrong("not a Status");
    }
    // As in Kubernetes, which has not foreseen configurations of a wrong shape and patches of
    // lists without keys, and blames nobody.
    let untyped = made.method == "PATCH" && first["reason"].is_null();
    // A version that is still to come.
    let early = *code == 504 && message.contains("Too large resource version");
    if *code >= 500 && !untyped && !early {
        return wrong("the server blames itself");
    }
    Ok(())
}

fn run(requests: impl Strategy<Value = Vec<Made>>, rounds: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: rounds, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&requests, |requests| {
        runtime.block_on(async {
            let server = furnished().await;
            for made in requests {
                let Some(request) = made.request(server.token()) else { continue };
                let before = version(&server).await;
                let answer = ask(&server, request).await;
                check(&made, &answer)
                    .map_err(|why| TestCaseError::fail(format!("{made:?}: {why}")))?;
                if answer.code >= 400 {
                    prop_assert_eq!(
                        before,
                        version(&server).await,
                        "{:?} was refused and done",
                        made
                    );
                }
            }
            Ok(())
        })
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}

/// How many rounds of requests there are: `HOSTILE_ROUNDS`, by default few.
fn rounds() -> u32 {
    std::env::var("HOSTILE_ROUNDS").map_or(6, |text| text.parse().unwrap())
}

#[test]
fn whatever_is_asked_there_is_an_answer_and_a_refusal_changes_nothing() {
    let seeds = objects(KINDS).into_iter().map(|(_, object)| object).collect();
    let many = usize::try_from(ROUND).unwrap();
    run(proptest::collection::vec(requests::made(seeds), many), rounds());
}

#[test]
fn whatever_is_wrong_in_an_object_it_is_answered_and_a_refusal_changes_nothing() {
    let many = usize::try_from(ROUND).unwrap();
    run(proptest::collection::vec(requests::aimed(objects(KINDS)), many), rounds());
}
