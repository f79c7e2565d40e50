//! `metadata.managedFields`: who owns which fields of an object.
//!
//! Source: k8s.io/apimachinery `util/managedfields/internal`.
use serde_json::{Map, Value, json};

use super::set::FieldSet;
use crate::time;

/// How many entries of updates an object keeps.
const MOST_UPDATES: usize = 10;
/// Who owns what the oldest of too many updaters owned.
const ANCIENT: &str = "ancient-changes";
/// The only format of field sets there is.
const FORMAT: &str = "FieldsV1";

/// How an owner came by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// The fields of one owner.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
    /// When it last came by a field, in seconds since the epoch.
    pub(super) time: Option<u64>,
    pub(super) fields: FieldSet,
}

/// The owners of an object's fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managed {
    pub(super) entries: Vec<Entry>,
}

impl Entry {
    /// Whether both are the same owner. An applier is one whatever version it writes.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The owner as messages name it.
    pub(super) fn title(&self) -> String {
        let mut title = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            title += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            title += &format!(" using {}", self.api_version);
        }
        title
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = |field: &str| value[field].as_str().unwrap_or("").to_owned();
        let operation = match value["operation"].as_str() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        if text("fieldsType") != FORMAT {
            return Err(format!("invalid fieldsType {:?}", text("fieldsType")));
        }
        let fields = value.get("fieldsV1").filter(|fields| !fields.is_null());
        let fields = fields.map_or_else(|| Ok(FieldSet::default()), FieldSet::read)?;
        Ok(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().and_then(time::parse_rfc3339),
            fields,
        })
    }

    fn stored(value: Value) -> Self {
        let mut entry = if let Value::Object(entry) = value { entry } else { Map::new() };
        let fields = FieldSet::stored(entry.remove("fieldsV1").unwrap_or_default());
        let mut text = |field: &str| match entry.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        Self {
            manager: text("manager"),
            operation: match text("operation").as_str() {
                "Apply" => Operation::Apply,
                _ => Operation::Update,
            },
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: time::parse_rfc3339(&text("time")),
            fields,
        }
    }

    fn into_value(self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("manager", self.manager.into());
        put("operation", format!("{:?}", self.operation).into());
        put("apiVersion", self.api_version.into());
        if let Some(time) = self.time {
            put("time", time::rfc3339(time).into());
        }
        put("fieldsType", FORMAT.into());
        put("fieldsV1", self.fields.into_value());
        if !self.subresource.is_empty() {
            put("subresource", self.subresource.into());
        }
        Value::Object(out)
    }
}

impl Managed {
    /// Reads what a client has written.
    ///
    /// # Errors
    /// A sentence about the entry that can't be read.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let entries = value.as_array().map_or(&[][..], Vec::as_slice);
        Ok(Self { entries: entries.iter().map(Entry::read).collect::<Result<_, _>>()? })
    }

    /// The owners as they were stored.
    pub(super) fn stored(value: Value) -> Self {
        let Value::Array(entries) = value else { return Self::default() };
        Self { entries: entries.into_iter().map(Entry::stored).collect() }
    }

    /// The owners as they are stored, or nothing if there are none.
    pub(super) fn into_value(mut self) -> Option<Value> {
        self.entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.operation, entry.time.unwrap_or(0));
            let names = |entry: &Entry| {
                (entry.manager.clone(), entry.api_version.clone(), entry.subresource.clone())
            };
            key(a).cmp(&key(b)).then_with(|| names(a).cmp(&names(b)))
        });
        let entries: Vec<Value> = self.entries.into_iter().map(Entry::into_value).collect();
        (!entries.is_empty()).then_some(json!(entries))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the entry of `owner` out.
    pub(super) fn take(&mut self, owner: &Entry) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.is(owner))?;
        Some(self.entries.remove(at))
    }

    /// Takes `fields` from every owner; who has nothing left is no owner.
    pub(super) fn disown(&mut self, fields: &FieldSet) {
        for entry in &mut self.entries {
            entry.fields.subtract(fields);
        }
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// Puts the oldest updaters of each version together until few enough are left.
    pub(super) fn cap(&mut self) {
        let is_update = |entry: &&Entry| entry.operation == Operation::Update;
        let mut left = self.entries.iter().filter(is_update).count();
        if left <= MOST_UPDATES {
            return;
        }
        let mut updates: Vec<Entry> = Vec::new();
        self.entries.retain(|entry| {
            if is_update(&entry) {
                updates.push(entry.clone());
            }
            entry.operation == Operation::Apply
        });
        updates.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.time.unwrap_or(0), entry.manager.clone());
            key(a).cmp(&key(b))
        });
        let mut kept: Vec<Entry> = Vec::new();
        for update in updates {
            let bucket = kept.iter_mut().find(|first| first.api_version == update.api_version);
            match bucket.filter(|_| left > MOST_UPDATES) {
                None => kept.push(update),
                Some(bucket) => {
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource = String::new();
                    bucket.fields.unite(&update.fields);
                    bucket.time = update.time;
                    left -= 1;
                }
            }
        }
        self.entries.append(&mut kept);
    }
}
