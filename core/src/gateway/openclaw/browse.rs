//! What becomes of sessions that the store has found: answers to who looked for them.

use super::super::Gateway;
use super::super::jobs::{Job, unavailable};
use super::super::json::Object;
use super::super::refusal::{Refusal, cut};
use super::super::send::{Cx, ReplyTo};
use super::super::work::{Listed, SessionFilter, StoreOutcome, StoreWork};
use super::answers::{PROVIDER, session_id};
use super::health::Summary;
use super::session_row::Show;
use std::sync::Arc;

/// What sessions were looked for.
#[derive(Debug)]
pub(in crate::gateway) enum Browse {
    /// A page of a list.
    Page(Page),
    /// One of them, which need not be there.
    Describe,
    /// The only one with this name; one whose second name this is.
    Resolve {
        name: String,
        id: bool,
        /// That there is none is no error.
        optional: bool,
    },
    /// What a session is now that it was changed, and the run that it began with.
    Entry { run: Option<Arc<str>> },
    /// The state of the gateway.
    Summary(Summary),
}

/// A page of a list.
#[derive(Debug, Copy, Clone)]
pub(in crate::gateway) struct Page {
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) show: Show,
    /// It is the answer to who wants to know of changes, too.
    pub(super) subscribed: bool,
}

impl Gateway {
    /// Looks for the one session that was just changed: who changed it may see it.
    pub(super) fn look_up(
        &mut self,
        cx: &Cx<'_>,
        to: ReplyTo,
        session: Arc<str>,
        run: Option<Arc<str>>,
    ) {
        let filter = SessionFilter { key: Some(session), ..SessionFilter::default() };
        let work = StoreWork::List { filter, texts: true, limit: 1, offset: 0 };
        self.start_store(cx, work, Job::Browse { to, browse: Browse::Entry { run } });
    }

    pub(in crate::gateway) fn browsed(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        browse: Browse,
        outcome: Result<StoreOutcome, Refusal>,
    ) {
        let (sessions, total) = match (outcome, browse) {
            (Err(refusal), _) => return self.reply_error(cx, to, &refusal),
            (Ok(outcome), Browse::Summary(summary)) => {
                return self.summarize(cx, to, summary, outcome);
            }
            (Ok(StoreOutcome::List { mut sessions, total }), browse) => match browse {
                Browse::Page(page) => {
                    return self.reply_page(cx, to, page, &sessions, total);
                }
                Browse::Resolve { name, id, optional } => {
                    if id {
                        sessions.retain(|row| session_id(&row.info.key) == name);
                    }
                    return self.reply_resolved(cx, to, &name, optional, &sessions);
                }
                Browse::Describe => (sessions, None),
                Browse::Entry { run } => (sessions, Some(run)),
                Browse::Summary(_) => return self.reply_error(cx, to, &unavailable()),
            },
            (Ok(_), _) => return self.reply_error(cx, to, &unavailable()),
        };
        let now_ms = self.ms(cx.now);
        let session = sessions.first();
        match (total, session) {
            (None, session) => self.reply_ok(cx, to, |gateway, out| {
                let mut object = Object::new(out);
                match session {
                    Some(row) => {
                        gateway.write_row(object.key("session"), row, Show::ALL, now_ms);
                    }
                    None => object.key("session").push_str("null"),
                }
                object.end();
            }),
            (Some(_), None) => self.reply_error(cx, to, &super::super::jobs::gone()),
            (Some(run), Some(row)) => self.reply_ok(cx, to, |gateway, out| {
                let mut object = Object::new(out)
                    .bool("ok", true)
                    .str("path", "")
                    .str("key", &row.info.key)
                    .str("sessionId", &session_id(&row.info.key));
                gateway.write_row(object.key("entry"), row, Show::ALL, now_ms);
                object = object.object("resolved", |o| {
                    o.str("modelProvider", PROVIDER).str("model", PROVIDER)
                });
                if let Some(run) = &run {
                    object = object.bool("runStarted", true).str("runId", run);
                }
                object.end();
            }),
        }
    }

    pub(super) fn reply_page(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        page: Page,
        sessions: &[Listed],
        total: usize,
    ) {
        let now_ms = self.ms(cx.now);
        let next = page.offset + sessions.len();
        let more = next < total && !sessions.is_empty();
        self.reply_ok(cx, to, |gateway, out| {
            let mut object = Object::new(out);
            if page.subscribed {
                object = object.bool("subscribed", true);
            }
            object = object
                .num("ts", now_ms)
                .str("path", "")
                .num("count", sessions.len() as u64)
                .num("totalCount", total as u64)
                .num("limitApplied", page.limit as u64);
            object = match more {
                true => object.num("nextOffset", next as u64),
                false => object.raw("nextOffset", "null"),
            };
            object
                .bool("hasMore", more)
                .raw("owners", "[]")
                .object("defaults", |o| {
                    o.str("modelProvider", PROVIDER)
                        .str("model", PROVIDER)
                        .raw("contextTokens", "null")
                })
                .list("sessions", sessions, |out, row| {
                    gateway.write_row(out, row, page.show, now_ms);
                })
                .end();
        });
    }

    fn reply_resolved(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        name: &str,
        optional: bool,
        sessions: &[Listed],
    ) {
        let name = cut(name, 256);
        let row = match sessions {
            [row] => row,
            [_, ..] => {
                let refusal = Refusal::invalid(format!("several sessions are called {name}"));
                return self.reply_error(cx, to, &refusal);
            }
            [] if optional => {
                return self.reply_ok(cx, to, |_, out| out.push_str(r#"{"ok":false}"#));
            }
            [] => {
                let refusal = Refusal::invalid(format!("no session found: {name}"));
                return self.reply_error(cx, to, &refusal);
            }
        };
        self.reply_ok(cx, to, |gateway, out| {
            Object::new(out)
                .bool("ok", true)
                .str("key", &row.info.key)
                .str("agentId", gateway.agent_of_session(&row.info))
                .end();
        });
    }
}
