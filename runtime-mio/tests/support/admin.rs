//! Commands of the host to a running gateway.
#![allow(dead_code)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a command has said, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Told {
    pub fn failed(code: i32, stderr: &str) -> Self {
        Self { code, stdout: String::new(), stderr: stderr.into() }
    }
}

/// A command that is not started yet.
pub fn open(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(arguments).arg("--state-dir").arg(state);
    // What the developer has set is none of the tests'.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOORLINE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn moorline(state: &Path, arguments: &[&str]) -> Told {
    let output = open(state, arguments).output().unwrap();
    Told {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a command that succeeds prints.
pub fn text_of(state: &Path, arguments: &[&str]) -> String {
    let told = moorline(state, arguments);
    assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    told.stdout
}

pub fn json_of(state: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text_of(state, arguments)).unwrap()
}
