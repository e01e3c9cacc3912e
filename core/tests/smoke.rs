//! The smallest run of the loop.
mod support;
use moorline_core::*;
use support::*;

#[test]
fn a_masked_hello_is_a_text_event() {
    let now = epoch();
    let mut server = open_server(Limits::default(), now);
    let mut bytes = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let mut turn = server.receive(now, &mut bytes);
    let (event, outbox) = turn.next_event().unwrap();
    assert_eq!(event, Event::Text("Hello"));
    outbox.text("Hello").unwrap();
    assert!(turn.next_event().is_none());
    assert_eq!(drain_output(&mut server, now), b"\x81\x05Hello");
    assert_eq!(server.retained(), 0);
    println!("{}", size_of::<Connection>());
}
