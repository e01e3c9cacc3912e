//! `connect` in this dialect: what is checked, in its order, and what each refusal says.

use super::super::Gateway;
use super::super::authenticate::Login;
use super::super::client::Client;
use super::super::config::Secret;
use super::super::conn::ConnId;
use super::super::fact::Source;
use super::super::intake::{Name, Request};
use super::super::principal::Role;
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::Cx;
use super::connect_params::{ConnectParams, PeerRole};
use super::device_proof::{self, Challenge, ProofError, ProvedDevice};
use super::node_surface::Manifest;
use super::peer::{Peer, Protocol};
use super::scopes::Scopes;
use crate::frame::CloseCode;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a Close's reason: clients of this dialect cut there, too.
const MAX_REASON: usize = 120;

/// A refusal of `connect`: the answer, and how the connection ends.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    close: CloseCode,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, close: CloseCode::POLICY }
    }
}

impl From<ProofError> for Refused {
    fn from(error: ProofError) -> Self {
        Refusal::invalid(error.message())
            .details(|o| o.str("code", error.code()).str("reason", error.reason()))
            .into()
    }
}

/// Who has come, and what they get.
pub(super) struct Admitted {
    pub(super) login: Login,
    pub(super) scopes: Scopes,
    pub(super) device: Option<ProvedDevice>,
}

/// Whether a `connect` is one of this dialect: it names the protocols that its client speaks.
pub(in crate::gateway) fn is_connect(params: Option<&RawValue>) -> bool {
    struct Range(bool);
    impl<'de> Visitor<'de> for Range {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
            while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                self.0 |= matches!(&*name, "minProtocol" | "maxProtocol");
                map.next_value::<IgnoredAny>()?;
            }
            Ok(self.0)
        }
    }
    let Some(raw) = params else { return false };
    serde_json::Deserializer::from_str(raw.get()).deserialize_any(Range(false)).unwrap_or(false)
}

