//! Sessions and messages in the file.

use super::requests;
use super::sqlite::{column, number, stop};
use moorline_core::gateway::{
    Author, Mark, Message, NewSession, RunEnd, SessionInfo, StopReason, StoreOutcome,
};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use std::sync::Arc;

/// A message to be stored.
pub(super) struct New {
    pub(super) author: Author,
    pub(super) text: Arc<str>,
    pub(super) media: Vec<Arc<str>>,
    pub(super) label: Option<String>,
    pub(super) stop: StopReason,
    pub(super) at: u64,
    /// The place of this use among all uses of sessions.
    pub(super) used: i64,
}

/// The columns that [`info`] reads, in its order.
macro_rules! info_columns {
    () => {
        "s.key, s.owner, s.agent, s.label, s.messages, s.created, s.updated"
    };
}
pub(super) use info_columns;

pub(super) fn open(file: &Connection, session: &str) -> Result<StoreOutcome> {
    let found = file
        .prepare_cached(concat!("SELECT ", info_columns!(), " FROM sessions s WHERE key = ?1"))?
        .query_row([session], |row| info(row, 0))
        .optional()?;
    Ok(found.map_or(StoreOutcome::Absent, StoreOutcome::Opened))
}

pub(super) fn append(
    file: &Connection,
    session: &str,
    create: Option<NewSession>,
    new: &New,
    mark: Option<Mark>,
) -> Result<StoreOutcome> {
    if let Some(Mark::Begin { user, key, print, .. }) = &mark
        && let Some(outcome) = requests::find(file, user, key, *print, new.at)?
    {
        return Ok(outcome);
    }
    let found: Option<(i64, String, i64)> = file
        .prepare_cached("SELECT id, owner, next_message FROM sessions WHERE key = ?1")?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (row, id) = match (found, create) {
        (Some((_, owner, _)), Some(create)) if *owner != *create.owner => {
            return Ok(StoreOutcome::Taken);
        }
        (Some((row, _, id)), _) => (row, id),
        (None, Some(create)) => {
            file.prepare_cached(
                "INSERT INTO sessions (key, owner, agent, created, updated, used)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
            )?
            .execute(params![
                session,
                &*create.owner,
                &*create.agent,
                column(new.at),
                new.used
            ])?;
            (file.last_insert_rowid(), 1)
        }
        (None, None) => return Ok(StoreOutcome::Absent),
    };
    // No path has a line end in it.
    let media = (!new.media.is_empty()).then(|| new.media.join("\n"));
    file.prepare_cached(
        "INSERT INTO messages (session, id, author, text, label, at, media, key, stop)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        row,
        id,
        new.author.as_str(),
        &*new.text,
        new.label,
        column(new.at),
        media,
        mark.as_ref().map(|mark| &**mark.key()),
        new.stop.cut_short()
    ])?;
    file.prepare_cached(
        "UPDATE sessions SET messages = messages + 1, next_message = ?2 + 1, updated = ?3, used = ?4
         WHERE id = ?1",
    )?
    .execute(params![row, id, column(new.at), new.used])?;
    let message = id.max(0) as u64;
    match mark {
        Some(Mark::Begin { user, key, print, run, expires }) => {
            let begun = requests::Begun { print, session: row, message, run: &run, expires };
            requests::begin(file, &user, &key, &begun, new.at)?;
        }
        Some(Mark::End { user, key, usage, expires }) => {
            let end =
                RunEnd::Completed { message, content: new.text.clone(), usage, stop: new.stop };
            requests::end(file, &user, &key, &end, new.at, expires)?;
        }
        None => {}
    }
    Ok(StoreOutcome::Appended { id: message })
}

pub(super) fn history(
    file: &Connection,
    session: &str,
    before: Option<u64>,
    limit: usize,
    bytes: usize,
) -> Result<StoreOutcome> {
    let Some((row, _)) = find(file, session)? else { return Ok(StoreOutcome::Absent) };
    let mut query = file.prepare_cached(
        "SELECT id, author, text, label, at, media, key, stop FROM messages
         WHERE session = ?1 AND id < ?2 ORDER BY id DESC",
    )?;
    let mut rows = query.query(params![row, before.map_or(i64::MAX, column)])?;
    let (mut messages, mut size, mut more) = (Vec::new(), 0, false);
    while let Some(row) = rows.next()? {
        size += row.get_ref(2)?.as_bytes()?.len();
        if messages.len() == limit || (size > bytes && !messages.is_empty()) {
            more = true;
            break;
        }
        let author = match row.get_ref(1)?.as_str()? {
            "user" => Author::User,
            _ => Author::Assistant,
        };
        messages.push(Message {
            id: number(row, 0)?,
            author,
            text: row.get_ref(2)?.as_str()?.into(),
            media: row
                .get_ref(5)?
                .as_str_or_null()?
                .map_or_else(Vec::new, |paths| paths.lines().map(Arc::from).collect()),
            label: row.get(3)?,
            stop: stop(row, 7)?,
            at: number(row, 4)?,
            key: row.get(6)?,
        });
    }
    messages.reverse();
    Ok(StoreOutcome::History { messages, more })
}

pub(super) fn patch(file: &Connection, session: &str, label: Option<&str>) -> Result<StoreOutcome> {
    file.prepare_cached("UPDATE sessions SET label = ?2 WHERE key = ?1")?
        .execute(params![session, label])?;
    open(file, session)
}

/// What belongs to it goes with it, by its foreign keys.
pub(super) fn delete(file: &Connection, session: &str) -> Result<StoreOutcome> {
    let deleted = file.prepare_cached("DELETE FROM sessions WHERE key = ?1")?.execute([session])?;
    Ok(StoreOutcome::Removed(deleted > 0))
}

/// Removes all but the newest messages.
pub(super) fn trim(file: &Connection, session: &str, keep: u64) -> Result<StoreOutcome> {
    let Some((row, next)) = find(file, session)? else { return Ok(StoreOutcome::Absent) };
    let first = match keep {
        0 => Some(next),
        keep => file
            .prepare_cached(
                "SELECT id FROM messages WHERE session = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2",
            )?
            .query_row([row, column(keep - 1)], |row| row.get(0))
            .optional()?,
    };
    let removed = match first {
        Some(first) => {
            requests::drop_unanswered(file, row, first)?;
            file.prepare_cached("DELETE FROM messages WHERE session = ?1 AND id < ?2")?
                .execute([row, first])?
        }
        // There are not so many.
        None => 0,
    };
    let left = file
        .prepare_cached(
            "UPDATE sessions SET messages = messages - ?2 WHERE id = ?1 RETURNING messages",
        )?
        .query_row([row, removed as i64], |row| number(row, 0))?;
    Ok(StoreOutcome::Trimmed { removed: removed as u64, left })
}

/// A session's row and the id of its next message.
fn find(file: &Connection, session: &str) -> Result<Option<(i64, i64)>> {
    file.prepare_cached("SELECT id, next_message FROM sessions WHERE key = ?1")?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Reads [`info_columns`] from this column on.
pub(super) fn info(row: &Row<'_>, at: usize) -> Result<SessionInfo> {
    Ok(SessionInfo {
        key: row.get(at)?,
        owner: row.get(at + 1)?,
        agent: row.get(at + 2)?,
        label: row.get(at + 3)?,
        messages: number(row, at + 4)?,
        created: number(row, at + 5)?,
        updated: number(row, at + 6)?,
    })
}
