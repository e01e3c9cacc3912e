//! Finds what a text means: a code, a word, or a message with one of them in it.

use super::entry::{Entry, Kind};
use super::{agent_failures, api_codes, causes, close_codes, error_codes};
use super::{messages, reasons, statuses, tls_failures};

/// As many explanations of one text are shown.
const MOST: usize = 3;

/// Everything that is known.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    reasons::REASONS
        .iter()
        .chain(error_codes::ERROR_CODES)
        .chain(api_codes::API_CODES)
        .chain(messages::MESSAGES)
        .chain(agent_failures::AGENT_FAILURES)
        .chain(causes::CAUSES)
        .chain(tls_failures::TLS_FAILURES)
        .chain(close_codes::CLOSE_CODES)
        .chain(statuses::STATUSES)
}

/// What a text means: the most specific first; none if nothing here knows it.
pub(crate) fn find(text: &str) -> Vec<&'static Entry> {
    let found = find_as_written(text);
    match found.is_empty() {
        // Programs write the words of a reason in one.
        true => find_as_written(&text.replace(['_', '-', '.'], " ")),
        false => found,
    }
}

fn find_as_written(text: &str) -> Vec<&'static Entry> {
    let (asked, text) = (text.trim(), normal(text));
    if let Ok(number) = text.parse::<u16>() {
        return by_number(number).into_iter().collect();
    }
    let mut exact: Vec<_> = all().filter(|entry| normal(entry.name) == text).collect();
    if !exact.is_empty() {
        // An error code and a reason may differ in their letters' case only.
        exact.sort_by_key(|entry| entry.name != asked);
        return exact;
    }
    let mut found: Vec<(usize, &Entry)> = Vec::new();
    for entry in all() {
        let longest = entry.texts().filter_map(|says| weight(&text, &normal(says))).max();
        if let Some(weight) = longest {
            found.push((weight, entry));
        }
    }
    // Stable: of those that fit as well, the one that comes first in the tables.
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let best = found.first().map(|(_, entry)| *entry);
    let mut entries: Vec<_> = best.into_iter().collect();
    // What a client only wraps around a code says less than the code.
    let wrapped = entries.pop_if(|best| best.name.ends_with("(*)"));
    for number in numbers(&text).filter_map(by_number) {
        if !entries.iter().any(|known| std::ptr::eq(*known, number)) {
            entries.push(number);
        }
    }
    entries.extend(wrapped);
    // A second text that fits is worth a line where it is of another kind: a reason within a message.
    for (_, entry) in found.iter().skip(1) {
        let is_new = entries.iter().all(|known| known.kind != entry.kind);
        if is_new && matches!(entry.kind, Kind::Reason | Kind::ErrorCode) {
            entries.push(entry);
        }
    }
    entries.truncate(MOST);
    entries
}

/// The known texts that are most like this one, for whoever mistyped.
pub(crate) fn nearest(text: &str) -> Vec<&'static str> {
    let text = normal(text);
    let mut scored: Vec<(f64, &str)> = all()
        .flat_map(|entry| entry.texts().chain([entry.name]))
        .map(|says| (likeness(&text, &normal(says)), says))
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut near: Vec<&str> = Vec::new();
    for (_, says) in scored {
        if near.len() < MOST && !near.contains(&says) {
            near.push(says);
        }
    }
    near
}

/// A code of its own, or the entry that has it among others.
fn by_number(number: u16) -> Option<&'static Entry> {
    let text = number.to_string();
    let is_status = number < 1000;
    let table = if is_status { statuses::STATUSES } else { close_codes::CLOSE_CODES };
    let named = table.iter().find(|entry| entry.name.split(", ").any(|name| name == text));
    named.or(match number {
        1000..=2999 => Some(&RESERVED),
        3000..=3999 => Some(&REGISTERED),
        4000..=4999 => Some(&PRIVATE),
        _ => None,
    })
}

