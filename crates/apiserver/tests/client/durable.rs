//! A cluster with a state directory outlives its server, however that ends.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube_rs::Client;
use kube_rs::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{ConfigMap, Options, Server, client_of, code, map};

/// The state directory of the process that a test starts and kills.
const CHILD: &str = "SEAWAY_TEST_SERVER_STATE";
/// Clients that write at once.
const WRITERS: usize = 8;

/// A directory that goes with its value.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("seaway-apiserver-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server of the state in `directory` on a free port, and its kubeconfig.
fn server(directory: &Path) -> (Server, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let state_dir = Some(directory.to_owned());
    let options = Options { listeners: vec![listener], state_dir, ..Options::default() };
    let server = Server::new(options).unwrap();
    let kubeconfig = server.kubeconfig(&url);
    (server, kubeconfig)
}

/// Not a test of its own: serves until it is killed.
#[test]
fn child_serves_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let (server, kubeconfig) = server(Path::new(&directory));
    writeln!(std::io::stdout(), "\nkubeconfig {}", json!(kubeconfig)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(server.run(std::future::pending())).unwrap();
}

/// A server in a process of its own.
pub(super) struct Process {
    pub(super) child: Child,
    kubeconfig: String,
}

impl Process {
    pub(super) fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "durable::child_serves_until_it_is_killed", "--nocapture"]);
        command.env(CHILD, directory).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find_map(|line| line.strip_prefix("kubeconfig ").map(str::to_owned));
        let kubeconfig = serde_json::from_str(&said.expect("the server starts")).unwrap();
        // What else it prints is of no interest; a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, kubeconfig }
    }

    pub(super) async fn client(&self) -> Client {
        client_of(&self.kubeconfig).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to drop it gently with: this is the test.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What writers were told: the version of each name's newest answered write, and whether it
/// was removed.
type Answered = Arc<Mutex<BTreeMap<String, (u64, bool)>>>;

/// Creates, changes and removes maps of its own until the server is gone. What is asked for when
/// the server goes is in `open`: it may have happened or not.
async fn write_on(
    client: Client,
    writer: usize,
    turn: usize,
    answered: Answered,
) -> Option<String> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let version = |object: &ConfigMap| object.metadata.resource_version.clone().unwrap();
    for n in 0.. {
        let name = format!("map-{turn}-{writer}-{n}");
        let told = |version: String, removed: bool| {
            let told = (version.parse().unwrap(), removed);
            answered.lock().unwrap().insert(name.clone(), told);
        };
        match maps.create(&PostParams::default(), &map(&name)).await {
            Ok(object) => told(version(&object), false),
            Err(_) => return Some(name),
        }
        let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
        match maps.patch(&name, &PatchParams::default(), &patch).await {
            Ok(object) => told(version(&object), false),
            Err(_) => return Some(name),
        }
        if n % 2 == 1 {
            match maps.delete(&name, &DeleteParams::default()).await {
                Ok(_) => told("0".to_owned(), true),
                Err(_) => return Some(name),
            }
        }
    }
    None
}

/// The maps of the tests by name and version, and the version of the list.
async fn maps(client: &Client) -> (BTreeMap<String, u64>, u64) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let list = maps.list(&ListParams::default()).await.unwrap();
    let number = |version: Option<String>| version.unwrap().parse::<u64>().unwrap();
    let objects = list.items.into_iter().map(|object| object.metadata).filter_map(|metadata| {
        let name = metadata.name.filter(|name| name.starts_with("map-"))?;
        Some((name, number(metadata.resource_version)))
    });
    (objects.collect(), number(list.metadata.resource_version))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_write_outlives_a_server_that_is_killed_under_concurrent_writers() {
    let scratch = Scratch::new("killed");
    let answered = Answered::default();
    let mut open = BTreeSet::new();
    let mut newest = 0;
    for turn in 0..5 {
        let mut process = Process::start(&scratch.0);
        let client = process.client().await;
        let (found, version) = maps(&client).await;
        let told = answered.lock().unwrap().clone();
        for (name, (version, removed)) in &told {
            match found.get(name) {
                None => assert!(*removed || open.contains(name), "{name} is lost"),
                Some(_) if *removed => panic!("{name} came back"),
                Some(found) => {
                    assert!(found == version || (found > version && open.contains(name)), "{name}");
                }
            }
        }
        let unknown = |name: &&String| !told.contains_key(*name) && !open.contains(*name);
        assert_eq!(found.keys().find(unknown), None);
        assert!(version >= newest, "version {version} after {newest}");
        let writers = (0..WRITERS).map(|n| write_on(client.clone(), n, turn, answered.clone()));
        let writers: Vec<_> = writers.map(tokio::spawn).collect();
        // Killed in the middle of it, wherever that is.
        while answered.lock().unwrap().len() < told.len() + 60 + 17 * turn {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        for writer in writers {
            open.extend(writer.await.unwrap());
        }
        newest = answered.lock().unwrap().values().map(|(version, _)| *version).max().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_starts_again_is_the_same_cluster() {
    let scratch = Scratch::new("again");
    let token = {
        let process = Process::start(&scratch.0);
        let client = process.client().await;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let spec = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {}, "spec": {"audiences": []}});
        let request: TokenRequest = serde_json::from_value(spec).unwrap();
        let params = PostParams::default();
        let issued = accounts.create_token_request("default", &params, &request).await.unwrap();
        let token = issued.status.unwrap().token;
        let definition = json!({
            "metadata": {"name": "things.test.example"},
            "spec": {
                "group": "test.example", "scope": "Cluster",
                "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}],
            },
        });
        let (code, _) =
            post(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
                .await;
        assert_eq!(code, 201);
        let thing = json!({"apiVersion": "test.example/v1", "kind": "Thing",
            "metadata": {"name": "one"}, "size": 3});
        let mut code = 404;
        while code == 404 {
            code = post(&client, "/apis/test.example/v1/things", &thing).await.0;
        }
        assert_eq!(code, 201);
        (token, process.kubeconfig.clone())
    };
    let (token, before) = token;
    let process = Process::start(&scratch.0);
    let line = |text: &str, key: &str| {
        text.lines().find(|line| line.contains(key)).map(str::to_owned).unwrap()
    };
    for kept in ["certificate-authority-data:", "token:"] {
        assert_eq!(line(&before, kept), line(&process.kubeconfig, kept));
    }
    let client = process.client().await;
    let review: TokenReview = serde_json::from_value(json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": {"token": token},
    }))
    .unwrap();
    let review = Api::all(client.clone()).create(&PostParams::default(), &review).await.unwrap();
    assert_eq!(review.status.unwrap().authenticated, Some(true));
    let get = "GET /apis/test.example/v1/things/one";
    let (_, thing) = super::http::send(&client, get, &[], vec![]).await;
    assert_eq!(thing["size"], 3, "{thing}");
    // What every cluster has was not made a second time.
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    assert_eq!(code(maps.create(&PostParams::default(), &map("kube-root-ca.crt")).await), 409);
}

async fn post(client: &Client, path: &str, body: &Value) -> (u16, Value) {
    let json = [("content-type", "application/json")];
    super::http::send(client, &format!("POST {path}"), &json, body.to_string().into_bytes()).await
}
