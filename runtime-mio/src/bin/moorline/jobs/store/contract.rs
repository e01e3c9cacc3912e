//! What every store must do, run against both of them; and that no sequence of works tells them apart.

use super::sqlite::SqliteStore;
use super::{Kind, Store};
use moorline_core::gateway::*;
use quickcheck::{Arbitrary, Gen};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is gone at the end of the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("moorline-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Store {
    pub(super) fn one(&mut self, work: StoreWork) -> StoreOutcome {
        self.all(vec![work]).pop().expect("an outcome for each work")
    }

    fn all(&mut self, works: Vec<StoreWork>) -> Vec<StoreOutcome> {
        match &mut self.0 {
            Kind::Memory(store) => works.into_iter().map(|work| store.execute(work)).collect(),
            Kind::File(store) => store.all(works),
        }
    }
}

impl SqliteStore {
    pub(super) fn all(&mut self, works: Vec<StoreWork>) -> Vec<StoreOutcome> {
        let mut batch = self.begin();
        for work in works {
            self.execute(&mut batch, work);
        }
        self.commit(batch)
    }
}

pub(super) fn say(session: &str, text: &str, at: u64, mark: Option<Mark>) -> StoreWork {
    StoreWork::Append {
        session: session.into(),
        create: Some(NewSession { owner: "ann".into(), agent: "echo".into() }),
        author: Author::User,
        text: text.into(),
        media: Vec::new(),
        label: None,
        stop: StopReason::Stop,
        at,
        mark,
    }
}

fn begin(key: &str, text: &str, expires: u64) -> Option<Mark> {
    let (user, key) = ("ann".into(), key.into());
    Some(Mark::Begin { user, key, print: Fingerprint::of(text), run: "run".into(), expires })
}

fn answer(session: &str, key: &str, at: u64, expires: u64) -> StoreWork {
    let usage = Usage { prompt_tokens: u64::MAX, completion_tokens: 3 };
    let mark = Mark::End { user: "ann".into(), key: key.into(), usage, expires };
    match say(session, "the answer", at, Some(mark)) {
        StoreWork::Append { session, text, media, label, at, mark, .. } => {
            let (create, author, stop) = (None, Author::Assistant, StopReason::Length);
            StoreWork::Append { session, create, author, text, media, label, stop, at, mark }
        }
        other => other,
    }
}

/// The session, the message and the end of what is known; `None` for any other outcome.
fn known(outcome: &StoreOutcome) -> Option<(&str, u64, Option<&RunEnd>)> {
    match outcome {
        StoreOutcome::Known(known) => {
            Some((&*known.session.key, known.message, known.end.as_ref()))
        }
        _ => None,
    }
}

