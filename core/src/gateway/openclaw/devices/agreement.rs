//! Whatever nodes change at the same time, and however slow the news are, they end with the same devices.

use super::tests::{BOUNDS, CHAT, OPERATOR, OWNER, issue, name, wish};
use super::*;
use crate::gateway::config::Secret;
use quickcheck::QuickCheck;
use std::collections::VecDeque;

/// What one node tells another.
#[derive(Clone)]
enum News {
    Request(DeviceRequest),
    Rejected(Arc<str>),
    Device(PairedDevice),
    Removed(Arc<str>, u64),
}

const NODES: usize = 3;

#[derive(Default)]
struct Cluster {
    nodes: [Devices; NODES],
    /// On the way from one to another, in order.
    links: [[VecDeque<News>; NODES]; NODES],
    requests: u32,
    /// Texts of tokens that were revoked or rotated away, or whose device was removed, where that was
    /// known to the node that did it.
    void: Vec<(u8, String)>,
    issued: Vec<(u8, String)>,
}

impl Cluster {
    fn tell(&mut self, from: usize, news: &News) {
        for to in (0..NODES).filter(|to| *to != from) {
            self.links[from][to].push_back(news.clone());
        }
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(news) = self.links[from][to].pop_front() else { return false };
        let node = &mut self.nodes[to];
        match news {
            News::Request(request) => {
                node.learn_request(request);
            }
            News::Rejected(id) => {
                node.learn_rejected(&id);
            }
            News::Device(device) => {
                let id = device.id.clone();
                node.learn(device);
                node.settled(&id);
            }
            News::Removed(device, created) => {
                node.learn_removed(&device, created);
            }
        }
        true
    }

    fn tell_device(&mut self, at: usize, device: &str) {
        if let Some(device) = self.nodes[at].get(device).cloned() {
            self.tell(at, &News::Device(device));
        }
    }

    /// Tokens that this node knows become void there.
    fn make_void(&mut self, at: usize, device: u8) {
        let proves = |devices: &Devices, text: &str| {
            let grant = devices.get(&name(device)).and_then(|device| device.grant(OPERATOR));
            grant.is_some_and(|grant| grant.prove(&Secret::new(text), Scopes::NONE).is_ok())
        };
        let known =
            self.issued.iter().filter(|(of, text)| *of == device && proves(&self.nodes[at], text));
        self.void.extend(known.cloned());
    }

    /// One change at one node.
    fn step(&mut self, (choice, number, node): (u8, u8, u8), now: u64) {
        let (device, at) = (number % 2, usize::from(node) % NODES);
        let (id, place) = (name(device), (&*name(device), OPERATOR));
        let random = [self.requests as u8; 32];
        self.requests += 1;
        match choice % 10 {
            0 | 1 => {
                let scopes = if number & 4 == 0 { CHAT } else { Scopes::ADMIN };
                let mut wish = wish(device, scopes);
                if number & 24 == 24 {
                    wish.user = "bob".into();
                }
                let asked =
                    self.nodes[at].ask(wish, self.requests.to_string().into(), &BOUNDS, now);
                let Ok(asked) = asked else { return };
                if let Some(old) = asked.superseded {
                    self.tell(at, &News::Rejected(old.id));
                }
                self.tell(at, &News::Request(asked.request));
            }
            2 | 3 => {
                let open = self.nodes[at].requests.keys().next().cloned();
                let Some(open) = open else { return };
                let Some(wish) = self.nodes[at].request(&open, now) else { return };
                let admitted = self.nodes[at].admit(&wish.wish.clone(), OWNER, &BOUNDS, now);
                if let Ok(device) = admitted {
                    self.nodes[at].learn(device.clone());
                    self.nodes[at].settled(&device.id);
                    self.tell(at, &News::Device(device));
                }
            }
            4 => {
                self.make_void(at, device);
                if let Some((gone, open)) = self.nodes[at].remove(&id) {
                    self.tell(at, &News::Removed(gone.id, gone.created));
                    open.iter().for_each(|open| self.tell(at, &News::Rejected(open.id.clone())));
                }
            }
            5 | 6 => {
                if let Some(text) = issue(&mut self.nodes[at], place, Scopes::READ, &random, now) {
                    self.issued.push((device, text));
                    self.tell_device(at, &id);
                }
            }
            7 => {
                self.make_void(at, device);
                let known = self.nodes[at].get_mut(&id);
                let scopes =
                    known.as_ref().and_then(|known| known.grant(OPERATOR)?.newest_scopes().into());
                let rotated = known
                    .zip(scopes)
                    .and_then(|(known, scopes)| known.rotate(OPERATOR, scopes, &random, now));
                if let Some((text, _)) = rotated {
                    self.issued.push((device, text));
                    self.tell_device(at, &id);
                }
            }
            8 => {
                self.make_void(at, device);
                if self.nodes[at].get_mut(&id).is_some_and(|known| known.revoke(OPERATOR, now)) {
                    self.tell_device(at, &id);
                }
            }
            _ => {}
        }
        // And some news arrive.
        for bits in 0..usize::from(choice / 10 % 4) {
            let link =
                usize::from(number).wrapping_mul(31).wrapping_add(bits * 7 + usize::from(node));
            self.deliver(link % NODES, link / NODES % NODES);
        }
    }

    fn settle(&mut self) {
        for from in 0..NODES {
            for to in 0..NODES {
                while self.deliver(from, to) {}
            }
        }
    }
}

#[test]
fn nodes_end_with_the_same_devices() {
    #[expect(clippy::needless_pass_by_value, reason = "so quickcheck calls it")]
    fn property(steps: Vec<(u8, u8, u8)>) -> bool {
        let mut cluster = Cluster::default();
        // Several changes in each millisecond.
        steps.iter().enumerate().for_each(|(at, step)| cluster.step(*step, at as u64 / 3));
        cluster.settle();
        let devices = |node: &Devices| -> Vec<_> {
            // What they say about themselves is for people; the last word of two at a time may differ.
            let facts = |device: &PairedDevice| {
                (device.id.clone(), device.user.clone(), device.created, device.grants.clone())
            };
            node.devices.values().map(facts).collect()
        };
        let first = devices(&cluster.nodes[0]);
        let agree = cluster.nodes.iter().all(|node| devices(node) == first);
        let dead = cluster.void.iter().all(|(device, text)| {
            let grant =
                cluster.nodes[0].get(&name(*device)).and_then(|device| device.grant(OPERATOR));
            grant.is_none_or(|grant| grant.prove(&Secret::new(text), Scopes::NONE).is_err())
        });
        agree && dead
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(Vec<(u8, u8, u8)>) -> bool);
}
