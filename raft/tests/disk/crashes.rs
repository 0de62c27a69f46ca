//! The power fails, or the process dies, at any point: what was reported durable is there, and nothing that never was.

use std::sync::Arc;

use quorate::fs::{CrashStyle, Fault, FaultyFs, Rule, SimFs, When};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::driver::{Driver, env, fixed_steps, open, random_steps, run, seed, settle, small};
use crate::model::Model;

const STEPS: u64 = 120;

/// Runs the fixed steps on a disk whose operations all fail from the nth one on. Gives the driver, if the log opened, and
/// whether the operations were enough for all steps.
async fn until_operation(disk: &SimFs, n: u64) -> (Option<Driver>, bool) {
    let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
    faulty.add(Rule::new(Fault::Io).when(When::From(n)));
    let Ok(log) = open(faulty.clone(), small()) else { return (None, false) };
    let mut driver = Driver::begin(log).await;
    fixed_steps(&mut driver, STEPS).await;
    settle().await;
    (Some(driver), faulty.operations() < n)
}

/// Opens what a crash left, checks it, and goes on with it for a while.
async fn check_next_life(disk: SimFs, before: Option<Driver>, what: &str) {
    let log = open(disk.clone(), small()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = Model::read(&log).await.unwrap();
    match &before {
        Some(driver) => driver.check(&found, what),
        None => assert_eq!(found, Model::default(), "{what}"),
    }
    let mut driver = Driver::begin(log).await;
    random_steps(&mut driver, &mut SmallRng::seed_from_u64(9), 20, 3).await;
    settle().await;
    assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now, "{what}, going on");
    driver.log.close().await;
    let log = open(disk.restart(), small()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(Model::read(&log).await.unwrap(), driver.now, "{what}, again");
}

async fn crash_everywhere(crash: impl Fn(&SimFs, u64) -> SimFs, what: &str) {
    for n in 1.. {
        let disk = SimFs::new();
        let (driver, is_enough) = until_operation(&disk, n).await;
        let rewritten = driver.as_ref().map_or(0, |driver| driver.log.usage().rewritten_bytes);
        check_next_life(crash(&disk, n), driver, &format!("{what} at operation {n}")).await;
        if is_enough {
            assert!(n > 200, "only {n} operations");
            assert!(rewritten > 0, "no entries were moved");
            return;
        }
    }
}

#[test]
fn power_loss_at_any_operation_loses_nothing_that_was_reported_durable() {
    run(|| crash_everywhere(|disk, n| disk.crash_as(n, CrashStyle::Prefix), "power lost"));
}

#[test]
fn power_loss_that_leaves_any_sectors_loses_nothing_that_was_reported_durable() {
    run(|| crash_everywhere(|disk, n| disk.crash_as(n, CrashStyle::Scattered), "power lost, writes in no order,"));
}

#[test]
fn a_process_that_dies_at_any_operation_loses_nothing_that_was_reported_durable() {
    run(|| crash_everywhere(|disk, _| disk.restart(), "process died"));
}

#[test]
fn power_loss_while_a_log_recovers_loses_nothing() {
    run(|| async {
        for style in [CrashStyle::Prefix, CrashStyle::Scattered] {
            for n in 1.. {
                let what = format!("{style:?}, recovery cut off at operation {n}");
                let disk = SimFs::new();
                let (driver, _) = until_operation(&disk, 150).await;
                let disk = disk.crash_as(n, style);
                // Opening fails half-way, and the power with it.
                let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
                faulty.add(Rule::new(Fault::Io).when(When::From(n)));
                let opened = open(faulty, small());
                let disk = disk.crash_as(n + 1, style);
                check_next_life(disk, driver, &what).await;
                if opened.is_ok() {
                    assert!(n > 20, "recovery took only {n} operations");
                    break;
                }
            }
        }
    });
}

#[test]
fn many_lives_of_random_steps_and_crashes_always_find_what_was_durable() {
    run(|| async {
        let seed = seed();
        let mut random = SmallRng::seed_from_u64(seed);
        for round in 0..12 {
            let mut disk = SimFs::new();
            for life in 0..8 {
                let what = format!("seed {seed}, round {round}, life {life}");
                let log = open(disk.clone(), small()).unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut driver = Driver::begin(log).await;
                let groups = [1, 3, 20][random.random_range(0..3)];
                let steps = random.random_range(0..150);
                random_steps(&mut driver, &mut random, steps, groups).await;
                assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now, "{what}");
                disk = match random.random_range(0..5) {
                    0 => disk.crash_as(random.random(), CrashStyle::Prefix),
                    1 | 2 => disk.crash_as(random.random(), CrashStyle::Scattered),
                    3 => disk.restart(),
                    _ => {
                        driver.log.close().await;
                        driver.durable.store(driver.steps.len(), std::sync::atomic::Ordering::Relaxed);
                        disk.restart()
                    }
                };
                let log = open(disk.clone(), small()).unwrap_or_else(|error| panic!("{what}: {error}"));
                driver.check(&Model::read(&log).await.unwrap(), &what);
                disk = disk.restart();
            }
        }
    });
}
