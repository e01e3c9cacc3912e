//! What a client makes of its events: it counts them, and puts runs together from their pieces.

use moorline_core::gateway::MAX_RESULT;
use serde_json::Value;
use std::collections::BTreeMap;

/// The events of one link, over all its connections.
#[derive(Debug, Default)]
pub struct Reader {
    /// The number of the last event.
    pub seq: u64,
    runs: BTreeMap<String, Assembled>,
    /// Runs that were put together from pieces and were right.
    pub whole: u64,
    pub events: u64,
}

#[derive(Debug, Default)]
struct Assembled {
    text: String,
    /// Bytes of its thoughts so far, as the last piece of them says.
    thought: u64,
    /// The run's own count.
    seq: u64,
    /// Pieces may have made room for the end.
    lagged: bool,
}

impl Reader {
    /// A new link.
    pub fn restart(&mut self) {
        self.seq = 0;
        self.runs.clear();
    }

    /// Runs that began and did not end.
    pub fn open(&self) -> Vec<&str> {
        self.runs.keys().map(String::as_str).collect()
    }

    /// What a run has said so far.
    pub fn text(&self, run: &str) -> &str {
        self.runs.get(run).map_or("", |run| &run.text)
    }

    /// Takes an event with a number.
    pub fn event(&mut self, user: &str, message: &Value) -> Result<(), String> {
        let seq = message["seq"].as_u64().ok_or("no number")?;
        let is_lag = message["event"] == "lagged";
        let payload = &message["payload"];
        let first = if is_lag { payload["from"].as_u64().ok_or("no from")? } else { seq };
        if first != self.seq + 1 || seq < first {
            return Err(format!("event {first} to {seq} after {}", self.seq));
        }
        self.seq = seq;
        self.events += 1;
        if is_lag {
            if payload["count"] != seq - first + 1 || payload["to"] != seq {
                return Err("lagged does not count right".into());
            }
            self.runs.values_mut().for_each(|run| run.lagged = true);
        }
        if message["event"] == "agent" {
            if payload["userId"] != user {
                return Err("an event of somebody else's session".into());
            }
            self.agent(payload)?;
        }
        Ok(())
    }

    fn agent(&mut self, payload: &Value) -> Result<(), String> {
        let id = payload["runId"].as_str().ok_or("no run")?;
        let count = payload["seq"].as_u64().ok_or("no count")?;
        let kind = payload["type"].as_str().ok_or("no type")?;
        let inner = &payload["payload"];
        if kind == "run.started" {
            let run = Assembled { seq: count, ..Assembled::default() };
            self.runs.insert(id.into(), run);
            return Ok(());
        }
        let run = self.runs.get_mut(id).ok_or_else(|| format!("{kind} of a run without start"))?;
        if count <= run.seq {
            return Err(format!("event {count} of a run after its {}", run.seq));
        }
        run.seq = count;
        match kind {
            "chunk" => {
                let content = inner["content"].as_str().ok_or("no content")?;
                let offset = inner["offset"].as_u64().ok_or("no offset")? as usize;
                if offset != run.text.len() {
                    return Err(format!("a piece at {offset} after {}", run.text.len()));
                }
                run.text.push_str(content);
            }
            "thinking" => {
                let content = inner["content"].as_str().ok_or("no content")?;
                let offset = inner["offset"].as_u64().ok_or("no offset")?;
                // Who comes later, or lags, is not told of all of them; nobody is told twice.
                if offset < run.thought {
                    return Err(format!("a thought at {offset} after {}", run.thought));
                }
                run.thought = offset + content.len() as u64;
            }
            "tool.call" if inner["arguments"]["at"] == "it" => {}
            "tool.result" if inner["result"].as_str().is_some_and(|r| r.len() <= MAX_RESULT) => {}
            "run.retrying" if inner["attempt"] == 2 || inner["attempt"] == 3 => {}
            "run.completed" => {
                let run = self.runs.remove(id).ok_or("gone")?;
                if inner["content"] == *run.text {
                    self.whole += 1;
                } else if !run.lagged {
                    return Err(format!("the pieces make {} bytes of {inner}", run.text.len()));
                }
            }
            "run.failed" | "run.cancelled" => {
                self.runs.remove(id);
            }
            other => return Err(format!("an event {other}")),
        }
        Ok(())
    }
}
