//! What is asked of others than the zones: static entries and rewrites before them, other servers after
//! them.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::DomainName;
use wire::dns::{Rcode, RecordType, Section};

/// A question as others are asked it. Two that differ in anything here never share an answer (T27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sought {
    /// The name, in lower case.
    pub name: DomainName,
    /// The type.
    pub kind: RecordType,
    /// Whether the client wants signatures (DO).
    pub dnssec_ok: bool,
    /// Whether the client verifies signatures by itself (CD).
    pub checking_disabled: bool,
}

/// What others say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How the question fared; SERVFAIL when nobody who was asked could say.
    pub rcode: Rcode,
    /// Whether who was asked has verified it (AD).
    pub is_authentic: bool,
    /// Records of the question and of its chain of aliases, and of negative answers the SOA.
    pub records: Vec<FoundRecord>,
}

impl Found {
    /// The addresses that it says `name`, in lower case, stands for, by whatever aliases it says itself; each
    /// with the seconds for which it may be remembered (NP-F6).
    pub(super) fn addrs_of(&self, name: &DomainName) -> Vec<(IpAddr, u32)> {
        let mut name = *name;
        let is_answer = |record: &&FoundRecord| record.section == Section::Answer;
        // Each alias is one of the records.
        for _ in 0..=self.records.len() {
            let own = || {
                let answers = self.records.iter().filter(is_answer);
                answers.filter(|record| record.owner.lowered() == name)
            };
            let alias = own().find(|record| record.kind == RecordType::CNAME);
            let Some(target) = alias.map(|record| DomainName::from_wire(&record.rdata)) else {
                let addr = |record: &FoundRecord| Some((record.addr()?, record.ttl));
                return own().filter_map(addr).collect();
            };
            let Some(target) = target else { break };
            name = target.lowered();
        }
        Vec::new()
    }
}

impl FoundRecord {
    /// The address that it says.
    fn addr(&self) -> Option<IpAddr> {
        match self.kind {
            RecordType::A => Some(<[u8; 4]>::try_from(&*self.rdata).ok()?.into()),
            RecordType::AAAA => Some(<[u8; 16]>::try_from(&*self.rdata).ok()?.into()),
            _ => None,
        }
    }
}

/// A record that others have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Where it belongs.
    pub section: Section,
    /// Whose it is.
    pub owner: DomainName,
    /// Its type.
    pub kind: RecordType,
    /// For how long it may be remembered from now on, in seconds.
    pub ttl: u32,
    /// Its value, without compressed names.
    pub rdata: Arc<[u8]>,
}

/// What is to be done with a question before the zones are looked into.
#[expect(clippy::large_enum_variant, reason = "names are held inline: it is looked at and gone")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prior {
    /// It is as it was.
    Open,
    /// It is answered already.
    Answered(Found),
    /// This name is looked up in its place; the answer speaks of the name in question.
    Renamed(DomainName),
}

/// Who knows what the zones do not.
pub trait Others: Send + Sync + 'static {
    /// What settings say of a name before the zones are asked. Called for every question: it does not
    /// wait, and it allocates nothing for a name that no setting is about.
    fn prior(&self, sought: &Sought) -> Prior;

    /// What is remembered of the answer, if it is worth something still. It does not wait.
    fn remembered(&self, sought: &Sought) -> Option<Found>;

    /// Asks. There is an answer in the time that a client waits, whatever others do.
    fn ask(&self, sought: Sought) -> BoxFuture<'static, Found>;
}
