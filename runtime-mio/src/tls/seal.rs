//! What is sent becomes records: small pieces join one, and no more is encrypted at once than the kernel
//! is likely to take.

use rustls::Error;
use rustls::unbuffered::{EncryptError, WriteTraffic};
use std::io::IoSlice;

/// Plaintext of a record at most (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// What a record has beyond its plaintext, in any version and cipher suite, is less.
const OVERHEAD: usize = 64;

/// Plaintext that is encrypted for one write. What the kernel does not take of it is held in memory beside
/// the outbox, so it is the most that a slow reader adds there; less would cost more calls of the system
/// for large messages.
pub(super) const AT_ONCE: usize = 4 * RECORD;

/// What is left over beyond that leaves with it if it is no more than this: the core's largest frame is as long
/// as `AT_ONCE`, and a header on top of it.
const REST: usize = 1024;

/// What is to be sent.
pub(super) enum Seal<'s> {
    /// As much of the slices as may be encrypted at once, which `taken` says.
    Data { slices: &'s [IoSlice<'s>], gather: &'s mut Vec<u8>, taken: &'s mut usize },
    /// The end.
    CloseNotify,
}

impl Seal<'_> {
    pub(super) fn run<D>(
        self,
        traffic: &mut WriteTraffic<'_, D>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Self::Data { slices, gather, taken } => {
                let offered = slices.iter().map(|slice| slice.len()).sum();
                let limit = at_once(offered, out.len());
                *taken = in_records(slices, limit, gather, |plaintext| {
                    append(out, plaintext.len(), |out| traffic.encrypt(plaintext, out))
                })?;
                Ok(())
            }
            Self::CloseNotify => append(out, 0, |out| traffic.queue_close_notify(out)),
        }
    }
}

/// How much of what is offered is encrypted, where `waiting` bytes leave before it.
fn at_once(offered: usize, waiting: usize) -> usize {
    let room = AT_ONCE.saturating_sub(waiting);
    if offered <= room + REST { offered } else { room }
}

/// Cuts slices into pieces of a record's size, the last one shorter; at most `limit` bytes. Says how many.
fn in_records<E>(
    slices: &[IoSlice<'_>],
    limit: usize,
    gather: &mut Vec<u8>,
    mut record: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let mut taken = 0;
    gather.clear();
    for slice in slices {
        let mut rest = &slice[..slice.len().min(limit - taken)];
        taken += rest.len();
        if !gather.is_empty() {
            let (first, behind) = rest.split_at(rest.len().min(RECORD - gather.len()));
            gather.extend_from_slice(first);
            rest = behind;
            if gather.len() == RECORD {
                record(gather)?;
                gather.clear();
            }
        }
        while let Some((whole, behind)) = rest.split_at_checked(RECORD) {
            record(whole)?;
            rest = behind;
        }
        gather.extend_from_slice(rest);
    }
    if !gather.is_empty() {
        record(gather)?;
    }
    Ok(taken)
}

/// Appends what `write` puts into a slice that has room for so many bytes of plaintext, and for whatever
/// the session puts before them.
fn append(
    out: &mut Vec<u8>,
    plaintext: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let start = out.len();
    let mut size = plaintext + OVERHEAD;
    loop {
        out.resize(start + size, 0);
        match write(&mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) if needed.required_size > size => {
                size = needed.required_size;
            }
            Err(error) => {
                out.truncate(start);
                return Err(Error::General(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pieces: &[usize], limit: usize) -> (usize, Vec<usize>) {
        let bytes: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|at| at as u8).collect();
        let mut rest = &bytes[..];
        let slices: Vec<_> = pieces
            .iter()
            .map(|len| {
                let (piece, behind) = rest.split_at(*len);
                rest = behind;
                IoSlice::new(piece)
            })
            .collect();
        let (mut sizes, mut joined) = (Vec::new(), Vec::new());
        let taken = in_records(&slices, limit, &mut Vec::new(), |record| {
            sizes.push(record.len());
            joined.extend_from_slice(record);
            Ok::<_, ()>(())
        });
        let taken = taken.expect("nothing fails");
        assert_eq!(joined, bytes[..taken], "every byte, in order");
        (taken, sizes)
    }

    #[test]
    fn small_pieces_share_a_record_and_large_ones_fill_theirs() {
        assert_eq!(records(&[], AT_ONCE), (0, vec![]));
        assert_eq!(records(&[1, 2, 3], AT_ONCE), (6, vec![6]));
        assert_eq!(records(&[10, RECORD, 10], AT_ONCE), (RECORD + 20, vec![RECORD, 20]));
        assert_eq!(records(&[RECORD, 1], AT_ONCE), (RECORD + 1, vec![RECORD, 1]));
        assert_eq!(records(&[0, 3 * RECORD], AT_ONCE), (3 * RECORD, vec![RECORD; 3]));
    }

    #[test]
    fn the_end_of_what_is_offered_does_not_need_a_write_of_its_own() {
        for waiting in [0, 100, AT_ONCE] {
            let room = AT_ONCE - waiting;
            for all in [0, room, room + 10, room + REST] {
                assert_eq!(at_once(all, waiting), all);
            }
            for more in [room + REST + 1, room + AT_ONCE] {
                assert_eq!(at_once(more, waiting), room);
            }
        }
    }

    #[test]
    fn no_more_is_taken_than_may_be_encrypted_at_once() {
        assert_eq!(records(&[1, 2 * AT_ONCE], AT_ONCE), (AT_ONCE, vec![RECORD; 4]));
        assert_eq!(records(&[AT_ONCE, 1], AT_ONCE), (AT_ONCE, vec![RECORD; 4]));
        assert_eq!(records(&[5, 5, 5], 7), (7, vec![7]));
        assert_eq!(records(&[5], 0), (0, vec![]));
    }
}
