//! One request for a completion, from its head to its end.
//!
//! A run of a kept session goes on when its client leaves: sockets come and go. One of a conversation that
//! its client keeps is of no use to anybody else, and is cancelled, unless an `Idempotency-Key` says that
//! the client may ask again.

use super::super::agent_work::StopReason;
use super::super::conn::ConnId;
use super::super::fact::{Fact, Why};
use super::super::http::{HttpAnswer, Refused, bearer};
use super::super::methods;
use super::super::principal::{Principal, Role};
use super::super::request::Fingerprint;
use super::super::retained::{ENTRY, Held};
use super::super::send::{Body, Cx, ReplyTo};
use super::super::session::{Op, Send};
use super::super::work::Message;
use super::super::{Action, Gateway, Timer, bus, chat, cors, upload};
use super::answer::Head;
use super::body::Asked;
use super::error::ApiError;
use super::messages::Talk;
use super::run_end::{Heard, Start};
use super::session_name::{Named, of_user};
use super::stream::Reply;
use crate::upgrade::{BodyLength, RequestHead};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// What a completion is called in facts.
const METHOD: &str = "chat.completions";

/// Bytes of a body beyond what is taken, so that who sends them in chunks is told in this API's shape.
const SLACK: u64 = 64 * 1024;

/// Bytes of an answer that leave at once; the rest follows when they have.
const FIRST: usize = 64 * 1024;

/// The requests of a node that are under way.
#[derive(Default)]
pub(in super::super) struct Completions {
    pub(super) all: BTreeMap<ConnId, Completion>,
    /// Those that wait for a run.
    pub(super) of_run: BTreeMap<Arc<str>, BTreeSet<ConnId>>,
}

pub(super) struct Completion {
    who: Principal,
    since: Instant,
    /// The page that may read the answer.
    pub(super) origin: Option<String>,
    pub(super) stage: Stage,
    /// What is kept of it.
    pub(super) held: Held,
}

pub(super) enum Stage {
    /// Its body comes.
    Body { bytes: Vec<u8>, session: Option<Named>, key: Option<Arc<str>> },
    /// It waits for its run.
    Reply(Box<Reply>),
    /// The answer's end waits for its beginning to leave.
    Rest(Bytes),
}

impl Completion {
    pub(super) fn user(&self) -> &Arc<str> {
        &self.who.user
    }

    /// Whether it is not known yet what will be answered.
    fn is_open(&self) -> bool {
        match &self.stage {
            Stage::Body { .. } => true,
            Stage::Reply(reply) => reply.end.is_none(),
            Stage::Rest(_) => false,
        }
    }
}

impl Completions {
    pub(in super::super) fn has(&self, conn: ConnId) -> bool {
        self.all.contains_key(&conn)
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn reply(&mut self, conn: ConnId) -> Option<&mut Reply> {
        match &mut self.all.get_mut(&conn)?.stage {
            Stage::Reply(reply) => Some(reply),
            Stage::Body { .. } | Stage::Rest(_) => None,
        }
    }

    fn remove(&mut self, conn: ConnId) -> Option<Completion> {
        self.leave_run(conn);
        self.all.remove(&conn)
    }

    /// The connection waits for nothing of its run any more.
    fn leave_run(&mut self, conn: ConnId) {
        let Some(run) = self.reply(conn).and_then(|reply| reply.run.clone()) else { return };
        if let Some(waiting) = self.of_run.get_mut(&run) {
            waiting.remove(&conn);
            if waiting.is_empty() {
                self.of_run.remove(&run);
            }
        }
    }
}

impl Gateway {
    /// Whoever sends this request; it is one more of the connection's.
    pub(super) fn authenticate_api(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
    ) -> Result<(Principal, Option<u64>), ApiError> {
        let user = head.header_str(upload::USER_HEADER);
        let known = self.authenticate_request(cx.now, conn, bearer(head), user);
        let known = known.map_err(|refusal| upload::unauthorized(&refusal))?;
        if let Some(state) = self.conns.get_mut(&conn) {
            state.requests += 1;
        }
        Ok(known)
    }

