//! What a pass came to: the tail of the loop, for people, metrics and CNI replies.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{Attachment, AttachmentKey, Generation, IfName};
use plan::nft::Value;
use plan::{FdbKey, Listener, NeighborKey, RouteKey, RuleKey, SysctlKey, nft};

/// A pass of so many rows takes memory that the next ones don't need.
const MANY: usize = 1000;

/// Outcome of one pass.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// The World it was for.
    pub generation: Generation,
    /// Steps, in their order.
    pub steps: Vec<StepReport>,
    /// How long it took.
    pub took: Duration,
}

/// Outcome of one step of a pass.
#[derive(Debug, Default, Clone)]
pub struct StepReport {
    /// Name of the step.
    pub step: &'static str,
    /// Rows written.
    pub puts: usize,
    /// Rows removed.
    pub deletes: usize,
    /// Rows that were found other than this agent had left them.
    pub drift: usize,
    /// The place was read as a whole first.
    pub is_full: bool,
    /// What failed.
    pub failures: Vec<FailureRow>,
    /// How long it took.
    pub took: Duration,
}

/// One row, or one place as a whole, that could not be brought to where it should be.
#[derive(Debug, Clone)]
pub struct FailureRow {
    /// What it is about.
    pub subject: Subject,
    /// The attempt and its causes, as one line.
    pub text: String,
}

impl Report {
    /// Every failure of the pass.
    pub fn failures(&self) -> impl Iterator<Item = &FailureRow> {
        self.steps.iter().flat_map(|step| &step.failures)
    }

    /// Whether a place was read as a whole, or many rows were written.
    pub(crate) fn is_large(&self) -> bool {
        self.changes() > MANY || self.steps.iter().any(|row| row.is_full)
    }

    /// Every failure of the step called `step`.
    pub fn failures_of(&self, step: &str) -> impl Iterator<Item = &FailureRow> {
        self.steps.iter().filter(move |row| row.step == step).flat_map(|row| &row.failures)
    }

    /// What keeps `attachment` from working, if anything.
    pub fn trouble_of(&self, attachment: &Attachment) -> Option<String> {
        let lines: Vec<&str> = self
            .failures()
            .filter(|failure| failure.subject.concerns(attachment))
            .map(|failure| failure.text.as_str())
            .collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// What keeps every pod of this node from working, if anything.
    pub fn trouble_of_all(&self) -> Option<&str> {
        let whole = |failure: &&FailureRow| failure.subject == Subject::Everything;
        self.failures().find(whole).map(|failure| failure.text.as_str())
    }

    /// Rows written or removed.
    pub fn changes(&self) -> usize {
        self.steps.iter().map(|step| step.puts + step.deletes).sum()
    }
}

/// `pass 12: links +1, routes +3 -1, 2 failures, 5 ms`, and a line for every failure.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass {}:", self.generation)?;
        for step in self.steps.iter().filter(|step| step.puts + step.deletes + step.drift > 0) {
            write!(f, " {} +{} -{}", step.step, step.puts, step.deletes)?;
            if step.drift > 0 {
                write!(f, " ({} drifted)", step.drift)?;
            }
            f.write_str(",")?;
        }
        let failures = self.failures().count();
        write!(f, " {failures} failures, {} ms", self.took.as_millis())?;
        for step in &self.steps {
            for failure in &step.failures {
                write!(f, "\n  {}: {}", step.step, failure.text)?;
            }
        }
        Ok(())
    }
}

/// What a row of any table is about, as far as attachments care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Every attachment of the node depends on it.
    Everything,
    /// This attachment.
    Attachment(AttachmentKey),
    /// Whoever has this link.
    Link(IfName),
    /// Whoever has this address, or this link.
    Neighbor(IfName, IpAddr),
    /// Whoever has this host prefix.
    Prefix(IpNet),
    /// Whoever is named by one of these values.
    Values(Vec<Value>),
    /// A setting, which may be of one link.
    Setting(String),
    /// No attachment: other nodes, or what the agent itself answers.
    Others,
}

impl Subject {
    /// Whether an attachment does not work without it.
    pub fn concerns(&self, attachment: &Attachment) -> bool {
        let host_link = attachment.key.host_link();
        let has = |addr: &IpAddr| attachment.addrs.contains(addr);
        match self {
            Subject::Everything => true,
            Subject::Attachment(key) => *key == attachment.key,
            Subject::Link(link) => *link == host_link,
            Subject::Neighbor(link, addr) => *link == host_link || has(addr),
            Subject::Prefix(net) => net.prefix_len() == net.max_prefix_len() && has(&net.addr()),
            Subject::Values(values) => values.iter().any(|value| match value {
                Value::Ipv4(addr) => has(&IpAddr::V4(*addr)),
                Value::Ipv6(addr) => has(&IpAddr::V6(*addr)),
                Value::Name(name) => **name == *host_link.as_str(),
                Value::Ether(mac) => *mac == attachment.mac,
                Value::Prefix(_)
                | Value::Number(_)
                | Value::Port(_)
                | Value::Mark(_)
                | Value::ClassId(_) => false,
            }),
            Subject::Setting(path) => path.split('/').any(|part| part == host_link.as_str()),
            Subject::Others => false,
        }
    }
}

/// Keys that say what they are about.
pub(crate) trait About {
    /// What the row under this key is about.
    fn subject(&self) -> Subject;
}

impl About for IfName {
    fn subject(&self) -> Subject {
        Subject::Everything
    }
}

impl About for (IfName, IpNet) {
    fn subject(&self) -> Subject {
        Subject::Everything
    }
}

impl About for AttachmentKey {
    fn subject(&self) -> Subject {
        Subject::Attachment(self.clone())
    }
}

impl About for SysctlKey {
    fn subject(&self) -> Subject {
        Subject::Setting(self.0.clone())
    }
}

impl About for NeighborKey {
    fn subject(&self) -> Subject {
        Subject::Neighbor(self.dev.clone(), self.addr)
    }
}

impl About for FdbKey {
    fn subject(&self) -> Subject {
        Subject::Link(self.dev.clone())
    }
}

impl About for RouteKey {
    fn subject(&self) -> Subject {
        Subject::Prefix(self.dst)
    }
}

impl About for RuleKey {
    fn subject(&self) -> Subject {
        Subject::Others
    }
}

impl About for Listener {
    fn subject(&self) -> Subject {
        Subject::Others
    }
}

impl About for nft::Key {
    fn subject(&self) -> Subject {
        match self {
            nft::Key::Table(_) | nft::Key::Set(..) | nft::Key::Chain(..) => Subject::Everything,
            nft::Key::Element(_, _, values) => Subject::Values(values.to_vec()),
        }
    }
}
