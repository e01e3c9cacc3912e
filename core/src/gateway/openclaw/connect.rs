//! `connect` in this dialect: what is checked, in its order, and what each refusal says.

use super::super::Gateway;
use super::super::config::Secret;
use super::super::conn::ConnId;
use super::super::intake::{Name, Request};
use super::super::json;
use super::super::login::LOGIN;
use super::super::proof::Proof;
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::Cx;
use super::connect_params::{ConnectParams, PeerRole};
use super::credentials::{Credentials, Issued};
use super::device_proof::{self, Challenge, ProofError};
use super::device_request::Wish;
use super::devices::DeviceBounds;
use super::joining::Newcomer;
use super::node_surface::Manifest;
use super::paired_device::{About, PairedDevice, Standing, Via};
use super::peer::{Peer, Protocol};
use super::scopes::Scopes;
use super::work_events::TOOL_EVENTS;
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

impl Refused {
    /// For now only.
    pub(super) fn later(text: &'static str, wait: Duration) -> Self {
        let refusal = Refusal::new(Code::Unavailable, text).retry_after(wait);
        Self { refusal, close: CloseCode::TRY_AGAIN }
    }
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

/// What comes of a `connect` that is not refused.
enum Entry {
    /// It is answered now.
    Now(Newcomer),
    /// It is answered when what this makes of its device is durable.
    WhenKept(Newcomer, Box<PairedDevice>),
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
        let entry = params.and_then(|params| {
            let (protocol, role) = self.check_offer(conn, &params)?;
            self.admit(cx, conn, &id, &params, (protocol, role))
        });
        match entry {
            Ok(Entry::Now(newcomer)) => self.welcome(cx, conn, newcomer),
            Ok(Entry::WhenKept(newcomer, device)) => self.join(cx, conn, newcomer, *device),
            Err(refused) => self.refuse_connect(cx, conn, &id, &refused),
        }
    }

