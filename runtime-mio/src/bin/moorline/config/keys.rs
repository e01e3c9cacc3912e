//! Every setting there is: its path, its place, what it may be, and what it is for.

use super::Settings;
use super::slot::Slot::{
    Agents, Flag, Format, Header, Ip, Jwt, Level, Metrics, Millis, Names, Path, Secret, Secrets,
    U16, U32, Usize,
};
use super::slot::{Context, Slot, Wrong};
use super::tree::Node;
use moorline_core::gateway::GatewayConfig;
use serde_json::Value as Json;

/// A setting.
pub(crate) struct Key {
    /// Where it stands in the file, with dots between.
    pub(crate) path: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// It is taken over by a reload; others need a restart.
    pub(crate) live: bool,
    slot: fn(&mut Settings) -> Slot<'_>,
    /// Of a number.
    range: (u64, u64),
}

impl Key {
    /// The variable that overrides the file.
    pub(crate) fn variable(&self) -> String {
        format!("MOORLINE_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// What may stand there, in words.
    pub(crate) fn allowed(&self) -> String {
        (self.slot)(&mut Settings::default()).allowed(self.range.0, self.range.1)
    }

    /// The effective value, secrets as fingerprints.
    pub(crate) fn show(&self, settings: &Settings) -> Json {
        (self.slot)(&mut settings.clone()).show()
    }

    pub(super) fn read(&self, words: &[String]) -> Result<Node, String> {
        (self.slot)(&mut Settings::default()).read(words)
    }

    pub(super) fn put(
        &self,
        settings: &mut Settings,
        node: &Node,
        context: &mut Context<'_>,
    ) -> Result<(), Wrong> {
        (self.slot)(settings).put(node, self.range, context)
    }

    /// Whether a variable holds several values, with commas between.
    pub(super) fn is_list(&self) -> bool {
        matches!((self.slot)(&mut Settings::default()), Names(..) | Secrets(_))
    }
}

/// The setting with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The one of `known` that somebody may have meant: the same name in another group, or a similar one.
/// Groups end with the separator.
pub(super) fn nearest<'k>(
    wrong: &str,
    known: impl Iterator<Item = &'k str> + Clone,
    separator: char,
) -> Option<&'k str> {
    let in_group =
        |name: &&str| name.strip_suffix(wrong).is_some_and(|group| group.ends_with(separator));
    known.clone().find(in_group).or_else(|| {
        known
            .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name)
    })
}

type Place = fn(&mut Settings) -> Slot<'_>;

const fn live(path: &'static str, slot: Place, about: &'static str) -> Key {
    Key { path, about, live: true, slot, range: (0, 0) }
}

const fn fixed(path: &'static str, slot: Place, about: &'static str) -> Key {
    Key { live: false, ..live(path, slot, about) }
}

impl Key {
    const fn from(self, least: u64, most: u64) -> Self {
        Self { range: (least, most), ..self }
    }
}

/// The longest time that makes sense, in milliseconds: 30 days.
const MONTH: u64 = 30 * 24 * 60 * 60 * 1000;

const MIB: u64 = 1024 * 1024;

