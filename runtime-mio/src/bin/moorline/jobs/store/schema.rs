//! The tables, and how files of older versions become files of this one.

use rusqlite::{Connection, Result};

/// What makes a file ours (`PRAGMA application_id`): `MRLN`.
pub(super) const APPLICATION_ID: i32 = 0x4D52_4C4E;

/// One step per version, in order; a file's `user_version` says how many were taken. A step that was
/// released never changes: what is to be different is a step of its own.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/// The times are Unix milliseconds. Messages of a session have ids that grow and are never used again,
/// also when old messages are removed. `used` orders sessions by their last use, where a clock could
/// stand still or go back.
const VERSION_1: &str = "
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    agent TEXT NOT NULL,
    label TEXT,
    messages INTEGER NOT NULL DEFAULT 0,
    next_message INTEGER NOT NULL DEFAULT 1,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_owner ON sessions (owner, used);

CREATE TABLE messages (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    author TEXT NOT NULL CHECK (author IN ('user', 'assistant')),
    text TEXT NOT NULL,
    label TEXT,
    at INTEGER NOT NULL,
    UNIQUE (session, id)
) STRICT;

-- A user's key, the message it stands for, and how the run that answers it ended.
CREATE TABLE idempotency (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    message INTEGER NOT NULL,
    run TEXT NOT NULL,
    expires INTEGER NOT NULL,
    ending TEXT CHECK (ending IN ('completed', 'failed', 'timeout', 'cancelled')),
    answer TEXT,
    answer_message INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    UNIQUE (user, key)
) STRICT;
CREATE INDEX idempotency_by_expiry ON idempotency (expires);
CREATE INDEX idempotency_by_user ON idempotency (user, expires);
CREATE INDEX idempotency_by_session ON idempotency (session);

CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_expiry ON records (expires) WHERE expires IS NOT NULL;
";

/// Paths of the files that go with a message, a line each; NULL where there are none.
const VERSION_2: &str = "ALTER TABLE messages ADD COLUMN media TEXT";

/// The idempotency key of the request that a message came with or answers. It stays when the request is
/// forgotten.
const VERSION_3: &str = "ALTER TABLE messages ADD COLUMN key TEXT";

/// Why an answer ended there, as the word that is sent; NULL where it was all said. A key's answer may be
/// there when its message is not.
const VERSION_4: &str = "
ALTER TABLE messages ADD COLUMN stop TEXT;
ALTER TABLE idempotency ADD COLUMN stop TEXT;
";

/// The version of a file: how many steps were taken.
pub(super) fn version(file: &Connection) -> Result<i64> {
    file.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Takes the steps that are missing, each in a transaction of its own.
pub(super) fn migrate(file: &mut Connection, steps: &[&str]) -> Result<()> {
    let taken = usize::try_from(version(file)?).unwrap_or(0);
    for (at, step) in steps.iter().enumerate().skip(taken) {
        let transaction = file.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", at as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_once_and_in_order() {
        let mut file = Connection::open_in_memory().unwrap();
        let steps = [VERSION_1, "CREATE TABLE later (x INTEGER) STRICT", "ALTER TABLE later ADD y"];
        migrate(&mut file, &steps[..1]).unwrap();
        file.execute("INSERT INTO records VALUES ('link', 'k', '{}', NULL)", []).unwrap();
        migrate(&mut file, &steps[..2]).unwrap();
        assert_eq!(version(&file), Ok(2));
        // The third is no STRICT column type: nothing of it stays.
        assert!(migrate(&mut file, &steps).is_err());
        assert_eq!(version(&file), Ok(2));
        migrate(&mut file, &steps[..2]).unwrap();
        let kept: i64 = file.query_row("SELECT count(*) FROM records", [], |r| r.get(0)).unwrap();
        assert_eq!(kept, 1);
    }
}
