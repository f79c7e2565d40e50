//! A place for others to have their say in writes, as admission plugins and allocators have in
//! Kubernetes: after defaults and before validation, told whether the write happened.
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::refusal::{Cause, Refusal};
use crate::resource::Resource;

/// Looks at writes of the kinds it cares for, and may complete or deny them.
///
/// One write is looked at at a time, from [`admit`](Self::admit) to [`commit`](Self::commit) or
/// [`rollback`](Self::rollback), so an implementation needs no lock of its own. In between it must
/// not ask the server for anything. A write may be admitted in several steps (an update that
/// removes the last finalizer is an update and a deletion), all of which are settled together.
///
/// A server that starts with kept objects has each of them admitted and committed as new before it
/// serves; a denial then is logged, and the object stays.
pub trait Admission: Debug + Send {
    /// Whether writes of a kind, named as in its path, are to be looked at.
    fn concerns(&self, group: &str, plural: &str) -> bool;

    /// Completes the new value, or denies the write.
    ///
    /// # Errors
    /// The denial, which the client is told.
    fn admit(&mut self, write: &mut Write<'_>) -> Result<(), Denial>;

    /// What was admitted is stored now.
    fn commit(&mut self);

    /// What was admitted is not stored: it was a dry run, invalid, denied, or late.
    fn rollback(&mut self);
}

/// A write, before it happens.
#[derive(Debug)]
pub struct Write<'w> {
    /// The kind's API group.
    pub group: &'w str,
    /// The kind's name in paths.
    pub plural: &'w str,
    /// The stored object; none if there is none yet.
    pub old: Option<&'w Value>,
    /// The object to be stored; none if it is to be removed.
    pub new: Option<&'w mut Value>,
}

/// Why a write may not happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Denial {
    /// A field holds what it must not (422).
    Invalid {
        /// The field's path, as `spec.clusterIPs[0]`.
        field: String,
        /// What it holds.
        value: Value,
        /// Why that must not be.
        detail: String,
    },
    /// The cluster's rules are against it (403).
    Forbidden(String),
    /// It can't be done now, whoever asks (500).
    Internal(String),
}

/// The server's hooks.
#[derive(Debug, Default)]
pub(crate) struct Hooks(Vec<Mutex<Box<dyn Admission>>>);

impl Hooks {
    pub(crate) fn new(hooks: Vec<Box<dyn Admission>>) -> Self {
        Self(hooks.into_iter().map(Mutex::new).collect())
    }

    /// Begins the admission of a write to an object of `resource`. Dropping the round without
    /// [`Round::commit`] rolls back.
    pub(crate) fn open<'h>(&'h self, resource: &'h Resource) -> Round<'h> {
        let locked = self.0.iter().map(|hook| hook.lock().unwrap_or_else(PoisonError::into_inner));
        let hooks = locked.filter(|hook| hook.concerns(&resource.group, &resource.plural));
        Round { resource, hooks: hooks.collect() }
    }
}

/// The admission of one write.
#[derive(Debug)]
pub(crate) struct Round<'h> {
    resource: &'h Resource,
    hooks: Vec<MutexGuard<'h, Box<dyn Admission>>>,
}

impl Round<'_> {
    /// Shows a new object, or its replacement, to the hooks concerned.
    ///
    /// # Errors
    /// The refusal of the first hook that denies it.
    pub(crate) fn admit(&mut self, old: Option<&Value>, new: &mut Value) -> Result<(), Refusal> {
        let name = new["metadata"]["name"].as_str().unwrap_or("").to_owned();
        self.show(&name, old, Some(new))
    }

    /// Shows the removal of an object to the hooks concerned.
    ///
    /// # Errors
    /// The refusal of the first hook that denies it.
    pub(crate) fn admit_removal(&mut self, old: &Value) -> Result<(), Refusal> {
        self.show(old["metadata"]["name"].as_str().unwrap_or(""), Some(old), None)
    }

    fn show(
        &mut self,
        name: &str,
        old: Option<&Value>,
        mut new: Option<&mut Value>,
    ) -> Result<(), Refusal> {
        for hook in &mut self.hooks {
            let (group, plural) = (&self.resource.group, &self.resource.plural);
            let mut write = Write { group, plural, old, new: new.as_deref_mut() };
            hook.admit(&mut write).map_err(|denial| refusal(self.resource, name, denial))?;
        }
        Ok(())
    }

    /// What was admitted is stored now.
    pub(crate) fn commit(mut self) {
        self.hooks.drain(..).for_each(|mut hook| hook.commit());
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.hooks.drain(..).for_each(|mut hook| hook.rollback());
    }
}

fn refusal(resource: &Resource, name: &str, denial: Denial) -> Refusal {
    match denial {
        Denial::Invalid { field, value, detail } => {
            Refusal::invalid(resource, name, &[Cause::invalid(field, &value, &detail)])
        }
        Denial::Forbidden(why) => Refusal::forbidden(resource, name, &why),
        Denial::Internal(why) => Refusal::internal(&why),
    }
}
