//! Sets of fields, kept in the form `managedFields` writes them (`FieldsV1`).
//!
//! A set is a tree of JSON objects. Each name is an element of a path: `f:replicas` (a field),
//! `k:{"name":"web"}` (the item of a keyed list), `v:"10.0.0.1"` (a value of a set). A node that
//! is itself in the set is empty, or has a `.` beside what is below it. Keeping that form costs no
//! conversion on a write, which touches a few fields of sets that may have hundreds.
//!
//! Source: sigs.k8s.io/structured-merge-diff `fieldpath`.
use serde_json::{Map, Value};

/// Marks a node with something below it as being itself in the set.
const SELF: &str = ".";

type Node = Map<String, Value>;

/// A set of fields of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FieldSet(Node);

impl FieldSet {
    /// Reads a set from what a client has written; elements nobody knows are dropped.
    ///
    /// # Errors
    /// A sentence about an element that can't be read.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let node = value.as_object().ok_or("fields must be an object")?;
        let mut set = Self(read(node)?);
        set.0.remove(SELF);
        Ok(set)
    }

    /// The set from where it is stored, trusted to be well formed.
    pub(super) fn stored(value: Value) -> Self {
        if let Value::Object(node) = value { Self(node) } else { Self::default() }
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths given as lists of field names.
    pub(super) fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut below = Self::default();
            for (n, name) in path.iter().rev().enumerate() {
                let mut outer = Self::default();
                outer.add(field(name), n == 0, below);
                below = outer;
            }
            set.unite(&below);
        }
        set
    }

    /// Adds what is below `element`, and `element` itself if it is `owned`.
    pub(super) fn add(&mut self, element: String, owned: bool, below: Self) {
        if owned || !below.is_empty() {
            let mut node = below.0;
            mark(&mut node, owned);
            self.0.insert(element, Value::Object(node));
        }
    }

    /// Whether `element` itself is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.0.get(element).and_then(Value::as_object).is_some_and(is_member)
    }

    /// What is in the set below `element`.
    pub(super) fn below(&self, element: &str) -> Option<Self> {
        let node = self.0.get(element).and_then(Value::as_object)?;
        let below: Node = node
            .iter()
            .filter(|(name, _)| *name != SELF)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        (!below.is_empty()).then_some(Self(below))
    }

    /// The elements of the first level: whether each is in the set, and what is below it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, bool, Self)> {
        self.0.iter().filter(|(element, _)| *element != SELF).map(|(element, node)| {
            let owned = node.as_object().is_some_and(is_member);
            (element.as_str(), owned, self.below(element).unwrap_or_default())
        })
    }

    /// Adds all of `other`.
    pub(super) fn unite(&mut self, other: &Self) {
        unite(&mut self.0, &other.0);
    }

    /// Takes all of `other` away, path by path: what is below a path of `other` stays.
    pub(super) fn subtract(&mut self, other: &Self) {
        subtract(&mut self.0, &other.0);
    }

    /// Takes all of `other` away, and what is below it.
    pub(super) fn cut(&mut self, other: &Self) {
        cut(&mut self.0, &other.0);
    }

    /// What both have.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        Self(intersection(&self.0, &other.0))
    }

    /// This without `other`.
    pub(super) fn without(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    /// Every path in the set as Kubernetes prints it, a level's members before what is below.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        print(&self.0, "", &mut paths);
        paths
    }
}

/// The element that names a field.
pub(super) fn field(name: &str) -> String {
    let mut element = String::with_capacity(name.len() + 2);
    element.push_str("f:");
    element.push_str(name);
    element
}

/// The element that names an item of a set.
pub(super) fn value(value: &Value) -> String {
    format!("v:{value}")
}

/// The element that names an item by its keys, which are sorted by name.
pub(super) fn keys(keys: &[(&str, &Value)]) -> String {
    let mut element = String::from("k:{");
    for (n, (name, value)) in keys.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        element += &format!("{comma}{}:{value}", Value::from(*name));
    }
    element.push('}');
    element
}

