//! `moorline doctor` as a process, and what it finds.
#![allow(dead_code)]

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `moorline` with no settings of the machine it runs on.
pub fn moorline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("MOORLINE_") || name.starts_with("OPENCLAW_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn doctor(arguments: &[&str]) -> Command {
    moorline(&[&["doctor"], arguments].concat())
}

/// The findings by their ids, and the exit code.
pub struct Report {
    pub findings: Vec<Value>,
    pub code: i32,
}

pub fn diagnose(arguments: &[&str]) -> Report {
    of(doctor(arguments).arg("--json"))
}

pub fn of(command: &mut Command) -> Report {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let mut report: Value = serde_json::from_slice(&stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    let Value::Array(findings) = report["findings"].take() else { panic!("{report}") };
    let worst = report["worst"].as_str().unwrap();
    let code = status.code().unwrap();
    let expected = match worst {
        "ok" | "info" => 0,
        "warning" => 1,
        _ => 2,
    };
    assert_eq!((code, &report["ok"]), (expected, &json!(expected == 0)));
    for finding in &findings {
        let is_bad = matches!(finding["severity"].as_str(), Some("warning" | "error"));
        assert!(!is_bad || finding["fix"].is_string(), "how is it mended? {finding}");
        let lines = finding["fix"].as_str().unwrap_or_default().lines().count();
        assert!(lines <= 1, "{finding}");
    }
    Report { findings, code }
}

impl Report {
    pub fn find(&self, id: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {:#}", json!(self.findings)))
    }

    pub fn has(&self, id: &str) -> bool {
        self.findings.iter().any(|finding| finding["id"] == id)
    }

    /// The ids of what is bad.
    pub fn bad(&self) -> Vec<&str> {
        let is_bad =
            |finding: &&Value| matches!(finding["severity"].as_str(), Some("warning" | "error"));
        self.findings.iter().filter(is_bad).map(|finding| finding["id"].as_str().unwrap()).collect()
    }
}

pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
