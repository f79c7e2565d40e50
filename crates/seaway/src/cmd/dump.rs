//! `seaway dump`: what a node holds, asked from its agent.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent::admin::dumps;
use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use super::cluster::Output;

/// The agent answers within its own limit of 15 s.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to print: a table of the kernel (links, addrs, pods, sysctls, neighbors, proxies, fdb, routes, rules,
    /// nft, flows, listeners), or what the agent knows (ipam, attachments, peers, services, policy, drops, dns, rejected, plan, report), or all of it.
    #[arg(value_parser = PossibleValuesParser::new(dumps().chain(["all"])), hide_possible_values = true)]
    what: String,
    /// With services: the one to explain, as NAMESPACE/NAME or NAME in namespace default. Shows every
    /// endpoint a packet from here may go to, and why it may not go to the others. With policy: a pod of this
    /// node, in the same way; what isolates it, whom its rules mean, and how many packets they have met: those of all
    /// pods that share them. With dns: a name or an address to ask for.
    name: Option<String>,
    /// Directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
    /// Form of the output: text or json. What is no table of fields has its lines in json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let socket = args.run_dir.join("agent.sock");
    if let Some(name) = &args.name {
        if !["services", "policy", "dns"].contains(&args.what.as_str()) {
            bail!("{} has no part called {name:?}; services, policy and dns have", args.what);
        }
        super::print(&ask(&socket, &format!("{}/{name}", args.what), args.output)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.what != "all" {
        super::print(&ask(&socket, &args.what, args.output)?);
        return Ok(ExitCode::SUCCESS);
    }
    let all = dumps().filter(|what| *what != "plan");
    match args.output {
        Output::Text => {
            for what in all {
                super::print(&format!("# {what}\n{}\n", ask_text(&socket, what)?));
            }
        }
        Output::Json => {
            let named = |what: &str| Ok((what.to_owned(), ask_json(&socket, what)?));
            let all = all.map(named).collect::<anyhow::Result<Map<String, Value>>>()?;
            super::print(&format!("{:#}\n", Value::Object(all)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the agent at `socket` has under this name, as text.
pub(super) fn ask_text(socket: &Path, what: &str) -> anyhow::Result<String> {
    ask(socket, what, Output::Text)
}

/// The same, as a program wants it.
pub(super) fn ask_json(socket: &Path, what: &str) -> anyhow::Result<Value> {
    let text = ask(socket, what, Output::Json)?;
    serde_json::from_str(&text).with_context(|| format!("read the agent's answer about {what}"))
}

fn ask(socket: &Path, what: &str, output: Output) -> anyhow::Result<String> {
    let query = if output == Output::Json { "?o=json" } else { "" };
    let (status, body) = get(socket, &format!("/dump/{what}{query}"))
        .with_context(|| format!("ask the agent at {}; is it running?", socket.display()))?;
    match status {
        200 => Ok(body),
        404 if what.contains('/') => bail!("{}", body.trim_end()),
        status => bail!("the agent answered {status}: {}", body.trim_end()),
    }
}

/// One HTTP/1.0 exchange: status and body.
pub(super) fn get(socket: &Path, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("the answer is not HTTP")?, body.to_owned()))
}
