//! Damage to files at rest: reported, never silent; and a torn end, which is not damage.

use std::path::{Path, PathBuf};

use quorate::GroupId;
use quorate::fs::{Fs, OpenMode, SimFs, read_whole};
use quorate::log::disk::OpenError;
use quorate::types::Index;

use crate::driver::{DIR, Driver, fixed_steps, open, run, settle, small};
use crate::model::Model;

/// A copy of the files of a log that nobody has open.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Vec<(PathBuf, Vec<u8>)>);

impl Files {
    pub(crate) fn of(disk: &SimFs) -> Files {
        let paths = disk.list(Path::new(DIR)).unwrap().into_iter().map(|name| Path::new(DIR).join(name));
        Files(paths.map(|path| (path.clone(), read_whole(disk, &path).unwrap())).collect())
    }

    pub(crate) fn disk(&self) -> SimFs {
        let disk = SimFs::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        for (path, bytes) in &self.0 {
            disk.open(path, OpenMode::CreateNew).unwrap().write_at(bytes, 0).unwrap();
        }
        disk
    }

    /// The last segment, which is written to.
    fn last(&mut self) -> &mut Vec<u8> {
        let last = self.0.iter_mut().rfind(|(path, _)| path.extension().is_some_and(|end| end == "log"));
        &mut last.unwrap().1
    }
}

/// A log of several segments after all its writes were synced, and what it holds.
async fn at_rest(steps: u64) -> (Files, Model) {
    let disk = SimFs::new();
    let mut driver = Driver::begin(open(disk.clone(), small()).unwrap()).await;
    fixed_steps(&mut driver, steps).await;
    driver.vote(GroupId(1), 5).await.unwrap();
    settle().await;
    (Files::of(&disk), driver.now)
}

#[test]
fn every_flipped_byte_of_a_log_at_rest_is_reported_or_does_no_harm() {
    run(|| async {
        let (files, held) = at_rest(75).await;
        assert!(files.0.len() >= 3, "only {} files", files.0.len());
        let (mut reported, mut harmless) = (0, 0);
        for file in 0..files.0.len() {
            for offset in 0..files.0[file].1.len() {
                let mut damaged = files.clone();
                damaged.0[file].1[offset] ^= 1 << (offset % 8);
                let path = &damaged.0[file].0;
                let what = format!("{} at {offset}", path.display());
                match open(damaged.disk(), small()) {
                    Err(OpenError::Damaged(error)) => {
                        assert!(error.path == *path && error.offset <= offset as u64, "{what}: {error}");
                        reported += 1;
                    }
                    Err(error) => panic!("{what}: {error}"),
                    Ok(log) => {
                        assert_eq!(Model::read(&log).await.unwrap(), held, "{what}");
                        harmless += 1;
                    }
                }
            }
        }
        assert!(reported > 2000 && harmless > 100, "{reported} reported, {harmless} harmless");
    });
}

#[test]
fn bytes_behind_the_last_record_are_a_torn_write_and_go() {
    run(|| async {
        let (files, held) = at_rest(20).await;
        for garbage in [vec![0; 700], vec![0xff; 40], vec![7; 3], (0..=255).collect()] {
            let mut torn = files.clone();
            let bytes = torn.last();
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend(&garbage);
            let log = open(torn.disk(), small()).unwrap();
            assert_eq!(Model::read(&log).await.unwrap(), held);
        }
    });
}

#[test]
fn a_write_that_was_cut_off_anywhere_takes_only_itself() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), small()).unwrap()).await;
        driver.append(GroupId(1), 1, 0, &[10, 20]).await.unwrap();
        settle().await;
        let synced = Files::of(&disk).last().clone();
        let before = driver.now.clone();
        driver.append(GroupId(1), 1, 2, &[30, 5, 40]).await.unwrap();
        driver.append(GroupId(2), 1, 0, &[50]).await.unwrap();
        settle().await;
        let mut files = Files::of(&disk);
        let written = files.last().clone();
        let differ = |at: &usize| synced[*at] != written[*at];
        let (from, to) = ((0..written.len()).find(differ).unwrap(), (0..written.len()).rfind(differ).unwrap());
        for cut in from..=to {
            for fill in [0, 0xa5] {
                let mut torn = files.clone();
                torn.last()[cut..].fill(fill);
                let log = open(torn.disk(), small()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
                let found = Model::read(&log).await.unwrap();
                let count = found.group(GroupId(1)).entries.len();
                assert!(count >= 2, "cut at {cut}");
                assert_eq!(found.group(GroupId(1)).entries, driver.now.group(GroupId(1)).entries[..count]);
                assert_eq!(before.group(GroupId(1)).entries.len(), 2);
            }
        }
    });
}

#[test]
fn a_segment_that_is_missing_is_reported() {
    run(|| async {
        // No purges, so that every segment holds live entries.
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), small()).unwrap()).await;
        for start in 0..40 {
            driver.append(GroupId(1), 1, start, &[150]).await.unwrap();
            settle().await;
        }
        let files = Files::of(&disk);
        let segments: Vec<_> = (0..files.0.len()).filter(|at| files.0[*at].0.extension().is_some()).collect();
        assert!(segments.len() > 3);
        // Without the last one the log ends earlier, which cannot be told from a log that did.
        for missing in &segments[..segments.len() - 1] {
            let mut left = files.clone();
            let (path, _) = left.0.remove(*missing);
            let error = open(left.disk(), small()).map(drop).unwrap_err();
            assert!(matches!(&error, OpenError::Damaged(damaged) if damaged.path == path), "{error}");
        }
    });
}

#[test]
fn an_entry_that_has_decayed_is_an_error_that_names_the_place_when_it_is_read() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), small()).unwrap()).await;
        for start in 0..20 {
            driver.append(GroupId(1), 1, start, &[150]).await.unwrap();
            settle().await;
        }
        let path = Path::new(DIR).join("0000000001.log");
        let file = disk.open(&path, OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, 200).unwrap();
        file.write_at(&[byte[0] ^ 4], 200).unwrap();
        let error = driver.group(GroupId(1)).read(Index(0), Index(5)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("0000000001.log is damaged at byte"), "{error}");
        assert_eq!(driver.group(GroupId(1)).read(Index(15), Index(17)).await.unwrap().len(), 2);
    });
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    run(|| async {
        let disk = SimFs::new();
        let log = open(disk.clone(), small()).unwrap();
        assert!(matches!(open(disk.clone(), small()), Err(OpenError::InUse(_))));
        log.group(GroupId(1)).save_vote(crate::model::vote(3)).await.unwrap();
        log.close().await;
        assert!(log.group(GroupId(1)).vote().await.is_err(), "a closed log answers nothing");
        let again = open(disk.clone(), small()).unwrap();
        assert_eq!(again.group(GroupId(1)).vote().await.unwrap(), Some(crate::model::vote(3)));
        // Dropping all handles ends it as well.
        drop((log, again));
        settle().await;
        open(disk, small()).unwrap();
    });
}
