//! The backend `openai`: where a model is asked, how, and how patiently.

use super::members::{self, Members};
use super::secret::SentSecret;
use super::slot::{Context, Wrong, read_secret_text};
use super::tree::{Member, Node, Value};
use crate::jobs::Endpoint;
use crate::pem;
use crate::regular_file;
use moorline_core::gateway::BreakerConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value as Json, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting of such a backend. The docs say what each is for.
#[derive(Clone)]
pub(crate) struct OpenAiSettings {
    pub(crate) base_url: Endpoint,
    pub(crate) model: String,
    pub(crate) api_key: Option<SentSecret>,
    pub(crate) system_prompt: Option<String>,
    /// Further headers of each request. Their values may be secrets, and are treated as such.
    pub(crate) headers: Vec<(String, SentSecret)>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u64>,
    /// A file of the only certificate authorities to believe (PEM).
    pub(crate) ca_file: Option<PathBuf>,
    /// What stands in it.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) context_messages: usize,
    pub(crate) context_bytes: usize,
    pub(crate) max_event_bytes: usize,
    pub(crate) times: Times,
    pub(crate) retries: Retries,
    pub(crate) max_concurrent: usize,
    pub(crate) max_queued: usize,
    pub(crate) breaker: BreakerConfig,
}

/// How long each step may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times {
    /// For a place among those that run at once.
    pub(crate) queue: Duration,
    /// To the open connection, with proxy and TLS.
    pub(crate) connect: Duration,
    /// From the sent request to the first byte of the answer.
    pub(crate) first_byte: Duration,
    /// Between two bytes of it.
    pub(crate) silence: Duration,
    /// Everything.
    pub(crate) total: Duration,
}

/// How often a request that has not been answered with a single byte is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Not counting the first time.
    pub(crate) most: u32,
    /// How long until the first one; twice that until the next.
    pub(crate) first: Duration,
    /// How long at most, also when the endpoint asks for longer: then the user is told instead.
    pub(crate) longest: Duration,
}

/// All keys of such a backend.
pub(super) const KEYS: [&str; 23] = [
    "type",
    "base_url",
    "model",
    "api_key",
    "system_prompt",
    "headers",
    "temperature",
    "max_tokens",
    "ca_file",
    "context_messages",
    "context_bytes",
    "max_event_bytes",
    "queue_within_ms",
    "connect_within_ms",
    "first_byte_within_ms",
    "silence_within_ms",
    "total_within_ms",
    "retries",
    "retry_first_ms",
    "retry_longest_ms",
    "max_concurrent",
    "max_queued",
    "breaker",
];

/// All keys of `breaker`.
pub(super) const BREAKER_KEYS: [&str; 8] = [
    "failures",
    "window_ms",
    "calls",
    "failure_percent",
    "open_first_ms",
    "open_most_ms",
    "probes",
    "successes",
];

const SECRET: &str = "a text, {file: \"path\"} or {env: \"NAME\"}";

const DAY: u64 = 24 * 60 * 60 * 1000;

const MIB: u64 = 1024 * 1024;

impl Default for Times {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(120),
            silence: Duration::from_secs(60),
            total: Duration::from_secs(20 * 60),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(10));
        Self { most: 2, first, longest }
    }
}

