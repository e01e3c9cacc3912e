//! What counting costs a loop: no allocation, once a kind of thing has been seen.
#![allow(dead_code)]

#[path = "../src/bin/moorline/metrics/cells.rs"]
mod cells;
#[path = "../../core/tests/support/counting.rs"]
mod counting;

use cells::{Counter, Family, Histogram, SHORT, Writer};
use counting::count;
use std::time::Duration;

#[test]
fn what_was_counted_before_is_counted_again_without_an_allocation() {
    let (requests, times) = (Family::default(), Family::<_, Histogram>::default());
    let (mut to_requests, mut to_times) = (Writer::default(), Writer::default());
    let total = Counter::default();
    let mut request = |method: &'static str, code: &'static str| {
        total.add(1);
        to_requests.count(&requests, [method, code]);
        let cell = to_times.to(&times, [method], || Histogram::new(SHORT));
        cell.observe(Duration::from_micros(300));
    };
    let methods = ["chat.send", "health", "connect", "unknown"];
    let ((), first) = count(|| methods.iter().for_each(|method| request(method, "ok")));
    assert!(first.calls > 0, "labels that are new get their cells");
    let ((), again) = count(|| {
        for _ in 0..1_000 {
            methods.iter().for_each(|method| request(method, "ok"));
        }
    });
    assert_eq!(again.calls, 0);
    assert_eq!(total.value(), 4_004);
}
