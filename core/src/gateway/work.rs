//! What needs I/O, as data: the host executes it elsewhere and hands the outcome back.

use super::agent_work::{Progress, RunFailure, StopReason};
use super::host_work::{HostOutcome, HostWork};
use super::log_ring::{LogPage, LogQuery};
use super::media_ledger::{MediaRoom, NoRoom};
use super::record::{Record, RecordKind};
use super::request::{Known, Mark, RunEnd};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Names one piece of work until its last outcome.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A piece of work.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// For the store: one outcome, [`Outcome::Store`]. Works of one session must be executed, and their
    /// outcomes handed back, in the order in which they were started.
    Store(StoreWork),
    /// For an agent: any number of [`Outcome::Chunk`] and [`Outcome::Progress`], then [`Outcome::Done`] or
    /// [`Outcome::Failed`].
    Run(Run),
    /// For whoever keeps the process's log, in a [`LogRing`](super::LogRing): one outcome,
    /// [`Outcome::Logs`].
    Logs(LogQuery),
    /// For whoever counts what happens: one outcome, [`Outcome::Metrics`].
    Metrics,
    /// For the disk: one outcome, [`Outcome::Media`]. Works with one path must be executed in the order in
    /// which they were started.
    Media(MediaWork),
    /// For the folder of a [`Site`](super::Site): one outcome, [`Outcome::Site`], in any order.
    Site(SiteWork),
    /// For whoever runs the gateways: one outcome, [`Outcome::Host`], in any order.
    Host(HostWork),
}

/// Work on the files of a [`Site`](super::Site), which are read and never written. A name consists of
/// parts with `/` between, none of which is empty or begins with a dot; it has neither a backslash nor a
/// control character. The host must see to it that symbolic links do not lead out of the folder either, and
/// that only regular files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteWork {
    /// Read the beginning of the first of these files that is there: [`SiteOutcome::Found`] or
    /// [`SiteOutcome::Absent`].
    Find {
        /// The folder.
        root: Arc<Path>,
        /// Where.
        names: Vec<Arc<str>>,
        /// At most so many bytes.
        most: usize,
    },
    /// Read on in a file, if it is still this version: [`SiteOutcome::Piece`].
    Read {
        /// The folder.
        root: Arc<Path>,
        /// Where.
        name: Arc<str>,
        /// What was found there.
        version: FileVersion,
        /// Bytes that were read.
        from: u64,
        /// At most so many bytes.
        most: usize,
    },
}

/// Tells a file from what stands in its place after a change.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// Its bytes.
    pub size: u64,
    /// When it was written, in nanoseconds since 1970.
    pub modified: u64,
}

/// What came of work on the files of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteOutcome {
    /// A file is there.
    Found {
        /// Which of the names it has.
        at: usize,
        /// What it is.
        version: FileVersion,
        /// Its beginning; all of it, unless that is more than was asked for.
        bytes: Vec<u8>,
    },
    /// None of them is there.
    Absent,
    /// What stands there; nothing at the end of the file.
    Piece(Vec<u8>),
    /// It cannot be read, or is another version.
    Failed,
}

/// Work on an uploaded file. Its path begins at the folder that the host keeps files in, has one
/// folder and a name, and consists of letters, digits, `-`, `/` and at most one dot; the extension is never
/// `part`, which a host may mark files with that are not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaWork {
    /// Begin a file, in a form that is not taken for a whole one, if there is room for it:
    /// [`MediaOutcome::Done`] or [`MediaOutcome::NoRoom`]. All gateways of a process must have their
    /// files counted by one [`MediaLedger`](super::MediaLedger): what several of them let in at once
    /// would not fit otherwise.
    Open {
        /// Where.
        path: Arc<str>,
        /// Bytes that will come for sure: room for them is taken now.
        sure: u64,
        /// How much may be kept.
        room: MediaRoom,
    },
    /// Add bytes to it: [`MediaOutcome::Done`], or [`MediaOutcome::NoRoom`] and nothing is added.
    Write {
        /// Where.
        path: Arc<str>,
        /// What.
        bytes: Vec<u8>,
    },
    /// It is whole: make it durable, under its name: [`MediaOutcome::Done`].
    Finish {
        /// Where.
        path: Arc<str>,
    },
    /// Look whether all of these are there, whole: [`MediaOutcome::Found`].
    Find {
        /// Where.
        paths: Vec<Arc<str>>,
    },
    /// Remove it, whole or not, if it is there: [`MediaOutcome::Done`].
    Abort {
        /// Where.
        path: Arc<str>,
    },
}

/// What came of work on an uploaded file.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaOutcome {
    /// It was done.
    Done,
    /// It would be more than may be kept; the file is as it was.
    NoRoom(NoRoom),
    /// Whether all of them are there.
    Found(bool),
    /// Nothing more can be done with the file but [`MediaWork::Abort`].
    Failed(StoreError),
}

