//! Whether the database can be read: by a connection that cannot write, and that waits for nobody.

use super::finding::Finding;
use super::ids;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

pub(super) fn check(state: &Path) -> Finding {
    let path = state.join("moorline.db");
    if !path.exists() {
        let about = "there is no database yet, or conversations are kept in memory";
        return Finding::new(ids::DATABASE_MISSING, about);
    }
    let shown = path.display();
    match read(&path) {
        Ok((sessions, schema)) => {
            let about = format!("{shown}: {sessions} sessions, schema {schema}");
            Finding::new(ids::DATABASE_OK, about)
        }
        Err(error) => {
            let is_damaged = matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            );
            let about = format!("{shown}: {error}");
            match is_damaged {
                true => Finding::new(ids::DATABASE_DAMAGED, about)
                    .fix(format!("mv {shown} {shown}.damaged   # with the gateway stopped; then put a backup there")),
                false => Finding::new(ids::DATABASE_UNREADABLE, about)
                    .fix(format!("ls -l {shown}*   # must belong to the gateway's user")),
            }
        }
    }
}

/// Reads the tables once. In WAL mode a reader keeps no writer waiting.
fn read(path: &Path) -> rusqlite::Result<(i64, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(Duration::from_millis(200))?;
    let schema = file.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let sessions = file.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    Ok((sessions, schema))
}
