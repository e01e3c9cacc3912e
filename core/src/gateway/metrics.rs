//! `GET /metrics`: what the host has counted, for those who may know it.
//!
//! The host counts, as it knows of all loops and threads; the gateway says who may read it. The text is
//! written elsewhere ([`Work::Metrics`]), so a scrape costs a loop no more than any other answer.

use super::Gateway;
use super::authenticate::{DEFAULT_USER, MAX_TOKEN};
use super::conn::ConnId;
use super::fact::{Credential, Source, Why};
use super::http::{HttpAnswer, Refused, bearer};
use super::jobs::Job;
use super::principal::Role;
use super::send::Cx;
use super::work::{Exposition, Work};
use super::{Action, Secret};
use crate::upgrade::RequestHead;
use std::time::Duration;

/// Where metrics are asked for.
pub(super) const PATH: &str = "/metrics";

/// Scrapes of one node without an answer yet: several servers may watch, and nobody else needs any.
const SCRAPES: usize = 8;

/// The host must have written the text by then. Servers give up after 10 s.
const WITHIN: Duration = Duration::from_secs(5);

/// Who may read `/metrics`. Nobody's text is in it, but it tells how many users there are, what they do and
/// when, and what would make the gateway busy.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricsAccess {
    /// There is no such page.
    #[default]
    Off,
    /// Programs on this host, as far as neither their request nor its `Host` says that something has
    /// passed it on, and whoever sends the gateway token or an API key.
    Local,
    /// Whoever sends the gateway token or an API key.
    Token,
    /// Everybody who may ask this gateway anything.
    Open,
}

impl MetricsAccess {
    /// The word in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::Token => "token",
            Self::Open => "open",
        }
    }
}

impl Gateway {
    /// Whether there is such a page.
    pub(super) fn has_metrics(&self) -> bool {
        self.config.raw.metrics != MetricsAccess::Off
    }

    /// Asks the host for what it has counted, if this may be told.
    pub(super) fn metrics_request(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
    ) -> Result<(), Refused> {
        if !matches!(head.method(), "GET" | "HEAD") {
            let refused = Refused::new(405, Why::Method, "only GET and HEAD are answered here");
            return Err(refused.header("Allow", "GET, HEAD"));
        }
        self.check_scraper(cx, conn, bearer(head))?;
        if self.scrapes >= SCRAPES {
            return Err(Refused::try_later(Why::Scrapes, "too many scrapes at once"));
        }
        self.scrapes += 1;
        self.start(cx, Work::Metrics, Job::Metrics { conn }, WITHIN);
        Ok(())
    }

    /// Whether this connection may know. A right credential is no login: who scrapes comes again every few
    /// seconds, and would fill the log. A wrong one is counted and told as everywhere.
    fn check_scraper(
        &mut self,
        cx: &Cx<'_>,
        id: ConnId,
        bearer: Option<&str>,
    ) -> Result<(), Refused> {
        let is_direct = self.conns.get(&id).is_some_and(|conn| conn.is_direct());
        match (self.config.raw.metrics, bearer) {
            (MetricsAccess::Open, _) => Ok(()),
            (MetricsAccess::Local, None) if is_direct => Ok(()),
            (_, None) => Err(unauthorized("metrics need the gateway token or an API key".into())),
            (_, Some(token)) if token.len() > MAX_TOKEN => {
                let body = "the token in the Authorization header is longer than 4096 bytes";
                Err(Refused::new(400, Why::Credential, body))
            }
            (_, Some(token)) => {
                let offered = (&Secret::new(token), Source::Header);
                let judged = self.judge_offered(cx.now, id, DEFAULT_USER, offered, false);
                match judged.map(|login| (login.credential, login.principal.role)) {
                    Ok((_, Role::Agent)) => {
                        let body = "metrics need the gateway token or an API key, not an agent's";
                        Err(Refused::new(403, Why::Metrics, body))
                    }
                    Ok((Credential::Token | Credential::ApiKey, _)) => Ok(()),
                    Ok(_) => {
                        let body = "metrics need the gateway token or an API key, not a user's";
                        Err(Refused::new(403, Why::Metrics, body))
                    }
                    Err(refusal) => Err(unauthorized(refusal.message().into())),
                }
            }
        }
    }

    /// The host has written the text, or could not.
    pub(super) fn scraped(&mut self, conn: ConnId, text: Option<Exposition>) {
        self.scrapes = self.scrapes.saturating_sub(1);
        let answer = match text {
            Some(Exposition { content_type, body }) => {
                let headers = vec![
                    ("Content-Type", content_type.into()),
                    // Yesterday's numbers are wrong ones.
                    ("Cache-Control", "no-store".into()),
                ];
                let length = body.len() as u64;
                HttpAnswer::beginning(200, headers, body, length)
            }
            None => {
                let body = "the metrics could not be written";
                let refused = Refused::try_later(Why::Metrics, body);
                self.refused(conn, refused.status, refused.why, None);
                refused.answer()
            }
        };
        self.actions.push_back(Action::Respond { conn, answer });
    }
}

fn unauthorized(body: String) -> Refused {
    Refused::new(401, Why::Metrics, body).header("WWW-Authenticate", "Bearer")
}
