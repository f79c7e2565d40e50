//! The laws, for anything that is a [`Specimen`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Command;

use plan::{Changes, Mechanism, Table, converge, diff};
use seaway_kernel::netlink::{Netlink, Request};
use seaway_kernel::netns::unshare_thread;

pub(crate) type Rows<S> =
    Table<<<S as Specimen>::Place as Mechanism>::Key, <<S as Specimen>::Place as Mechanism>::Row>;
pub(crate) type Key<S> = <<S as Specimen>::Place as Mechanism>::Key;
pub(crate) type Row<S> = <<S as Specimen>::Place as Mechanism>::Row;

/// A mechanism with what is needed to try it.
pub(crate) trait Specimen {
    type Place: Mechanism<Key: Debug, Row: Debug>;

    /// Makes what rows refer to and what is nobody's business of ours, in a fresh namespace.
    fn prepare(&self);

    fn open(&self) -> Self::Place;

    /// Tables to move between; they should share keys, with equal and with different rows.
    fn tables(&self) -> Vec<Rows<Self>>;

    /// Something that changes when the object of a row is made anew.
    fn identity(&self, _key: &Key<Self>) -> String {
        String::new()
    }

    /// Commands and what each prints for this row, as one of its lines (white space squeezed).
    fn printed(&self, key: &Key<Self>, row: &Row<Self>) -> Vec<(String, String)>;

    /// Everything others own, as text; one object a line.
    fn surroundings(&self) -> String {
        let commands =
            ["ip -o link", "ip -o addr", "ip route show table all", "ip -6 route show table all"];
        let more = ["ip rule", "ip -6 rule", "ip neigh show nud permanent", "bridge fdb"];
        commands.iter().chain(&more).map(|command| run(command)).collect()
    }
}

/// What a command prints in this thread's namespace.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Gives this test's thread a namespace of its own with loopback up.
pub(crate) fn fresh() {
    unshare_thread().unwrap();
    Netlink::open().unwrap().send(Request::link_up("lo")).unwrap();
}

fn prepared<S: Specimen>(specimen: &S) -> S::Place {
    fresh();
    specimen.prepare();
    specimen.open()
}

/// Converges and insists that every row was written.
pub(crate) fn settle<M: Mechanism<Key: Debug, Row: Debug>>(
    place: &mut M,
    want: &Table<M::Key, M::Row>,
) -> Changes<M::Key, M::Row> {
    let (changes, failures) = converge(place, want).unwrap();
    let failures: Vec<_> = failures
        .iter()
        .map(|failure| format!("{}: {:?}", failure.attempt, failure.cause))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    changes
}

/// Every table, and the empty one first.
fn all_tables<S: Specimen>(specimen: &S) -> Vec<Rows<S>> {
    let mut tables = vec![Table::default()];
    tables.extend(specimen.tables());
    tables
}

pub(crate) fn convergence<S: Specimen>(specimen: S) {
    let mut place = prepared(&specimen);
    let tables = all_tables(&specimen);
    for from in &tables {
        for to in &tables {
            settle(&mut place, from);
            settle(&mut place, to);
            assert_eq!(&place.observe().unwrap(), to);
            let again = settle(&mut place, to);
            assert!(again.is_empty(), "a second pass changed {again:?}");
        }
    }
}

pub(crate) fn least_change<S: Specimen>(specimen: S) {
    let mut place = prepared(&specimen);
    for full in specimen.tables() {
        for touched in full.keys() {
            settle(&mut place, &full);
            let identities = |_: &mut S::Place| -> BTreeMap<_, _> {
                let others = full.keys().filter(|key| *key != touched);
                others.map(|key| (key.clone(), specimen.identity(key))).collect()
            };
            let before = identities(&mut place);
            let mut without = full.clone();
            without.remove(touched);
            let changes = settle(&mut place, &without);
            assert_eq!((changes.len(), &changes.deletes), (1, &vec![touched.clone()]));
            assert_eq!(identities(&mut place), before);
            let changes = settle(&mut place, &full);
            assert_eq!(changes.puts.keys().collect::<Vec<_>>(), [touched]);
            assert_eq!(identities(&mut place), before);
        }
    }
}

pub(crate) fn foreign_state<S: Specimen>(specimen: S) {
    let mut place = prepared(&specimen);
    let before = specimen.surroundings();
    for table in specimen.tables() {
        settle(&mut place, &table);
        let during = specimen.surroundings();
        for line in before.lines() {
            assert!(during.lines().any(|l| l == line), "touched: {line}\nnow:\n{during}");
        }
        settle(&mut place, &Table::default());
        assert_eq!(specimen.surroundings(), before);
    }
}

pub(crate) fn any_prefix<S: Specimen>(specimen: S) {
    let mut place = prepared(&specimen);
    let tables = all_tables(&specimen);
    for from in &tables {
        for to in &tables {
            for length in 0..=diff(from, to).len() {
                settle(&mut place, from);
                let changes = prefix(&diff(&place.observe().unwrap(), to), length);
                assert!(place.apply(&changes).is_empty());
                // Doing it again is as good as doing it once.
                assert!(place.apply(&changes).is_empty());
                place = specimen.open();
                settle(&mut place, to);
                assert_eq!(&place.observe().unwrap(), to, "after {length} rows");
            }
        }
    }
}

/// The first `length` rows of `changes`, in the order they are written.
fn prefix<K: Ord + Clone, R: Clone>(changes: &Changes<K, R>, length: usize) -> Changes<K, R> {
    let puts = changes.puts.iter().take(length);
    let left = length.saturating_sub(changes.puts.len());
    let skipped = changes.deletes.len() - left.min(changes.deletes.len());
    Changes {
        puts: puts.map(|(key, put)| (key.clone(), put.clone())).collect(),
        deletes: changes.deletes[skipped..].to_vec(),
    }
}

pub(crate) fn agreement<S: Specimen>(specimen: S) {
    let mut place = prepared(&specimen);
    for table in specimen.tables() {
        settle(&mut place, &table);
        for (key, row) in &table {
            for (command, line) in specimen.printed(key, row) {
                let printed = run(&command);
                let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(
                    printed.lines().any(|l| squeezed(l).contains(&squeezed(&line))),
                    "{command} prints no {line:?} for {key:?} {row:?} but:\n{printed}"
                );
            }
        }
    }
}
