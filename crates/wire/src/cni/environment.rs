//! The environment a runtime starts a plugin with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use model::{AttachmentKey, IfName};

use super::{Code, Error};

/// A CNI operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Join a container to the network.
    Add,
    /// Undo that.
    Del,
    /// See whether it is still as ADD left it.
    Check,
    /// Remove what belongs to no container any more.
    Gc,
    /// See whether ADD would work.
    Status,
    /// See which versions of the specification are spoken.
    Version,
}

impl FromStr for Command {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "ADD" => Ok(Command::Add),
            "DEL" => Ok(Command::Del),
            "CHECK" => Ok(Command::Check),
            "GC" => Ok(Command::Gc),
            "STATUS" => Ok(Command::Status),
            "VERSION" => Ok(Command::Version),
            _ => Err(Error::new(
                Code::InvalidEnvironment,
                format!("CNI_COMMAND: {name:?} is not ADD, DEL, CHECK, GC, STATUS or VERSION"),
            )),
        }
    }
}

impl Command {
    /// The operation as the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The variables of the protocol as found; one that is not set is empty, which the specification
/// treats alike.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
}

impl Environment {
    /// Takes the variables from `lookup`, which returns the value of a name.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut environment = Environment::default();
        for (name, field) in environment.fields_mut() {
            *field = lookup(name).unwrap_or_default();
        }
        environment
    }

    /// Every variable with its name.
    pub(super) fn fields_mut(&mut self) -> [(&'static str, &mut String); 5] {
        [
            ("CNI_COMMAND", &mut self.command),
            ("CNI_CONTAINERID", &mut self.container_id),
            ("CNI_NETNS", &mut self.netns),
            ("CNI_IFNAME", &mut self.ifname),
            ("CNI_ARGS", &mut self.args),
        ]
    }

    /// The attachment this is about.
    ///
    /// # Errors
    /// Code 4 when the container's id or the interface's name is missing or breaks the rules.
    pub(super) fn key(&self) -> Result<AttachmentKey, Error> {
        require(&[("CNI_CONTAINERID", &self.container_id), ("CNI_IFNAME", &self.ifname)])?;
        if !is_identifier(&self.container_id) {
            return Err(invalid(format!(
                "CNI_CONTAINERID: {:?} is not a letter or digit followed by letters, digits, \
                 '_', '.' and '-'",
                self.container_id
            )));
        }
        let ifname =
            IfName::new(&self.ifname).map_err(|error| invalid(format!("CNI_IFNAME: {error}")))?;
        Ok(AttachmentKey { container_id: self.container_id.as_str().into(), ifname })
    }

    /// Attachment and network namespace, for the operations that need both.
    ///
    /// # Errors
    /// As [`Environment::key`]; and when the path is missing or relative (it would mean something
    /// else to the agent).
    pub(super) fn key_and_netns(&self) -> Result<(AttachmentKey, PathBuf), Error> {
        require(&[
            ("CNI_CONTAINERID", &self.container_id),
            ("CNI_NETNS", &self.netns),
            ("CNI_IFNAME", &self.ifname),
        ])?;
        let netns = PathBuf::from(&self.netns);
        if !netns.is_absolute() {
            return Err(invalid(format!("CNI_NETNS: {:?} is not an absolute path", self.netns)));
        }
        Ok((self.key()?, netns))
    }
}

/// Whether `name` may be a container's id or a network's name: it becomes part of paths.
///
/// Source: CNI spec 1.1.0 §1 and §3; CVE-2021-20206 is what happens without.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn require(variables: &[(&str, &str)]) -> Result<(), Error> {
    let missing: Vec<_> =
        variables.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("environment variables are missing: {}", missing.join(", "))))
}

fn invalid(msg: String) -> Error {
    Error::new(Code::InvalidEnvironment, msg)
}
