//! A client of the Container Runtime Interface, just large enough to start and stop sandboxes and
//! containers as a kubelet does: unary gRPC over HTTP/2 on a Unix socket, with the few messages written out.
//!
//! Source: `k8s.io/cri-api` `runtime.v1`; gRPC over HTTP/2.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// `SANDBOX_READY` of `PodSandboxState`.
const READY: u64 = 0;

/// `CONTAINER` of `NamespaceMode`.
const OWN: u64 = 1;

/// A container runtime.
pub(crate) struct Runtime {
    socket: PathBuf,
    /// The control group that those of containers are made in.
    cgroup: String,
    tokio: tokio::runtime::Runtime,
}

/// A container to start in a sandbox. Its image is the one of sandboxes, which has no files: all are the machine's own.
#[derive(Clone, Copy)]
pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    /// How many containers of that name the sandbox has had before.
    pub(crate) attempt: u64,
    pub(crate) image: &'a str,
    pub(crate) command: &'a [&'a str],
    /// Path inside and path outside, read-only.
    pub(crate) mounts: &'a [(&'a str, &'a str)],
}

/// A sandbox to start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sandbox<'a> {
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    /// How many sandboxes the pod has had before.
    pub(crate) attempt: u64,
    /// `(host port, container port)`, TCP.
    pub(crate) host_port: Option<(u32, u32)>,
    /// Where its containers look for names.
    pub(crate) searches: &'a [&'a str],
    /// Annotation: name and value.
    pub(crate) annotation: Option<(&'a str, &'a str)>,
}

impl Runtime {
    pub(crate) fn new(socket: &Path, cgroup: String) -> Runtime {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Runtime { socket: socket.to_owned(), cgroup, tokio: tokio.expect("make an async runtime") }
    }

    /// Starts a sandbox; its id.
    pub(crate) fn run(&self, sandbox: &Sandbox<'_>) -> Result<String, String> {
        let request = Message::default().message(1, self.sandbox_config(sandbox));
        let response = self.call("RunPodSandbox", request)?;
        Ok(response.text(1))
    }

    /// Stops a sandbox: its network goes with DEL.
    pub(crate) fn stop(&self, id: &str) -> Result<(), String> {
        self.call("StopPodSandbox", Message::default().text(1, id)).map(drop)
    }

    /// Removes a stopped sandbox.
    pub(crate) fn remove(&self, id: &str) -> Result<(), String> {
        self.call("RemovePodSandbox", Message::default().text(1, id)).map(drop)
    }

    /// Whether a sandbox runs.
    pub(crate) fn is_ready(&self, id: &str) -> Result<bool, String> {
        let response = self.call("PodSandboxStatus", Message::default().text(1, id))?;
        Ok(response.message(1).number(3) == READY)
    }

    /// The ids of all sandboxes that the runtime knows.
    pub(crate) fn sandboxes(&self) -> Result<Vec<String>, String> {
        let response = self.call("ListPodSandbox", Message::default())?;
        Ok(response.messages(1).iter().map(|sandbox| sandbox.text(1)).collect())
    }

    /// Starts a container in the sandbox `id`, which was started as `sandbox`; the container's id.
    pub(crate) fn start(
        &self,
        id: &str,
        sandbox: &Sandbox<'_>,
        container: &Container<'_>,
    ) -> Result<String, String> {
        let request = Message::default()
            .text(1, id)
            .message(2, container.config())
            .message(3, self.sandbox_config(sandbox));
        let container = self.call("CreateContainer", request)?.text(1);
        self.call("StartContainer", Message::default().text(1, &container))?;
        Ok(container)
    }

    /// Kills a container and removes it, as a kubelet does before it starts the next one.
    pub(crate) fn kill(&self, container: &str) -> Result<(), String> {
        self.call("StopContainer", Message::default().text(1, container))?;
        self.call("RemoveContainer", Message::default().text(1, container)).map(drop)
    }

    /// The addresses of a sandbox, primary first.
    pub(crate) fn addresses(&self, id: &str) -> Result<Vec<String>, String> {
        let response = self.call("PodSandboxStatus", Message::default().text(1, id))?;
        let network = response.message(1).message(5);
        let more = network.messages(2).into_iter().map(|ip| ip.text(1));
        Ok([network.text(1)].into_iter().chain(more).filter(|ip| !ip.is_empty()).collect())
    }

    /// The id of the image called `name`, as a kubelet asks before it pulls; empty if it is not there.
    pub(crate) fn image(&self, name: &str) -> Result<String, String> {
        let spec = Message::default().text(1, name);
        let response = self.call("ImageStatus", Message::default().message(1, spec))?;
        Ok(response.message(1).text(1))
    }

