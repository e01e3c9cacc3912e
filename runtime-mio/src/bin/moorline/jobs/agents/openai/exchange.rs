//! One request and its answer.

use super::super::upstream::{Call, Upstream};
use super::completion::{self, Completion};
use super::sse::Events;
use super::trouble::{Step, Trouble, retry_after};
use super::{Failed, Teller, fail};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use moorline_core::gateway::{CallEnd, Outcome, Progress};
use moorline_core::upgrade::Proxy;
use smol::{Timer, future};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of an answer that is an error; more of it is not read.
const MAX_ERROR: usize = 16 * 1024;

/// Bytes of an answer that does not stream: what gateways keep of one at most, escaped.
const MAX_WHOLE: usize = 16 * 1024 * 1024;

/// The body of a request, in one piece.
#[derive(Debug)]
pub(in super::super) struct Body(Option<Bytes>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// Sends a request and tells what comes of it. A failure says whether nothing was told: then the request may
/// be sent again, and its body is still there.
pub(super) async fn ask(
    upstream: &Arc<Upstream>,
    mut call: Call,
    body: &mut Bytes,
    teller: &Teller<'_>,
) -> Result<Outcome, Failed> {
    let (sender, answer) = match send(upstream, body).await {
        Ok(sent) => sent,
        Err(trouble) => return Err(fail(call, upstream, trouble, true)),
    };
    let read = read(upstream, answer, &mut call, teller, body).await;
    let is_silent = !body.is_empty();
    match read {
        Ok((outcome, is_over)) => {
            call.end(CallEnd::Succeeded, None);
            if is_over {
                upstream.keep(sender);
            }
            Ok(outcome)
        }
        Err(trouble) => Err(fail(call, upstream, trouble, is_silent)),
    }
}

/// Sends it, on a connection that was used before if there is one, and waits for the head of the answer.
async fn send(
    upstream: &Upstream,
    body: &Bytes,
) -> Result<(SendRequest<Body>, Response<Incoming>), Trouble> {
    let times = &upstream.settings.times;
    loop {
        let in_tls = AtomicBool::new(false);
        let connecting = async {
            let connected = upstream.connection(&in_tls).await;
            connected.map_err(|error| Trouble::Connect(error.to_string()))
        };
        let connected = within(times.connect, Step::Connect, connecting).await;
        let (mut sender, was_used) = connected.map_err(|trouble| match trouble {
            Trouble::Late(_, time) if in_tls.load(Ordering::Relaxed) => {
                Trouble::Late(Step::Tls, time)
            }
            trouble => trouble,
        })?;
        let request = request(upstream, body.clone());
        let sending = async { Ok(sender.send_request(request).await) };
        match within(times.first_byte, Step::FirstByte, sending).await? {
            Ok(answer) => return Ok((sender, answer)),
            // The endpoint may have closed it at the same moment. Asking twice costs less than failing.
            Err(_) if was_used => {}
            Err(error) => return Err(Trouble::Cut(words(&error))),
        }
    }
}

fn request(upstream: &Upstream, body: Bytes) -> Request<Body> {
    let settings = &upstream.settings;
    let url = &settings.base_url;
    let path = format!("{}/chat/completions", url.path);
    let proxy = upstream.connector.forwarding_proxy();
    let target = match proxy {
        Some(_) => format!("http://{}{path}", url.authority()),
        None => path,
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("moorline/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "text/event-stream, application/json");
    if let Some(authorization) = proxy.and_then(Proxy::authorization) {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    // A header of this name takes the place of the key.
    let is_own = |name: &str| settings.headers.iter().any(|(other, _)| other == name);
    if let Some(key) = settings.api_key.as_ref().filter(|_| !is_own("authorization")) {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose()));
    }
    for (name, value) in &settings.headers {
        request = request.header(name, value.expose());
    }
    request.body(Body(Some(body))).expect("the configuration was checked for what makes a request")
}

/// Reads an answer; also says whether nothing more comes on its connection. With the first thing that is told
/// the request's body is gone: it is not sent again.
async fn read(
    upstream: &Upstream,
    answer: Response<Incoming>,
    call: &mut Call,
    teller: &Teller<'_>,
    request: &mut Bytes,
) -> Result<(Outcome, bool), Trouble> {
    let settings = &upstream.settings;
    let (head, mut body) = answer.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let mut first = settings.times.first_byte;
    if head.status != StatusCode::OK {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wait = header(RETRY_AFTER).and_then(|value| retry_after(value, now));
        let text = whole(&mut body, MAX_ERROR, settings.times.silence).await.unwrap_or_default();
        let message = completion::error_text(&text);
        return Err(Trouble::Status { status: head.status.as_u16(), message, retry_after: wait });
    }
    // What says nothing of itself, or something else, is taken for a stream: it was asked for.
    let kind = header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("text/html") {
        return Err(Trouble::Malformed("it is a web page; is base_url right?".into()));
    }
    let mut completion = Completion::default();
    if kind.starts_with("application/json") {
        let text = whole(&mut body, MAX_WHOLE, first).await?;
        let mut told = Vec::new();
        completion.read(&text, |outcome| told.push(outcome))?;
        call.answers();
        if !told.is_empty() {
            request.clear();
        }
        for outcome in told {
            teller.tell(outcome).await;
        }
        return Ok((completion.end(), true));
    }
    let mut events = Events::new(settings.max_event_bytes);
    loop {
        let step = if !request.is_empty() { Step::FirstByte } else { Step::Silence };
        let Some(data) = within(first, step, next(&mut body)).await? else { break };
        first = settings.times.silence;
        let (mut bytes, mut told) = (&*data, Vec::new());
        let mut broken = None;
        while broken.is_none() {
            match events.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    let read = completion.read(&event, |outcome| join(&mut told, outcome));
                    broken = read.err().map(Trouble::from);
                }
                Err(_) => broken = Some(Trouble::TooLarge(settings.max_event_bytes)),
            }
        }
        // What came before is told in any case.
        if !told.is_empty() {
            request.clear();
            call.answers();
        }
        for outcome in told {
            teller.tell(outcome).await;
        }
        if let Some(trouble) = broken {
            return Err(trouble);
        }
        if completion.is_done() {
            // Some keep it open after that; nobody waits for its end.
            let is_over = body.is_end_stream();
            return Ok((completion.end(), is_over || drained(&mut body).await));
        }
    }
    match completion.is_whole() {
        true => Ok((completion.end(), true)),
        false => Err(Trouble::Cut("the connection ended".into())),
    }
}

