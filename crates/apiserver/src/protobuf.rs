//! Objects in Kubernetes' protobuf form, read by the numbers in the schema.
//!
//! Go clients send built-in kinds this way and offer no other. Answers are JSON, which all accept.
//! Source: Kubernetes API concepts, "Kubernetes Protobuf encoding"; protobuf.dev "Encoding".
use base64::Engine;
use serde_json::{Map, Value, json};

use crate::schema::{self, Field, Struct, Type};
use crate::time;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What such bodies begin with.
const MAGIC: &[u8] = b"k8s\0";

/// One field as it stands in a message.
#[derive(Debug, Clone, Copy)]
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// Reads a body.
///
/// # Errors
/// A sentence about what is malformed, or a kind that has no protobuf form here.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let envelope = body.strip_prefix(MAGIC).ok_or("the body does not start with k8s\\0")?;
    let (mut kind, mut raw): (&[u8], &[u8]) = (&[], &[]);
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => kind = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (mut api_version, mut name) = (String::new(), String::new());
    for field in fields(kind) {
        match field? {
            (1, Wire::Bytes(bytes)) => api_version = text(bytes)?,
            (2, Wire::Bytes(bytes)) => name = text(bytes)?,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let structs = &schema::catalog().structs;
    let of = structs
        .get(&schema::full_name(group, version, &name))
        .or_else(|| structs.get(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")))
        // A text without numbers describes a kind that comes as JSON only.
        .filter(|of| of.fields.values().any(|field| !field.wire.is_empty()))
        .ok_or_else(|| format!("{name} of {api_version} can't be read from protobuf"))?;
    let mut object = Map::new();
    fill(of, &[], raw, &mut object)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(name));
    Ok(Value::Object(object))
}

/// Reads the fields of a message, those below `prefix` if it is embedded in another.
fn fill(
    of: &Struct,
    prefix: &[u64],
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), String> {
    for field in fields(bytes) {
        let (number, wire) = field?;
        let place = [prefix, &[number]].concat();
        if let Some((name, field)) = of.fields.iter().find(|(_, field)| field.wire == place) {
            insert(name, field, wire, object).map_err(|error| format!("{name}: {error}"))?;
        } else if let Wire::Bytes(inner) = wire
            && of.fields.values().any(|field| field.wire.starts_with(&place))
        {
            fill(of, &place, inner, object)?;
        }
    }
    Ok(())
}

/// Adds one field. Go writes the zero of whatever is not a pointer: that is absence.
fn insert(
    name: &str,
    field: &Field,
    wire: Wire<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), String> {
    if let Type::List(inner, _) = &field.of {
        let item = value(inner, wire)?;
        let list = object.entry(name).or_insert_with(|| json!([]));
        list.as_array_mut().into_iter().for_each(|list| list.extend(item.clone()));
        return Ok(());
    }
    if let Type::Map(inner) = &field.of {
        let (key, entry) = entry(inner, wire)?;
        object.entry(name).or_insert_with(|| json!({}))[key] = entry;
        return Ok(());
    }
    let zero = |value: &Value| *value == json!("") || *value == json!(0) || *value == json!(false);
    if let Some(value) = value(&field.of, wire)?.filter(|value| field.pointer || !zero(value)) {
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

fn entry(inner: &Type, wire: Wire<'_>) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), None);
    for field in fields(bytes_of(wire)?) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, wire) => value = self::value(inner, wire)?,
            _ => {}
        }
    }
    Ok((key, value.unwrap_or_else(|| json!(""))))
}

/// One value; none for a time that is not set.
fn value(of: &Type, wire: Wire<'_>) -> Result<Option<Value>, String> {
    Ok(Some(match of {
        Type::Number | Type::OrBoolean(_) | Type::Map(_) | Type::List(..) => {
            return Err("can't be read from protobuf; send JSON".to_owned());
        }
        Type::Any => return any(bytes_of(wire)?),
        Type::String => json!(text(bytes_of(wire)?)?),
        Type::Bytes => {
            json!(base64::engine::general_purpose::STANDARD.encode(bytes_of(wire)?))
        }
        Type::Quantity => {
            let mut amount = String::new();
            for field in fields(bytes_of(wire)?) {
                if let (1, Wire::Bytes(bytes)) = field? {
                    amount = text(bytes)?;
                }
            }
            json!(amount)
        }
        Type::Time | Type::MicroTime => return instant(of, bytes_of(wire)?),
        Type::Integer | Type::Long => json!(number(wire)?.cast_signed()),
        Type::Boolean => json!(number(wire)? != 0),
        Type::IntOrString => int_or_string(bytes_of(wire)?)?,
        Type::Named(name) => {
            let of = of.named().ok_or_else(|| format!("{name} is not described"))?;
            let mut object = Map::new();
            fill(of, &[], bytes_of(wire)?, &mut object)?;
            Value::Object(object)
        }
    }))
}

/// What has no fields of its own (`FieldsV1`, `RawExtension`): JSON in the first field of a message.
fn any(bytes: &[u8]) -> Result<Option<Value>, String> {
    let mut json: &[u8] = &[];
    for field in fields(bytes) {
        if let (1, Wire::Bytes(bytes)) = field? {
            json = bytes;
        }
    }
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(json).map(Some).map_err(|error| format!("not JSON: {error}"))
}

fn instant(of: &Type, bytes: &[u8]) -> Result<Option<Value>, String> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => seconds = number,
            (2, Wire::Number(number)) => nanoseconds = number,
            _ => {}
        }
    }
    // A time before 1970 is the zero of Go's clock.
    if seconds == 0 || seconds.cast_signed() < 0 {
        return Ok(None);
    }
    let text = time::rfc3339(seconds.min(time::LAST));
    if *of == Type::Time {
        return Ok(Some(json!(text)));
    }
    let text = text.trim_end_matches('Z');
    Ok(Some(json!(format!("{text}.{:06}Z", nanoseconds / 1000 % 1_000_000))))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_string, mut integer, mut string) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => is_string = number == 1,
            (2, Wire::Number(number)) => integer = number.cast_signed(),
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_string { json!(string) } else { json!(integer) })
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "not UTF-8".to_owned())
}

