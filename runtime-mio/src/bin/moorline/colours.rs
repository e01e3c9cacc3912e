//! Whether what is written may be coloured.

use crate::environment;
use std::io::IsTerminal;

/// Somebody sees it, and has not said that they want none (<https://no-color.org>).
pub(crate) fn are_wanted(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && environment::variable("NO_COLOR").is_none()
}
