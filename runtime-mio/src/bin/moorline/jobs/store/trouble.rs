//! Files that are not what they should be, disks that are full: what the store says, and that it goes on.

use super::Store;
use super::contract::{Folder, say};
use super::file::NAME;
use super::sqlite::SqliteStore;
use moorline_core::gateway::{SessionFilter, StopReason, StoreError, StoreOutcome, StoreWork};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What a file of version 1 was made with. It stays as it is when the tables of today change.
const VERSION_1: &str = include_str!("version_1.sql");

const UNAVAILABLE: StoreOutcome = StoreOutcome::Failed(StoreError::Unavailable);

/// Why a file is refused; it must be as it was then.
fn refusal(folder: &Folder) -> String {
    let path = folder.0.join(NAME);
    let before = fs::read(&path).ok();
    let text = SqliteStore::open(&folder.0).map(drop).expect_err("it must be refused").to_string();
    assert!(text.contains(path.to_str().unwrap()), "it says which file: {text}");
    assert_eq!(fs::read(&path).ok(), before, "the file was touched: {text}");
    text
}

fn new_file(folder: &Folder) -> Vec<u8> {
    let mut store = Store::open(&folder.0).unwrap();
    for n in 0..200 {
        assert_eq!(store.one(say("s", &"text".repeat(100), n, None)), id(n + 1));
    }
    drop(store);
    fs::read(folder.0.join(NAME)).unwrap()
}

fn id(id: u64) -> StoreOutcome {
    StoreOutcome::Appended { id }
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_file_of_version_1_is_used_and_a_future_one_is_refused() {
    let folder = Folder::new();
    let path = folder.0.join(NAME);
    change(&path, VERSION_1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = Store::open(&folder.0).unwrap();
    let StoreOutcome::History { messages, .. } = store.one(StoreWork::History {
        session: "agent:echo:ws:direct:old".into(),
        before: None,
        limit: 9,
        bytes: 999,
    }) else {
        panic!("the session is there");
    };
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| message.stop == StopReason::Stop));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
    change(&path, "PRAGMA user_version = 1000");
    let text = refusal(&folder);
    assert!(text.contains("newer version of moorline (schema 1000"), "{text}");
}

#[test]
fn what_is_no_file_of_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.0.join(NAME);
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"hello", "it ends within its header"),
        (&[b'x'; 8192], "it is not a SQLite database"),
    ] {
        fs::write(&path, bytes).unwrap();
        let text = refusal(&folder);
        assert!(text.contains(why) && text.contains("Put back a copy"), "{text}");
    }
    fs::remove_file(&path).unwrap();
    change(&path, "CREATE TABLE theirs (x); PRAGMA application_id = 7");
    let text = refusal(&folder);
    assert!(text.contains("a database of another program (application_id 0x7)"), "{text}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("It must be a file"), "{text}");
    fs::remove_dir(&path).unwrap();
    fs::write(folder.0.join("moorline.db-wal"), "what a lost file had in its log").unwrap();
    let text = refusal(&folder);
    assert!(text.contains("is missing, but its log"), "{text}");
}

#[test]
fn a_file_that_was_cut_off_is_refused_wherever_it_was() {
    let folder = Folder::new();
    let whole = new_file(&folder);
    let path = folder.0.join(NAME);
    for length in (1..whole.len()).step_by(whole.len() / 40) {
        fs::write(&path, &whole[..length]).unwrap();
        let text = refusal(&folder);
        assert!(text.contains("left as it is"), "{length}: {text}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(Store::open(&folder.0).unwrap().one(say("s", "x", 1, None)), id(201));
}

#[test]
fn flipped_bytes_are_refused_or_do_no_harm() {
    let folder = Folder::new();
    let whole = new_file(&folder);
    let path = folder.0.join(NAME);
    let mut refused = 0;
    // The first page is the one whose damage matters most.
    for at in (0..4096).step_by(97).chain((4096..whole.len()).step_by(2311)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0xFF;
        fs::write(&path, &flipped).unwrap();
        match SqliteStore::open(&folder.0) {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains(path.to_str().unwrap()), "{at}: {error}");
                assert!(fs::read(&path).unwrap() == flipped, "{at}: the file was touched");
            }
            // In a text, or in what is not used; it may not work then, but it answers.
            Ok(mut store) => {
                let outcomes = store.all(vec![
                    say("s", "x", 1, None),
                    StoreWork::List {
                        filter: SessionFilter::default(),
                        texts: true,
                        limit: 9,
                        offset: 0,
                    },
                ]);
                assert_eq!(outcomes.len(), 2);
            }
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_file_is_private() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    store.one(say("s", "x", 1, None));
    for entry in fs::read_dir(&folder.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_is_forgotten_when_there_is_room() {
    let folder = Folder::new();
    let mut store = SqliteStore::open(&folder.0).unwrap();
    assert_eq!(store.all(vec![say("s", "before", 1, None)]), [id(1)]);
    let pages: i64 = store.file.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.file.pragma_update(None, "max_page_count", pages).unwrap();
    let large = || say("s", &"x".repeat(100_000), 2, None);
    assert_eq!(store.all(vec![large()]), [UNAVAILABLE]);
    store.file.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert_eq!(store.all(vec![large(), StoreWork::Probe]), [id(2), StoreOutcome::Stored]);
}

#[test]
fn one_work_that_fails_does_not_take_the_others_with_it() {
    let folder = Folder::new();
    let mut store = SqliteStore::open(&folder.0).unwrap();
    store.all(vec![say("s", "before", 1, None)]);
    // The second message of this session cannot be stored, whatever was done for it before.
    store
        .file
        .execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.text = 'bad'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    let works =
        vec![say("t", "good", 2, None), say("u", "bad", 3, None), say("t", "good", 4, None)];
    assert_eq!(store.all(works), [id(1), UNAVAILABLE, id(2)]);
    let absent = store.all(vec![StoreWork::Open { session: "u".into() }]);
    assert_eq!(absent, [StoreOutcome::Absent], "nothing of it stays");
}

#[test]
fn a_commit_that_fails_fails_every_work_of_it() {
    let folder = Folder::new();
    let mut store = SqliteStore::open(&folder.0).unwrap();
    // A constraint that is looked at when the transaction ends.
    store
        .file
        .execute_batch(
            "CREATE TABLE late (x INTEGER REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER late AFTER INSERT ON messages WHEN NEW.text = 'bad'
             BEGIN INSERT INTO late VALUES (99); END",
        )
        .unwrap();
    let works = vec![say("s", "good", 1, None), say("s", "bad", 2, None)];
    assert_eq!(store.all(works), [UNAVAILABLE, UNAVAILABLE]);
    assert_eq!(store.all(vec![say("s", "good", 3, None)]), [id(1)], "it is as if it never was");
}
