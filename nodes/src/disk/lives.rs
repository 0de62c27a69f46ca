//! How often a node was started on its directory: with a seed, each life must draw other numbers than the ones before, or
//! its messages and sessions would be taken for theirs.

use std::path::Path;

use anyhow::Context;
use quorate::fs::{Fs, read_whole, replace_durably};

const FILE: &str = "lives";

/// Counts another life of the node that has `dir` to itself. Gives how many there were before.
///
/// # Errors
/// When the count cannot be read or written.
pub(crate) fn begin_life(fs: &dyn Fs, dir: &Path) -> anyhow::Result<u64> {
    let path = dir.join(FILE);
    let before = match fs.metadata(&path)? {
        None => 0,
        Some(_) => {
            let text = String::from_utf8(read_whole(fs, &path)?).ok();
            let count = text.and_then(|text| text.trim_end().parse::<u64>().ok());
            count.with_context(|| format!("{} is damaged", path.display()))?
        }
    };
    replace_durably(fs, &path, format!("{}\n", before.saturating_add(1)).as_bytes())?;
    Ok(before)
}

/// The seed of a life; that of the first one is `seed` itself.
pub(crate) fn seed_of_life(seed: u64, lives_before: u64) -> u64 {
    seed ^ lives_before.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use quorate::fs::{OpenMode, SimFs, create_dir_durably};

    use super::*;

    #[test]
    fn lives_are_counted_and_a_damaged_count_is_no_first_life() {
        let (fs, dir) = (SimFs::new(), Path::new("/data"));
        create_dir_durably(&fs, dir).expect("a directory");
        let counted: Vec<u64> = (0..3).map(|_| begin_life(&fs, dir).expect("a life")).collect();
        assert_eq!(counted, [0, 1, 2]);
        let file = fs.open(&dir.join(FILE), OpenMode::Truncate).expect("the file");
        file.write_at(b"3x", 0).expect("written");
        assert!(begin_life(&fs, dir).is_err());
    }

    #[test]
    fn no_two_lives_have_the_same_seed() {
        let seeds: std::collections::BTreeSet<u64> = (0..1000).map(|life| seed_of_life(7, life)).collect();
        assert_eq!((seeds.len(), seed_of_life(7, 0)), (1000, 7));
    }
}
