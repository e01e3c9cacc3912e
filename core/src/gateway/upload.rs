//! Uploads: a request's body becomes a file of its user, block by block.
//!
//! ```text
//! request -> token, role, rate, places -> Open ─▶ Write ─▶ … ─▶ Finish ─▶ answer with the path
//!                                            └─ whatever fails, or a client that leaves ─▶ Abort
//! ```
//!
//! Of a file only what the disk has not taken yet is in memory: from [`WINDOW`] bytes on the connection
//! is not read, until half of them are written.

use super::conn::ConnId;
use super::cors;
use super::fact::{Fact, Why};
use super::http::{HttpAnswer, Refused, bearer, unescape};
use super::jobs::Job;
use super::json::Object;
use super::media_ledger::MediaRoom;
use super::media_name::{clean, filename_of, media_type, path};
use super::multipart::{self, Multipart, Piece};
use super::principal::{Principal, Role};
use super::rate::WHOLE;
use super::refusal::{Code, Refusal};
use super::send::Cx;
use super::work::{MediaOutcome, MediaWork, StoreError};
use super::{Action, Gateway};
use crate::upgrade::{BodyLength, RequestHead};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where files are sent to; the first is the one that clients are told.
pub(super) const PATHS: [&str; 2] = ["/api/media/upload", "/v1/media/upload"];

/// What is said to whoever sends a message that is too large.
pub(super) const HINT: &str = "; use POST /api/media/upload";

/// What an upload costs under a rate limit: as much as a message that has an agent work. The docs
/// name it.
const COST: u64 = WHOLE;

/// The header that names the user, for tokens that are not bound to one: so the base dialect calls it.
pub(super) const USER_HEADER: &str = "X-GoClaw-User-Id";

/// Bytes that are written at once.
const BLOCK: usize = 64 * 1024;

/// Bytes on their way to the disk, from which on no more are read: four blocks, so that it always has
/// the next one at hand.
const WINDOW: usize = 4 * BLOCK;

/// An upload under way.
pub(super) struct Upload {
    who: Principal,
    /// `None`: the body is the file.
    form: Option<Multipart>,
    /// Bytes of the file that the request has announced, or less.
    sure: u64,
    /// Once the file's name is known: what it is called, what it is, where it is kept.
    file: Option<File>,
    /// Bytes of the file so far.
    size: u64,
    /// What is not a block yet.
    block: Vec<u8>,
    /// Bytes that the host has not written yet.
    waiting: usize,
    held: bool,
    since: Instant,
    /// The page that may read the answer.
    origin: Option<String>,
}

struct File {
    path: Arc<str>,
    name: String,
    mime: String,
}

/// What is done with an upload's file.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) enum Step {
    Open,
    Write(usize),
    Finish,
    Abort,
}

impl Gateway {
    /// A request for one of [`PATHS`]: an upload, or a browser that asks whether a page may send one.
    pub(super) fn upload_request(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
    ) -> Result<(), Refused> {
        let origin = cors::origin(head);
        match (&origin, cx.outbox(conn)) {
            (Some(origin), Some(outbox)) if cors::is_preflight(head) => {
                // There is a request, the one at hand.
                let _ = cors::preflight(origin, "POST", |answer| outbox.respond(answer));
                Ok(())
            }
            _ => self.begin_upload(cx, conn, head).map_err(|refused| refused.readable_by(origin)),
        }
    }

