//! The wheel of deadlines: examples, and the property that it does what an ordered map does.

mod support;

use moorline_core::Wheel;
use quickcheck::{Arbitrary, Gen, quickcheck};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{MS, epoch};

/// With its type: with serde_json around, a bare `[]` could be compared with other things, too.
const NOTHING: [usize; 0] = [];

fn expired(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
    let mut due = Vec::new();
    wheel.expired(now, &mut due);
    due
}

#[test]
fn an_entry_fires_once_within_a_tick_after_its_time() {
    let start = epoch();
    let mut wheel = Wheel::new(start);
    assert_eq!(wheel.next(), None);
    wheel.arm(7, start + 20 * MS);
    assert_eq!(wheel.next(), Some(start + 32 * MS));
    assert_eq!(expired(&mut wheel, start + 31 * MS), NOTHING);
    assert_eq!(expired(&mut wheel, start + 32 * MS), [7]);
    assert_eq!(expired(&mut wheel, start + 64 * MS), NOTHING);
    assert_eq!(wheel.next(), None);
}

#[test]
fn arming_later_does_nothing_and_arming_earlier_moves() {
    let start = epoch();
    let mut wheel = Wheel::new(start);
    wheel.arm(0, start + 320 * MS);
    wheel.arm(0, start + 640 * MS);
    assert_eq!(wheel.next(), Some(start + 320 * MS));
    wheel.arm(0, start + 160 * MS);
    assert_eq!(wheel.next(), Some(start + 160 * MS));
    assert_eq!(expired(&mut wheel, start + 640 * MS), [0], "once");
}

#[test]
fn a_time_that_has_passed_fires_at_once() {
    let start = epoch();
    let mut wheel = Wheel::new(start);
    let now = start + 100 * MS;
    assert_eq!(expired(&mut wheel, now), NOTHING);
    wheel.arm(3, start);
    assert!(wheel.next().unwrap() <= now);
    assert_eq!(expired(&mut wheel, now), [3]);
    assert_eq!(expired(&mut wheel, start), NOTHING, "time that goes back stands still");
}

#[test]
fn what_is_too_far_away_fires_after_the_span() {
    let start = epoch();
    let mut wheel = Wheel::new(start);
    wheel.arm(1, start + Duration::from_secs(1 << 40));
    wheel.arm(2, start + Wheel::SPAN);
    assert_eq!(wheel.next(), Some(start + Wheel::SPAN));
    assert_eq!(expired(&mut wheel, start + Wheel::SPAN - MS), NOTHING);
    assert_eq!(expired(&mut wheel, start + Wheel::SPAN).len(), 2);
}

#[test]
fn a_long_sleep_gives_everything_in_order() {
    let start = epoch();
    let mut wheel = Wheel::new(start);
    for key in 0..100 {
        wheel.arm(key, start + 600 * MS * (100 - key as u32));
    }
    let due = expired(&mut wheel, start + Duration::from_secs(1_000_000));
    assert_eq!(due, (0..100).rev().collect::<Vec<_>>());
}

#[derive(Debug, Copy, Clone)]
enum Op {
    Arm(usize, Duration),
    Disarm(usize),
    Wait(Duration),
    WaitForNext,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let key = usize::arbitrary(g) % 12;
        // Mostly within a few slots, sometimes beyond the span.
        let far = *g.choose(&[40, 2_000, 60_000, 200_000]).unwrap();
        let time = Duration::from_micros(u64::arbitrary(g) % (far * 1_000));
        match u8::arbitrary(g) % 8 {
            0..4 => Self::Arm(key, time),
            4 => Self::Disarm(key),
            5..7 => Self::Wait(time),
            _ => Self::WaitForNext,
        }
    }
}

quickcheck! {
    fn it_does_what_an_ordered_map_does(ops: Vec<Op>) -> bool {
        let start = epoch();
        let (mut now, mut wheel) = (start, Wheel::new(start));
        // When each key was asked to fire at the earliest, cut to the span.
        let mut model = BTreeMap::<usize, Instant>::new();
        for op in ops {
            match op {
                Op::Arm(key, after) => {
                    wheel.arm(key, now + after);
                    let at = (now + after).min(now + Wheel::SPAN);
                    let earliest = model.entry(key).or_insert(at);
                    *earliest = at.min(*earliest);
                }
                Op::Disarm(key) => {
                    wheel.disarm(key);
                    model.remove(&key);
                }
                Op::Wait(time) => now += time,
                Op::WaitForNext => now = wheel.next().unwrap_or(now).max(now),
            }
            let first = model.values().min().copied();
            assert_eq!(wheel.next().is_some(), first.is_some());
            if let (Some(next), Some(first)) = (wheel.next(), first) {
                assert!(next <= first + Wheel::TICK, "sleeps too long");
                assert!(next + Wheel::TICK >= first, "wakes for nothing");
            }
            let next = wheel.next();
            let due = expired(&mut wheel, now);
            assert_eq!(due.is_empty(), next.is_none_or(|next| next > now));
            for key in &due {
                let at = model.remove(key).expect("armed, and fired once");
                assert!(at <= now + Wheel::TICK, "fires too early");
            }
            assert!(model.values().all(|at| now < *at + Wheel::TICK), "fires too late");
        }
        true
    }
}
