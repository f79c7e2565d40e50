//! Plugin and socket together, with a loop that only keeps books.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::cni::{Environment, Paths, Reply};

use super::{Server, plugin};
use crate::handle::Message;
use crate::scratch::Scratch;
use crate::sockets::Sockets;
use crate::{Handle, Status};

/// The paths of one agent, and requests made of it.
struct Node {
    scratch: Scratch,
}

impl Node {
    fn new() -> Self {
        Node { scratch: Scratch::new() }
    }

    fn paths(&self) -> Paths {
        let path = self.scratch.path();
        Paths { run_dir: path.join("run"), state_dir: path.join("state") }
    }

    fn ask(&self, command: &str, id: &str, conf: Value) -> Reply {
        let Paths { run_dir, state_dir } = self.paths();
        let mut whole = json!({
            "cniVersion": "1.1.0", "name": "seaway", "runDir": run_dir, "stateDir": state_dir
        });
        whole.as_object_mut().unwrap().extend(conf.as_object().unwrap().clone());
        let environment = Environment {
            command: command.into(),
            container_id: id.into(),
            netns: "/proc/self/ns/net".into(),
            ifname: "eth0".into(),
            args: String::new(),
        };
        plugin::run(&environment, whole.to_string().as_bytes())
    }

    fn waiting(&self) -> usize {
        fs::read_dir(self.paths().pending()).map_or(0, Iterator::count)
    }

    /// Serves until the value is dropped; every request the loop gets is in the books.
    fn serve(&self) -> Serving {
        self.serve_as(Status::NotReady("the API has not been listed".into()))
    }

    /// Serves with a loop of that status.
    fn serve_as(&self, status: Status) -> Serving {
        let (inbox, messages) = sync_channel(16);
        let (paths, handle) = (self.paths(), Handle::new(inbox));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let server = runtime.block_on(async { Server::open(paths, &Sockets::default()) }).unwrap();
        runtime.spawn(server.serve(handle, Arc::default(), std::future::pending()));
        let (book, books) = std::sync::mpsc::channel();
        std::thread::spawn(move || keep_books(&messages, &book, &status));
        Serving { books, runtime: Some(runtime) }
    }
}

struct Serving {
    books: Receiver<String>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Writes each request down before it is answered: who has the answer finds it in the books.
fn keep_books(
    messages: &Receiver<Message>,
    book: &std::sync::mpsc::Sender<String>,
    status: &Status,
) {
    let write = |line: String| drop(book.send(line));
    for message in messages {
        match message {
            Message::Detach(key, reply) => {
                write(format!("detach {key}"));
                drop(reply.send(Ok(())));
            }
            Message::Gc(network, keep, reply) => {
                let keep: BTreeSet<_> = keep.iter().map(ToString::to_string).collect();
                write(format!("gc {network} {keep:?}"));
                drop(reply.send(Ok(Vec::new())));
            }
            Message::Status(reply) => {
                write("status".to_owned());
                drop(reply.send(status.clone()));
            }
            Message::Attach(..)
            | Message::Check(..)
            | Message::Dump(..)
            | Message::Settle(..)
            | Message::Wake
            | Message::Stop => write("unexpected".to_owned()),
        }
    }
}

fn code(reply: &Reply) -> u64 {
    assert!(!reply.success, "{reply:?}");
    let error: Value = serde_json::from_str(&reply.stdout).unwrap();
    error["code"].as_u64().unwrap()
}

#[test]
fn without_an_agent_everything_fails_at_once_and_a_del_waits_on_disk() {
    let node = Node::new();
    assert_eq!(code(&node.ask("ADD", "a", json!({}))), 11);
    assert_eq!(code(&node.ask("CHECK", "a", json!({"prevResult": {}}))), 11);
    assert_eq!(code(&node.ask("GC", "a", json!({"cni.dev/valid-attachments": []}))), 11);
    assert_eq!(code(&node.ask("STATUS", "a", json!({}))), 50);
    for _ in 0..2 {
        let reply = node.ask("DEL", "a", json!({}));
        assert_eq!(reply, Reply { success: true, stdout: String::new() });
    }
    assert_eq!(node.waiting(), 1);
}

#[test]
fn an_agent_that_starts_does_the_dels_that_waited() {
    let node = Node::new();
    node.ask("DEL", "a", json!({}));
    let serving = node.serve();
    assert_eq!(serving.books.recv().unwrap(), "detach a/eth0");
    let deadline = Instant::now() + Duration::from_secs(10);
    while node.waiting() > 0 {
        assert!(Instant::now() < deadline, "the DEL still waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_del_that_can_be_kept_nowhere_is_refused() {
    let node = Node::new();
    fs::write(node.paths().state_dir, "not a directory").unwrap();
    assert_eq!(code(&node.ask("DEL", "a", json!({}))), 11);
}

#[test]
fn requests_reach_the_loop_and_replies_the_runtime() {
    let node = Node::new();
    let serving = node.serve();
    let done = Reply { success: true, stdout: String::new() };
    assert_eq!(node.ask("DEL", "b", json!({})), done);
    let keep = json!({"cni.dev/valid-attachments": [{"containerID": "c", "ifname": "eth0"}]});
    assert_eq!(node.ask("GC", "", keep), done);
    let status = node.ask("STATUS", "", json!({}));
    assert_eq!(code(&status), 50);
    assert!(status.stdout.contains("the API has not been listed"), "{}", status.stdout);
    let books: Vec<_> = serving.books.try_iter().collect();
    assert_eq!(books, ["detach b/eth0", "gc seaway {\"c/eth0\"}", "status"]);
}

/// Code 51 says more than 50: not only is there no network for new containers.
#[test]
fn status_tells_whether_containers_that_are_there_may_be_cut_off() {
    let cases = [
        (Status::NotReady("no pod CIDR".into()), 50),
        (Status::Impaired("put chain forward: refused".into()), 51),
    ];
    for (status, expect) in cases {
        let node = Node::new();
        let _serving = node.serve_as(status.clone());
        let reply = node.ask("STATUS", "", json!({}));
        assert_eq!(code(&reply), expect, "{status:?}: {}", reply.stdout);
    }
    let node = Node::new();
    let _serving = node.serve_as(Status::Ready { pod_cidrs: Vec::new() });
    assert!(node.ask("STATUS", "", json!({})).success);
}

#[test]
fn the_nodes_own_namespace_is_not_a_containers() {
    let node = Node::new();
    let serving = node.serve();
    let reply = node.ask("ADD", "a", json!({}));
    assert_eq!(code(&reply), 8);
    assert!(reply.stdout.contains("is the node's own network namespace"), "{}", reply.stdout);
    assert_eq!(serving.books.try_iter().count(), 0);
}

#[test]
fn a_new_agent_takes_the_socket_over() {
    let node = Node::new();
    let first = node.serve();
    let second = node.serve();
    assert!(node.ask("DEL", "a", json!({})).success);
    assert_eq!(second.books.try_iter().count(), 1);
    assert_eq!(first.books.try_iter().count(), 0);
}