/// All of them, as the documentation lists them.
pub(crate) const KEYS: &[Key] = &[
    fixed("gateway.host", |s| Ip(&mut s.host), "Address to listen on."),
    fixed("gateway.port", |s| U16(&mut s.port), "Port to listen on; 0 takes a free one.")
        .from(0, 65_535),
    live("tls.cert", |s| Path(&mut s.tls_cert), "The certificate that the listener shows, PEM, with those of its issuers behind it: see tls.md. With `tls.key` clients speak TLS (`wss`); to have it or not to have it needs a restart."),
    live("tls.key", |s| Path(&mut s.tls_key), "Its private key, PEM: RSA, ECDSA or Ed25519, not encrypted."),
    live("gateway.token", |s| Secret(&mut s.token), "The token that clients log in with. Without one here or in `gateway.tokens`, the one that is kept in the state folder."),
    live("gateway.tokens", |s| Secrets(&mut s.tokens), "The new token and the old one while clients change over. Not together with `gateway.token`."),
    live("gateway.jwt", |s| Jwt(&mut s.jwt), "Whose JSON Web Tokens are believed: see above."),
    live("gateway.auto_approve_local", |s| Flag(&mut s.gateway.auto_approve_local), "Let devices in without asking that come from this host itself with a shared secret."),
    live("gateway.pairing", |s| Flag(&mut s.gateway.pairing), "Let whoever has no credential ask to be let in, for an admin to decide."),
    live("gateway.owner_ids", |s| Names(&mut s.gateway.owner_ids, |_| Ok(())), "Users that the token makes owners. Without any, only `system`."),
    live("gateway.allowed_origins", |s| Names(&mut s.gateway.allowed_origins, GatewayConfig::check_origin), "Origins of web pages that may connect, such as `https://chat.example.com` or `https://*.example.com`."),
    live("gateway.allowed_hosts", |s| Names(&mut s.gateway.allowed_hosts, GatewayConfig::check_host), "Names that clients may ask this gateway by (`Host`), besides localhost. On a loopback address no other is answered; elsewhere none is, once there is one here, except addresses."),
    live("gateway.trusted_proxies", |s| Names(&mut s.gateway.trusted_proxies, GatewayConfig::check_proxy), "Addresses and ranges of proxies whose forwarding header is believed, such as `10.0.0.0/8`."),
    live("gateway.forwarded_header", |s| Header(&mut s.gateway.forwarded_header), "The header in which those proxies name the client. The other one is what the client wrote."),
    live("gateway.rate_limit_rpm", |s| U32(&mut s.gateway.rate_limit_rpm), "Requests per minute and user; 0 is no limit.").from(0, 1_000_000),
    live("gateway.rate_limit_burst", |s| U32(&mut s.gateway.bounds.burst), "Requests that a user may make at once before that limit holds.").from(1, 1_000_000),
    live("gateway.max_message_chars", |s| Usize(&mut s.gateway.max_message_chars), "Characters of a message to an agent; what is longer is cut, with a line in the log.").from(1, 64 * MIB),
    live("gateway.create_sessions", |s| Flag(&mut s.gateway.create_sessions_on_send), "Let `chat.send` create a session under a key that the client made up."),
    live("gateway.max_request_bytes", |s| Usize(&mut s.gateway.max_request_bytes), "The body of a request for a completion: see openai-api.md. More gets 413.").from(1024, 64 * MIB),
    live("gateway.max_upload_bytes", |s| Usize(&mut s.gateway.max_upload_bytes), "An uploaded file. More gets 413.").from(1, 64 * 1024 * MIB),
    fixed("gateway.media_keep_ms", |s| Millis(&mut s.media_keep), "How long uploaded files are kept; 0 keeps them until they are removed by hand.").from(0, 120 * MONTH),
    live("gateway.deflate", |s| Flag(&mut s.deflate), "Compress messages (permessage-deflate) for clients that offer it and send the token with the upgrade request."),
    live("gateway.console", |s| Flag(&mut s.console), "Serve the web page at `/` and `/console`."),
    live("gateway.ui_dir", |s| Path(&mut s.ui_dir), "A folder of files to serve at `/`, such as another web page: see control-ui.md. Whoever may ask this gateway may read them."),
    live("gateway.ui_file_bytes", |s| U32(&mut s.ui_file), "A file of that folder. Larger ones get 403.").from(1024, 1024 * MIB),
    live("agents", |s| Agents(&mut s.agents), "The agents that users can talk to; the first is the default. See agents.md for backends; one without echoes."),
    fixed("state_dir", |s| Path(&mut s.state_dir), "Folder of the token, the database, the uploaded files and the lock."),
    live("watch_files_ms", |s| Millis(&mut s.watch_every), "How often the file and those that it names are looked at; what has changed is taken over, as by SIGHUP. 0 is never.").from(0, MONTH),
    fixed("ephemeral", |s| Flag(&mut s.ephemeral), "Keep sessions, API keys, devices and revocations in memory only: a restart forgets them, and a revoked token is good again."),
    fixed("loops", |s| U16(&mut s.loops), "Event loops, each a thread with its own listener.").from(1, 64),
    live("log.level", |s| Level(&mut s.log_level), "What is logged."),
    fixed("log.format", |s| Format(&mut s.log_format), "How log lines look: for people, or one JSON object per line."),
    live("metrics.access", |s| Metrics(&mut s.gateway.metrics), "Who may read `/metrics`: `local` is programs on this host, and whoever sends the token or an API key; `token` is the latter only; see metrics.md."),
    live("limits.connections", |s| Usize(&mut s.gateway.bounds.connections), "WebSocket connections of each loop. More get 503.").from(1, 90_000),
    live("limits.pre_auth", |s| Usize(&mut s.gateway.bounds.pre_auth), "Sockets of all loops that are not logged in. Without a value a twentieth of all their `limits.connections`, at least 64 and at most 5000.").from(1, 5_000),
    live("limits.pre_auth_v4", |s| Usize(&mut s.gateway.bounds.pre_auth_v4), "The same from one IPv4 address.").from(1, 5_000),
    live("limits.pre_auth_v6", |s| Usize(&mut s.gateway.bounds.pre_auth_v6), "The same from one IPv6 /64.").from(1, 5_000),
    live("limits.pre_auth_message_bytes", |s| U32(&mut s.gateway.bounds.pre_auth_message), "A message before login.").from(256, MIB),
    live("limits.connect_within_ms", |s| Millis(&mut s.gateway.bounds.connect_within), "From the open WebSocket to a successful `connect`.").from(100, MONTH),
    live("limits.strikes", |s| U32(&mut s.gateway.bounds.strikes), "Invalid messages or refused logins until a connection is closed.").from(1, 10_000),
    live("limits.in_flight", |s| Usize(&mut s.gateway.bounds.in_flight), "Requests of one connection without an answer yet.").from(1, 10_000),
    live("limits.remembered", |s| Usize(&mut s.gateway.bounds.remembered), "Users whose rate, and addresses whose rate or failures are remembered: of each this many.").from(2, 10_000_000),
    live("limits.auth_failures", |s| U32(&mut s.gateway.bounds.auth_failures), "Wrong credentials of one kind from one address per minute. More lock it out.").from(1, 10_000),
    live("limits.auth_lock_ms", |s| Millis(&mut s.gateway.bounds.auth_lock), "How long they lock it out.").from(0, MONTH),
    live("limits.api_keys", |s| Usize(&mut s.gateway.bounds.api_keys), "API keys.").from(1, 100_000),
    live("limits.revocations", |s| Usize(&mut s.gateway.bounds.revocations), "Revocations by `tokens.revoke`. More are refused, none is forgotten.").from(1, 1_000_000),
    live("limits.pairings", |s| Usize(&mut s.gateway.bounds.pairings), "Devices that may ask to be let in at once.").from(1, 5_000),
    live("limits.pairings_per_address", |s| Usize(&mut s.gateway.bounds.pairings_per_address), "How many of them from one address.").from(1, 5_000),
    live("limits.pairing_within_ms", |s| Millis(&mut s.gateway.bounds.pairing_within), "How long a device may ask, and its connection wait.").from(1000, MONTH),
    live("limits.devices", |s| Usize(&mut s.gateway.bounds.devices), "Devices that are let in.").from(1, 100_000),
    live("limits.device_within_ms", |s| Millis(&mut s.gateway.bounds.device_within), "How long a device is let in.").from(1000, 12 * MONTH),
    live("limits.live_sessions", |s| Usize(&mut s.gateway.bounds.live_sessions), "Sessions of each loop with something going on.").from(1, 1_000_000),
    live("limits.queued_turns", |s| Usize(&mut s.gateway.bounds.queued_turns), "Turns that wait for a run of one session.").from(1, 10_000),
    live("limits.queued_bytes", |s| Usize(&mut s.gateway.bounds.queued_bytes), "Their texts.").from(1024, 1024 * MIB),
    live("limits.agent_history", |s| Usize(&mut s.gateway.bounds.agent_history), "Messages of the past that an agent is given.").from(0, 1_000),
    live("limits.page_bytes", |s| Usize(&mut s.gateway.bounds.page_bytes), "Messages of the past that are read at once, for an agent or a client.").from(1024, 64 * MIB),
    live("limits.idempotency_within_ms", |s| Millis(&mut s.gateway.bounds.idempotency_within), "How long an idempotency key is remembered.").from(0, MONTH),
    live("limits.idempotency_keys", |s| Usize(&mut s.gateway.bounds.idempotency_keys), "Keys remembered per user.").from(1, 1_000_000),
    live("limits.idempotency_bytes", |s| Usize(&mut s.gateway.bounds.idempotency_bytes), "Remembered keys and answers of all users of a loop.").from(1024, 64 * 1024 * MIB),
    live("limits.store_within_ms", |s| Millis(&mut s.gateway.bounds.store_within), "The store must answer within this time.").from(100, MONTH),
    live("limits.run_within_ms", |s| Millis(&mut s.gateway.bounds.run_within), "A run must end within this time.").from(100, MONTH),
    live("limits.call_within_ms", |s| Millis(&mut s.gateway.bounds.call_within), "Another loop must take a request within this time.").from(100, MONTH),
    live("limits.user_bytes", |s| Usize(&mut s.gateway.bounds.user_bytes), "What each loop keeps in memory for one user: see above. More requests get `RESOURCE_EXHAUSTED`.").from(64 * 1024, 64 * 1024 * MIB),
    live("limits.held_bytes", |s| Usize(&mut s.gateway.bounds.held_bytes), "The same of all users. More upgrades get 503, too.").from(64 * 1024, 1024 * 1024 * MIB),
    live("limits.uploads", |s| Usize(&mut s.gateway.bounds.uploads), "Uploads of each loop at once.").from(0, 10_000),
    live("limits.user_uploads", |s| Usize(&mut s.gateway.bounds.user_uploads), "The same of one user.").from(0, 10_000),
    live("limits.user_upload_bytes", |s| Usize(&mut s.gateway.bounds.user_upload_bytes), "All uploaded files that are kept of one user, at all loops. More gets 507.").from(0, 1024 * 1024 * MIB),
    live("limits.user_upload_files", |s| Usize(&mut s.gateway.bounds.user_upload_files), "Their number.").from(0, 1_000_000),
    live("limits.upload_bytes", |s| Usize(&mut s.gateway.bounds.upload_bytes), "All uploaded files that are kept, of all users at all loops. More gets 507.").from(0, 1024 * 1024 * MIB),
    live("limits.upload_files", |s| Usize(&mut s.gateway.bounds.upload_files), "Their number.").from(0, 10_000_000),
    live("limits.presence_listed", |s| Usize(&mut s.gateway.bounds.presence_listed), "Entries in lists of who is connected.").from(1, 100_000),
    live("limits.loop_delay_ms", |s| Millis(&mut s.gateway.bounds.loop_delay), "A loop may be late by this much and still be ready.").from(1, MONTH),
    live("limits.head_bytes", |s| U32(&mut s.gateway.limits.head), "A request's head. More gets 431.").from(1024, MIB),
    live("limits.target_bytes", |s| U32(&mut s.gateway.limits.target), "A request's target. More gets 414.").from(64, MIB),
    live("limits.message_bytes", |s| U32(&mut s.gateway.limits.message), "A message. More closes with 1009.").from(1024, 1024 * MIB),
    live("limits.fragments", |s| U32(&mut s.gateway.limits.fragments), "Frames of a message. More close with 1008.").from(1, 1_000_000_000),
    live("limits.outbox_bytes", |s| U32(&mut s.gateway.limits.outbox), "What is queued for a client that does not read.").from(1024, 1024 * MIB),
    live("limits.outbox_pause_bytes", |s| U32(&mut s.gateway.limits.outbox_pause), "Queued for a client, from which on no more of its requests are read.").from(1, 1024 * MIB),
    live("limits.tls_handshake_within_ms", |s| Millis(&mut s.tls_handshake_within), "From the accepted socket to the end of the TLS handshake.").from(100, MONTH),
    live("limits.tls_handshakes", |s| Usize(&mut s.tls_handshakes), "TLS handshakes of each loop at once. One more ends the oldest of the address that has most of them, if that is over a sixteenth of the places, and else the oldest of all.").from(1, 100_000),
    live("limits.handshake_within_ms", |s| Millis(&mut s.gateway.limits.handshake_within), "From the accepted socket, or the end of its TLS handshake, to a whole request.").from(100, MONTH),
    live("limits.body_within_ms", |s| Millis(&mut s.gateway.limits.body_within), "From the request of an upload to the end of its body, or from the beginning to the end of a file that is sent.").from(100, MONTH),
    live("limits.body_silence_ms", |s| Millis(&mut s.gateway.limits.body_silence), "Silence within it.").from(100, MONTH),
    live("limits.ping_every_ms", |s| Millis(&mut s.gateway.limits.ping_every), "Silence after which a Ping is sent.").from(100, MONTH),
    live("limits.pong_within_ms", |s| Millis(&mut s.gateway.limits.pong_within), "From a Ping to any byte of the client.").from(100, MONTH),
    live("limits.drain_within_ms", |s| Millis(&mut s.gateway.limits.drain_within), "What is queued must move within this time, or the client is too slow.").from(100, MONTH),
    live("limits.message_within_ms", |s| Millis(&mut s.gateway.limits.message_within), "From the first to the last byte of a message.").from(100, MONTH),
    live("limits.close_within_ms", |s| Millis(&mut s.gateway.limits.close_within), "From the first Close to the end of the transport.").from(100, MONTH),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_path_and_a_variable_of_its_own_and_a_default_that_it_allows() {
        let mut seen = std::collections::BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.variable()), "{}", key.path);
            let shown = key.show(&Settings::default());
            if let Some(number) = shown.as_u64() {
                let (least, most) = key.range;
                assert!((least..=most).contains(&number), "{}: {number}", key.path);
            }
            assert!(key.about.ends_with('.') && !key.about.contains('|'), "{}", key.path);
        }
    }

    /// The table of the page, made from the table here.
    fn table() -> String {
        let mut out =
            String::from("| key | default | may be | what it is for |\n|---|---|---|---|\n");
        for key in KEYS {
            let default = match key.show(&Settings::default()) {
                Json::Null => String::new(),
                value => format!("`{value}`"),
            };
            let restart = if key.live { "" } else { " Needs a restart." };
            let (path, allowed, about) = (key.path, key.allowed(), key.about);
            out += &format!("| `{path}` | {default} | {allowed} | {about}{restart} |\n");
        }
        out
    }

    #[test]
    fn the_page_has_every_key_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let table = table();
        assert!(page.contains(&table), "docs/configuration.md needs this table:\n{table}");
    }

    #[test]
    fn slips_are_close_to_what_was_meant() {
        let known = || KEYS.iter().map(|key| key.path);
        for (wrong, meant) in [
            ("gateway.prot", Some("gateway.port")),
            ("gateway.allowed_origin", Some("gateway.allowed_origins")),
            ("gateway.rateLimitRpm", Some("gateway.rate_limit_rpm")),
            ("limits.conections", Some("limits.connections")),
            ("agent", Some("agents")),
            ("port", Some("gateway.port")),
            ("weather.in.spring", None),
        ] {
            assert_eq!(nearest(wrong, known(), '.'), meant, "{wrong}");
        }
    }
}
