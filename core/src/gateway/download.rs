//! Files on their way to a client, piece by piece.
//!
//! ```text
//! request -> Find ─▶ answer with the first piece ─▶ it has left ─▶ Read ─▶ piece ─▶ …
//!               └─ the client has it: 304; it is not there: 404
//! ```
//!
//! Of a file one piece is in memory, on its way from the disk or to the client: the next is read when
//! it has left. How many there may be is bounded by the places of those who are not logged in, and how long each
//! may take by the connection.

use super::config::Bounds;
use super::conn::ConnId;
use super::fact::Why;
use super::http::{HttpAnswer, Refused};
use super::jobs::Job;
use super::send::Cx;
use super::site::{self, Candidate, MAX_INDEX, PIECE, Site};
use super::work::{FileVersion, SiteOutcome, SiteWork, Work};
use super::{Action, Gateway};
use crate::frame::CloseCode;
use crate::upgrade::RequestHead;
use bytes::Bytes;
use std::sync::Arc;

/// A longer list of tags is not looked at: the file is sent.
const MAX_TAGS: usize = 1024;

/// A file on its way.
pub(super) struct Download {
    site: Site,
    files: Vec<Candidate>,
    head_only: bool,
    if_none_match: Option<String>,
    /// Once it was found.
    sending: Option<Sending>,
}

struct Sending {
    name: Arc<str>,
    version: FileVersion,
    /// Where the next piece begins.
    next: u64,
    /// It is being read.
    reading: bool,
}

impl Gateway {
    /// Looks for the file that a request is for.
    pub(super) fn begin_download(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
        site: Site,
    ) -> Result<(), Refused> {
        let files = site::candidates(head);
        if files.is_empty() {
            return Err(not_found());
        }
        let address = self.conns.get(&conn).map(|conn| conn.address);
        let bounds: &Bounds = self.config.bounds();
        if let Some(why) = address.and_then(|address| self.budget.exceeded(address, bounds)) {
            return Err(Refused::try_later(Why::PreAuth, why));
        }
        let most = if files.iter().any(|file| file.is_index) { MAX_INDEX } else { PIECE };
        let work = SiteWork::Find {
            root: site.root.clone(),
            names: files.iter().map(|file| file.name.clone()).collect(),
            most,
        };
        let tags = head.header_str("If-None-Match").filter(|tags| tags.len() <= MAX_TAGS);
        let download = Download {
            site,
            files,
            head_only: head.method() == "HEAD",
            if_none_match: tags.map(Into::into),
            sending: None,
        };
        self.downloads.insert(conn, download);
        self.start_site(cx, conn, work);
        Ok(())
    }

    fn start_site(&mut self, cx: &Cx<'_>, conn: ConnId, work: SiteWork) {
        let within = self.config.bounds().store_within;
        self.start(cx, Work::Site(work), Job::Site { conn }, within);
    }

    /// The host has read something, or could not.
    pub(super) fn site_done(&mut self, cx: &mut Cx<'_>, conn: ConnId, outcome: SiteOutcome) {
        let Some(download) = self.downloads.get_mut(&conn) else { return };
        match (&mut download.sending, outcome) {
            (Some(sending), SiteOutcome::Piece(bytes))
                if !bytes.is_empty()
                    && sending.next + bytes.len() as u64 <= sending.version.size =>
            {
                sending.next += bytes.len() as u64;
                sending.reading = false;
                if sending.next == sending.version.size {
                    self.downloads.remove(&conn);
                }
                self.actions.push_back(Action::Body { conn, piece: bytes.into() });
            }
            // It was changed, or is gone: what has been sent cannot be taken back, but is seen not to
            // be whole.
            (Some(_), _) => {
                self.downloads.remove(&conn);
                self.close(cx, conn, CloseCode::INTERNAL, "the file has changed", None);
            }
            (None, SiteOutcome::Found { at, version, bytes }) => {
                let answer = download.answer(at, version, bytes);
                if download.sending.is_none() {
                    self.downloads.remove(&conn);
                }
                match answer {
                    Ok(answer) => self.actions.push_back(Action::Respond { conn, answer }),
                    Err(refused) => self.refuse_later(conn, &refused),
                }
            }
            (None, outcome) => {
                self.downloads.remove(&conn);
                let refused = match outcome {
                    SiteOutcome::Absent => not_found(),
                    _ => failed("the gateway could not read the file"),
                };
                self.refuse_later(conn, &refused);
            }
        }
    }

    /// What was sent has left.
    pub(super) fn download_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(Download { site, sending: Some(sending), .. }) = self.downloads.get_mut(&conn)
        else {
            return;
        };
        if std::mem::replace(&mut sending.reading, true) {
            return;
        }
        let work = SiteWork::Read {
            root: site.root.clone(),
            name: sending.name.clone(),
            version: sending.version,
            from: sending.next,
            most: PIECE,
        };
        self.start_site(cx, conn, work);
    }

    fn refuse_later(&mut self, conn: ConnId, refused: &Refused) {
        self.actions.push_back(Action::Respond { conn, answer: refused.answer() });
        self.refused(conn, refused.status, refused.why, None);
    }
}

impl Download {
    /// The answer with the beginning of the file, behind which its rest may have to be sent.
    fn answer(
        &mut self,
        at: usize,
        version: FileVersion,
        bytes: Vec<u8>,
    ) -> Result<HttpAnswer, Refused> {
        let Some(file) = self.files.get(at) else { return Err(failed("no such file")) };
        let (mut size, most) = (version.size, self.site.max_file_bytes);
        if size > most {
            let body = format!("this file has {size} bytes; those over {most} are not served");
            return Err(Refused::new(403, Why::FileSize, body));
        }
        let mut scripts = Vec::new();
        let mut bytes = bytes;
        let mut mark = "";
        if file.is_index {
            if bytes.len() as u64 != size {
                return Err(failed("the index is too large, or was changed just now"));
            }
            (bytes, scripts) = site::index(bytes);
            size = bytes.len() as u64;
            mark = "-i";
        }
        let etag = format!("W/\"{:x}-{:x}{mark}\"", version.size, version.modified);
        let headers = site::headers(file, &etag, &scripts);
        if self.if_none_match.as_ref().is_some_and(|tags| site::is_known(tags, &etag)) {
            return Ok(HttpAnswer::beginning(304, headers, Bytes::new(), 0));
        }
        let next = bytes.len() as u64;
        if next > size || next == 0 && size > 0 {
            return Err(failed("the file was changed just now"));
        }
        if next < size && !self.head_only {
            let name = file.name.clone();
            self.sending = Some(Sending { name, version, next, reading: false });
        }
        Ok(HttpAnswer::beginning(200, headers, bytes.into(), size))
    }
}

fn not_found() -> Refused {
    Refused::new(404, Why::NotFound, "no such page")
}

fn failed(body: &'static str) -> Refused {
    Refused::new(500, Why::Disk, body)
}
