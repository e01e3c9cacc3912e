//! Room for uploaded files: what is kept and what is on its way, of each user and of all.
//!
//! ```text
//!                 open: takes room for what will come      finish
//!   ── nothing ──────────────────────────▶ on its way ────────────▶ kept ── removed, recount ──▶ nothing
//!                                            │  ▲ write: takes more, if there is any
//!                                     abort ◀┘──┘
//! ```
//!
//! One ledger for all gateways that keep their files in the same place makes the shares exact: room is taken
//! before bytes are, so uploads at the same time cannot take the same room.

use super::config::Bounds;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How much may be kept at most: whole files and files on their way together.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MediaRoom {
    /// Bytes of one user.
    pub user_bytes: u64,
    /// Files of one user.
    pub user_files: u64,
    /// Bytes of all users.
    pub bytes: u64,
    /// Files of all users.
    pub files: u64,
}

impl MediaRoom {
    pub(super) fn of(bounds: &Bounds) -> Self {
        Self {
            user_bytes: bounds.user_upload_bytes as u64,
            user_files: bounds.user_upload_files as u64,
            bytes: bounds.upload_bytes as u64,
            files: bounds.upload_files as u64,
        }
    }
}

/// What there is no room for.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRoom {
    /// The user has as many bytes as may be.
    UserBytes {
        /// How many that are, without what was to be added.
        used: u64,
        /// How many may be.
        most: u64,
    },
    /// The user has as many files as may be.
    UserFiles {
        /// How many may be.
        most: u64,
    },
    /// All users together have as many bytes or files as may be.
    All,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserBytes { used, most } => {
                write!(f, "the files of this user take {used} of {most} bytes")
            }
            Self::UserFiles { most } => write!(f, "this user has {most} files, as many as may be"),
            Self::All => f.write_str("the files of all users take as much as they may"),
        }
    }
}

#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
struct Amount {
    files: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Somebody may have removed by hand what is taken off here.
    fn take(&mut self, other: Self) {
        self.files = self.files.saturating_sub(other.files);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    fn plus(mut self, other: Self) -> Self {
        self.add(other);
        self
    }
}

#[derive(Debug, Copy, Clone, Default)]
struct Folder {
    kept: Amount,
    on_its_way: Amount,
}

#[derive(Debug)]
struct OnItsWay {
    /// Room that is taken for it.
    taken: u64,
    written: u64,
    room: MediaRoom,
}

/// Counts the files of all users, each of whom has a folder. As large as the number of folders with
/// something in them, which [`MediaRoom::files`] bounds.
#[derive(Debug, Default)]
pub struct MediaLedger {
    /// By the part of a path in front of the last `/`; none is empty.
    folders: BTreeMap<Box<str>, Folder>,
    open: BTreeMap<Arc<str>, OnItsWay>,
    all: Amount,
}

impl MediaLedger {
    /// What a folder has, as somebody has counted it: whole files only.
    pub fn recount(&mut self, folder: &str, files: u64, bytes: u64) {
        let kept = Amount { files, bytes };
        self.change(folder, |folder| folder.kept = kept);
    }

    /// Takes room for a file of which this many bytes are sure to come. Work in proportion to the
    /// logarithm of what is counted, as everything here.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was taken.
    pub fn open(&mut self, path: &Arc<str>, sure: u64, room: MediaRoom) -> Result<(), NoRoom> {
        let folder = folder_of(path);
        self.check(folder, Amount { files: 1, bytes: sure }, room)?;
        let added = Amount { files: 1, bytes: sure };
        self.change(folder, |folder| folder.on_its_way.add(added));
        let on_its_way = OnItsWay { taken: sure, written: 0, room };
        self.open.insert(path.clone(), on_its_way);
        Ok(())
    }

    /// Takes room for bytes that are about to be written, as far as it was not taken before.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was taken. A path that is not open needs no room: whoever writes to it is
    /// told by the disk.
    pub fn write(&mut self, path: &str, len: u64) -> Result<(), NoRoom> {
        let Some(OnItsWay { taken, written, room }) = self.open.get(path) else { return Ok(()) };
        let (written, room) = (written.saturating_add(len), *room);
        let more = Amount { files: 0, bytes: written.saturating_sub(*taken) };
        if more.bytes > 0 {
            let folder = folder_of(path);
            self.check(folder, more, room)?;
            self.change(folder, |folder| folder.on_its_way.add(more));
        }
        if let Some(file) = self.open.get_mut(path) {
            file.written = written;
            file.taken = file.taken.max(written);
        }
        Ok(())
    }

    /// A file is whole: what was taken for it and did not come is free.
    pub fn finish(&mut self, path: &str) {
        if let Some(OnItsWay { taken, written, .. }) = self.open.remove(path) {
            self.change(folder_of(path), |folder| {
                folder.on_its_way.take(Amount { files: 1, bytes: taken });
                folder.kept.add(Amount { files: 1, bytes: written });
            });
        }
    }

    /// A file that was not whole is gone.
    pub fn abort(&mut self, path: &str) {
        if let Some(OnItsWay { taken, .. }) = self.open.remove(path) {
            let gone = Amount { files: 1, bytes: taken };
            self.change(folder_of(path), |folder| folder.on_its_way.take(gone));
        }
    }

