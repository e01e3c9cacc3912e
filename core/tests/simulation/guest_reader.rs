//! What a client of the second dialect makes of its events: it counts them, puts the texts of runs together
//! in each of the two streams, and sees one end of each.

use serde_json::Value;
use std::collections::BTreeMap;

/// Of a longer text, who comes later is told in the conversation only.
const TOLD_TWICE: usize = 64 * 1024;

/// The events of one connection.
#[derive(Debug, Default)]
pub struct GuestReader {
    /// The number of the last event.
    seq: u64,
    runs: BTreeMap<String, Told>,
    /// How the others ended.
    ended: BTreeMap<String, String>,
    /// Runs that were put together from pieces and were right.
    pub whole: u64,
    pub events: u64,
    /// Numbers that were left out.
    pub missed: u64,
}

/// What was told of a run.
#[derive(Debug, Default)]
struct Told {
    /// What the conversation shows.
    text: String,
    /// The same, step by step.
    steps: String,
    /// The numbers of its last events.
    chat: u64,
    agent: u64,
    begun: bool,
    over: bool,
    /// Some of its events may be missing.
    lagged: bool,
}

impl GuestReader {
    /// Runs that began and did not end.
    pub fn open(&self) -> Vec<&str> {
        self.runs.keys().map(String::as_str).collect()
    }

    /// Takes an event. `bounded`: numbers may be missing, as there is no room for a slow reader's events.
    pub fn event(
        &mut self,
        protocol: u64,
        user: &str,
        message: &Value,
        bounded: bool,
    ) -> Result<(), String> {
        let seq = message["seq"].as_u64().ok_or("no number")?;
        if seq <= self.seq || seq != self.seq + 1 && !bounded {
            return Err(format!("event {seq} after {}", self.seq));
        }
        if seq != self.seq + 1 {
            self.missed += seq - self.seq - 1;
            self.runs.values_mut().for_each(|run| run.lagged = true);
        }
        self.seq = seq;
        self.events += 1;
        let payload = &message["payload"];
        match message["event"].as_str() {
            Some("chat") => self.chat(protocol, user, payload, bounded),
            Some("agent") => self.agent(payload, bounded),
            Some("session.message") => fits(user, &text_of(&payload["message"])),
            _ => Ok(()),
        }
    }

    fn run(&mut self, payload: &Value, bounded: bool) -> Result<(&mut Told, u64), String> {
        let id = payload["runId"].as_str().ok_or("no run")?;
        if let Some(state) = self.ended.remove(id) {
            // What has failed may be tried once more under the same name; so may what was stopped, if there
            // was no room to remember that and the store could not.
            let may_begin = state == "error" || state == "aborted" && bounded;
            // It may be stopped again before it begins.
            let begins = payload["data"]["phase"] == "start" || payload["state"] == "aborted";
            if !begins || !may_begin {
                return Err(format!("an event of a run after it ended in {state}"));
            }
        }
        let seq = payload["seq"].as_u64().ok_or("no count")?;
        Ok((self.runs.entry(id.into()).or_default(), seq))
    }

    fn chat(
        &mut self,
        protocol: u64,
        user: &str,
        payload: &Value,
        bounded: bool,
    ) -> Result<(), String> {
        let (run, seq) = self.run(payload, bounded)?;
        if seq <= run.chat {
            return Err(format!("chat {seq} of a run after its {}", run.chat));
        }
        run.chat = seq;
        let said = payload.get("message").map(text_of);
        if let Some(said) = &said {
            fits(user, said)?;
        }
        let state = payload["state"].as_str().ok_or("no state")?;
        if state != "delta" {
            return self.end(payload, state, said);
        }
        if !run.begun {
            return Err("a piece of a run that has not begun".into());
        }
        let delta = payload["deltaText"].as_str();
        match (protocol, delta, said) {
            (4, Some(delta), said) => {
                let replaces = payload["replace"] == true;
                if replaces {
                    if !run.lagged && !run.text.is_empty() {
                        return Err("a text that was told is told anew".into());
                    }
                    run.text.clear();
                } else if run.text.is_empty() && !run.lagged {
                    return Err("the first piece is not the beginning".into());
                }
                run.text.push_str(delta);
                if said.is_some_and(|said| said != run.text) && !run.lagged {
                    return Err("the pieces are not what the message says".into());
                }
            }
            (3, None, Some(said)) => {
                if !said.starts_with(&run.text) {
                    return Err("the text so far is not what it was".into());
                }
                run.text = said;
            }
            _ => return Err(format!("a piece that protocol {protocol} does not have")),
        }
        Ok(())
    }

    fn end(&mut self, payload: &Value, state: &str, said: Option<String>) -> Result<(), String> {
        let id = payload["runId"].as_str().ok_or("no run")?;
        let run = self.runs.remove(id).ok_or("gone")?;
        self.ended.insert(id.into(), state.into());
        match (state, said) {
            ("final", Some(said)) => {
                if !run.begun || !run.over && !run.lagged {
                    return Err("an end of a run without its beginning or its last step".into());
                }
                let is_whole = run.text == said && (run.steps == said || said.len() > TOLD_TWICE);
                if !is_whole && !run.lagged {
                    let (text, steps) = (run.text.len(), run.steps.len());
                    return Err(format!("{text} and {steps} bytes were told of {}", said.len()));
                }
                self.whole += u64::from(is_whole);
            }
            ("aborted", Some(said)) if said != run.text && !run.lagged => {
                return Err("what was said before the end is not what was told".into());
            }
            ("aborted" | "error", _) => {}
            _ => return Err(format!("an end {state}")),
        }
        Ok(())
    }

    fn agent(&mut self, payload: &Value, bounded: bool) -> Result<(), String> {
        let (run, seq) = self.run(payload, bounded)?;
        if seq <= run.agent {
            return Err(format!("step {seq} of a run after its {}", run.agent));
        }
        run.agent = seq;
        let data = &payload["data"];
        match (payload["stream"].as_str(), data["phase"].as_str()) {
            (Some("lifecycle"), Some("start")) => {
                if std::mem::replace(&mut run.begun, true) {
                    return Err("a run begins again".into());
                }
            }
            (Some("lifecycle"), Some("end" | "error")) => {
                if std::mem::replace(&mut run.over, true) {
                    return Err("a run ends again".into());
                }
            }
            (Some("assistant"), None) => {
                if !run.begun || run.over {
                    return Err("a step of a run that is not under way".into());
                }
                run.steps.push_str(data["delta"].as_str().ok_or("no delta")?);
                if data.get("text").is_some_and(|text| *text != *run.steps) && !run.lagged {
                    return Err("the steps are not what their text says".into());
                }
            }
            (Some("thinking"), None) | (Some("run_status"), Some("retrying"))
                if run.begun && !run.over => {}
            // None of them has asked for what tools do.
            other => return Err(format!("a step {other:?}")),
        }
        Ok(())
    }
}

/// The text of a message, as text or as pieces of content.
pub fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        content => {
            let parts = content.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
    }
}

/// Whether a user may read this: their own words, or an answer to them; of an answer that is not whole, a
/// beginning.
pub fn fits(user: &str, text: &str) -> Result<(), String> {
    let starts = |with: &str| text.starts_with(with) || with.starts_with(text);
    if starts(&format!("{user} says ")) || starts(&format!("re: {user} says ")) {
        return Ok(());
    }
    Err(format!("{user} never said nor heard: {text}"))
}
