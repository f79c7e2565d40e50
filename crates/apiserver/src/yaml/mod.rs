//! YAML documents as JSON values whose fields know their lines, read as `kubectl` reads them.
//!
//! A field that is written twice has its last value, and is noted. Aliases are followed, and so
//! are merges (`<<`), but a document may not grow beyond a bound by them.

mod scalar;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Value};

/// Most values a document may have once its aliases are followed.
const MOST_VALUES: usize = 200_000;
/// Deepest a document may be nested.
const DEEPEST: usize = 64;

/// One document.
#[derive(Clone, Debug)]
pub struct Document {
    /// All of it.
    pub root: Rc<Node>,
    /// Every field that is written more than once, in the order of the document.
    pub duplicates: Vec<Unreadable>,
}

/// One value of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins, from 1.
    pub line: usize,
    /// What it is.
    pub content: Content,
    /// How many values it has, itself included.
    size: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A scalar.
    Leaf(Value),
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, in the order it was written; each field with the line of its name.
    Fields(Vec<(String, usize, Rc<Node>)>),
}

/// Why a document can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where, from 1.
    pub line: usize,
    /// The field, if it is about one.
    pub field: Option<String>,
    /// Why.
    pub message: String,
    /// The line of what it collides with, if it does.
    pub earlier: Option<usize>,
}

/// Reads one document; `None` if there is nothing in it.
///
/// # Errors
/// Where it is no YAML, or more than anybody writes.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's events: what is not a value is refused"
)]
pub fn read(text: &str) -> Result<Option<Document>, Unreadable> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        path: Vec::new(),
        left: MOST_VALUES,
        duplicates: Vec::new(),
    };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(None),
            event => {
                let root = reader.node(event, span)?;
                return match reader.next()?.0 {
                    Event::DocumentEnd | Event::StreamEnd => {
                        Ok(Some(Document { root, duplicates: reader.duplicates }))
                    }
                    _ => Err(reader.problem(span, "not YAML: more than one value")),
                };
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
    path: Vec<String>,
    left: usize,
    duplicates: Vec<Unreadable>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        let not_yaml = |error: &ScanError| Unreadable {
            line: error.marker().line().max(1),
            field: None,
            message: format!("not YAML: {}", error.info()),
            earlier: None,
        };
        match self.parser.next_event() {
            Some(event) => event.map_err(|error| not_yaml(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn problem(&self, span: Span, message: &str) -> Unreadable {
        let field = Some(self.path.concat()).filter(|path| !path.is_empty());
        let field = field.map(|path| path.trim_start_matches('.').to_owned());
        Unreadable {
            line: span.start.line().max(1),
            field,
            message: message.to_owned(),
            earlier: None,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's events: what is not a value is refused"
    )]
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Rc<Node>, Unreadable> {
        if self.path.len() > DEEPEST {
            let message = format!("nested deeper than {DEEPEST}");
            return Err(Unreadable { field: None, ..self.problem(span, &message) });
        }
        self.charge(1, span)?;
        let (anchor, content) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let is_string =
                    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let value = match style {
                    ScalarStyle::Plain if !is_string => scalar::resolve(&text).map_err(|_| {
                        let message = format!("Invalid value: {text}: JSON has no such number");
                        self.problem(span, &message)
                    })?,
                    _ => Value::String(text.into_owned()),
                };
                (anchor, Content::Leaf(value))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list()?),
            Event::MappingStart(anchor, _) => (anchor, self.fields()?),
            _ => return Err(self.problem(span, "not YAML: a value is missing")),
        };
        let size = 1 + match &content {
            Content::Leaf(_) => 0,
            Content::List(items) => items.iter().map(|item| item.size).sum(),
            Content::Fields(fields) => fields.iter().map(|(_, _, field)| field.size).sum(),
        };
        let node = Rc::new(Node { line: span.start.line().max(1), content, size });
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Takes note that the document has `values` more.
    fn charge(&mut self, values: usize, span: Span) -> Result<(), Unreadable> {
        self.left = self.left.checked_sub(values).ok_or_else(|| {
            let message = format!("more than {MOST_VALUES} values, aliases followed");
            Unreadable { field: None, ..self.problem(span, &message) }
        })?;
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Rc<Node>, Unreadable> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(self.problem(span, "an alias of something that contains it"));
        };
        self.charge(node.size, span)?;
        Ok(node)
    }

    fn list(&mut self) -> Result<Content, Unreadable> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => {
                    self.path.push(format!("[{}]", items.len()));
                    items.push(self.node(event, span)?);
                    self.path.pop();
                }
            }
        }
    }

    fn fields(&mut self) -> Result<Content, Unreadable> {
        let mut fields: Vec<(String, usize, Rc<Node>)> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let name = self.field_name(event, span)?;
            self.path.push(step(&name));
            if let Some(line) = seen.insert(name.clone(), span.start.line()) {
                let problem = self.problem(span, "Duplicate value");
                self.duplicates.push(Unreadable { earlier: Some(line), ..problem });
                fields.retain(|(known, _, _)| *known != name);
            }
            let (event, at) = self.next()?;
            let node = self.node(event, at)?;
            if is_merge {
                self.merge(&node, span, &mut merged)?;
            } else {
                fields.push((name, span.start.line().max(1), node));
            }
            self.path.pop();
        }
        // What is written wins over what is merged, and an earlier merge over a later one.
        for (name, line, node) in merged {
            if !fields.iter().any(|(known, _, _)| *known == name) {
                fields.push((name, line, node));
            }
        }
        Ok(Content::Fields(fields))
    }

    fn field_name(&mut self, event: Event<'a>, span: Span) -> Result<String, Unreadable> {
        match &self.node(event, span)?.content {
            Content::Leaf(value) => Ok(scalar::field_name(value.clone()).unwrap_or_default()),
            Content::List(_) => Err(self.problem(span, "a list can't be the name of a field")),
            Content::Fields(_) => Err(self.problem(span, "an object can't be the name of a field")),
        }
    }

    fn merge(
        &mut self,
        node: &Node,
        span: Span,
        into: &mut Vec<(String, usize, Rc<Node>)>,
    ) -> Result<(), Unreadable> {
        match &node.content {
            Content::Fields(fields) => {
                into.extend(fields.iter().cloned());
                Ok(())
            }
            Content::List(items) => items.iter().try_for_each(|item| match &item.content {
                Content::Fields(_) => self.merge(item, span, into),
                Content::List(_) | Content::Leaf(_) => {
                    Err(self.problem(span, "only objects can be merged"))
                }
            }),
            Content::Leaf(_) => Err(self.problem(span, "only objects can be merged")),
        }
    }
}