    /// Takes the body of a request, if everything that is known from its head allows that.
    fn begin_upload(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
    ) -> Result<(), Refused> {
        if head.method() != "POST" {
            let refused = Refused::new(405, Why::Method, "files are sent here with POST");
            return Err(refused.header("Allow", "POST, OPTIONS"));
        }
        self.check_open(head)?;
        let user = head.header_str(USER_HEADER);
        let (who, expires) = self
            .authenticate_request(cx.now, conn, bearer(head), user)
            .map_err(|refusal| unauthorized(&refusal))?;
        if who.role < Role::Operator {
            return Err(Refused::new(403, Why::Role, "an upload requires the operator role"));
        }
        self.charge(cx, conn, "upload", COST, &who).map_err(|refusal| limited(&refusal))?;
        let content_type = head.header_str("Content-Type").unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let form = if kind.eq_ignore_ascii_case("multipart/form-data") {
            let form = Multipart::new(content_type);
            Some(form.ok_or_else(|| bad_form("the Content-Type has no boundary that can be used"))?)
        } else {
            None
        };
        let most = self.config.raw.max_upload_bytes as u64;
        let overhead = if form.is_some() { multipart::OVERHEAD } else { 0 };
        let mut sure = 0;
        if let BodyLength::Known(length) = head.body() {
            sure = length.saturating_sub(overhead);
            if length == 0 {
                return Err(bad_form("the request has no body"));
            }
            if length > most + overhead {
                return Err(too_large(most));
            }
        }
        self.check_room(&who.user)?;
        let raw = form.is_none();
        let upload = Upload {
            who,
            form,
            sure,
            file: None,
            size: 0,
            block: Vec::new(),
            waiting: 0,
            held: false,
            since: cx.now,
            origin: cors::origin(head),
        };
        self.uploads.insert(conn, upload);
        let Some(outbox) = cx.outbox(conn) else { return Ok(()) };
        if outbox.take_body(most + overhead).is_err() {
            self.uploads.remove(&conn);
            return Err(too_large(most));
        }
        self.arm_expiry(cx.now, conn, expires);
        if raw {
            let disposition = head.header_str("Content-Disposition");
            let name = disposition.and_then(filename_of).or_else(|| query_name(head.query()?));
            self.open_file(cx, conn, &name.unwrap_or_default(), Some(content_type));
        }
        Ok(())
    }

    fn check_room(&self, user: &Arc<str>) -> Result<(), Refused> {
        let bounds = self.config.bounds();
        let under_way = self.uploads.values().map(|upload| &upload.who.user);
        let own = under_way.chain(self.ending_uploads.values()).filter(|of| *of == user).count();
        let (status, body) = if own >= bounds.user_uploads {
            (429, "too many uploads of this user at once")
        } else if self.uploads.len() + self.ending_uploads.len() >= bounds.uploads {
            (503, "too many uploads at once")
        } else {
            return Ok(());
        };
        Err(Refused::new(status, Why::Uploads, body).header("Retry-After", "5"))
    }

    /// The file's name is known.
    fn open_file(&mut self, cx: &mut Cx<'_>, conn: ConnId, name: &str, mime: Option<&str>) {
        let unique = self.uuid();
        let Some(upload) = self.uploads.get_mut(&conn) else { return };
        let name = clean(name);
        let path: Arc<str> = path(&upload.who.user, &unique, &name).into();
        let sure = upload.sure;
        upload.file = Some(File { path: path.clone(), name, mime: media_type(mime) });
        let room = MediaRoom::of(self.config.bounds());
        let job = Job::Media { conn, path: path.clone(), step: Step::Open };
        self.start_media(cx, MediaWork::Open { path, sure, room }, job);
    }

    pub(super) fn upload_piece(&mut self, cx: &mut Cx<'_>, conn: ConnId, piece: &[u8]) {
        let Some(upload) = self.uploads.get_mut(&conn) else { return };
        let most = self.config.raw.max_upload_bytes as u64;
        let mut blocks = Vec::new();
        let mut named = None;
        let mut form = upload.form.take();
        let mut content = |bytes: &[u8]| {
            upload.size += bytes.len() as u64;
            if upload.size <= most {
                upload.take(bytes, &mut blocks);
            }
        };
        let read = match &mut form {
            None => {
                content(piece);
                Ok(())
            }
            Some(form) => form.read(piece, |piece| match piece {
                Piece::File { name, mime } => named = Some((name, mime)),
                Piece::Content(bytes) => content(bytes),
            }),
        };
        upload.form = form;
        let too_much = upload.size > most;
        if let Some((name, mime)) = named {
            self.open_file(cx, conn, &name, mime.as_deref());
        }
        if let Err(what) = read {
            return self.fail_upload(cx, conn, &bad_form(what));
        }
        if too_much {
            return self.fail_upload(cx, conn, &too_large(most));
        }
        for block in blocks {
            self.write_block(cx, conn, block);
        }
    }

