//! Files that come with a message in the dialect of OpenClaw, and texts that are commands.

use crate::openclaw;
use crate::world;
use openclaw::*;
use serde_json::{Value, json};
use world::*;

fn with(key: &str, text: &str, attachments: Value) -> Value {
    let mut params = said("main", key, text);
    params["attachments"] = attachments;
    params
}

/// `GIF89a`, as clients send it.
const GIF: &str = "R0lGODlh";

#[test]
fn files_are_stored_and_given_to_the_agent() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        let files = json!([
            {"type": "image", "mimeType": "image/gif", "fileName": "a.gif", "content": GIF},
            {"mimeType": "image/png", "content": format!("data:image/png;base64,{GIF}")},
        ]);
        let params = with("k1", "look", files.clone());
        ok(world.call_slow(at, "chat.send", params.clone()));
        let run = world.runs.last().expect("a run").clone();
        assert_eq!((&*run.message, run.media.len()), ("look", 2));
        assert!(run.media[0].ends_with(".gif") && run.media[1].ends_with(".png"), "{run:?}");
        for path in &run.media {
            assert_eq!(world.disk.files[path], (b"GIF89a".to_vec(), true));
        }
        let again = ok(world.call_slow(at, "chat.send", params));
        assert_eq!((&again["status"], world.runs.len()), (&json!("ok"), 1), "the same bytes");
        let other = json!([{"mimeType": "image/gif", "content": "R0lGODdh"}]);
        invalid(&world.call_slow(at, "chat.send", with("k1", "look", other)));
        let silent = with("k2", "", json!([{"content": GIF}]));
        ok(world.call_slow(at, "chat.send", silent));
        assert_eq!(world.runs.last().expect("a run").media.len(), 1, "a text is not needed");
        let params = json!({"message": "m", "idempotencyKey": "k3", "attachments": files});
        ok(world.call_slow(at, "agent", params));
        assert_eq!(world.runs.last().expect("a run").media.len(), 2);
    }
}

#[test]
fn what_is_no_file_is_refused_with_what_to_do() {
    let mut config = config();
    config.max_upload_bytes = 6;
    let mut world = World::with(1, config);
    let at = admin(&mut world, 0);
    let hello = world.open(0);
    let hello = world.call(hello, "connect", cli("secret", 4, &[]));
    let policy = &hello["payload"]["policy"]["attachments"];
    assert_eq!((&policy["maxBytes"], &policy["maxImageBytes"]), (&json!(6), &json!(6)));
    for (file, what) in [
        (json!({"fileName": "a"}), "POST /api/media/upload"),
        (json!({"content": "not base64!"}), "is not base64"),
        (json!({"content": "R0lGODlhIQ=="}), "at most 6 bytes"),
        (json!("file"), "must be an object"),
    ] {
        let error = invalid(&world.call(at, "chat.send", with("k", "x", json!([file]))));
        assert!(error.contains(what), "{error}");
    }
    let many = Value::from(vec![json!({"content": GIF}); 17]);
    assert!(invalid(&world.call(at, "chat.send", with("k", "x", many))).contains("at most 16"));
    assert_eq!(
        invalid(&world.call(at, "chat.send", with("k", " ", json!([])))),
        "message or attachment required"
    );
    ok(world.call_slow(at, "chat.send", with("k", "x", json!([{"content": GIF}]))));
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn a_message_whose_files_cannot_be_stored_is_refused_and_leaves_none() {
    let files = || json!([{"content": GIF}, {"content": GIF}]);
    for (mode, retry) in [(DiskMode::Full, true), (DiskMode::Fails, true)] {
        let mut world = World::new(1);
        let at = admin(&mut world, 0);
        world.disk.mode = mode;
        let answer = world.call_slow(at, "chat.send", with("k", "x", files()));
        assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
        assert_eq!(answer["error"]["retryable"], retry);
        assert!(world.disk.files.is_empty() && world.runs.is_empty());
        world.disk.mode = DiskMode::Works;
        ok(world.call_slow(at, "chat.send", with("k", "x", files())));
        assert_eq!(world.runs.len(), 1, "the key stands for nothing yet");
    }
    let mut config = config();
    config.bounds.user_upload_bytes = 17;
    let mut world = World::with(1, config);
    let at = admin(&mut world, 0);
    ok(world.call_slow(at, "chat.send", with("k1", "x", files())));
    let answer = world.call_slow(at, "chat.send", with("k2", "x", files()));
    assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
    assert_eq!((world.disk.files.len(), world.runs.len()), (2, 1));
    let mut world = World::new(1);
    let at = admin(&mut world, 0);
    world.disk.mode = DiskMode::Hangs;
    let id = world.request(at, "chat.send", with("k", "x", files()));
    world.advance(std::time::Duration::from_secs(60));
    let answer = world.answer(at, &id).expect("an answer");
    assert_eq!(answer["error"]["code"], "UNAVAILABLE");
}

#[test]
fn a_text_that_says_stop_stops() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = admin(&mut world, 0);
        let nothing = ok(world.call_slow(at, "chat.send", said("agent:stuck:s", "k0", "/stop")));
        assert_eq!(nothing, json!({"ok": true, "aborted": false, "runIds": []}));
        ok(world.call_slow(at, "chat.send", said("agent:stuck:s", "k1", "work")));
        let stopped = ok(world.call_slow(at, "chat.send", said("agent:stuck:s", "k2", " /STOP\n")));
        assert_eq!(stopped, json!({"ok": true, "aborted": true, "runIds": ["k1"]}));
        assert_eq!(world.events(at, "chat").last().expect("an end")["state"], "aborted");
        let nothing = ok(world.call(at, "chat.abort", json!({"sessionKey": "nowhere"})));
        assert_eq!(nothing["aborted"], false);
        ok(world.call_slow(at, "chat.send", said("main", "k3", "/stop it")));
        let mut verbatim = said("main", "k4", "/stop");
        verbatim["suppressCommandInterpretation"] = true.into();
        ok(world.call_slow(at, "chat.send", verbatim));
        assert_eq!(world.runs.len(), 3, "these are messages");
    }
}
