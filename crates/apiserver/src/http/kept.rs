//! What hooks are told of objects that no request has brought: those a server starts with, and
//! those that came back because the disk would not take a write.
use super::Api;
use crate::admission::Round;
use crate::resource::{Resource, Shelf};

impl Api {
    /// Has each object that was kept admitted as new.
    pub(crate) fn admit_kept(&self) {
        for (shelf, _) in self.store.counts() {
            self.on_shelf(&shelf, |resource| {
                for (_, object) in self.store.newest(&shelf, None) {
                    let mut kept = object.value.clone();
                    self.tell(resource, |round| round.admit(None, &mut kept));
                }
            });
        }
    }

    /// Has writes that were undone admitted the other way round.
    pub(super) fn admit_undone(&self) {
        for (shelf, event) in self.store.take_undone() {
            let before = event.before.as_ref().map(|object| object.value.clone());
            let after = event.after().map(|object| &object.value);
            self.on_shelf(&shelf, |resource| {
                self.tell(resource, |round| match (after, before.clone()) {
                    (Some(after), None) => round.admit_removal(after),
                    (after, Some(mut before)) => round.admit(after, &mut before),
                    (None, None) => Ok(()),
                });
            });
        }
    }

    fn on_shelf(&self, shelf: &Shelf, tell: impl FnOnce(&Resource)) {
        let registry = self.registry();
        if let Some(resource) = registry.stored().find(|resource| resource.shelf == *shelf) {
            tell(resource);
        }
    }

    /// Hooks can't undo what is a fact; what they complete is theirs to remember.
    fn tell(
        &self,
        resource: &Resource,
        admit: impl FnOnce(&mut Round<'_>) -> Result<(), crate::refusal::Refusal>,
    ) {
        let mut round = self.admission.open(resource);
        match admit(&mut round) {
            Ok(()) => round.commit(),
            Err(refusal) => tracing::warn!(
                kind = resource.kind,
                message = refusal.status()["message"].as_str().unwrap_or(""),
                "a kept object would not be admitted"
            ),
        }
    }
}