    fn write_block(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: Vec<u8>) {
        let Some(upload) = self.uploads.get_mut(&conn) else { return };
        let Some(file) = &upload.file else { return };
        let (path, len) = (file.path.clone(), bytes.len());
        upload.waiting += len;
        if upload.waiting >= WINDOW && !std::mem::replace(&mut upload.held, true) {
            self.hold_body(cx, conn, true);
        }
        let job = Job::Media { conn, path: path.clone(), step: Step::Write(len) };
        self.start_media(cx, MediaWork::Write { path, bytes }, job);
    }

    pub(super) fn upload_end(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(upload) = self.uploads.get_mut(&conn) else { return };
        if upload.form.as_ref().is_some_and(|form| !form.is_complete()) {
            return self.fail_upload(cx, conn, &bad_form("the form has no end"));
        }
        if upload.size == 0 {
            return self.fail_upload(cx, conn, &bad_form("the file is empty"));
        }
        let rest = std::mem::take(&mut upload.block);
        let Some(file) = &upload.file else { return };
        let path = file.path.clone();
        if !rest.is_empty() {
            self.write_block(cx, conn, rest);
        }
        let job = Job::Media { conn, path: path.clone(), step: Step::Finish };
        self.start_media(cx, MediaWork::Finish { path }, job);
    }

    /// The host has done something, or could not.
    pub(super) fn media_done(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        path: &Arc<str>,
        step: Step,
        outcome: MediaOutcome,
    ) {
        if step == Step::Abort {
            self.ending_uploads.remove(path);
            return;
        }
        let Some(upload) = self.uploads.get_mut(&conn) else { return };
        if upload.file.as_ref().is_none_or(|file| file.path != *path) {
            return;
        }
        match (step, outcome) {
            (_, MediaOutcome::Failed(error)) => return self.fail_upload(cx, conn, &failed(error)),
            (_, MediaOutcome::NoRoom(what)) => {
                let body = format!("{what}; old ones are removed in time");
                return self.fail_upload(cx, conn, &Refused::new(507, Why::Disk, body));
            }
            (Step::Write(len), _) => upload.waiting -= len.min(upload.waiting),
            (Step::Finish, _) => return self.uploaded(cx, conn),
            _ => {}
        }
        if upload.held && upload.waiting <= WINDOW / 2 {
            upload.held = false;
            self.hold_body(cx, conn, false);
        }
    }

    fn uploaded(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(Upload { who, file: Some(file), size, since, origin, .. }) =
            self.take_out(cx, conn)
        else {
            return;
        };
        let mut body = String::new();
        Object::new(&mut body)
            .str("path", &file.path)
            .str("mime_type", &file.mime)
            .str("filename", &file.name)
            .num("size", size)
            .end();
        self.respond(cx, conn, HttpAnswer::json(200, body).readable_by(origin));
        let duration = cx.now.saturating_duration_since(since);
        self.note(Fact::Uploaded { conn, user: who.user, path: file.path, bytes: size, duration });
    }

    /// Some credentials are no proof any more: uploads that rest on them come to nothing.
    pub(super) fn judge_uploads(&mut self, cx: &mut Cx<'_>) {
        let may = |upload: &Upload| self.role_now(&upload.who) >= Some(Role::Operator);
        let revoked: Vec<_> =
            self.uploads.iter().filter(|(_, upload)| !may(upload)).map(|(conn, _)| *conn).collect();
        for conn in revoked {
            let body = "the token of this request was revoked";
            self.fail_upload(cx, conn, &Refused::new(401, Why::Credential, body));
        }
    }

    /// The time of its credential is over.
    pub(super) fn upload_expired(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let body = "the token of this request has expired; send the file again with a new one";
        self.fail_upload(cx, conn, &Refused::new(401, Why::Credential, body));
    }

