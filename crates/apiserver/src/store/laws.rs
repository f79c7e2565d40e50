//! What lists and watches promise, held while others write, relist and forget, all at once.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::*;

/// Few enough to be overtaken all the time.
const MEMORY: Memory = Memory { events: 48, bytes: usize::MAX, total: usize::MAX };
const WRITERS: u64 = 3;
const WATCHERS: u64 = 4;
const WRITES: u64 = 1500;

/// Objects by place, each with its version.
type Known = BTreeMap<Key, u64>;

/// Numbers without a pattern that matters here.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn shelf() -> Shelf {
    "pods".into()
}

/// Creates, changes and removes objects of two namespaces, fighting over their names with others.
fn write(store: &Store, seed: u64) {
    let mut dice = Dice(seed);
    for n in 0..WRITES {
        let namespace = if dice.roll(3) == 0 { "shop" } else { "work" };
        let key = Key::new(namespace, &format!("pod-{}", dice.roll(6)));
        let value = json!({"metadata": {"uid": format!("{seed}-{n}")}, "n": n});
        let written = match (store.get(&shelf(), &key).map(|object| object.version), dice.roll(4)) {
            (None, _) => store.create(&shelf(), key, value),
            (Some(read), 0) => store.remove(&shelf(), key, read),
            (Some(read), 1) => store.conclude(&shelf(), key, read, value),
            (Some(read), _) => store.replace(&shelf(), key, read, value),
        };
        // The other may have been faster.
        drop(written);
    }
}

fn list(store: &Store, at: Option<u64>) -> Result<(u64, Known), Compacted> {
    let snapshot = store.snapshot(&shelf(), None, at)?;
    let objects = snapshot.objects.into_iter();
    Ok((snapshot.version, objects.map(|(key, object)| (key, object.version)).collect()))
}

/// Follows the store until `end` (0 while that is not known), listing again whenever it is told to.
/// Says how it ended, and how often it was overtaken.
fn watch(store: &Store, seed: u64, end: &AtomicU64) -> (Known, u32) {
    let mut dice = Dice(seed);
    let mut overtaken = 0;
    'list: loop {
        let (version, mut known) = list(store, None).unwrap();
        let (began, first) = (version, known.clone());
        let mut cursor = store.cursor(&shelf(), version);
        loop {
            let reached = cursor.version();
            let limit = usize::try_from(dice.roll(7) + 1).unwrap();
            let Ok(events) = store.read(&mut cursor, limit, 1000) else {
                overtaken += 1;
                continue 'list;
            };
            let mut newest = reached;
            for event in &events {
                assert!(event.version > newest, "repeated, or out of order");
                newest = event.version;
                let before = event.before.as_ref().map(|object| object.version);
                assert_eq!(known.get(&event.key).copied(), before, "something was missed");
                match event.change {
                    Change::Added => assert!(before.is_none()),
                    Change::Modified | Change::Deleted => assert!(before.is_some()),
                }
                assert_eq!(event.object.version, event.version);
                match event.after() {
                    Some(object) => drop(known.insert(event.key.clone(), object.version)),
                    None => drop(known.remove(&event.key)),
                }
            }
            assert!(cursor.version() >= newest);
            // A page of the first list, later.
            if let Ok(then) = list(store, Some(began)) {
                assert_eq!(then, (began, first.clone()));
            }
            if events.is_empty() {
                // What is told to be reached is reached: a watch from here misses nothing.
                if let Ok(then) = list(store, Some(cursor.version())) {
                    assert_eq!(then.1, known);
                }
                let end = end.load(Ordering::Acquire);
                if end > 0 && cursor.version() >= end {
                    return (known, overtaken);
                }
            }
            if dice.roll(40) == 0 {
                // Some dawdle.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Writers and watchers at once; all must know the same in the end. Says how often watchers were
/// overtaken.
fn hold(store: &Store, seed: u64) -> u32 {
    let end = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let watchers: Vec<_> =
            (0..WATCHERS).map(|n| scope.spawn(move || watch(store, seed + n, end))).collect();
        let writers: Vec<_> =
            (0..WRITERS).map(|n| scope.spawn(move || write(store, seed + n))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.settle(store.mark())).unwrap();
        let (version, known) = list(store, None).unwrap();
        end.store(version, Ordering::Release);
        let ends = watchers.into_iter().map(|watcher| watcher.join().unwrap());
        ends.map(|(ended, overtaken)| {
            assert_eq!(ended, known);
            overtaken
        })
        .sum()
    })
}

#[test]
fn a_watch_never_misses_repeats_or_reorders_under_writers_relists_and_forgetting() {
    let overtaken: u32 = (0..6).map(|seed| hold(&Store::new(MEMORY), seed * 100)).sum();
    assert!(overtaken > 0, "the ring was never too short");
}

#[test]
fn a_watch_of_a_store_on_disk_sees_what_has_settled_and_all_of_it() {
    let name = format!("seaway-apiserver-laws-{}", std::process::id());
    let directory: PathBuf = std::env::temp_dir().join(name);
    for seed in 0..2 {
        let store = Store::open(&directory.join(seed.to_string()), MEMORY).unwrap();
        hold(&store, seed * 100);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn all_shelves_together_remember_no_more_than_they_may() {
    let memory = Memory { events: 1000, bytes: usize::MAX, total: 5000 };
    let store = Store::new(memory);
    let mut forgotten = 0;
    for n in 0..400 {
        let shelf: Shelf = format!("kind-{}", n % 7).as_str().into();
        let key = Key::new("", &n.to_string());
        store.create(&shelf, key, json!({"metadata": {}, "text": "x".repeat(100)})).unwrap();
        let mut cursor = store.cursor(&shelf, 1);
        forgotten += u32::from(store.read(&mut cursor, 1, usize::MAX).is_err());
    }
    assert!(forgotten > 300, "{forgotten}");
}
