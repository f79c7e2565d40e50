//! The kinds served now: those every cluster has, and those that definitions define.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Resource, Rules, builtin};
use crate::crd::Origin;

/// All kinds, by group, version and plural, in the order discovery lists them.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
    /// The kinds of each definition, in all its versions.
    custom: BTreeMap<Origin, Vec<Arc<Resource>>>,
}

impl Registry {
    /// The kinds every cluster has.
    pub(crate) fn builtin() -> Self {
        let mut registry = Self { resources: BTreeMap::new(), custom: BTreeMap::new() };
        builtin::resources().into_iter().for_each(|resource| registry.serve(Arc::new(resource)));
        registry
    }

    /// Adds a kind that has no place yet.
    fn serve(&mut self, resource: Arc<Resource>) {
        let Resource { group, version, plural, .. } = resource.as_ref();
        let place = (group.clone(), version.clone(), plural.clone());
        self.resources.entry(place).or_insert(resource);
    }

    /// Adds the kinds that a definition defines.
    pub(crate) fn define(&mut self, origin: Origin, kinds: Vec<Arc<Resource>>) {
        for kind in &kinds {
            if kind.custom.as_ref().is_some_and(|custom| custom.served) {
                self.serve(kind.clone());
            }
        }
        self.custom.insert(origin, kinds);
    }

    /// The kinds of a definition, if it is known in this state.
    pub(crate) fn defined_by(&self, origin: &Origin) -> Option<&Vec<Arc<Resource>>> {
        self.custom.get(origin)
    }

    /// Whether the kinds of these definitions, and of no others, are served.
    pub(crate) fn defines<'o>(&self, origins: impl Iterator<Item = &'o Origin>) -> bool {
        self.custom.keys().eq(origins.collect::<BTreeSet<_>>())
    }

    /// Whether this very kind is still served.
    pub(crate) fn serves(&self, resource: &Arc<Resource>) -> bool {
        let Resource { group, version, plural, .. } = resource.as_ref();
        self.get(group, version, plural).is_some_and(|now| {
            resource.custom.is_none() == now.custom.is_none()
                && (now.custom.is_none() || Arc::ptr_eq(now, resource))
        })
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// One version of each kind that is stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let stored = |r: &&Arc<Resource>| {
            r.rules != Rules::Review && r.renamed.is_empty() && r.custom.is_none()
        };
        let as_stored = |r: &&Arc<Resource>| {
            r.custom.as_ref().is_some_and(|custom| custom.stored_as == r.api_version())
        };
        let custom = self.custom.values().flatten().filter(as_stored);
        self.resources.values().filter(stored).chain(custom)
    }

    /// Every group with its versions, those first that clients prefer; the core group is the
    /// empty name.
    pub(crate) fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version, _) in self.resources.keys() {
            let versions = groups.entry(group).or_default();
            if versions.last() != Some(&version.as_str()) {
                versions.push(version);
            }
        }
        groups.values_mut().for_each(|versions| versions.sort_by_key(|version| priority(version)));
        groups
    }
}

/// A version's place among those of its group: stable before beta before alpha, newer before
/// older, other names last.
///
/// Source: Kubernetes "Versions in CustomResourceDefinitions", "Version priority".
fn priority(version: &str) -> (u8, Reverse<u32>, Reverse<u32>, &str) {
    let last = (3, Reverse(0), Reverse(0), version);
    let Some(rest) = version.strip_prefix('v') else { return last };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let Ok(major) = major.parse() else { return last };
    let (rank, minor) = match rest {
        "" => (0, ""),
        _ if rest.starts_with("beta") => (1, &rest[4..]),
        _ if rest.starts_with("alpha") => (2, &rest[5..]),
        _ => return last,
    };
    match minor.parse() {
        Ok(minor) => (rank, Reverse(major), Reverse(minor), ""),
        Err(_) if rest.is_empty() => (0, Reverse(major), Reverse(0), ""),
        Err(_) => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_a_group_are_listed_as_clients_prefer_them() {
        let mut given = [
            "foo1",
            "v1",
            "v2alpha1",
            "v10",
            "v11beta2",
            "v2",
            "v1alpha",
            "v12alpha1",
            "v3beta1",
            "v11alpha2",
        ];
        given.sort_by_key(|version| priority(version));
        let expected = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "v2alpha1",
            "foo1",
            "v1alpha",
        ];
        assert_eq!(given, expected);
    }
}
