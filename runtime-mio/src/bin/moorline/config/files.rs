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
    /// The same of the inode: unlike the time above nobody can set it, as tools that copy files do.
    changed: (i64, i64),
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
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn another_content_of_the_same_size_and_time_is_a_change() {
        let name = format!("moorline-files-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "old").expect("a file");
        let times = fs::metadata(&path).and_then(|file| file.modified()).expect("a time");
        let mut files = Files::default();
        files.note(&path);
        assert_eq!(files.look(), files);
        // Until the clock of the file system has gone on, which is a matter of milliseconds.
        let began = Instant::now();
        let found = loop {
            assert!(began.elapsed() < Duration::from_secs(10), "it looks the same");
            fs::write(&path, "new").expect("a file");
            let file = fs::File::options().write(true).open(&path).expect("a file");
            file.set_modified(times).expect("a time");
            let now = Stamp::of(&path).expect("a file");
            if now.changed != files.0[&path].expect("a file").changed {
                break now;
            }
        };
        let before = files.0[&path].expect("a file");
        assert_eq!(Stamp { changed: before.changed, ..found }, before);
        assert_ne!(files.look(), files);
        fs::remove_file(path).expect("gone");
    }
}
