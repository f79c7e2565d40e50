//! Ports of pods, forwarded by kubectl: over WebSocket where it knows how, and over SPDY.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("forwarded_ports_carry_many_connections_and_every_byte", carry),
        test("a_forwarded_port_that_nobody_listens_on_says_so", nobody),
        test("a_client_that_goes_away_leaves_no_connection_in_the_pod", abort),
        test("files_are_copied_into_containers_and_out_of_them", copying),
    ]
}

/// What makes kubectl speak WebSocket, if it can, and SPDY.
const PROTOCOLS: [&str; 2] = ["true", "false"];

/// A lab with a pod `web` that echoes on TCP port 9090.
fn lab() -> Lab {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&manifests::pod("web", "", "seaway/echo"));
    success(&lab.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"]))
        .expect("the pod is ready");
    lab
}

/// A running `kubectl port-forward`.
struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    fn start(lab: &Lab, to: &str, websockets: &str) -> Self {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(lab.dir().join("kubeconfig"));
        command.args(["port-forward", "pod/web", &format!(":{to}")]);
        command.env("HOME", lab.dir()).env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start kubectl (cargo xtask install)");
        let mut lines = BufReader::new(child.stdout.as_mut().expect("it is piped")).lines();
        // Forwarding from 127.0.0.1:45678 -> 9090
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        let port = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("kubectl port-forward: {line:?}"));
        Self { child, port }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("connect to the forwarded port")
    }

    /// What kubectl has said as errors so far; it is ended then.
    fn errors(mut self) -> String {
        self.child.kill().expect("end kubectl");
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut said).expect("read what kubectl says");
        said
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Fails only if it has ended.
        drop(self.child.kill());
        self.child.wait().expect("wait for kubectl");
    }
}

/// Sends `bytes` through, says that this was all, and gives what comes back until the end: the pod's
/// greeting, and the bytes.
fn echo(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().expect("copy a socket");
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).expect("write to the forwarded port");
            writer.shutdown(Shutdown::Write).expect("close one half");
        });
        stream.read_to_end(&mut back).expect("read from the forwarded port");
    });
    back
}

fn carry() {
    let lab = lab();
    let big: Vec<u8> = (0..100_000_000_u32).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    for websockets in PROTOCOLS {
        let forward = Forward::start(&lab, "9090", websockets);
        std::thread::scope(|scope| {
            for client in 0..20_u8 {
                let stream = forward.connect();
                scope.spawn(move || {
                    let own = vec![client; 100_000];
                    assert!(
                        echo(stream, &own).ends_with(&own),
                        "client {client} got something else"
                    );
                });
            }
        });
        assert!(echo(forward.connect(), &big).ends_with(&big), "100 MB came back changed");
    }
}

fn nobody() {
    let lab = lab();
    for websockets in PROTOCOLS {
        let forward = Forward::start(&lab, "81", websockets);
        assert_eq!(echo(forward.connect(), b""), b"");
        let said = forward.errors();
        let wanted =
            "error forwarding port 81 to pod default/web: failed to connect to localhost:81";
        assert!(said.contains(wanted), "{said}");
    }
}

fn abort() {
    let lab = lab();
    let open = || {
        // Connections of the port, 9090, that are established, by either family.
        let count =
            "cat /proc/net/tcp /proc/net/tcp6 | awk '$2 ~ /:2382$/ && $4 == \"01\"' | wc -l";
        text(&lab.kubectl(&["exec", "web", "--", "sh", "-c", count]))
    };
    for websockets in PROTOCOLS {
        let forward = Forward::start(&lab, "9090", websockets);
        let mut streams: Vec<TcpStream> = (0..3).map(|_| forward.connect()).collect();
        for stream in &mut streams {
            stream.write_all(b"x").expect("write to the forwarded port");
            stream.read_exact(&mut [0]).expect("read from the forwarded port");
        }
        assert_eq!(open(), "3");
        streams.pop();
        eventually("one client has gone", || if open() == "2" { Ok(()) } else { Err(open()) });
        drop(forward);
        eventually("all have gone", || if open() == "0" { Ok(()) } else { Err(open()) });
    }
}

/// With tar, as `kubectl cp` does it.
fn copying() {
    let lab = lab();
    let there = lab.dir().join("there.bin");
    let back = lab.dir().join("back.bin");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 253).unwrap_or(0)).collect();
    std::fs::write(&there, &bytes).expect("write a file");
    let path = |path: &std::path::Path| path.display().to_string();
    success(&lab.kubectl(&["cp", &path(&there), "web:/tmp/copy.bin"])).expect("kubectl cp, there");
    success(&lab.kubectl(&["cp", "web:/tmp/copy.bin", &path(&back)])).expect("kubectl cp, back");
    assert!(std::fs::read(&back).expect("read the copy") == bytes, "it came back changed");
}
