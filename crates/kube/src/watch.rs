//! Objects of one kind, listed and watched for as long as the agent lives.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{Stream, StreamExt};
use kube_rs::runtime::utils::Backoff;
use kube_rs::runtime::watcher::{self, Event};
use kube_rs::runtime::{WatchStreamExt, watcher as watch_events};
use kube_rs::{Api, Client};
use tokio::sync::watch::{Receiver, Sender};

use crate::client::{Access, connect};
use crate::kind::Kind;
use crate::level::{Found, Level, Listed};
use crate::object::Unread;

/// Lists and watches the objects of `kind` and puts every new level into `out`, until nobody reads it
/// any more. What does not change a field Seaway reads (a heartbeat) changes nothing in `out`.
///
/// Errors are retried with backoff, forever; a relist changes the level at once, when it is complete,
/// so an object is never missing in between. `moved` tells that this machine's own addresses are
/// others now: connections from an address that is gone are dead without a word, so objects are listed
/// again over a new one, by `access`, at once.
pub async fn watch<K, V>(
    kind: Kind<K, V>,
    mut client: Client,
    access: Access,
    out: Sender<Listed<K, V>>,
    mut moved: Receiver<()>,
) where
    K: Ord + Clone + fmt::Debug,
    V: PartialEq + Clone,
{
    let mut level = None;
    loop {
        let listed = level.as_ref().map_or(0, |level: &Level<K, V>| level.objects.len());
        tokio::select! {
            () = follow(&kind, client.clone(), &out, &mut level) => return,
            () = tokio::time::sleep(relist_after(listed)) => {
                tracing::debug!("{} are listed again, in case the watch has missed some", kind.plural);
                continue;
            }
            Ok(()) = moved.changed() => {}
        }
        tracing::info!("this machine's addresses changed: {} are listed again", kind.plural);
        match connect(&access).await {
            Ok(fresh) => client = fresh,
            Err(error) => tracing::warn!("{}", crate::chain(&error)),
        }
    }
}

/// When everything is listed again although nothing is wrong: a watch that has lost an event looks as
/// one that has not (DNS-99). Between 15 and 19 minutes, so that agents which start together don't list
/// together for ever; longer for more than 5,000 objects, which every node's agent asks one API server for.
fn relist_after(objects: usize) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let often =
        Duration::from_secs(15 * 60) + Duration::from_nanos(now.subsec_nanos().into()) * 240;
    often * u32::try_from(objects / 5000).unwrap_or(u32::MAX).clamp(1, 100)
}

/// How long an API server is let alone that does not know a kind: 20 to 30 s, so that those of a large
/// cluster's agents don't ask together for ever.
fn unknown_until() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(20) + Duration::from_nanos(now.subsec_nanos().into()) * 10
}

/// The next event, not before `rest` is over.
async fn next_after<S: Stream + Unpin>(rest: Duration, events: &mut S) -> Option<S::Item> {
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
    events.next().await
}

/// Takes everything out of `level`, since the API server does not know the kind. Returns whether that is
/// news.
fn forget<K, V>(plural: &str, level: &mut Option<Level<K, V>>) -> bool
where
    K: Ord + Clone + fmt::Debug,
    V: PartialEq + Clone,
{
    let before = level.replace(Level::default());
    let is_new = before.is_none_or(|before| !before.is_empty());
    if is_new {
        tracing::info!("watch {plural}: the API server does not know the kind; asking again");
    }
    is_new
}

/// Keeps `level`, which is `None` until a first list was complete, and `out` with it.
async fn follow<K, V>(
    kind: &Kind<K, V>,
    client: Client,
    out: &Sender<Listed<K, V>>,
    level: &mut Option<Level<K, V>>,
) where
    K: Ord + Clone + fmt::Debug,
    V: PartialEq + Clone,
{
    let resource = &kind.resource;
    let (api, config): (Api<Unread>, _) = match kind.only {
        None => (Api::all_with(client, resource), watcher::Config::default()),
        Some((namespace, label)) => (
            Api::namespaced_with(client, namespace, resource),
            watcher::Config::default().labels(label),
        ),
    };
    let mut events = std::pin::pin!(watch_events(api, config).backoff(Retry::default()));
    let mut relist = Relist::of(level.as_ref());
    let mut rest = Duration::ZERO;
    loop {
        let event = tokio::select! {
            event = next_after(rest, &mut events) => event,
            () = out.closed() => return,
        };
        rest = Duration::ZERO;
        let Some(event) = event else { return };
        let mut revision = match &event {
            Ok(Event::Apply(object) | Event::Delete(object)) => Some(object.revision()),
            Ok(Event::Init | Event::InitApply(_) | Event::InitDone) | Err(_) => None,
        };
        let (is_new, trouble) = match event {
            Ok(Event::Init) => {
                relist = Relist::of(level.as_ref());
                continue;
            }
            Ok(Event::InitApply(object)) => {
                relist.put(kind, &object);
                continue;
            }
            Ok(Event::InitDone) => {
                let is_first = level.is_none();
                let complete = std::mem::replace(&mut relist, Relist::of(None));
                revision = Some(complete.revision);
                let (listed, is_new) = complete.done();
                *level = Some(listed);
                (is_new || is_first, None)
            }
            Ok(Event::Apply(object)) => (level.get_or_insert_default().put(kind, &object), None),
            Ok(Event::Delete(object)) => {
                (level.get_or_insert_default().remove(kind, object.name()), None)
            }
            Err(error) if kind.may_be_unknown && is_unknown(&error) => {
                rest = unknown_until();
                (forget(kind.plural, level), None)
            }
            Err(error) => (false, Some(crate::chain(&error))),
        };
        show(kind.plural, out, (level.as_ref().filter(|_| is_new), revision), trouble);
    }
}

