//! Log lines on stderr, as text for people or one JSON object per line.

use crate::cli::LogFormat;
use std::io::IsTerminal as _;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for whoever reads them. More are dropped: a log that nobody reads must not stop
/// the gateway.
const WAITING: usize = 8192;

/// Sets up logging. `MOORLINE_LOG` (or `RUST_LOG`) chooses levels, such as `debug`; default `info`.
/// Lines are written by a thread of their own, the last of them when the guard is dropped.
pub(crate) fn init(format: LogFormat) -> WorkerGuard {
    let filter = EnvFilter::try_from_env("MOORLINE_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .finish(std::io::stderr());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // A line that cannot be written is not worth a panic.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
    guard
}