fn bytes_of(wire: Wire<'_>) -> Result<&[u8], String> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Number(_) => Err("a number where bytes should be".to_owned()),
    }
}

fn number(wire: Wire<'_>) -> Result<u64, String> {
    match wire {
        Wire::Number(number) => Ok(number),
        Wire::Bytes(_) => Err("bytes where a number should be".to_owned()),
    }
}

/// The fields of a message in order; ends after the first that is malformed.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), String>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| "malformed protobuf".to_owned()))
    })
}

fn next<'b>(rest: &mut &'b [u8]) -> Option<(u64, Wire<'b>)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => Wire::Number(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => Wire::Number(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?).into()),
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `typeMeta` of a v1 Namespace, and `raw`.
    fn body(raw: &[u8]) -> Vec<u8> {
        let kind = b"\x0a\x02v1\x12\x09Namespace";
        let mut body = MAGIC.to_vec();
        body.extend([0x0a, u8::try_from(kind.len()).unwrap()]);
        body.extend(kind);
        body.extend([0x12, u8::try_from(raw.len()).unwrap()]);
        body.extend(raw);
        body
    }

    #[test]
    fn a_namespace_is_read_without_the_zeros_of_go() {
        let raw = b"\x0a\x15\x0a\x04shop\x12\x00\x42\x00\x5a\x09\x0a\x03app\x12\x02db";
        assert_eq!(
            decode(&body(raw)),
            Ok(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "shop", "labels": {"app": "db"}},
            }))
        );
    }

    #[test]
    fn what_has_no_fields_of_its_own_is_json_within() {
        let entry = |json: &[u8]| {
            let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
            let raw = [&[0x0a, length(json)], json].concat();
            let entry = [&[0x0a, 1, b'm', 0x3a, length(&raw)], raw.as_slice()].concat();
            let list = [&[0x8a, 1, length(&entry)], entry.as_slice()].concat();
            decode(&body(&[&[0x0a, length(&list)], list.as_slice()].concat()))
        };
        let decoded = entry(br#"{"f:spec":{}}"#).unwrap();
        let owned = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
        assert_eq!(decoded["metadata"]["managedFields"], owned);
        assert_eq!(entry(b"").unwrap()["metadata"]["managedFields"], json!([{"manager": "m"}]));
        let error = entry(b"{").unwrap_err();
        assert!(error.starts_with("metadata: managedFields: fieldsV1: not JSON"), "{error}");
    }

    #[test]
    fn a_body_that_breaks_off_is_refused() {
        let whole = body(b"\x0a\x06\x0a\x04shop");
        for length in 0..whole.len() {
            let result = decode(&whole[..length]);
            // Between two fields a shorter message is a message too, but of no kind.
            assert!(result.is_err() || length >= 19, "{length}: {result:?}");
        }
        assert!(decode(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
