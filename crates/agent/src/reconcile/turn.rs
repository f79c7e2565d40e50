//! Requests of one turn: taken, recorded, answered.

use std::sync::Arc;

use model::{Attachment, AttachmentKey, chain};

use super::requests::{Batch, Draft, answer};
use super::{Loop, wall_clock};
use crate::handle::{Attached, Message, Reply, RequestError};
use crate::journal::{CommitError, Entry};
use crate::sources::Basis;

/// What a turn was asked for.
#[derive(Debug, Default)]
pub(super) struct Turn {
    batch: Batch,
    /// Attachments to read back.
    checks: Vec<(Arc<Attachment>, Reply<Attached>)>,
    /// Who waits for the pass and for nothing else.
    settles: Vec<Reply<Vec<String>>>,
}

/// An ADD that failed, with its error for whoever waits, or that nobody waits for.
type Failed = (AttachmentKey, Option<(Reply<Attached>, RequestError)>);

impl Loop {
    /// Decides every request on a copy of the World. Returns whether one of them was to stop.
    pub(super) fn take(&mut self, messages: Vec<Message>, turn: &mut Turn) -> bool {
        let mut stop = false;
        let mut draft =
            Draft::new(&self.world, &self.compiled, self.journal.leases(), wall_clock());
        let batch = &mut turn.batch;
        self.waiting.decide(&self.world, batch, &mut draft);
        for message in messages {
            match message {
                Message::Attach(attach, reply) if self.basis != Basis::Nothing => {
                    self.waiting.ask((attach, reply), &self.world, batch, &mut draft);
                }
                Message::Attach(_, reply) => drop(answer(reply, Err(self.unsynced()))),
                Message::Detach(key, reply) => {
                    self.waiting.cancel(&key);
                    batch.detach(key, reply, &mut draft);
                }
                Message::Gc(network, keep, reply) => batch.gc(&network, &keep, reply, &mut draft),
                Message::Check(key, reply) => match draft.get(&key) {
                    Some(known) => turn.checks.push((Arc::clone(known), reply)),
                    None => drop(answer(reply, Err(RequestError::Unknown(key)))),
                },
                Message::Settle(reply) => turn.settles.push(reply),
                Message::Status(reply) => drop(reply.send(self.status())),
                Message::Dump(name, reply) => drop(reply.send(self.steps.dump(&name))),
                Message::Wake => {}
                Message::Stop => stop = true,
            }
        }
        stop
    }

    fn unsynced(&self) -> RequestError {
        RequestError::NotReady(self.sources.trouble())
    }

    /// Makes the turn's decisions durable, before anything else follows from them. When the disk
    /// takes no lease it still takes releases, so ADDs fail alone.
    pub(super) fn record(&mut self, turn: &mut Turn) {
        let batch = &mut turn.batch;
        self.metrics.allocations(batch.cut_short, batch.exhausted);
        let Err(error) = self.journal.commit(&batch.entries) else {
            self.take_leases();
            return;
        };
        self.ledger_trouble(&error);
        let leased = |entry: &Entry| matches!(entry, Entry::Lease(_));
        if batch.entries.iter().any(leased) {
            let known = &self.journal.leases().attachments;
            let (kept, refused) = std::mem::take(&mut batch.attaches)
                .into_iter()
                .partition(|(attachment, _)| known.contains_key(&attachment.key));
            batch.attaches = kept;
            refuse(refused, &error);
            batch.entries.retain(|entry| !leased(entry));
            if let Err(error) = self.journal.commit(&batch.entries) {
                self.ledger_trouble(&error);
                batch.refuse_removals(&error);
            }
        } else {
            batch.refuse_removals(&error);
        }
        self.take_leases();
    }

    fn ledger_trouble(&self, error: &CommitError) {
        self.metrics.ledger_failed();
        tracing::error!("{}", chain(error));
    }

    /// Answers by the report of the pass that followed, and undoes what failed.
    pub(super) fn answer(&mut self, turn: Turn) {
        self.answer_checks(turn.checks);
        for reply in turn.settles {
            let failures = self.report.failures().map(|failure| failure.text.clone());
            answer(reply, Ok(failures.collect()));
        }
        for (key, reply) in turn.batch.detaches {
            let result = self.removed(std::slice::from_ref(&key));
            answer(reply, result);
        }
        for (keys, reply) in turn.batch.gcs {
            let result = self.removed(&keys).map(|()| keys);
            answer(reply, result);
        }
        let mut failed = Vec::new();
        for (attachment, reply) in turn.batch.attaches {
            match self.attached(&attachment) {
                Ok(attached) => {
                    if !answer(reply, Ok(attached)) {
                        tracing::info!("nobody waits for ADD {} any more", attachment.key);
                        failed.push((attachment.key.clone(), None));
                    }
                }
                Err(error) => failed.push((attachment.key.clone(), Some((reply, error)))),
            }
        }
        self.undo(failed);
    }

