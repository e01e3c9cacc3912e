//! `config.get`: the configuration that holds, as an admin may see it. No secret gets in here.

use super::Gateway;
use super::call::{Call, Done};
use super::config::{Agent, Bounds, GatewayConfig, Token};
use super::forwarded::ForwardedHeader;
use super::json::{self, Object};
use super::jwt::JwtKey;
use super::send::Cx;
use super::workers::WorkerBackend;
#[cfg(feature = "deflate")]
use crate::limits::Deflate;
use crate::limits::Limits;
use std::time::Duration;

/// What stands in the place of a secret.
const MASK: &str = "***";

pub(super) fn get(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    call.answer(gateway, cx, |gateway, out| {
        let mut object = Object::new(out);
        write(object.key("config"), &gateway.config.raw, MASK);
        object.end();
    })
}

/// The names are those of the configuration file where it has one for this. Every member is named here
/// so that a new one is decided on: nothing is shown because it was forgotten.
///
/// `mask` stands in the place of each secret.
pub(super) fn write(out: &mut String, config: &GatewayConfig, mask: &str) {
    let GatewayConfig {
        listen,
        secure,
        tokens,
        jwt,
        pairing,
        auto_approve_local,
        owner_ids,
        allowed_origins,
        allowed_hosts,
        trusted_proxies,
        forwarded_header,
        agents,
        workers,
        version,
        limits,
        rate_limit_rpm,
        max_message_chars,
        max_request_bytes,
        max_upload_bytes,
        create_sessions_on_send,
        pages,
        site,
        metrics,
        bounds,
    } = config;
    let ui_dir = site.as_ref().map(|site| site.root.to_string_lossy());
    Object::new(out)
        .str("version", version)
        .object("gateway", |o| {
            o.str("host", &listen.ip().to_string())
                .num("port", u64::from(listen.port()))
                .bool("tls", *secure)
                .list("tokens", tokens, |out, token| write_token(out, token, mask))
                .list("jwt", jwt, |out, key| write_jwt(out, key, mask))
                .bool("pairing", *pairing)
                .bool("auto_approve_local", *auto_approve_local)
                .list("owner_ids", owner_ids, |out, text| json::string(out, text))
                .list("allowed_origins", allowed_origins, |out, text| json::string(out, text))
                .list("allowed_hosts", allowed_hosts, |out, text| json::string(out, text))
                .list("trusted_proxies", trusted_proxies, |out, text| json::string(out, text))
                .str("forwarded_header", forwarded_header_name(*forwarded_header))
                .num("rate_limit_rpm", u64::from(*rate_limit_rpm))
                .num("rate_limit_burst", u64::from(bounds.burst))
                .num("max_message_chars", *max_message_chars as u64)
                .num("max_request_bytes", *max_request_bytes as u64)
                .num("max_upload_bytes", *max_upload_bytes as u64)
                .bool("create_sessions", *create_sessions_on_send)
                .bool("console", !pages.is_empty())
                .maybe_str("ui_dir", ui_dir.as_deref())
                .bool("deflate", limits.compresses())
        })
        .list("agents", agents, |out, agent| {
            let Agent { id, name, backend } = agent;
            let object = Object::new(out).str("id", id).str("name", name);
            let worker = workers.iter().find(|worker| worker.agent == *id);
            match (backend, worker) {
                (_, Some(worker)) => {
                    object.object("backend", |o| write_worker(o, worker, mask)).end();
                }
                (Some(backend), None) => object.raw("backend", backend).end(),
                (None, None) => object.end(),
            }
        })
        .object("metrics", |o| o.str("access", metrics.as_str()))
        .object("limits", |o| write_limits(write_bounds(o, bounds), limits))
        .end();
}

fn write_token(out: &mut String, token: &Token, mask: &str) {
    let Token { secret: _, role, user } = token;
    Object::new(out)
        .str("secret", mask)
        .str("role", role.as_str())
        .maybe_str("user", user.as_deref())
        .end();
}

fn write_worker<'o>(object: Object<'o>, worker: &WorkerBackend, mask: &str) -> Object<'o> {
    let WorkerBackend { agent: _, token, on_lost, attempts, wait, waiting } = worker;
    object
        .str("type", "worker")
        .maybe_str("token", token.as_ref().map(|_| mask))
        .str("on_lost", on_lost.as_str())
        .num("attempts", u64::from(*attempts))
        .num("wait_ms", ms(*wait))
        .num("max_waiting", *waiting as u64)
}

fn write_jwt(out: &mut String, key: &JwtKey, mask: &str) {
    let JwtKey { alg, key: _, issuer, audience, role_claim, user_claim } = key;
    Object::new(out)
        .str("alg", alg.as_str())
        .str("key", mask)
        .str("iss", issuer)
        .str("aud", audience)
        .str("role_claim", role_claim)
        .str("user_claim", user_claim)
        .end();
}

