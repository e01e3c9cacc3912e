//! A message's way to its handler in this dialect: the checks in their order.

use super::super::Gateway;
use super::super::bus::shutting_down;
pub(in crate::gateway) use super::super::call::Done;
use super::super::conn::ConnId;
use super::super::fact::Fact;
use super::super::intake::Request;
use super::super::principal::Authenticated;
use super::super::refusal::{Code, Refusal, SOON, cut};
use super::super::send::{Called, Cx, ReplyTo};
use super::answers::Then;
use super::connect_params::PeerRole;
use super::methods::{self, Method};
use super::schema::Values;
use super::scopes::Scopes;
use crate::frame::CloseCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::time::Duration;

/// A request on its way to its handler.
pub(in crate::gateway) struct Call<'a> {
    pub(in crate::gateway) who: Authenticated,
    pub(in crate::gateway) conn: ConnId,
    pub(in crate::gateway) scopes: Scopes,
    pub(in crate::gateway) values: Values<'a>,
    /// Who refuses leaves it; who answers takes it.
    pub(in crate::gateway) to: Option<ReplyTo>,
}

impl Call<'_> {
    /// The place of the answer, which will be made of what the gateway answers in its own dialect.
    pub(in crate::gateway) fn take(&mut self, then: Then) -> Option<ReplyTo> {
        self.to.take().map(|to| to.then(then))
    }
}

/// Calls beyond its scopes after which a connection is closed: a client that does not learn.
const MAX_REFUSED: u32 = 10;

/// What an error answer is for when the request's own id cannot be read.
const NO_ID: &str = "invalid";

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

impl Gateway {
    /// `None` is a message that is not text.
    pub(in crate::gateway) fn openclaw_message(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        text: Option<&str>,
    ) {
        let Some(who) = self.conns.get(&id).and_then(Authenticated::of) else { return };
        let request = text.map(Request::parse);
        let empty = |request: &Request<'_>| request.id.is_empty();
        match request {
            Some(Ok(request)) if !empty(&request) => self.openclaw_request(cx, id, who, &request),
            Some(Ok(_)) => {
                let refusal = Refusal::invalid("invalid request frame: at /id: must not be empty");
                self.openclaw_mistake(cx, id, &who, NO_ID, refusal);
            }
            Some(Err(refusal)) => {
                let text = text.unwrap_or_default();
                if serde_json::from_str::<IgnoredAny>(text).is_err() {
                    // Clients of this dialect expect no answer to what is not JSON.
                    return self.strike(cx, id, "too many invalid frames");
                }
                let named = serde_json::from_str::<Id<'_>>(text).ok().and_then(|named| named.id);
                let named = named.filter(|id| !id.is_empty()).unwrap_or(Cow::Borrowed(NO_ID));
                let refusal =
                    Refusal::invalid(format!("invalid request frame: {}", refusal.message()));
                self.openclaw_mistake(cx, id, &who, cut(&named, 128), refusal);
            }
            None => self.strike(cx, id, "too many invalid frames"),
        }
    }

    /// What is no request is answered, costs, and counts.
    fn openclaw_mistake(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        who: &Authenticated,
        request: &str,
        refusal: Refusal,
    ) {
        let refusal = self.charge_mistake(cx, id, "invalid", who).unwrap_or(refusal);
        self.refuse_frame(cx, id, request, &refusal);
        self.strike(cx, id, "too many invalid frames");
    }