/// The name of the field that `element` is, if it is one.
pub(super) fn name(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

fn read(node: &Node) -> Result<Node, String> {
    let mut out = Node::new();
    for (element, below) in node {
        let below = below.as_object().ok_or_else(|| format!("{element:?} is not an object"))?;
        if element == SELF {
            out.insert(SELF.to_owned(), Value::Object(Node::new()));
            continue;
        }
        let Some(element) = canonical(element)? else { continue };
        let mut inner = read(below)?;
        if inner.len() == 1 {
            inner.remove(SELF);
        }
        out.insert(element, Value::Object(inner));
    }
    Ok(out)
}

/// The one way to write `element`, so that equal elements are equal texts.
fn canonical(element: &str) -> Result<Option<String>, String> {
    let Some((kind, rest)) = element.split_once(':') else {
        return Err(format!("missing colon: {element}"));
    };
    let json = || serde_json::from_str(rest).map_err(|error| format!("{element}: {error}"));
    match kind {
        "f" | "i" => Ok(Some(element.to_owned())),
        "v" => json().map(|json: Value| Some(value(&json))),
        "k" => {
            let json: Map<String, Value> = json().and_then(|json: Value| {
                json.as_object().cloned().ok_or(format!("{element}: no object"))
            })?;
            let mut pairs: Vec<(&str, &Value)> =
                json.iter().map(|(name, value)| (name.as_str(), value)).collect();
            pairs.sort_by_key(|(name, _)| *name);
            Ok(Some(keys(&pairs)))
        }
        _ => Ok(None),
    }
}

fn is_member(node: &Node) -> bool {
    node.is_empty() || node.contains_key(SELF)
}

/// Puts the mark where it belongs: a member with something below it has one.
fn mark(node: &mut Node, owned: bool) {
    if owned && !node.is_empty() {
        node.insert(SELF.to_owned(), Value::Object(Node::new()));
    }
}

fn unite(into: &mut Node, other: &Node) {
    for (element, theirs) in other.iter().filter(|(element, _)| *element != SELF) {
        let Some(theirs) = theirs.as_object() else { continue };
        match into.get_mut(element).and_then(Value::as_object_mut) {
            None => {
                into.insert(element.clone(), Value::Object(theirs.clone()));
            }
            Some(ours) => {
                let owned = is_member(ours) || is_member(theirs);
                ours.remove(SELF);
                unite(ours, theirs);
                mark(ours, owned);
            }
        }
    }
}

fn subtract(from: &mut Node, other: &Node) {
    for (element, theirs) in other.iter().filter(|(element, _)| *element != SELF) {
        let Some(theirs) = theirs.as_object() else { continue };
        let Some(ours) = from.get_mut(element).and_then(Value::as_object_mut) else { continue };
        let owned = is_member(ours) && !is_member(theirs);
        ours.remove(SELF);
        subtract(ours, theirs);
        mark(ours, owned);
        if ours.is_empty() && !owned {
            from.remove(element);
        }
    }
}

fn cut(from: &mut Node, other: &Node) {
    for (element, theirs) in other.iter().filter(|(element, _)| *element != SELF) {
        let Some(theirs) = theirs.as_object() else { continue };
        if is_member(theirs) {
            from.remove(element);
            continue;
        }
        let Some(ours) = from.get_mut(element).and_then(Value::as_object_mut) else { continue };
        let owned = is_member(ours);
        ours.remove(SELF);
        cut(ours, theirs);
        mark(ours, owned);
        if ours.is_empty() && !owned {
            from.remove(element);
        }
    }
}

fn intersection(ours: &Node, theirs: &Node) -> Node {
    let mut both = Node::new();
    for (element, mine) in ours.iter().filter(|(element, _)| *element != SELF) {
        let other = theirs.get(element).and_then(Value::as_object);
        let (Some(mine), Some(other)) = (mine.as_object(), other) else { continue };
        let owned = is_member(mine) && is_member(other);
        let mut node = intersection(mine, other);
        if owned || !node.is_empty() {
            mark(&mut node, owned);
            both.insert(element.clone(), Value::Object(node));
        }
    }
    both
}

fn print(node: &Node, above: &str, paths: &mut Vec<String>) {
    let below = || node.iter().filter(|(element, _)| *element != SELF);
    for (element, node) in below() {
        if node.as_object().is_some_and(is_member) {
            paths.push(format!("{above}{}", shown(element)));
        }
    }
    for (element, node) in below() {
        if let Some(node) = node.as_object().filter(|node| !node.is_empty()) {
            print(node, &format!("{above}{}", shown(element)), paths);
        }
    }
}

/// An element as it stands in a path that people read.
pub(super) fn shown(element: &str) -> String {
    let Some((kind, rest)) = element.split_once(':') else { return element.to_owned() };
    match kind {
        "f" => format!(".{rest}"),
        "v" => format!("[={rest}]"),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::read(&value).unwrap()
    }

    #[test]
    fn sets_are_added_subtracted_and_shared_path_by_path() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = set(json!({"f:a": {"f:b": {}, "f:d": {}}, "f:c": {"f:e": {}}}));
        let mut both = a.clone();
        both.unite(&b);
        assert_eq!(both.paths(), [".a", ".c", ".a.b", ".a.d", ".c.e"]);
        assert_eq!(a.clone().without(&b).paths(), [".a", ".c"]);
        assert_eq!(b.clone().without(&a).paths(), [".a.d", ".c.e"]);
        assert_eq!(a.intersection(&b).paths(), [".a.b"]);
        let mut cut = both.clone();
        cut.cut(&set(json!({"f:a": {}, "f:c": {"f:e": {}}})));
        assert_eq!(cut.paths(), [".c"]);
        assert!(a.clone().without(&a).is_empty());
    }

    #[test]
    fn elements_are_written_one_way_and_shown_as_kubernetes_does() {
        let written = json!({"f:l": {"k:{ \"b\": 1, \"a\":\"x\" }": {".": {}}, "v: \"y\"": {}, "i:2": {}, "z:?": {}}});
        let read = set(written);
        assert_eq!(read.paths(), ["[2]", "[a=\"x\",b=1]", "[=\"y\"]"].map(|e| format!(".l{e}")));
        assert_eq!(
            read.into_value(),
            json!({"f:l": {"i:2": {}, "k:{\"a\":\"x\",\"b\":1}": {}, "v:\"y\"": {}}})
        );
        for wrong in
            [json!([]), json!({"f": {}}), json!({"f:a": 1}), json!({"k:[]": {}}), json!({"v:": {}})]
        {
            assert!(FieldSet::read(&wrong).is_err(), "{wrong}");
        }
    }
}
