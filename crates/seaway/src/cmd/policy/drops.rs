//! `seaway policy drops`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::super::{dump, print, talk};
use super::{NAMESPACE, Output, pod_name};

/// How often it is looked for more.
const ROUND: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only what this pod, NAME or NAMESPACE/NAME, sent or was to get.
    #[arg(long)]
    pod: Option<String>,
    /// Only what pods of this namespace did; that of the pod, if one is given.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Go on, and print what is dropped from now on as it happens: a line again, with its packets so far, for
    /// each second in which there were more. Goes on when the agent does.
    #[arg(short, long)]
    follow: bool,
    /// How to print it: as lines, each of them one object with json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    /// Directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let socket = args.run_dir.join("agent.sock");
    let mut lines = read(&socket)?;
    let mut seen = Seen::default();
    loop {
        for line in seen.news(&lines).into_iter().filter(|line| args.is_asked_for(line)) {
            match args.output {
                Output::Text => print(&format!("{}\n", line["text"].as_str().unwrap_or_default())),
                Output::Json => print(&format!("{line}\n")),
            }
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(ROUND);
        lines = read_when_it_answers(&socket);
    }
}

/// Says once that the agent does not answer, and waits until one does.
fn read_when_it_answers(socket: &Path) -> Vec<Value> {
    let mut is_told = false;
    loop {
        match read(socket) {
            Ok(lines) => return lines,
            Err(error) => {
                if !is_told {
                    talk(&format!("seaway: {error:#}; it is tried again every second"));
                    is_told = true;
                }
                std::thread::sleep(ROUND);
            }
        }
    }
}

/// The lines that an agent had last, and how many packets each was of. Another agent's lines have the
/// same numbers, but began at other times.
#[derive(Default)]
struct Seen(BTreeMap<(u64, String), u64>);

impl Seen {
    /// The lines that are new, and those that are of more packets than before.
    fn news<'a>(&mut self, lines: &'a [Value]) -> Vec<&'a Value> {
        let number = |line: &Value, field: &str| line[field].as_u64().unwrap_or_default();
        let of = |line: &Value| {
            let began = line["time"].as_str().unwrap_or_default().to_owned();
            ((number(line, "number"), began), number(line, "packets"))
        };
        let now: BTreeMap<_, _> = lines.iter().map(of).collect();
        let is_news = |line: &&Value| {
            let (which, packets) = of(line);
            self.0.get(&which) != Some(&packets)
        };
        let news = lines.iter().filter(is_news).collect();
        self.0 = now;
        news
    }
}

fn read(socket: &Path) -> anyhow::Result<Vec<Value>> {
    let lines = dump::ask_json(socket, "drops")?;
    lines.as_array().cloned().context("the agent's answer is no list")
}

impl Args {
    fn is_asked_for(&self, line: &Value) -> bool {
        let pods = ["client", "server"].map(|end| line[end]["pod"].as_str().unwrap_or_default());
        let namespace = self.namespace.as_deref();
        match (&self.pod, namespace) {
            (Some(pod), _) => {
                let wanted = pod_name(pod, namespace.unwrap_or(NAMESPACE)).to_string();
                pods.contains(&wanted.as_str())
            }
            (None, Some(namespace)) => {
                pods.iter().any(|pod| pod.split_once('/').is_some_and(|(of, _)| of == namespace))
            }
            (None, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn npx4_what_is_followed_is_told_again_when_it_grows_and_whichever_agent_tells_it() {
        let line = |number: u64, time: &str, packets: u64| json!({"number": number, "time": time, "packets": packets});
        let mut seen = Seen::default();
        let mut check = |lines: &[(u64, &str, u64)], news: &[usize]| {
            let lines: Vec<Value> = lines.iter().map(|(n, t, p)| line(*n, t, *p)).collect();
            let want: Vec<&Value> = news.iter().map(|i| &lines[*i]).collect();
            assert_eq!(seen.news(&lines), want);
        };
        check(&[(0, "a", 1), (1, "b", 1)], &[0, 1]);
        check(&[(0, "a", 1), (1, "b", 1)], &[]);
        check(&[(0, "a", 3), (1, "b", 1), (2, "c", 1)], &[0, 2]);
        check(&[(1, "b", 2), (2, "c", 1)], &[0]);
        check(&[], &[]);
        // The next agent begins at 0, and may have as many lines already.
        check(&[(0, "d", 1), (1, "e", 2), (2, "f", 1)], &[0, 1, 2]);
    }
}
