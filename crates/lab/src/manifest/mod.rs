//! Manifests: what people write (YAML or JSON, one or many objects, files, folders or standard
//! input) becomes objects that know where each of their fields was written, so that whatever is
//! wrong with one, here or at the API server, is told with file, document, object, field and line.
//!
//! A bad document or object is set aside with its [`Problem`]; the others go on.

mod apply;
mod read;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use apply::{Action, Outcome, apply, delete};
pub use read::{parse, read};

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Where it comes from.
    pub origin: Origin,
    /// Field `apiVersion`.
    pub api_version: String,
    /// Field `kind`.
    pub kind: String,
    /// Field `metadata.namespace`.
    pub namespace: Option<String>,
    /// Field `metadata.name`; empty if the API server is to make one up (`generateName`).
    pub name: String,
    /// All of it.
    pub value: Value,
    /// Line of each field, by its path as the API server names it: `spec.containers[0].name`.
    lines: BTreeMap<String, usize>,
}

/// Where an object was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named; `-` is standard input.
    pub file: String,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Line in the file, from 1, where it begins.
    pub line: usize,
}

/// Something wrong with one object, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; the line is that of the field, if there is one.
    pub origin: Origin,
    /// The object, if there is one: `Pod default/web`.
    pub object: Option<String>,
    /// Path of the field, if there is one.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Object {
    /// How it is called in messages: `Pod default/web`, `Node node-1`.
    #[must_use]
    pub fn title(&self) -> String {
        let name = match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        };
        let parts = [self.kind.as_str(), name.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// The line where `field` was written, or the innermost thing around it that was.
    #[must_use]
    pub fn line(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.origin.line,
            }
        }
    }

    /// A problem with `field` of this object, or with all of it.
    #[must_use]
    pub fn problem(&self, field: Option<&str>, message: &str) -> Problem {
        let line = field.map_or(self.origin.line, |field| self.line(field));
        Problem {
            origin: Origin { line, ..self.origin.clone() },
            object: Some(self.title()).filter(|title| !title.is_empty()),
            field: field.map(str::to_owned),
            message: message.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, document, line } = &self.origin;
        write!(f, "{file}")?;
        if *line > 0 {
            write!(f, ":{line}: document {document}")?;
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_wrong_with_a_manifest_is_told_with_its_place() {
        let cases = [
            ("just text", "m.yaml:1: document 1: not an object: a string"),
            ("- a\n- b", "m.yaml:1: document 1: not an object: a list"),
            (
                "kind: Pod\nmetadata: {name: a}",
                "m.yaml:1: document 1: Pod a: apiVersion: Required value",
            ),
            (
                "apiVersion: v1\nmetadata: {name: a}",
                "m.yaml:1: document 1: a: kind: Required value",
            ),
            (
                "apiVersion: v1\nkind: Pod",
                "m.yaml:1: document 1: Pod: metadata.name: Required value",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: yes\n",
                "m.yaml:4: document 1: Pod: metadata.name: Invalid value: true: must be a string; \
                 quote it",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 12\n  namespace: x\n",
                "m.yaml:4: document 1: Pod x/: metadata.name: Invalid value: 12: must be a string; \
                 quote it",
            ),
            (
                "---\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n",
                "m.yaml:7: document 1: metadata.name: Duplicate value: it is also on line 6",
            ),
            ("a: [1, 2", "m.yaml:2: document 1: not YAML: "),
            ("a: b: c", "m.yaml:1: document 1: not YAML: "),
            ("a: *x", "m.yaml:1: document 1: not YAML: "),
            ("a: .nan", "m.yaml:1: document 1: a: Invalid value: .nan: JSON has no such number"),
            ("{\"a\": 1}", "m.yaml:1: document 1: apiVersion: Required value"),
            ("? [a]\n: b", "m.yaml:1: document 1: a list can't be the name of a field"),
            (
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n",
                "m.yaml:4: document 1: Pod: metadata.name: Required value",
            ),
            (
                "apiVersion: v1\nkind: List\nitems: 3\n",
                "m.yaml:3: document 1: List: items: Invalid value: 3: must be a list",
            ),
        ];
        for (text, expected) in cases {
            let (objects, problems) = parse("m.yaml", text);
            let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert!(objects.is_empty() && told.len() == 1, "{text}: {objects:?} {told:?}");
            assert!(told[0].starts_with(expected), "{text}\n{}\n{expected}", told[0]);
        }
    }

    #[test]
    fn a_bad_document_does_not_keep_the_others_from_being_read() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: Pod\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata: {name: c}\n---\na: b: c\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata: {name: d, namespace: x}\n";
        let (objects, problems) = parse("m.yaml", text);
        let titles: Vec<_> = objects.iter().map(super::Object::title).collect();
        assert_eq!(titles, ["Pod a", "Pod c", "Pod x/d"]);
        let told: Vec<_> = problems.iter().map(|problem| problem.origin.clone()).collect();
        assert_eq!(
            told.iter().map(|at| (at.document, at.line)).collect::<Vec<_>>(),
            [(2, 5), (4, 11)]
        );
    }

    #[test]
    fn a_field_is_found_where_it_was_written() {
        let text = "# first\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels:\n    \
                    a.b/c: d\nspec:\n  containers:\n  - name: one\n    image: x\n  - image: y\n";
        let (objects, _) = parse("m.yaml", text);
        let object = &objects[0];
        for (field, line) in [
            ("metadata.name", 6),
            ("metadata.labels[a.b/c]", 8),
            ("spec.containers", 10),
            ("spec.containers[0].image", 12),
            ("spec.containers[1]", 13),
            ("spec.containers[1].name", 13),
            ("spec.containers[1].ports[0].name", 13),
            ("spec.nope.nope", 9),
            ("nope", 3),
            ("", 3),
        ] {
            assert_eq!(object.line(field), line, "{field}");
        }
        let problem = object.problem(Some("spec.containers[1].name"), "Required value");
        assert_eq!(
            problem.to_string(),
            "m.yaml:13: document 1: Pod web: spec.containers[1].name: Required value"
        );
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "apiVersion: v1\nkind: PodList\nitems:\n- {apiVersion: v1, kind: Pod, metadata: \
                    {name: a}}\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: b\n";
        let (objects, problems) = parse("m.yaml", text);
        assert!(problems.is_empty(), "{problems:?}");
        let found: Vec<_> = objects.iter().map(|o| (o.title(), o.line("metadata.name"))).collect();
        assert_eq!(found, [("Pod a".to_owned(), 4), ("Pod b".to_owned(), 8)]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "([ -~\n\t]|[:\\-{}\\[\\]&*!|>'\"#,?%@`~]|ü|\u{0}){0,200}") {
            drop(parse("m.yaml", &text));
        }

        #[test]
        fn no_indented_text_breaks_the_reader(
            lines in proptest::collection::vec("( {0,6}[-?:&*a-c<]{1,4} ?[a-c:*&\\[{\"']{0,4})", 0..12),
        ) {
            drop(parse("m.yaml", &lines.join("\n")));
        }
    }
}
