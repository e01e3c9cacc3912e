//! Log lines on stderr, as text for people or one JSON object per line.

use crate::cli::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Sets up logging. `MOORLINE_LOG` (or `RUST_LOG`) chooses levels, such as `debug`; default `info`.
pub(crate) fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("MOORLINE_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
}
