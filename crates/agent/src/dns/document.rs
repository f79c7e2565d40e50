//! The document that says what is asked of other servers: read at the start, and again when it is another
//! one.

use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use model::QueryLog;
use model::forwarding::{Forwarding, Invalid};
use proxy::dns::{Forwarder, Known};

use super::log::Logging;

/// How often it is looked at: a ConfigMap that is mounted changes in a minute or so.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The document can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not to be had.
    #[error("read the settings of DNS in {path}")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It says what can't be.
    #[error("settings of DNS in {path}")]
    Invalid {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, and where.
        source: Invalid,
    },
}

/// A document, as it was when it was last read.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
    log: Option<QueryLog>,
    least_allowed: Duration,
}

impl Document {
    /// Reads what is in `path`, and what it says.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(super) fn read(path: &Path) -> Result<(Self, Forwarding), DocumentError> {
        let path = path.to_owned();
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.parse::<Forwarding>() {
                Ok(settings) => {
                    let Forwarding { log, least_allowed, .. } = settings;
                    Ok((Document { path, text, log, least_allowed }, settings))
                }
                Err(source) => Err(DocumentError::Invalid { path, source }),
            },
            Err(source) => Err(DocumentError::Read { path, source }),
        }
    }

    /// Has `others` and the log go on with what it says whenever that is something else, as long as they are
    /// there.
    pub(super) async fn follow(
        mut self,
        others: Weak<Forwarder>,
        names: Weak<Known>,
        mut log: Logging,
    ) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut told = None;
        loop {
            look.tick().await;
            let Some(others) = others.upgrade() else { return };
            let trouble = self.look(&others);
            log.set(self.log);
            if let Some(names) = names.upgrade()
                && let Some(named) = &*names.named.load()
            {
                named.allow_for(self.least_allowed);
            }
            if let Some(trouble) =
                trouble.as_ref().filter(|trouble| told.as_ref() != Some(*trouble))
            {
                tracing::warn!("{trouble}; what it said before holds");
            }
            told = trouble;
        }
    }

    /// Goes by what it says now; while it can't be used, by what it said before, and says why.
    fn look(&mut self, others: &Forwarder) -> Option<String> {
        let (document, settings) = match Document::read(&self.path) {
            Ok(read) => read,
            Err(error) => return Some(model::chain(&error)),
        };
        if document.text != self.text {
            tracing::info!("{} is another one; DNS goes by it", self.path.display());
            others.set(settings);
        }
        *self = document;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_document_that_is_wrong_is_named_with_its_line() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dns.yaml");
        let why = |text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            Document::read(&path).map(drop).map_err(|error| model::chain(&error))
        };
        assert!(why(None).unwrap_err().contains("No such file"));
        let wrong = why(Some("forward:\n- zone: corp.example\n  to: [a]\n")).unwrap_err();
        assert!(wrong.contains("dns.yaml") && wrong.contains("line 3"), "{wrong}");
        assert_eq!(why(Some("maxConcurrent: 10\n")), Ok(()));
    }

    #[tokio::test]
    async fn what_a_document_says_later_counts_unless_it_is_wrong() {
        let scratch = Scratch::new();
        let path = scratch.path().join("dns.yaml");
        let host = |ip: &str| format!("hosts:\n- {{address: {ip}, names: [db.example]}}\n");
        std::fs::write(&path, host("192.0.2.1")).unwrap();
        let (mut document, settings) = Document::read(&path).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let others = Forwarder::new(model::DomainName::CLUSTER_LOCAL, settings, &runtime);
        for (text, is_wrong, wanted) in [
            (host("192.0.2.1"), false, [192, 0, 2, 1]),
            (host("192.0.2.2"), false, [192, 0, 2, 2]),
            ("hosts: 1\n".to_owned(), true, [192, 0, 2, 2]),
            (host("192.0.2.3"), false, [192, 0, 2, 3]),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(document.look(&others).is_some(), is_wrong);
            assert_eq!(address(&others), wanted);
        }
    }

    /// What `db.example` stands for.
    fn address(others: &Forwarder) -> [u8; 4] {
        use proxy::dns::{Others, Prior, Sought};
        let name = "db.example.".parse().unwrap();
        let kind = wire::dns::RecordType::A;
        let sought = Sought { name, kind, dnssec_ok: false, checking_disabled: false };
        let Prior::Answered(found) = others.prior(&sought) else { panic!("no such host") };
        found.records[0].rdata[..].try_into().unwrap()
    }
}
