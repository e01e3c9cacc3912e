//! Why the program stops, and the exit code that tells scripts and supervisors.

use crate::config::Problem;
use std::fmt;
use std::process::ExitCode;

/// A reason to stop, in words for the operator.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the operator asked for cannot be: exit 78 (EX_CONFIG of sysexits), which supervisors are
    /// told not to answer with a restart.
    Config(String),
    /// The other end, or the system, failed: exit 1.
    Runtime(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Runtime(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) | Self::Runtime(text) => f.write_str(text),
        }
    }
}

impl From<Vec<Problem>> for Failure {
    /// All of them, a line each.
    fn from(problems: Vec<Problem>) -> Self {
        let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
        Self::Config(lines.join("\n"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Runtime(error.to_string())
    }
}
