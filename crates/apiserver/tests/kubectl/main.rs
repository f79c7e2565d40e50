//! The installed `kubectl` works against the server as against a cluster.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use seaway_apiserver::{Admission, Options, Server};
use tokio::sync::oneshot;

mod access;
mod admission;
mod changes;
mod custom;
mod kinds;
mod objects;
mod owners;
mod pods;
mod released;
mod subresources;

/// A server with a kubeconfig on disk, stopped and removed when dropped.
struct Cluster {
    directory: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Cluster {
    fn start() -> Self {
        Self::with(Vec::new())
    }

    fn with(admission: Vec<Box<dyn Admission>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server =
            Server::new(Options { listeners: vec![listener], admission, ..Options::default() })
                .unwrap();
        let unique = url.rsplit(':').next().unwrap().to_owned();
        let directory =
            std::env::temp_dir().join(format!("seaway-apiserver-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("kubeconfig"), server.kubeconfig(&url)).unwrap();
        let (certificate, key) = server.client_certificate("jane", "dev").unwrap();
        std::fs::write(directory.join("jane.crt"), certificate).unwrap();
        std::fs::write(directory.join("jane.key"), key).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let done = async { drop(stopped.await) };
            runtime.unwrap().block_on(server.run(done)).unwrap();
        });
        Self { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(words(arguments))
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .env("HOME", &self.directory);
        command
    }

    fn run(&self, arguments: &str, input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().expect("kubectl is not installed: run `cargo xtask install`");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What kubectl prints, given `input`; it must succeed.
    fn kubectl_with(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}:\n{out}{err}");
        out
    }

    fn kubectl(&self, arguments: &str) -> String {
        self.kubectl_with(arguments, "")
    }

    /// What kubectl complains about; it must fail.
    fn refused(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "kubectl {arguments}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// Splits at spaces; single quotes hold words together.
fn words(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in arguments.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rows of a table, their cells parted by single spaces.
fn rows(table: &str) -> Vec<String> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
