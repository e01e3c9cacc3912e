//! The store in a SQLite file: works, many of them in one transaction.

use super::{browse, file, records, requests, sessions};
use crate::failure::Failure;
use moorline_core::gateway::{StopReason, StoreError, StoreOutcome, StoreWork};
use rusqlite::{Connection, ErrorCode, Result};
use std::path::{Path, PathBuf};

/// Sessions, messages, idempotency keys and records in a file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    pub(super) file: Connection,
    path: PathBuf,
    /// Counts uses of sessions.
    uses: i64,
    /// The last transaction failed, and the operator was told.
    failing: bool,
}

/// A transaction that works are executed in.
#[derive(Debug)]
pub(super) struct Batch {
    outcomes: Vec<StoreOutcome>,
    /// Bytes of the messages in them.
    bytes: usize,
    /// Why nothing of it can be kept.
    broken: Option<StoreError>,
}

impl Batch {
    /// Bytes of the messages that it has read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl SqliteStore {
    /// Opens the database of a state folder; makes it when there is none.
    pub(super) fn open(dir: &Path) -> std::result::Result<Self, Failure> {
        let path = dir.join(file::NAME);
        let file = file::open(dir)?;
        let uses = file
            .query_row("SELECT coalesce(max(used), 0) FROM sessions", [], |row| row.get(0))
            .map_err(|error| file::explain(&path, &error))?;
        Ok(Self { file, path, uses, failing: false })
    }

    pub(super) fn begin(&mut self) -> Batch {
        // For writing from the start: one that read first could find that somebody else, such as a
        // person with the command line, has written since.
        let begun = self.file.execute_batch("BEGIN IMMEDIATE");
        let broken = begun.err().map(|error| self.failed(&error));
        Batch { outcomes: Vec::new(), bytes: 0, broken }
    }

    /// Executes a work in the batch. It is done wholly or not at all, whatever becomes of the others.
    pub(super) fn execute(&mut self, batch: &mut Batch, work: StoreWork) {
        let outcome = match batch.broken {
            Some(error) => StoreOutcome::Failed(error),
            None => self.try_execute(work).unwrap_or_else(|error| {
                let error = self.failed(&error);
                let undone = !self.file.is_autocommit()
                    && self.file.execute_batch("ROLLBACK TO work; RELEASE work").is_ok();
                if !undone {
                    batch.broken = Some(error);
                }
                StoreOutcome::Failed(error)
            }),
        };
        if let StoreOutcome::History { messages, .. } = &outcome {
            batch.bytes += messages.iter().map(|message| message.text.len()).sum::<usize>();
        }
        batch.outcomes.push(outcome);
    }

    /// Makes the batch durable; gives an outcome for each work, in order.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Vec<StoreOutcome> {
        if batch.broken.is_none() {
            match self.file.execute_batch("COMMIT") {
                Ok(()) => {
                    let failed =
                        |outcome: &StoreOutcome| matches!(outcome, StoreOutcome::Failed(_));
                    if self.failing && !batch.outcomes.iter().any(failed) {
                        self.failing = false;
                        tracing::info!(path = %self.path.display(), "the store works again");
                    }
                    return batch.outcomes;
                }
                Err(error) => batch.broken = Some(self.failed(&error)),
            }
        }
        if !self.file.is_autocommit() {
            let _ = self.file.execute_batch("ROLLBACK");
        }
        let error = batch.broken.unwrap_or(StoreError::Unavailable);
        batch.outcomes.iter().map(|_| StoreOutcome::Failed(error)).collect()
    }

    fn try_execute(&mut self, work: StoreWork) -> Result<StoreOutcome> {
        let file = &self.file;
        file.prepare_cached("SAVEPOINT work")?.execute([])?;
        let outcome = match work {
            StoreWork::Append { session, create, author, text, media, label, stop, at, mark } => {
                self.uses += 1;
                let new = sessions::New { author, text, media, label, stop, at, used: self.uses };
                sessions::append(file, &session, create, &new, mark)
            }
            StoreWork::Open { session } => sessions::open(file, &session),
            StoreWork::History { session, before, limit, bytes } => {
                sessions::history(file, &session, before, limit, bytes)
            }
            StoreWork::Create { session, new, label, at } => {
                self.uses += 1;
                browse::create(file, &session, &new, label.as_deref(), at, self.uses)
            }
            StoreWork::List { filter, texts, limit, offset } => {
                browse::list(file, &filter, texts, limit, offset)
            }
            StoreWork::Count { owner } => browse::count(file, owner.as_deref()),
            StoreWork::Patch { session, label } => {
                sessions::patch(file, &session, label.as_deref())
            }
            StoreWork::Delete { session } => sessions::delete(file, &session),
            StoreWork::Reset { session } => sessions::trim(file, &session, 0),
            StoreWork::Compact { session, keep } => sessions::trim(file, &session, keep),
            StoreWork::Settle { user, key, end, at, expires } => {
                requests::end(file, &user, &key, &end, at, expires).map(|()| StoreOutcome::Stored)
            }
            StoreWork::Put { records, at } => records::put(file, &records, at),
            StoreWork::Remove { kind, key, at } => records::remove(file, kind, &key, at),
            StoreWork::Clear { kind, at } => records::clear(file, kind, at),
            StoreWork::Load { at } => records::load(file, at),
            StoreWork::Probe => probe(file),
        }?;
        file.prepare_cached("RELEASE work")?.execute([])?;
        Ok(outcome)
    }

    /// Tells the operator, once until it works again.
    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        if !std::mem::replace(&mut self.failing, true) {
            let error = file::explain(&self.path, error);
            tracing::error!(%error, "the store failed; it is tried again with every request");
        }
        match error.sqlite_error_code() {
            // A text that is longer than a row may be; the store is as good as before.
            Some(ErrorCode::TooBig) => StoreError::Full,
            _ => StoreError::Unavailable,
        }
    }
}

/// Writes what is there already: a page in the log, and nothing else.
fn probe(file: &Connection) -> Result<StoreOutcome> {
    let version = super::schema::version(file)?;
    file.pragma_update(None, "user_version", version)?;
    Ok(StoreOutcome::Stored)
}

/// A number for a column, whose largest is that of an `i64`.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of a column that is never negative.
pub(super) fn number(row: &rusqlite::Row<'_>, at: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(at)?.max(0) as u64)
}

/// Why an answer ended, of a column that has it only when something is missing.
pub(super) fn stop(row: &rusqlite::Row<'_>, at: usize) -> Result<StopReason> {
    let word = row.get_ref(at)?.as_str_or_null()?;
    Ok(word.and_then(StopReason::from_word).unwrap_or_default())
}
