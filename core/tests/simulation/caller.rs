//! A client of the HTTP API: one request at a time, each on a connection of its own.

use super::http_reader::HttpReader;
use std::fmt;
use std::time::Instant;

#[derive(Debug)]
pub struct Caller {
    pub user: &'static str,
    pub call: Option<Call>,
    /// What has come to nothing and may be asked again, and since when it is asked.
    pub again: Option<(Request, Instant)>,
    pub armed: Option<Instant>,
}

/// A request under way.
#[derive(Debug)]
pub struct Call {
    pub wire: u64,
    pub request: Request,
    pub since: Instant,
    /// What has not been sent of it.
    pub rest: Vec<u8>,
    pub reader: HttpReader,
    pub status: u16,
    pub told: Told,
    /// Its connection may have been cut by now.
    pub cut: bool,
    /// It does not read everything at once.
    pub slow: bool,
}

/// What an event stream has told.
#[derive(Debug, Default)]
pub struct Told {
    pub run: Option<String>,
    pub text: String,
    pub finish: Option<String>,
    pub usage: bool,
    pub done: bool,
    pub error: Option<String>,
}

#[derive(Clone)]
pub struct Request {
    pub what: What,
    pub bytes: Vec<u8>,
    /// Another request follows at once, which is not answered.
    pub pipelined: bool,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum What {
    Models,
    /// Something that is refused with this status.
    Wrong(u16),
    /// What was said, by its place in the ledger.
    Say {
        number: usize,
        stream: bool,
        usage: bool,
        keyed: bool,
    },
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.what, String::from_utf8_lossy(&self.bytes))
    }
}

impl Caller {
    pub fn new(user: &'static str) -> Self {
        Self { user, call: None, again: None, armed: None }
    }

    pub fn wire(&self) -> Option<u64> {
        self.call.as_ref().map(|call| call.wire)
    }
}

impl Call {
    /// An answer may take longer than others, or never come.
    pub fn is_doubtful(&self) -> bool {
        self.cut || self.slow
    }

    pub fn new(wire: u64, request: Request, now: Instant) -> Self {
        Self {
            wire,
            request,
            since: now,
            rest: Vec::new(),
            reader: HttpReader::default(),
            status: 0,
            told: Told::default(),
            cut: false,
            slow: false,
        }
    }
}