/// Numbers in a text that can only be codes: close codes, and statuses after a word that says so.
fn numbers(text: &str) -> impl Iterator<Item = u16> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .collect();
    let mut codes = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |at| words[at]);
        let says_status =
            ["response", "status", "http", "http/1.1", "http/1.0", "code", "answered", "error"];
        match word.parse::<u16>() {
            Ok(code @ (1000..=1015 | 4000..=4999)) if word.len() == 4 => codes.push(code),
            Ok(status @ 100..=599) if says_status.contains(&before) => codes.push(status),
            _ => {}
        }
    }
    codes.into_iter()
}

/// How much of a text is said by a pattern, in bytes; `None` where it is not in it.
fn weight(text: &str, pattern: &str) -> Option<usize> {
    let mut rest = text;
    let mut weight = 0;
    for piece in pattern.split('*').map(str::trim).filter(|piece| !piece.is_empty()) {
        let at = rest.find(piece)?;
        rest = &rest[at + piece.len()..];
        weight += piece.len();
    }
    (weight > 0).then_some(weight)
}

/// Lower case, and one space between words.
fn normal(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// Between 0 and 1: shared words count, and what is mistyped in them.
fn likeness(text: &str, says: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| word.len() > 2)
            .map(str::to_string)
            .collect()
    };
    let (own, known) = (words(text), words(says));
    let near = |word: &String| known.iter().any(|other| strsim::jaro_winkler(word, other) > 0.9);
    let shared = own.iter().filter(|word| near(word)).count() as f64;
    shared / own.len().max(known.len()).max(1) as f64 + strsim::jaro_winkler(text, says) / 2.0
}

const RESERVED: Entry = Entry {
    kind: Kind::CloseCode,
    name: "1016 to 2999",
    code: 0,
    says: &[],
    means: "A code that the WebSocket protocol keeps for itself and has not defined.",
    causes: &["a faulty server or proxy: this gateway does not send it"],
    fix: &["moorline doctor URL"],
};

const REGISTERED: Entry = Entry {
    kind: Kind::CloseCode,
    name: "3000 to 3999",
    code: 0,
    says: &[],
    means: "A code of a library or framework (registered with IANA).",
    causes: &["the client's library, or another server: this gateway does not send it"],
    fix: &["look it up in the documentation of the client's library"],
};

const PRIVATE: Entry = Entry {
    kind: Kind::CloseCode,
    name: "4000 to 4999",
    code: 0,
    says: &[],
    means: "A code that programs agree on among themselves.",
    causes: &["the client itself, or another server: of these, this gateway sends 4001 only"],
    fix: &["look it up in the documentation of the client"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_by_each_of_its_own_texts() {
        for entry in all() {
            for says in entry.texts() {
                let found = find(&says.replace('*', "17"));
                assert!(!found.is_empty(), "{says}");
            }
            let several = entry.kind == Kind::Status;
            for name in entry.name.split(if several { ", " } else { "\n" }) {
                let found = find(&name.replace('*', "17"));
                let is_it = |found: &&Entry| found.name == entry.name;
                assert!(found.iter().any(is_it), "{name} is explained as {found:?}");
            }
            assert!(!entry.means.is_empty() && !entry.causes.is_empty() && !entry.fix.is_empty());
        }
    }

    #[test]
    fn no_text_stands_in_two_entries_of_a_kind() {
        let of = |entry: &Entry, says: &str| (entry.kind.as_str(), normal(says));
        let mut texts: Vec<_> =
            all().flat_map(|entry| entry.texts().map(move |says| of(entry, says))).collect();
        texts.sort_unstable();
        for pair in texts.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }

    #[test]
    fn every_code_that_can_be_sent_is_explained() {
        for code in 1000..=4999 {
            assert_eq!(find(&code.to_string()).len(), 1, "{code}");
        }
        for number in ["0", "99", "299", "999", "5000", "65535", "70000"] {
            assert!(find(number).is_empty(), "{number}");
        }
    }

    #[test]
    fn patterns_say_how_much_of_a_text_they_are() {
        assert_eq!(
            weight("message of 7 bytes exceeds 5", "message of * bytes exceeds *"),
            Some(23)
        );
        assert_eq!(weight("bytes of a message", "message of * bytes"), None);
        assert_eq!(weight("anything", "*"), None);
    }
}
