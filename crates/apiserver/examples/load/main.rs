//! Measures the API server under load: run by `cargo xtask bench api`. The server is a process of
//! its own, this one again with an argument; clients speak HTTP/1.1 over TLS, as anybody's would.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod client;
mod lists;
mod writes;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use client::{Failed, Server};
use seaway_apiserver::Options;
use serde_json::{Value, json};

/// The argument of the process that serves, before the state directory if there is one.
const SERVE: &str = "serve";

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    if arguments.next().as_deref() == Some(SERVE) {
        return runtime.block_on(serve(arguments.next().map(PathBuf::from)));
    }
    for (title, state) in [("in memory", None), ("on disk", Some(scratch()))] {
        let process = Process::start(state.as_deref())?;
        let measured = runtime.block_on(async {
            println!("\n### Objects {title}\n");
            writes::measure(&process.server, process.child.id()).await?;
            println!();
            lists::measure(&process.server).await
        });
        drop(process);
        if let Some(directory) = state {
            std::fs::remove_dir_all(directory)?;
        }
        measured?;
    }
    Ok(())
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("seaway-bench-api-{}", std::process::id()))
}

/// Serves until it is killed, as the supervisor of a lab does.
async fn serve(state_dir: Option<PathBuf>) -> Result<(), Failed> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let options = Options { listeners: vec![listener], state_dir, ..Options::default() };
    let server = seaway_apiserver::Server::new(options)?;
    println!("{}", json!([address.to_string(), server.token(), server.ca_pem()]));
    Ok(server.run(std::future::pending()).await?)
}

/// The server's process, and how to reach it.
struct Process {
    child: Child,
    server: Server,
}

impl Process {
    fn start(state: Option<&Path>) -> Result<Self, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).args(state).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line)?;
        let text = |n: usize| said[n].as_str().unwrap_or_default();
        let server = Server::new(text(0).parse()?, text(1), text(2))?;
        Ok(Self { child, server })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then the measurement has failed for a better reason.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The value that `share` (0 to 1) of the values do not exceed.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "there are no 2^52 samples")]
    let at = (values.len() as f64 * share).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the length"
    )]
    let at = (at as usize).clamp(1, values.len().max(1)) - 1;
    values.get(at).copied().unwrap_or(f64::NAN)
}
