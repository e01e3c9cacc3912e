//! Sessions as somebody looks for them, and those in which nothing was said yet.

use super::sessions::{info, info_columns, open};
use super::sqlite::{column, number};
use moorline_core::gateway::{LISTED_CHARS, Listed, NewSession, SessionFilter, StoreOutcome};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, ToSql, params};
use std::sync::Arc;

/// A session that is there is left as it is.
pub(super) fn create(
    file: &Connection,
    session: &str,
    new: &NewSession,
    label: Option<&str>,
    at: u64,
    used: i64,
) -> Result<StoreOutcome> {
    let owner: Option<String> = file
        .prepare_cached("SELECT owner FROM sessions WHERE key = ?1")?
        .query_row([session], |row| row.get(0))
        .optional()?;
    match owner {
        Some(owner) if *owner != *new.owner => return Ok(StoreOutcome::Taken),
        Some(_) => {}
        None => {
            file.prepare_cached(
                "INSERT INTO sessions (key, owner, agent, label, created, updated, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
            )?
            .execute(params![
                session,
                &*new.owner,
                &*new.agent,
                label,
                column(at),
                used
            ])?;
        }
    }
    open(file, session)
}

/// The columns of texts: bytes, as the functions for texts stop where a text has a zero in it, and at
/// most four of them for each character that is wanted.
macro_rules! start_of {
    ($which:literal) => {
        concat!(
            "(SELECT substr(CAST(text AS BLOB), 1, 4 * ?1) FROM messages m WHERE m.session = s.id ",
            $which,
            " LIMIT 1)"
        )
    };
}

pub(super) fn list(
    file: &Connection,
    filter: &SessionFilter,
    texts: bool,
    limit: usize,
    offset: usize,
) -> Result<StoreOutcome> {
    let SessionFilter { owner, agent, key, label, search, since } = filter;
    let since = since.map(column);
    // A text for each set of conditions, as one for all of them could use no index.
    let conditions = [
        ("owner = ?2", owner.is_some()),
        ("agent = ?3", agent.is_some()),
        ("key = ?4", key.is_some()),
        ("label = ?5", label.is_some()),
        ("(instr(lower(key), ?6) OR instr(lower(label), ?6))", search.is_some()),
        ("updated >= ?7", since.is_some()),
    ];
    let mut fits = String::from(" FROM sessions s WHERE ?1 > 0");
    for (condition, _) in conditions.iter().filter(|(_, is_there)| *is_there) {
        fits.push_str(" AND ");
        fits.push_str(condition);
    }
    let (first, last) = if texts {
        (start_of!("AND author = 'user' ORDER BY m.id"), start_of!("ORDER BY m.id DESC"))
    } else {
        ("NULL", "NULL")
    };
    let columns = info_columns!();
    let page =
        format!("SELECT {columns}, {first}, {last}{fits} ORDER BY used DESC LIMIT ?8 OFFSET ?9");
    let (limit, offset) = (column(limit as u64), column(offset as u64));
    let chars = column(LISTED_CHARS as u64);
    let values: [&dyn ToSql; 9] =
        [&chars, owner, agent, key, label, search, &since, &limit, &offset];
    let mut page = file.prepare_cached(&page)?;
    bind(&mut page, &values)?;
    let mut rows = page.raw_query();
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(Listed { info: info(row, 0)?, first: text(row, 7)?, last: text(row, 8)? });
    }
    let mut total = file.prepare_cached(&format!("SELECT count(*){fits}"))?;
    bind(&mut total, &values)?;
    let mut rows = total.raw_query();
    let total = rows.next()?.map_or(Ok(0), |row| number(row, 0))?;
    Ok(StoreOutcome::List { sessions, total: total as usize })
}

/// Binds those values that the statement has places for.
fn bind(statement: &mut rusqlite::Statement<'_>, values: &[&dyn ToSql]) -> Result<()> {
    for (at, value) in values.iter().take(statement.parameter_count()).enumerate() {
        statement.raw_bind_parameter(at + 1, value)?;
    }
    Ok(())
}

/// The start of a text, of which the last character may be cut.
fn text(row: &Row<'_>, at: usize) -> Result<Option<Arc<str>>> {
    let ValueRef::Blob(bytes) = row.get_ref(at)? else { return Ok(None) };
    let whole = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    Ok(Some(whole.chars().take(LISTED_CHARS).collect::<String>().into()))
}

pub(super) fn count(file: &Connection, owner: Option<&str>) -> Result<StoreOutcome> {
    let counts = |row: &Row<'_>| Ok((row.get(0)?, number(row, 1)?));
    let counted = match owner {
        Some(owner) => file
            .prepare_cached(
                "SELECT agent, count(*) FROM sessions WHERE owner = ?1 GROUP BY agent ORDER BY agent",
            )?
            .query_map([owner], counts)?
            .collect::<Result<_>>()?,
        None => file
            .prepare_cached("SELECT agent, count(*) FROM sessions GROUP BY agent ORDER BY agent")?
            .query_map([], counts)?
            .collect::<Result<_>>()?,
    };
    Ok(StoreOutcome::Counted(counted))
}
