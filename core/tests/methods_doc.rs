//! The pages of methods are made from the tables that the gateway uses.
#![cfg(feature = "gateway")]

use moorline_core::gateway::{host_methods_markdown, methods_markdown, openclaw_methods_markdown};

const INTRODUCTION: &str = "\
# Methods

What a client may ask over the WebSocket, as `{\"type\":\"req\",\"id\":…,\"method\":…,\"params\":{…}}`. A role includes
those before it: viewer, operator, admin, owner. The cost counts against `--rate-limit-rpm`. This page is made
from the table that the gateway uses.

";

const HOST: &str = "
## Of the host itself

These are answered only over the socket in the state folder ([admin.md](admin.md)), to who has logged in there without a
credential, and while the gateway begins and ends, too. Whoever else asks gets `UNAUTHORIZED`, whatever their role.

";

#[test]
fn the_page_of_methods_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/methods.md");
    let (all, host) = (methods_markdown(), host_methods_markdown());
    let wanted = format!("{INTRODUCTION}{all}{HOST}{host}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).expect("the page can be written");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == wanted, "docs/methods.md is not current: run this test with UPDATE_DOCS=1");
}

/// Where the table begins; what stands before is written by hand.
const METHODS: &str = "\n## Methods\n";

#[test]
fn the_page_about_clients_of_openclaw_ends_with_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openclaw.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (text, _) = page.split_once(METHODS).expect("the heading");
    let wanted = format!("{text}{METHODS}\n{}", openclaw_methods_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).expect("the page can be written");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == wanted, "docs/openclaw.md is not current: run this test with UPDATE_DOCS=1");
}
