//! The `chat.*` methods: parameters in, one request about a session out.

use super::Gateway;
use super::call::{Call, Done};
use super::fact::Fact;
use super::jobs::Job;
use super::media_name;
use super::params::Params;
use super::principal::{Authenticated, Principal};
use super::refusal::{Code, Refusal, cut};
use super::request::Fingerprint;
use super::send::{Cx, ReplyTo};
use super::session::{Op, Send};
use super::work::{MediaOutcome, MediaWork};
use std::sync::Arc;

/// Bytes of a session key or run id.
pub(super) const MAX_KEY: usize = 256;

/// Bytes of an idempotency key: a UUID, or a hash.
pub(super) const MAX_IDEMPOTENCY_KEY: usize = 128;

/// Characters of a label.
pub(super) const MAX_LABEL: usize = 100;

/// Messages or sessions in one answer.
pub(super) const MAX_PAGE: u64 = 200;

/// Files of one message.
const MAX_MEDIA: usize = 16;

pub(super) fn send(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let media = own_media(call.who, call.params.texts("media", "path")?)?;
    let message = call.params.required("message")?;
    let text: Arc<str> = Arc::from(gateway.cut_message(call.who, &message));
    let idempotency = key(&call.params, "idempotencyKey", MAX_IDEMPOTENCY_KEY)?;
    let op = Op::Send(Send {
        session: key(&call.params, "sessionKey", MAX_KEY)?,
        agent: key(&call.params, "agentId", MAX_KEY)?,
        print: idempotency.is_some().then(|| Fingerprint::of_all(&text, &media)),
        key: idempotency,
        text,
        media: media.clone(),
        ack: call.params.flag("ack")?.unwrap_or(false),
        create: false,
        latest: false,
        instructions: None,
        apart: None,
    });
    if media.is_empty() {
        return call.route(gateway, cx, op);
    }
    if let Some(to) = call.to.take() {
        // They are looked for first: an agent is not given what is not there any more.
        let job = Job::FindMedia { who: call.who.principal().clone(), op, to };
        gateway.start_media(cx, MediaWork::Find { paths: media }, job);
    }
    Ok(())
}

/// The paths, if all of them can only be of files that the caller has uploaded.
fn own_media(who: &Authenticated, paths: Vec<String>) -> Result<Vec<Arc<str>>, Refusal> {
    if paths.len() > MAX_MEDIA {
        return Err(Refusal::invalid(format!("media has more than {MAX_MEDIA} files")));
    }
    match paths.iter().find(|path| !media_name::is_of(who.user(), path)) {
        Some(path) => Err(no_media(path)),
        None => Ok(paths.into_iter().map(Arc::from).collect()),
    }
}

/// Somebody else's file is as good as none.
fn no_media(path: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("file not found: {}", cut(path, 256)))
}

pub(super) fn history(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let before = match call.params.text("before") {
        Ok(None) => None,
        Ok(Some(id)) => {
            let id = id.parse();
            Some(id.map_err(|_| Refusal::invalid("before must be a message id"))?)
        }
        // Ids are numbers in quotes; without quotes they are as clear.
        Err(_) => call.params.number("before")?,
    };
    let op = Op::History {
        session: session(&call.params)?,
        limit: call.params.number("limit")?.unwrap_or(50).clamp(1, MAX_PAGE) as usize,
        before,
    };
    call.route(gateway, cx, op)
}

pub(super) fn abort(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = key(&call.params, "sessionKey", MAX_KEY)?;
    let run = key(&call.params, "runId", MAX_KEY)?;
    if session.is_none() && (run.is_none() || !call.who.role().sees_all()) {
        return Err(Refusal::invalid("sessionKey is required"));
    }
    call.route(gateway, cx, Op::Abort { session, run })
}

pub(super) fn inject(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let label = call.params.text("label")?;
    if label.as_ref().is_some_and(|label| label.chars().count() > MAX_LABEL) {
        return Err(Refusal::invalid("label is longer than 100 characters"));
    }
    let op = Op::Inject {
        session: session(&call.params)?,
        text: Arc::from(&*call.params.required("message")?),
        label: label.map(Into::into),
    };
    call.route(gateway, cx, op)
}

pub(super) fn session_status(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let op = Op::Status { session: session(&call.params)? };
    call.route(gateway, cx, op)
}

impl Gateway {
    /// Files of a message were looked for.
    pub(super) fn media_found(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        op: Op,
        to: ReplyTo,
        outcome: MediaOutcome,
    ) {
        let refusal = match outcome {
            MediaOutcome::Found(true) => return self.route(cx, who, op, to),
            MediaOutcome::Found(false) => {
                Refusal::new(Code::NotFound, "a file in media is not there any more")
            }
            _ => Refusal::new(Code::Unavailable, "the uploaded files cannot be read now"),
        };
        self.reply_error(cx, to, &refusal);
    }

    /// A message, cut where it is longer than it may be: so the base dialect has it.
    fn cut_message<'m>(&mut self, who: &Authenticated, message: &'m str) -> &'m str {
        let kept = self.config.raw.max_message_chars;
        let Some((end, _)) = message.char_indices().nth(kept) else { return message };
        let chars = message.chars().count();
        self.note(Fact::Truncated { user: who.user().clone(), chars, kept });
        &message[..end]
    }
}

/// The session that a request must name.
pub(super) fn session(params: &Params<'_>) -> Result<Arc<str>, Refusal> {
    key(params, "sessionKey", MAX_KEY)?.ok_or_else(|| Refusal::invalid("sessionKey is required"))
}

/// A name of at most `most` bytes.
pub(super) fn key(
    params: &Params<'_>,
    name: &str,
    most: usize,
) -> Result<Option<Arc<str>>, Refusal> {
    match params.text(name)? {
        Some(text) if text.len() > most => {
            Err(Refusal::invalid(format!("{name} is longer than {most} bytes")))
        }
        text => Ok(text.map(|text| Arc::from(&*text))),
    }
}