    /// A whole file of so many bytes is gone.
    pub fn removed(&mut self, path: &str, bytes: u64) {
        let gone = Amount { files: 1, bytes };
        self.change(folder_of(path), |folder| folder.kept.take(gone));
    }

    /// The folders with something in them.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.keys().map(|folder| &**folder)
    }

    /// Files and bytes of all users, those on their way included.
    pub fn total(&self) -> (u64, u64) {
        (self.all.files, self.all.bytes)
    }

    fn check(&self, folder: &str, more: Amount, room: MediaRoom) -> Result<(), NoRoom> {
        let used = self.folders.get(folder).copied().unwrap_or_default();
        let used = used.kept.plus(used.on_its_way);
        let (user, all) = (used.plus(more), self.all.plus(more));
        if user.bytes > room.user_bytes {
            Err(NoRoom::UserBytes { used: used.bytes, most: room.user_bytes })
        } else if user.files > room.user_files {
            Err(NoRoom::UserFiles { most: room.user_files })
        } else if all.bytes > room.bytes || all.files > room.files {
            Err(NoRoom::All)
        } else {
            Ok(())
        }
    }

    /// Every change of a folder, with the books of all.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Folder)) {
        let mut folder = self.folders.get(name).copied().unwrap_or_default();
        self.all.take(folder.kept.plus(folder.on_its_way));
        change(&mut folder);
        let now = folder.kept.plus(folder.on_its_way);
        self.all.add(now);
        if now == Amount::default() {
            self.folders.remove(name);
        } else {
            self.folders.insert(name.into(), folder);
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: MediaRoom = MediaRoom { user_bytes: 100, user_files: 3, bytes: 150, files: 4 };

    fn path(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn room_is_taken_once_whoever_comes_at_the_same_time() {
        let mut ledger = MediaLedger::default();
        assert_eq!(ledger.open(&path("m/a/1"), 60, ROOM), Ok(()));
        let over = Err(NoRoom::UserBytes { used: 60, most: 100 });
        assert_eq!(ledger.open(&path("m/a/2"), 41, ROOM), over);
        assert_eq!(ledger.open(&path("m/a/2"), 40, ROOM), Ok(()));
        assert_eq!(ledger.open(&path("m/b/1"), 51, ROOM), Err(NoRoom::All));
        assert_eq!(ledger.open(&path("m/b/1"), 50, ROOM), Ok(()));
        assert_eq!(ledger.total(), (3, 150));
        // What was sure does not need room again, and what was not does.
        assert_eq!(ledger.write("m/a/1", 60), Ok(()));
        let over = Err(NoRoom::UserBytes { used: 100, most: 100 });
        assert_eq!(ledger.write("m/a/1", 1), over);
        ledger.abort("m/a/2");
        assert_eq!(ledger.write("m/a/1", 40), Ok(()), "what was refused was not counted");
        assert_eq!(ledger.write("m/a/1", 1), Err(NoRoom::UserBytes { used: 100, most: 100 }));
        assert_eq!(ledger.total(), (2, 150));
    }

    #[test]
    fn files_are_counted_too_and_empty_folders_are_forgotten() {
        let mut ledger = MediaLedger::default();
        for name in ["m/a/1", "m/a/2", "m/a/3"] {
            assert_eq!(ledger.open(&path(name), 0, ROOM), Ok(()));
        }
        assert_eq!(ledger.open(&path("m/a/4"), 0, ROOM), Err(NoRoom::UserFiles { most: 3 }));
        assert_eq!(ledger.open(&path("m/b/1"), 0, ROOM), Ok(()));
        assert_eq!(ledger.open(&path("m/c/1"), 0, ROOM), Err(NoRoom::All));
        for name in ["m/a/1", "m/a/2", "m/a/3", "m/b/1"] {
            assert_eq!(ledger.write(name, 5), Ok(()));
            ledger.finish(name);
        }
        assert_eq!(ledger.total(), (4, 20));
        ledger.removed("m/a/1", 5);
        // Two were removed by hand, and one came from elsewhere.
        ledger.recount("m/a", 1, 7);
        assert_eq!(ledger.total(), (2, 12));
        ledger.recount("m/a", 0, 0);
        ledger.removed("m/b/1", 5);
        assert_eq!((ledger.total(), ledger.folders().count()), ((0, 0), 0));
        ledger.removed("m/b/1", 5);
        ledger.abort("m/b/1");
        assert_eq!(ledger.total(), (0, 0), "nothing is taken off twice");
    }

    #[test]
    fn a_file_that_comes_smaller_than_announced_gives_room_back() {
        let mut ledger = MediaLedger::default();
        assert_eq!(ledger.open(&path("m/a/1"), 100, ROOM), Ok(()));
        assert_eq!(ledger.write("m/a/1", 10), Ok(()));
        ledger.finish("m/a/1");
        assert_eq!(ledger.total(), (1, 10));
        // A count while something is on its way leaves that as it is.
        assert_eq!(ledger.open(&path("m/a/2"), 90, ROOM), Ok(()));
        ledger.recount("m/a", 1, 10);
        assert_eq!(ledger.total(), (2, 100));
        assert_eq!(
            ledger.open(&path("m/a/3"), 1, ROOM),
            Err(NoRoom::UserBytes { used: 100, most: 100 })
        );
    }
}