fn write_bounds<'o>(object: Object<'o>, bounds: &Bounds) -> Object<'o> {
    let Bounds {
        connections,
        pre_auth,
        pre_auth_v4,
        pre_auth_v6,
        pre_auth_message,
        connect_within,
        strikes,
        in_flight,
        // It stands beside the rate.
        burst: _,
        remembered,
        auth_failures,
        auth_lock,
        live_sessions,
        queued_turns,
        queued_bytes,
        agent_history,
        page_bytes,
        idempotency_within,
        idempotency_keys,
        idempotency_bytes,
        store_within,
        run_within,
        call_within,
        drain_within,
        resume_within,
        link_bytes,
        link_events,
        detached_links,
        links_bytes,
        answer_bytes,
        user_bytes,
        held_bytes,
        uploads,
        user_uploads,
        user_upload_bytes,
        user_upload_files,
        upload_bytes,
        upload_files,
        api_keys,
        revocations,
        pairings,
        pairings_per_address,
        pairing_within,
        devices,
        device_within,
        presence_listed,
        loop_delay,
    } = bounds;
    object
        .num("connections", *connections as u64)
        .num("pre_auth", *pre_auth as u64)
        .num("pre_auth_v4", *pre_auth_v4 as u64)
        .num("pre_auth_v6", *pre_auth_v6 as u64)
        .num("pre_auth_message_bytes", u64::from(*pre_auth_message))
        .num("connect_within_ms", ms(*connect_within))
        .num("strikes", u64::from(*strikes))
        .num("in_flight", *in_flight as u64)
        .num("remembered", *remembered as u64)
        .num("auth_failures", u64::from(*auth_failures))
        .num("auth_lock_ms", ms(*auth_lock))
        .num("live_sessions", *live_sessions as u64)
        .num("queued_turns", *queued_turns as u64)
        .num("queued_bytes", *queued_bytes as u64)
        .num("agent_history", *agent_history as u64)
        .num("page_bytes", *page_bytes as u64)
        .num("idempotency_within_ms", ms(*idempotency_within))
        .num("idempotency_keys", *idempotency_keys as u64)
        .num("idempotency_bytes", *idempotency_bytes as u64)
        .num("store_within_ms", ms(*store_within))
        .num("run_within_ms", ms(*run_within))
        .num("call_within_ms", ms(*call_within))
        // That of a connection is called `drain_within_ms`.
        .num("runs_drain_within_ms", ms(*drain_within))
        .num("resume_within_ms", ms(*resume_within))
        .num("link_bytes", *link_bytes as u64)
        .num("link_events", *link_events as u64)
        .num("detached_links", *detached_links as u64)
        .num("links_bytes", *links_bytes as u64)
        .num("answer_bytes", *answer_bytes as u64)
        .num("user_bytes", *user_bytes as u64)
        .num("held_bytes", *held_bytes as u64)
        .num("uploads", *uploads as u64)
        .num("user_uploads", *user_uploads as u64)
        .num("user_upload_bytes", *user_upload_bytes as u64)
        .num("user_upload_files", *user_upload_files as u64)
        .num("upload_bytes", *upload_bytes as u64)
        .num("upload_files", *upload_files as u64)
        .num("api_keys", *api_keys as u64)
        .num("revocations", *revocations as u64)
        .num("pairings", *pairings as u64)
        .num("pairings_per_address", *pairings_per_address as u64)
        .num("pairing_within_ms", ms(*pairing_within))
        .num("devices", *devices as u64)
        .num("device_within_ms", ms(*device_within))
        .num("presence_listed", *presence_listed as u64)
        .num("loop_delay_ms", ms(*loop_delay))
}

fn write_limits<'o>(object: Object<'o>, limits: &Limits) -> Object<'o> {
    let Limits {
        head,
        target,
        message,
        fragments,
        outbox,
        outbox_pause,
        handshake_within,
        ping_every,
        pong_within,
        drain_within,
        message_within,
        close_within,
        body_within,
        body_silence,
        // A text of ours.
        message_hint: _,
        #[cfg(feature = "deflate")]
        deflate,
    } = limits;
    let object = object
        .num("head_bytes", u64::from(*head))
        .num("target_bytes", u64::from(*target))
        .num("message_bytes", u64::from(*message))
        .num("fragments", u64::from(*fragments))
        .num("outbox_bytes", u64::from(*outbox))
        .num("outbox_pause_bytes", u64::from(*outbox_pause))
        .num("handshake_within_ms", ms(*handshake_within))
        .num("ping_every_ms", ms(*ping_every))
        .num("pong_within_ms", ms(*pong_within))
        .num("drain_within_ms", ms(*drain_within))
        .num("message_within_ms", ms(*message_within))
        .num("close_within_ms", ms(*close_within))
        .num("body_within_ms", ms(*body_within))
        .num("body_silence_ms", ms(*body_silence));
    #[cfg(feature = "deflate")]
    let object = match deflate {
        Some(deflate) => write_deflate(object, deflate),
        None => object,
    };
    object
}

#[cfg(feature = "deflate")]
fn write_deflate<'o>(object: Object<'o>, deflate: &Deflate) -> Object<'o> {
    let Deflate { no_context_takeover, window_bits, level, threshold, ratio, turn, idle } = deflate;
    object.object("deflate", |o| {
        o.bool("no_context_takeover", *no_context_takeover)
            .num("window_bits", u64::from(*window_bits))
            .num("level", u64::from(*level))
            .num("threshold_bytes", u64::from(*threshold))
            .num("ratio", u64::from(*ratio))
            .num("turn_bytes", u64::from(*turn))
            .num("idle_ms", ms(*idle))
    })
}

/// The words of the configuration file.
const fn forwarded_header_name(header: ForwardedHeader) -> &'static str {
    match header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