/// A field's part of a path, as the API server writes it: a name that has a dot in brackets.
fn step(name: &str) -> String {
    if name.contains(['.', '/', '[']) { format!("[{name}]") } else { format!(".{name}") }
}

impl Node {
    /// The value without its lines.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Leaf(value) => value.clone(),
            Content::List(items) => items.iter().map(|item| item.value()).collect(),
            Content::Fields(fields) => {
                let pairs = fields.iter().map(|(name, _, node)| (name.clone(), node.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Node> {
        match &self.content {
            Content::Fields(fields) => {
                fields.iter().find(|(known, _, _)| known == name).map(|(_, _, node)| &**node)
            }
            Content::Leaf(_) | Content::List(_) => None,
        }
    }

    /// The line of every field below, by path.
    #[must_use]
    pub fn lines(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        self.note("", &mut lines);
        lines
    }

    fn note(&self, path: &str, lines: &mut BTreeMap<String, usize>) {
        match &self.content {
            Content::Leaf(_) => {}
            Content::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    item.note(&path, lines);
                    lines.insert(path, item.line);
                }
            }
            Content::Fields(fields) => {
                for (name, line, node) in fields {
                    let path = format!("{path}{}", step(name));
                    let path = path.strip_prefix('.').unwrap_or(&path);
                    node.note(path, lines);
                    lines.insert(path.to_owned(), *line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read(text).unwrap().unwrap().root.value()
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let text = "base: &b {x: 1, z: 2}\nown: {<<: *b, z: 3}\nlist: [*b, *b]\nk: &n 5\nm: *n\n";
        let base = json!({"x": 1, "z": 2});
        assert_eq!(
            value(text),
            json!({"base": base, "own": {"z": 3, "x": 1}, "list": [base, base], "k": 5, "m": 5})
        );
    }

    #[test]
    fn quoted_scalars_are_strings() {
        let text = "a: 'yes'\nb: \"1\"\nc: !!str 1\nd: |\n  1\ne: >-\n  x\n  y\n1: z\ntrue: t\n";
        let expected =
            json!({"a": "yes", "b": "1", "c": "1", "d": "1\n", "e": "x y", "1": "z", "true": "t"});
        assert_eq!(value(text), expected);
    }

    #[test]
    fn of_a_field_that_is_written_twice_the_last_value_counts() {
        let document = read("a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap().unwrap();
        assert_eq!(document.root.value(), json!({"a": 3, "b": {"c": 2}}));
        let duplicates: Vec<_> = document
            .duplicates
            .iter()
            .map(|d| (d.line, d.field.as_deref().unwrap(), d.earlier.unwrap()))
            .collect();
        assert_eq!(duplicates, [(2, "b.c", 2), (3, "a", 1)]);
    }

    #[test]
    fn aliases_can_not_make_a_document_explode() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
        }
        let error = read(&text).unwrap_err();
        assert_eq!(error.message, "more than 200000 values, aliases followed");
        let deep = "[".repeat(5000);
        assert!(read(&deep).is_err());
    }
}
