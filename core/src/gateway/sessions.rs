//! The `sessions.*` methods: parameters in, one request about a session out.

use super::Gateway;
use super::call::{Call, Done};
use super::change::{Change, write_session};
use super::chat::{MAX_KEY, MAX_LABEL, MAX_PAGE, key, session};
use super::jobs::Job;
use super::json::Object;
use super::refusal::Refusal;
use super::send::Cx;
use super::session::Op;
use super::work::{Listed, SessionFilter, StoreWork};

/// Messages in a preview, unless the caller wants more.
const PREVIEW: u64 = 5;

/// Messages that a compacted session keeps, unless the caller says: as in the base dialect.
pub(super) const KEEP: u64 = 4;

/// The store is one for all nodes, so this needs no other node.
pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let agent = key(&call.params, "agentId", MAX_KEY)?.map(|agent| agent.to_string());
    let limit = call.params.number("limit")?.unwrap_or(20).clamp(1, MAX_PAGE) as usize;
    let offset = call.params.number("offset")?.unwrap_or(0).min(1_000_000) as usize;
    let owner = (!call.who.role().sees_all()).then(|| call.who.user().clone());
    if let Some(to) = call.to.take() {
        let filter = SessionFilter { owner, agent, ..SessionFilter::default() };
        let work = StoreWork::List { filter, texts: false, limit, offset };
        gateway.start_store(cx, work, Job::Sessions { to, limit, offset });
    }
    Ok(())
}

pub(super) fn write_list(
    out: &mut String,
    sessions: &[Listed],
    total: usize,
    limit: usize,
    offset: usize,
) {
    Object::new(out)
        .list("sessions", sessions, |out, session| {
            write_session(Object::new(out), &session.info).end();
        })
        .num("total", total as u64)
        .num("limit", limit as u64)
        .num("offset", offset as u64)
        .end();
}

pub(super) fn preview(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let limit = call.params.number("limit")?.unwrap_or(PREVIEW).clamp(1, MAX_PAGE) as usize;
    let session = session(&call.params)?;
    call.route(gateway, cx, Op::Preview { session, limit })
}

pub(super) fn patch(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if !call.params.is_there("label") {
        return Err(Refusal::invalid(
            "label is required: a text, or null to take the label away; nothing else can be changed",
        ));
    }
    let label = call.params.text("label")?;
    if let Some(label) = &label {
        check_label(label)?;
    }
    change(gateway, cx, call, Change::Patch { label: label.map(Into::into) })
}

/// Whether people can read this as a name.
pub(super) fn check_label(label: &str) -> Result<(), Refusal> {
    if label.chars().count() <= MAX_LABEL && !label.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::invalid("label must have at most 100 characters and no control characters"))
}

pub(super) fn delete(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    change(gateway, cx, call, Change::Delete)
}

pub(super) fn reset(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    change(gateway, cx, call, Change::Reset)
}

pub(super) fn compact(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let keep = call.params.number("keepLast")?.unwrap_or(KEEP);
    if keep == 0 {
        let text = "keepLast must be at least 1; sessions.reset forgets everything";
        return Err(Refusal::invalid(text));
    }
    change(gateway, cx, call, Change::Compact { keep })
}

fn change(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>, change: Change) -> Done {
    let session = session(&call.params)?;
    call.route(gateway, cx, Op::Change { session, change })
}
