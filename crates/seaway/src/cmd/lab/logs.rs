//! `seaway lab logs`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use lab::directory::Directory;
use lab::lab::Lab;
use lab::node::ContainerOf;

use super::print;

/// Time between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(200);

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
    /// Go on with what is written from now on, also by a container that is started again, until the
    /// pod or the lab is gone.
    #[arg(short, long)]
    follow: bool,
}

/// Logs of a lab that has died can still be read, as long as its directory is there.
pub(super) fn run(directory: &Directory, args: Args) -> anyhow::Result<ExitCode> {
    let Args { of, namespace, container, follow } = args;
    let Some(of) = of else {
        return show(|| Ok(vec![directory.supervisor_log()]), str::to_owned, follow);
    };
    let node = directory.node(&of);
    if namespace.is_none() && container.is_none() && node.path().exists() {
        return show(|| Ok(vec![node.log(), node.agent_log()]), str::to_owned, follow);
    }
    let lab = Lab::open(&directory.name().parse()?)?;
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let of = ContainerOf { namespace, pod: of, container };
    show(|| Ok(vec![lab.log_of(&of)?]), messages, follow)
}

/// Prints the logs that `paths` names, as `shown`, under their names when they are several. Then, if
/// it is to `follow`, what is added to them and to those named later, for as long as they are there.
fn show(
    paths: impl Fn() -> anyhow::Result<Vec<PathBuf>>,
    shown: impl Fn(&str) -> String,
    follow: bool,
) -> anyhow::Result<ExitCode> {
    let mut logs = open(&paths()?)?;
    let has_names = logs.len() > 1;
    let mut last = None;
    loop {
        for (n, log) in logs.iter_mut().enumerate() {
            let text = log.more(follow)?;
            if text.is_empty() && follow {
                continue;
            }
            if has_names && last != Some(n) {
                print(&format!("==> {} <==\n", log.path.display()));
            }
            print(&shown(&text));
            last = Some(n);
        }
        if !follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
        // A pod, a node or a lab that is gone has no log: there is nothing left to follow.
        let Ok(fresh) = paths().and_then(|paths| open(&paths)) else {
            return Ok(ExitCode::SUCCESS);
        };
        for (log, fresh) in logs.iter_mut().zip(fresh).filter(|(log, fresh)| log.id != fresh.id) {
            print(&shown(&log.more(false)?));
            *log = fresh;
        }
    }
}

/// A log that is being read.
struct Log {
    path: PathBuf,
    file: File,
    /// Device and inode: a log that was put aside, and one of another run, is another file.
    id: (u64, u64),
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

fn open(paths: &[PathBuf]) -> anyhow::Result<Vec<Log>> {
    let open = |path: &PathBuf| -> std::io::Result<Log> {
        let file = File::open(path)?;
        let stat = file.metadata()?;
        Ok(Log { path: path.clone(), file, id: (stat.dev(), stat.ino()), rest: Vec::new() })
    };
    let named = |path| open(path).with_context(|| format!("read {}", Path::display(path)));
    paths.iter().map(named).collect()
}

impl Log {
    /// What was added since it was last asked; only whole lines of one that still `grows`.
    fn more(&mut self, grows: bool) -> anyhow::Result<String> {
        let mut bytes = std::mem::take(&mut self.rest);
        let read = self.file.read_to_end(&mut bytes);
        read.with_context(|| format!("read {}", self.path.display()))?;
        if grows {
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            self.rest = bytes.split_off(whole);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
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
