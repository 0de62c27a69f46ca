//! Every operation fails once, in every way: what was reported durable stays, and a log that does not know what is on its
//! disk takes nothing any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate::GroupId;
use quorate::fs::{CrashStyle, Fault, FaultyFs, Operation, Rule, SimFs, When};
use quorate::log::Flushed;

use crate::driver::{Driver, env, fixed_steps, open, run, settle, small};
use crate::model::{Model, entry, vote};

const STEPS: u64 = 120;

/// Lets the nth operation fail that `fault` can hit, then lets the power fail; for every n.
async fn fail_everywhere(fault: Fault, style: CrashStyle) {
    for n in 1.. {
        let what = format!("{fault:?} at operation {n}");
        let disk = SimFs::new();
        let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
        faulty.add(Rule::new(fault).when(When::Nth(n)));
        let driver = match open(faulty.clone(), small()) {
            Err(_) => None,
            Ok(log) => {
                let mut driver = Driver::begin(log).await;
                fixed_steps(&mut driver, STEPS).await;
                settle().await;
                if let Ok(found) = Model::read(&driver.log).await {
                    assert_eq!(found, driver.now, "{what}");
                }
                // What has failed has failed for good.
                if driver.vote(GroupId(1), 5).await.is_err() {
                    assert!(driver.vote(GroupId(1), 6).await.is_err(), "{what}");
                    assert!(driver.append(GroupId(9), 1, 0, &[1]).await.is_err(), "{what}");
                }
                Some(driver)
            }
        };
        let is_over = faulty.operations() < n;
        // First only the process ends, and the next one believes what it reads; then the power fails.
        let disk = disk.restart();
        let log = open(disk.clone(), small()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = Model::read(&log).await.unwrap();
        if let Some(driver) = driver {
            driver.check(&found, &what);
        }
        let log = open(disk.crash_as(n, style), small()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(Model::read(&log).await.unwrap(), found, "{what}, after a power failure");
        if is_over {
            assert!(n > 100, "only {n} operations");
            return;
        }
    }
}

#[test]
fn an_io_error_of_any_operation_ends_the_log_or_changes_nothing() {
    run(|| fail_everywhere(Fault::Io, CrashStyle::Prefix));
    run(|| fail_everywhere(Fault::Io, CrashStyle::Scattered));
}

#[test]
fn want_of_space_at_any_operation_ends_the_log_or_changes_nothing() {
    run(|| fail_everywhere(Fault::NoSpace, CrashStyle::Prefix));
}

#[test]
fn a_write_or_read_that_stops_short_at_any_operation_ends_the_log_or_changes_nothing() {
    run(|| fail_everywhere(Fault::Short, CrashStyle::Scattered));
}

#[test]
fn a_failed_sync_is_final() {
    run(|| async {
        let disk = SimFs::new();
        let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
        let log = open(faulty.clone(), small()).unwrap();
        let group = log.group(GroupId(1));
        group.save_vote(vote(1)).await.unwrap();
        faulty.add(Rule::new(Fault::Io).on([Operation::Sync]).when(When::Nth(1)));

        let (reported, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let flushed = {
            let (reported, count) = (Arc::clone(&reported), Arc::clone(&count));
            Flushed::new(move |result: io::Result<()>| {
                count.fetch_add(1, Ordering::Relaxed);
                reported.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
            })
        };
        group.append(vec![entry(1, 0, 10)], flushed).await.unwrap();
        let unsaved = group.save_vote(vote(2)).await.unwrap_err();
        assert!(unsaved.to_string().contains("Input/output error"), "{unsaved}");
        assert_eq!((count.load(Ordering::Relaxed), reported.load(Ordering::Relaxed)), (1, 1));

        // The next sync would succeed. It is not tried.
        let operations = faulty.operations();
        for error in [
            group.save_vote(vote(3)).await.unwrap_err(),
            group.append(vec![entry(1, 1, 10)], Flushed::new(drop)).await.unwrap_err(),
            group.state().await.map(drop).unwrap_err(),
            group.vote().await.map(drop).unwrap_err(),
            log.group(GroupId(2)).purge(crate::model::id(1, 1)).await.unwrap_err(),
            log.forget(GroupId(1)).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("the log has failed"), "{error}");
        }
        log.close().await;
        assert_eq!(faulty.operations(), operations, "the disk is left alone");
    });
}