    pub(super) fn refuse_connect(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: &str,
        Refused { refusal, close }: &Refused,
    ) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.failed += 1;
        }
        self.refuse_frame(cx, conn, id, refusal);
        let reason = cut(refusal.message(), MAX_REASON).to_owned();
        self.close(cx, conn, *close, reason, None);
    }

    /// What needs no credential to be refused.
    fn check_offer(
        &self,
        conn: ConnId,
        params: &ConnectParams,
    ) -> Result<(Protocol, PeerRole), Refused> {
        self.check_begun()?;
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

    /// Whether the gateway has begun and does not end.
    fn check_begun(&self) -> Result<(), Refused> {
        if self.draining.is_none() && self.has_started() {
            return Ok(());
        }
        let text = if self.draining.is_some() {
            "gateway restart in progress"
        } else {
            "gateway starting"
        };
        let refused = Refused::later(text, Duration::from_millis(500));
        let refusal = refused.refusal.details(|o| o.str("reason", "startup-sidecars"));
        Err(Refused { refusal, ..refused })
    }

    /// Who it is, and what of what was asked for they get.
    fn admit(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: &str,
        params: &ConnectParams,
        (protocol, role): (Protocol, PeerRole),
    ) -> Result<Entry, Refused> {
        let Some(state) = self.conns.get(&conn) else {
            return Err(Refusal::new(Code::Internal, "the connection is gone").into());
        };
        let (direct, address) = (state.is_direct(), state.peer.ip());
        let nonce = super::super::session::uuid(state.nonce);
        let challenge = Challenge { nonce: &nonce, ts: state.challenged };
        let device = match &params.device {
            Some(device) => Some(device_proof::verify(device, params, role, challenge)?),
            None => {
                self.check_deviceless(conn, params, role)?;
                None
            }
        };
        let asked = match role {
            PeerRole::Operator => Scopes::of(params.scopes.iter().map(|word| &**word)).0,
            _ => Scopes::NONE,
        };
        let credentials = self.credentials(cx.now, conn, params, device.as_ref(), (role, asked))?;
        let Credentials { login, limit, by_secret, token } = credentials;
        let scopes = asked.within(limit);
        if login.principal.proof != Proof::Local
            && let Err(refusal) = self.room_for(&login.principal.user, LOGIN)
        {
            return Err(Refused { refusal, close: CloseCode::TRY_AGAIN });
        }
        let client = Arc::new(params.client.clone());
        let peer = |scopes, device| Peer {
            protocol,
            role,
            client,
            scopes,
            device,
            paired: None,
            manifest: (role == PeerRole::Node).then(|| Arc::new(Manifest::of(params))),
            tools: params.caps.iter().any(|cap| **cap == *TOOL_EVENTS),
            all_sessions: false,
            sessions: BTreeSet::new(),
            refused: 0,
            awaited: 0,
        };
        let Some(device) = device else {
            let client = &params.client;
            let own_host = direct
                && (client.id == "cli"
                    || client.mode == "cli"
                    || client.id == "gateway-client" && client.mode == "backend");
            let has_scopes = own_host || self.is_user_proved(&login.principal);
            let scopes = if has_scopes { scopes } else { Scopes::NONE };
            let newcomer = Newcomer::new(id, params, login, peer(scopes, None));
            return Ok(Entry::Now(newcomer));
        };
        let peer = peer(scopes, Some(device.id.clone()));
        let user = login.principal.user.clone();
        let mut newcomer = Newcomer::new(id, params, login, peer);
        if self.config.is_open() {
            // Nobody has to be let in; and who came while that was so must not stay when it is not.
            return Ok(Entry::Now(newcomer));
        }
        let wish =
            Wish { key: device.key, user, about: About::of(&params.client), role, scopes, address };
        newcomer.about = device.signs_platform.then(|| wish.about.clone());
        let standing = self.devices.standing((&device.id, &wish.user), role, scopes, &wish.about);
        let known = self.devices.get(&device.id).filter(|_| standing == Standing::Known);
        let at = self.ms(cx.now);
        let mut paired = match known {
            Some(known) => {
                // Whoever knows a token that will do keeps it.
                let offered = params.auth.device_token.as_ref();
                let again = offered.and_then(|offered| {
                    let at = known.prove(role, offered, scopes).ok()?;
                    Some(Issued { text: offered.clone(), at })
                });
                newcomer.peer.paired = Some(known.created);
                newcomer.token = token.or(again);
                if newcomer.token.is_some() {
                    return Ok(Entry::Now(newcomer));
                }
                known.clone()
            }
            None => {
                let is_other = standing == Standing::MetadataUpgrade;
                let silent = by_secret
                    && direct
                    && self.config.raw.auto_approve_local
                    && !(is_other && params.client.is_seen());
                if !silent {
                    return Err(self.ask_to_pair(cx, wish, standing));
                }
                let bounds = self.device_bounds();
                let by = (Via::Silent, scopes);
                self.devices.admit(&wish, by, &bounds, at).map_err(|_| crowded(None))?
            }
        };
        newcomer.peer.paired = Some(paired.created);
        let random = self.random_token();
        // As much as this credential may have the device do, and not only what is asked today.
        let most = paired.grant(role).map_or(Scopes::NONE, |grant| grant.scopes.within(limit));
        let issued = paired.issue(role, most, &random, at);
        newcomer.token = issued.map(|(text, at)| Issued { text: Secret::new(&text), at });
        Ok(Entry::WhenKept(newcomer, Box::new(paired)))
    }

    /// Whether this may come without a device.
    fn check_deviceless(
        &self,
        conn: ConnId,
        params: &ConnectParams,
        role: PeerRole,
    ) -> Result<(), Refused> {
        let client = &params.client;
        if client.is_control_ui() {
            return Err(Refusal::invalid("control ui requires device identity")
                .details(|o| o.str("code", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"))
                .into());
        }
        let has_secret = params.auth.token.is_some() || params.auth.password.is_some();
        let is_fine = role == PeerRole::Operator
            && !client.is_page()
            && (has_secret || self.config.is_open() || self.is_local(conn));
        if !is_fine {
            return Err(Refusal::new(Code::NotPaired, "device identity required")
                .details(|o| o.str("code", "DEVICE_IDENTITY_REQUIRED"))
                .into());
        }
        Ok(())
    }

    /// Somebody has to decide.
    fn ask_to_pair(&mut self, cx: &mut Cx<'_>, wish: Wish, standing: Standing) -> Refused {
        let (id, at, bounds) = (self.uuid(), self.ms(cx.now), self.device_bounds());
        let (role, scopes) = (wish.role, wish.scopes);
        let asked = match self.devices.ask(wish, id.into(), &bounds, at) {
            Ok(asked) => asked,
            Err(_) => return crowded(self.devices.next_end().map(|end| end.saturating_sub(at))),
        };
        let request = asked.request.clone();
        self.device_asked(cx, asked);
        let (why, reason) = match standing {
            Standing::RoleUpgrade => ("it was let in in another role", "role-upgrade"),
            Standing::ScopeUpgrade => ("it was let in for less", "scope-upgrade"),
            Standing::MetadataUpgrade => ("it was let in as another machine", "metadata-upgrade"),
            Standing::NotPaired | Standing::Known => ("it was not let in yet", "not-paired"),
        };
        let text = format!("pairing required: {why} (requestId: {})", request.id);
        let known = self.devices.get(&request.device).filter(|_| standing != Standing::NotPaired);
        Refusal::new(Code::NotPaired, text)
            .details(|mut o| {
                o = o
                    .str("code", "PAIRING_REQUIRED")
                    .str("reason", reason)
                    .str("requestId", &request.id)
                    .str(
                        "remediationHint",
                        "somebody with the scope operator.pairing has to approve this request",
                    )
                    .str("deviceId", &request.device)
                    .str("requestedRole", role.as_str());
                scopes.write(o.key("requestedScopes"));
                if let Some(known) = known {
                    let write = |out: &mut String, role: PeerRole| json::string(out, role.as_str());
                    o = o.list("approvedRoles", known.roles(), write);
                    let grant = known.grant(role);
                    grant.map_or(Scopes::NONE, |grant| grant.scopes).write(o.key("approvedScopes"));
                }
                o
            })
            .into()
    }

    pub(super) fn device_bounds(&self) -> DeviceBounds {
        let bounds = self.config.bounds();
        DeviceBounds {
            requests: bounds.pairings,
            requests_per_address: bounds.pairings_per_address,
            devices: bounds.devices,
        }
    }

    /// What nobody can guess.
    pub(super) fn random_token(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

/// There is no room for the device, or its request. `wait`: milliseconds until there may be.
fn crowded(wait: Option<u64>) -> Refused {
    let text = "too many devices are let in or ask to be";
    Refused::later(text, Duration::from_millis(wait.unwrap_or_default().max(1000)))
}
