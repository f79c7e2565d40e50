//! What is on disk survives what can happen to a process and to a disk.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use super::super::{Change, Mark, Store, Unsettled};
use super::*;

const MEMORY: Memory = Memory { events: 1 << 20, bytes: usize::MAX, total: usize::MAX };

/// A directory of its own, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("seaway-apiserver-state-{}-{next}", std::process::id());
        Self(std::env::temp_dir().join(path))
    }

    /// Another test that starts a process holds all locks of this one for a moment.
    fn open(&self) -> Result<Store, StateError> {
        for _ in 0..1000 {
            match Store::open(&self.0, MEMORY) {
                Err(StateError::InUse(_)) => std::thread::sleep(Duration::from_millis(5)),
                opened => return opened,
            }
        }
        Store::open(&self.0, MEMORY)
    }

    fn file(&self) -> PathBuf {
        self.0.join("objects")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn shelf() -> Shelf {
    "pods".into()
}

/// The `n`th of a row of writes: of five names, one is created, changed twice and removed in turn.
fn write(store: &Store, n: u64) {
    let key = Key::new("shop", &format!("pod-{}", n % 5));
    let read = store.get(&shelf(), &key).map(|object| object.version);
    let value = json!({"metadata": {"uid": format!("u{n}")}, "n": n, "text": "é\n\"".repeat(3)});
    let written = match (read, n / 5 % 4) {
        (None, _) => store.create(&shelf(), key, value),
        (Some(read), 3) => store.remove(&shelf(), key, read),
        (Some(read), _) => store.replace(&shelf(), key, read, value),
    };
    written.unwrap();
}

/// Waits until what was written is on disk.
fn settle(store: &Store) -> Result<(), Unsettled> {
    settle_since(store, store.mark())
}

fn settle_since(store: &Store, mark: Mark) -> Result<(), Unsettled> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.settle(mark))
}

type State = BTreeMap<String, String>;

/// Everything a store shows: its version and its objects.
fn state(store: &Store) -> (u64, State) {
    let snapshot = store.snapshot(&shelf(), None, None).unwrap();
    let pair = |(key, object): (Key, Arc<Object>)| (key.name, object.value.to_string());
    (snapshot.version, snapshot.objects.into_iter().map(pair).collect())
}

/// The states after 0 to `count` writes, by version.
fn states(count: u64) -> BTreeMap<u64, State> {
    let store = Store::new(MEMORY);
    let mut states = BTreeMap::from([state(&store)]);
    for n in 0..count {
        write(&store, n);
        states.insert(state(&store).0, state(&store).1);
    }
    states
}

#[test]
fn what_was_written_is_there_again_and_watches_go_on() {
    let scratch = Scratch::new();
    let store = scratch.open().unwrap();
    (0..40).for_each(|n| write(&store, n));
    let middle = 12;
    settle(&store).unwrap();
    let before = state(&store);
    drop(store);
    let store = scratch.open().unwrap();
    assert_eq!(state(&store), before);
    assert_eq!(before.1, states(40)[&before.0]);
    let mut cursor = store.cursor(&shelf(), middle);
    let events = store.read(&mut cursor, 1000, usize::MAX).unwrap();
    let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
    assert_eq!(versions, (middle + 1..=before.0).collect::<Vec<_>>());
    assert!(events.iter().any(|event| event.change == Change::Deleted));
    write(&store, 40);
    settle(&store).unwrap();
    assert_eq!(store.version(), before.0 + 1);
}