    /// Takes the body of a request, if everything that is known from its head allows that.
    pub(super) fn begin_completion(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
    ) -> Result<(), ApiError> {
        let (who, expires) = self.authenticate_api(cx, conn, head)?;
        if who.role < Role::Operator {
            let text = "a completion requires the operator role";
            return Err(Refused::new(403, Why::Role, text).into());
        }
        let cost = methods::find("chat.send").map_or(1, |method| method.cost);
        self.charge(cx, conn, METHOD, cost, &who).map_err(|refusal| upload::limited(&refusal))?;
        self.check_completions(&who)?;
        let kind = head.header_str("Content-Type").unwrap_or_default();
        if !kind
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        {
            let text = "the body must be JSON, with Content-Type: application/json";
            return Err(ApiError::new(415, Why::Request, text));
        }
        let session = Named::of(head)?;
        let key = head.header("Idempotency-Key").filter(|key| !key.is_empty());
        let key = key.map(|_| head.header_str("Idempotency-Key").unwrap_or_default());
        if key.is_some_and(|key| key.is_empty() || key.len() > chat::MAX_IDEMPOTENCY_KEY) {
            let text = format!(
                "Idempotency-Key must be text of at most {} bytes",
                chat::MAX_IDEMPOTENCY_KEY
            );
            return Err(ApiError::invalid("Idempotency-Key".into(), text));
        }
        let most = self.config.raw.max_request_bytes as u64;
        match head.body() {
            BodyLength::Known(length) if length > most => return Err(too_large(most)),
            BodyLength::Known(0) => {
                let text = "the request has no body";
                return Err(ApiError::invalid(String::new(), text));
            }
            BodyLength::Known(_) | BodyLength::Chunked => {}
        }
        let stage = Stage::Body { bytes: Vec::new(), session, key: key.map(Arc::from) };
        let held = self.retained.hold(&who.user, ENTRY);
        let origin = cors::origin(head);
        let completion = Completion { who, since: cx.now, origin, stage, held };
        self.completions.all.insert(conn, completion);
        let Some(outbox) = cx.outbox(conn) else { return Ok(()) };
        if outbox.take_body(most + SLACK).is_err() {
            self.completions.all.remove(&conn);
            return Err(too_large(most));
        }
        self.arm_expiry(cx.now, conn, expires);
        Ok(())
    }

    /// Whether there is a place for one more.
    fn check_completions(&self, who: &Principal) -> Result<(), ApiError> {
        let bounds = self.config.bounds();
        if self.accepted + self.completions.all.len() >= bounds.connections {
            return Err(Refused::try_later(Why::Connections, "too many connections").into());
        }
        self.room_for(&who.user, ENTRY).map_err(|refusal| no_room(&refusal))
    }

    pub(in super::super) fn completion_piece(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        piece: &[u8],
    ) {
        let most = self.config.raw.max_request_bytes;
        let bounds = self.config.bounds();
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        let Stage::Body { bytes, .. } = &mut completion.stage else { return };
        if bytes.len() + piece.len() > most {
            return self.fail_completion(cx, conn, &too_large(most as u64));
        }
        if let Err(refusal) = self.retained.check(&completion.who.user, piece.len(), bounds) {
            return self.fail_completion(cx, conn, &no_room(&refusal));
        }
        bytes.extend_from_slice(piece);
        completion.held.set(ENTRY + bytes.capacity());
    }

    /// The body is whole.
    pub(in super::super) fn completion_asked(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Err(error) = self.ask_for_completion(cx, conn) {
            self.fail_completion(cx, conn, &error);
        }
    }

