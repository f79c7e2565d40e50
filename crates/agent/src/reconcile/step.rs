//! One place in the loop's order, with what it is known to hold.
//!
//! The place is read back at the start, after a failure, when the kernel says that somebody else
//! wrote, and from time to time; in between a step remembers what it wrote, so a pass costs the
//! rows that differ and no dump of the kernel. See docs/decisions/0001.

use std::collections::BTreeSet;
use std::time::Instant;

use model::{AttachmentKey, IfName, chain};
use plan::{Changes, Mechanism, ObserveError, Plan, Put, Table, diff};

use super::report::{About, FailureRow, StepReport, Subject};
use super::stage::{InPlan, Reach, Stage};

/// A row as one line.
type Line<M> = fn(&<M as Mechanism>::Key, &<M as Mechanism>::Row) -> String;

/// How a place holds attachments' own links.
pub(crate) struct OwnLinks<M: Mechanism> {
    /// The row that is the link of an attachment.
    pub(crate) key: fn(&AttachmentKey) -> M::Key,
    /// The name of the link that a row is.
    pub(crate) link: fn(&M::Key) -> IfName,
    /// Reads these links alone.
    pub(crate) read: fn(&mut M, &BTreeSet<IfName>) -> Rows<M>,
}

/// What reading a place gives.
type Rows<M> = Result<Table<<M as Mechanism>::Key, <M as Mechanism>::Row>, ObserveError>;

/// A mechanism and what its place is known to hold.
pub(crate) struct Step<M: Mechanism> {
    name: &'static str,
    place: M,
    table: InPlan<M::Key, M::Row>,
    line: Line<M>,
    /// How the place holds attachments' own links, if it does.
    own_links: Option<OwnLinks<M>>,
    /// Puts and deletes are one transaction of the kernel.
    is_atomic: bool,
    /// Rows of later steps stand on rows of this one: replacing a link takes its routes along.
    carries: bool,
    /// Later steps act on these rows being there.
    leads: bool,
    /// What the place held when it was last read, and what was written since.
    have: Option<Table<M::Key, M::Row>>,
    /// Rows whose last write failed: what stands there is anyone's guess.
    unsure: BTreeSet<M::Key>,
    /// What was there when plans began that don't reach everything.
    ground: Ground<Table<M::Key, M::Row>>,
    /// `have` may be wrong: read before the next diff.
    stale: bool,
    /// Links of which `have` may be wrong.
    doubtful: BTreeSet<IfName>,
    /// The last reading found drift, so rows of later steps may have gone with it.
    drifted: bool,
    /// Deletes of the pass at hand, kept until every step has put.
    pending: Vec<M::Key>,
    report: StepReport,
}

/// What a place held when a plan came that reaches no further than [`Reach::Changes`].
enum Ground<T> {
    /// No such plan has come.
    Unseen,
    /// Nothing, so all that is there now is of such plans.
    Bare,
    /// `found`. What has changed since `first`, that plan's table, is changed there.
    Built { found: T, first: T },
}