impl OpenAiSettings {
    pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let members = Members::read(node, "the backend openai", &KEYS)?;
        let url = members.needed("base_url")?;
        let base_url = Endpoint::parse(members::text(url)?)
            .map_err(|message| Wrong { at: url.at, message: message.into() })?;
        let model = members::text(members.needed("model")?)?.into();
        let api_key = members.node("api_key").map(|node| secret(node, context)).transpose()?;
        let headers = match members.node("headers") {
            None => Vec::new(),
            Some(node) => headers(node, context)?,
        };
        let ca_file = members.text("ca_file")?.map(|path| context.folder.join(path));
        if let Some(file) = &ca_file {
            context.files.note(file);
        }
        let authorities = ca_file.as_deref().map(authorities).transpose().map_err(|message| {
            let at = members.node("ca_file").map_or(node.at, |node| node.at);
            Wrong { at, message }
        })?;
        let number = |name, range, default| members.number(name, range, default);
        let size = |name, range, default| number(name, range, default).map(|n| n as usize);
        let max_tokens = members.node("max_tokens").map(|_| number("max_tokens", (1, 1 << 31), 1));
        let (times, retries) = (Times::default(), Retries::default());
        let millis = |name, least, default| members.millis(name, (least, DAY), default);
        Ok(Self {
            base_url,
            model,
            api_key,
            system_prompt: members.text("system_prompt")?.map(Into::into),
            headers,
            temperature: members.fraction("temperature", (0.0, 2.0))?,
            max_tokens: max_tokens.transpose()?,
            ca_file,
            authorities: authorities.unwrap_or_default(),
            context_messages: size("context_messages", (0, 10_000), 20)?,
            context_bytes: size("context_bytes", (1024, 64 * MIB), 128 * 1024)?,
            max_event_bytes: size("max_event_bytes", (1024, 64 * MIB), MIB)?,
            times: Times {
                queue: millis("queue_within_ms", 0, times.queue)?,
                connect: millis("connect_within_ms", 1, times.connect)?,
                first_byte: millis("first_byte_within_ms", 1, times.first_byte)?,
                silence: millis("silence_within_ms", 1, times.silence)?,
                total: millis("total_within_ms", 1, times.total)?,
            },
            retries: Retries {
                most: number("retries", (0, 10), retries.most.into())? as u32,
                first: millis("retry_first_ms", 1, retries.first)?,
                longest: millis("retry_longest_ms", 1, retries.longest)?,
            },
            max_concurrent: size("max_concurrent", (1, 100_000), 256)?,
            max_queued: size("max_queued", (0, 1_000_000), 1024)?,
            breaker: match members.node("breaker") {
                None => BreakerConfig::default(),
                Some(node) => breaker(node)?,
            },
        })
    }

    /// Whether a backend by these settings would be the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.show() == other.show()
    }

    /// Without secrets, which are shown as fingerprints.
    pub(super) fn show(&self) -> Json {
        let ms = |time: Duration| json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let headers: Map<_, _> =
            self.headers.iter().map(|(name, value)| (name.clone(), json!(value.shown()))).collect();
        let Self { times, retries, breaker, .. } = self;
        json!({
            "type": "openai",
            "base_url": self.base_url.to_string(),
            "model": self.model,
            "api_key": self.api_key.as_ref().map(SentSecret::shown),
            "system_prompt": self.system_prompt,
            "headers": headers,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "ca_file": self.ca_file.as_ref().map(|path| path.display().to_string()),
            "context_messages": self.context_messages,
            "context_bytes": self.context_bytes,
            "max_event_bytes": self.max_event_bytes,
            "queue_within_ms": ms(times.queue),
            "connect_within_ms": ms(times.connect),
            "first_byte_within_ms": ms(times.first_byte),
            "silence_within_ms": ms(times.silence),
            "total_within_ms": ms(times.total),
            "retries": retries.most,
            "retry_first_ms": ms(retries.first),
            "retry_longest_ms": ms(retries.longest),
            "max_concurrent": self.max_concurrent,
            "max_queued": self.max_queued,
            "breaker": {
                "failures": breaker.failures,
                "window_ms": ms(breaker.window),
                "calls": breaker.calls,
                "failure_percent": breaker.failure_percent,
                "open_first_ms": ms(breaker.open_first),
                "open_most_ms": ms(breaker.open_most),
                "probes": breaker.probes,
                "successes": breaker.successes,
            },
        })
    }
}

fn secret(node: &Node, context: &mut Context<'_>) -> Result<SentSecret, Wrong> {
    let text = read_secret_text(node, SECRET, context)?;
    // RFC 9110 section 5.5: nothing else may stand in a header.
    if text.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
        let message =
            "this cannot be sent in a header: it has a line end or a character that is not ASCII";
        return Err(Wrong { at: node.at, message: message.into() });
    }
    Ok(SentSecret::new(&text))
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = path.display();
    let text = regular_file::read(path, pem::MOST)
        .map_err(|error| format!("cannot read {file}: {error}"))?;
    let found = pem::certificates(&text).map_err(|what| format!("{file}: {what}"))?;
    let mut store = RootCertStore::empty();
    match store.add_parsable_certificates(found.iter().cloned()) {
        (_, 0) => Ok(found),
        (_, bad) => Err(format!("{file}: {bad} certificates in it are damaged")),
    }
}