/// The pieces of a turn become one: a loop takes them one by one.
fn join(told: &mut Vec<Outcome>, outcome: Outcome) {
    match (told.last_mut(), outcome) {
        (Some(Outcome::Chunk(before)), Outcome::Chunk(text)) => before.push_str(&text),
        (
            Some(Outcome::Progress(Progress::Thinking(before))),
            Outcome::Progress(Progress::Thinking(text)),
        ) => before.push_str(&text),
        (_, outcome) => told.push(outcome),
    }
}

/// Whether the rest, which says nothing any more, ends at once.
async fn drained(body: &mut Incoming) -> bool {
    const AT_ONCE: Duration = Duration::from_millis(100);
    let rest = within(AT_ONCE, Step::Silence, next(body)).await;
    matches!(rest, Ok(None))
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
    loop {
        let frame = future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers are not data.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(Trouble::Cut(words(&error))),
        }
    }
}

/// All of a body, with so much time for each piece.
async fn whole(body: &mut Incoming, most: usize, each: Duration) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    while let Some(data) = within(each, Step::Silence, next(body)).await? {
        if bytes.len() + data.len() > most {
            return Err(Trouble::TooLarge(most));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn within<T>(
    time: Duration,
    step: Step,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let late = async {
        Timer::after(time).await;
        Err(Trouble::Late(step, time))
    };
    future::or(pin!(work), late).await
}

/// An error of HTTP with its cause, which has the better words.
fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
