//! Writes at a fixed rate while many watch, and as fast as they go.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::client::{Client, Failed, Server};
use crate::quantile;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Writes a second, and watches, of the goal.
const RATE: u32 = 5000;
const WATCHES: usize = 100;
/// Connections that write.
const WRITERS: u32 = 32;
/// Of the watches, those that note when they learn of a write.
const NOTING: usize = 4;
const LASTING: Duration = Duration::from_secs(10);
/// How long the last events may take.
const REST: Duration = Duration::from_secs(20);

/// What watches have seen.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    /// Milliseconds from the moment a write was due to the moment a watch learned of it.
    latencies: Mutex<Vec<f64>>,
}

/// Milliseconds from the moment a write was due to its answer.
type Latencies = Vec<f64>;

/// Prints the rows of writes; `server` is its process.
pub(crate) async fn measure(server: &Server, process: u32) -> Result<(), Failed> {
    println!(
        "| {LASTING:?} of creates, updates and deletes of ConfigMaps | writes/s | answer p50 ms | p99 | event p50 ms | p99 | events seen | server, cores | its memory, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (watches, rate) in [(WATCHES, Some(RATE)), (WATCHES, None), (0, None), (1000, Some(500))] {
        round(server, process, watches, rate).await?;
    }
    Ok(())
}

async fn round(
    server: &Server,
    process: u32,
    watches: usize,
    rate: Option<u32>,
) -> Result<(), Failed> {
    let (seen, start) = (Arc::new(Seen::default()), Instant::now());
    let mut watching = Vec::new();
    for n in 0..watches {
        let mut client = server.connect().await?;
        let path =
            format!("{MAPS}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
        let answer = client.begin(Method::GET, &path, "application/json", String::new()).await?;
        if !answer.status().is_success() {
            return Err(format!("watch: {}", answer.status()).into());
        }
        let follow = follow(client, answer.into_body(), n < NOTING, start, seen.clone());
        watching.push(tokio::spawn(follow));
    }
    let (cpu, began) = (cpu_seconds(process)?, Instant::now());
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = Vec::new();
    for n in 0..WRITERS {
        let every = rate.map(|rate| Duration::from_secs(1) * WRITERS / rate);
        let writer = Writer { n, every, start, stop: stop.clone() };
        writing.push(tokio::spawn(writer.write(server.connect().await?)));
    }
    tokio::time::sleep(LASTING).await;
    stop.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for writer in writing {
        answers.extend(writer.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let used = (cpu_seconds(process)? - cpu) / took;
    let expected = (answers.len() * watches) as u64;
    let rest = Instant::now();
    while seen.events.load(Ordering::Relaxed) < expected && rest.elapsed() < REST {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    let events = seen.events.load(Ordering::Relaxed);
    let mut latencies =
        std::mem::take(&mut *seen.latencies.lock().map_err(|_| "a watch panicked")?);
    let wanted = rate.map_or("as many as go".to_owned(), |rate| format!("{rate}/s wanted"));
    let all = if events == expected { "all".to_owned() } else { format!("{events} of {expected}") };
    println!(
        "| {watches} watches, {wanted} | {:.0} | {} | {} | {} | {} | {all} | {used:.2} | {} |",
        answers.len() as f64 / took,
        shown(&mut answers, 0.5),
        shown(&mut answers, 0.99),
        shown(&mut latencies, 0.5),
        shown(&mut latencies, 0.99),
        resident_mib(process)?,
    );
    Ok(())
}

/// A client that writes objects of its own.
struct Writer {
    n: u32,
    /// How often; as fast as it goes, if not at all.
    every: Option<Duration>,
    start: Instant,
    stop: Arc<AtomicBool>,
}

impl Writer {
    /// Creates, updates and deletes one object after the other. Where writes are due at a time, their
    /// latency counts from then, whoever was late.
    async fn write(self, mut client: Client) -> Result<Latencies, Failed> {
        let mut latencies = Vec::new();
        let begin = Instant::now();
        for turn in 0_u32.. {
            if self.stop.load(Ordering::Relaxed) && turn % 3 == 0 {
                break;
            }
            let due = match self.every {
                Some(every) => begin + every * turn + every * self.n / WRITERS,
                None => Instant::now(),
            };
            tokio::time::sleep_until(due.into()).await;
            let sent = (due - self.start).as_micros().to_string();
            let name = format!("w{}-{}", self.n, turn / 3);
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "load"}},
                "data": {"sent": sent, "color": "blue", "size": "large"},
            });
            let (method, path, body) = match turn % 3 {
                0 => (Method::POST, MAPS.to_owned(), object.to_string()),
                1 => (Method::PUT, format!("{MAPS}/{name}"), object.to_string()),
                _ => (Method::DELETE, format!("{MAPS}/{name}"), String::new()),
            };
            client.ask(method, &path, "application/json", body).await?;
            latencies.push(milliseconds(due.elapsed()));
        }
        Ok(latencies)
    }
}

/// Counts the events of a watch; every line is one.
async fn follow(_client: Client, mut body: Incoming, notes: bool, start: Instant, seen: Arc<Seen>) {
    const SENT: &[u8] = b"\"sent\":\"";
    let mut text: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(piece) = frame.into_data() else { continue };
        let lines = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        seen.events.fetch_add(lines, Ordering::Relaxed);
        if !notes {
            continue;
        }
        let now = milliseconds(start.elapsed());
        text.extend_from_slice(&piece);
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let line: Vec<u8> = text.drain(..whole).collect();
        let mut latencies = Vec::new();
        for line in line.split(|byte| *byte == b'\n') {
            // What is deleted shows the time of its last change, not of its deletion.
            let Some(at) = line.windows(SENT.len()).position(|part| part == SENT) else { continue };
            if line.starts_with(b"{\"type\":\"DELETED\"") {
                continue;
            }
            let digits = line[at + SENT.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let sent = digits.fold(0.0, |sent, byte| sent * 10.0 + f64::from(byte - b'0'));
            latencies.push(now - sent / 1000.0);
        }
        if let Ok(mut all) = seen.latencies.lock() {
            all.append(&mut latencies);
        }
    }
}

/// A quantile of what may be nothing at all.
fn shown(values: &mut [f64], share: f64) -> String {
    if values.is_empty() { String::new() } else { format!("{:.1}", quantile(values, share)) }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Processor time of a process until now, in seconds.
fn cpu_seconds(process: u32) -> Result<f64, Failed> {
    // Ticks of 10 ms, on every Linux of today.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    Ok(f64::from(ticks.sum::<u32>()) / 100.0)
}

fn resident_mib(process: u32) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().next().unwrap_or("0").parse::<u64>()? / 1024)
}
