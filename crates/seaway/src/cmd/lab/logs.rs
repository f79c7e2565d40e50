//! `seaway lab logs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use lab::directory::Directory;
use lab::lab::Lab;
use lab::node::ContainerOf;

use super::print;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A node or a pod; the lab's own log when left out.
    of: Option<String>,
    /// Namespace of the pod.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Name of the container; the pod's first when left out.
    #[arg(short, long)]
    container: Option<String>,
}

/// Logs of a lab that has died can still be read, as long as its directory is there.
pub(super) fn run(directory: &Directory, args: Args) -> anyhow::Result<ExitCode> {
    let Args { of, namespace, container } = args;
    let Some(of) = of else {
        print(&read(&directory.supervisor_log())?);
        return Ok(ExitCode::SUCCESS);
    };
    let node = directory.node(&of);
    if namespace.is_none() && container.is_none() && node.path().exists() {
        for path in [node.log(), node.agent_log()] {
            print(&format!("==> {} <==\n{}\n", path.display(), read(&path)?));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let lab = Lab::open(&directory.name().parse()?)?;
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let path = lab.log_of(&ContainerOf { namespace, pod: of, container })?;
    print(&messages(&read(&path)?));
    Ok(ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", Path::display(path)))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the container wrote, without time, stream and tag; a line tagged `P` goes on in the next.
///
/// Source: CRI log format, `2016-10-06T00:17:09.669794202Z stdout F message`.
fn messages(log: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut parts = line.splitn(4, ' ').skip(2);
        let (tag, message) = (parts.next().unwrap_or("F"), parts.next().unwrap_or_default());
        text.push_str(message);
        if tag != "P" {
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_container_wrote_is_printed() {
        let log = "T stdout F one  two\nT stderr P half\nT stderr F , whole\nT stdout F \n";
        assert_eq!(messages(log), "one  two\nhalf, whole\n\n");
    }
}
