//! The thread that writes uploaded files. What waits for it is bounded by the gateways, which let no client
//! send more while the disk is behind.
//!
//! ```text
//! <state folder>/media/                 0700
//!   <digest of a user>/                 0700
//!     <name>.png.part                   0600, until it is whole and durable
//!     <name>.png
//! ```

use super::{Job, Mailbox};
use crate::failure::Failure;
use moorline_core::gateway::{MediaOutcome, MediaWork, Outcome, StoreError};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) work: MediaWork,
}

/// How often files that are too old are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// The end of the name of a file that is not whole.
const PART: &str = "part";

/// The folder of uploaded files.
#[derive(Debug)]
pub(crate) struct MediaDir {
    /// The state folder, where paths start.
    base: PathBuf,
    root: PathBuf,
    /// Older files are removed; zero removes none.
    keep: Duration,
    open: HashMap<Arc<str>, File>,
}

impl MediaDir {
    /// Makes the folder if it is not there, and removes what an earlier gateway left unfinished.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(crate) fn open(state_dir: &Path, keep: Duration) -> Result<Self, Failure> {
        let (base, root) = (state_dir.to_path_buf(), state_dir.join("media"));
        let dir = Self { base, root, keep, open: HashMap::new() };
        let cleaned = make_folder(&dir.root).and_then(|()| {
            dir.sweep(|path, _| is_part(path))?;
            dir.remove_old()
        });
        cleaned.map_err(|error| {
            Failure::Config(format!("cannot use the folder {}: {error}", dir.root.display()))
        })?;
        Ok(dir)
    }

    fn execute(&mut self, work: MediaWork) -> MediaOutcome {
        let (path, done) = match work {
            MediaWork::Open { path } => (path.clone(), self.begin(path)),
            MediaWork::Write { path, bytes } => (path.clone(), self.write(&path, &bytes)),
            MediaWork::Finish { path } => (path.clone(), self.finish(&path)),
            MediaWork::Abort { path } => (path.clone(), self.remove(&path)),
            MediaWork::Find { paths } => {
                let is_whole = |path: &Arc<str>| self.base.join(&**path).is_file();
                return MediaOutcome::Found(paths.iter().all(is_whole));
            }
        };
        done.unwrap_or_else(|error| {
            // Nothing is written to it any more; the gateway has it removed.
            self.open.remove(&path);
            tracing::warn!(%path, %error, "an uploaded file could not be written");
            MediaOutcome::Failed(match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
                _ => StoreError::Unavailable,
            })
        })
    }

    fn begin(&mut self, path: Arc<str>) -> io::Result<MediaOutcome> {
        let place = self.base.join(&*path);
        let folder = place.parent().unwrap_or(&self.root);
        make_folder(folder)?;
        let mut used = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !is_part(&entry.path()) {
                used += entry.metadata().map_or(0, |data| data.len());
            }
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(part_of(&place))?;
        self.open.insert(path, file);
        Ok(MediaOutcome::Opened { used })
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<MediaOutcome> {
        self.file(path)?.write_all(bytes)?;
        Ok(MediaOutcome::Done)
    }

    fn finish(&mut self, path: &str) -> io::Result<MediaOutcome> {
        self.file(path)?.sync_all()?;
        self.open.remove(path);
        let place = self.base.join(path);
        fs::rename(part_of(&place), &place)?;
        File::open(place.parent().unwrap_or(&self.root))?.sync_all()?;
        Ok(MediaOutcome::Done)
    }

    fn remove(&mut self, path: &str) -> io::Result<MediaOutcome> {
        self.open.remove(path);
        let place = self.base.join(path);
        for file in [part_of(&place), place] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(MediaOutcome::Done)
    }

    fn file(&mut self, path: &str) -> io::Result<&mut File> {
        self.open.get_mut(path).ok_or_else(|| io::Error::other("it failed before"))
    }

    fn remove_old(&self) -> io::Result<()> {
        if self.keep.is_zero() {
            return Ok(());
        }
        let now = SystemTime::now();
        self.sweep(|path, data| {
            let age = data.modified().ok().and_then(|then| now.duration_since(then).ok());
            !is_part(path) && age.is_some_and(|age| age > self.keep)
        })
    }

    /// Removes files, and users' folders that are empty.
    fn sweep(&self, goes: impl Fn(&Path, &fs::Metadata) -> bool) -> io::Result<()> {
        for user in fs::read_dir(&self.root)? {
            let user = user?.path();
            if !user.is_dir() {
                continue;
            }
            for file in fs::read_dir(&user)? {
                let file = file?;
                if goes(&file.path(), &file.metadata()?) {
                    fs::remove_file(file.path())?;
                }
            }
            // It fails where there still is a file.
            let _ = fs::remove_dir(&user);
        }
        Ok(())
    }
}

/// Starts the thread. It ends when the last sender is dropped and all is done.
pub(super) fn start(
    mut dir: MediaDir,
    mailboxes: Vec<Mailbox>,
) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
    let (sender, tasks) = mpsc::channel();
    let work = move || work(&mut dir, &tasks, &mailboxes);
    Ok((sender, thread::Builder::new().name("media".into()).spawn(work)?))
}

