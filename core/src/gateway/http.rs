//! HTTP requests: one pipeline of checks for upgrades and plain pages.
//!
//! ```text
//! client -> Host -> Origin -> query -> path and method -> draining -> connections -> not logged in -> 101
//! ```

use super::authenticate::MAX_TOKEN;
use super::client::Client;
use super::config::Secret;
use super::conn::ConnId;
use super::fact::{Fact, Why};
use super::forwarded;
use super::json::{self, Object};
use super::origin::{Host, Origin, OriginRefusal, judge};
use super::refusal::cut;
use super::send::Cx;
use super::site::{self, Headers};
use super::static_page::{StaticPage, is_visit};
use super::{Gateway, PROTOCOL, cors, metrics, openai_api, upload};
use crate::Address;
use crate::connection::Outbox;
use crate::upgrade::{Accept, RequestHead, Response};
use bytes::Bytes;
use std::borrow::Cow;
use std::time::Instant;

/// An answer to a plain request, whole or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    status: u16,
    headers: Headers,
    body: Bytes,
    /// Bytes of the whole body: [`Action::Body`](super::Action::Body) brings those that are not here.
    /// `None`: nobody knows, and [`Action::EndBody`](super::Action::EndBody) is its end.
    length: Option<u64>,
}

impl HttpAnswer {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self::whole(status, vec![("Content-Type", "application/json".into())], body)
    }

    fn whole(status: u16, headers: Headers, body: String) -> Self {
        let length = body.len() as u64;
        Self::beginning(status, headers, body.into(), length)
    }

    /// One whose body has `length` bytes.
    pub(super) fn beginning(status: u16, headers: Headers, body: Bytes, length: u64) -> Self {
        Self { status, headers, body, length: Some(length) }
    }

    /// One whose body comes piece by piece, until its end.
    pub(super) fn stream(headers: Headers) -> Self {
        Self { status: 200, headers, body: Bytes::new(), length: None }
    }

    /// The same with more headers.
    pub(super) fn with(
        mut self,
        headers: impl Iterator<Item = (&'static str, Cow<'static, str>)>,
    ) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Lets pages of an origin that is allowed read it.
    pub(super) fn readable_by(mut self, origin: Option<String>) -> Self {
        if let Some(origin) = origin {
            let cors = cors::headers(&origin);
            self.headers.extend(cors.map(|(name, value)| (name, value.to_string().into())));
        }
        self
    }

    /// Answers with it, if there is a request that waits for an answer.
    pub fn write(&self, outbox: &mut Outbox) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let answer = Response { status: self.status, headers: &headers, body: &self.body };
        // It fails when the connection has ended, or was answered by the core.
        let _ = match self.length {
            Some(length) => outbox.begin_response(&answer, length),
            None => outbox.begin_stream(&answer),
        };
    }
}

/// A refusal before there is a WebSocket.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) why: Why,
    /// The value that was refused.
    pub(super) value: Option<String>,
    pub(super) body: Cow<'static, str>,
    pub(super) header: Option<(&'static str, String)>,
    pub(super) origin: Option<String>,
}

impl Refused {
    pub(super) fn new(status: u16, why: Why, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status, why, value: None, body: body.into(), header: None, origin: None }
    }

    pub(super) fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    /// See [`HttpAnswer::readable_by`].
    pub(super) fn readable_by(self, origin: Option<String>) -> Self {
        Self { origin, ..self }
    }

    pub(super) fn try_later(why: Why, body: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, why, body).header("Retry-After", "5")
    }

    pub(super) fn answer(&self) -> HttpAnswer {
        let mut headers: Headers = vec![("Content-Type", "text/plain; charset=utf-8".into())];
        headers.extend(self.header.iter().map(|(name, value)| (*name, value.clone().into())));
        HttpAnswer::whole(self.status, headers, format!("{}\n", self.body))
            .readable_by(self.origin.clone())
    }
}

