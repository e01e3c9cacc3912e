//! The thread that reads files of the folder in `gateway.ui_dir`. What waits for it is bounded by the gateways:
//! for each client they have one piece read at a time.

use super::{Job, Mailbox};
use crate::failure::Failure;
use moorline_core::gateway::{FileVersion, Outcome, SiteOutcome, SiteWork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::UNIX_EPOCH;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) work: SiteWork,
}

/// Whether a folder can be served.
///
/// # Errors
/// It cannot be read, or has no page.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let index = open(root, "index.html").and_then(|index| match index {
        Some((file, _)) => file.read_at(&mut [0], 0).map(|_| ()),
        None => Err(io::Error::new(ErrorKind::NotFound, "it has no file index.html")),
    });
    index.map_err(|error| {
        Failure::Config(format!("gateway.ui_dir: cannot serve {}: {error}", root.display()))
    })
}

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(mailboxes: Vec<Mailbox>) -> io::Result<Sender<Task>> {
    let (sender, tasks) = mpsc::channel();
    thread::Builder::new().name("site".into()).spawn(move || work(&tasks, &mailboxes))?;
    Ok(sender)
}

fn work(tasks: &Receiver<Task>, mailboxes: &[Mailbox]) {
    for Task { job, work } in tasks {
        mailboxes[job.node].hand_over(job.id, Outcome::Site(execute(work)));
    }
}

fn execute(work: SiteWork) -> SiteOutcome {
    let done = match work {
        SiteWork::Find { root, names, most } => find(&root, &names, most),
        SiteWork::Read { root, name, version, from, most } => {
            open(&root, &name).and_then(|found| match found {
                Some((file, now)) if now == version => {
                    read(&file, from, most).map(SiteOutcome::Piece)
                }
                _ => Ok(SiteOutcome::Failed),
            })
        }
    };
    done.unwrap_or_else(|error| {
        tracing::warn!(%error, "a file of gateway.ui_dir could not be read");
        SiteOutcome::Failed
    })
}

fn find<N: AsRef<str>>(root: &Path, names: &[N], most: usize) -> io::Result<SiteOutcome> {
    for (at, name) in names.iter().enumerate() {
        if let Some((file, version)) = open(root, name.as_ref())? {
            let bytes = read(&file, 0, most)?;
            return Ok(SiteOutcome::Found { at, version, bytes });
        }
    }
    Ok(SiteOutcome::Absent)
}

/// The regular file of this name, unless it is elsewhere.
fn open(root: &Path, name: &str) -> io::Result<Option<(File, FileVersion)>> {
    let root = root.canonicalize()?;
    let Some(path) = absent(root.join(name).canonicalize())?.filter(|path| path.starts_with(&root))
    else {
        return Ok(None);
    };
    // Opening a pipe would wait for whoever writes into it, and what was a file a moment ago may be a link.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(io::Error::from);
    let Some(file) = absent(opened)?.map(File::from) else { return Ok(None) };
    let data = file.metadata()?;
    if !data.is_file() {
        return Ok(None);
    }
    let since = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let version = FileVersion { size: data.len(), modified: since.as_nanos() as u64 };
    Ok(Some((file, version)))
}

