//! `connect` after the login: a fresh link, or the one that the client had before.

use super::bus::{BusMessage, CallId, NodeId, Route};
use super::conn::ConnId;
use super::link::{Attached, LinkAt, LinkId, ResumeToken};
use super::params::{Param, Params};
use super::principal::Principal;
use super::refusal::{Code, Refusal};
use super::send::{Cx, ReplyTo};
use super::{Gateway, Timer};
use crate::frame::CloseCode;
use std::fmt::Write as _;
use std::time::Instant;

/// What a client offers to get its link back. Not a credential: it has logged in by other means.
#[derive(Clone)]
pub struct Claim {
    token: ResumeToken,
    /// The number of the last event that the client has.
    last: u64,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("last", &self.last).finish_non_exhaustive()
    }
}

/// A link that was given to another node's connection.
#[derive(Debug, Clone)]
pub struct Resumed {
    link: LinkId,
    /// What the client shall offer next time.
    token: Box<str>,
    replayed: usize,
}

/// A `connect` whose answer waits for the node of the link.
pub(super) struct Resuming {
    who: Principal,
    to: ReplyTo,
    until: Instant,
    /// Which answer it waits for.
    call: CallId,
}

/// What the connect answer says about the link.
pub(super) struct Hello {
    pub(super) token: Box<str>,
    pub(super) resumed: bool,
    pub(super) replayed: usize,
    pub(super) gap: bool,
}

pub(super) const RESUME: &[Param] = &[
    Param { name: "token", aliases: &[], kind: "text", required: true },
    Param { name: "lastSeq", aliases: &[], kind: "number", required: true },
];

/// What `connect` may bring.
#[derive(Debug)]
pub(super) enum Wanted {
    Fresh,
    /// A token that nothing here has made: its link is gone.
    Lost,
    Back(NodeId, Claim),
}

impl Wanted {
    pub(super) fn of(params: &Params<'_>) -> Result<Self, Refusal> {
        let Some(resume) = params.nested("resume", RESUME)? else { return Ok(Self::Fresh) };
        let token = resume.required("token")?;
        let last = resume
            .number("lastSeq")?
            .ok_or_else(|| Refusal::invalid("resume.lastSeq is required"))?;
        Ok(match read_token(&token) {
            Some((node, token)) => Self::Back(node, Claim { token, last }),
            None => Self::Lost,
        })
    }
}

