//! What is wrong with one field of an object, in Kubernetes' words.
//!
//! Source: k8s.io/apimachinery `util/validation/field/errors.go`.
use serde_json::Value;

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(super) field: String,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Cause {
    /// A field that must be set is not.
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueRequired", with("Required value", detail))
    }

    /// A field holds what it must not.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(field, "FieldValueInvalid", with(&format!("Invalid value: {value}"), detail))
    }

    /// A field whose value, a list or object, is not shown.
    pub(crate) fn invalid_whole(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueInvalid", with("Invalid value", detail))
    }

    /// Whether rules can't be held against an object that has this wrong with it.
    pub(crate) fn blocks_rules(&self) -> bool {
        matches!(
            self.reason,
            "FieldValueNotSupported"
                | "FieldValueRequired"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueTypeInvalid"
        )
    }

    /// The same value twice where it must be unique.
    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, "FieldValueDuplicate", format!("Duplicate value: {value}"))
    }

    /// A field refers to what does not exist.
    pub(crate) fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, "FieldValueNotFound", format!("Not found: {value}"))
    }

    /// A field holds a value of another type than it must.
    pub(crate) fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = with(&format!("Invalid value: {value}"), detail);
        Self::new(field, "FieldValueTypeInvalid", message)
    }

    /// More items than a list or entries than an object may have.
    pub(crate) fn too_many(field: impl Into<String>, count: u64, limit: u64) -> Self {
        let plural = if limit == 1 { "" } else { "s" };
        let message = format!("Too many: {count}: must have at most {limit} item{plural}");
        Self::new(field, "FieldValueTooMany", message)
    }

    /// The cause as one of what is at `path`, below which its field was.
    pub(crate) fn within(mut self, path: &str) -> Self {
        self.field = match self.field.as_str() {
            "<nil>" => path.to_owned(),
            inner => format!("{path}.{inner}"),
        };
        self
    }

    /// A value outside a closed set.
    pub(crate) fn not_supported<W: std::fmt::Display>(
        field: impl Into<String>,
        value: &Value,
        known: &[W],
    ) -> Self {
        let known: Vec<_> = known.iter().map(|word| format!("\"{word}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        Self::new(field, "FieldValueNotSupported", message)
    }

    /// A field that may not be set, or not be changed, here.
    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueForbidden", with("Forbidden", detail))
    }

    /// A value longer than its limit.
    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self::new(field, "FieldValueTooLong", message)
    }

    fn new(field: impl Into<String>, reason: &'static str, message: String) -> Self {
        Self { field: field.into(), reason, message }
    }

    /// The cause with its field as one line, as it stands in a `Status` message.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

fn with(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