impl Gateway {
    /// The first request of a connection of this dialect.
    pub(in crate::gateway) fn openclaw_connect(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        request: &Request<'_>,
    ) {
        let id: Box<str> = Box::from(&*request.id);
        if let Some(state) = self.conns.get_mut(&conn) {
            state.requests += 1;
        }
        let params = ConnectParams::read(request.params)
            .map_err(|what| Refusal::invalid(format!("invalid connect params: {what}")).into());
        let admitted = params.and_then(|params| {
            let (protocol, role) = self.check_offer(conn, &params)?;
            let admitted = self.admit(cx, conn, &params, protocol, role)?;
            Ok((params, protocol, role, admitted))
        });
        match admitted {
            Ok((params, protocol, role, admitted)) => {
                self.welcome(cx, conn, &id, &params, protocol, role, admitted);
            }
            Err(Refused { refusal, close }) => {
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.failed += 1;
                }
                self.refuse_frame(cx, conn, &id, &refusal);
                let reason = cut(refusal.message(), MAX_REASON).to_owned();
                self.close(cx, conn, close, reason, None);
            }
        }
    }

    /// What needs no credential to be refused.
    fn check_offer(
        &self,
        conn: ConnId,
        params: &ConnectParams,
    ) -> Result<(Protocol, PeerRole), Refused> {
        if self.draining.is_some() || !self.has_started() {
            let text = if self.draining.is_some() {
                "gateway restart in progress"
            } else {
                "gateway starting"
            };
            let refusal = Refusal::new(Code::Unavailable, text)
                .retry_after(Duration::from_millis(500))
                .details(|o| o.str("reason", "startup-sidecars"));
            return Err(Refused { refusal, close: CloseCode::TRY_AGAIN });
        }
        let Some(protocol) = Protocol::agreed(&params.protocols) else {
            let refusal = Refusal::invalid("protocol mismatch").details(|o| {
                o.str("code", "PROTOCOL_MISMATCH")
                    .num("clientMinProtocol", *params.protocols.start())
                    .num("clientMaxProtocol", *params.protocols.end())
                    .num("expectedProtocol", Protocol::V4.number())
                    .num("minimumProbeProtocol", Protocol::V3.number())
            });
            return Err(Refused { refusal, close: CloseCode::PROTOCOL });
        };
        let role = match params.role {
            Some(role @ (PeerRole::Operator | PeerRole::Node)) => role,
            _ => return Err(Refusal::invalid("invalid role").into()),
        };
        let from_page = self.conns.get(&conn).is_some_and(|conn| conn.from_page);
        if params.client.is_page() && !from_page {
            // A wrong Origin was refused with 403 before.
            return Err(Refusal::invalid("origin not allowed: a page must have one")
                .details(|o| o.str("code", "CONTROL_UI_ORIGIN_NOT_ALLOWED"))
                .into());
        }
        Ok((protocol, role))
    }

    /// Who it is, and what of what was asked for they get.
    fn admit(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        params: &ConnectParams,
        _: Protocol,
        role: PeerRole,
    ) -> Result<Admitted, Refused> {
        let Some(state) = self.conns.get(&conn) else {
            return Err(Refusal::new(Code::Internal, "the connection is gone").into());
        };
        let direct = state.is_direct();
        let nonce = super::super::session::uuid(state.nonce);
        let challenge = Challenge { nonce: &nonce, ts: state.challenged };
        let device = match &params.device {
            Some(device) => Some(device_proof::verify(device, params, role, challenge)?),
            None => None,
        };
        let secret = params.auth.token.as_ref().or(params.auth.password.as_ref());
        if device.is_none() {
            self.check_deviceless(params, secret.is_some())?;
        }
        let login = self.shared_secret(cx, conn, secret.cloned())?;
        let limit = Scopes::of_role(login.principal.role);
        let (asked, _) = Scopes::of(params.scopes.iter().map(|word| &**word));
        let own_host = direct
            && (params.client.id == "cli"
                || params.client.mode == "cli"
                || params.client.id == "gateway-client" && params.client.mode == "backend");
        let scopes = match (role, &device) {
            (PeerRole::Operator, Some(_)) => asked.within(limit),
            (PeerRole::Operator, None) if own_host || self.is_user_proved(&login.principal) => {
                asked.within(limit)
            }
            _ => Scopes::NONE,
        };
        Ok(Admitted { login, scopes, device })
    }

    /// Whether this may come without a device.
    fn check_deviceless(&self, params: &ConnectParams, secret: bool) -> Result<(), Refused> {
        if params.client.is_control_ui() {
            return Err(Refusal::invalid("control ui requires device identity")
                .details(|o| o.str("code", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"))
                .into());
        }
        if !secret && !self.config.is_open() {
            return Err(Refusal::new(Code::NotPaired, "device identity required")
                .details(|o| o.str("code", "DEVICE_IDENTITY_REQUIRED"))
                .into());
        }
        Ok(())
    }

    /// A token, as a token or as a password: a gateway token, an API key or a JWT.
    fn shared_secret(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        secret: Option<Secret>,
    ) -> Result<Login, Refused> {
        let given = secret.is_some();
        let source = if given { Source::Params } else { Source::Nowhere };
        self.login_by(cx.now, conn, (secret, source)).map_err(|refusal| {
            let (code, text, next) = match (given, refusal.wait()) {
                (false, _) => (
                    "AUTH_TOKEN_MISSING",
                    "unauthorized: gateway token missing (give it to the client)",
                    "update_auth_configuration",
                ),
                (true, Some(_)) => (
                    "AUTH_RATE_LIMITED",
                    "unauthorized: too many failed authentication attempts (retry later)",
                    "wait_then_retry",
                ),
                (true, None) => (
                    "AUTH_TOKEN_MISMATCH",
                    "unauthorized: gateway token mismatch (give the client the gateway's token)",
                    "update_auth_credentials",
                ),
            };
            let wait = refusal.wait();
            let refused = Refusal::invalid(text).details(|o| {
                o.str("code", code)
                    .str("authReason", refusal.message())
                    .bool("canRetryWithDeviceToken", false)
                    .str("recommendedNextStep", next)
            });
            match wait {
                Some(wait) => refused.retry_after(wait).into(),
                None => refused.into(),
            }
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, and what it has found")]
    fn welcome(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: &str,
        params: &ConnectParams,
        protocol: Protocol,
        role: PeerRole,
        admitted: Admitted,
    ) {
        let Admitted { login, scopes, device } = admitted;
        let Login { mut principal, expires, .. } = login;
        // Claims narrow: what was not asked for is not used by any check further on either.
        principal.role = scopes.role(principal.role).unwrap_or(Role::Viewer);
        let info = &params.client;
        let client = Client::named(info.id, &info.version, &info.platform);
        self.log_in(cx, conn, principal.clone(), Some(client), false);
        self.arm_expiry(cx.now, conn, expires);
        // These clients take a connection without ticks for dead, whatever pings it answers.
        self.set_ticks(cx.now, conn, true);
        let peer = Peer {
            protocol,
            role,
            client: Arc::new(info.clone()),
            scopes,
            tools: params.has_cap("tool-events"),
            device: device.map(|device| device.id),
            manifest: (role == PeerRole::Node).then(|| Arc::new(Manifest::of(params))),
            all_sessions: false,
            sessions: BTreeSet::new(),
            refused: 0,
            awaited: 0,
        };
        let view = peer.view();
        if let Some(state) = self.conns.get_mut(&conn) {
            state.openclaw = Some(Box::new(peer));
        }
        self.presence_enter(cx.now, conn);
        let link = self.openclaw_link(cx.now, conn, &principal, view);
        let now = cx.now;
        self.write_answer(cx, conn, id, None, |gateway, out| {
            out.push_str("\"ok\":true,\"payload\":");
            gateway.write_openclaw_hello(out, now, conn);
        });
        self.catch_up(cx, link);
        self.node_arrived(cx, conn);
        if role == PeerRole::Operator {
            let viewer = (!principal.role.sees_all()).then(|| principal.user.clone());
            self.health_soon(cx.now, viewer);
        }
    }
}
