//! Goes through the stages, one after the other, and stops at the first that fails.

use super::stage::{Outcome, Stage, StageName};
use super::target::Target;
use crate::date;
use crate::dial::{self, Dialed, TlsFailure};
use crate::http_answer::Answer;
use crate::peer_text::PeerText;
use crate::wire::{Certificate, NotUpgraded, NotUpgradedWhy, Wire, WireFailure};
use moorline_core::ClientRequest;
use rustls::ProtocolVersion;
use serde_json::{Value, json};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// Who it logs in as.
pub(crate) const USER: &str = "probe";

/// How long a gateway may take to send its challenge after the upgrade; another server sends none.
const CHALLENGE: Duration = Duration::from_secs(2);

/// What a way through the stages came to.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) stages: Vec<Stage>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Addresses that took no connection.
    pub(crate) dead: Vec<(SocketAddr, io::Error)>,
    pub(crate) certificate: Option<Certificate>,
    /// The certificate itself, as it was shown.
    pub(crate) shown: Option<Vec<u8>>,
    pub(crate) tls: Option<TlsFailure>,
    /// The head of the answer to the upgrade, whatever it was.
    pub(crate) answer: Option<Answer>,
    pub(crate) not_upgraded: Option<NotUpgradedWhy>,
    /// When the answer came.
    pub(crate) answered: Option<SystemTime>,
    /// The gateway's clock when it sent its challenge, in Unix milliseconds.
    pub(crate) clock: Option<u64>,
    /// A challenge came: the other end is such a gateway.
    pub(crate) challenged: bool,
    /// What the gateway said of the login: its payload.
    pub(crate) hello: Option<Value>,
    /// What it said instead.
    pub(crate) refused: Option<Value>,
    /// A credential was there to be tried.
    pub(crate) tried_login: bool,
    until: Option<Instant>,
}

/// What to ask for, and how far to go.
#[derive(Debug, Copy, Clone, Default)]
pub(crate) struct Wish<'a> {
    /// Sent as `Origin`.
    pub(crate) origin: Option<&'a str>,
    /// Sent as `Host` instead of the URL's.
    pub(crate) host: Option<&'a str>,
    /// Sent as the address that a proxy would name.
    pub(crate) forwarded_for: Option<&'a str>,
    /// No login, even with a token.
    pub(crate) anonymous: bool,
}

impl Course {
    /// All stages.
    pub(crate) fn run(target: &Target, wish: Wish<'_>) -> Self {
        let (mut course, wire) = Self::open(target, wish);
        if let Some(mut wire) = wire {
            course.login(target, wish, &mut wire);
            if course.failed().is_none() {
                course.ping(&mut wire);
            }
            if course.failed().is_none() {
                course.close(wire);
            } else {
                // Whatever failed, the gateway need not wonder why this end is gone.
                let _ = wire.close(Instant::now() + Duration::from_millis(500));
            }
        }
        course.fill();
        course
    }

    /// The stages up to an open WebSocket.
    pub(crate) fn open(target: &Target, wish: Wish<'_>) -> (Self, Option<Wire>) {
        let until = Instant::now() + target.timeout;
        let mut course = Self { until: Some(until), ..Self::default() };
        let wire = course
            .lookup(target)
            .and_then(|()| course.tcp())
            .and_then(|socket| course.tls(target, socket))
            .and_then(|stream| course.upgrade(target, wish, stream));
        (course, wire)
    }