/// What a request is answered with.
enum Taken {
    Upgrade,
    /// Nothing here: its body comes first, a file is looked for, or it was a preflight.
    Later,
    Page(u16, String),
    Static(&'static StaticPage),
}

/// The plain pages and what they are.
const PAGES: [(&str, Page); 7] = [
    ("/", Page::Index),
    ("/health", Page::Health),
    ("/healthz", Page::Health),
    ("/ready", Page::Ready),
    ("/readyz", Page::Ready),
    ("/ws", Page::WebSocket),
    (metrics::PATH, Page::Metrics),
];

#[derive(Debug, Copy, Clone, PartialEq)]
enum Page {
    Index,
    Health,
    Ready,
    WebSocket,
    /// Only where a gateway has none: else it is not answered here.
    Metrics,
}

/// What credentials are called in query strings.
const QUERY_CREDENTIALS: [&str; 7] =
    ["token", "access_token", "auth_token", "auth", "password", "api_key", "apikey"];

impl Gateway {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, conn: ConnId, head: &RequestHead<'_>) {
        self.find_client(conn, head);
        let host = head.header_str("Host").and_then(Host::parse);
        let is_for_this_host = host.is_some_and(|host| host.name.is_loopback());
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.from_page = head.header("Origin").is_some();
            conn.forwarded = forwarded::is_forwarded(head) || !is_for_this_host;
        }
        let checked = self.check_request(conn, head);
        if let Some(page) = openai_api::Page::of(head) {
            return self.api_request(cx, conn, head, page, checked);
        }
        let checked = checked.and_then(|()| {
            if head.is_upgrade() {
                self.check_upgrade(conn, head).map(|()| Taken::Upgrade)
            } else if head.path() == metrics::PATH && self.has_metrics() {
                self.metrics_request(cx, conn, head).map(|()| Taken::Later)
            } else if upload::PATHS.contains(&head.path()) {
                self.upload_request(cx, conn, head).map(|()| Taken::Later)
            } else if let Some(site) = self.site_of(head).cloned() {
                self.begin_download(cx, conn, head, site).map(|()| Taken::Later)
            } else {
                self.page(cx.now, head)
            }
        });
        let Some((_, outbox)) = &mut cx.direct else { return };
        // The outbox has the request that this event brought: answering it cannot fail.
        match checked {
            Ok(Taken::Later) => {}
            Ok(Taken::Upgrade) => {
                // Nothing is inflated for who has not logged in: only a credential that comes with
                // the upgrade is known by now.
                let plain = !self.is_credible(cx.now, conn, bearer(head));
                if outbox.accept(&Accept { plain, ..Accept::default() }).is_ok() {
                    outbox.limit_messages(self.config.bounds().pre_auth_message);
                    if let Some(conn) = self.conns.get_mut(&conn) {
                        if !conn.local {
                            self.accepted += 1;
                            conn.accepted = true;
                        }
                        conn.bearer = bearer(head).map(Secret::new);
                        conn.user_agent = Client::of_header(head.header_str("User-Agent"));
                    }
                }
            }
            Ok(Taken::Page(status, body)) => {
                let _ = outbox.respond(&Response::json(status, &body));
                if status != 200 {
                    self.probe_store(cx);
                    self.refused(conn, status, Why::NotReady, None);
                }
            }
            Ok(Taken::Static(StaticPage { headers, body, .. })) => {
                let body = body.as_bytes();
                let _ = outbox.respond(&Response { status: 200, headers, body });
            }
            Err(refused) => {
                refused.answer().write(outbox);
                self.refused(conn, refused.status, refused.why, refused.value);
            }
        }
    }

    pub(super) fn refused(&mut self, conn: ConnId, status: u16, why: Why, value: Option<String>) {
        if let Some(peer) = self.conns.get(&conn).map(|conn| conn.peer) {
            self.note(Fact::Refused { conn, peer, status, why, value });
        }
    }

    /// Behind a trusted proxy everybody has the proxy's address: from here on the connection has the
    /// client's.
    fn find_client(&mut self, id: ConnId, head: &RequestHead<'_>) {
        let (proxies, header) = (&self.config.proxies, self.config.raw.forwarded_header);
        // Nobody is behind a local connection but the host itself, whatever a header says.
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.local) else { return };
        let proxy = conn.peer;
        if forwarded::is_forwarded(head) && !forwarded::is_trusted(proxy.ip(), proxies) {
            return self.note(Fact::NotBelieved { conn: id, peer: proxy });
        }
        let client = forwarded::client(proxy, head, proxies, header);
        if client == proxy {
            return;
        }
        let budgeted = conn.budgeted;
        self.set_budgeted(id, false);
        if let Some(conn) = self.conns.get_mut(&id) {
            (conn.peer, conn.address) = (client, Address::of(client.ip()));
        }
        self.set_budgeted(id, budgeted);
        self.note(Fact::Forwarded { conn: id, proxy, client });
    }

    /// What holds for every request.
    fn check_request(&self, conn: ConnId, head: &RequestHead<'_>) -> Result<(), Refused> {
        if self.is_local(conn) {
            return Ok(());
        }
        let host_text = head.header_str("Host");
        let host = host_text.and_then(Host::parse);
        if (self.config.loopback || !self.config.hosts.is_empty())
            && let Some(text) = host_text
        {
            let known = host.as_ref().is_some_and(|host| {
                host.name.is_loopback()
                    || !self.config.loopback && host.name.is_ip()
                    || self.config.hosts.iter().any(|known| host.is_covered_by(known))
            });
            if !known {
                let text = printable(text);
                let body = match host {
                    Some(_) => format!(
                        "host {text} is not this gateway's; to be asked under that name, allow it \
                         with --allow-host {text}"
                    ),
                    None => format!("host {text} is not this gateway's: it is no host"),
                };
                return Err(Refused { value: Some(text), ..Refused::new(403, Why::Host, body) });
            }
        }
        if let Some(origin) = head.header("Origin") {
            let text = String::from_utf8_lossy(origin);
            // Browsers name the origin for the scripts of a page, too: it gets its own, and can say why it
            // gets nothing else.
            let of_page = || {
                let origin = Origin::parse(&text);
                self.is_public(head)
                    && !head.is_upgrade()
                    && origin.zip(host.as_ref()).is_some_and(|(origin, host)| {
                        origin.is_served_from(host, self.config.raw.secure)
                    })
            };
            judge(
                &text,
                host.as_ref(),
                self.config.raw.secure,
                &self.config.origins,
                &self.config.hosts,
            )
            .or_else(|refusal| {
                if of_page() { Ok(()) } else { Err(refuse_origin(&text, refusal)) }
            })?;
        } else if head.header("Sec-Fetch-Site").is_some_and(|site| site == b"cross-site")
            && !(is_visit(head) && self.is_public(head))
        {
            // A page cannot write this header, the browser does (Fetch Metadata, section 2.4).
            let body = "a page of another site asks, and the request has no Origin to judge it by";
            return Err(Refused::new(403, Why::CrossSite, body));
        }
        if head.query().is_some_and(has_credential) {
            let body = "a credential in the query string is refused, because logs keep it; send \
                        it in the Authorization header or as a connect parameter";
            return Err(Refused::new(400, Why::QueryCredential, body));
        }
        Ok(())
    }

    /// What holds for whoever wants more than a page.
    pub(super) fn check_open(&self, head: &RequestHead<'_>) -> Result<(), Refused> {
        if self.draining.is_some() {
            return Err(Refused::try_later(Why::Draining, "the gateway is shutting down"));
        }
        if !self.has_started() {
            return Err(Refused::try_later(Why::Starting, "the gateway is starting"));
        }
        if self.config.is_open() && forwarded::is_forwarded(head) {
            let body = "this gateway has no token, so it serves its own host only; a proxy forwarded \
                        this request: configure a token";
            return Err(Refused::new(403, Why::Proxy, body));
        }
        Ok(())
    }

    fn check_upgrade(&self, conn: ConnId, head: &RequestHead<'_>) -> Result<(), Refused> {
        let local = self.is_local(conn);
        if !local {
            self.check_open(head)?;
        }
        if bearer(head).is_some_and(|token| token.len() > MAX_TOKEN) {
            let body = "the token in the Authorization header is longer than 4096 bytes";
            return Err(Refused::new(400, Why::Credential, body));
        }
        if local {
            return Ok(());
        }
        if !self.has_room() {
            return Err(Refused::try_later(Why::Memory, "too much is kept in memory for clients"));
        }
        if self.accepted >= self.config.bounds().connections {
            return Err(Refused::try_later(Why::Connections, "too many connections"));
        }
        let address = self.conns.get(&conn).map(|conn| conn.address);
        match address.and_then(|address| self.budget.exceeded(address, self.config.bounds())) {
            Some(why) => Err(Refused::try_later(Why::PreAuth, why)),
            None => Ok(()),
        }
    }

    /// The host's page at this path. What programs ask for stays where it is.
    fn static_page(&self, head: &RequestHead<'_>) -> Option<&'static StaticPage> {
        let path = head.path();
        let taken = PAGES.iter().any(|(own, page)| *own == path && *page != Page::Index);
        self.config.raw.pages.iter().find(|page| !taken && page.path == path)
    }

    /// The site that has this path, which is none of the gateway's or of the host's pages.
    fn site_of(&self, head: &RequestHead<'_>) -> Option<&site::Site> {
        let own = |(path, page): &(&str, Page)| *path == head.path() && *page != Page::Index;
        let taken = PAGES.iter().any(own) || self.static_page(head).is_some();
        self.config.raw.site.as_ref().filter(|_| !taken && site::is_of_site(head))
    }

    /// Whether nobody needs a credential for this.
    fn is_public(&self, head: &RequestHead<'_>) -> bool {
        self.static_page(head).is_some() || self.site_of(head).is_some()
    }

    fn page(&self, now: Instant, head: &RequestHead<'_>) -> Result<Taken, Refused> {
        let brought = self.static_page(head);
        let page = PAGES.iter().find(|(path, _)| *path == head.path()).map(|(_, page)| page);
        if brought.is_none() && matches!(page, None | Some(Page::Metrics)) {
            return Err(Refused::new(404, Why::NotFound, "no such page"));
        }
        if !matches!(head.method(), "GET" | "HEAD") {
            let refused = Refused::new(405, Why::Method, "only GET and HEAD are answered here");
            return Err(refused.header("Allow", "GET, HEAD"));
        }
        if let Some(page) = brought {
            return Ok(Taken::Static(page));
        }
        let mut out = String::new();
        match page {
            None | Some(Page::Index | Page::Metrics) => self.write_index(&mut out),
            Some(Page::Health) => Object::new(&mut out)
                .str("status", "ok")
                .num("protocol", PROTOCOL)
                .str("version", &self.config.raw.version)
                .num("uptimeMs", now.saturating_duration_since(self.start).as_millis() as u64)
                .end(),
            Some(Page::Ready) => {
                let ready = self.write_ready(&mut out, now);
                return Ok(Taken::Page(if ready { 200 } else { 503 }, out));
            }
            Some(Page::WebSocket) => {
                let missing: Vec<_> = head.missing_for_upgrade().collect();
                let body = format!(
                    "this is a WebSocket endpoint; the request lacks: {}. A proxy in between must \
                     pass the Upgrade and Connection headers on",
                    missing.join(", ")
                );
                return Err(Refused::new(426, Why::UpgradeRequired, body));
            }
        }
        Ok(Taken::Page(200, out))
    }

    fn write_index(&self, out: &mut String) {
        let endpoints = PAGES.iter().skip(1);
        let endpoints = endpoints.filter(|(_, page)| *page != Page::Metrics || self.has_metrics());
        Object::new(out)
            .str("service", "moorline")
            .str("status", "ok")
            .str("version", &self.config.raw.version)
            .num("protocol", PROTOCOL)
            .list("endpoints", endpoints, |out, (path, _)| json::string(out, path))
            .end();
    }

    /// Says whether everything is in order.
    fn write_ready(&self, out: &mut String, now: Instant) -> bool {
        let checks = self.checks(now);
        let ready = checks.iter().all(|(_, ok, ..)| *ok);
        Object::new(out)
            .bool("ready", ready)
            .list("checks", checks, |out, (name, ok, value, limit)| {
                let check = Object::new(out).str("name", name).bool("ok", ok).num("value", value);
                if limit > 0 { check.num("limit", limit).end() } else { check.end() }
            })
            .end();
        ready
    }

    /// Whether everything is in order.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.checks(now).iter().all(|(_, ok, ..)| *ok)
    }

    /// What must be in order: its name, whether it is, the number that it is judged by, and the bound on that.
    fn checks(&self, now: Instant) -> [(&'static str, bool, u64, u64); 8] {
        let bounds = self.config.bounds();
        let draining = self.draining.is_some();
        [
            ("draining", !draining, u64::from(draining), 0),
            ("started", self.has_started(), u64::from(self.has_started()), 1),
            (
                "loop",
                self.loop_delay <= bounds.loop_delay,
                self.loop_delay.as_millis() as u64,
                bounds.loop_delay.as_millis() as u64,
            ),
            ("store", self.store_works(now), self.store_jobs.len() as u64, 0),
            (
                "connections",
                self.accepted < bounds.connections,
                self.accepted as u64,
                bounds.connections as u64,
            ),
            // An agent that cannot be reached is shown, and makes nothing of the gateway itself unready: it
            // serves, and says so to whoever asks that agent. Other gateways would not reach it either.
            ("agents", true, self.agents_down() as u64, self.config.raw.agents.len() as u64),
            ("memory", self.has_room(), self.retained() as u64, bounds.held_bytes as u64),
            (
                "preAuth",
                self.budget.total() <= bounds.pre_auth,
                self.budget.total() as u64,
                bounds.pre_auth as u64,
            ),
        ]
    }
}