/// `<node>-<32 hex digits>`.
pub(super) fn write_token(node: NodeId, token: &ResumeToken) -> Box<str> {
    let mut out = format!("{}-", node.0);
    for byte in token {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out.into()
}

pub(super) fn read_token(text: &str) -> Option<(NodeId, ResumeToken)> {
    let (node, hex) = text.split_once('-')?;
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let token = u128::from_str_radix(hex, 16).ok()?.to_be_bytes();
    Some((NodeId(node.parse().ok()?), token))
}

impl Gateway {
    /// Gives a connection that has just logged in its link, and answers its `connect`.
    pub(super) fn link_up(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        who: Principal,
        wanted: Wanted,
        to: ReplyTo,
    ) {
        let (home, claim) = match wanted {
            Wanted::Fresh => return self.begin(cx, conn, &who, to, false),
            Wanted::Lost => return self.begin(cx, conn, &who, to, true),
            Wanted::Back(home, claim) => (NodeId(home.0 % self.node.count), claim),
        };
        if home != self.node.id() {
            let until = cx.now + self.config.bounds().call_within;
            self.timers.insert((until, Timer::Resume(conn)));
            let call = CallId(self.next_call);
            self.next_call += 1;
            if let Some(state) = self.conns.get_mut(&conn) {
                state.resuming = Some(Resuming { who: who.clone(), to, until, call });
            }
            let from = self.node.id();
            let message = BusMessage::Resume { from, conn, call, who, claim };
            return self.publish(Route::Node(home), message);
        }
        match self.take_back(cx, &who, &claim, Attached::Here(conn)) {
            None => self.begin(cx, conn, &who, to, true),
            Some((link, replayed)) => {
                let token = self.link_token(link);
                let hello = Hello { token, resumed: true, replayed, gap: false };
                self.note_resumed(conn, replayed, false);
                self.say_hello(cx, conn, &who, to, &hello);
                self.flush_link(cx, link);
            }
        }
    }

    /// A fresh link. `gap`: the client wanted another one back.
    fn begin(&mut self, cx: &mut Cx<'_>, conn: ConnId, who: &Principal, to: ReplyTo, gap: bool) {
        let token = self.random();
        let named = (self.node.id(), token);
        let ring = super::ring::Ring::default();
        let link = self.links.insert(who.clone(), named, ring, &mut self.retained);
        self.attach(cx.now, link, Attached::Here(conn));
        let token = self.link_token(link);
        if gap {
            self.note_resumed(conn, 0, true);
        }
        self.say_hello(cx, conn, who, to, &Hello { token, resumed: false, replayed: 0, gap });
        self.catch_up(cx, link);
    }

    fn say_hello(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        who: &Principal,
        to: ReplyTo,
        hello: &Hello,
    ) {
        let now = cx.now;
        self.reply_ok(cx, to, |gateway, out| gateway.write_hello(out, now, conn, who, hello));
    }

    fn link_token(&self, link: LinkId) -> Box<str> {
        let token = self.links.get(link).map(|link| link.token).unwrap_or_default();
        write_token(self.node.id(), &token)
    }

    /// Attaches the link that is claimed, if it is this principal's and has all that was missed. A
    /// connection that still has it is closed.
    fn take_back(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        claim: &Claim,
        attached: Attached,
    ) -> Option<(LinkId, usize)> {
        // On its way here the credential may have been revoked.
        self.role_now(who)?;
        let id = self.links.by_token(&claim.token)?;
        let link = self.links.get_mut(id)?;
        if link.who.user != who.user || link.who.role > who.role {
            return None;
        }
        link.who.proof = who.proof.clone();
        let was = link.attached;
        let replayed = self.links.with_ring(id, |ring| ring.rewind(claim.last)).flatten();
        let token = self.random();
        match was {
            Attached::Here(old) if was != attached => {
                if let Some(state) = self.conns.get_mut(&old) {
                    state.link = None;
                }
                self.close(cx, old, CloseCode::POLICY, ELSEWHERE, None);
            }
            Attached::There(node, conn) if was != attached => {
                self.publish(Route::Node(node), BusMessage::Replaced { conn, link: id });
            }
            _ => {}
        }
        let Some(replayed) = replayed else {
            self.drop_link(id);
            return None;
        };
        self.links.renew(id, (self.node.id(), token));
        self.attach(cx.now, id, attached);
        Some((id, replayed))
    }

    /// Another node's connection wants a link of this node.
    pub(super) fn resume_for(
        &mut self,
        cx: &mut Cx<'_>,
        (from, conn, call): (NodeId, ConnId, CallId),
        who: &Principal,
        claim: &Claim,
    ) {
        let taken = self.take_back(cx, who, claim, Attached::There(from, conn));
        let link =
            taken.map(|(link, replayed)| Resumed { link, token: self.link_token(link), replayed });
        let own = self.node.id();
        self.publish(Route::Node(from), BusMessage::Resumed { from: own, conn, call, link });
        if let Some((link, _)) = taken {
            self.flush_link(cx, link);
        }
    }

    /// The node of the link has answered.
    pub(super) fn resumed(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        conn: ConnId,
        call: CallId,
        link: Option<Resumed>,
    ) {
        let state = self.conns.get_mut(&conn).filter(|state| state.closing.is_none());
        let waiting = state.and_then(|state| state.resuming.take_if(|own| own.call == call));
        let Some(Resuming { who, to, until, .. }) = waiting else {
            // Its client has gone again or logged in anew, and may come back for it.
            if let Some(Resumed { link, .. }) = link {
                let own = self.node.id();
                let message = BusMessage::Detached { from: own, conn, link, keep: true };
                self.publish(Route::Node(from), message);
            }
            return;
        };
        self.timers.remove(&(until, Timer::Resume(conn)));
        let Some(Resumed { link, token, replayed }) = link else {
            return self.begin(cx, conn, &who, to, true);
        };
        if let Some(state) = self.conns.get_mut(&conn) {
            state.link = Some(LinkAt::There(from, link));
        }
        self.note_resumed(conn, replayed, false);
        self.say_hello(cx, conn, &who, to, &Hello { token, resumed: true, replayed, gap: false });
    }

    /// The node of the link has not answered.
    pub(super) fn resume_expired(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let waiting = self.conns.get_mut(&conn).and_then(|state| state.resuming.take());
        if let Some(Resuming { who, to, .. }) = waiting {
            self.begin(cx, conn, &who, to, true);
        }
    }

    /// The connection has ended or logs in anew: the `connect` that waits is answered.
    pub(super) fn stop_resuming(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let waiting = self.conns.get_mut(&conn).and_then(|state| state.resuming.take());
        if let Some(Resuming { to, until, .. }) = waiting {
            self.timers.remove(&(until, Timer::Resume(conn)));
            let refusal = Refusal::new(Code::Unavailable, "another login came before the answer");
            self.reply_error(cx, to, &refusal);
        }
    }

    // --- connections that are served by another node's link ----------------------------------------

    pub(super) fn is_served(&self, conn: ConnId, link: LinkId) -> bool {
        let at = self.conns.get(&conn).and_then(|state| state.link);
        matches!(at, Some(LinkAt::There(_, id)) if id == link)
    }

    pub(super) fn delivered(&mut self, cx: &mut Cx<'_>, conn: ConnId, link: LinkId, text: &str) {
        if self.is_served(conn, link) {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.delivered += text.len() as u64;
            }
            self.send_in_time(cx, conn, text);
        }
    }

    pub(super) fn replaced(&mut self, cx: &mut Cx<'_>, conn: ConnId, link: LinkId) {
        if self.is_served(conn, link) {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.link = None;
            }
            self.close(cx, conn, CloseCode::POLICY, ELSEWHERE, None);
        }
    }

    /// A node has begun anew: what it had is gone. Clients whose links were there start again.
    pub(super) fn node_restarted(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        self.links.forget_awaiting(node);
        self.openclaw_node_restarted(cx, node);
        let served: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, state)| matches!(state.link, Some(LinkAt::There(at, _)) if at == node))
            .map(|(id, _)| *id)
            .collect();
        for conn in served {
            self.close(cx, conn, CloseCode::RESTART, "service restart", None);
        }
    }
}

pub(super) const ELSEWHERE: &str = "resumed elsewhere";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        let token = [0xA5; 16];
        let text = write_token(NodeId(3), &token);
        assert_eq!(read_token(&text), Some((NodeId(3), token)));
        for wrong in ["", "3", "3-", "x-a5a5", "3-+5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", "70000-00"] {
            assert_eq!(read_token(wrong), None, "{wrong}");
        }
    }
}
