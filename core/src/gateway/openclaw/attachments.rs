//! Files that come with a message, in its text: stored like uploads, then given to the agent by their
//! paths.
//!
//! ```text
//! base64 ─▶ Open, Write, Finish of each ─▶ all done: the message goes its way
//!                                      └─▶ one failed: Abort of each, and the message is refused
//! ```

use super::super::Gateway;
use super::super::jobs::Job;
use super::super::media_ledger::MediaRoom;
use super::super::media_name::{clean, path};
use super::super::principal::Principal;
use super::super::refusal::{Code, Refusal};
use super::super::send::{Cx, ReplyTo};
use super::super::session::Op;
use super::super::work::{MediaOutcome, MediaWork, StoreError};
use super::dispatch::Call;
use super::schema::Values;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are written at once.
const BLOCK: usize = 64 * 1024;

/// A file of a message.
pub(super) struct Attachment {
    name: String,
    bytes: Vec<u8>,
}

/// A message whose files are being stored.
pub(super) struct Attaching {
    who: Principal,
    op: Op,
    to: ReplyTo,
    paths: Vec<Arc<str>>,
    /// Works that the disk has not done.
    waiting: usize,
    failed: Option<Refusal>,
}

/// Messages whose files are being stored, by the order in which they came.
#[derive(Default)]
pub(super) struct Attachings {
    all: BTreeMap<u64, Attaching>,
    next: u64,
}

impl Attachings {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Attachment {
    /// What stands for the file where a request is told from another: its bytes, as its path is another
    /// one each time.
    pub(super) fn print(&self) -> Arc<str> {
        let mut print = String::new();
        for byte in Sha256::digest(&self.bytes) {
            write!(print, "{byte:02x}").expect("a string takes everything");
        }
        print.into()
    }
}

/// The files of a message.
pub(super) fn read(call: &Call<'_>, most: usize) -> Result<Vec<Attachment>, Refusal> {
    call.values.objects("attachments").map(|values| read_one(&values, most)).collect()
}

fn read_one(values: &Values<'_>, most: usize) -> Result<Attachment, Refusal> {
    let Some(content) = values.text("content").filter(|content| !content.is_empty()) else {
        let text = "an attachment needs its bytes in content, as base64; larger files are sent with \
                    POST /api/media/upload";
        return Err(Refusal::invalid(text));
    };
    // Pages send what a browser gives them: `data:image/png;base64,…`.
    let encoded = match content.strip_prefix("data:").and_then(|data| data.split_once(',')) {
        Some((_, encoded)) => encoded,
        None => &content,
    };
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| Refusal::invalid("the content of an attachment is not base64"))?;
    if bytes.len() > most {
        return Err(Refusal::invalid(format!("an attachment may have at most {most} bytes")));
    }
    let name = match values.text("fileName").filter(|name| !name.trim().is_empty()) {
        Some(name) => clean(&name),
        None => {
            let mime = values.text("mimeType").unwrap_or_default();
            let kind = mime.split(';').next().and_then(|mime| mime.rsplit('/').next());
            format!("file.{}", kind.unwrap_or_default())
        }
    };
    Ok(Attachment { name, bytes })
}

impl Gateway {
    /// Bytes that a file of a message may have: it comes in one message, as base64.
    pub(super) fn max_attachment(&self) -> usize {
        let message = self.config.raw.limits.message as usize;
        self.config.raw.max_upload_bytes.min(message / 4 * 3)
    }

    /// Stores the files of a message, and says it when they are there.
    pub(super) fn store_files(
        &mut self,
        cx: &mut Cx<'_>,
        who: Principal,
        mut op: Op,
        files: Vec<Attachment>,
        to: ReplyTo,
    ) {
        let room = MediaRoom::of(self.config.bounds());
        let name = self.openclaw.attachings.next;
        self.openclaw.attachings.next += 1;
        let (mut paths, mut waiting) = (Vec::new(), 0);
        for file in files {
            let unique = self.uuid();
            let path: Arc<str> = path(&who.user, &unique, &file.name).into();
            paths.push(path.clone());
            let sure = file.bytes.len() as u64;
            let open = MediaWork::Open { path: path.clone(), sure, room };
            let blocks = file.bytes.chunks(BLOCK);
            let blocks =
                blocks.map(|bytes| MediaWork::Write { path: path.clone(), bytes: bytes.to_vec() });
            let finish = MediaWork::Finish { path: path.clone() };
            for work in std::iter::once(open).chain(blocks).chain([finish]) {
                self.start_media(cx, work, Job::Attach { name });
                waiting += 1;
            }
        }
        if let Op::Send(send) = &mut op {
            send.media.clone_from(&paths);
        }
        let attaching = Attaching { who, op, to, paths, waiting, failed: None };
        self.openclaw.attachings.all.insert(name, attaching);
    }

    /// The disk has done something for a message, or could not.
    pub(in crate::gateway) fn attached(
        &mut self,
        cx: &mut Cx<'_>,
        name: u64,
        outcome: MediaOutcome,
    ) {
        // Not there any more: what has failed is being removed.
        let Some(attaching) = self.openclaw.attachings.all.get_mut(&name) else { return };
        match outcome {
            MediaOutcome::NoRoom(why) => {
                let text = format!("no room for the attachments: {why}");
                let refusal = Refusal::exhausted(text, Duration::from_secs(60));
                attaching.failed.get_or_insert(refusal);
            }
            MediaOutcome::Failed(StoreError::Full) => {
                let text = "the disk of the gateway is full";
                let refusal = Refusal::exhausted(text, Duration::from_secs(60));
                attaching.failed.get_or_insert(refusal);
            }
            MediaOutcome::Failed(_) => {
                let text = "the gateway could not write the attachments";
                attaching.failed.get_or_insert_with(|| Refusal::new(Code::Unavailable, text));
            }
            _ => {}
        }
        attaching.waiting -= 1;
        if attaching.waiting > 0 {
            return;
        }
        let Some(attaching) = self.openclaw.attachings.all.remove(&name) else { return };
        let Attaching { who, op, to, paths, failed, .. } = attaching;
        let Some(refusal) = failed else { return self.route(cx, &who, op, to) };
        for path in paths {
            self.start_media(cx, MediaWork::Abort { path }, Job::Attach { name });
        }
        self.reply_error(cx, to, &refusal);
    }
}