/// What a store must do, in words and as a test.
type Promise = (&'static str, fn(&mut Store));

const CONTRACT: &[Promise] = &[
    ("a key has its effect once", |store| {
        let retry = |at| say("other", "hello", at, begin("k", "hello", 100));
        assert_eq!(store.one(say("s", "hello", 1, begin("k", "hello", 100))), appended(1));
        assert_eq!(known(&store.one(retry(2))), Some(("s", 1, None)));
        assert_eq!(store.one(say("s", "bye", 2, begin("k", "bye", 100))), StoreOutcome::Conflict);
        assert_eq!(store.one(open("other")), StoreOutcome::Absent, "nothing was created");
        assert_eq!(store.one(answer("s", "k", 3, 50)), appended(2));
        let saved = store.one(retry(49));
        let Some(("s", 1, Some(RunEnd::Completed { message: 2, content, usage, stop }))) =
            known(&saved)
        else {
            panic!("{saved:?}");
        };
        assert_eq!((&**content, usage.completion_tokens), ("the answer", 3));
        assert_eq!(*stop, StopReason::Length);
        assert_eq!(store.one(retry(50)), appended(1), "it has expired");
    }),
    ("somebody else's session is left alone, key or no key", |store| {
        store.one(say("s", "mine", 1, None));
        let StoreWork::Append { session, author, text, media, label, stop, at, .. } =
            say("s", "x", 2, None)
        else {
            return;
        };
        let create = Some(NewSession { owner: "eve".into(), agent: "echo".into() });
        let mark = begin("k", "x", 9);
        let work =
            StoreWork::Append { session, create, author, text, media, label, stop, at, mark };
        assert_eq!(store.one(work), StoreOutcome::Taken);
        assert_eq!(store.one(say("s", "x", 3, begin("k", "x", 9))), appended(2));
    }),
    ("the first ending is the one that is kept", |store| {
        store.one(say("s", "hello", 1, begin("k", "hello", 100)));
        let settle = |end| StoreWork::Settle {
            user: "ann".into(),
            key: "k".into(),
            end,
            at: 2,
            expires: 60,
        };
        let late = RunEnd::Failed { timeout: true, error: "late".into() };
        assert_eq!(store.one(settle(late.clone())), StoreOutcome::Stored);
        assert_eq!(store.one(settle(RunEnd::Cancelled)), StoreOutcome::Stored);
        assert_eq!(store.one(answer("s", "k", 3, 90)), appended(2));
        let retry = |at| say("s", "hello", at, begin("k", "hello", 200));
        assert_eq!(known(&store.one(retry(59))), Some(("s", 1, Some(&late))));
        assert_eq!(store.one(retry(60)), appended(3));
    }),
    ("keys of a user are bounded, and those that have ended go first", |store| {
        for n in 0..1000 {
            store.one(say("s", "x", 1, begin(&n.to_string(), "x", 1000 + n)));
        }
        let settled = StoreWork::Settle {
            user: "ann".into(),
            key: "500".into(),
            end: RunEnd::Cancelled,
            at: 2,
            expires: 900,
        };
        store.one(settled);
        let retry = |key: &str| say("s", "x", 3, begin(key, "x", 3000));
        assert_eq!(store.one(retry("new")), appended(1001));
        assert_eq!(store.one(retry("500")), appended(1002), "it had ended");
        assert!(known(&store.one(retry("1"))).is_some());
        assert_eq!(store.one(retry("0")), appended(1003), "it was the oldest");
    }),
    ("what is removed takes its unanswered keys with it", |store| {
        let send = |n: u64| {
            let text = n.to_string();
            say("s", &text, 1, begin(&text, &text, 100))
        };
        for n in 1..=4 {
            store.one(send(n));
        }
        store.one(answer("s", "1", 2, 100));
        let compact = |keep| StoreWork::Compact { session: "s".into(), keep };
        assert_eq!(store.one(compact(9)), StoreOutcome::Trimmed { removed: 0, left: 5 });
        assert_eq!(store.one(compact(2)), StoreOutcome::Trimmed { removed: 3, left: 2 });
        assert_eq!(known(&store.one(send(1))).map(|k| k.2.is_some()), Some(true));
        assert_eq!(known(&store.one(send(4))), Some(("s", 4, None)));
        assert_eq!(store.one(send(2)), appended(6));
        let reset = StoreWork::Reset { session: "s".into() };
        assert_eq!(store.one(reset), StoreOutcome::Trimmed { removed: 3, left: 0 });
        assert_eq!(store.one(send(4)), appended(7), "ids are not used again");
        assert!(known(&store.one(send(1))).is_some(), "it had its answer");
        let delete = || StoreWork::Delete { session: "s".into() };
        assert_eq!(store.one(delete()), StoreOutcome::Removed(true));
        assert_eq!(store.one(delete()), StoreOutcome::Removed(false));
        assert_eq!(store.one(send(1)), appended(1), "a session like any new one");
    }),
    ("texts are what they were", |store| {
        let texts = ["", "a\0b", "\u{FEFF}ünï \u{1F600}", "'; DROP TABLE messages; --", "\r\n"];
        for text in texts {
            store.one(say(text, text, u64::MAX, begin(text, text, u64::MAX)));
            let history = store.one(history(text, None, 9, 0));
            let StoreOutcome::History { messages, more: false } = history else {
                panic!("{history:?}");
            };
            assert_eq!(&*messages[0].text, text);
        }
    }),
    ("messages have the key of their request, also when that is forgotten", |store| {
        store.one(say("s", "hello", 1, begin("1", "hello", 2)));
        store.one(answer("s", "1", 1, 2));
        store.one(say("s", "no key", 1, None));
        // This one takes with it what has expired.
        store.one(say("s", "later", 100, begin("2", "later", 200)));
        let found = store.one(history("s", None, 9, 999));
        let StoreOutcome::History { messages, .. } = found else { panic!("{found:?}") };
        let keys: Vec<_> = messages.iter().map(|message| message.key.as_deref()).collect();
        assert_eq!(keys, [Some("1"), Some("1"), None, Some("2")]);
    }),
    ("an answer that was cut short is one also when its key is forgotten", |store| {
        store.one(say("s", "hello", 1, begin("1", "hello", 2)));
        store.one(answer("s", "1", 1, 2));
        let found = store.one(history("s", None, 9, 999));
        let StoreOutcome::History { messages, .. } = found else { panic!("{found:?}") };
        let stops: Vec<_> = messages.iter().map(|message| message.stop).collect();
        assert_eq!(stops, [StopReason::Stop, StopReason::Length]);
    }),
    ("a session can begin empty, and then is as any other", |store| {
        let create = |owner: &str, label: Option<&str>| StoreWork::Create {
            session: "s".into(),
            new: NewSession { owner: owner.into(), agent: "echo".into() },
            label: label.map(Into::into),
            at: 5,
        };
        let created = store.one(create("ann", Some("plans")));
        let StoreOutcome::Opened(info) = &created else { panic!("{created:?}") };
        assert_eq!((info.label.as_deref(), info.messages, info.created), (Some("plans"), 0, 5));
        assert_eq!(store.one(create("ann", None)), created, "it is left as it is");
        assert_eq!(store.one(create("eve", None)), StoreOutcome::Taken);
        assert_eq!(store.one(say("s", "hello", 6, None)), appended(1));
    }),
    ("a list is filtered, and tells how conversations begin and end", |store| {
        let long = "ä".repeat(LISTED_CHARS + 9);
        for (session, text, at) in [("a", &*long, 1), ("a", "end\0!", 2), ("B-side", "x", 3)] {
            store.one(say(session, text, at, None));
        }
        store.one(StoreWork::Patch { session: "a".into(), label: Some("My Plans".into()) });
        let mut list = |filter: SessionFilter| {
            let work = StoreWork::List { filter, texts: true, limit: 9, offset: 0 };
            let StoreOutcome::List { sessions, total } = store.one(work) else { panic!("a list") };
            assert_eq!(sessions.len(), total);
            sessions
        };
        let keys = |list: &[Listed]| -> Vec<_> {
            list.iter().map(|session| session.info.key.to_string()).collect()
        };
        let all = list(SessionFilter::default());
        assert_eq!(keys(&all), ["B-side", "a"]);
        assert_eq!(all[1].first.as_deref(), Some(&*"ä".repeat(LISTED_CHARS)));
        assert_eq!(all[1].last.as_deref(), Some("end\0!"));
        let search =
            |text: &str| SessionFilter { search: Some(text.into()), ..SessionFilter::default() };
        assert_eq!(keys(&list(search("plans"))), ["a"]);
        assert_eq!(keys(&list(search("b-s"))), ["B-side"]);
        assert!(list(search("%")).is_empty(), "it is no pattern");
        let label =
            |text: &str| SessionFilter { label: Some(text.into()), ..SessionFilter::default() };
        assert_eq!((list(label("My Plans")).len(), list(label("my plans")).len()), (1, 0));
        let key = SessionFilter { key: Some("a".into()), ..SessionFilter::default() };
        assert_eq!(list(key).len(), 1);
        let late = SessionFilter { since: Some(3), ..SessionFilter::default() };
        assert_eq!(keys(&list(late)), ["B-side"]);
        let hers = SessionFilter { owner: Some("eve".into()), ..search("a") };
        assert!(list(hers).is_empty());
        let count = |owner: Option<&str>| StoreWork::Count { owner: owner.map(Into::into) };
        let counted = StoreOutcome::Counted(vec![("echo".into(), 2)]);
        assert_eq!(store.one(count(Some("ann"))), counted);
        assert_eq!(store.one(count(None)), counted);
        assert_eq!(store.one(count(Some("eve"))), StoreOutcome::Counted(vec![]));
    }),
    ("records are put together, and go when they are told or have expired", |store| {
        let record = |key: &str, expires| Record {
            kind: RecordKind::Link,
            key: key.into(),
            value: "{}".into(),
            expires,
        };
        let records = vec![record("a", Some(10)), record("b", None)];
        assert_eq!(store.one(StoreWork::Put { records, at: 1 }), StoreOutcome::Stored);
        let load = |at| StoreWork::Load { at };
        let expected = vec![record("a", Some(10)), record("b", None)];
        assert_eq!(store.one(load(9)), StoreOutcome::Loaded(expected));
        assert_eq!(store.one(load(10)), StoreOutcome::Loaded(vec![record("b", None)]));
        let clear = |kind| StoreWork::Clear { kind, at: 10 };
        assert_eq!(store.one(clear(RecordKind::Device)), StoreOutcome::Removed(false));
        assert_eq!(store.one(clear(RecordKind::Link)), StoreOutcome::Removed(true));
        assert_eq!(store.one(load(10)), StoreOutcome::Loaded(vec![]));
    }),
    ("it can be probed", |store| assert_eq!(store.one(StoreWork::Probe), StoreOutcome::Stored)),
];

fn appended(id: u64) -> StoreOutcome {
    StoreOutcome::Appended { id }
}

fn open(session: &str) -> StoreWork {
    StoreWork::Open { session: session.into() }
}

fn history(session: &str, before: Option<u64>, limit: usize, bytes: usize) -> StoreWork {
    StoreWork::History { session: session.into(), before, limit, bytes }
}

#[test]
fn every_store_keeps_the_contract() {
    for (what, test) in CONTRACT {
        println!("{what}, in memory");
        test(&mut Store::memory());
        println!("{what}, in a file");
        let folder = Folder::new();
        test(&mut Store::open(&folder.0).unwrap());
    }
}

/// A work out of a world so small that works meet each other.
#[derive(Debug, Clone)]
struct Step {
    work: StoreWork,
    /// Milliseconds that pass before it.
    wait: u64,
    /// The batch ends here.
    last: bool,
    /// The process does, too.
    restart: bool,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        fn pick<T: Clone>(g: &mut Gen, from: &[T]) -> T {
            g.choose(from).expect("not empty").clone()
        }
        let session: Arc<str> = pick(g, &["s1", "s2", "s3"]).into();
        let user: Arc<str> = pick(g, &["ann", "eve"]).into();
        let key: Arc<str> = pick(g, &["k1", "k2", "k3"]).into();
        let text: Arc<str> = pick(g, &["", "hello", "a longer text"]).into();
        let kind = pick(g, &[RecordKind::Link, RecordKind::Device]);
        let label = pick(g, &[None, Some("label".to_string())]);
        let expires = pick(g, &[5, 40, 500]);
        let small = pick(g, &[0, 1, 2, 5]);
        let mark = match pick(g, &[0, 1, 2]) {
            0 => None,
            1 => {
                let print = Fingerprint::of(&text);
                let (user, key, run) = (user.clone(), key.clone(), "run".into());
                Some(Mark::Begin { user, key, print, run, expires })
            }
            _ => {
                let usage = Usage { prompt_tokens: small as u64, completion_tokens: 1 };
                let (user, key) = (user.clone(), key.clone());
                Some(Mark::End { user, key, usage, expires })
            }
        };
        let work = match pick(g, &(0..27).collect::<Vec<_>>()) {
            0..10 => StoreWork::Append {
                session,
                create: pick(g, &[None, Some(NewSession { owner: user, agent: key })]),
                author: pick(g, &[Author::User, Author::Assistant]),
                text,
                media: pick(g, &[vec![], vec!["media/a/1.png".into(), "media/a/2".into()]]),
                label,
                stop: pick(g, &[StopReason::Stop, StopReason::Length, StopReason::ToolCalls]),
                at: 0,
                mark,
            },
            10 | 11 => {
                let failed = RunEnd::Failed { timeout: small == 0, error: text };
                let end = pick(g, &[RunEnd::Cancelled, failed]);
                StoreWork::Settle { user, key, end, at: 0, expires }
            }
            12 => StoreWork::Open { session },
            13 | 14 => StoreWork::History {
                session,
                before: pick(g, &[None, Some(3), Some(u64::MAX)]),
                limit: small,
                bytes: pick(g, &[0, 12, 1000]),
            },
            15 | 24 => StoreWork::List {
                filter: SessionFilter {
                    owner: pick(g, &[None, Some(user)]),
                    agent: pick(g, &[None, Some(key.to_string())]),
                    key: pick(g, &[None, None, Some(session)]),
                    label: pick(g, &[None, None, Some("label".into())]),
                    search: pick(g, &[None, None, Some("l".into()), Some("s2".into())]),
                    since: pick(g, &[None, None, Some(9), Some(u64::MAX)]),
                },
                texts: bool::arbitrary(g),
                limit: small,
                offset: pick(g, &[0, 1]),
            },
            25 => {
                let new = NewSession { owner: user, agent: key };
                StoreWork::Create { session, new, label, at: 0 }
            }
            26 => StoreWork::Count { owner: pick(g, &[None, Some(user)]) },
            16 => StoreWork::Patch { session, label },
            17 => StoreWork::Delete { session },
            18 => StoreWork::Reset { session },
            19 => StoreWork::Compact { session, keep: small as u64 },
            20 | 21 => {
                let expires = pick(g, &[None, Some(expires)]);
                let record = Record { kind, key, value: text, expires };
                StoreWork::Put { records: vec![record; small], at: 0 }
            }
            22 => {
                pick(g, &[StoreWork::Remove { kind, key, at: 0 }, StoreWork::Clear { kind, at: 0 }])
            }
            _ => StoreWork::Load { at: 0 },
        };
        let (last, restart) = (bool::arbitrary(g), small == 5 && bool::arbitrary(g));
        Self { work, wait: pick(g, &[0, 1, 4, 35]), last, restart }
    }
}

