//! Just enough of an API server: a list of nodes and a watch of it, and nothing of any other kind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// Path of the only kind there are objects of.
const NODES: &str = "/api/v1/nodes";

#[derive(Default)]
struct Inside {
    version: u64,
    nodes: BTreeMap<String, Value>,
    watchers: Vec<TcpStream>,
    /// Watches of kinds that nothing happens to, by the port they come from, while they are open.
    silent: BTreeMap<u16, TcpStream>,
    is_away: bool,
}

/// Serves on a port of 127.0.0.1 of the thread's network namespace, for as long as the process lives.
#[derive(Clone)]
pub(crate) struct Api {
    inside: Arc<Mutex<Inside>>,
    port: u16,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let api = Api { inside: Arc::default(), port };
        let served = api.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let api = served.clone();
                thread::spawn(move || api.serve(stream));
            }
        });
        api
    }

    pub(crate) fn kubeconfig(&self) -> String {
        let server = format!("http://127.0.0.1:{}", self.port);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    pub(crate) fn put(&self, name: &str, cidr: &str, ip: &str) {
        let mut inside = self.inside.lock().unwrap();
        inside.version += 1;
        let node = json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {"name": name, "resourceVersion": inside.version.to_string()},
            "spec": {"podCIDRs": [cidr]},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]},
        });
        inside.nodes.insert(name.to_owned(), node.clone());
        inside.tell("ADDED", &node);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut inside = self.inside.lock().unwrap();
        inside.version += 1;
        let mut node = inside.nodes.remove(name).unwrap();
        node["metadata"]["resourceVersion"] = inside.version.to_string().into();
        inside.tell("DELETED", &node);
    }

    /// Closes every connection from now on.
    pub(crate) fn go_away(&self) {
        let mut inside = self.inside.lock().unwrap();
        inside.is_away = true;
        inside.watchers.clear();
        for watcher in std::mem::take(&mut inside.silent).into_values() {
            drop(watcher.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn come_back(&self) {
        self.inside.lock().unwrap().is_away = false;
    }

    fn serve(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(request)) = lines.next() {
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let mut inside = self.inside.lock().unwrap();
            if inside.is_away {
                return;
            }
            if request.contains("watch=") {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                if (&stream).write_all(head.as_bytes()).is_err() {
                    return;
                }
                if request.contains(NODES) {
                    inside.watchers.push(stream);
                    return;
                }
                let port = stream.peer_addr().map_or(0, |peer| peer.port());
                inside.silent.insert(port, stream);
                drop(inside);
                while lines.next().is_some_and(|line| line.is_ok()) {}
                self.inside.lock().unwrap().silent.remove(&port);
                return;
            }
            let version = inside.version.to_string();
            let items = inside.nodes.values().filter(|_| request.contains(NODES));
            let items: Vec<&Value> = items.collect();
            let list = json!({
                "kind": "List", "apiVersion": "v1",
                "metadata": {"resourceVersion": version}, "items": items,
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                list.len()
            );
            if (&stream).write_all((head + &list).as_bytes()).is_err() {
                return;
            }
        }
    }
}

impl Inside {
    fn tell(&mut self, kind: &str, node: &Value) {
        let event = format!("{}\n", json!({"type": kind, "object": node}));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        self.watchers.retain_mut(|watcher| watcher.write_all(chunk.as_bytes()).is_ok());
    }
}
