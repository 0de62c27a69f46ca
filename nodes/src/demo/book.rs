//! The book that is loaded: the first chapters of Moby-Dick (Herman Melville, 1851, in the public domain).

use std::collections::BTreeMap;
use std::sync::Arc;

const TEXT: &str = include_str!("../../data/moby-dick.txt");

/// The book as a sequence of words.
pub(super) struct Book {
    words: Vec<(u32, Arc<str>)>,
    chapters: usize,
}

impl Book {
    /// The first `chapters` chapters.
    pub(super) fn open(chapters: usize) -> Self {
        let mut chapter = 0;
        let mut words = Vec::new();
        let mut interned: BTreeMap<&str, Arc<str>> = BTreeMap::new();
        for line in TEXT.lines() {
            if line.starts_with("CHAPTER ") {
                chapter += 1;
            }
            if chapter > chapters {
                break;
            }
            for word in line.split_whitespace() {
                let word = interned.entry(word).or_insert_with(|| word.into());
                words.push((chapter as u32, Arc::clone(word)));
            }
        }
        Book { words, chapters: chapter.min(chapters) }
    }

    pub(super) fn title(&self) -> &'static str {
        "\"Moby-Dick\" by Herman Melville"
    }

    pub(super) fn chapters(&self) -> usize {
        self.chapters
    }

    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// The word at a position, and its chapter.
    pub(super) fn word(&self, position: usize) -> Option<&(u32, Arc<str>)> {
        self.words.get(position)
    }
}

/// Where the positions of a word are kept.
pub(super) fn word_key(word: &str) -> Arc<str> {
    format!("word:{word}").into()
}

/// Where the count of a chapter's words is kept.
pub(super) fn chapter_key(chapter: u32) -> Arc<str> {
    format!("chapter:{chapter}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_all_the_chapters_that_are_offered() {
        assert_eq!(Book::open(28).chapters(), 28);
        assert_eq!(Book::open(28).words(), TEXT.split_whitespace().count());
        assert!(Book::open(1).words() < Book::open(2).words());
    }
}