/// What is not there, or cannot be by its name, is no failure.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    let is_absent = |error: &io::Error| match Errno::from_io_error(error) {
        Some(errno) => {
            [Errno::NOENT, Errno::NOTDIR, Errno::NAMETOOLONG, Errno::LOOP].contains(&errno)
        }
        None => false,
    };
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(file: &File, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(from);
    let mut bytes = vec![0; most.min(usize::try_from(left).unwrap_or(usize::MAX))];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    /// A folder `ui` with an index, beside a file that is none of its own.
    fn folder(name: &str) -> PathBuf {
        let base =
            std::env::temp_dir().join(format!("moorline-{}-site-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("ui/sub")).expect("a folder");
        fs::write(base.join("ui/index.html"), "index").expect("a file");
        fs::write(base.join("secret"), "secret").expect("a file");
        base
    }

    fn look(root: &Path, names: &[&str]) -> SiteOutcome {
        let names = names.iter().map(|name| (*name).into()).collect();
        execute(SiteWork::Find { root: root.into(), names, most: 3 })
    }

    fn is_found(root: &Path, name: &str) -> bool {
        match look(root, &[name]) {
            SiteOutcome::Found { .. } => true,
            SiteOutcome::Absent => false,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn the_first_that_is_there_is_read_from_its_beginning_and_then_on() {
        let base = folder("read");
        let root = base.join("ui");
        let found = look(&root, &["gone", "index.html.br", "index.html", "sub"]);
        let SiteOutcome::Found { at: 2, version, bytes } = found else { panic!("{found:?}") };
        assert_eq!((bytes.as_slice(), version.size), (&b"ind"[..], 5));
        let read = |from, version| {
            let (root, name) = (root.as_path().into(), "index.html".into());
            execute(SiteWork::Read { root, name, version, from, most: 10 })
        };
        assert_eq!(read(3, version), SiteOutcome::Piece(b"ex".to_vec()));
        assert_eq!(read(5, version), SiteOutcome::Piece(Vec::new()));
        assert_eq!(read(9, version), SiteOutcome::Piece(Vec::new()));
        assert_eq!(read(3, FileVersion { size: 6, ..version }), SiteOutcome::Failed);
        assert_eq!(read(3, FileVersion { modified: 1, ..version }), SiteOutcome::Failed);
        fs::write(root.join("index.html"), "other index").expect("a file");
        assert_eq!(read(3, version), SiteOutcome::Failed);
        fs::remove_dir_all(base).expect("the folder");
    }

    #[test]
    fn links_may_lead_within_the_folder_and_not_out_of_it() {
        let base = folder("links");
        let root = base.join("ui");
        let link = |to: &str, name: &str| symlink(to, root.join(name)).expect("a link");
        link("index.html", "inside");
        link("../secret", "outside");
        link("..", "above");
        link("loop", "loop");
        link("nowhere", "broken");
        symlink(base.join("secret"), root.join("absolute")).expect("a link");
        symlink(&root, base.join("current")).expect("a link");
        for (name, found) in [
            ("inside", true),
            ("outside", false),
            ("absolute", false),
            ("above/secret", false),
            // It comes back into the folder, where it is a file like any other.
            ("above/ui/index.html", true),
            ("loop", false),
            ("broken", false),
            ("sub", false),
            ("index.html/x", false),
            (&"x".repeat(300), false),
        ] {
            assert_eq!(is_found(&root, name), found, "{name}");
            assert_eq!(is_found(&base.join("current"), name), found, "{name}");
        }
        // A folder beside it that begins like it.
        fs::create_dir(base.join("ui-other")).expect("a folder");
        fs::write(base.join("ui-other/a"), "a").expect("a file");
        link("../ui-other/a", "beside");
        assert!(!is_found(&root, "beside"));
        fs::remove_dir_all(base).expect("the folder");
    }

    #[test]
    fn only_regular_files_are_read_and_no_pipe_is_waited_for() {
        let base = folder("pipes");
        let root = base.join("ui");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), mode).expect("a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket"));
        symlink("/dev/zero", root.join("zero")).expect("a link");
        for name in ["pipe", "zero"] {
            assert!(!is_found(&root, name), "{name}");
        }
        assert!(!matches!(look(&root, &["socket"]), SiteOutcome::Found { .. }));
        fs::remove_dir_all(base).expect("the folder");
    }

    #[test]
    fn a_folder_that_cannot_be_served_is_told() {
        let base = folder("check");
        assert!(check(&base.join("ui")).is_ok());
        for (name, what) in
            [("gone", "No such file"), ("secret", "index.html"), ("ui/sub", "index.html")]
        {
            let Err(Failure::Config(text)) = check(&base.join(name)) else { panic!("{name}") };
            assert!(text.contains(name) && text.contains(what), "{text}");
        }
        fs::set_permissions(base.join("ui/index.html"), fs::Permissions::from_mode(0o000))
            .expect("a mode");
        // Root may read everything.
        if !rustix::process::geteuid().is_root() {
            assert!(check(&base.join("ui")).is_err());
        }
        fs::remove_dir_all(base).expect("the folder");
    }
}
