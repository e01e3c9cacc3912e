//! What is done to sessions is done on the disk.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use world::{Client, Gateway, folder};

/// A new session in which this was said, with an answer to each; gives its key.
fn talk(client: &mut Client, messages: &[&str]) -> Value {
    let mut params = json!({});
    for message in messages {
        params["message"] = json!(message);
        let answer = client.call("chat.send", params.clone()).unwrap();
        params["sessionKey"] = answer["sessionKey"].clone();
    }
    params["sessionKey"].take()
}

#[test]
fn sessions_that_were_named_cut_emptied_and_removed_are_so_after_a_kill() {
    let state = folder("sessions");
    let mut gateway = Gateway::start(&state);
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    let named = talk(&mut ann, &["one", "two", "three"]);
    let emptied = talk(&mut ann, &["one"]);
    let removed = talk(&mut ann, &["one"]);
    ann.call("sessions.patch", json!({"sessionKey": named, "label": "the plan"})).unwrap();
    ann.call("sessions.compact", json!({"sessionKey": named, "keepLast": 2})).unwrap();
    ann.call("sessions.reset", json!({"sessionKey": emptied})).unwrap();
    ann.call("sessions.delete", json!({"sessionKey": removed})).unwrap();
    gateway.kill();

    let gateway = Gateway::start(&state);
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    let list = ann.call("sessions.list", json!({})).unwrap();
    let find = |key: &Value| {
        let sessions = list["sessions"].as_array().unwrap();
        sessions.iter().find(|session| session["key"] == *key)
    };
    let session = find(&named).expect("it was named");
    assert_eq!((&session["label"], &session["messageCount"]), (&json!("the plan"), &json!(2)));
    assert_eq!(find(&emptied).expect("it was emptied")["messageCount"], 0);
    assert_eq!(find(&removed), None);
    let kept = ann.history(named.as_str().unwrap()).unwrap();
    let contents: Vec<_> = kept.iter().map(|message| message["content"].clone()).collect();
    assert_eq!(contents, ["three", "three"]);
    // An emptied session goes on.
    let again = json!({"sessionKey": emptied, "message": "again"});
    assert_eq!(ann.call("chat.send", again).unwrap()["content"], "again");
    let asked = ann.request("chat.history", json!({"sessionKey": removed})).unwrap();
    let (id, answer) = ann.answer().unwrap();
    assert_eq!((id, &answer["error"]["code"]), (asked, &json!("NOT_FOUND")));
}
