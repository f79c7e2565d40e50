//! The YAML of manifests as JSON, as far as manifests go: mappings, sequences, scalars.
#![expect(clippy::wildcard_enum_match_arm, reason = "a parser's events are not our own enum")]

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Value};

/// Every document of `text`.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let events = Parser::new_from_str(text).map(|event| event.map(|(event, _)| event));
    let mut reader = Reader { events };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let first = reader.next()?;
                documents.push(reader.value(first)?);
            }
            _ => {}
        }
    }
}

struct Reader<I> {
    events: I,
}

impl<'a, I: Iterator<Item = Result<Event<'a>, ScanError>>> Reader<I> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        let event = self.events.next().ok_or("YAML ends early")?;
        event.map_err(|error| error.to_string())
    }

    fn value(&mut self, event: Event<'a>) -> Result<Value, String> {
        match event {
            Event::Scalar(text, style, ..) => Ok(scalar(&text, style)),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Value::Array(items)),
                        event => items.push(self.value(event)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut fields = Map::new();
                loop {
                    match self.next()? {
                        Event::MappingEnd => return Ok(Value::Object(fields)),
                        Event::Scalar(name, ..) => {
                            let event = self.next()?;
                            fields.insert(name.into_owned(), self.value(event)?);
                        }
                        other => return Err(format!("{other:?} is no field name")),
                    }
                }
            }
            other => Err(format!("{other:?} is not supported here")),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true") => Value::Bool(true),
        (ScalarStyle::Plain, "false") => Value::Bool(false),
        (ScalarStyle::Plain, "" | "~" | "null") => Value::Null,
        (ScalarStyle::Plain, number) if number.parse::<i64>().is_ok() => {
            number.parse::<i64>().map_or(Value::Null, Value::from)
        }
        (_, text) => Value::from(text),
    }
}