    fn ask_for_completion(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Result<(), ApiError> {
        let Some(completion) = self.completions.all.get_mut(&conn) else { return Ok(()) };
        let Stage::Body { bytes, session, key } = &mut completion.stage else { return Ok(()) };
        let (bytes, session, key) = (std::mem::take(bytes), session.take(), key.take());
        let who = completion.who.clone();
        if self.draining.is_some() {
            return Err(ApiError::from(Refused::try_later(
                Why::Draining,
                bus::shutting_down().message().to_string(),
            )));
        }
        let asked = Asked::parse(&bytes)?;
        drop(bytes);
        let Asked { model, stream, include_usage, user, talk } = asked;
        let most = self.config.raw.max_message_chars;
        if talk.text.chars().nth(most).is_some() {
            let text = format!("{} has more than {most} characters", talk.path);
            return Err(ApiError::invalid(talk.path, text).code("string_above_max_length"));
        }
        let agent = self.agent_of_model(&model)?;
        let named = agent.as_deref().unwrap_or(&self.config.raw.agents[0].id);
        let session = match (session, user) {
            (Some(session), _) => Some(session.key(&who.user, named)?),
            (None, Some(user)) => Some(of_user(&who.user, named, &user)?),
            (None, None) => None,
        };
        let is_lost = session.is_none() && key.is_none();
        let op = self.completion_op(cx, agent, session, key, talk);
        let bounds = self.config.bounds();
        // The gateway watches over it; this is for the connection not to.
        let within = bounds.run_within.saturating_add(bounds.call_within).saturating_mul(2);
        let within = within.saturating_add(bounds.store_within.saturating_mul(2));
        if let Some(outbox) = cx.outbox(conn) {
            outbox.await_answer(within);
        }
        let head = Head { model, created: self.ms(cx.now) / 1000, include_usage };
        if let Some(completion) = self.completions.all.get_mut(&conn) {
            completion.stage = Stage::Reply(Box::new(Reply::new(cx.now, head, stream, is_lost)));
            completion.held.set(ENTRY);
        }
        self.route(cx, &who, op, ReplyTo::Api { conn });
        Ok(())
    }

    fn completion_op(
        &self,
        cx: &Cx<'_>,
        agent: Option<Arc<str>>,
        session: Option<Arc<str>>,
        key: Option<Arc<str>>,
        talk: Talk,
    ) -> Op {
        let Talk { text, history, instructions, .. } = talk;
        let at = self.ms(cx.now);
        let mut said: Vec<Arc<str>> = instructions.iter().cloned().collect();
        let apart = session.is_none().then(|| {
            let message = |(id, (author, text)): (u64, _)| Message {
                id,
                author,
                text,
                media: Vec::new(),
                label: None,
                stop: StopReason::Stop,
                at,
                key: None,
            };
            (1..).zip(history).map(message).collect::<Arc<[Message]>>()
        });
        said.extend(apart.iter().flat_map(|all| all.iter()).map(|message| message.text.clone()));
        Op::Send(Send {
            session,
            agent,
            // A key stands for the whole conversation.
            print: key.is_some().then(|| Fingerprint::of_all(&text, &said)),
            key,
            text,
            media: Vec::new(),
            ack: true,
            create: true,
            latest: true,
            instructions,
            apart,
        })
    }

    /// The session's node has answered: a run has begun, or waits its turn, or there is none.
    pub(in super::super) fn completion_answered(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        body: &Body,
    ) {
        if self.completions.reply(conn).is_none() {
            return;
        }
        match Start::of(body) {
            Start::Refused(error) => self.fail_completion(cx, conn, &error),
            Start::Under { run, session } => {
                self.reply_begins(cx, conn, run, Some(session));
            }
            Start::Over { run, end } => {
                self.reply_begins(cx, conn, run, None);
                self.reply_ends(cx, conn, end);
            }
        }
    }

    /// An event of a run that somebody here may wait for.
    pub(in super::super) fn completion_event(
        &mut self,
        cx: &mut Cx<'_>,
        event: &super::super::ring::Event,
    ) {
        if self.completions.of_run.is_empty() {
            return;
        }
        let Some(run) = Heard::run_of(event) else { return };
        let Some(waiting) = self.completions.of_run.get(&run) else { return };
        let waiting: Vec<_> = waiting.iter().copied().collect();
        if let super::super::ring::Kind::Chunk(chunk) = &event.0 {
            for conn in waiting {
                self.reply_goes_on(cx, conn, chunk);
            }
            return;
        }
        for conn in waiting {
            match Heard::of(event) {
                Some(Heard::Began) => self.arm_reply(cx.now, conn, self.run_ends_by(cx.now)),
                Some(Heard::Ended(end)) => self.reply_ends(cx, conn, end),
                None => {}
            }
        }
    }

    /// When a run that begins now has ended, and that is known here.
    pub(super) fn run_ends_by(&self, now: Instant) -> Instant {
        let bounds = self.config.bounds();
        now + bounds.run_within + bounds.call_within
    }

    /// One JSON object, and its end when its beginning has left.
    pub(super) fn answer_whole(&mut self, cx: &mut Cx<'_>, conn: ConnId, body: String) {
        let Some(completion) = self.completions.all.get(&conn) else { return };
        let (origin, user) = (completion.origin.clone(), completion.who.user.clone());
        let mut first = Bytes::from(body);
        let length = first.len() as u64;
        self.hold_queued(conn, &user, first.len());
        let rest = first.split_off(first.len().min(FIRST));
        let headers = vec![("Content-Type", "application/json".into())];
        let answer = HttpAnswer::beginning(200, headers, first, length).readable_by(origin);
        self.finish_completion(cx, conn, None);
        self.completions.leave_run(conn);
        if !rest.is_empty()
            && let Some(completion) = self.completions.all.get_mut(&conn)
        {
            completion.stage = Stage::Rest(rest);
        } else {
            self.completions.remove(conn);
        }
        self.respond(cx, conn, answer);
    }

    /// Bytes more are queued for the connection, on behalf of this user.
    pub(super) fn hold_queued(&mut self, conn: ConnId, user: &Arc<str>, bytes: usize) {
        let held = self.retained.hold(user, 0);
        if let Some(state) = self.conns.get_mut(&conn) {
            state.queued.get_or_insert(held).add(bytes);
        }
    }

    /// Everything that was given to the connection has left.
    pub(in super::super) fn completion_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        match &mut completion.stage {
            Stage::Body { .. } => {}
            Stage::Rest(rest) => {
                let rest = std::mem::take(rest);
                self.completions.remove(conn);
                self.give_body(cx, conn, rest);
            }
            Stage::Reply(reply) => {
                reply.given = 0;
                self.reply_flows(cx, conn);
            }
        }
    }

