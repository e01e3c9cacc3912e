//! Records in the file.

use super::sqlite::column;
use moorline_core::gateway::{Record, RecordKind, StoreOutcome};
use rusqlite::{Connection, OptionalExtension as _, Result, params};

/// Expired records that a new one takes with it.
const EXPIRED: i64 = 16;

pub(super) fn put(file: &Connection, records: &[Record], at: u64) -> Result<StoreOutcome> {
    file.prepare_cached(
        "DELETE FROM records WHERE (kind, key) IN
             (SELECT kind, key FROM records WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
    )?
    .execute([column(at), EXPIRED])?;
    let mut insert = file.prepare_cached(
        "INSERT OR REPLACE INTO records (kind, key, value, expires) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for Record { kind, key, value, expires } in records {
        insert.execute(params![kind.as_str(), &**key, &**value, expires.map(column)])?;
    }
    Ok(StoreOutcome::Stored)
}

pub(super) fn remove(
    file: &Connection,
    kind: RecordKind,
    key: &str,
    at: u64,
) -> Result<StoreOutcome> {
    let expires: Option<Option<i64>> = file
        .prepare_cached("DELETE FROM records WHERE kind = ?1 AND key = ?2 RETURNING expires")?
        .query_row([kind.as_str(), key], |row| row.get(0))
        .optional()?;
    let was_there = expires.is_some_and(|expires| expires.is_none_or(|end| end > column(at)));
    Ok(StoreOutcome::Removed(was_there))
}

pub(super) fn clear(file: &Connection, kind: RecordKind, at: u64) -> Result<StoreOutcome> {
    file.prepare_cached("DELETE FROM records WHERE kind = ?1 AND expires <= ?2")?
        .execute(params![kind.as_str(), column(at)])?;
    let removed =
        file.prepare_cached("DELETE FROM records WHERE kind = ?1")?.execute([kind.as_str()])?;
    Ok(StoreOutcome::Removed(removed > 0))
}

/// Reads at the start, when nobody waits: all that has expired goes.
pub(super) fn load(file: &Connection, at: u64) -> Result<StoreOutcome> {
    file.prepare_cached("DELETE FROM records WHERE expires <= ?1")?.execute([column(at)])?;
    let mut query = file.prepare_cached("SELECT kind, key, value, expires FROM records")?;
    let mut rows = query.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        // A word that is not known cannot be there: the file would be of a newer version.
        let Some(kind) = RecordKind::parse(row.get_ref(0)?.as_str()?) else { continue };
        let expires = row.get::<_, Option<i64>>(3)?.map(|end| end.max(0) as u64);
        records.push(Record { kind, key: row.get(1)?, value: row.get(2)?, expires });
    }
    records.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
    Ok(StoreOutcome::Loaded(records))
}