    /// The first stage that failed.
    pub(crate) fn failed(&self) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.outcome == Outcome::Failed)
    }

    pub(crate) fn stage(&self, name: StageName) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    fn until(&self) -> Instant {
        self.until.expect("set when the course begins")
    }

    fn push(
        &mut self,
        name: StageName,
        outcome: Outcome,
        since: Instant,
        about: impl Into<String>,
        facts: Value,
    ) {
        let (took, about) = (since.elapsed(), about.into());
        self.stages.push(Stage { name, outcome, took, about, facts });
    }

    /// Stages that were not come to are told, too.
    fn fill(&mut self) {
        for name in StageName::ALL {
            if self.stage(name).is_none() {
                self.push(name, Outcome::NotTried, Instant::now(), "", json!({}));
            }
        }
    }

    fn lookup(&mut self, target: &Target) -> Option<()> {
        let since = Instant::now();
        match target.addresses() {
            Ok(mut addresses) => {
                // A resolver may name one several times, once for each kind of socket.
                let mut seen = Vec::new();
                addresses.retain(|address| {
                    let is_new = !seen.contains(address);
                    seen.push(*address);
                    is_new
                });
                let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                let facts = json!({ "addresses": texts });
                self.push(StageName::Lookup, Outcome::Passed, since, texts.join(", "), facts);
                self.addresses = addresses;
                Some(())
            }
            Err(why) => {
                let about = PeerText(&why.to_string()).to_string();
                self.push(StageName::Lookup, Outcome::Failed, since, about, json!({}));
                None
            }
        }
    }

    fn tcp(&mut self) -> Option<TcpStream> {
        let since = Instant::now();
        let mut won = None;
        let mut tried = Vec::new();
        for (at, address) in self.addresses.iter().enumerate() {
            let left = self.until().saturating_duration_since(Instant::now());
            // One that swallows packets leaves the others their share.
            let share = left / (self.addresses.len() - at) as u32;
            let began = Instant::now();
            let outcome = TcpStream::connect_timeout(address, share.max(Duration::from_millis(1)));
            let took = began.elapsed().as_secs_f64() * 1000.0;
            let error = outcome.as_ref().err().map(io::Error::to_string);
            tried.push(json!({"address": address.to_string(), "tookMs": took, "error": error}));
            match outcome {
                Ok(socket) => {
                    let _ = socket.set_nodelay(true);
                    won = Some((*address, socket));
                    break;
                }
                Err(error) => self.dead.push((*address, error)),
            }
        }
        let lost: Vec<_> =
            self.dead.iter().map(|(address, error)| format!("{address}: {error}")).collect();
        let lost = lost.join(", ");
        let facts = json!({
            "address": won.as_ref().map(|(address, _)| address.to_string()),
            "tried": tried,
        });
        match won {
            Some((address, socket)) => {
                let about = match lost.is_empty() {
                    true => address.to_string(),
                    false => format!("{address} (not {lost})"),
                };
                self.push(StageName::Tcp, Outcome::Passed, since, about, facts);
                Some(socket)
            }
            None => {
                self.push(StageName::Tcp, Outcome::Failed, since, lost, facts);
                None
            }
        }
    }

    fn tls(&mut self, target: &Target, socket: TcpStream) -> Option<Dialed> {
        let since = Instant::now();
        match dial::secure(&target.url, &target.tls, socket, self.until()) {
            Ok(stream) => {
                let Some(session) = stream.tls() else {
                    self.push(StageName::Tls, Outcome::NotTried, since, "ws://", json!({}));
                    return Some(stream);
                };
                let version = match session.protocol_version() {
                    Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                    Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                    _ => "TLS",
                };
                let chain = session.peer_certificates().unwrap_or_default();
                self.certificate = chain.first().and_then(|der| Certificate::parse(der));
                self.shown = chain.first().map(|der| der.to_vec());
                let mut about = version.to_string();
                let mut facts = json!({ "version": version, "chain": chain.len() });
                if let Some(certificate) = &self.certificate {
                    let names: Vec<_> =
                        certificate.names.iter().map(|name| PeerText(name).to_string()).collect();
                    let (days, ends) =
                        (certificate.days_left(SystemTime::now()), date(certificate.until));
                    about += &format!(", for {}, until {ends} ({days} days)", names.join(" "));
                    facts["names"] = json!(names);
                    facts["from"] = json!(date(certificate.from));
                    facts["until"] = json!(ends);
                    facts["daysLeft"] = json!(days);
                }
                self.push(StageName::Tls, Outcome::Passed, since, about, facts);
                Some(stream)
            }
            Err(why) => {
                let about = PeerText(&why.to_string()).to_string();
                self.push(StageName::Tls, Outcome::Failed, since, about, json!({}));
                self.tls = Some(why);
                None
            }
        }
    }

    fn upgrade(&mut self, target: &Target, wish: Wish<'_>, stream: Dialed) -> Option<Wire> {
        let since = Instant::now();
        let request =
            ClientRequest::new(wish.host.unwrap_or(target.url.authority()), target.url.target());
        let request = request
            .and_then(|request| request.header("User-Agent", USER_AGENT))
            .and_then(|request| match wish.origin {
                Some(origin) => request.header("Origin", origin),
                None => Ok(request),
            })
            .and_then(|request| match wish.forwarded_for {
                Some(client) => request
                    .header("X-Forwarded-For", client)?
                    .header("Forwarded", &format!("for={client}")),
                None => Ok(request),
            });
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let about = error.to_string();
                self.push(StageName::Upgrade, Outcome::Failed, since, about, json!({}));
                return None;
            }
        };
        let outcome = Wire::upgrade(stream, request, self.until());
        self.answered = Some(SystemTime::now());
        match outcome {
            Ok((wire, answer)) => {
                let facts = json!({"status": 101, "acceptKey": "right", "server": server(&answer)});
                let about = "101, the accept key is right";
                self.push(StageName::Upgrade, Outcome::Passed, since, about, facts);
                self.answer = Some(answer);
                Some(wire)
            }
            Err(failure) => {
                let about = failure.to_string();
                let NotUpgraded { answer, why } = failure;
                let status = answer.as_ref().map(|answer| answer.status);
                let said = answer.as_ref().map(Answer::said).unwrap_or_default();
                let named = answer.as_ref().and_then(server);
                let location = answer.as_ref().and_then(|answer| answer.header("Location"));
                let location = location.map(|text| PeerText(text).to_string());
                let facts = json!({
                    "status": status,
                    "server": named,
                    "location": location,
                    "body": said,
                });
                self.push(StageName::Upgrade, Outcome::Failed, since, about, facts);
                (self.answer, self.not_upgraded) = (answer, Some(why));
                None
            }
        }
    }

    /// The challenge, and the login if there is a credential.
    pub(crate) fn login(&mut self, target: &Target, wish: Wish<'_>, wire: &mut Wire) {
        let since = Instant::now();
        let until = self.until();
        let challenge = wire.event("connect.challenge", until.min(since + CHALLENGE));
        let challenged = match challenge {
            Ok(challenge) => {
                self.clock = challenge["ts"].as_u64();
                true
            }
            Err(WireFailure::Timeout) => false,
            Err(why) => {
                self.push(StageName::Connect, Outcome::Failed, since, why.to_string(), json!({}));
                return;
            }
        };
        self.challenged = challenged;
        let took = since.elapsed().as_secs_f64() * 1000.0;
        let came = match challenged {
            true => format!("challenge after {took:.1} ms"),
            false => "no challenge came: is it another server?".into(),
        };
        let token = match wish.anonymous {
            true => Err(came.clone()),
            false => match target.credentials.token(&self.addresses) {
                Ok(token) => token.ok_or_else(|| format!("{came}; no token to log in with")),
                Err(withheld) => Err(format!("{came}; {withheld}")),
            },
        };
        let token = match token {
            Ok(token) => token,
            Err(about) => {
                let facts = json!({ "challenged": challenged });
                return self.push(StageName::Connect, Outcome::NotTried, since, about, facts);
            }
        };
        self.tried_login = true;
        let params = json!({
            "token": token,
            "user_id": USER,
            "client": {"id": "moorline-probe", "version": env!("CARGO_PKG_VERSION")},
        });
        match wire.call("connect", params, until) {
            Ok(hello) => {
                let word = |value: &Value| PeerText(value.as_str().unwrap_or("?")).to_string();
                let server = &hello["server"];
                let about = format!(
                    "{} {} as {} ({}), protocol {}; {came}",
                    word(&server["name"]),
                    word(&server["version"]),
                    word(&hello["user_id"]),
                    word(&hello["role"]),
                    PeerText(&hello["protocol"].to_string()),
                );
                let facts = json!({
                    "challenged": challenged,
                    "server": server,
                    "protocol": hello["protocol"],
                    "role": hello["role"],
                    "policy": hello["policy"],
                });
                self.push(StageName::Connect, Outcome::Passed, since, about, facts);
                self.hello = Some(hello);
            }
            Err(why) => {
                let about = why.to_string();
                let error = match why {
                    WireFailure::Refused(error) => error,
                    _ => Value::Null,
                };
                let facts = json!({ "challenged": challenged, "error": error });
                self.push(StageName::Connect, Outcome::Failed, since, about, facts);
                self.refused = Some(error).filter(|error| !error.is_null());
            }
        }
    }

    fn ping(&mut self, wire: &mut Wire) {
        let since = Instant::now();
        match wire.ping(self.until()) {
            Ok(took) => {
                let ms = took.as_secs_f64() * 1000.0;
                let facts = json!({ "roundTripMs": ms });
                self.push(StageName::Ping, Outcome::Passed, since, "the Pong came back", facts);
            }
            Err(why) => {
                self.push(StageName::Ping, Outcome::Failed, since, why.to_string(), json!({}));
            }
        }
    }

    fn close(&mut self, wire: Wire) {
        let since = Instant::now();
        match wire.close(self.until()) {
            Ok(ended) if ended.closed => {
                let facts = json!({ "code": ended.code });
                let about = format!("answered with {}", ended.code);
                self.push(StageName::Close, Outcome::Passed, since, about, facts);
            }
            Ok(ended) => {
                let about = format!("the Close was not answered: {}", ended.text);
                self.push(StageName::Close, Outcome::Failed, since, about, json!({}));
            }
            Err(why) => {
                self.push(StageName::Close, Outcome::Failed, since, why.to_string(), json!({}));
            }
        }
    }
}

/// Who says to have answered.
fn server(answer: &Answer) -> Option<String> {
    answer.header("Server").map(|text| PeerText(text).to_string())
}

/// A date of a certificate.
fn date(at: SystemTime) -> String {
    date::shown(at).unwrap_or_else(|| "the end of time".into())
}

const USER_AGENT: &str = concat!("moorline-probe/", env!("CARGO_PKG_VERSION"));
