//! The database file: found or made, and refused when it is not what it should be. Whatever is wrong
//! with it, it is neither overwritten nor deleted.

use super::schema::{self, APPLICATION_ID, MIGRATIONS};
use crate::failure::Failure;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in the state folder.
pub(super) const NAME: &str = "moorline.db";

/// How long to wait for somebody else who looks into the file, such as a backup, before the work
/// fails.
const BUSY: Duration = Duration::from_secs(5);

/// Files up to this size are read through at the start, which finds damaged pages before anything is
/// built on them and takes 0.3 s from the page cache, longer from a disk. Larger ones would delay the
/// start by seconds: of those the header and the length are checked, and damage shows when it is met.
const CHECKED: u64 = 256 * 1024 * 1024;

/// Statements that are kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// Opens the database of a state folder; makes it when there is none.
pub(super) fn open(dir: &Path) -> Result<Connection, Failure> {
    let path = dir.join(NAME);
    match fs::metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path)?,
        Err(error) => return Err(unreadable(&path, &error)),
    }
    let header = Header::read(&path)?;
    let mut file = open_raw(&path).map_err(|error| explain(&path, &error))?;
    let version = schema::version(&file).map_err(|error| explain(&path, &error))?;
    if version > MIGRATIONS.len() as i64 {
        return Err(Failure::Config(format!(
            "{} was written by a newer version of moorline (schema {version}, this one knows {}). \
             Start that version, or choose another folder with --state-dir.",
            path.display(),
            MIGRATIONS.len(),
        )));
    }
    header.check_length(&path)?;
    if header.length <= CHECKED {
        quick_check(&file, &path)?;
    }
    prepare(&mut file, &path).map_err(|error| explain(&path, &error))?;
    Ok(file)
}

/// A new file gets its tables beside its place and is moved: a file with our name is never empty, so
/// an empty one was damaged.
fn create(dir: &Path, path: &Path) -> Result<(), Failure> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(Failure::Config(format!(
            "{} is missing, but its log {} is there. Put the file back, or move the log away to begin \
             anew.",
            path.display(),
            log.display(),
        )));
    }
    let draft = dir.join("moorline.db.new");
    for old in [draft.clone(), beside(&draft, "-journal")] {
        match fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unreadable(&old, &error));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| unreadable(&draft, &error))?;
    let made = open_raw(&draft).and_then(|mut file| {
        file.pragma_update(None, "synchronous", "FULL")?;
        file.pragma_update(None, "application_id", APPLICATION_ID)?;
        schema::migrate(&mut file, MIGRATIONS)
    });
    made.map_err(|error| explain(&draft, &error))?;
    fs::rename(&draft, path)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|error| unreadable(path, &error))
}

fn open_raw(path: &Path) -> rusqlite::Result<Connection> {
    // Without the flag that makes files: what is not there was not made by us.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(BUSY)?;
    file.set_prepared_statement_cache_capacity(STATEMENTS);
    file.pragma_update(None, "foreign_keys", true)?;
    // A file that is refused must be left as it is, its log included.
    file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(file)
}

/// The file is ours and whole. A commit is on the disk when it returns (`synchronous=FULL`): what was
/// acknowledged survives the loss of power, not only of the process. Group commit pays for it.
fn prepare(file: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    file.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    file.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(file, MIGRATIONS)?;
    file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    // It may have been copied here. SQLite gives the files beside it the same mode.
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let _ = fs::set_permissions(file, fs::Permissions::from_mode(0o600));
    }
    Ok(())
}

/// What the first bytes say (<https://www.sqlite.org/fileformat.html>, section 1.3).
struct Header {
    length: u64,
    /// The length that the pages need.
    expected: u64,
    has_log: bool,
}

impl Header {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut bytes = [0; 100];
        let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
        if length == 0 {
            return Err(damaged(path, "it is empty"));
        }
        match file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(path, "it ends within its header"));
            }
            Err(error) => return Err(unreadable(path, &error)),
        }
        let number = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if !bytes.starts_with(b"SQLite format 3\0") {
            return Err(damaged(path, "it is not a SQLite database"));
        }
        if number(68) != APPLICATION_ID as u32 {
            return Err(Failure::Config(format!(
                "{} is a database of another program (application_id {:#x}). Choose another folder \
                 with --state-dir, or move the file away.",
                path.display(),
                number(68),
            )));
        }
        let page = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
        Ok(Self { length, expected: page * u64::from(number(28)), has_log })
    }

    /// With a log, what is missing here may be there.
    fn check_length(&self, path: &Path) -> Result<(), Failure> {
        if !self.has_log && self.length < self.expected {
            let (length, expected) = (self.length, self.expected);
            let what = format!("it was cut off: {length} bytes of {expected} are there");
            return Err(damaged(path, &what));
        }
        Ok(())
    }
}

fn quick_check(file: &Connection, path: &Path) -> Result<(), Failure> {
    let said: rusqlite::Result<String> =
        file.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match said {
        Ok(word) if word == "ok" => Ok(()),
        Ok(what) => Err(damaged(path, what.lines().last().unwrap_or("it is damaged"))),
        Err(error) => Err(explain(path, &error)),
    }
}

fn damaged(path: &Path, what: &str) -> Failure {
    Failure::Config(format!(
        "the database {} cannot be used: {what}. It was left as it is. Put back a copy, or move it \
         and the files beside it (-wal, -shm) away to begin anew; what can be saved of it, `sqlite3 {} \
         .recover` shows.",
        path.display(),
        path.display(),
    ))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot use the database {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::Runtime(text + ". Make room on the disk.")
        }
        _ => Failure::Config(
            text + ". It must be a file that this user can write, in a folder that this user can \
                    write.",
        ),
    }
}

/// What an error of SQLite means for the operator.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Failure {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(path, &error.to_string())
        }
        Some(ErrorCode::DiskFull) => Failure::Runtime(format!(
            "no room for the database {at}: {error}. Make room on the disk."
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Runtime(format!(
            "another program keeps the database {at} locked: {error}. Stop it and try again."
        )),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Failure::Config(format!(
                "cannot write the database {at}: {error}. The file and its folder must be writable \
                 for this user."
            ))
        }
        Some(ErrorCode::SystemIoFailure) => Failure::Runtime(format!(
            "the disk fails under the database {at}: {error}. Look into the system's log."
        )),
        _ => Failure::Config(format!("cannot use the database {at}: {error}.")),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
