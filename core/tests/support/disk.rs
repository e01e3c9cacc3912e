//! A disk for uploads, as the gateway's tests have one.

use moorline_core::gateway::{MediaLedger, MediaOutcome, MediaWork, StoreError};
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
    pub ledger: MediaLedger,
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
            (MediaWork::Abort { path }, _) => match self.files.remove(&path) {
                Some((content, true)) => self.ledger.removed(&path, content.len() as u64),
                _ => self.ledger.abort(&path),
            },
            (MediaWork::Open { path, sure, room }, _) => {
                if let Err(what) = self.ledger.open(&path, sure, room) {
                    return MediaOutcome::NoRoom(what);
                }
                assert!(self.files.insert(path, (Vec::new(), false)).is_none(), "a new file");
            }
            (_, Some(error)) => return MediaOutcome::Failed(error),
            (MediaWork::Write { path, bytes }, None) => match self.files.get_mut(&path) {
                Some((content, false)) => {
                    if let Err(what) = self.ledger.write(&path, bytes.len() as u64) {
                        return MediaOutcome::NoRoom(what);
                    }
                    content.extend_from_slice(&bytes);
                }
                // It was not begun for lack of room, and more was on its way.
                None => return MediaOutcome::Failed(StoreError::Unavailable),
                other @ Some(_) => panic!("{path}: {other:?}"),
            },
            (MediaWork::Finish { path }, None) => match self.files.get_mut(&path) {
                Some((_, whole @ false)) => {
                    *whole = true;
                    self.ledger.finish(&path);
                }
                None => return MediaOutcome::Failed(StoreError::Unavailable),
                other => panic!("{path}: {other:?}"),
            },
        }
        MediaOutcome::Done
    }
}