/// A message that an agent should answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The run's id.
    pub run: Arc<str>,
    /// The agent's id, one of the configured ones.
    pub agent: Arc<str>,
    /// The session's key.
    pub session: Arc<str>,
    /// The session's owner.
    pub user: Arc<str>,
    /// What the user said.
    pub message: Arc<str>,
    /// What whoever made the request wants the agent to be or to heed, for this run only: the system
    /// messages of an API. It is the user's word, as the message is, not the operator's.
    pub instructions: Option<Arc<str>>,
    /// Files that the user sent with it: paths of uploads, as [`MediaWork`] has them.
    pub media: Vec<Arc<str>>,
    /// What was said before, oldest first.
    pub history: Vec<Message>,
}

/// What came of a piece of work.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The store's answer.
    Store(StoreOutcome),
    /// What came of work on an uploaded file.
    Media(MediaOutcome),
    /// What came of work on the files of a site.
    Site(SiteOutcome),
    /// What came of work for the host.
    Host(HostOutcome),
    /// Lines of the log.
    Logs(LogPage),
    /// What was counted.
    Metrics(Exposition),
    /// A piece of an agent's answer. More follows.
    Chunk(String),
    /// Something else that an agent does. More follows.
    Progress(Progress),
    /// An agent's whole answer.
    Done {
        /// The text: the chunks together.
        content: String,
        /// What it cost.
        usage: Usage,
        /// Why it ended there.
        stop: StopReason,
    },
    /// The agent failed; its user is told so.
    Failed(RunFailure),
}

/// Metrics as text, in one of the formats that Prometheus reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposition {
    /// Which one it is.
    pub content_type: &'static str,
    /// The text.
    pub body: Bytes,
}

/// Tokens that a run took.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: u64,
    /// Written.
    pub completion_tokens: u64,
}

/// Work for the store. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreWork {
    /// Look a session up: [`StoreOutcome::Opened`] or [`StoreOutcome::Absent`].
    Open {
        /// The session's key.
        session: Arc<str>,
    },
    /// Add a message and make it durable: [`StoreOutcome::Appended`], [`StoreOutcome::Absent`] or
    /// [`StoreOutcome::Taken`]; with a mark also [`StoreOutcome::Known`] or [`StoreOutcome::Conflict`].
    Append {
        /// The session's key.
        session: Arc<str>,
        /// Create the session, unless it exists. One that exists with another owner must be left
        /// alone: that is [`StoreOutcome::Taken`].
        create: Option<NewSession>,
        /// Who speaks.
        author: Author,
        /// What is said.
        text: Arc<str>,
        /// Paths of the files that go with it.
        media: Vec<Arc<str>>,
        /// A label for a message that was put in by hand.
        label: Option<String>,
        /// Why an answer ended there; what a user says ends by itself. An answer's
        /// [`RunEnd`] has it, too.
        stop: StopReason,
        /// When.
        at: u64,
        /// The request with an idempotency key that this belongs to. It is in the store with the
        /// message or not at all.
        mark: Option<Mark>,
    },
    /// Keep with an idempotency key that its run ended without an answer: [`StoreOutcome::Stored`],
    /// whether or not the key is known.
    Settle {
        /// Whose key.
        user: Arc<str>,
        /// The key.
        key: Arc<str>,
        /// How it ended.
        end: RunEnd,
        /// When.
        at: u64,
        /// When the key is forgotten now.
        expires: u64,
    },
    /// Read messages, newest first limited, given oldest first: [`StoreOutcome::History`] or
    /// [`StoreOutcome::Absent`].
    History {
        /// The session's key.
        session: Arc<str>,
        /// Only messages before this id.
        before: Option<u64>,
        /// At most so many messages.
        limit: usize,
        /// At most so many bytes of text; one message is always given.
        bytes: usize,
    },
    /// Create a session in which nothing was said yet: [`StoreOutcome::Opened`] with what is there now,
    /// which is left as it is if it was there before, or [`StoreOutcome::Taken`].
    Create {
        /// The session's key.
        session: Arc<str>,
        /// Whose it will be.
        new: NewSession,
        /// The name that people see.
        label: Option<String>,
        /// When.
        at: u64,
    },
    /// List sessions, the one used last first: [`StoreOutcome::List`].
    List {
        /// Which ones.
        filter: SessionFilter,
        /// With the beginnings of what was said first and last.
        texts: bool,
        /// At most so many.
        limit: usize,
        /// Leave out so many.
        offset: usize,
    },
    /// Count sessions by their agents: [`StoreOutcome::Counted`].
    Count {
        /// Only this user's.
        owner: Option<Arc<str>>,
    },
    /// Change what is shown of a session: [`StoreOutcome::Opened`] as it is now, or
    /// [`StoreOutcome::Absent`].
    Patch {
        /// The session's key.
        session: Arc<str>,
        /// The name that people see; `None` takes it away.
        label: Option<String>,
    },
    /// Remove a session with all its messages and what its idempotency keys stand for:
    /// [`StoreOutcome::Removed`], with whether it was there.
    Delete {
        /// The session's key.
        session: Arc<str>,
    },
    /// Remove all messages of a session and keep it: [`StoreOutcome::Trimmed`] or
    /// [`StoreOutcome::Absent`]. Ids go on growing.
    Reset {
        /// The session's key.
        session: Arc<str>,
    },
    /// Remove the oldest messages of a session: [`StoreOutcome::Trimmed`] or
    /// [`StoreOutcome::Absent`].
    Compact {
        /// The session's key.
        session: Arc<str>,
        /// How many messages stay.
        keep: u64,
    },
    /// Try whether the store can write: [`StoreOutcome::Stored`]. Changes nothing.
    Probe,
    /// Make records durable, all of them or none: [`StoreOutcome::Stored`]. Each takes the place of
    /// one with the same kind and key.
    Put {
        /// The records.
        records: Vec<Record>,
        /// When.
        at: u64,
    },
    /// Forget a record: [`StoreOutcome::Removed`], with whether it was there.
    Remove {
        /// Its kind.
        kind: RecordKind,
        /// Its key.
        key: Arc<str>,
        /// When.
        at: u64,
    },
    /// Forget all records of a kind: [`StoreOutcome::Removed`], with whether there was one.
    Clear {
        /// The kind.
        kind: RecordKind,
        /// When.
        at: u64,
    },
    /// Read all records that have not expired, by kind and key: [`StoreOutcome::Loaded`]. For the
    /// start.
    Load {
        /// When.
        at: u64,
    },
}

