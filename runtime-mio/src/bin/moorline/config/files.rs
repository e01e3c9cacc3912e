//! The files that a configuration was read from, and whether they are still the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files as they were when they were looked at; those that were not there are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files(BTreeMap<PathBuf, Option<Stamp>>);

/// What tells one content of a file from another without reading it. Links are followed, so that one
/// which leads elsewhere now is a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Files {
    /// Notes a file as it is. To be called before it is read: what is written meanwhile is a change then.
    pub(crate) fn note(&mut self, path: &Path) {
        if !self.0.contains_key(path) {
            self.0.insert(path.into(), Stamp::of(path));
        }
    }

    /// The same files as they are now.
    pub(crate) fn look(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Stamp::of(path))).collect())
    }

    /// Takes what `newer` knows.
    pub(crate) fn update(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Those that differ from `other`, for a log.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let differs =
            |(path, stamp): &(&PathBuf, &Option<Stamp>)| other.0.get(*path) != Some(stamp);
        self.0.iter().filter(differs).map(|(path, _)| path.display().to_string()).collect()
    }
}

impl Stamp {
    /// None if it is not there, or cannot be looked at.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}
