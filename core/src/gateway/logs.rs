//! `logs.tail`: what the process logs, for admins; a page at a time, or as events for as long as they want.
//!
//! ```text
//!   {action: "start"} ─▶ Tail of the connection ──every second, unless it reads slowly──▶ Work::Logs
//!                              ▲                                                            │
//!                              └──── cursor, and how much was lost ◀── event `log` ◀────────┘
//! ```
//!
//! Who reads slowly is asked for nothing meanwhile: its lines wait in the ring, where the oldest give way
//! to new ones, and their number is told. Nothing here is logged for lines that are sent, so a tail never
//! feeds itself.

use super::call::{Call, Done};
use super::chat::MAX_KEY;
use super::conn::ConnId;
use super::jobs::Job;
use super::json::{self, Object};
use super::log_ring::{LogLevel, LogPage, LogQuery};
use super::principal::Role;
use super::refusal::{Code, Refusal, SOON, cut};
use super::send::{Cx, ReplyTo};
use super::{Gateway, Timer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a tail looks for new lines.
const EVERY: Duration = Duration::from_secs(1);

/// Tails of one loop at once: admins with a terminal open.
const TAILS: usize = 16;

/// Lines that a tail begins with.
const RECENT: usize = 100;

/// Lines and bytes of one event.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 64 * 1024;

/// Lines and bytes of one page, unless the request says otherwise.
const PAGE: u64 = 500;
const PAGE_BYTES: u64 = 250_000;

/// The same at most.
const MAX_PAGE: u64 = 5000;
const MAX_PAGE_BYTES: u64 = 1_000_000;

/// A connection that is told what is logged.
#[derive(Debug)]
pub(super) struct Tail {
    level: LogLevel,
    cursor: Option<u64>,
    /// The number of the next line, once that is known.
    next: Option<u64>,
    /// A page is being read for it.
    asking: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tails {
    by_conn: BTreeMap<ConnId, Tail>,
    due: Option<Instant>,
}

pub(super) fn tail(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let Some(ReplyTo::Local { conn, .. }) = call.to else { return Ok(()) };
    let conn = *conn;
    match call.params.text("action")?.as_deref() {
        None => {
            let (limit, bytes) = (call.params.number("limit")?, call.params.number("maxBytes")?);
            let query = query(call.params.number("cursor")?, limit, bytes);
            if let Some(to) = call.to.take() {
                gateway.start_logs(cx, query, Job::LogPage { to });
            }
        }
        Some("start") => {
            let level = match call.params.text("level")? {
                None => LogLevel::Info,
                Some(text) => LogLevel::parse(&text).ok_or_else(|| {
                    Refusal::invalid("level must be error, warn, info, debug or trace")
                })?,
            };
            let tails = &mut gateway.tails.by_conn;
            if tails.len() >= TAILS && !tails.contains_key(&conn) {
                return Err(Refusal::exhausted("too many connections tail the log", SOON));
            }
            tails.insert(conn, Tail { level, cursor: None, next: None, asking: false });
            if let Some(to) = call.to.take() {
                gateway.reply_ok(cx, to, |_, out| {
                    Object::new(out).str("status", "started").str("level", level.as_str()).end();
                });
            }
            gateway.read_tail(cx, conn);
            gateway.arm_tails(cx.now);
        }
        Some("stop") => {
            gateway.tails.by_conn.remove(&conn);
            if let Some(to) = call.to.take() {
                gateway.reply_ok(cx, to, |_, out| Object::new(out).str("status", "stopped").end());
            }
        }
        Some(other) => {
            let other = cut(other, MAX_KEY);
            return Err(Refusal::invalid(format!("action must be start or stop, not {other}")));
        }
    }
    Ok(())
}

/// What is asked of the log, within what a page may have.
pub(super) fn query(cursor: Option<u64>, limit: Option<u64>, bytes: Option<u64>) -> LogQuery {
    let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE) as usize;
    let bytes = bytes.unwrap_or(PAGE_BYTES).clamp(1, MAX_PAGE_BYTES) as usize;
    LogQuery { cursor, limit, bytes }
}

impl Gateway {
    /// The connection has ended, or somebody else is logged in.
    pub(super) fn stop_tail(&mut self, conn: ConnId) {
        self.tails.by_conn.remove(&conn);
    }

    pub(super) fn tails_due(&mut self, cx: &mut Cx<'_>) {
        self.tails.due = None;
        let conns: Vec<_> = self.tails.by_conn.keys().copied().collect();
        for conn in conns {
            self.read_tail(cx, conn);
        }
        self.arm_tails(cx.now);
    }

    fn arm_tails(&mut self, now: Instant) {
        if self.tails.due.is_none() && !self.tails.by_conn.is_empty() {
            let due = now + EVERY;
            self.tails.due = Some(due);
            self.timers.insert((due, Timer::Tails));
        }
    }

    /// Looks for new lines, unless the client has not read what it was sent.
    fn read_tail(&mut self, cx: &Cx<'_>, conn: ConnId) {
        let may = |role| role >= Role::Admin;
        let state = self.conns.get(&conn).filter(|state| state.closing.is_none());
        let Some(state) = state else { return self.stop_tail(conn) };
        if !state.principal.as_ref().is_some_and(|who| may(who.role)) {
            return self.stop_tail(conn);
        }
        let behind = state.queued.as_ref().is_some_and(|queued| queued.bytes() > 0);
        let Some(tail) = self.tails.by_conn.get_mut(&conn) else { return };
        // The answer to `start` itself may still be on its way.
        if tail.asking || behind && tail.cursor.is_some() {
            return;
        }
        tail.asking = true;
        let limit = if tail.cursor.is_some() { BATCH } else { RECENT };
        let query = LogQuery { cursor: tail.cursor, limit, bytes: BATCH_BYTES };
        self.start_logs(cx, query, Job::Tail { conn });
    }

    /// New lines for a tail, or `None`: there was no answer.
    pub(super) fn tail_read(&mut self, cx: &mut Cx<'_>, conn: ConnId, page: Option<&LogPage>) {
        let Some(tail) = self.tails.by_conn.get_mut(&conn) else { return };
        tail.asking = false;
        let Some(page) = page else { return };
        let lost = tail.next.map_or(0, |next| page.before.saturating_sub(next));
        tail.cursor = Some(page.cursor);
        tail.next = Some(page.before + page.lines.len() as u64);
        let level = tail.level;
        let lines = page.lines.iter().filter(|line| line.level <= level);
        if lost == 0 && lines.clone().next().is_none() {
            return;
        }
        let mut payload = String::new();
        let mut object = Object::new(&mut payload)
            .list("lines", lines, |out, line| json::string(out, &line.text))
            .num("cursor", page.cursor);
        if lost > 0 {
            object = object.num("dropped", lost);
        }
        object.end();
        self.send_unnumbered(cx, conn, "log", &payload);
    }

    pub(super) fn log_page_read(&mut self, cx: &mut Cx<'_>, to: ReplyTo, page: Option<&LogPage>) {
        let Some(page) = page else {
            let refusal = Refusal::new(Code::Unavailable, "the log cannot be read now");
            return self.reply_error(cx, to, &refusal.retry_after(SOON));
        };
        self.reply_ok(cx, to, |_, out| {
            let mut object = Object::new(out)
                .str("file", &page.name)
                .num("cursor", page.cursor)
                .num("size", page.cursor)
                .list("lines", &page.lines, |out, line| json::string(out, &line.text));
            for (name, is) in [("truncated", page.truncated), ("reset", page.reset)] {
                if is {
                    object = object.bool(name, true);
                }
            }
            object.end();
        });
    }
}