fn refuse_origin(text: &str, refusal: OriginRefusal) -> Refused {
    let text = printable(text);
    let body = match refusal {
        OriginRefusal::NotAllowed => {
            format!("origin {text} is not allowed; allow it with --allow-origin {text}")
        }
        OriginRefusal::Opaque => {
            "origin null is not allowed: a page from a file or a sandbox could be anybody's; \
             serve the page over HTTP"
                .into()
        }
        OriginRefusal::Malformed => format!("origin {text} is not allowed: it is no origin"),
    };
    Refused { value: Some(text), ..Refused::new(403, Why::Origin, body) }
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
pub(super) fn bearer<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let (scheme, token) = head.header_str("Authorization")?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

/// Whether a query has a parameter that is a credential by its name, however it is escaped.
fn has_credential(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name);
        !value.is_empty() && QUERY_CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

pub(super) fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A peer's text, fit for a line of a log or a body.
fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '?' };
    cut(text, 256).chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_however_they_are_written() {
        for query in ["token=x", "a=1&token=x", "TOKEN=x", "%74oken=x", "a;api_key=1", "auth=1"] {
            assert!(has_credential(query), "{query}");
        }
        for query in ["", "tokens=x", "token=", "token", "a=token", "x=1&y=token%3Dz"] {
            assert!(!has_credential(query), "{query}");
        }
    }
}
