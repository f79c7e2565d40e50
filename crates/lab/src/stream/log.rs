//! What a container has written, and goes on writing.
//!
//! Source: kubelet `validateContainerLogStatus`; k8s.io/cri-client `logs.ReadLogs`. As there, a log
//! that was put aside because of its size isn't shown.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

use super::Body;
use super::asked::Asked;
use super::refusal::Refusal;
use crate::pod::status::State;
use crate::pod::{Runner, Seen};

/// Time between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(100);
/// How many lines may be under way to a slow client.
const UNDER_WAY: usize = 16;

/// How a log is to be shown (`core/v1 PodLogOptions`).
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    since: Option<Timestamp>,
    tail: Option<u64>,
    limit: Option<u64>,
    /// The one of both outputs that is wanted.
    only: Option<&'static str>,
}

impl Options {
    fn of(asked: &Asked) -> Result<Self, Refusal> {
        let seconds = asked.number("sinceSeconds")?.map(i64::try_from).transpose();
        let seconds = seconds.map_err(|error| bad("sinceSeconds", &error))?;
        let time = asked.text("sinceTime").map(str::parse::<Timestamp>).transpose();
        let time = time.map_err(|error| bad("sinceTime", &error))?;
        let ago = |seconds| Timestamp::now().checked_sub(SignedDuration::from_secs(seconds));
        let only = match asked.text("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some("stdout"),
            Some("Stderr") => Some("stderr"),
            Some(other) => {
                return Err(Refusal::bad_request(format!("invalid stream type {other:?}")));
            }
        };
        Ok(Self {
            follow: asked.flag("follow"),
            previous: asked.flag("previous"),
            timestamps: asked.flag("timestamps"),
            // Longer ago than time goes back is: always.
            since: time.or(seconds.and_then(|seconds| ago(seconds).ok())),
            tail: asked.number("tailLines")?,
            limit: asked.number("limitBytes")?,
            only,
        })
    }
}

fn bad(name: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("{name}: {error}"))
}

/// Answers a request for a log.
///
/// # Errors
/// There is no such container here, or it has no log to show.
pub(super) async fn answer(asked: &Asked, pods: Arc<Runner>) -> Result<Response<Body>, Refusal> {
    let options = Options::of(asked)?;
    let Asked { namespace, pod, container, .. } = asked;
    let gone = |_| Refusal::not_found(format!("pod {pod:?} does not exist"));
    let (_, present) = pods.see(namespace, pod).await.map_err(gone)?;
    let seen = present.containers.iter().find(|seen| seen.found.container == *container);
    let seen = seen.ok_or_else(|| {
        Refusal::bad_request(format!("container {container:?} in pod {pod:?} is not available"))
    })?;
    let path = log_of(seen, pod, options.previous).map_err(Refusal::bad_request)?;
    let file = open(&path, options.tail).await.map_err(|error| {
        let path = path.display();
        Refusal::bad_request(format!("failed to open log file {path}: {error}"))
    })?;
    let (lines, sent) = mpsc::channel(UNDER_WAY);
    let run = Run { pods, asked: (namespace.clone(), pod.clone(), container.clone()), path };
    let shown = Shown { lines, left: options.limit, begins: true, options };
    let copying = copy(file, run, shown);
    let state = (sent, Box::pin(copying), false);
    // The log is read as fast as it is taken, by the task that sends it.
    let frames =
        futures_util::stream::unfold(state, |(mut sent, mut copying, mut over)| async move {
            loop {
                tokio::select! {
                    biased;
                    line = sent.recv() => {
                        return line.map(|line| (Ok(Frame::data(line)), (sent, copying, over)));
                    }
                    read = &mut copying, if !over => {
                        over = true;
                        if let Err(error) = read {
                            return Some((Err(error), (sent, copying, over)));
                        }
                    }
                }
            }
        });
    Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
}

/// Which file has the log that is meant, or why there is none.
fn log_of(seen: &Seen, pod: &str, previous: bool) -> Result<PathBuf, String> {
    let (name, newest) = (&seen.found.container, &seen.found.log);
    let of = format!("container {name:?} in pod {pod:?}");
    match (&seen.state, &seen.last) {
        (_, None) if previous => {
            Err(format!("previous terminated container {name:?} in pod {pod:?} not found"))
        }
        // The newest run has ended, and the next one has not begun.
        (State::Waiting { .. }, Some(_)) => Ok(newest.clone()),
        (State::Running { .. } | State::Ended(_), _) if !previous => Ok(newest.clone()),
        (State::Running { .. } | State::Ended(_), _) => {
            let number = newest.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            let before = number.and_then(|number| number.checked_sub(1));
            let before = before.ok_or_else(|| format!("{of} has no earlier log"))?;
            Ok(newest.with_file_name(format!("{before}.log")))
        }
        (State::Waiting { reason, .. }, None) => Err(match reason.as_str() {
            "ErrImagePull" => format!("{of} is waiting to start: image can't be pulled"),
            "ImagePullBackOff" => {
                format!("{of} is waiting to start: trying and failing to pull image")
            }
            reason => format!("{of} is waiting to start: {reason}"),
        }),
    }
}

/// Opens a log at the beginning of its last `tail` lines.
async fn open(path: &Path, tail: Option<u64>) -> io::Result<File> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let start = match tail {
            None => 0,
            Some(lines) => start_of_last(&mut file, lines)?,
        };
        file.seek(SeekFrom::Start(start))?;
        Ok(File::from_std(file))
    });
    opened.await.map_err(io::Error::other)?
}

