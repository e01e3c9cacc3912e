//! The state folder: one gateway at a time, and its tokens.

use crate::failure::Failure;
use crate::owner::{self, LOCK, Owner};
use crate::regular_file;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

/// An open state folder. The lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: File,
}

/// The folder that is used without `--state-dir`.
pub(crate) fn default_path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("moorline"))
}

impl StateDir {
    /// Makes the folder (mode 0700) if it is not there, and locks it. `config` is this gateway's file, for
    /// those who want the folder, too.
    pub(crate) fn open(path: Option<PathBuf>, config: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.or_else(default_path) else {
            return Err(Failure::Config(
                "no state folder: neither --state-dir, XDG_STATE_HOME nor HOME is set".into(),
            ));
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| unwritable(&path, "cannot make the state folder", &error))?;
        let lock = lock(&path, config)?;
        Ok(Self { path, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whoever reads the lock file where the gateway serves.
    pub(crate) fn note_url(&self, url: &str) -> Result<(), Failure> {
        let noted = Owner { url: Some(url.into()), ..Owner::default() };
        let noted = (&self.lock).write_all(noted.emit().as_bytes());
        noted.map_err(|error| config(&self.path.join(LOCK), "cannot write the lock file", &error))
    }

    /// The token that is kept here, and whether it was made just now.
    pub(crate) fn token(&self, new: impl FnOnce() -> String) -> Result<(String, bool), Failure> {
        if let Some(token) = kept_token(&self.path)? {
            return Ok((token, false));
        }
        let token = new();
        self.write_token(&token_path(&self.path), &token)?;
        Ok((token, true))
    }

    /// The token that was kept here before the one that holds, and is valid beside it.
    pub(crate) fn previous_token(&self) -> Result<Option<String>, Failure> {
        read_kept(&previous_path(&self.path))
    }

    /// Keeps `new` from now on, and `old` beside it if there is one.
    pub(crate) fn rotate_token(&self, new: &str, old: Option<&str>) -> Result<(), Failure> {
        // In this order a crash leaves two tokens that are one, and not none that clients have.
        match old {
            Some(old) => self.write_token(&previous_path(&self.path), old)?,
            None => {
                self.drop_previous_token()?;
            }
        }
        self.write_token(&token_path(&self.path), new)
    }

    /// Forgets the token before; says whether there was one.
    pub(crate) fn drop_previous_token(&self) -> Result<bool, Failure> {
        let path = previous_path(&self.path);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(config(&path, "cannot remove the token file", &error)),
        }
    }

    /// Written beside its place and moved: a crash leaves a whole token or the one before.
    fn write_token(&self, path: &Path, token: &str) -> Result<(), Failure> {
        let draft = self.path.join("token.new");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                writeln!(file, "{token}")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| config(path, "cannot write the token file", &error))
    }
}

/// Where the gateway serves that has this state folder, or had it last, as it noted.
pub(crate) fn noted_url(path: &Path) -> Option<String> {
    owner::read(&path.join(LOCK))?.url
}

/// The configuration file of the gateway that has this state folder, or had it last, as it noted.
pub(crate) fn noted_config(path: &Path) -> Option<PathBuf> {
    owner::read(&path.join(LOCK))?.config.map(PathBuf::from).filter(|file| file.is_absolute())
}

/// The process that has the state folder: read from procfs, as trying the lock would keep a gateway from
/// starting.
///
/// # Errors
/// The file or procfs cannot be read: nobody knows.
pub(crate) fn holder(path: &Path) -> io::Result<Option<String>> {
    holder_by(Path::new("/proc"), path)
}

fn holder_by(procfs: &Path, path: &Path) -> io::Result<Option<String>> {
    let file = match fs::metadata(path.join(LOCK)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let table = fs::read_to_string(procfs.join("locks"))?;
    let inode = format!(":{}", file.ino());
    Ok(table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(5)?.ends_with(&inode).then(|| fields.get(4).map(|pid| pid.to_string()))?
    }))
}

/// The token that is kept in a state folder, if there is one that can be used.
pub(crate) fn kept_token(path: &Path) -> Result<Option<String>, Failure> {
    read_kept(&token_path(path))
}

fn read_kept(path: &Path) -> Result<Option<String>, Failure> {
    match read_token(path) {
        Ok(token) => Ok(Some(token)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(config(path, "cannot use the token file", &error)),
    }
}

/// The token that was kept in a state folder before the one that holds.
pub(crate) fn previous_token(path: &Path) -> Option<String> {
    read_kept(&previous_path(path)).ok().flatten()
}

/// The token of the gateway whose state folder this is, for a client of it.
pub(crate) fn client_token(path: &Path) -> Option<String> {
    read_token(&token_path(path)).ok()
}

fn token_path(state_dir: &Path) -> PathBuf {
    state_dir.join("token")
}

fn previous_path(state_dir: &Path) -> PathBuf {
    state_dir.join("token.previous")
}

/// A longer file is no token: those that are made have 64 digits.
const MOST_TOKEN: u64 = 4096;

fn read_token(path: &Path) -> io::Result<String> {
    let text = regular_file::read_text(path, MOST_TOKEN)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other("others can read it: run chmod 600 on it, or delete it"));
    }
    match text.trim() {
        "" => Err(io::Error::other("it is empty: delete it to have a new one made")),
        token => Ok(token.to_string()),
    }
}

fn lock(state_dir: &Path, own: Option<&Path>) -> Result<File, Failure> {
    let path = state_dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unwritable(&path, "cannot open the lock file", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let owner = owner::read(&path).unwrap_or_default();
            return Err(Failure::Config(format!(
                "the state folder {} is in use by another gateway:\n{}Stop it, or choose another folder \
                 with --state-dir.",
                state_dir.display(),
                owner.lines(),
            )));
        }
        Err(fs::TryLockError::Error(error)) => {
            return Err(config(&path, "cannot lock the state folder", &error));
        }
    }
    // For whoever is refused; the lock itself is the kernel's and ends with this process.
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(Owner::this(own).emit().as_bytes()));
    noted.map_err(|error| config(&path, "cannot write the lock file", &error))?;
    Ok(file)
}

fn unwritable(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::Config(format!(
        "{what} {}: {error}. The state folder must be one that this user can write: change that, or \
         choose another with --state-dir.",
        path.display()
    ))
}

fn config(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::Config(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_folder_is_known_where_the_system_tells_and_nowhere_else() {
        let name = format!("moorline-state-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        assert_eq!(holder(&path).expect("there is none"), None);
        let file = Path::new("/etc/a b.json5");
        let state = StateDir::open(Some(path.clone()), Some(file)).expect("a folder");
        state.note_url("ws://127.0.0.1:1/ws").expect("written");
        assert_eq!(holder(&path).expect("procfs"), Some(std::process::id().to_string()));
        holder_by(Path::new("/nowhere"), &path).expect_err("nobody knows");
        drop(state);
        assert_eq!(holder(&path).expect("procfs"), None);
        assert_eq!(noted_url(&path).as_deref(), Some("ws://127.0.0.1:1/ws"));
        assert_eq!(noted_config(&path).as_deref(), Some(file));
        fs::remove_dir_all(&path).expect("removed");
    }
}
