//! Connections, as admins see and end them.

use super::Gateway;
use super::bus::NodeId;
use super::call::{Call, Done};
use super::chat::{MAX_KEY, MAX_PAGE, key};
use super::conn::ConnId;
use super::fact::Fact;
use super::json::Object;
use super::presence::conn_name;
use super::principal::Principal;
use super::refusal::{Code, Refusal, cut};
use super::send::{Cx, ReplyTo};
use super::session::Op;
use crate::frame::CloseCode;

/// Bytes of a Close's reason (RFC 6455 section 5.5: a control frame has 125, and two are the code).
const MAX_REASON: usize = 123;

/// Those who are logged in, at every node: each knows of the others within a second.
pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let user = key(&call.params, "userId", MAX_KEY)?;
    let limit = call.params.number("limit")?.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE) as usize;
    let offset = call.params.number("offset")?.unwrap_or(0).min(1_000_000) as usize;
    let now = gateway.ms(cx.now);
    let Some(to) = call.to.take() else { return Ok(()) };
    let own = match &to {
        ReplyTo::Local { conn, .. } => Some((gateway.node.id(), *conn)),
        ReplyTo::Remote { .. } | ReplyTo::Api { .. } | ReplyTo::Nobody => None,
    };
    gateway.reply_ok(cx, to, |gateway, out| {
        let meant = || {
            let all = gateway.presence.iter();
            all.filter(|(_, entry)| user.as_ref().is_none_or(|user| entry.user == *user))
        };
        Object::new(out)
            .list("connections", meant().skip(offset).take(limit), |out, (node, entry)| {
                let current = own == Some((node, entry.conn));
                entry
                    .members(Object::new(out), node, now)
                    .str("remoteAddr", &entry.peer.to_string())
                    .bool("current", current)
                    .end();
            })
            .num("total", meant().count() as u64)
            .num("limit", limit as u64)
            .num("offset", offset as u64)
            .end();
    });
    Ok(())
}

pub(super) fn close(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let name = call.params.text("connId")?.ok_or_else(|| {
        Refusal::invalid("connId is required: connections.list has those of all connections")
    })?;
    let reason = call.params.text("reason")?;
    let fits = |reason: &str| reason.len() <= MAX_REASON && !reason.chars().any(char::is_control);
    if reason.as_ref().is_some_and(|reason| !fits(reason)) {
        return Err(Refusal::invalid(
            "reason must have at most 123 bytes and no control characters",
        ));
    }
    let known = |node: &NodeId| node.0 < gateway.node.count;
    let Some((node, conn)) = read_name(&name).filter(|(node, _)| known(node)) else {
        return Err(not_there(&name));
    };
    let reason = reason.as_deref().unwrap_or("closed by an administrator").into();
    call.route(gateway, cx, Op::Disconnect { node, conn, reason })
}

impl Gateway {
    /// Closes a connection of this node because somebody wants it.
    pub(super) fn disconnect(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        conn: ConnId,
        reason: String,
        to: ReplyTo,
    ) {
        let name = conn_name(self.node.id(), conn);
        if self.conns.get(&conn).is_none_or(|state| state.closing.is_some()) {
            return self.reply_error(cx, to, &not_there(&name));
        }
        self.note(Fact::SentAway { conn, by: who.user.clone() });
        // It may be the connection that asks.
        self.reply_ok(cx, to, |_, out| {
            Object::new(out).bool("ok", true).str("connId", &name).end();
        });
        self.close(cx, conn, CloseCode::POLICY, reason, None);
    }
}

/// Reads what [`conn_name`] writes.
fn read_name(name: &str) -> Option<(NodeId, ConnId)> {
    let (node, conn) = name.split_once('-')?;
    let (node, conn) = (NodeId(node.parse().ok()?), ConnId(conn.parse().ok()?));
    // Numbers can be written in many ways, names in one.
    (conn_name(node, conn) == name).then_some((node, conn))
}

fn not_there(name: &str) -> Refusal {
    let name = cut(name, 64);
    let text = format!("connection not found: {name}; it may have ended, see connections.list");
    Refusal::new(Code::NotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        for (node, conn) in [(0, 0), (3, 17), (u16::MAX, u64::MAX)] {
            let (node, conn) = (NodeId(node), ConnId(conn));
            assert_eq!(read_name(&conn_name(node, conn)), Some((node, conn)));
        }
        for wrong in ["", "1", "1-", "-1", "01-2", "1-+2", "1-2-3", "65536-1", "a-b"] {
            assert_eq!(read_name(wrong), None, "{wrong}");
        }
    }
}