fn work(dir: &mut MediaDir, tasks: &Receiver<Task>, mailboxes: &[Mailbox]) {
    let mut swept = Instant::now();
    loop {
        match tasks.recv_timeout(SWEEP_EVERY.saturating_sub(swept.elapsed())) {
            Ok(Task { job, work }) => {
                let outcome = dir.execute(work);
                mailboxes[job.node].hand_over(job.id, Outcome::Media(outcome));
            }
            Err(RecvTimeoutError::Timeout) => {
                swept = Instant::now();
                if let Err(error) = dir.remove_old() {
                    tracing::warn!(%error, "old uploaded files could not be removed");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The file's name until it is whole.
fn part_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_os_string();
    name.push(".");
    name.push(PART);
    name.into()
}

fn is_part(place: &Path) -> bool {
    place.extension() == Some(OsStr::new(PART))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// An empty state folder in the build's own.
    fn state(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("moorline-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    fn open(state: &Path) -> MediaDir {
        MediaDir::open(state, Duration::ZERO).expect("a folder")
    }

    fn upload(dir: &mut MediaDir, path: &str) -> u64 {
        let path: Arc<str> = path.into();
        let MediaOutcome::Opened { used } = dir.execute(MediaWork::Open { path: path.clone() })
        else {
            panic!("{path} was not opened");
        };
        let bytes = b"content".to_vec();
        assert_eq!(dir.execute(MediaWork::Write { path: path.clone(), bytes }), MediaOutcome::Done);
        assert_eq!(dir.execute(MediaWork::Finish { path }), MediaOutcome::Done);
        used
    }

    fn files(state: &Path) -> Vec<String> {
        let users = fs::read_dir(state.join("media")).expect("a folder");
        let users = users.map(|user| user.expect("a folder").path());
        let files = users.flat_map(|user| fs::read_dir(user).expect("a folder"));
        let mut files: Vec<_> = files
            .map(|file| file.expect("a file").file_name().into_string().expect("text"))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn files_and_folders_are_their_owners_only_and_a_folder_counts_what_it_has() {
        let state = state("modes");
        let mut dir = open(&state);
        assert_eq!(upload(&mut dir, "media/ann/1.png"), 0);
        assert_eq!(upload(&mut dir, "media/ann/2"), 7);
        assert_eq!(upload(&mut dir, "media/bob/1"), 0);
        for (path, mode) in [("media", 0o700), ("media/ann", 0o700), ("media/ann/1.png", 0o600)] {
            let data = fs::metadata(state.join(path)).expect("it is there");
            assert_eq!(data.permissions().mode() & 0o777, mode, "{path}");
        }
        assert_eq!(fs::read(state.join("media/ann/1.png")).expect("a file"), b"content");
        assert!(matches!(
            dir.execute(MediaWork::Open { path: "media/ann/2".into() }),
            MediaOutcome::Opened { used: 14 }
        ));
        fs::remove_dir_all(state).expect("the folder");
    }

    #[test]
    fn what_is_not_whole_goes_when_it_is_aborted_and_at_the_next_start() {
        let state = state("parts");
        let mut dir = open(&state);
        upload(&mut dir, "media/ann/whole");
        for name in ["a", "b"] {
            let path: Arc<str> = format!("media/ann/{name}").into();
            dir.execute(MediaWork::Open { path: path.clone() });
            dir.execute(MediaWork::Write { path, bytes: vec![1] });
        }
        assert_eq!(files(&state), ["a.part", "b.part", "whole"]);
        let abort = |path: &str| MediaWork::Abort { path: path.into() };
        assert_eq!(dir.execute(abort("media/ann/a")), MediaOutcome::Done);
        assert_eq!(files(&state), ["b.part", "whole"]);
        assert_eq!(dir.execute(abort("media/ann/a")), MediaOutcome::Done, "nothing is there");
        let write = MediaWork::Write { path: "media/ann/a".into(), bytes: vec![1] };
        assert_eq!(dir.execute(write), MediaOutcome::Failed(StoreError::Unavailable));
        let mut dir = open(&state);
        assert_eq!(files(&state), ["whole"]);
        dir.execute(abort("media/ann/whole"));
        drop(open(&state));
        assert!(!state.join("media/ann").exists(), "nobody needs an empty folder");
        fs::remove_dir_all(state).expect("the folder");
    }

    #[test]
    fn old_files_go_and_younger_ones_stay() {
        let state = state("old");
        let mut dir = open(&state);
        for (name, days) in [("old", 3), ("young", 1)] {
            upload(&mut dir, &format!("media/ann/{name}"));
            let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            let file = File::options().write(true).open(state.join("media/ann").join(name));
            file.and_then(|file| file.set_modified(then)).expect("a file");
        }
        drop(open(&state));
        assert_eq!(files(&state), ["old", "young"], "zero keeps them");
        let two_days = Duration::from_secs(2 * 24 * 60 * 60);
        MediaDir::open(&state, two_days).expect("a folder");
        assert_eq!(files(&state), ["young"]);
        fs::remove_dir_all(state).expect("the folder");
    }
}