impl<M: Mechanism> Step<M>
where
    M::Key: About,
{
    /// A step at `place` about which nothing is known yet.
    pub(crate) fn new(
        name: &'static str,
        place: M,
        table: InPlan<M::Key, M::Row>,
        line: Line<M>,
    ) -> Self {
        Step {
            name,
            place,
            table,
            line,
            own_links: None,
            is_atomic: false,
            carries: false,
            leads: false,
            have: None,
            unsure: BTreeSet::new(),
            ground: Ground::Unseen,
            stale: true,
            doubtful: BTreeSet::new(),
            drifted: false,
            pending: Vec::new(),
            report: StepReport { step: name, ..StepReport::default() },
        }
    }

    /// The same, for a place that changes in one transaction.
    pub(crate) fn atomic(self) -> Self {
        Step { is_atomic: true, ..self }
    }

    /// The same, for a place whose rows carry those of later steps.
    pub(crate) fn carrying(self) -> Self {
        Step { carries: true, ..self }
    }

    /// The same, for a place whose rows later steps take for granted.
    pub(crate) fn leading(self) -> Self {
        Step { leads: true, ..self }
    }

    /// The same, for the place of attachments' own links.
    pub(crate) fn of_links(self, own_links: OwnLinks<M>) -> Self {
        Step { own_links: Some(own_links), ..self }
    }

    /// Reads the place if need be.
    fn look(&mut self) {
        if self.is_known() {
            self.stale = false;
        } else if self.stale || !self.doubtful.is_empty() {
            self.observe();
        }
    }

    /// What the place should hold by a plan that has `want` for it and reaches so far.
    fn target(&mut self, want: &Table<M::Key, M::Row>, reach: Reach) -> Table<M::Key, M::Row> {
        let Some(have) = &self.have else { return want.clone() };
        match (reach, &self.ground) {
            (Reach::All, _) => self.ground = Ground::Unseen,
            (Reach::Changes, Ground::Unseen) if have.is_empty() => self.ground = Ground::Bare,
            (Reach::Changes, Ground::Unseen) => {
                self.ground = Ground::Built { found: have.clone(), first: want.clone() };
            }
            (Reach::Changes, Ground::Bare | Ground::Built { .. }) => {}
        }
        match &self.ground {
            Ground::Unseen | Ground::Bare => want.clone(),
            Ground::Built { found, first } => {
                let mut target = found.clone();
                target.patch(&diff(first, want));
                target
            }
        }
    }

    /// What differs from `want`.
    fn changes(&self, want: &Table<M::Key, M::Row>) -> Changes<M::Key, M::Row> {
        let Some(have) = &self.have else { return Changes::default() };
        let mut changes = diff(have, want);
        for key in &self.unsure {
            match want.get(key) {
                Some(row) => {
                    let put = || Put { row: row.clone(), old: have.get(key).cloned() };
                    changes.puts.entry(key.clone()).or_insert_with(put);
                }
                None if have.get(key).is_none() => changes.deletes.push(key.clone()),
                None => {}
            }
        }
        changes.deletes.sort();
        changes
    }

    /// Whether the place vouches for what is remembered of it.
    fn is_known(&mut self) -> bool {
        let remembers = self.have.is_some() && self.unsure.is_empty() && self.doubtful.is_empty();
        self.stale && remembers && self.place.stands()
    }

    /// Holds `want` itself where the place has all of it and nothing else: the next diff looks only
    /// at what the plan after this one does not share with it.
    fn share(&mut self, want: &Table<M::Key, M::Row>) {
        if self.is_atomic && self.unsure.is_empty() && self.have.is_some() {
            self.have = Some(want.clone());
        }
    }

    fn observe(&mut self) {
        let start = Instant::now();
        let doubtful = std::mem::take(&mut self.doubtful);
        match self.read_place(&doubtful) {
            Ok(have) => {
                if let Some(before) = &self.have
                    && self.unsure.is_empty()
                {
                    let drift = diff(&have, before).len();
                    self.report.drift += drift;
                    self.drifted |= drift > 0;
                }
                self.have = Some(have);
                if self.stale {
                    self.unsure.clear();
                    self.report.is_full = true;
                }
                self.stale = false;
            }
            Err(error) => {
                self.have = None;
                self.stale = true;
                let text = chain(&error);
                self.report.failures.push(FailureRow { subject: Subject::Everything, text });
            }
        }
        self.report.took += start.elapsed();
    }

    /// What the place holds: read as a whole when it is stale, else read where it is `doubtful`.
    fn read_place(&mut self, doubtful: &BTreeSet<IfName>) -> Rows<M> {
        let (Some(have), Some(own), false) = (&self.have, &self.own_links, self.stale) else {
            return self.place.observe();
        };
        let rows = (own.read)(&mut self.place, doubtful)?;
        let sure = have.iter().filter(|(key, _)| !doubtful.contains(&(own.link)(key)));
        let mut now: Table<_, _> = sure.map(|(key, row)| (key.clone(), row.clone())).collect();
        now.extend(rows.iter().map(|(key, row)| (key.clone(), row.clone())));
        Ok(now)
    }

    fn apply(&mut self, changes: &Changes<M::Key, M::Row>) {
        if changes.is_empty() {
            return;
        }
        let start = Instant::now();
        let failures = self.place.apply(changes);
        let failed: BTreeSet<&M::Key> = failures.iter().map(|failure| &failure.key).collect();
        for (key, put) in changes.puts.iter().filter(|(key, _)| !failed.contains(key)) {
            if let Some(have) = &mut self.have {
                have.insert(key.clone(), put.row.clone());
            }
            self.unsure.remove(key);
            self.report.puts += 1;
        }
        for key in changes.deletes.iter().filter(|key| !failed.contains(key)) {
            if let Some(have) = &mut self.have {
                have.remove(key);
            }
            self.unsure.remove(key);
            self.report.deletes += 1;
        }
        for failure in failures {
            let text = format!("{}: {}", failure.attempt, chain(&*failure.cause));
            self.report.failures.push(FailureRow { subject: failure.key.subject(), text });
            self.unsure.insert(failure.key);
        }
        self.report.took += start.elapsed();
    }
}