    /// What was found wrong is mended at once, after the answer.
    fn answer_checks(&mut self, checks: Vec<(Arc<Attachment>, Reply<Attached>)>) {
        let mut is_wrong = false;
        for (attachment, reply) in checks {
            let result = self.check(&attachment);
            is_wrong |= result.is_err();
            answer(reply, result);
        }
        if is_wrong {
            self.pass();
        }
    }

    /// Takes ADDs that failed out again, and only then says so.
    fn undo(&mut self, failed: Vec<Failed>) {
        if failed.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut draft =
            Draft::new(&self.world, &self.compiled, self.journal.leases(), wall_clock());
        for (key, _) in &failed {
            batch.release(key, &mut draft);
        }
        if let Err(error) = self.journal.commit(&batch.entries) {
            self.ledger_trouble(&error);
        }
        self.take_leases();
        self.pass();
        for (reply, error) in failed.into_iter().filter_map(|(_, waiting)| waiting) {
            answer(reply, Err(error));
        }
    }

    /// The attachment as the plan has it, when the last pass brought all of it in place.
    fn attached(&self, attachment: &Arc<Attachment>) -> Result<Attached, RequestError> {
        if let Some(trouble) = self.report.trouble_of(attachment) {
            return Err(RequestError::Kernel(trouble));
        }
        let key = &attachment.key;
        let Some(link) = self.compiled.plan.pods.get(key) else {
            let object = key.to_string();
            let rejected = self.compiled.rejected.iter().find(|r| r.object.contains(&object));
            let why = rejected.map_or_else(
                || format!("attachment {key} was removed again"),
                |rejected| rejected.to_string(),
            );
            return Err(RequestError::Conflict(why));
        };
        Ok(Attached {
            attachment: Arc::clone(attachment),
            link: link.clone(),
            host_link: key.host_link(),
        })
    }

    /// Reads an attachment back from the kernel.
    fn check(&mut self, attachment: &Arc<Attachment>) -> Result<Attached, RequestError> {
        let key = &attachment.key;
        let Some(want) = compile::cni::rows(&self.world, &self.compiled, key) else {
            return self.attached(attachment);
        };
        let have = self.steps.read().map_err(RequestError::Kernel)?;
        let differences = compile::cni::check(&want, &have);
        if differences.is_empty() {
            return self.attached(attachment);
        }
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        Err(RequestError::Differs { key: key.clone(), differences: lines.join("; ") })
    }

    /// Whether the links of `keys` are gone, by the last report.
    fn removed(&self, keys: &[AttachmentKey]) -> Result<(), RequestError> {
        let about = |key: &AttachmentKey| super::Subject::Attachment(key.clone());
        let subjects: Vec<_> = keys.iter().map(about).collect();
        let failures = self.report.failures().filter(|f| subjects.contains(&f.subject));
        let lines: Vec<&str> = failures.map(|failure| failure.text.as_str()).collect();
        if lines.is_empty() { Ok(()) } else { Err(RequestError::Kernel(lines.join("; "))) }
    }

    /// Before the World is known: what was released is taken off the node by name; everything else
    /// waits, and so do CHECKs.
    pub(super) fn detach_unsynced(&mut self, turn: Turn) {
        let Turn { batch, checks, settles } = turn;
        for reply in settles {
            answer(reply, Err(self.unsynced()));
        }
        for (_, reply) in checks {
            answer(reply, Err(self.unsynced()));
        }
        for (_, reply) in batch.attaches {
            answer(reply, Err(self.unsynced()));
        }
        let mut keys: Vec<AttachmentKey> =
            batch.detaches.iter().map(|(key, _)| key.clone()).collect();
        keys.extend(batch.gcs.iter().flat_map(|(keys, _)| keys.iter().cloned()));
        let failures = self.steps.detach(&keys);
        let result = || match failures.first() {
            None => Ok(()),
            Some(failure) => Err(RequestError::Kernel(failure.text.clone())),
        };
        for (_, reply) in batch.detaches {
            answer(reply, result());
        }
        for (keys, reply) in batch.gcs {
            answer(reply, result().map(|()| keys));
        }
    }
}

impl Batch {
    /// Answers DELs and GCs with what kept the ledger from recording them.
    fn refuse_removals(&mut self, error: &CommitError) {
        let refusal = || RequestError::Journal(chain(error));
        for (_, reply) in std::mem::take(&mut self.detaches) {
            answer(reply, Err(refusal()));
        }
        for (_, reply) in std::mem::take(&mut self.gcs) {
            answer(reply, Err(refusal()));
        }
    }
}

fn refuse(attaches: Vec<(Arc<Attachment>, Reply<Attached>)>, error: &CommitError) {
    for (_, reply) in attaches {
        answer(reply, Err(RequestError::Journal(chain(error))));
    }
}
