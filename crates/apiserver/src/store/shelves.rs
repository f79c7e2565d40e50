//! Everything under the store's lock: the objects, their newest events, and what is derived from
//! them. Every change goes through [`Shelves::put`], and every change undone through
//! [`Shelves::undo`], so that all of it agrees.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::chores::{Chore, Chores};
use super::kin::Kin;
use super::ring::{Event, Memory, Ring};
use super::{Compacted, Key, Object, Place};
use crate::resource::Shelf;

/// All shelves.
#[derive(Debug)]
pub(super) struct Shelves {
    /// The version of the newest write.
    pub(super) version: u64,
    /// Up to here writes last: they are on disk, if the store has one. Readers see no further.
    pub(super) settled: u64,
    /// The version of the oldest state that was ever known.
    floor: u64,
    memory: Memory,
    shelves: HashMap<Shelf, ShelfState>,
    /// What all objects weigh together, as JSON.
    pub(super) bytes: usize,
    /// What all rings remember together, as JSON.
    remembered: usize,
    pub(super) kin: Kin,
    pub(super) chores: Chores,
}

/// One shelf.
#[derive(Debug)]
pub(super) struct ShelfState {
    pub(super) objects: BTreeMap<Key, Arc<Object>>,
    pub(super) ring: Ring,
    /// The version of the newest settled event.
    pub(super) newest: tokio::sync::watch::Sender<u64>,
}

impl Shelves {
    /// Nothing, as of `version`; what was before `floor` is not known.
    pub(super) fn new(memory: Memory, version: u64, floor: u64) -> Self {
        Self {
            version,
            settled: version,
            floor,
            memory,
            shelves: HashMap::new(),
            bytes: 0,
            remembered: 0,
            kin: Kin::default(),
            chores: Chores::default(),
        }
    }

    pub(super) fn get(&self, shelf: &Shelf) -> Option<&ShelfState> {
        self.shelves.get(shelf)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Shelf, &ShelfState)> {
        self.shelves.iter()
    }

    /// The shelf, which is put up if need be.
    pub(super) fn shelf(&mut self, shelf: &Shelf) -> &mut ShelfState {
        if !self.shelves.contains_key(shelf) {
            let state = ShelfState {
                objects: BTreeMap::new(),
                ring: Ring::new(self.memory, self.floor),
                newest: tokio::sync::watch::Sender::new(self.settled),
            };
            self.shelves.insert(shelf.clone(), state);
        }
        self.shelves.get_mut(shelf).expect("it was put up just now, or before")
    }

    /// Makes `event` the newest of `shelf`.
    pub(super) fn put(&mut self, shelf: &Shelf, event: Arc<Event>) {
        self.version = event.version;
        let place = Place { shelf: shelf.clone(), key: event.key.clone() };
        self.set(&place, event.before.clone(), event.after().cloned());
        let (settled, mut remembered) = (self.settled, self.remembered);
        self.shelf(shelf).ring.push(event, settled, &mut remembered);
        self.remembered = remembered;
    }

    /// Takes an object in as it was when the store's floor was made.
    pub(super) fn place(&mut self, shelf: &Shelf, key: Key, object: Arc<Object>) {
        let place = Place { shelf: shelf.clone(), key };
        self.set(&place, None, Some(object));
    }

    /// Everything up to `version` lasts: readers are told of it.
    pub(super) fn settle(&mut self, version: u64, shelves: &BTreeSet<Shelf>) {
        self.settled = version;
        for shelf in shelves {
            self.shelf(shelf).newest.send_replace(version);
        }
    }

    /// Undoes all events newer than what is settled, and says which: those of each shelf with the
    /// newest first.
    pub(super) fn undo(&mut self) -> Vec<(Shelf, Arc<Event>)> {
        let shelves: Vec<Shelf> = self.shelves.keys().cloned().collect();
        let mut undone = Vec::new();
        let (settled, mut remembered) = (self.settled, self.remembered);
        for shelf in shelves {
            while let Some(event) = self.shelf(&shelf).ring.pop_newer_than(settled, &mut remembered)
            {
                let place = Place { shelf: shelf.clone(), key: event.key.clone() };
                self.set(&place, event.after().cloned(), event.before.clone());
                undone.push((shelf.clone(), event));
            }
        }
        self.remembered = remembered;
        // Whoever acted on what is undone has to look again.
        self.chores.everything_owned(&self.kin);
        let namespaces = self.shelves.get("namespaces").into_iter().flat_map(|s| s.objects.keys());
        self.chores.due.extend(namespaces.map(|key| Chore::Namespace(key.name.clone())));
        undone
    }

    fn set(&mut self, place: &Place, before: Option<Arc<Object>>, after: Option<Arc<Object>>) {
        let weight = |object: &Option<Arc<Object>>| object.as_ref().map_or(0, |o| o.weight);
        self.bytes = self.bytes + weight(&after) - weight(&before);
        let objects = &mut self.shelf(&place.shelf).objects;
        match &after {
            Some(after) => objects.insert(place.key.clone(), after.clone()),
            None => objects.remove(&place.key),
        };
        let before = before.as_ref().map(|object| &object.value);
        let after = after.as_ref().map(|object| &object.value);
        self.kin.changed(place, before, after);
        self.chores.changed(&self.kin, place, before, after);
    }
}

/// An object and where it is.
pub(super) type Row<'a> = (&'a Key, &'a Arc<Object>);

impl ShelfState {
    /// The newest objects, of one namespace or of all.
    pub(super) fn objects_in<'a>(
        &'a self,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (Key, Arc<Object>)> + use<'a> {
        let objects = self.rest_of(namespace, None);
        objects.map(|(key, object)| (key.clone(), object.clone()))
    }

    /// The newest objects, of one namespace or of all, not before `from`.
    fn rest_of<'a>(
        &'a self,
        namespace: Option<&'a str>,
        from: Option<&Key>,
    ) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let first = Key::new(namespace.unwrap_or(""), "");
        let start = from.filter(|from| **from > first).cloned().unwrap_or(first);
        let inside = move |key: &Key| namespace.is_none_or(|name| key.namespace == name);
        self.objects.range(start..).take_while(move |(key, _)| inside(key))
    }

    /// The objects at `version`, of one namespace or of all, in order, not before `from`.
    pub(super) fn objects_at<'a>(
        &'a self,
        namespace: Option<&'a str>,
        version: u64,
        from: Option<&Key>,
    ) -> Result<Box<dyn Iterator<Item = Row<'a>> + 'a>, Compacted> {
        let inside = |key: &Key| {
            namespace.is_none_or(|name| key.namespace == name)
                && from.is_none_or(|from| key >= from)
        };
        let since = self.ring.newer_than(version)?;
        // The first event of each object since then says what it was.
        let mut was: BTreeMap<&'a Key, Option<&'a Arc<Object>>> = BTreeMap::new();
        for event in since.filter(|event| inside(&event.key)) {
            was.entry(&event.key).or_insert(event.before.as_ref());
        }
        if was.is_empty() {
            return Ok(Box::new(self.rest_of(namespace, from)));
        }
        let still = self.rest_of(namespace, from).filter(|(key, _)| !was.contains_key(key));
        let mut objects: Vec<Row<'a>> = still.collect();
        objects.extend(was.iter().filter_map(|(key, object)| Some((*key, (*object)?))));
        objects.sort_by_key(|(key, _)| *key);
        Ok(Box::new(objects.into_iter()))
    }
}