fn headers(node: &Node, context: &mut Context<'_>) -> Result<Vec<(String, SentSecret)>, Wrong> {
    /// Those that the request itself decides.
    const OWN: [&str; 6] =
        ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept"];
    let Value::Object(members) = &node.value else {
        let message = format!("expected headers, an object, found {}", node.value.kind());
        return Err(Wrong { at: node.at, message });
    };
    let mut headers: Vec<(String, SentSecret)> = Vec::new();
    for Member { at, key, node } in members {
        let name = key.to_ascii_lowercase();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) || OWN.contains(&&*name) {
            let message = "no header of this name can be given here".into();
            return Err(Wrong { at: *at, message });
        }
        if headers.iter().any(|(other, _)| *other == name) {
            return Err(Wrong { at: *at, message: format!("{name} stands here twice") });
        }
        headers.push((name, secret(node, context)?));
    }
    Ok(headers)
}

fn breaker(node: &Node) -> Result<BreakerConfig, Wrong> {
    let members = Members::read(node, "a breaker", &BREAKER_KEYS)?;
    let default = BreakerConfig::default();
    let number = |name, range, default: u32| {
        members.number(name, range, default.into()).map(|number| number as u32)
    };
    let millis = |name, default| members.millis(name, (1, DAY), default);
    Ok(BreakerConfig {
        failures: number("failures", (1, 1_000_000), default.failures)?,
        window: millis("window_ms", default.window)?,
        calls: number("calls", (1, 1_000_000), default.calls)?,
        // 101 is never reached.
        failure_percent: number("failure_percent", (1, 101), default.failure_percent)?,
        open_first: millis("open_first_ms", default.open_first)?,
        open_most: millis("open_most_ms", default.open_most)?,
        probes: number("probes", (1, 1000), default.probes)?,
        successes: number("successes", (1, 1000), default.successes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::files::Files;
    use super::*;

    /// What is wrong with a key that is a number below all that are allowed.
    fn refused(key: &str) -> Option<String> {
        let setting = match key.split_once('.') {
            Some((group, key)) => format!("{group}: {{{key}: -1}}"),
            None => format!("{key}: -1"),
        };
        let text = format!("{{type: 'openai', base_url: 'http://h/v1', model: 'm', {setting}}}");
        let node = super::super::tree::parse(&text).expect("JSON5");
        let (folder, warnings) = (Path::new(""), &mut Vec::new());
        let mut context = Context { folder, files: &mut Files::default(), warnings, unset: None };
        OpenAiSettings::read(&node, &mut context).err().map(|wrong| wrong.message)
    }

    #[test]
    fn the_docs_tell_the_range_of_each_number() {
        let docs = include_str!("../../../../../docs/agents.md");
        let mut count = 0;
        for row in docs.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (key, rest) = row.split_once("` | ").unwrap_or_default();
            let group = key.split('.').next().unwrap_or_default();
            if !KEYS.contains(&group) {
                continue;
            }
            let allowed = rest.split('|').nth(1).map(str::trim).unwrap_or_default();
            let range = refused(key).and_then(|why| {
                let (_, range) = why.split_once("number from ")?;
                Some(range.split(", found").next()?.to_string())
            });
            assert_eq!(allowed, range.as_deref().unwrap_or_default(), "{key}");
            count += usize::from(range.is_some());
        }
        assert_eq!(count, 23);
    }

    /// The rows of the two tables of the docs, and nothing that is not there.
    #[test]
    fn the_docs_name_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agents.md");
        let docs = std::fs::read_to_string(path).expect("the docs");
        let rows: Vec<_> = docs
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        let breaker = BREAKER_KEYS.map(|key| format!("breaker.{key}"));
        for key in KEYS.iter().copied().filter(|key| *key != "breaker") {
            assert!(rows.contains(&key), "{key}");
        }
        for key in &breaker {
            assert!(rows.contains(&key.as_str()), "{key}");
        }
    }
}
