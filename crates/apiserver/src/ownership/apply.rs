//! Server-side apply.
use serde_json::Value;

use super::compare::compare;
use super::conform::conform;
use super::cover::{fields, with_named_fields};
use super::entries::{Entry, Managed, Operation};
use super::merge::merge;
use super::remove::without;
use super::set::FieldSet;
use super::typing::Typing;
use super::{Author, NOBODYS, difference, put, take, update};

/// Who owns what was there before anyone applied.
const BEFORE: &str = "before-first-apply";
/// The applier that takes over what `kubectl apply` wrote on the client's side.
const KUBECTL: &str = "kubectl";
/// Where `kubectl apply` keeps what it last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most bytes all annotations may have together.
const ANNOTATIONS: usize = 256 * 1024;

/// Why a configuration was not applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refused {
    /// It is not of its type: all that is wrong.
    Misshapen(String),
    /// Others own what it would change.
    Conflicts(Vec<Conflict>),
}

/// A field that someone else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The owner as messages name it.
    pub(crate) owner: String,
    /// The field's path.
    pub(crate) field: String,
}

/// What `live` (nothing, if there is no such object) becomes by applying `config`, its owners
/// included. `force` takes what others own.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn apply(
    author: &Author,
    of: &dyn Typing,
    ignored: &FieldSet,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, Refused> {
    conform(of, config).map_err(Refused::Misshapen)?;
    let mut base = live.cloned().unwrap_or_else(|| serde_json::json!({"metadata": {}}));
    let mut managed = Managed::stored(take(&mut base));
    if managed.is_empty() && live.is_some() {
        let before = Author { manager: BEFORE.to_owned(), ..author.clone() };
        let nothing = serde_json::json!({});
        update(&mut managed, &before, &difference(of, ignored, &nothing, &base));
    }
    let request = Request { author, of, ignored, base: &base, config };
    let (mut new, managed) = request.apply(managed, force)?;
    if author.manager == KUBECTL {
        note_last_applied(&mut new, config);
    }
    put(&mut new, managed);
    Ok(new)
}

struct Request<'r> {
    author: &'r Author,
    of: &'r dyn Typing,
    ignored: &'r FieldSet,
    base: &'r Value,
    config: &'r Value,
}

impl Request<'_> {
    fn apply(&self, mut managed: Managed, force: bool) -> Result<(Value, Managed), Refused> {
        let mut own = self.author.entry(&self.author.manager, Operation::Apply);
        let last = managed.take(&own);
        own.fields = fields(self.of, self.config);
        own.fields.cut(self.ignored);
        own.time = last.as_ref().and_then(|last| last.time);
        let merged = merge(self.of, self.base, self.config).map_err(Refused::Misshapen)?;
        let new = match last {
            Some(last) => self.prune(merged, &last.fields, &own, &managed),
            None => merged,
        };
        let difference = difference(self.of, self.ignored, self.base, &new);
        let changed = difference.changed();
        if !force {
            let conflicts = self.conflicts(&managed, &changed);
            if !conflicts.is_empty() {
                return Err(Refused::Conflicts(conflicts));
            }
        }
        managed.disown(&changed);
        managed.disown(&difference.removed);
        own.fields.subtract(&NOBODYS);
        if new != *self.base {
            own.time = Some(self.author.now);
        }
        if !own.fields.is_empty() {
            managed.entries.push(own);
        }
        Ok((new, managed))
    }

    /// `merged` without what this applier wanted `last` time, does not want now, and nobody else
    /// has.
    fn prune(&self, merged: Value, last: &FieldSet, own: &Entry, others: &Managed) -> Value {
        let named = |set: &FieldSet| with_named_fields(self.of, set);
        let last = named(last);
        let mut owned = own.fields.clone();
        for other in &others.entries {
            owned.unite(&other.fields);
        }
        let all = named(&fields(self.of, &merged));
        let pruned = without(self.of, &merged, &last);
        // What someone owns comes back.
        let mut kept = named(&fields(self.of, &pruned));
        kept.unite(&named(&owned));
        let pruned = without(self.of, &merged, &all.clone().without(&kept));
        // What went along with it and was not wanted last time comes back too.
        let kept = named(&fields(self.of, &pruned));
        without(self.of, &merged, &all.without(&kept).intersection(&last))
    }

    /// What others own of `changed`, by owner.
    fn conflicts(&self, managed: &Managed, changed: &FieldSet) -> Vec<Conflict> {
        let allowed = self.last_applied().unwrap_or_default();
        let mut owners: Vec<&Entry> = managed.entries.iter().collect();
        owners.sort_by(|a, b| a.manager.cmp(&b.manager));
        let theirs = |owner: &&Entry| {
            let taken = owner.fields.intersection(changed).without(&allowed);
            let title = owner.title();
            let paths = taken.paths().into_iter();
            paths.map(|field| Conflict { owner: title.clone(), field }).collect::<Vec<_>>()
        };
        owners.iter().flat_map(theirs).collect()
    }

    /// The fields `kubectl apply` wrote on the client's side that are still as it wrote them. They
    /// are its own, though another entry has them.
    fn last_applied(&self) -> Option<FieldSet> {
        if self.author.manager != KUBECTL {
            return None;
        }
        let text = self.base["metadata"]["annotations"][LAST_APPLIED].as_str()?;
        let last: Value = serde_json::from_str(text).ok()?;
        if last["apiVersion"] != self.author.api_version.as_str() {
            return None;
        }
        conform(self.of, &last).ok()?;
        let difference = compare(self.of, &last, self.base);
        let same = fields(self.of, &last).without(&difference.changed());
        Some(same.without(&difference.removed))
    }
}

/// Keeps the annotation of client-side apply true where there is one, so that one can go back.
fn note_last_applied(new: &mut Value, config: &Value) {
    let annotations = new["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).unwrap_or("").is_empty() {
        return;
    }
    let mut config = config.clone();
    let own = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(own) = own {
        own.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.to_owned(), format!("{config}\n").into());
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(size).sum::<usize>() > ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    }
}