    pub(super) fn give_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: Bytes) {
        match cx.outbox(conn) {
            // It fails when the connection has ended, which is told.
            Some(outbox) => drop(outbox.body(piece)),
            None => self.actions.push_back(Action::Body { conn, piece }),
        }
    }

    // --- its end -------------------------------------------------------------------------------

    /// It comes to nothing, and its client is told why.
    pub(super) fn fail_completion(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: &ApiError) {
        let Some(completion) = self.completions.all.get(&conn) else { return };
        let origin = completion.origin.clone();
        let asked = matches!(completion.stage, Stage::Reply(_));
        if self.completions.reply(conn).is_some_and(|reply| reply.begun) {
            return self.reply_breaks(cx, conn, error);
        }
        if asked {
            self.finish_completion(cx, conn, Some(error));
        }
        self.take_completion(cx, conn);
        self.refuse_api(cx, conn, origin, error);
    }

    fn take_completion(&mut self, cx: &Cx<'_>, conn: ConnId) -> Option<Completion> {
        let completion = self.completions.remove(conn)?;
        self.arm_expiry(cx.now, conn, None);
        Some(completion)
    }

    /// What came of it is known; whatever of it has to leave still leaves, also when the time of its
    /// credential is over by then.
    pub(super) fn finish_completion(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        error: Option<&ApiError>,
    ) {
        let Some(completion) = self.completions.all.get(&conn) else { return };
        let duration = cx.now.saturating_duration_since(completion.since);
        self.disarm_reply(conn);
        self.arm_expiry(cx.now, conn, None);
        if let Some(state) = self.conns.get_mut(&conn) {
            state.failed += u64::from(error.is_some());
        }
        let error = error.and_then(|error| error.failed);
        self.note(Fact::Called { conn, method: METHOD, error, duration });
    }