/// The work at this time; its expiries were made relative to it.
fn timed(mut work: StoreWork, now: u64) -> StoreWork {
    match &mut work {
        StoreWork::Append { at, mark, .. } => {
            *at = now;
            if let Some(Mark::Begin { expires, .. } | Mark::End { expires, .. }) = mark {
                *expires += now;
            }
        }
        StoreWork::Settle { at, expires, .. } => (*at, *expires) = (now, now + *expires),
        StoreWork::Put { at, records } => {
            *at = now;
            for expires in records.iter_mut().filter_map(|record| record.expires.as_mut()) {
                *expires += now;
            }
        }
        StoreWork::Remove { at, .. } | StoreWork::Clear { at, .. } | StoreWork::Load { at } => {
            *at = now;
        }
        StoreWork::Create { at, .. } => *at = now,
        _ => {}
    }
    work
}

#[test]
fn no_sequence_of_works_tells_the_stores_apart() {
    fn property(steps: Vec<Step>) -> bool {
        let folder = Folder::new();
        let mut memory = MemoryStore::default();
        let mut file = SqliteStore::open(&folder.0).unwrap();
        let (mut works, mut now) = (Vec::new(), 1);
        let steps_left = steps.len();
        for (n, step) in steps.into_iter().enumerate() {
            now += step.wait;
            works.push(timed(step.work, now));
            if !step.last && n + 1 < steps_left {
                continue;
            }
            let expected: Vec<_> = works.iter().map(|w| memory.execute(w.clone())).collect();
            let got = file.all(works.clone());
            if got != expected {
                println!("works: {works:#?}\nin memory: {expected:#?}\nin the file: {got:#?}");
                return false;
            }
            works.clear();
            if step.restart {
                drop(file);
                file = SqliteStore::open(&folder.0).unwrap();
            }
        }
        true
    }
    quickcheck::QuickCheck::new()
        .rng(Gen::new(150))
        .tests(60)
        .quickcheck(property as fn(Vec<Step>) -> bool);
}
