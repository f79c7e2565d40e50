//! YAML as a tree whose values know their lines and the fields that lead to them.
#![expect(clippy::wildcard_enum_match_arm, reason = "a parser's events are not our own enum")]

use std::str::FromStr;
use std::time::Duration;

use saphyr_parser::{Event, Parser, ScanError, Span};

/// Deepest that settings may be nested.
const DEEPEST: usize = 8;

/// A value in settings that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {field}{reason}")]
pub struct Invalid {
    /// Where, from 1.
    pub line: usize,
    /// The field with a colon and a space behind it, like `forward[0].zone: `; empty for all of it.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    line: usize,
    field: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar(String),
    List(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// The one document in `text`; nothing when there is none.
pub(super) fn read(text: &str) -> Result<Option<Node>, Invalid> {
    let mut reader = Reader { events: Parser::new_from_str(text), line: 1 };
    let mut root = None;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(root),
            Event::DocumentStart(_) if root.is_some() => {
                return Err(reader.invalid("", "a second document"));
            }
            Event::DocumentStart(_) => {
                let first = reader.next()?;
                let node = reader.node(first, String::new(), 0)?;
                // An empty document is an empty scalar.
                let is_empty = matches!(&node.content, Content::Scalar(text) if text.is_empty() || text == "~");
                root = (!is_empty).then_some(node);
            }
            _ => {}
        }
    }
}

/// The names and values of a document that is one mapping of names to single values, or to lists of them.
/// A value that is not there (`~`, `null`) is an empty text.
///
/// # Errors
/// What is no such document, with its line and field.
pub fn flat_yaml(text: &str) -> Result<Vec<(String, Vec<String>)>, Invalid> {
    let Some(root) = read(text)? else { return Ok(Vec::new()) };
    let Content::Fields(fields) = root.content else {
        return Err(root.invalid("names with values are wanted"));
    };
    let text = |node: &Node| {
        let text = node.text()?;
        Ok(if text == "~" || text == "null" { String::new() } else { text.to_owned() })
    };
    let values = |node: &Node| match &node.content {
        Content::List(items) => items.iter().map(text).collect(),
        Content::Scalar(_) | Content::Fields(_) => Ok(vec![text(node)?]),
    };
    fields.iter().map(|(name, node)| Ok((name.clone(), values(node)?))).collect()
}

struct Reader<I> {
    events: I,
    line: usize,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<I> {
    fn next(&mut self) -> Result<Event<'a>, Invalid> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(self.invalid("", error.info()))
            }
            None => Err(self.invalid("", "it ends early")),
        }
    }

    fn node(&mut self, event: Event<'a>, field: String, depth: usize) -> Result<Node, Invalid> {
        let line = self.line;
        if depth > DEEPEST {
            return Err(self.invalid(&field, "nested too deep"));
        }
        let content = match event {
            Event::Scalar(text, ..) => Content::Scalar(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break Content::List(items),
                        event => {
                            let field = format!("{field}[{}]", items.len());
                            items.push(self.node(event, field, depth + 1)?);
                        }
                    }
                }
            }
            Event::MappingStart(..) => Content::Fields(self.fields(&field, depth)?),
            _ => return Err(self.invalid(&field, "aliases are not supported")),
        };
        Ok(Node { line, field, content })
    }

    fn fields(&mut self, field: &str, depth: usize) -> Result<Vec<(String, Node)>, Invalid> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        loop {
            match self.next()? {
                Event::MappingEnd => return Ok(fields),
                Event::Scalar(name, ..) => {
                    let dot = if field.is_empty() { "" } else { "." };
                    let path = format!("{field}{dot}{name}");
                    if fields.iter().any(|(other, _)| *other == name) {
                        return Err(self.invalid(&path, "it is there twice"));
                    }
                    let event = self.next()?;
                    fields.push((name.into_owned(), self.node(event, path, depth + 1)?));
                }
                _ => return Err(self.invalid(field, "a field's name is to be a word")),
            }
        }
    }

    fn invalid(&self, field: &str, reason: &str) -> Invalid {
        Invalid { line: self.line, field: prefix(field), reason: reason.to_owned() }
    }
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

impl Node {
    /// This is wrong with it.
    pub(super) fn invalid(&self, reason: impl Into<String>) -> Invalid {
        Invalid { line: self.line, field: prefix(&self.field), reason: reason.into() }
    }

    /// Its text.
    pub(super) fn text(&self) -> Result<&str, Invalid> {
        match &self.content {
            Content::Scalar(text) => Ok(text),
            Content::List(_) | Content::Fields(_) => Err(self.invalid("a single value is wanted")),
        }
    }

    /// Its text, read.
    pub(super) fn parse<T: FromStr>(&self, wanted: &str) -> Result<T, Invalid> {
        let text = self.text()?;
        text.parse().map_err(|_| self.invalid(format!("{text:?} is not {wanted}")))
    }

    /// Its text as a time: `10s`, `5m`, `1h`, `500ms`.
    pub(super) fn duration(&self) -> Result<Duration, Invalid> {
        let text = self.text()?;
        duration(text).ok_or_else(|| self.invalid(format!("{text:?} is not a time like 10s or 1h")))
    }

    /// Its items.
    pub(super) fn list(&self) -> Result<&[Node], Invalid> {
        match &self.content {
            Content::List(items) => Ok(items),
            Content::Scalar(text) if text.is_empty() => Ok(&[]),
            Content::Scalar(_) | Content::Fields(_) => Err(self.invalid("a list is wanted")),
        }
    }

    /// Its fields.
    pub(super) fn fields(&self) -> Result<impl Iterator<Item = (&str, &Node)>, Invalid> {
        match &self.content {
            Content::Fields(fields) => Ok(fields.iter().map(|(name, node)| (&**name, node))),
            Content::Scalar(_) | Content::List(_) => Err(self.invalid("fields are wanted")),
        }
    }
}

/// Reads a time as Go writes them, of one unit, no longer than a day.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let millis = number.checked_mul(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    })?;
    Some(Duration::from_millis(millis)).filter(|time| time.as_secs() <= 86_400)
}
