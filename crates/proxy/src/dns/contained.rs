//! Panics that end nothing: those about one question (DNS-160).
//!
//! Everywhere else a panic means that something is not as it was proved to be, and the process ends: a
//! node goes on without its agent until the next one starts, but not with half of one.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::abort;

thread_local! {
    /// Whether a panic of this thread ends nothing.
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic ends the process as soon as it is reported, unless it is about one question.
pub fn end_with_other_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !IS_CONTAINED.get() {
            abort();
        }
    }));
}

/// What `work` gives; `None` when it panics.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let was = IS_CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(was);
    outcome.ok()
}

/// The same for work that waits.
pub(super) async fn contained_later<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match contained(|| work.as_mut().poll(context)) {
        Some(poll) => poll.map(Some),
        None => std::task::Poll::Ready(None),
    })
    .await
}