impl<M> Stage for Step<M>
where
    M: Mechanism + Send,
    M::Key: About + Send + Sync,
    M::Row: Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn put(&mut self, plan: &Plan, reach: Reach) -> bool {
        let failed = !self.unsure.is_empty() || self.have.is_none();
        self.look();
        let want = self.target((self.table.get)(plan), reach);
        let mut changes = self.changes(&want);
        let replaced = changes.puts.values().any(|put| put.old.is_some());
        let drifted = std::mem::take(&mut self.drifted);
        let shakes = self.carries && (replaced || drifted) || self.leads && (failed || drifted);
        if !self.is_atomic {
            self.pending = std::mem::take(&mut changes.deletes);
        }
        self.apply(&changes);
        self.share(&want);
        shakes
    }

    fn delete(&mut self) {
        let deletes = std::mem::take(&mut self.pending);
        self.apply(&Changes { deletes, ..Changes::default() });
    }

    fn detach(&mut self, keys: &[AttachmentKey]) {
        let deletes: Vec<M::Key> = match &self.own_links {
            Some(own) => keys.iter().map(own.key).collect(),
            None => Vec::new(),
        };
        self.apply(&Changes { deletes, ..Changes::default() });
    }

    fn report(&mut self) -> StepReport {
        let empty = StepReport { step: self.name, ..StepReport::default() };
        std::mem::replace(&mut self.report, empty)
    }

    fn mark_stale(&mut self) {
        self.stale = true;
    }

    fn mark_doubtful(&mut self, links: &BTreeSet<IfName>) {
        if self.own_links.is_some() {
            self.doubtful.extend(links.iter().cloned());
        }
    }

    fn mark_stale_after_failure(&mut self) {
        self.stale |= self.have.is_none() || !self.unsure.is_empty();
    }

    fn read(&mut self, have: &mut Plan) -> Result<(), String> {
        let rows = self.place.observe().map_err(|error| chain(&error))?;
        // What is wrong with it is counted and mended by the next pass.
        self.stale = true;
        *(self.table.get_mut)(have) = rows;
        Ok(())
    }

    fn dump(&self) -> String {
        let Some(have) = &self.have else { return "not read yet\n".to_owned() };
        have.iter().fold(String::new(), |mut text, (key, row)| {
            // A row that is nothing but its key ends where that ends.
            text.push_str((self.line)(key, row).trim_end());
            text.push('\n');
            text
        })
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
