//! What the store promises its readers.
use serde_json::json;

use super::*;

fn shelf() -> Shelf {
    "pods".into()
}

/// A store whose shelves remember so many events.
fn remembering(events: usize) -> Store {
    Store::new(Memory { events, bytes: usize::MAX, total: usize::MAX })
}

fn put(store: &Store, name: &str, size: u64) -> u64 {
    let key = Key::new("shop", name);
    let read = store.get(&shelf(), &key).map(|object| object.version);
    store
        .commit(&shelf(), key, read, [Some(json!({"metadata": {}, "size": size}))])
        .unwrap()
        .version
}

fn sizes(store: &Store, at: Option<u64>) -> Result<Vec<(String, u64)>, Compacted> {
    let snapshot = store.snapshot(&shelf(), None, at)?;
    let pair =
        |(key, object): (Key, Arc<Object>)| (key.name, object.value["size"].as_u64().unwrap());
    Ok(snapshot.objects.into_iter().map(pair).collect())
}

#[test]
fn the_past_can_be_read_while_the_ring_reaches_it() {
    let store = remembering(4);
    let first = put(&store, "a", 1);
    let second = put(&store, "b", 1);
    let third = put(&store, "a", 2);
    let key = Key::new("shop", "b");
    store.remove(&shelf(), key, second).unwrap();
    let state = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        pairs.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
    };
    assert_eq!(sizes(&store, Some(first)), Ok(state(&[("a", 1)])));
    assert_eq!(sizes(&store, Some(second)), Ok(state(&[("a", 1), ("b", 1)])));
    assert_eq!(sizes(&store, Some(third)), Ok(state(&[("a", 2), ("b", 1)])));
    assert_eq!(sizes(&store, None), Ok(state(&[("a", 2)])));
    put(&store, "c", 1);
    put(&store, "c", 2);
    assert!(sizes(&store, Some(first)).is_err());
}

#[test]
fn a_write_based_on_an_older_version_does_not_happen() {
    let store = remembering(4);
    let read = put(&store, "a", 1);
    put(&store, "a", 2);
    let key = Key::new("shop", "a");
    assert_eq!(store.replace(&shelf(), key.clone(), read, json!({})).unwrap_err(), Stale);
    assert_eq!(store.remove(&shelf(), key.clone(), read).unwrap_err(), Stale);
    assert_eq!(store.create(&shelf(), key, json!({})).unwrap_err(), Stale);
}

#[test]
fn a_cursor_sees_every_event_once_and_in_order() {
    let store = remembering(64);
    let mut cursor = store.cursor(&shelf(), 0);
    let versions: Vec<u64> = (0..10).map(|n| put(&store, "a", n)).collect();
    let mut seen = Vec::new();
    loop {
        let events = store.read(&mut cursor, 3, usize::MAX).unwrap();
        if events.is_empty() {
            break;
        }
        seen.extend(events.iter().map(|event| event.version));
    }
    assert_eq!(seen, versions);
    assert_eq!(cursor.version(), store.version());
}

#[test]
fn a_cursor_the_ring_has_overtaken_learns_so() {
    let store = remembering(2);
    let mut cursor = store.cursor(&shelf(), store.version());
    for n in 0..2 {
        put(&store, "a", n);
    }
    assert!(store.read(&mut cursor, 1, usize::MAX).is_ok());
    for n in 0..3 {
        put(&store, "a", n);
    }
    assert!(store.read(&mut cursor, 1, usize::MAX).is_err());
}
