//! permessage-deflate over real sockets.

use super::under_test::{Role, UnderTest, in_both_roles};
use crate::support::echo;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use moorline_core::{Deflate, Limits};

fn limits() -> Limits {
    let deflate = Deflate { no_context_takeover: true, ..Deflate::default() };
    Limits { deflate: Some(deflate), ..Limits::default() }
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

fn inflated(payload: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 1);
    let payload = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    Decompress::new(false).decompress_vec(&payload, &mut out, FlushDecompress::Sync).unwrap();
    out
}

/// With a handshake that agrees on it, in both roles.
fn in_both_roles_compressed(case: impl Fn(&mut UnderTest)) {
    for role in [Role::Server, Role::Client] {
        let mut it = UnderTest::new(role, &limits(), echo);
        match role {
            Role::Server => {
                let offer = "Sec-WebSocket-Extensions: permessage-deflate; \
                             client_no_context_takeover; server_no_context_takeover\r\n";
                let answer = it.peer.upgrade_with(offer);
                assert!(answer.contains("permessage-deflate"), "{answer}");
            }
            Role::Client => {
                let answer = it.answer(&limits());
                let text = String::from_utf8(answer.clone()).unwrap();
                assert!(text.contains("permessage-deflate"), "the client offered it: {text}");
                it.peer.send_raw(&answer);
            }
        }
        case(&mut it);
    }
}

#[test]
fn compressed_messages_come_back_compressed() {
    in_both_roles_compressed(|it| {
        for count in [100_u32, 1000, 5000] {
            let text: String = (0..count).map(|n| format!("word number {n} of many; ")).collect();
            let frame = it.peer.frame(0xC1, &deflated(text.as_bytes()));
            it.peer.send_raw(&frame);
            let (first, payload) = it.peer.read_frame();
            assert_eq!(first, 0xC1);
            assert!(payload.len() < text.len() / 3, "{} of {} bytes", payload.len(), text.len());
            assert!(inflated(&payload, text.len()) == text.as_bytes());
        }
        it.peer.send(1, b"plain");
        assert_eq!(it.peer.read_frame(), (0x81, b"plain".to_vec()));
    });
}

#[test]
fn a_bomb_closes_with_1009() {
    in_both_roles_compressed(|it| {
        let frame = it.peer.frame(0xC2, &deflated(&vec![0; 64 << 20]));
        // The end may come before all of it is written.
        let _ = std::io::Write::write_all(&mut it.peer.stream, &frame);
        it.fails(1009, "limit");
    });
}

#[test]
fn broken_data_closes_with_1007() {
    in_both_roles_compressed(|it| {
        let frame = it.peer.frame(0xC2, &[0xFF; 50]);
        it.peer.send_raw(&frame);
        it.fails(1007, "protocol");
    });
}

#[test]
fn it_is_not_there_unless_both_want_it() {
    in_both_roles(&Limits::default(), |it| {
        let frame = it.peer.frame(0xC1, &deflated(b"Hello"));
        it.peer.send_raw(&frame);
        it.fails(1002, "protocol");
    });
}
