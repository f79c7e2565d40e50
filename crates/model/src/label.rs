//! Labels, and what selectors require of them.

use std::fmt;
use std::sync::Arc;

use crate::Interner;

/// The labels of an object. A copy shares them.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of the label `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().map(|(key, value)| (&**key, &**value))
    }

    /// Has its keys, which many objects have, in memory once. Those of a copy stay what they are.
    pub(crate) fn share(&mut self, interner: &mut Interner) {
        for (key, _) in Arc::get_mut(&mut self.0).into_iter().flatten() {
            interner.share(key);
        }
    }

    /// Keys and values, by key, to share them.
    pub fn entries(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.0.iter()
    }
}

/// Of a key that comes twice the last value counts.
impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        let sorted: std::collections::BTreeMap<Arc<str>, Arc<str>> = labels.collect();
        Labels(sorted.into_iter().collect())
    }
}

/// Requirements on labels, all of which must hold. Two that say the same are equal, whatever the order
/// they were written in and whether as `matchLabels` or as `matchExpressions`.
///
/// Source: `meta/v1 LabelSelector`.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector(Box<[Requirement]>);

/// One requirement: what must hold of the label `key`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold of it.
    pub test: LabelTest,
}

/// What must hold of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelTest {
    /// It is there and has one of these values.
    In(Box<[Arc<str>]>),
    /// It is not there, or has none of these values.
    NotIn(Box<[Arc<str>]>),
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
}

impl LabelSelector {
    /// The selector with these requirements; without any it selects everything.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut all: Vec<Requirement> = requirements.into_iter().map(Requirement::sorted).collect();
        all.sort_unstable();
        all.dedup();
        LabelSelector(all.into())
    }

    /// Its requirements, by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|Requirement { key, test }| match (test, labels.get(key)) {
            (LabelTest::In(values), Some(value)) => values.iter().any(|one| **one == *value),
            (LabelTest::NotIn(values), Some(value)) => values.iter().all(|one| **one != *value),
            (LabelTest::Exists, Some(_)) | (LabelTest::NotIn(_) | LabelTest::Missing, None) => true,
            (LabelTest::Missing, Some(_)) | (LabelTest::In(_) | LabelTest::Exists, None) => false,
        })
    }
}

impl Requirement {
    fn sorted(mut self) -> Self {
        if let LabelTest::In(values) | LabelTest::NotIn(values) = &mut self.test {
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            *values = sorted.into();
        }
        self
    }
}

/// As kubectl takes it: `app=web,!old,tier in (a,b)`; everything is `*`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("*");
        }
        for (n, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if n > 0 { "," } else { "" })?;
            match test {
                LabelTest::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
                LabelTest::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
                LabelTest::In(values) => write!(f, "{key} in ({})", values.join(",")),
                LabelTest::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
                LabelTest::Exists => write!(f, "{key}"),
                LabelTest::Missing => write!(f, "!{key}"),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, test: LabelTest) -> Requirement {
        Requirement { key: key.into(), test }
    }

    fn values(values: &[&str]) -> Box<[Arc<str>]> {
        values.iter().map(|value| Arc::from(*value)).collect()
    }

    #[test]
    fn every_requirement_must_hold() {
        let labels: Labels = [("app", "web"), ("empty", "")].into_iter().collect();
        let cases = [
            (requirement("app", LabelTest::In(values(&["db", "web"]))), true),
            (requirement("app", LabelTest::In(values(&["db"]))), false),
            (requirement("none", LabelTest::In(values(&["web"]))), false),
            (requirement("app", LabelTest::NotIn(values(&["web"]))), false),
            (requirement("app", LabelTest::NotIn(values(&["db"]))), true),
            (requirement("none", LabelTest::NotIn(values(&["db"]))), true),
            (requirement("empty", LabelTest::Exists), true),
            (requirement("none", LabelTest::Exists), false),
            (requirement("app", LabelTest::Missing), false),
            (requirement("none", LabelTest::Missing), true),
        ];
        let all = LabelSelector::new(cases.iter().map(|(requirement, _)| requirement.clone()));
        assert!(!all.matches(&labels));
        assert!(LabelSelector::default().matches(&labels));
        let met = cases.iter().filter(|(_, holds)| *holds).map(|(met, _)| met.clone());
        assert!(LabelSelector::new(met).matches(&labels));
        for (requirement, holds) in cases {
            let selector = LabelSelector::new([requirement]);
            assert_eq!(selector.matches(&labels), holds, "{selector}");
        }
    }

    #[test]
    fn selectors_that_say_the_same_are_the_same() {
        let one = LabelSelector::new([
            requirement("b", LabelTest::In(values(&["y", "x", "y"]))),
            requirement("a", LabelTest::Exists),
        ]);
        let other = LabelSelector::new([
            requirement("a", LabelTest::Exists),
            requirement("b", LabelTest::In(values(&["x", "y"]))),
            requirement("a", LabelTest::Exists),
        ]);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "a,b in (x,y)");
        assert_eq!(LabelSelector::default().to_string(), "*");
    }

    #[test]
    fn labels_are_found_by_their_keys() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(
            (labels.get("a"), labels.get("b"), labels.get("c")),
            (Some("2"), Some("3"), None)
        );
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
    }
}
