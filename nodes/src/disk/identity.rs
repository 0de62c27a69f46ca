//! Whose a data directory is: written when the directory is new, compared whenever it is used again.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use quorate::fs::{Fs, Metadata, create_dir_durably, read_whole, replace_durably};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";

/// The only version of a data directory's layout so far.
pub(crate) const FORMAT: u32 = 1;

/// What every identity says of itself.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// What tells a data directory from others: an object with the field `format`, which is [`FORMAT`]. Shown, it says whose the
/// data is.
pub(crate) trait Identity: Serialize + DeserializeOwned + PartialEq + Display {}

/// Whether `dir` is `own`'s; false if it is nobody's yet.
///
/// # Errors
/// When it is somebody else's, or of another format, or damaged.
pub(crate) fn is_claimed<I: Identity>(fs: &dyn Fs, dir: &Path, own: &I) -> anyhow::Result<bool> {
    let path = dir.join(FILE);
    if fs.metadata(&path)?.is_none() {
        return Ok(false);
    }
    let bytes = read_whole(fs, &path)?;
    let damaged = || format!("{} is damaged", path.display());
    let Format { format } = serde_json::from_slice(&bytes).with_context(damaged)?;
    ensure!(format == FORMAT, "{} has format {format}; this is {FORMAT}", dir.display());
    let found: I = serde_json::from_slice(&bytes).with_context(damaged)?;
    if found != *own {
        bail!("{} is the data of {found}, not of {own}", dir.display());
    }
    Ok(true)
}

/// Makes `dir` the directory of `own`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn claim<I: Identity>(fs: &dyn Fs, dir: &Path, own: &I) -> anyhow::Result<()> {
    create_dir_durably(fs, dir)?;
    replace_durably(fs, &dir.join(FILE), &serde_json::to_vec(own)?)?;
    Ok(())
}

/// Finds that there is nothing in a directory that is nobody's. Where the identity is written before anything else, a directory
/// with anything else but no identity is no node's, or has lost it.
///
/// # Errors
/// When there is something.
pub(crate) fn check_empty(fs: &dyn Fs, dir: &Path) -> anyhow::Result<()> {
    match fs.metadata(dir)? {
        None => Ok(()),
        Some(Metadata::File { .. }) => bail!("{} is a file", dir.display()),
        Some(Metadata::Directory) => {
            // A disk of its own has its own directory.
            let strange = |name: &String| !name.starts_with(FILE) && name != "lost+found";
            let strange = fs.list(dir)?.into_iter().find(strange);
            match strange {
                Some(name) => {
                    bail!("{} holds {name}, but no {FILE}: it is not a node's data, or damaged", dir.display())
                }
                None => Ok(()),
            }
        }
    }
}