/// A session to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The user it belongs to.
    pub owner: Arc<str>,
    /// The agent it talks to.
    pub agent: Arc<str>,
}

/// Which sessions are listed: those that fit all that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only this user's.
    pub owner: Option<Arc<str>>,
    /// Only this agent's.
    pub agent: Option<String>,
    /// Only the one with this key.
    pub key: Option<Arc<str>>,
    /// Only those with exactly this label.
    pub label: Option<String>,
    /// Only those with this in their key or label. ASCII letters in it must be in lower case and stand for
    /// both cases.
    pub search: Option<String>,
    /// Only those that were used at this time or later, in Unix milliseconds.
    pub since: Option<u64>,
}

/// A session of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The session.
    pub info: SessionInfo,
    /// How the oldest message of the user begins, if that was asked for and it has a text: at most
    /// [`LISTED_CHARS`] characters.
    pub first: Option<Arc<str>>,
    /// The same of the newest message, whoever spoke.
    pub last: Option<Arc<str>>,
}

/// Characters of a message in a list: two or three lines.
pub const LISTED_CHARS: usize = 240;

/// Who speaks.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Author {
    /// The user.
    User,
    /// The agent.
    Assistant,
}

impl Author {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id: grows within a session.
    pub id: u64,
    /// Who spoke.
    pub author: Author,
    /// What was said.
    pub text: Arc<str>,
    /// Paths of the files that went with it; they may be gone by now.
    pub media: Vec<Arc<str>>,
    /// The label, if it was put in by hand with one.
    pub label: Option<String>,
    /// Why it ended there.
    pub stop: StopReason,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The key of its [`Mark`], if it came with one: who sent it knows it by that.
    pub key: Option<Arc<str>>,
}

/// A stored session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its key.
    pub key: Arc<str>,
    /// The user it belongs to.
    pub owner: Arc<str>,
    /// The agent it talks to.
    pub agent: Arc<str>,
    /// The name that people see, if it was given one.
    pub label: Option<String>,
    /// How many messages it has.
    pub messages: u64,
    /// When it was created, in Unix milliseconds.
    pub created: u64,
    /// When it was used last.
    pub updated: u64,
}

/// What came of work for the store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StoreOutcome {
    /// The session is there.
    Opened(SessionInfo),
    /// The session is not there.
    Absent,
    /// The session that was to be created is somebody else's.
    Taken,
    /// The message is durable.
    Appended {
        /// Its id.
        id: u64,
    },
    /// The request came before: nothing was appended.
    Known(Box<Known>),
    /// The idempotency key came before, with another text: nothing was appended.
    Conflict,
    /// Messages were removed.
    Trimmed {
        /// How many.
        removed: u64,
        /// How many are left.
        left: u64,
    },
    /// Messages, oldest first.
    History {
        /// The messages.
        messages: Vec<Message>,
        /// There are older ones.
        more: bool,
    },
    /// Sessions.
    List {
        /// The sessions.
        sessions: Vec<Listed>,
        /// How many there are without limit and offset.
        total: usize,
    },
    /// How many sessions each agent has, by the agents' ids; those without any are left out.
    Counted(Vec<(Arc<str>, u64)>),
    /// It is durable.
    Stored,
    /// What was to be forgotten is, durably; `false`: it was not there.
    Removed(bool),
    /// Records.
    Loaded(Vec<Record>),
    /// Nothing was done.
    Failed(StoreError),
}

/// Why the store did nothing.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// It has no room for this.
    Full,
    /// It cannot work now.
    Unavailable,
}

impl StoreError {
    /// One word for facts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unavailable => "unavailable",
        }
    }
}
