//! Panics during a run are findings: they are caught on the thread that runs it, whichever task they come from.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// What panicked on this thread, while somebody wants to know.
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs `act`, and gives what panicked meanwhile, in tasks that it ran or in itself; its own result only if it did not.
pub(super) fn watch<T>(act: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    install();
    let outer = SEEN.replace(Some(Vec::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(act)).ok();
    let seen = SEEN.replace(outer).unwrap_or_default();
    (result, seen)
}

/// Whether something has panicked since [`watch`] began.
pub(super) fn is_any() -> bool {
    SEEN.with_borrow(|seen| seen.as_ref().is_some_and(|seen| !seen.is_empty()))
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_watched = SEEN.try_with(|seen| {
                let mut seen = seen.try_borrow_mut().ok()?;
                seen.as_mut()?.push(info.to_string().replace('\n', " "));
                Some(())
            });
            if !matches!(is_watched, Ok(Some(()))) {
                usual(info);
            }
        }));
    });
}