/// A list that is not complete yet, on top of what was known before: what is still the same stays the
/// same in memory, too.
struct Relist<K: Ord, V> {
    level: Level<K, V>,
    found: Found<K>,
    knew_nothing: bool,
    is_new: bool,
    /// The newest of its objects'. Numbers may start over when the API server is restored from a copy.
    revision: u64,
}

impl<K, V> Relist<K, V>
where
    K: Ord + Clone + fmt::Debug,
    V: PartialEq + Clone,
{
    fn of(level: Option<&Level<K, V>>) -> Self {
        let level = level.cloned().unwrap_or_default();
        let knew_nothing = level.objects.is_empty();
        Relist { level, found: Found::default(), knew_nothing, is_new: false, revision: 0 }
    }

    fn put(&mut self, kind: &Kind<K, V>, object: &Unread) {
        self.revision = self.revision.max(object.revision());
        self.is_new |= self.level.put(kind, object);
        self.level.find(kind, object.name(), &mut self.found);
    }

    /// The level, and whether anything of it is new.
    fn done(mut self) -> (Level<K, V>, bool) {
        let is_less = self.level.retain(&self.found);
        if self.knew_nothing {
            self.level.pack();
        }
        (self.level, self.is_new || is_less)
    }
}

/// Whether the API server does not know the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    if let watcher::Error::InitialListFailed(kube_rs::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube_rs::Error::Api(status)) = error
    {
        return status.code == 404;
    }
    false
}

