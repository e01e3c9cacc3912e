//! The thread that writes uploaded files, for all loops: so there is one count of what is kept. What waits
//! for it is bounded by the gateways, which let no client send more while the disk is behind.
//!
//! ```text
//! <state folder>/media/                 0700
//!   <digest of a user>/                 0700
//!     <name>.png.part                   0600, until it is whole and durable
//!     <name>.png
//! ```

mod sweep;

use super::{Job, Mailbox};
use crate::failure::Failure;
use moorline_core::gateway::{MediaLedger, MediaOutcome, MediaWork, Outcome, StoreError};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use sweep::Sweep;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) work: MediaWork,
}

/// How often files that are too old are looked for, and all are counted anew.
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
    ledger: MediaLedger,
    /// Folders that are still to be gone through.
    sweep: Option<Sweep>,
    kept: Arc<KeptFiles>,
}

/// What is kept, those on their way included, for metrics: as of the latest work.
#[derive(Debug, Default)]
pub(crate) struct KeptFiles {
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl MediaDir {
    /// Makes the folder if it is not there, removes what an earlier gateway left unfinished or is too old,
    /// and counts the rest.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(crate) fn open(state_dir: &Path, keep: Duration) -> Result<Self, Failure> {
        let (base, root) = (state_dir.to_path_buf(), state_dir.join("media"));
        let (open, ledger) = (HashMap::new(), MediaLedger::default());
        let mut dir = Self { base, root, keep, open, ledger, sweep: None, kept: Arc::default() };
        let cleaned = make_folder(&dir.root).and_then(|()| {
            dir.begin_sweep()?;
            while dir.is_sweeping() {
                dir.sweep_folder(sweep::Parts::Go)?;
            }
            Ok(())
        });
        cleaned.map_err(|error| {
            Failure::Config(format!("cannot use the folder {}: {error}", dir.root.display()))
        })?;
        Ok(dir)
    }

    /// What is kept, from now on.
    pub(crate) fn kept(&self) -> Arc<KeptFiles> {
        let (files, bytes) = self.ledger.total();
        self.kept.files.store(files, Ordering::Relaxed);
        self.kept.bytes.store(bytes, Ordering::Relaxed);
        self.kept.clone()
    }

    fn execute(&mut self, work: MediaWork) -> MediaOutcome {
        let (path, done) = match work {
            MediaWork::Open { path, sure, room } => {
                if let Err(what) = self.ledger.open(&path, sure, room) {
                    return MediaOutcome::NoRoom(what);
                }
                (path.clone(), self.begin(path))
            }
            MediaWork::Write { path, bytes } => {
                if let Err(what) = self.ledger.write(&path, bytes.len() as u64) {
                    return MediaOutcome::NoRoom(what);
                }
                (path.clone(), self.write(&path, &bytes))
            }
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
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(part_of(&place))?;
        self.open.insert(path, file);
        Ok(MediaOutcome::Done)
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
        self.ledger.finish(path);
        File::open(place.parent().unwrap_or(&self.root))?.sync_all()?;
        Ok(MediaOutcome::Done)
    }

    fn remove(&mut self, path: &str) -> io::Result<MediaOutcome> {
        self.open.remove(path);
        let place = self.base.join(path);
        let whole = fs::metadata(&place).map(|data| data.len());
        if remove_if_there(&place)? {
            self.ledger.removed(path, whole.unwrap_or_default());
        }
        remove_if_there(&part_of(&place))?;
        self.ledger.abort(path);
        Ok(MediaOutcome::Done)
    }

    fn file(&mut self, path: &str) -> io::Result<&mut File> {
        self.open.get_mut(path).ok_or_else(|| io::Error::other("it failed before"))
    }
}

/// Starts the thread. It ends when the last sender is dropped and all is done.
pub(super) fn start(
    mut dir: MediaDir,
    mailboxes: Vec<Mailbox>,
) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
    let (sender, tasks) = mpsc::channel();
    let work = move || {
        work(&mut dir, &tasks, SWEEP_EVERY, |job, outcome| {
            mailboxes[job.node].hand_over(job.id, Outcome::Media(outcome));
        });
    };
    Ok((sender, thread::Builder::new().name("media".into()).spawn(work)?))
}

