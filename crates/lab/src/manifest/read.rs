//! Files, folders and standard input, cut into documents and objects.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use apiserver::yaml::{self, Content, Node, Unreadable};
use serde_json::Value;

use super::{Object, Origin, Problem};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads manifests: a file, every `.yaml`, `.yml` and `.json` file of a folder by name, or
/// standard input for `-`. What can't be read is among the problems.
#[must_use]
pub fn read(path: &Path) -> (Vec<Object>, Vec<Problem>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    let files = match files(path) {
        Ok(files) => files,
        Err(error) => return (objects, vec![unread(path, &error)]),
    };
    for file in files {
        match text(&file) {
            Ok(text) => {
                let (more, wrong) = parse(&file.display().to_string(), &text);
                objects.extend(more);
                problems.extend(wrong);
            }
            Err(error) => problems.push(unread(&file, &error)),
        }
    }
    (objects, problems)
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let end = file.extension().unwrap_or_default();
        if (end == "yaml" || end == "yml" || end == "json") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::other("no .yaml, .yml or .json file in this folder"));
    }
    Ok(files)
}

fn text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().take(LARGEST + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("larger than {} MiB", LARGEST >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("not text in UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    let origin = Origin { file: path.display().to_string(), document: 0, line: 0 };
    Problem { origin, object: None, field: None, message: format!("read: {error}") }
}

/// Reads the documents of one text, which is called `file` in problems. Whatever the text, it is
/// answered with objects, problems or both.
#[must_use]
pub fn parse(file: &str, text: &str) -> (Vec<Object>, Vec<Problem>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    let mut number = 0;
    for (before, part) in documents(text) {
        let origin = |line: usize, number| Origin {
            file: file.to_owned(),
            document: number,
            line: before + line,
        };
        match document(&part) {
            Ok(None) => {}
            Ok(Some(node)) if is_nothing(&node) => {}
            Ok(Some(node)) => {
                number += 1;
                take(&node, &origin(node.line, number), before, (&mut objects, &mut problems));
            }
            Err(wrong) => {
                number += 1;
                let also =
                    |line| format!("{}: it is also on line {}", wrong.message, before + line);
                let message = wrong.earlier.map_or(wrong.message.clone(), also);
                let origin = origin(wrong.line, number);
                problems.push(Problem { origin, object: None, field: wrong.field, message });
            }
        }
    }
    (objects, problems)
}

/// The documents of a text, each with the number of lines before it. They are cut apart before
/// they are read, so that a broken one does not take the rest along.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        let is_separator = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if is_separator {
            parts.push((number, String::new()));
        }
        if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// The value of a document. A field may be written once: leniency hides mistakes.
fn document(text: &str) -> Result<Option<Rc<Node>>, Unreadable> {
    let Some(document) = yaml::read(text)? else { return Ok(None) };
    document.duplicates.into_iter().next().map_or(Ok(Some(document.root)), Err)
}

fn is_nothing(node: &Node) -> bool {
    matches!(&node.content, Content::Leaf(Value::Null))
}

type Found<'a> = (&'a mut Vec<Object>, &'a mut Vec<Problem>);

/// Takes one document, or one item of a list, as an object or as a list of them.
fn take(node: &Node, origin: &Origin, before: usize, (objects, problems): Found<'_>) {
    let bare = match &node.content {
        Content::Fields(_) => None,
        Content::List(_) => Some("a list"),
        Content::Leaf(Value::String(_)) => Some("a string"),
        Content::Leaf(_) => Some("a scalar"),
    };
    if let Some(what) = bare {
        let message = format!("not an object: {what}");
        problems.push(Problem { origin: origin.clone(), object: None, field: None, message });
        return;
    }
    let object = object(node, origin, before);
    if object.kind.ends_with("List") && node.field("items").is_some() {
        match node.field("items").map(|items| (&items.content, items)) {
            Some((Content::List(items), _)) => {
                for item in items {
                    let origin = Origin { line: before + item.line, ..origin.clone() };
                    take(item, &origin, before, (&mut *objects, &mut *problems));
                }
            }
            Some((_, items)) => {
                let message = format!("Invalid value: {}: must be a list", items.value());
                problems.push(object.problem(Some("items"), &message));
            }
            None => {}
        }
        return;
    }
    match check(&object) {
        None => objects.push(object),
        Some((field, message)) => problems.push(object.problem(Some(field), &message)),
    }
}

fn object(node: &Node, origin: &Origin, before: usize) -> Object {
    let value = node.value();
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let lines = node.lines().into_iter().map(|(path, line)| (path, before + line)).collect();
    Object {
        origin: origin.clone(),
        api_version: text("/apiVersion").unwrap_or_default(),
        kind: text("/kind").unwrap_or_default(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name").unwrap_or_default(),
        lines,
        value,
    }
}

/// What no API server could make anything of: a field and what is wrong with it.
fn check(object: &Object) -> Option<(&'static str, String)> {
    let fields = [
        ("apiVersion", "/apiVersion"),
        ("kind", "/kind"),
        ("metadata.name", "/metadata/name"),
        ("metadata.namespace", "/metadata/namespace"),
    ];
    let is_named_later = object.value.pointer("/metadata/generateName").is_some();
    for (field, path) in fields {
        match object.value.pointer(path) {
            Some(Value::String(text)) if !text.is_empty() => {}
            None | Some(Value::Null) if field == "metadata.namespace" => {}
            None if field == "metadata.name" && is_named_later => {}
            None | Some(Value::Null | Value::String(_)) => {
                return Some((field, "Required value".to_owned()));
            }
            Some(other) => {
                let hint = if other.is_object() || other.is_array() { "" } else { "; quote it" };
                return Some((field, format!("Invalid value: {other}: must be a string{hint}")));
            }
        }
    }
    None
}
