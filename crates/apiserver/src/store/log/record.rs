//! What a line of the file says.
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Event, Key, Object};
use crate::resource::Shelf;

/// The form this code writes, and the newest it reads.
pub(super) const FORM: u64 = 1;

/// The field of the header that names the form.
const HEADER: &str = "seaway-objects";

/// A line after the header.
#[derive(Debug)]
pub(super) enum Record {
    /// One object of the snapshot.
    Object { shelf: String, key: Key, value: Value },
    /// Writes that became durable together.
    Commit(Vec<Write>),
}

/// One write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) version: u64,
    pub(super) shelf: String,
    pub(super) key: Key,
    /// None of what was removed.
    pub(super) value: Option<Value>,
}

/// Why a line is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    /// It was not written whole, or changed afterwards.
    #[error("the checksum does not match")]
    Checksum,
    /// It was written whole and says something this code does not know.
    #[error("{0}")]
    Content(String),
}

/// The header of a snapshot at `version`.
pub(super) fn header(version: u64) -> Vec<u8> {
    sealed(json!({HEADER: FORM, "version": version}).to_string())
}

/// The form and version a header names.
pub(super) fn form(line: &[u8]) -> Result<(u64, u64), BadLine> {
    let header: Value = parsed(line)?;
    let number = |field: &str| {
        let number = header[field].as_u64();
        number.ok_or_else(|| BadLine::Content(format!("the header has no {field}")))
    };
    Ok((number(HEADER)?, number("version")?))
}

/// One object of a snapshot.
pub(super) fn object(shelf: &Shelf, key: &Key, object: &Object) -> Vec<u8> {
    let mut line = String::with_capacity(object.json().len() + 128);
    entry(&mut line, None, shelf, key, Some(object));
    sealed(line)
}

/// The line of writes that become durable together.
pub(super) fn commit(events: &[(Shelf, Arc<Event>)]) -> Vec<u8> {
    let mut line = String::from("[");
    for (n, (shelf, event)) in events.iter().enumerate() {
        line.push_str(if n > 0 { "," } else { "" });
        let object = event.after().map(AsRef::as_ref);
        entry(&mut line, Some(event.version), shelf, &event.key, object);
    }
    line.push(']');
    sealed(line)
}

/// Objects come as the bytes their readers get: nothing is serialised twice.
fn entry(
    line: &mut String,
    version: Option<u64>,
    shelf: &Shelf,
    key: &Key,
    object: Option<&Object>,
) {
    let at = json!([&**shelf, key.namespace, key.name]);
    write!(line, "{{\"at\":{at}").expect("a string takes whatever is written to it");
    if let Some(version) = version {
        write!(line, ",\"version\":{version}").expect("a string takes whatever is written to it");
    }
    if let Some(object) = object {
        line.push_str(",\"object\":");
        line.push_str(&String::from_utf8_lossy(object.json()));
    }
    line.push('}');
}

/// What a line says, which ends before its newline.
pub(super) fn read(line: &[u8]) -> Result<Record, BadLine> {
    let mut line = parsed(line)?;
    match line.as_array_mut().map(std::mem::take) {
        Some(writes) => writes.into_iter().map(write).collect::<Result<_, _>>().map(Record::Commit),
        None => object_of(line),
    }
}

fn object_of(mut line: Value) -> Result<Record, BadLine> {
    let (shelf, key) = place(&line)?;
    let value = line["object"].take();
    if !value.is_object() {
        return Err(BadLine::Content("an entry without its object".to_owned()));
    }
    Ok(Record::Object { shelf, key, value })
}

fn write(mut value: Value) -> Result<Write, BadLine> {
    let (shelf, key) = place(&value)?;
    let version = value["version"].as_u64();
    let version =
        version.ok_or_else(|| BadLine::Content("a write without a version".to_owned()))?;
    let value = match value.get_mut("object").map(Value::take) {
        None => None,
        Some(value @ Value::Object(_)) => Some(value),
        Some(_) => return Err(BadLine::Content("a write of something else".to_owned())),
    };
    Ok(Write { version, shelf, key, value })
}

fn place(value: &Value) -> Result<(String, Key), BadLine> {
    match (value["at"][0].as_str(), value["at"][1].as_str(), value["at"][2].as_str()) {
        (Some(shelf), Some(namespace), Some(name)) => {
            Ok((shelf.to_owned(), Key::new(namespace, name)))
        }
        _ => Err(BadLine::Content("an entry without its place".to_owned())),
    }
}

/// `crc32 length body\n`: the checksum, of all that follows it, as eight hex digits; the length of
/// the body in bytes. JSON as it is written here has no line breaks.
fn sealed(body: String) -> Vec<u8> {
    let summed = format!("{} {body}", body.len());
    format!("{:08x} {summed}\n", crc32fast::hash(summed.as_bytes())).into_bytes()
}

fn parsed(line: &[u8]) -> Result<Value, BadLine> {
    let (sum, summed) = line.split_at_checked(9).ok_or(BadLine::Checksum)?;
    if sum != format!("{:08x} ", crc32fast::hash(summed)).as_bytes() {
        return Err(BadLine::Checksum);
    }
    let (_, body) = split_length(summed).ok_or(BadLine::Checksum)?;
    serde_json::from_slice(body).map_err(|error| BadLine::Content(error.to_string()))
}

/// Whether a bad line at the end of a file may be what is left of one commit: it is not longer than
/// it says it is. If it is, a line break was lost, and whole commits with it.
pub(super) fn may_be_torn(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let length = line.get(9..).and_then(split_length);
    length.is_none_or(|(length, body)| body.len() <= length)
}

fn split_length(summed: &[u8]) -> Option<(usize, &[u8])> {
    let end = summed.iter().position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(&summed[..end]).ok()?.parse().ok()?;
    Some((length, &summed[end + 1..]))
}
