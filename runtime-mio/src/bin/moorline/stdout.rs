//! Stdout of commands that print: whose reader has gone, ends without a word.

use std::io::{self, Write};

/// The exit code of a program that writes to a pipe which nobody reads: 128 and the number of SIGPIPE, as
/// shells tell of programs that this signal has killed. It is ignored here, as gateways must.
const UNREAD: i32 = 141;

/// Stdout. Writing to it fails for other reasons only; a command whose reader has enough, such as `head`, ends
/// with the exit code 141 at once.
#[derive(Debug)]
pub(crate) struct Stdout(io::Stdout);

/// The process's own.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unless_unread)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unless_unread)
    }
}

fn unless_unread(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(UNREAD);
    }
    error
}
