//! Others as a test wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::DomainName;
use seaway_proxy::dns::{Found, FoundRecord, Others, Prior, Sought};
use tokio::sync::Semaphore;
use wire::dns::{Rcode, RecordType, Section};

/// Knows `example.org`: what a name's first label says is done with it.
///
/// | label | what is done |
/// |---|---|
/// | `slow` | it is answered when a test lets it |
/// | `panic`, `panic-later` | a panic, at once or when asked |
/// | `static` | settings answer it |
/// | `renamed` | settings say that it is `web.ns.svc.cluster.local` |
/// | `known` | it is remembered |
/// | `known-broken` | it is remembered that nobody can say |
/// | `broken-here` | nobody can say |
/// | any other but `intra`, under `corp` | there is no such name |
/// | `broken` | nobody can say |
/// | `nowhere` | there is no such name |
/// | any other | it has the address 192.0.2.1 |
#[derive(Debug)]
pub(crate) struct Scripted {
    /// How many slow questions may be answered.
    pub(crate) gate: Arc<Semaphore>,
    /// How many questions others were asked for.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Default for Scripted {
    fn default() -> Self {
        Scripted { gate: Arc::new(Semaphore::new(0)), asked: Arc::default() }
    }
}

fn label(sought: &Sought) -> &[u8] {
    sought.name.labels().next().unwrap_or_default()
}

/// An answer without records.
fn without(rcode: Rcode) -> Found {
    Found { rcode, is_authentic: false, records: Vec::new() }
}

fn is_corp(sought: &Sought) -> bool {
    label(sought) != b"intra" && sought.name.labels().last() == Some(b"corp")
}

fn found(sought: &Sought, last: u8) -> Found {
    if is_corp(sought) {
        return without(Rcode::NxDomain);
    }
    let rdata: Arc<[u8]> = match sought.kind {
        RecordType::A => [192, 0, 2, last].into(),
        _ => [1, b'x'].into(),
    };
    let record = FoundRecord {
        section: Section::Answer,
        owner: sought.name,
        kind: sought.kind,
        ttl: 60,
        rdata,
    };
    Found { rcode: Rcode::NoError, is_authentic: true, records: vec![record] }
}

impl Others for Scripted {
    fn prior(&self, sought: &Sought) -> Prior {
        match label(sought) {
            b"panic" => panic!("as the test wants it"),
            b"static" => Prior::Answered(found(sought, 7)),
            b"renamed" => {
                Prior::Renamed("web.ns.svc.cluster.local.".parse::<DomainName>().unwrap())
            }
            _ => Prior::Open,
        }
    }

    fn remembered(&self, sought: &Sought) -> Option<Found> {
        match label(sought) {
            b"known" => Some(found(sought, 8)),
            b"known-broken" => Some(without(Rcode::ServFail)),
            _ => None,
        }
    }

    fn ask(&self, sought: Sought) -> BoxFuture<'static, Found> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::clone(&self.gate);
        async move {
            match label(&sought) {
                b"slow" => gate.acquire().await.unwrap().forget(),
                b"panic-later" => panic!("as the test wants it"),
                b"broken-here" => return without(Rcode::ServFail),
                _ if is_corp(&sought) => {}
                b"broken" => return without(Rcode::ServFail),
                b"nowhere" => return without(Rcode::NxDomain),
                _ => {}
            }
            found(&sought, 1)
        }
        .boxed()
    }
}