/// Does what comes, and sweeps however much that is: one folder after each task, or one after the other
/// while there is none.
fn work(
    dir: &mut MediaDir,
    tasks: &Receiver<Task>,
    sweep_every: Duration,
    mut done: impl FnMut(Job, MediaOutcome),
) {
    let mut due = Instant::now() + sweep_every;
    loop {
        dir.kept();
        if !dir.is_sweeping() && due <= Instant::now() {
            due = Instant::now() + sweep_every;
            log_unswept(dir.begin_sweep());
        }
        let task = if dir.is_sweeping() {
            match tasks.try_recv() {
                Ok(task) => Some(task),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match tasks.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(task) => Some(task),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        if let Some(Task { job, work }) = task {
            done(job, dir.execute(work));
        }
        if dir.is_sweeping() {
            log_unswept(dir.sweep_folder(sweep::Parts::Stay));
        }
    }
}

fn log_unswept(swept: io::Result<()>) {
    if let Err(error) = swept {
        tracing::warn!(%error, "a folder of uploaded files could not be gone through");
    }
}

fn remove_if_there(place: &Path) -> io::Result<bool> {
    match fs::remove_file(place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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
    use moorline_core::gateway::{JobId, MediaRoom, NoRoom};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

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

    const ROOM: MediaRoom = MediaRoom { user_bytes: 100, user_files: 10, bytes: 200, files: 20 };

    fn begin(dir: &mut MediaDir, path: &str, sure: u64) -> MediaOutcome {
        dir.execute(MediaWork::Open { path: path.into(), sure, room: ROOM })
    }

    fn write(dir: &mut MediaDir, path: &str, bytes: &[u8]) -> MediaOutcome {
        dir.execute(MediaWork::Write { path: path.into(), bytes: bytes.to_vec() })
    }

    fn upload(dir: &mut MediaDir, path: &str) {
        assert_eq!(begin(dir, path, 7), MediaOutcome::Done);
        assert_eq!(write(dir, path, b"content"), MediaOutcome::Done);
        assert_eq!(dir.execute(MediaWork::Finish { path: path.into() }), MediaOutcome::Done);
    }

    /// Makes a file look as if it were that old.
    fn age(state: &Path, path: &str, days: u64) {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        let file = File::options().write(true).open(state.join(path));
        file.and_then(|file| file.set_modified(then)).expect("a file");
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
    fn files_and_folders_are_their_owners_only() {
        let state = state("modes");
        let mut dir = open(&state);
        upload(&mut dir, "media/ann/1.png");
        upload(&mut dir, "media/ann/2");
        for (path, mode) in [("media", 0o700), ("media/ann", 0o700), ("media/ann/1.png", 0o600)] {
            let data = fs::metadata(state.join(path)).expect("it is there");
            assert_eq!(data.permissions().mode() & 0o777, mode, "{path}");
        }
        assert_eq!(fs::read(state.join("media/ann/1.png")).expect("a file"), b"content");
        fs::remove_dir_all(state).expect("the folder");
    }

    #[test]
    fn what_is_not_whole_goes_when_it_is_aborted_and_at_the_next_start() {
        let state = state("parts");
        let mut dir = open(&state);
        upload(&mut dir, "media/ann/whole");
        for name in ["a", "b"] {
            let path = format!("media/ann/{name}");
            begin(&mut dir, &path, 1);
            write(&mut dir, &path, b"x");
        }
        assert_eq!(files(&state), ["a.part", "b.part", "whole"]);
        let abort = |path: &str| MediaWork::Abort { path: path.into() };
        assert_eq!(dir.execute(abort("media/ann/a")), MediaOutcome::Done);
        assert_eq!(files(&state), ["b.part", "whole"]);
        assert_eq!(dir.execute(abort("media/ann/a")), MediaOutcome::Done, "nothing is there");
        let late = write(&mut dir, "media/ann/a", b"x");
        assert_eq!(late, MediaOutcome::Failed(StoreError::Unavailable));
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
            age(&state, &format!("media/ann/{name}"), days);
        }
        drop(open(&state));
        assert_eq!(files(&state), ["old", "young"], "zero keeps them");
        let two_days = Duration::from_secs(2 * 24 * 60 * 60);
        MediaDir::open(&state, two_days).expect("a folder");
        assert_eq!(files(&state), ["young"]);
        fs::remove_dir_all(state).expect("the folder");
    }

    #[test]
    fn what_is_kept_is_counted_through_restarts_failures_and_removals_by_hand() {
        let state = state("counted");
        let mut dir = open(&state);
        upload(&mut dir, "media/ann/1");
        upload(&mut dir, "media/ann/2");
        assert_eq!(begin(&mut dir, "media/ann/3", 50), MediaOutcome::Done);
        assert_eq!(dir.ledger.total(), (3, 64));
        let full = MediaOutcome::NoRoom(NoRoom::UserBytes { used: 64, most: 100 });
        assert_eq!(begin(&mut dir, "media/ann/4", 37), full);
        assert!(!state.join("media/ann/4.part").exists(), "nothing is begun for it");
        assert_eq!(write(&mut dir, "media/ann/3", &[1; 86]), MediaOutcome::Done);
        let full = MediaOutcome::NoRoom(NoRoom::UserBytes { used: 100, most: 100 });
        assert_eq!(write(&mut dir, "media/ann/3", &[1; 1]), full);
        assert_eq!(fs::metadata(state.join("media/ann/3.part")).expect("a file").len(), 86);
        dir.execute(MediaWork::Abort { path: "media/ann/3".into() });
        assert_eq!(dir.ledger.total(), (2, 14));
        // It was whole, and the gateway was told too late.
        dir.execute(MediaWork::Abort { path: "media/ann/2".into() });
        assert_eq!(dir.ledger.total(), (1, 7));
        drop(dir);
        fs::write(state.join("media/ann/5.part"), b"left over").expect("a file");
        let mut dir = open(&state);
        assert_eq!(dir.ledger.total(), (1, 7), "a start counts what is there");
        upload(&mut dir, "media/bob/1");
        fs::remove_dir_all(state.join("media/ann")).expect("a folder");
        fs::write(state.join("media/bob/2"), b"by hand").expect("a file");
        dir.begin_sweep().expect("a folder");
        while dir.is_sweeping() {
            dir.sweep_folder(sweep::Parts::Stay).expect("a folder");
        }
        assert_eq!(dir.ledger.total(), (2, 14));
        assert_eq!(dir.ledger.folders().collect::<Vec<_>>(), ["media/bob"]);
        fs::remove_dir_all(state).expect("the folder");
    }

    #[test]
    fn old_files_go_while_new_ones_never_stop_coming() {
        let state = state("load");
        let day = Duration::from_secs(24 * 60 * 60);
        let mut dir = MediaDir::open(&state, day).expect("a folder");
        for user in ["ann", "bob"] {
            upload(&mut dir, &format!("media/{user}/old"));
        }
        // Somebody writes all the time, a file that is not whole yet.
        assert_eq!(begin(&mut dir, "media/eve/1", 0), MediaOutcome::Done);
        age(&state, "media/ann/old", 2);
        age(&state, "media/bob/old", 2);
        let (sender, tasks) = mpsc::channel();
        let next = |n| {
            let job = Job { node: 0, id: JobId(n) };
            Task { job, work: MediaWork::Write { path: "media/eve/1".into(), bytes: vec![1] } }
        };
        sender.send(next(0)).expect("somebody takes it");
        let mut sender = Some(sender);
        let mut written = 0;
        // The next one is there before this one is done, until the old ones have gone.
        work(&mut dir, &tasks, Duration::ZERO, |job, outcome| {
            assert_eq!(outcome, MediaOutcome::Done);
            written += 1;
            let swept = files(&state) == ["1.part"];
            match &sender {
                Some(sender) if !swept && written < 50 => {
                    sender.send(next(job.id.0 + 1)).expect("somebody takes it");
                }
                _ => sender = None,
            }
        });
        assert!(written < 50, "the sweep never had its turn");
        assert_eq!(dir.ledger.total(), (1, written), "what is on its way stays");
        fs::remove_dir_all(state).expect("the folder");
    }
}