/// Where the last `lines` lines of `file` begin.
fn start_of_last(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut found = 0;
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        Read::by_ref(file).take(end - begin).read_to_end(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                if found == lines {
                    return Ok(begin + at as u64 + 1);
                }
                found += 1;
            }
        }
        end = begin;
    }
    Ok(0)
}

/// One run of a container, to learn when it ends.
struct Run {
    pods: Arc<Runner>,
    asked: (String, String, String),
    path: PathBuf,
}

impl Run {
    /// Whether it may still write to its log.
    async fn goes_on(&self) -> bool {
        let (namespace, pod, container) = &self.asked;
        let found = self.pods.find(namespace, pod, Some(container)).await;
        found.is_ok_and(|found| found.log == self.path && found.process.is_some())
    }

    /// The file at its log's path, if that is not `file` any more: what it was has been put aside.
    async fn reopened(&self, file: &File) -> io::Result<Option<File>> {
        let old = file.metadata().await?;
        let Ok(new) = File::open(&self.path).await else { return Ok(None) };
        let found = new.metadata().await?;
        let is_same = (found.dev(), found.ino()) == (old.dev(), old.ino());
        Ok((!is_same).then_some(new))
    }
}

/// Sends a log from its place in `file` to whoever asked, for as long as it is wanted.
async fn copy(file: File, run: Run, mut shown: Shown) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut entry = Vec::new();
    loop {
        // Asked before the end is seen, so that nothing is written between.
        let last = !shown.options.follow || !run.goes_on().await;
        while reader.read_until(b'\n', &mut entry).await? > 0 {
            if entry.last() != Some(&b'\n') && !last {
                break;
            }
            if !shown.show(&entry).await {
                return Ok(());
            }
            entry.clear();
        }
        if last {
            return Ok(());
        }
        if let Some(fresh) = run.reopened(reader.get_ref()).await? {
            reader = BufReader::with_capacity(64 * 1024, fresh);
            entry.clear();
            continue;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Who sees the log, and how much more of it.
struct Shown {
    lines: mpsc::Sender<Bytes>,
    options: Options,
    left: Option<u64>,
    /// Whether the next entry begins a line.
    begins: bool,
}

impl Shown {
    /// Shows one entry as far as it is wanted; whether more is.
    async fn show(&mut self, entry: &[u8]) -> bool {
        let Some(entry) = Entry::parse(entry) else { return true };
        if self.options.since.is_some_and(|since| entry.time() < since) {
            return true;
        }
        if self.options.only.is_some_and(|only| only.as_bytes() != entry.stream) {
            return true;
        }
        let mut line = Vec::new();
        if self.options.timestamps && self.begins {
            line.extend_from_slice(entry.time);
            line.push(b' ');
        }
        line.extend_from_slice(entry.text);
        if entry.is_whole {
            line.push(b'\n');
        }
        self.begins = entry.is_whole;
        if let Some(left) = &mut self.left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            line.truncate(most);
            *left -= line.len() as u64;
        }
        self.lines.send(line.into()).await.is_ok() && self.left != Some(0)
    }
}

/// One entry of a log: `<time> <stream> <F or P> <text>`.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    /// Whether the line ends here.
    is_whole: bool,
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(entry: &'a [u8]) -> Option<Self> {
        let entry = entry.strip_suffix(b"\n").unwrap_or(entry);
        let mut parts = entry.splitn(4, |byte| *byte == b' ');
        let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = tag.first() != Some(&b'P');
        Some(Self { time, stream, is_whole, text: parts.next().unwrap_or_default() })
    }

    /// When it was written; what isn't a time is now.
    fn time(&self) -> Timestamp {
        let time = std::str::from_utf8(self.time).ok().and_then(|time| time.parse().ok());
        time.unwrap_or_else(Timestamp::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        2026-01-01T00:00:01.000000001Z stdout F one\n\
        2026-01-01T00:00:02.000000002Z stderr P tw\n\
        2026-01-01T00:00:02.000000003Z stderr F o\n\
        2026-01-01T00:00:03.000000004Z stdout F \n\
        2026-01-01T00:00:04.000000005Z stdout P end";

    async fn shown(options: Options) -> String {
        let (lines, mut sent) = mpsc::channel(100);
        let mut shown = Shown { lines, left: options.limit, begins: true, options };
        let tail = shown.options.tail;
        let start = tail.map_or(0, |n| start_of_last(&mut io::Cursor::new(LOG), n).unwrap());
        for entry in LOG[usize::try_from(start).unwrap()..].split_inclusive('\n') {
            if !shown.show(entry.as_bytes()).await {
                break;
            }
        }
        drop(shown);
        let mut text = String::new();
        while let Some(line) = sent.recv().await {
            text.push_str(std::str::from_utf8(&line).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn options_choose_what_is_shown_of_a_log() {
        let whole = || Options::default();
        let cases = [
            (whole(), "one\ntwo\n\nend"),
            (Options { limit: Some(5), ..whole() }, "one\nt"),
            (Options { tail: Some(1), ..whole() }, "\nend"),
            (Options { tail: Some(100), ..whole() }, "one\ntwo\n\nend"),
            (Options { only: Some("stderr"), ..whole() }, "two\n"),
            (Options { since: "2026-01-01T00:00:03Z".parse().ok(), ..whole() }, "\nend"),
            (
                Options { timestamps: true, only: Some("stderr"), ..whole() },
                "2026-01-01T00:00:02.000000002Z two\n",
            ),
        ];
        for (options, expected) in cases {
            let options_text = format!("{options:?}");
            assert_eq!(shown(options).await, expected, "{options_text}");
        }
    }
}
