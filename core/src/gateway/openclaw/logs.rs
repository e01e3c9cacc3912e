//! `logs.tail`: what the process logs, a page at a time.

use super::super::Gateway;
use super::super::jobs::Job;
use super::super::logs::query;
use super::super::principal::Role;
use super::super::refusal::{Code, Refusal};
use super::super::send::Cx;
use super::dispatch::{Call, Done};

/// Clients ask for no more than the scope that the original wants, which is reading. The log is about
/// everybody: the credential must be an admin's, whatever was asked for.
pub(super) fn tail(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let role = gateway.role_now(call.who.principal());
    if role.is_none_or(|role| role < Role::Admin) {
        return Err(Refusal::new(Code::Forbidden, "the log is for admins"));
    }
    let number = |name| call.values.integer(name).map(i64::unsigned_abs);
    let query = query(number("cursor"), number("limit"), number("maxBytes"));
    if let Some(to) = call.to.take() {
        gateway.start_logs(cx, query, Job::LogPage { to });
    }
    Ok(())
}
