//! The fuzz bodies on their seeds and on what quickcheck makes up.

use moorline_fuzz::BODIES;
use quickcheck::{Gen, QuickCheck, TestResult};
use std::path::Path;
use std::{fs, panic};

#[test]
fn every_seed_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, body) in BODIES {
        let files: Vec<_> = fs::read_dir(seeds.join(name))
            .unwrap_or_else(|error| panic!("seeds/{name}: {error}"))
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            let data = fs::read(&file).expect("a readable seed");
            if let Err(panic) = panic::catch_unwind(|| body(&data)) {
                eprintln!("the seed is {}", file.display());
                panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn seeds_belong_to_a_body() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for entry in fs::read_dir(seeds).expect("seeds") {
        let folder = entry.expect("a readable folder").file_name();
        assert!(BODIES.iter().any(|(name, _)| **name == *folder), "{folder:?}");
    }
}

/// More and longer cases than the default: a body takes microseconds, on long inputs milliseconds.
fn quickcheck(name: &str) {
    let (_, body) = *BODIES.iter().find(|(other, _)| *other == name).expect("a body");
    for (size, tests) in [(10, 2_000), (40, 2_000), (400, 600)] {
        QuickCheck::new().rng(Gen::new(size)).tests(tests).quickcheck(Case(body));
    }
}

struct Case(moorline_fuzz::Body);

impl quickcheck::Testable for Case {
    fn result(&self, g: &mut Gen) -> TestResult {
        let data: Vec<u8> = quickcheck::Arbitrary::arbitrary(g);
        let body = self.0;
        if let Err(panic) = panic::catch_unwind(|| body(&data)) {
            eprintln!("the input is {data:?}");
            panic::resume_unwind(panic);
        }
        TestResult::passed()
    }
}

macro_rules! quickchecks {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            quickcheck(stringify!($name));
        }
    )* };
}

quickchecks!(
    server_bytes
    client_bytes
    upgrade_request
    header
    utf8_stream
    outbox
    compressed_bytes
    inflate
    deflate
    extension_offers
    extension_answers
    gateway
    completion_request
    tungstenite_server
    tungstenite_client
);
