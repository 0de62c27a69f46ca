//! What a test may rely on when it makes a disk fail.

use std::io::ErrorKind;

use super::*;
use crate::env::VirtualEnv;
use crate::fs::{SimFs, read_whole};

/// A simulated disk, a faulty view of it, and a file opened there.
async fn subject() -> (SimFs, FaultyFs, Box<dyn File>) {
    let disk = SimFs::new();
    let faulty = FaultyFs::new(Arc::new(disk.clone()), Arc::new(VirtualEnv::new(1)));
    let file = faulty.open(Path::new("/f"), OpenMode::Create).unwrap();
    faulty.sync_dir(Path::new("/")).unwrap();
    (disk, faulty, file)
}

#[tokio::test(start_paused = true)]
async fn a_rule_hits_the_operation_path_and_occasion_it_names_and_nothing_else() {
    let (_, fs, file) = subject().await;
    let other = fs.open(Path::new("/g"), OpenMode::Create).unwrap();
    fs.add(Rule::new(Fault::Io).on([Operation::Write]).path("/f").when(When::Nth(2)));
    let outcomes: Vec<bool> = (0..4).map(|_| file.write_at(b"x", 0).is_ok()).collect();
    assert_eq!(outcomes, [true, false, true, true]);
    assert!((0..4).all(|_| other.write_at(b"x", 0).is_ok()));
    fs.add(Rule::new(Fault::Io).when(When::From(2)));
    assert!(file.size().is_ok() && file.size().is_err() && fs.list(Path::new("/")).is_err());
    let error = file.sync_data().unwrap_err();
    assert!(error.to_string().starts_with("sync /f: "), "{error}");
    fs.clear();
    assert!(file.size().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_chance_hits_about_as_often_as_it_says_and_the_same_ones_for_the_same_seed() {
    async fn hits() -> Vec<bool> {
        let (_, fs, file) = subject().await;
        fs.add(Rule::new(Fault::Io).on([Operation::Write]).when(When::Chance(0.3)));
        (0..1000).map(|_| file.write_at(b"x", 0).is_err()).collect()
    }
    let first = hits().await;
    assert!((200..400).contains(&first.iter().filter(|hit| **hit).count()));
    assert_eq!(first, hits().await);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_never_made_good_by_a_later_one() {
    let mut lost = 0;
    for seed in 0..40 {
        let (disk, fs, file) = subject().await;
        file.write_at(b"abc", 0).unwrap();
        fs.add(Rule::new(Fault::Io).on([Operation::Sync]).when(When::Nth(1)));
        assert!(file.sync_data().is_err());
        file.sync_data().expect("the second one lies, as Linux does");
        lost += usize::from(read_whole(&disk.crash(seed), Path::new("/f")).unwrap() != b"abc");
    }
    assert!((10..40).contains(&lost), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_takes_space_and_serves_the_rest() {
    let (_, fs, file) = subject().await;
    file.write_at(b"abc", 0).unwrap();
    fs.add(Rule::new(Fault::NoSpace));
    assert_eq!(file.write_at(b"d", 3).unwrap_err().kind(), ErrorKind::StorageFull);
    let refused = fs.open(Path::new("/g"), OpenMode::Create).err().expect("refused");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(fs.free_space(Path::new("/")).unwrap(), 0);
    assert_eq!(read_whole(&fs, Path::new("/f")).unwrap(), b"abc");
    file.sync_data().unwrap();
    fs.remove(Path::new("/f")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_short_write_leaves_a_part_and_a_flipped_read_differs_in_one_bit() {
    let (_, fs, file) = subject().await;
    fs.add(Rule::new(Fault::Short).on([Operation::Write]));
    assert_eq!(file.write_at(&[0xff; 100], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(file.size().unwrap() < 100);
    fs.clear();
    file.write_at(&[0xff; 100], 0).unwrap();
    fs.add(Rule::new(Fault::Flip));
    let zeros: u32 = read_whole(&fs, Path::new("/f")).unwrap().iter().map(|byte| byte.count_zeros()).sum();
    assert_eq!(zeros, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sync_says_how_slow_and_fails_nothing() {
    let (_, fs, file) = subject().await;
    let slow = Duration::from_millis(80);
    fs.add(Rule::new(Fault::Slow(slow)).when(When::Nth(2)));
    let delays = [(); 3].map(|()| {
        let delay = file.sync_delay();
        file.sync_data().unwrap();
        delay
    });
    assert_eq!(delays, [Duration::ZERO, slow, Duration::ZERO]);
}
