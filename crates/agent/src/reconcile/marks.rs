//! Marks by which connections say what allowed them, before a number comes around.
//!
//! Policies have a number of one byte, another one after each change, and a connection that is allowed
//! bears it (see docs/decisions/0031). Before one is used again, and where nobody knows which ones are in
//! use, it is taken off all connections: they are asked about at their next packet, and nothing else
//! comes of it. So this step comes before the rules that have the number.

use std::num::NonZero;
use std::time::Instant;

use compile::policy::{GENERATION, generation};
use kernel::conntrack::{Entries, Error};
use model::chain;
use plan::Plan;

use super::report::{FailureRow, StepReport, Subject};
use super::stage::{Reach, Stage};

/// The step's name.
pub(crate) const NAME: &str = "marks";

/// Where connections have marks.
pub(crate) trait Marking: Send {
    /// Takes the bits of `mask` out of all marks; returns how many connections had any.
    fn unmark(&mut self, mask: u32) -> Result<usize, Error>;
}

impl Marking for Entries {
    fn unmark(&mut self, mask: u32) -> Result<usize, Error> {
        Entries::unmark(self, mask)
    }
}

/// The step before the rules.
pub(crate) struct Marks<T> {
    marking: T,
    /// The number that policies had last; `None` while that is not known.
    last: Option<NonZero<u8>>,
    report: StepReport,
}

impl<T: Marking> Marks<T> {
    /// The step, before it knows of a number.
    pub(crate) fn new(marking: T) -> Self {
        Marks { marking, last: None, report: StepReport { step: NAME, ..StepReport::default() } }
    }

    /// Whether connections may bear `number` that other policies allowed.
    fn may_be_in_use(&self, number: NonZero<u8>) -> bool {
        self.last.is_none_or(|last| number != last && Some(number) != last.checked_add(1))
    }
}

impl<T: Marking> Stage for Marks<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What fails is tried again by the next pass in any case.
    fn put(&mut self, plan: &Plan, _reach: Reach) -> bool {
        let Some(number) = generation(&plan.nft) else { return false };
        let start = Instant::now();
        if self.may_be_in_use(number) {
            match self.marking.unmark(GENERATION) {
                Ok(changed) => self.report.puts += changed,
                Err(error) => {
                    let text = chain(&error);
                    self.report.failures.push(FailureRow { subject: Subject::Others, text });
                    self.last = None;
                    return false;
                }
            }
        }
        self.last = Some(number);
        self.report.took += start.elapsed();
        false
    }

    fn report(&mut self) -> StepReport {
        let empty = StepReport { step: NAME, ..StepReport::default() };
        std::mem::replace(&mut self.report, empty)
    }

    /// The number of the rules that were there before is in use.
    fn note(&mut self, have: &Plan) {
        self.last = self.last.or_else(|| generation(&have.nft));
    }

    fn dump(&self) -> String {
        let number = self.last.map_or_else(|| "none".to_owned(), |number| number.to_string());
        format!("number of the policies: {number}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::sync::{Arc, Mutex};

    use compile::policy::{Around, PolicyTable, lower};

    use super::*;

    /// How often marks were taken off, and whether that is refused.
    #[derive(Default, Clone)]
    struct Counted(Arc<Mutex<(usize, bool)>>);

    impl Marking for Counted {
        fn unmark(&mut self, mask: u32) -> Result<usize, Error> {
            assert_eq!(mask, 0xff00_0000);
            let mut inside = self.0.lock().unwrap();
            if inside.1 {
                return Err(Error::new("change marks", io::ErrorKind::OutOfMemory.into()));
            }
            inside.0 += 1;
            Ok(3)
        }
    }

    /// Rules of policies with this number; none for 0.
    fn plan(number: u8) -> Plan {
        let table = PolicyTable { has_policies: true, ..PolicyTable::default() };
        let around = Around { pods: [].into(), node: BTreeSet::new(), has_log: true, dns: None };
        let nft = NonZero::new(number).map(|number| lower(&table, &around, number));
        Plan { nft: nft.unwrap_or_default(), ..Plan::default() }
    }

    /// Puts plans with these numbers one after the other; how often marks were taken off for each.
    fn swept(marks: &mut Marks<Counted>, numbers: &[u8]) -> Vec<usize> {
        let counted = marks.marking.clone();
        let mut sweeps = Vec::new();
        for number in numbers {
            let before = counted.0.lock().unwrap().0;
            marks.put(&plan(*number), Reach::All);
            sweeps.push(counted.0.lock().unwrap().0 - before);
        }
        sweeps
    }

    #[test]
    fn a_number_that_may_be_in_use_is_taken_off_all_connections_before_it_is_used() {
        let mut marks = Marks::new(Counted::default());
        assert_eq!(swept(&mut marks, &[0, 1, 1, 2, 2, 0, 3]), [0, 1, 0, 0, 0, 0, 0], "from none");
        assert_eq!(swept(&mut marks, &[254, 255, 1, 2]), [1, 0, 1, 0], "around");
        assert_eq!(marks.report().puts, 3 * 3, "each is told of");
    }

    #[test]
    fn the_number_that_the_kernel_has_is_in_use_by_what_it_allowed() {
        let mut marks = Marks::new(Counted::default());
        marks.note(&plan(7));
        assert_eq!(swept(&mut marks, &[7, 8, 8]), [0, 0, 0]);
    }

    #[test]
    fn what_failed_is_told_of_and_tried_again() {
        let counted = Counted::default();
        let mut marks = Marks::new(counted.clone());
        counted.0.lock().unwrap().1 = true;
        assert_eq!(swept(&mut marks, &[5]), [0]);
        assert_eq!(marks.report().failures[0].text, "change marks: out of memory");
        counted.0.lock().unwrap().1 = false;
        assert_eq!(swept(&mut marks, &[5, 5]), [1, 0]);
    }
}
