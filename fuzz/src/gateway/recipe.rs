//! JSON out of choices: requests that are mostly right, so that short inputs come far.

use crate::input::Input;
use moorline_core::gateway::methods;
use std::fmt::Write as _;

/// Writes messages; remembers the session that an answer named last.
#[derive(Default)]
pub(super) struct Recipe {
    pub(super) session: String,
    ids: u32,
}

impl Recipe {
    /// A request for a method of the table, with up to one fault in its envelope.
    pub(super) fn request(&mut self, input: &mut Input<'_>) -> String {
        let [method, fault] = input.bytes();
        let method = &methods()[usize::from(method) % methods().len()];
        self.ids += 1;
        // Sometimes an id that is not new.
        let id = if fault & 0x80 == 0 { self.ids } else { self.ids / 2 };
        let mut text = format!(r#""id":"{id}","method":"{}""#, method.name);
        let mut params = String::new();
        let chosen = input.byte();
        for (at, param) in method.params.iter().enumerate() {
            if chosen.rotate_right(at as u32) & 1 != 0 {
                let names = 1 + param.aliases.len();
                let name = match input.byte() as usize % (names + 2) {
                    at if at >= 1 && at < names => param.aliases[at - 1],
                    _ => param.name,
                };
                let value = self.value(input, name);
                let _ = write!(params, r#""{name}":{value},"#);
            }
        }
        if fault & 0x70 == 0x70 {
            // Perhaps once more.
            let _ =
                write!(params, r#""{}":"again","#, method.params.first().map_or("x", |p| p.name));
        }
        let params = format!("{{{}}}", params.trim_end_matches(','));
        let long = "i".repeat(120 + usize::from(chosen % 16));
        let many: String = (0..7 + chosen % 4).map(|n| format!(r#""x{n}":[],"#)).collect();
        let deep = usize::from(29 + chosen % 4);
        let deep = ["[".repeat(deep), "]".repeat(deep)].concat();
        match fault & 0x0F {
            1 => text = format!(r#""id":"{long}","method":"{}""#, method.name),
            2 => text = many + &text,
            3 => text = format!(r#"{text},"\u0069d":"{id}""#),
            4 => text = format!(r#"{text},"other":{deep}"#),
            5 => {
                let half = if chosen & 1 == 0 { "\\ud83d" } else { "\\ude00" };
                text = format!(r#"{text},"other":"\ud83d\ude00 {half}""#);
            }
            6 => text = format!(r#"{text},"other":"\ud83d\ude00",  "x":1e999"#),
            7 => text = format!(r#""id":{},"method":"{}""#, self.value(input, "id"), method.name),
            8 => text = format!(r#""id":"{id}","method":"no.such""#),
            9 => return format!(r#"{{"type":"req",{text},"params":{}}}"#, self.value(input, "")),
            10 => return format!(r#"{{"type":"req",{text},"params":{params}}} x"#),
            11 => return format!(r#"{{"type":{},{text}}}"#, self.value(input, "type")),
            12 => text = format!(r#"{text},"params":null"#),
            _ => {}
        }
        format!(r#"{{"type":"req",{text},"params":{params}}}"#)
    }

    /// Any JSON, and sometimes almost.
    pub(super) fn json(&mut self, input: &mut Input<'_>) -> String {
        const PIECES: [&str; 32] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "0",
            "-1.5e3",
            "\"\"",
            "\"type\"",
            "\"req\"",
            "\"id\"",
            "\"method\"",
            "\"params\"",
            "\"connect\"",
            "\"health\"",
            "\"\\u0069d\"",
            "\"\\ud800\"",
            "\"\\udbff\\udfff\"",
            "\"é\"",
            " ",
            "\n",
            "[[[[[[[[",
            "]]]]]]]]",
            "\"type\":\"req\",",
            "\"method\":\"health\"",
            "{\"type\":\"req\",",
            "\"x\":1,",
            "\"\\",
            "01",
        ];
        let mut text = String::new();
        for _ in 0..input.byte() % 32 {
            text += PIECES[usize::from(input.byte()) % PIECES.len()];
        }
        text
    }

    fn value(&self, input: &mut Input<'_>, name: &str) -> String {
        let choice = input.byte();
        if choice & 0x80 != 0 {
            // What would be right.
            return match name {
                "sessionKey" | "key" | "sessionId" => format!("\"{}\"", self.session),
                "token" => r#""secret""#.into(),
                "agentId" | "agent" => {
                    format!("\"{}\"", ["echo", "stuck", "broken"][usize::from(choice) % 3])
                }
                "limit" | "offset" | "before" => (choice % 8).to_string(),
                "ack" | "stream" => (choice & 1 == 0).to_string(),
                "protocol" => "3".into(),
                _ => format!("\"some words {choice}\""),
            };
        }
        let long = format!("\"{}\"", "é".repeat(200));
        let values = [
            "null",
            "true",
            "{}",
            "[]",
            "0",
            "-1",
            "1.5",
            "18446744073709551616",
            "1e999",
            "\"\"",
            "\"req\"",
            "\"\\u0000\\n\"",
            "\"viewer\"",
            "\"a\\ud83d\\ude00\"",
            "[{\"a\":[]}]",
            &long,
        ];
        values[usize::from(choice) % values.len()].into()
    }
}