    fn openclaw_request(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        who: Authenticated,
        request: &Request<'_>,
    ) {
        let Some(peer) = self.conns.get(&id).and_then(|conn| conn.openclaw.as_ref()) else {
            return;
        };
        let (scopes, role) = (peer.scopes, peer.role);
        let method = methods::find(&request.method);
        if let Err(refusal) = admit(method, &request.method, scopes, role) {
            let refusal = self.charge_mistake(cx, id, "refused", &who).unwrap_or(refusal);
            self.refuse_frame(cx, id, &request.id, &refusal);
            match method {
                Some(method) => {
                    let (method, error) = (method.name, Some(refusal.code));
                    let duration = Duration::ZERO;
                    self.note(Fact::Called { conn: id, method, error, duration });
                    self.count_refused(cx, id, &refusal);
                }
                // A newer client may try what is not known here.
                None => self.tally.unknown_methods += 1,
            }
            return;
        }
        let Some(method) = method else { return };
        self.presence_active(cx.now, id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.requests += 1;
        conn.in_flight += 1;
        let crowded = conn.in_flight > self.config.bounds().in_flight;
        let to = ReplyTo::Local {
            conn: id,
            id: Box::from(&*request.id),
            method: Called { name: method.name, reads: method.scope == Scopes::READ },
            since: cx.now,
            held: None,
            then: Then::AsItIs,
        };
        let done = if crowded {
            let text = "too many requests of this connection have no answer yet";
            Err(Box::new((Some(to), Refusal::exhausted(text, SOON))))
        } else {
            self.openclaw_call(cx, id, method, who, scopes, request, to)
        };
        if let Err(refused) = done
            && let (Some(to), refusal) = *refused
        {
            self.reply_error(cx, to, &refusal);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, and what it has at hand")]
    fn openclaw_call(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        method: &'static Method,
        who: Authenticated,
        scopes: Scopes,
        request: &Request<'_>,
        to: ReplyTo,
    ) -> Result<(), Box<(Option<ReplyTo>, Refusal)>> {
        let mut to = Some(to);
        let done = self.charge(cx, conn, method.name, method.cost, who.principal());
        let done = done.and_then(|()| match method.cost {
            // What is free ends things: it must always work.
            0 => Ok(()),
            _ => self.hold_request(who.principal(), request, &mut to),
        });
        if let Err(refusal) = done {
            return Err(Box::new((to, refusal)));
        }
        // Somebody waits for what a node answers, and the end of this gateway for them.
        let answers = method.role == PeerRole::Node && method.cost == 0;
        if self.draining.is_some() && !answers {
            return Err(Box::new((to, shutting_down())));
        }
        let values = match Values::read(request.params, method.params) {
            Ok(values) => values,
            Err(what) => {
                let text = format!("invalid {} params: {what}", method.name);
                return Err(Box::new((to, Refusal::invalid(text))));
            }
        };
        let mut call = Call { who, conn, scopes, values, to };
        (method.handler)(self, cx, &mut call).map_err(|refusal| Box::new((call.to.take(), refusal)))
    }

    fn count_refused(&mut self, cx: &mut Cx<'_>, id: ConnId, refusal: &Refusal) {
        if refusal.code != Code::Forbidden {
            return;
        }
        let peer = self.conns.get_mut(&id).and_then(|conn| conn.openclaw.as_mut());
        let Some(peer) = peer else { return };
        peer.refused += 1;
        if peer.refused > MAX_REFUSED {
            self.close(cx, id, CloseCode::POLICY, "repeated unauthorized calls", None);
        }
    }
}

/// Whether a connection may call this.
fn admit(
    method: Option<&Method>,
    name: &str,
    scopes: Scopes,
    role: PeerRole,
) -> Result<(), Refusal> {
    let Some(method) = method else {
        if role == PeerRole::Operator && scopes.allows(Scopes::ADMIN) {
            let text = match name {
                "connect" => "connect is only valid as the first request".into(),
                _ => format!("unknown method: {}", cut(name, 128)),
            };
            return Err(Refusal::invalid(text));
        }
        if role != PeerRole::Operator {
            // Nodes try what newer gateways have and go on without: that must not end their connection.
            return Err(Refusal::invalid(format!("unknown method: {}", cut(name, 128))));
        }
        return Err(missing(Scopes::ADMIN));
    };
    if method.role != role {
        let text =
            format!("unauthorized role: {} is not for {} connections", method.name, role.as_str());
        return Err(Refusal::new(Code::Forbidden, text));
    }
    let needed = method.scope;
    if needed.words().all(|word| Scopes::parse(word).is_some_and(|scope| scopes.allows(scope))) {
        return Ok(());
    }
    Err(missing(needed))
}

pub(super) fn missing(scope: Scopes) -> Refusal {
    let word = scope.words().next().unwrap_or_default();
    Refusal::new(Code::Forbidden, format!("missing scope: {word}")).details(|mut o| {
        o = o.str("code", "MISSING_SCOPE").str("missingScope", word);
        scope.write(o.key("requiredScopes"));
        o
    })
}
