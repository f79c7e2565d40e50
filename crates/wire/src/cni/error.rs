//! What a runtime is told when an operation fails.

use serde_json::json;

use super::Version;

/// Why an operation failed, in a runtime's terms. 1 to 99 belong to the specification.
///
/// Source: CNI spec 1.1.0 §5, Error; libcni `pkg/types` for 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 1: a version of the specification Seaway does not speak, or that lacks the operation.
    IncompatibleVersion,
    /// 2: a field of the configuration asks for what Seaway does not do.
    UnsupportedField,
    /// 4: environment variables are missing or wrong; the message names them.
    InvalidEnvironment,
    /// 5: stdin could not be read.
    Io,
    /// 6: stdin is not JSON.
    Undecodable,
    /// 7: a field of the configuration is missing or wrong.
    InvalidConfiguration,
    /// 8: the network namespace is not one, or not the container's own.
    InvalidNetns,
    /// 11: nothing was done; the same request may succeed later.
    TryAgainLater,
    /// 50: STATUS, ADD would fail now.
    Unavailable,
    /// 51: STATUS, ADD would fail now and existing containers may be cut off as well.
    LimitedConnectivity,
    /// 100: the kernel or the disk refused; the message says what.
    Failed,
    /// 101: every address of the node's pod CIDR is leased.
    AddressesExhausted,
    /// 102: the request contradicts what is there: the interface exists, the address is leased.
    Conflict,
    /// 103: CHECK found the network different from what ADD returned.
    NotAsAdded,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Code::IncompatibleVersion => 1,
            Code::UnsupportedField => 2,
            Code::InvalidEnvironment => 4,
            Code::Io => 5,
            Code::Undecodable => 6,
            Code::InvalidConfiguration => 7,
            Code::InvalidNetns => 8,
            Code::TryAgainLater => 11,
            Code::Unavailable => 50,
            Code::LimitedConnectivity => 51,
            Code::Failed => 100,
            Code::AddressesExhausted => 101,
            Code::Conflict => 102,
            Code::NotAsAdded => 103,
        }
    }
}

/// A failed operation, as the runtime is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What failed, naming the object.
    pub msg: String,
    /// Why, and what an operator can check; may be empty.
    pub details: String,
}

impl Error {
    /// An error that says all in one line.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Error { code, msg: msg.into(), details: String::new() }
    }

    /// The same error with its cause, or with a hint what to check.
    #[must_use]
    pub fn because(self, details: impl Into<String>) -> Self {
        Error { details: details.into(), ..self }
    }

    /// The JSON a plugin prints.
    pub fn to_json(&self, version: Version) -> String {
        let (code, version) = (self.code.number(), version.as_str());
        let mut object = json!({ "cniVersion": version, "code": code, "msg": self.msg });
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, §5.
    #[test]
    fn an_error_prints_as_the_specification_shows() {
        let error = Error::new(Code::InvalidConfiguration, "Invalid Configuration")
            .because("Network 192.168.0.0/31 too small to allocate from.");
        assert_eq!(
            error.to_json(Version::V1_1_0),
            r#"{"cniVersion":"1.1.0","code":7,"details":"Network 192.168.0.0/31 too small to allocate from.","msg":"Invalid Configuration"}"#
        );
        assert_eq!(
            error.to_string(),
            "Invalid Configuration: Network 192.168.0.0/31 too small to allocate from."
        );
    }

    #[test]
    fn details_are_left_out_when_there_are_none() {
        let error = Error::new(Code::TryAgainLater, "agent is not ready");
        assert_eq!(
            error.to_json(Version::V0_4_0),
            r#"{"cniVersion":"0.4.0","code":11,"msg":"agent is not ready"}"#
        );
    }
}