/// Writes the level and its revision if there are any, and logs when the API server goes away or comes
/// back.
fn show<K: Ord + Clone, V>(
    plural: &str,
    out: &Sender<Listed<K, V>>,
    (level, revision): (Option<&Level<K, V>>, Option<u64>),
    trouble: Option<String>,
) {
    out.send_if_modified(|shown| {
        match (&shown.trouble, &trouble) {
            (None, Some(why)) => tracing::warn!("watch {plural}: {why}; trying again"),
            (Some(_), None) => tracing::info!("watch {plural}: the API server answers again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let same = shown.trouble == trouble;
        shown.trouble = trouble;
        shown.revision = revision.unwrap_or(shown.revision);
        let Some(level) = level else { return !same };
        shown.listed = Some(level.objects.clone());
        shown.rejected.clone_from(&level.rejected);
        true
    });
}

/// Doubles from 100 ms to 10 s. The watcher resets it whenever an exchange works.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(100) * 2_u32.pow(self.failures.min(7));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(10)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kind;

    #[test]
    fn a_level_is_shown_once_and_trouble_is_told_without_forgetting_it() {
        let (out, mut seen) = tokio::sync::watch::channel(Listed::default());
        let (mut level, nodes) = (Level::default(), kind::nodes());
        let object = serde_json::from_str(r#"{"metadata":{"name":"a"}}"#).unwrap();
        level.put(&nodes, &object);
        let steps = [
            (true, Some(7), None, (true, 7)),
            (false, Some(8), None, (false, 8)),
            (false, None, Some("gone"), (true, 8)),
            (false, None, Some("gone"), (false, 8)),
            (false, Some(3), None, (true, 3)),
        ];
        for (is_new, revision, trouble, (is_news, newest)) in steps {
            let level = Some(&level).filter(|_| is_new);
            show("nodes", &out, (level, revision), trouble.map(str::to_owned));
            assert_eq!(seen.has_changed().unwrap(), is_news);
            let seen = seen.borrow_and_update();
            assert_eq!(seen.listed.as_ref().map(model::OrdMap::len), Some(1));
            assert_eq!(seen.revision, newest);
        }
    }

    /// What a watch hears of one of four objects, and of all of them.
    #[derive(Debug, Clone)]
    enum Heard {
        /// This version of the object; again when it says the same.
        Put(u8, u8),
        Gone(u8),
        /// A list from the beginning, of which so many objects come before the connection breaks.
        Broken(usize),
        Relist,
    }

    fn heard() -> impl Strategy<Value = Heard> {
        prop_oneof![
            6 => (0..4u8, 0..3u8).prop_map(|(name, version)| Heard::Put(name, version)),
            3 => (0..4u8).prop_map(Heard::Gone),
            1 => (0..4usize).prop_map(Heard::Broken),
            1 => Just(Heard::Relist),
        ]
    }

    /// Version 0 is one that can't be read.
    fn object(kind: &str, name: u8, version: u8) -> Unread {
        let mut said = match (kind, version) {
            ("nodes", 0) => json!({ "spec": { "podCIDR": "nonsense" } }),
            ("nodes", _) => json!({ "spec": { "podCIDR": format!("10.244.{version}.0/24") } }),
            ("pods", 0) => json!({ "status": { "podIP": "nonsense" } }),
            ("pods", _) => json!({ "status": { "podIP": format!("10.244.1.{version}") } }),
            ("networkpolicies", 0) => json!({ "spec": { "policyTypes": ["Sideways"] } }),
            ("networkpolicies", 1) => json!({ "spec": { "policyTypes": ["Egress"] } }),
            ("namespaces", 0) => json!({ "status": { "phase": 0 } }),
            ("namespaces", 1) => json!({ "status": { "phase": "Terminating" } }),
            _ => json!({}),
        };
        said["metadata"] = json!({ "name": format!("n{name}") });
        serde_json::from_str(&said.to_string()).unwrap()
    }

    type Server = std::collections::BTreeMap<u8, u8>;

    /// What an API server has in the end, as known by who has heard all of `events`, or missed some, and by
    /// who begins then.
    fn ends<K, V>(kind: &Kind<K, V>, events: &[(Heard, bool)]) -> [Level<K, V>; 2]
    where
        K: Ord + Clone + fmt::Debug,
        V: PartialEq + Clone,
    {
        let (mut level, mut server) = (Level::default(), Server::new());
        for (event, is_missed) in events {
            match event {
                Heard::Put(name, version) => {
                    server.insert(*name, *version);
                    // What is missed is made up for by the next list.
                    if !is_missed {
                        level.put(kind, &object(kind.plural, *name, *version));
                    }
                }
                Heard::Gone(name) => {
                    server.remove(name);
                    if !is_missed {
                        level.remove(kind, ("", &format!("n{name}")));
                    }
                }
                Heard::Broken(count) => {
                    let mut relist = Relist::of(Some(&level));
                    for (name, version) in server.iter().take(*count) {
                        relist.put(kind, &object(kind.plural, *name, *version));
                    }
                }
                Heard::Relist => level = listed(kind, Some(&level), &server),
            }
        }
        [listed(kind, Some(&level), &server), listed(kind, None, &server)]
    }

    fn listed<K, V>(kind: &Kind<K, V>, before: Option<&Level<K, V>>, server: &Server) -> Level<K, V>
    where
        K: Ord + Clone + fmt::Debug,
        V: PartialEq + Clone,
    {
        let mut relist = Relist::of(before);
        for (name, version) in server {
            relist.put(kind, &object(kind.plural, *name, *version));
        }
        relist.done().0
    }

    proptest! {
        #[test]
        fn whatever_came_before_a_level_is_what_the_server_has(
            events in prop::collection::vec((heard(), any::<bool>()), 0..40),
        ) {
            macro_rules! check {
                ($($kind:expr),*) => {$(
                    let [level, fresh] = ends(&$kind, &events);
                    prop_assert_eq!(level.objects, fresh.objects);
                    prop_assert_eq!(level.rejected, fresh.rejected);
                )*};
            }
            check!(kind::nodes(), kind::namespaces(), kind::pods(), kind::policies());
        }
    }

    #[test]
    fn many_objects_are_listed_again_less_often() {
        let minutes = |objects| relist_after(objects).as_secs() / 60;
        for (objects, least, most) in [(0, 15, 19), (5_000, 15, 19), (50_000, 150, 190)] {
            assert!((least..=most).contains(&minutes(objects)), "{objects}");
        }
    }

    #[test]
    fn retries_grow_to_ten_seconds_and_start_over() {
        let mut retry = Retry::default();
        let waits: Vec<u128> = retry.by_ref().take(9).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        retry.reset();
        assert_eq!(retry.next(), Some(Duration::from_millis(100)));
    }
}
