//! Paths: absolute, in one spelling only.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest path in bytes, and the longest name between two slashes.
const BYTES_MAX: (usize, usize) = (4096, 255);

/// A path: `/` and a name, once or more. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct FilePath(Arc<str>);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not begin with a slash.
    #[error("a path begins with a slash")]
    NotAbsolute,
    /// There is no name between two slashes, or after the last one.
    #[error("a path has a name after each slash")]
    EmptyName,
    /// A name is `.` or `..`.
    #[error("`.` and `..` are no names")]
    DotName,
    /// A control character.
    #[error("a path has no control characters")]
    ControlCharacter,
    /// It is longer than 4096 bytes, or a name is longer than 255.
    #[error("a path has at most {} bytes, and a name {}", BYTES_MAX.0, BYTES_MAX.1)]
    TooLong,
}

impl FilePath {
    /// The path of this text.
    ///
    /// # Errors
    /// [`InvalidPath`] when it is none.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidPath> {
        let text = text.into();
        let names = text.strip_prefix('/').ok_or(InvalidPath::NotAbsolute)?;
        if text.len() > BYTES_MAX.0 {
            return Err(InvalidPath::TooLong);
        }
        for name in names.split('/') {
            match name {
                "" => return Err(InvalidPath::EmptyName),
                "." | ".." => return Err(InvalidPath::DotName),
                name if name.len() > BYTES_MAX.1 => return Err(InvalidPath::TooLong),
                name if name.chars().any(char::is_control) => return Err(InvalidPath::ControlCharacter),
                _ => {}
            }
        }
        Ok(FilePath(text))
    }

    /// Its text.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// Whether `other` lies below this path.
    pub fn is_above(&self, other: &str) -> bool {
        other.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl TryFrom<Arc<str>> for FilePath {
    type Error = InvalidPath;

    fn try_from(text: Arc<str>) -> Result<Self, InvalidPath> {
        FilePath::new(text)
    }
}

impl From<FilePath> for Arc<str> {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let long_name = format!("/{}", "n".repeat(256));
        let long_path = "/n".repeat(2049);
        let table = [
            ("/a", Ok(())),
            ("/a/b c/é", Ok(())),
            ("/...", Ok(())),
            ("", Err(InvalidPath::NotAbsolute)),
            ("a", Err(InvalidPath::NotAbsolute)),
            ("/", Err(InvalidPath::EmptyName)),
            ("/a/", Err(InvalidPath::EmptyName)),
            ("//a", Err(InvalidPath::EmptyName)),
            ("/a/./b", Err(InvalidPath::DotName)),
            ("/..", Err(InvalidPath::DotName)),
            ("/a\u{0}", Err(InvalidPath::ControlCharacter)),
            ("/a\nb", Err(InvalidPath::ControlCharacter)),
            (long_name.as_str(), Err(InvalidPath::TooLong)),
            (long_path.as_str(), Err(InvalidPath::TooLong)),
        ];
        for (text, expected) in table {
            assert_eq!(FilePath::new(text).map(drop), expected, "{text:?}");
        }
    }

    #[test]
    fn a_path_is_above_what_continues_it_with_a_slash() {
        let path = FilePath::new("/a").unwrap();
        for (other, below) in [("/a/b", true), ("/a/b/c", true), ("/a", false), ("/ab", false), ("/a!", false)] {
            assert_eq!(path.is_above(other), below, "{other}");
        }
    }
}
