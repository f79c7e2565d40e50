//! A line of the agent's log for each question, or for some of them.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;

use model::QueryLog;
use plan::LocalPods;
use proxy::dns::{Asked, Known, Log};

use super::Names;

/// Questions that may wait to be written: a tenth of a second of a busy node's.
const ROOM: usize = 4096;

/// Lines that are written before it is looked again who has which address.
const LINES: usize = 64;

/// Has lines written as settings say.
pub(super) struct Logging {
    names: Names,
    /// What holds where the document says nothing.
    otherwise: QueryLog,
    now: QueryLog,
}

impl Logging {
    /// Nothing is written yet of questions for `names`.
    pub(super) fn new(names: Names, otherwise: QueryLog) -> Self {
        Logging { names, otherwise, now: QueryLog::Off }
    }

    /// From now on lines are written as the document has `said`. No question waits for that.
    pub(super) fn set(&mut self, said: Option<QueryLog>) {
        let wanted = said.unwrap_or(self.otherwise);
        if wanted == self.now {
            return;
        }
        let log = match wanted {
            QueryLog::Off => Ok(None),
            QueryLog::OneOf(every) => self.start(every).map(Some),
        };
        match log {
            Ok(log) => {
                self.names.0.log.store(log.map(Arc::new));
                self.now = wanted;
            }
            Err(error) => tracing::warn!("start the log of DNS questions: {error}"),
        }
    }

    /// Writes lines until nobody tells of questions any more.
    fn start(&self, every: NonZero<u32>) -> io::Result<Log> {
        let (to, questions) = sync_channel(ROOM);
        let lost = Arc::<AtomicU64>::default();
        let log = Log::new(every, to, Arc::clone(&lost));
        let known = Arc::downgrade(&self.names.0);
        thread::Builder::new()
            .name("dns-log".to_owned())
            .spawn(move || write(&questions, &lost, &known))?;
        Ok(log)
    }
}

/// Who tells of questions is part of what is `known`, which must not be held while none come.
fn write(questions: &Receiver<Asked>, lost: &AtomicU64, known: &Weak<Known>) {
    while let Ok(first) = questions.recv() {
        let Some(pods) = known.upgrade().map(|known| known.pods.load_full()) else { return };
        for asked in std::iter::once(first).chain(questions.try_iter().take(LINES)) {
            tracing::info!(target: "dns", "{}", line(&asked, &pods));
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(target: "dns", "{lost} questions are not in the log: too many at one time");
        }
    }
}

/// What is written: CoreDNS's line, and behind it the client, if it is a pod of this node, the name of its
/// search list that it was answered by, if it is not the one in question, and where the answer is from.
fn line(asked: &Asked, pods: &LocalPods) -> String {
    let mut line = asked.to_string();
    let client = pods.at(asked.client.ip());
    if let Some(pod) = client.and_then(|client| client.pod.as_ref()) {
        line.push_str(&format!(" pod={pod}"));
    }
    let list = client.and_then(|client| client.search.as_ref());
    if let Some((list, step)) = list.zip(asked.searched)
        && let Some(name) = list.after(&asked.name).nth(step.into())
    {
        line.push_str(&format!(" name={name}"));
    }
    let plugin = asked.origin.plugin();
    if !plugin.is_empty() {
        line.push_str(&format!(" plugin={plugin}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{PodRef, SearchList};
    use plan::LocalPod;
    use proxy::dns::Origin;
    use wire::dns::{Rcode, RecordType, Transport};

    use super::*;

    #[test]
    fn behind_coredns_line_stand_the_client_and_where_the_answer_is_from() {
        let pod =
            PodRef { namespace: "shop".to_owned(), name: "web-0".to_owned(), uid: String::new() };
        let (ip, pod) = ([10, 244, 1, 5].into(), Some(Arc::new(pod)));
        let list = ["a.svc.cluster.local", "svc.cluster.local"];
        let search = SearchList::new(&list, &["ndots:5"]).map(Arc::new);
        let pods: LocalPods = [(ip, LocalPod { pod, search })].into_iter().collect();
        let asked = Asked {
            client: (ip, 40_000).into(),
            transport: Transport::Tcp,
            id: 7,
            name: "web.shop.svc.cluster.local.".parse().unwrap(),
            kind: RecordType::A,
            dnssec_ok: false,
            takes: None,
            question: 44,
            rcode: Rcode::NoError,
            origin: Origin::Zones,
            searched: None,
            flags: 0x8580,
            answer: 60,
            took: Duration::from_micros(20),
        };
        let question = r#"7 "A IN web.shop.svc.cluster.local. tcp 44 false 65535" NOERROR"#;
        let rest = "qr,aa,rd,ra 60 0.000020000s";
        let told = format!("{ip}:40000 - {question} {rest} pod=shop/web-0 plugin=kubernetes");
        assert_eq!(line(&asked, &pods), told);
        let name = "web.shop.a.svc.cluster.local.".parse().unwrap();
        let searched = line(&Asked { name, searched: Some(0), ..asked }, &pods);
        let found = " pod=shop/web-0 name=web.shop.svc.cluster.local. plugin=kubernetes";
        assert!(searched.ends_with(found), "{searched}");
        let client = ([203, 0, 113, 9], 40_000).into();
        let stranger = Asked { client, origin: Origin::Refusal, ..asked };
        assert_eq!(line(&stranger, &pods), format!("{client} - {question} {rest}"));
    }
}