    /// The connection has ended, or nobody reads: its run is cancelled if it is of no use to anybody else.
    pub(in super::super) fn drop_completion(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.disarm_reply(conn);
        let Some(Completion { who, stage: Stage::Reply(reply), .. }) =
            self.take_completion(cx, conn)
        else {
            return;
        };
        let Reply { run: Some(run), session: Some(session), is_lost: true, end: None, .. } = *reply
        else {
            return;
        };
        let op = Op::Abort { session: Some(session), run: Some(run) };
        self.route(cx, &who, op, ReplyTo::Nobody);
    }

    /// It takes longer than any run may, or than its credential lasts: its run is cancelled if it is of no
    /// use to anybody else.
    pub(super) fn give_up_run(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: &ApiError) {
        let Some(completion) = self.completions.all.get(&conn) else { return };
        let who = completion.who.clone();
        let stop = match &completion.stage {
            Stage::Reply(reply) if reply.is_lost => reply.run.clone().zip(reply.session.clone()),
            _ => None,
        };
        self.fail_completion(cx, conn, error);
        if let Some((run, session)) = stop {
            let op = Op::Abort { session: Some(session), run: Some(run) };
            self.route(cx, &who, op, ReplyTo::Nobody);
        }
    }

    /// Some credentials are no proof any more: what rests on them ends, unless its answer is all there.
    pub(in super::super) fn judge_completions(&mut self, cx: &mut Cx<'_>) {
        let may = |who: &Principal| self.role_now(who) >= Some(Role::Operator);
        let all = self.completions.all.iter();
        let revoked = all.filter(|(_, of)| of.is_open() && !may(&of.who));
        let revoked: Vec<_> = revoked.map(|(conn, _)| *conn).collect();
        for conn in revoked {
            let text = "the token of this request was revoked";
            let error = Refused::new(401, Why::Credential, text).into();
            self.give_up_run(cx, conn, &error);
        }
    }

    /// The time of its credential is over.
    pub(in super::super) fn completion_expired(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let text = "the token of this request has expired; send it again with a new one";
        let error = Refused::new(401, Why::Credential, text).into();
        self.give_up_run(cx, conn, &error);
    }

    pub(super) fn arm_reply(&mut self, now: Instant, conn: ConnId, until: Instant) {
        let Some(reply) = self.completions.reply(conn) else { return };
        reply.until = until;
        let at = reply.due().max(now);
        if let Some(armed) = reply.timer.replace(at) {
            self.timers.remove(&(armed, Timer::Completion(conn)));
        }
        self.timers.insert((at, Timer::Completion(conn)));
    }

    fn disarm_reply(&mut self, conn: ConnId) {
        let reply = self.completions.reply(conn);
        if let Some(at) = reply.and_then(|reply| reply.timer.take()) {
            self.timers.remove(&(at, Timer::Completion(conn)));
        }
    }
}

fn too_large(most: u64) -> ApiError {
    let text = format!("the body of a request may have at most {most} bytes");
    ApiError::new(413, Why::RequestSize, text)
}

fn no_room(refusal: &super::super::refusal::Refusal) -> ApiError {
    ApiError::of(refusal.code, refusal.message().to_string(), refusal.wait())
}
