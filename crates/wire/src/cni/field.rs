//! Reading JSON so that a wrong field is named by its path.

use std::net::IpAddr;

use serde_json::Value;

use super::{Code, Error};

/// A value and the path that led to it, like `runtimeConfig.portMappings[1].hostPort`.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// The document itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Field { path: String::new(), value }
    }

    /// A member of an object; `None` when it is absent or null.
    ///
    /// # Errors
    /// When this is not an object.
    pub(super) fn get(&self, name: &str) -> Result<Option<Field<'a>>, Error> {
        Ok(self.present(name)?.filter(|field| !field.value.is_null()))
    }

    /// A member of an object, null or not; `None` when it is absent.
    ///
    /// A name in another case counts where the exact one is absent, as in Go, for which runtimes and
    /// plugins are written: containerd sends `HostPort` where the conventions say `hostPort`.
    ///
    /// # Errors
    /// When this is not an object.
    pub(super) fn present(&self, name: &str) -> Result<Option<Field<'a>>, Error> {
        let Value::Object(object) = self.value else { return Err(self.wrong("an object")) };
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let alike = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let found = object.get(name).or_else(|| alike().map(|(_, value)| value));
        Ok(found.map(|value| Field { path, value }))
    }

    /// The elements of an array; none when it is null, as Go writes an empty list.
    ///
    /// # Errors
    /// When this is anything else.
    pub(super) fn elements(&self) -> Result<Vec<Field<'a>>, Error> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let element = |(i, value)| Field { path: format!("{}[{i}]", self.path), value };
                Ok(items.iter().enumerate().map(element).collect())
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(self.wrong("a list"))
            }
        }
    }

    /// Text.
    ///
    /// # Errors
    /// When this is not a string.
    pub(super) fn text(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// Text that reads as a `T`; `expected` says what that is.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn parsed<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Error> {
        self.text()?.parse().map_err(|_| self.wrong(expected))
    }

    /// An address, with or without a prefix length.
    ///
    /// # Errors
    /// When it is neither.
    pub(super) fn addr(&self) -> Result<IpAddr, Error> {
        let text = self.text()?;
        parse_addr(text).ok_or_else(|| self.wrong("an IP address"))
    }

    /// A yes or no.
    ///
    /// # Errors
    /// When this is not a boolean.
    pub(super) fn flag(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A whole number that fits `T`; `expected` says what that is.
    ///
    /// # Errors
    /// When this is not one.
    pub(super) fn number<T: TryFrom<u64>>(&self, expected: &str) -> Result<T, Error> {
        let number = self.value.as_u64().ok_or_else(|| self.wrong(expected))?;
        T::try_from(number).map_err(|_| self.wrong(expected))
    }

    /// The error that this field is not what it should be.
    pub(super) fn wrong(&self, expected: &str) -> Error {
        let path = if self.path.is_empty() { "configuration" } else { &self.path };
        let found = shortened(&self.value.to_string());
        Error::new(Code::InvalidConfiguration, format!("{path}: {found} is not {expected}"))
    }

    /// The error that this field asks for what Seaway does not do; names key and value.
    pub(super) fn unsupported(&self, why: &str) -> Error {
        let found = shortened(&self.value.to_string());
        Error::new(Code::UnsupportedField, format!("{}: {found} is not supported", self.path))
            .because(why)
    }
}

/// An address, with or without a prefix length.
pub(super) fn parse_addr(text: &str) -> Option<IpAddr> {
    let addr = text.parse().ok();
    addr.or_else(|| text.parse::<ipnet::IpNet>().ok().map(|net| net.addr()))
}

/// A value short enough for a message.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}…")
}
