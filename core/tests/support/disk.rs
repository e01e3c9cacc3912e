//! A disk for uploads, as the gateway's tests have one.

use moorline_core::gateway::{MediaOutcome, MediaWork, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the disk does with work.
#[derive(Debug, Copy, Clone, PartialEq, Default)]
pub enum DiskMode {
    #[default]
    Works,
    /// Each piece of work takes so long, as does all before it.
    Slow(Duration),
    Full,
    Fails,
    Hangs,
}

#[derive(Debug, Default)]
pub struct Disk {
    pub mode: DiskMode,
    /// Content, and whether it is whole.
    pub files: BTreeMap<Arc<str>, (Vec<u8>, bool)>,
}

impl Disk {
    pub fn execute(&mut self, work: MediaWork) -> MediaOutcome {
        let fails = match self.mode {
            DiskMode::Full => Some(StoreError::Full),
            DiskMode::Fails => Some(StoreError::Unavailable),
            _ => None,
        };
        match (work, fails) {
            (MediaWork::Find { paths }, None) => {
                let is_whole = |path| self.files.get(path).is_some_and(|(_, whole)| *whole);
                return MediaOutcome::Found(paths.iter().all(is_whole));
            }
            (MediaWork::Abort { path }, _) => {
                self.files.remove(&path);
            }
            (MediaWork::Open { path }, _) => {
                let folder = path.rsplit_once('/').expect("a folder").0;
                let whole = self
                    .files
                    .iter()
                    .filter(|(other, (_, whole))| *whole && other.starts_with(folder));
                let used = whole.map(|(_, (bytes, _))| bytes.len() as u64).sum();
                assert!(self.files.insert(path, (Vec::new(), false)).is_none(), "a new file");
                return MediaOutcome::Opened { used };
            }
            (_, Some(error)) => return MediaOutcome::Failed(error),
            (MediaWork::Write { path, bytes }, None) => match self.files.get_mut(&path) {
                Some((content, false)) => content.extend_from_slice(&bytes),
                other => panic!("{path}: {other:?}"),
            },
            (MediaWork::Finish { path }, None) => match self.files.get_mut(&path) {
                Some((_, whole @ false)) => *whole = true,
                other => panic!("{path}: {other:?}"),
            },
        }
        MediaOutcome::Done
    }
}