#[test]
fn a_file_that_is_written_anew_says_the_same() {
    let scratch = Scratch::new();
    let store = scratch.open().unwrap();
    (0..33).for_each(|n| write(&store, n));
    settle(&store).unwrap();
    let before = state(&store);
    drop(store);
    let (mut log, shelves) = Log::open(&scratch.0, MEMORY).unwrap();
    let objects: Vec<_> = shelves.get(&shelf()).unwrap().objects.iter().collect();
    let objects: Vec<_> =
        objects.into_iter().map(|(key, object)| (shelf(), key.clone(), object.clone())).collect();
    log.rewrite(shelves.version, &objects).unwrap();
    drop(log);
    let store = scratch.open().unwrap();
    assert_eq!(state(&store), before);
    // What was before the snapshot is forgotten, and what comes after it is not.
    let mut cursor = store.cursor(&shelf(), before.0 - 1);
    assert!(store.read(&mut cursor, 1, usize::MAX).is_err());
    let mut cursor = store.cursor(&shelf(), before.0);
    write(&store, 33);
    settle(&store).unwrap();
    assert_eq!(store.read(&mut cursor, 9, usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_file_torn_at_any_byte_is_the_state_of_some_moment() {
    let scratch = Scratch::new();
    let store = scratch.open().unwrap();
    let states = states(12);
    for n in 0..12 {
        write(&store, n);
        settle(&store).unwrap();
    }
    drop(store);
    let whole = std::fs::read(scratch.file()).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut versions = Vec::new();
    for len in header..=whole.len() {
        std::fs::write(scratch.file(), &whole[..len]).unwrap();
        let store = scratch.open().unwrap_or_else(|error| panic!("{len}: {error}"));
        let (version, objects) = state(&store);
        assert_eq!(objects, states[&version], "cut to {len} bytes");
        versions.push(version);
    }
    assert!(versions.is_sorted());
    assert_eq!(versions.last(), states.keys().last());
    for len in 0..header {
        std::fs::write(scratch.file(), &whole[..len]).unwrap();
        assert!(matches!(scratch.open(), Err(StateError::Damaged { line: 1, .. })), "{len}");
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_the_file_is_left_as_it_is() {
    let scratch = Scratch::new();
    let store = scratch.open().unwrap();
    for n in 0..8 {
        write(&store, n);
        settle(&store).unwrap();
    }
    let (version, _) = state(&store);
    drop(store);
    let whole = std::fs::read(scratch.file()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for (at, bit) in (0..whole.len()).map(|at| (at, at % 8)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        std::fs::write(scratch.file(), &flipped).unwrap();
        match scratch.open() {
            // It looks as a commit does that nobody was told of.
            Ok(store) => {
                assert!(at >= last && store.version() == version - 1, "byte {at}");
                let torn = std::fs::read(scratch.0.join("objects.torn")).unwrap();
                assert_eq!(torn, flipped[last..], "byte {at}");
            }
            Err(StateError::Damaged { .. } | StateError::Future { .. }) => {
                assert_eq!(std::fs::read(scratch.file()).unwrap(), flipped);
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_directory_has_one_server_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let store = scratch.open().unwrap();
    let error = Store::open(&scratch.0, MEMORY).unwrap_err();
    assert!(error.to_string().contains("another server uses this state directory"), "{error}");
    drop(store);
    scratch.open().unwrap();
    for (path, mode) in [(scratch.0.clone(), 0o700), (scratch.file(), 0o600)] {
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

/// A line that says `body`.
fn line(body: &str) -> String {
    let summed = format!("{} {body}", body.len());
    format!("{:08x} {summed}\n", crc32fast::hash(summed.as_bytes()))
}

#[test]
fn a_file_of_a_newer_form_is_left_alone() {
    let scratch = Scratch::new();
    drop(scratch.open().unwrap());
    let body = "{\"seaway-objects\":2,\"version\":1}";
    let text = format!("{}whatever comes then", line(body));
    std::fs::write(scratch.file(), &text).unwrap();
    let error = scratch.open().unwrap_err();
    assert!(error.to_string().contains("has form 2, this server knows up to 1"), "{error}");
    assert_eq!(std::fs::read_to_string(scratch.file()).unwrap(), text);
}

#[test]
fn lines_that_contradict_each_other_are_damage() {
    let scratch = Scratch::new();
    let place = "\"at\":[\"pods\",\"a\",\"b\"]";
    for (body, why) in [
        (format!("[{{{place},\"version\":1,\"object\":{{}}}}]"), "version 1 comes too late"),
        (format!("[{{{place},\"version\":2}}]"), "removed that is not there"),
        (format!("[{{{place},\"object\":{{}}}}]"), "without a version"),
        (format!("[{{{place},\"version\":2,\"object\":3}}]"), "a write of something else"),
        ("[{\"version\":2,\"object\":{}}]".to_owned(), "without its place"),
        (format!("{{{place},\"object\":{{}}}}"), "without a version of its time"),
        (format!("{{{place}}}"), "without its object"),
        ("x".to_owned(), "expected value"),
    ] {
        drop(std::fs::remove_file(scratch.file()));
        drop(scratch.open().unwrap());
        let mut text = std::fs::read(scratch.file()).unwrap();
        text.extend(line(&body).bytes());
        std::fs::write(scratch.file(), text).unwrap();
        let error = scratch.open().unwrap_err().to_string();
        assert!(error.contains("line 2: ") && error.contains(why), "{body}: {error}");
    }
}

/// Directory of the process that a test starts and kills.
const CHILD: &str = "SEAWAY_TEST_STATE_DIRECTORY";

/// Not a test of its own: writes one object after the other and says each version that has settled.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&directory), MEMORY).unwrap();
    for n in 0..60 {
        let mark = store.mark();
        write(&store, n);
        let said = match settle_since(&store, mark) {
            Ok(()) => format!("settled {}", store.version()),
            Err(unsettled) => format!("refused full={} {unsettled}", unsettled.full),
        };
        writeln!(std::io::stdout(), "\n{said}").unwrap();
    }
}

/// Runs the child with files limited to `bytes`, and returns what it said. `mercy`: a write beyond
/// that fails; otherwise the kernel kills the process in the middle of it.
fn run_limited(scratch: &Scratch, bytes: usize, mercy: bool) -> Vec<String> {
    let trap = if mercy { "trap '' XFSZ; " } else { "" };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{trap}exec prlimit --core=0 --fsize={bytes} \"$@\""), "sh"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "store::log::tests::child_writes_until_it_is_killed", "--nocapture"]);
    command.env(CHILD, &scratch.0).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    child.wait().unwrap();
    lines
}

fn settled(lines: &[String]) -> u64 {
    let settled = lines.iter().filter_map(|line| line.strip_prefix("settled "));
    settled.map(|version| version.parse().unwrap()).max().unwrap_or(0)
}

#[test]
fn what_was_answered_survives_a_process_killed_in_the_middle_of_any_write() {
    let states = states(60);
    let mut moments = Vec::new();
    // Far enough apart not to take long, and in step with nothing.
    for bytes in (60..9000).step_by(487) {
        let scratch = Scratch::new();
        let answered = settled(&run_limited(&scratch, bytes, false));
        let store = scratch.open().unwrap_or_else(|error| panic!("{bytes}: {error}"));
        let (version, objects) = state(&store);
        // One write may have come to the disk without its answer getting out.
        assert!((answered..=answered + 1).contains(&version) || answered == 0, "{bytes}");
        assert_eq!(objects, states[&version], "killed at {bytes} bytes");
        moments.push(version);
    }
    moments.dedup();
    assert!(moments.len() > 10, "{moments:?}");
}

#[test]
fn a_full_disk_refuses_writes_and_the_rest_is_as_if_they_had_not_been() {
    let scratch = Scratch::new();
    let lines = run_limited(&scratch, 2000, true);
    let answered = settled(&lines);
    let refused: Vec<_> = lines.iter().filter(|line| line.starts_with("refused")).collect();
    assert!(answered > 3 && refused.len() > 10, "{lines:?}");
    assert!(refused[0].contains("objects: File too large"), "{refused:?}");
    let store = scratch.open().unwrap();
    // Once there is room, writing goes on with versions that nobody has seen.
    assert_eq!(state(&store).0, answered);
    assert_eq!(state(&store).1.len(), state(&store).1.values().count());
    write(&store, 0);
    settle(&store).unwrap();
    assert!(store.version() > answered);
}
