//! Requests with an idempotency key in the file.

use super::sessions::{info, info_columns};
use super::sqlite::{column, number, stop};
use moorline_core::gateway::{Fingerprint, Known, RunEnd, StoreOutcome, Usage};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

/// Keys of one user. More make those that expire first go: the ones that have ended.
const PER_USER: i64 = 1000;

/// Expired keys that a new one takes with it: more than one, so they become fewer, and few, so nobody
/// waits for it.
const EXPIRED: i64 = 16;

pub(super) struct Begun<'a> {
    pub(super) print: Fingerprint,
    /// The session's row.
    pub(super) session: i64,
    pub(super) message: u64,
    pub(super) run: &'a str,
    pub(super) expires: u64,
}

/// What the store says to a key that it knows.
pub(super) fn find(
    file: &Connection,
    user: &str,
    key: &str,
    print: Fingerprint,
    at: u64,
) -> Result<Option<StoreOutcome>> {
    file.prepare_cached(concat!(
        "SELECT i.fingerprint, i.message, i.run, i.ending, i.answer, i.answer_message,
                i.prompt_tokens, i.completion_tokens, i.stop, ",
        info_columns!(),
        " FROM idempotency i JOIN sessions s ON s.id = i.session
         WHERE i.user = ?1 AND i.key = ?2 AND i.expires > ?3"
    ))?
    .query_row(params![user, key, column(at)], |row| {
        if row.get_ref(0)?.as_blob()? != print.0 {
            return Ok(StoreOutcome::Conflict);
        }
        Ok(StoreOutcome::Known(Box::new(Known {
            session: info(row, 9)?,
            message: number(row, 1)?,
            run: row.get(2)?,
            end: ending(row)?,
        })))
    })
    .optional()
}

/// How it ended; the columns are those of [`find`].
fn ending(row: &Row<'_>) -> Result<Option<RunEnd>> {
    let Some(word) = row.get_ref(3)?.as_str_or_null()? else { return Ok(None) };
    Ok(Some(match word {
        "completed" => RunEnd::Completed {
            message: number(row, 5)?,
            content: row.get(4)?,
            usage: Usage { prompt_tokens: number(row, 6)?, completion_tokens: number(row, 7)? },
            stop: stop(row, 8)?,
        },
        "cancelled" => RunEnd::Cancelled,
        word => RunEnd::Failed { timeout: word == "timeout", error: row.get(4)? },
    }))
}

/// Keeps a key whose text was just appended, and makes room for it.
pub(super) fn begin(
    file: &Connection,
    user: &str,
    key: &str,
    begun: &Begun<'_>,
    at: u64,
) -> Result<()> {
    file.prepare_cached(
        "DELETE FROM idempotency WHERE rowid IN
             (SELECT rowid FROM idempotency WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
    )?
    .execute([column(at), EXPIRED])?;
    // What it replaces has expired.
    file.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (user, key, fingerprint, session, message, run, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        user,
        key,
        begun.print.0,
        begun.session,
        column(begun.message),
        begun.run,
        column(begun.expires)
    ])?;
    file.prepare_cached(
        "DELETE FROM idempotency WHERE rowid IN
             (SELECT rowid FROM idempotency WHERE user = ?1 ORDER BY expires DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![user, PER_USER])?;
    Ok(())
}

/// Keeps how the run of a key ended; the first ending is the one that is kept.
pub(super) fn end(
    file: &Connection,
    user: &str,
    key: &str,
    end: &RunEnd,
    at: u64,
    expires: u64,
) -> Result<()> {
    let (word, text, answer) = match end {
        RunEnd::Completed { message, content, usage, stop } => {
            ("completed", Some(&**content), Some((*message, *usage, *stop)))
        }
        RunEnd::Failed { timeout: false, error } => ("failed", Some(&**error), None),
        RunEnd::Failed { timeout: true, error } => ("timeout", Some(&**error), None),
        RunEnd::Cancelled => ("cancelled", None, None),
    };
    file.prepare_cached(
        "UPDATE idempotency SET ending = ?3, answer = ?4, answer_message = ?5, prompt_tokens = ?6,
                completion_tokens = ?7, stop = ?8, expires = ?9
         WHERE user = ?1 AND key = ?2 AND ending IS NULL AND expires > ?10",
    )?
    .execute(params![
        user,
        key,
        word,
        text,
        answer.map(|(message, ..)| column(message)),
        answer.map(|(_, usage, _)| column(usage.prompt_tokens)),
        answer.map(|(_, usage, _)| column(usage.completion_tokens)),
        answer.and_then(|(.., stop)| stop.cut_short()),
        column(expires),
        column(at),
    ])?;
    Ok(())
}

/// Messages of the session before this one are gone: nothing can answer them any more.
pub(super) fn drop_unanswered(file: &Connection, session: i64, before: i64) -> Result<()> {
    file.prepare_cached(
        "DELETE FROM idempotency WHERE session = ?1 AND ending IS NULL AND message < ?2",
    )?
    .execute([session, before])?;
    Ok(())
}
