//! Changed files are taken over without a signal, once they are whole; bad ones change nothing.

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "support/configured.rs"]
mod configured;
mod support;

use certificates::{Authority, Issued};
use configured::{Gateway, folder, write};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// How often these gateways look.
const EVERY: (&str, &str) = ("MOORLINE_WATCH_FILES_MS", "20");

/// Many looks: what would be said at each of them is said by then.
const MANY_LOOKS: Duration = Duration::from_millis(400);

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration not reloaded: nothing has changed";

impl Gateway {
    /// What has changed, as the next reload says. Fails when one was refused before it.
    fn changed(&self) -> String {
        loop {
            let line = self.log.recv_timeout(support::PATIENCE).expect("a reload");
            assert_ne!(line["message"], REFUSED, "{line}");
            if line["message"] == RELOADED {
                return line["changed"].as_str().unwrap().to_string();
            }
        }
    }

    /// Why the next reload is refused, which is said once.
    fn refusal(&self) -> String {
        let line = self.line(REFUSED);
        std::thread::sleep(MANY_LOOKS);
        let more: Vec<_> = self.log.try_iter().filter(|l| l["message"] == REFUSED).collect();
        assert!(more.is_empty(), "{more:?}");
        line["problem"].as_str().unwrap().to_string()
    }
}

/// Puts a file in its place as editors and tools do: whole, or not at all.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    write(&draft, text);
    fs::rename(draft, path).unwrap();
}

#[test]
fn a_changed_file_is_taken_over_without_a_signal_and_a_bad_one_is_told_once() {
    let state = folder("watched");
    let file = state.join("moorline.json5");
    write(&file, "{ gateway: { token: 'first' } }");
    let gateway = Gateway::with(&state, &[EVERY]);
    gateway.login("first", "me");
    replace(&file, "{ gateway: { token: 'second' } }");
    assert_eq!(gateway.changed(), "gateway.token");
    gateway.login("second", "me");
    // Written in place, and wrong.
    write(&file, "{ gateway: { token: 'third' }, loops: 'two' }");
    assert!(gateway.refusal().contains("loops: expected"));
    gateway.login("second", "me");
    // Gone, which changes nothing either.
    fs::remove_file(&file).unwrap();
    assert!(gateway.refusal().ends_with("moorline.json5: it is gone"));
    gateway.login("second", "me");
    write(&file, "{ gateway: { token: 'fourth' } }");
    assert_eq!(gateway.changed(), "gateway.token");
    gateway.login("fourth", "me");
}

#[test]
fn files_that_the_file_names_are_watched_through_links_that_are_moved() {
    let state = folder("watched-links");
    // As secrets are mounted into containers: the name leads to a link to a folder, which is moved.
    for (name, token) in [("one", "first"), ("two", "second")] {
        fs::create_dir(state.join(name)).unwrap();
        write(&state.join(name).join("token"), token);
    }
    symlink("one", state.join("..data")).unwrap();
    symlink("..data/token", state.join("token-file")).unwrap();
    write(&state.join("moorline.json5"), "{ gateway: { token: { file: 'token-file' } } }");
    let gateway = Gateway::with(&state, &[EVERY]);
    gateway.login("first", "me");
    symlink("two", state.join("..new")).unwrap();
    fs::rename(state.join("..new"), state.join("..data")).unwrap();
    assert_eq!(gateway.changed(), "gateway.token");
    gateway.login("second", "me");
    // A file that is missing is looked for until it is there.
    fs::remove_file(state.join("two/token")).unwrap();
    assert!(gateway.refusal().contains("token-file"));
    write(&state.join("two/token"), "third");
    assert_eq!(gateway.changed(), "gateway.token");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_signal() {
    let state = folder("watched-tls");
    let authority = Authority::new();
    let put = |issued: &Issued| {
        write(&state.join("cert.pem"), &issued.certificate_pem());
        write(&state.join("key.pem"), &issued.key_pem());
    };
    put(&authority.issue());
    write(
        &state.join("moorline.json5"),
        "{ gateway: { token: 't' }, tls: { cert: 'cert.pem', key: 'key.pem' } }",
    );
    let gateway = Gateway::with(&state, &[EVERY]);
    let first = gateway.line("certificate")["sha256"].clone();
    put(&authority.issue());
    assert_ne!(gateway.line("certificate")["sha256"], first);
    assert_eq!(gateway.changed(), "");
}

#[test]
fn a_file_that_appears_after_the_start_is_taken_over() {
    let state = folder("watched-new");
    let gateway = Gateway::with(&state, &[EVERY]);
    write(&state.join("moorline.json5"), "{ gateway: { token: 'first' } }");
    assert_eq!(gateway.changed(), "gateway.token");
    gateway.login("first", "me");
}

#[test]
fn watching_is_switched_off_and_on_by_reloads() {
    let state = folder("watched-off");
    let file = state.join("moorline.json5");
    let settings = |every: u32, rpm: u32| {
        format!("{{ watch_files_ms: {every}, gateway: {{ token: 't', rate_limit_rpm: {rpm} }} }}")
    };
    write(&file, &settings(20, 1));
    let gateway = Gateway::start(&state);
    replace(&file, &settings(0, 1));
    assert_eq!(gateway.changed(), "watch_files_ms");
    replace(&file, &settings(0, 2));
    std::thread::sleep(MANY_LOOKS);
    // It is the signal that takes it over.
    assert!(gateway.log.try_iter().all(|line| line["message"] != RELOADED));
    gateway.signal(Signal::HUP);
    assert_eq!(gateway.changed(), "gateway.rate_limit_rpm");
    replace(&file, &settings(20, 2));
    gateway.signal(Signal::HUP);
    assert_eq!(gateway.changed(), "watch_files_ms");
    replace(&file, &settings(20, 3));
    assert_eq!(gateway.changed(), "gateway.rate_limit_rpm");
}