    /// Whether the runtime finds its network ready; if not, why.
    pub(crate) fn network_ready(&self) -> Result<(), String> {
        let response = self.call("Status", Message::default())?;
        let conditions = response.message(1).messages(1);
        let network = conditions.iter().find(|c| c.text(1) == "NetworkReady");
        match network {
            Some(condition) if condition.number(2) == 1 => Ok(()),
            Some(condition) => Err(format!("{}: {}", condition.text(3), condition.text(4))),
            None => Err("no condition NetworkReady".to_owned()),
        }
    }

    /// A `PodSandboxConfig` as a kubelet fills it.
    fn sandbox_config(&self, sandbox: &Sandbox<'_>) -> Message {
        let metadata = Message::default()
            .text(1, sandbox.name)
            .text(2, sandbox.uid)
            .text(3, "default")
            .number(4, sandbox.attempt);
        let config = Message::default().message(1, metadata).text(2, sandbox.name);
        let config = match sandbox.host_port {
            Some((host, container)) => {
                let host_port = u64::from(host);
                let mapping =
                    Message::default().number(2, u64::from(container)).number(3, host_port);
                config.message(5, mapping)
            }
            None => config,
        };
        let dns = Message::default().text(1, "10.96.0.10").text(3, "ndots:5");
        let dns = sandbox.searches.iter().fold(dns, |dns, domain| dns.text(2, domain));
        let config = config.message(4, dns);
        let config = match sandbox.annotation {
            Some((name, value)) => {
                config.message(7, Message::default().text(1, name).text(2, value))
            }
            None => config,
        };
        config.message(8, Message::default().text(1, &self.cgroup))
    }

    fn call(&self, method: &str, request: Message) -> Result<Reader, String> {
        self.tokio.block_on(self.unary(method, request.0)).map_err(|e| format!("{method}: {e}"))
    }

    async fn unary(&self, method: &str, request: Vec<u8>) -> Result<Reader, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|e| text(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|e| text(&e))?;
        tokio::spawn(connection);
        let length = u32::try_from(request.len()).expect("requests are small").to_be_bytes();
        let body = [&[0][..], &length, &request].concat();
        let service = if method.starts_with("Image") { "ImageService" } else { "RuntimeService" };
        let request =
            http::Request::post(format!("http://localhost/runtime.v1.{service}/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(Bytes::from(body)))
                .expect("a request of constants");
        let response = sender.send_request(request).await.map_err(|e| text(&e))?;
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.map_err(|e| text(&e))?;
        let trailers = body.trailers().cloned().unwrap_or(headers);
        let header = |name: &str| {
            trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        if header("grpc-status") != "0" {
            return Err(format!("code {}: {}", header("grpc-status"), header("grpc-message")));
        }
        let bytes = body.to_bytes();
        Ok(Reader(bytes.get(5..).unwrap_or_default().to_vec()))
    }
}

impl Container<'_> {
    /// A `ContainerConfig`, with processes of its own.
    fn config(&self) -> Message {
        let metadata = Message::default().text(1, self.name).number(2, self.attempt);
        let config = Message::default()
            .message(1, metadata)
            .message(2, Message::default().text(1, self.image));
        let config = self.command.iter().fold(config, |config, word| config.text(3, word));
        let config = self.mounts.iter().fold(config, |config, (inside, outside)| {
            let mount = Message::default().text(1, inside).text(2, outside).number(3, 1);
            config.message(7, mount)
        });
        let namespaces = Message::default().number(2, OWN);
        let security = Message::default().message(3, namespaces);
        config.message(15, Message::default().message(2, security))
    }
}

/// A protobuf message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, &value.0)
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// A protobuf message being read; what is absent is empty or zero.
struct Reader(Vec<u8>);

impl Reader {
    fn text(&self, field: u64) -> String {
        let value = self.fields().into_iter().find(|(f, _, _)| *f == field);
        value.map(|(_, _, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn number(&self, field: u64) -> u64 {
        self.fields().into_iter().find(|(f, _, _)| *f == field).map_or(0, |(_, number, _)| number)
    }

    fn message(&self, field: u64) -> Reader {
        self.messages(field).into_iter().next().unwrap_or(Reader(Vec::new()))
    }

    fn messages(&self, field: u64) -> Vec<Reader> {
        let of = |(f, _, bytes): (u64, u64, Vec<u8>)| (f == field).then_some(Reader(bytes));
        self.fields().into_iter().filter_map(of).collect()
    }

    /// Every field: its number, its value if it is a number, its bytes if it has some.
    fn fields(&self) -> Vec<(u64, u64, Vec<u8>)> {
        let mut rest = self.0.as_slice();
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = varint(&mut rest);
            match tag & 7 {
                0 => fields.push((tag >> 3, varint(&mut rest), Vec::new())),
                2 => {
                    let length = usize::try_from(varint(&mut rest)).expect("a length");
                    let (bytes, after) = rest.split_at(length);
                    fields.push((tag >> 3, 0, bytes.to_vec()));
                    rest = after;
                }
                kind => panic!("protobuf wire type {kind} is in no message used here"),
            }
        }
        fields
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().expect("a whole varint");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