    /// It comes to nothing, and its client is told why.
    fn fail_upload(&mut self, cx: &mut Cx<'_>, conn: ConnId, refused: &Refused) {
        let origin = self.uploads.get(&conn).and_then(|upload| upload.origin.clone());
        self.drop_upload(cx, conn);
        self.respond(cx, conn, refused.answer().readable_by(origin));
        self.refused(conn, refused.status, refused.why, None);
    }

    /// It comes to nothing: what there is of its file is removed.
    pub(super) fn drop_upload(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(Upload { who, file: Some(file), .. }) = self.take_out(cx, conn) else { return };
        let path = file.path;
        // What it has given to the disk still waits there: until then its place is taken.
        self.ending_uploads.insert(path.clone(), who.user);
        let job = Job::Media { conn, path: path.clone(), step: Step::Abort };
        self.start_media(cx, MediaWork::Abort { path }, job);
    }

    /// It is over, one way or the other: so is the time that its credential had.
    fn take_out(&mut self, cx: &Cx<'_>, conn: ConnId) -> Option<Upload> {
        let upload = self.uploads.remove(&conn)?;
        self.arm_expiry(cx.now, conn, None);
        Some(upload)
    }

    /// Bytes of uploads that the host has not written.
    pub(super) fn upload_bytes(&self) -> usize {
        self.uploads.values().map(|upload| upload.waiting + upload.block.len()).sum()
    }

    pub(super) fn respond(&mut self, cx: &mut Cx<'_>, conn: ConnId, answer: HttpAnswer) {
        match cx.outbox(conn) {
            Some(outbox) => answer.write(outbox),
            None => self.actions.push_back(Action::Respond { conn, answer }),
        }
    }

    fn hold_body(&mut self, cx: &mut Cx<'_>, conn: ConnId, hold: bool) {
        match cx.outbox(conn) {
            Some(outbox) => outbox.hold_body(hold),
            None => self.actions.push_back(Action::HoldBody { conn, hold }),
        }
    }
}

impl Upload {
    /// Adds to the block under way; full ones go to `blocks`.
    fn take(&mut self, mut bytes: &[u8], blocks: &mut Vec<Vec<u8>>) {
        while !bytes.is_empty() {
            if self.block.capacity() == 0 {
                self.block.reserve_exact(BLOCK);
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                blocks.push(std::mem::take(&mut self.block));
            }
        }
    }
}

/// The name in `?filename=`.
fn query_name(query: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == "filename").map(|(_, value)| unescape(&value.replace('+', " ")))
}

pub(super) fn unauthorized(refusal: &Refusal) -> Refused {
    let body = match refusal.code {
        Code::InvalidRequest => {
            return Refused::new(400, Why::Credential, refusal.message().to_string());
        }
        _ if refusal.wait().is_some() => refusal.message().to_string(),
        _ => "a valid token is needed, as Authorization: Bearer".into(),
    };
    match refusal.wait() {
        Some(wait) => {
            Refused::new(429, Why::Unauthorized, body).header("Retry-After", seconds(wait))
        }
        None => Refused::new(401, Why::Unauthorized, body).header("WWW-Authenticate", "Bearer"),
    }
}

/// The user, or the address, has asked too often.
pub(super) fn limited(refusal: &Refusal) -> Refused {
    let refused = Refused::new(429, Why::RateLimit, refusal.message().to_string());
    match refusal.wait() {
        Some(wait) => refused.header("Retry-After", seconds(wait)),
        None => refused,
    }
}

/// Whole seconds, for who would come too early otherwise.
fn seconds(wait: Duration) -> String {
    wait.as_millis().div_ceil(1000).to_string()
}

fn bad_form(what: &'static str) -> Refused {
    Refused::new(400, Why::Form, what)
}

fn too_large(most: u64) -> Refused {
    Refused::new(413, Why::UploadSize, format!("a file may have at most {most} bytes"))
}

fn failed(error: StoreError) -> Refused {
    match error {
        StoreError::Full => Refused::new(507, Why::Disk, "the disk of the gateway is full"),
        StoreError::Unavailable => {
            Refused::new(500, Why::Disk, "the gateway could not write the file")
        }
    }
}
