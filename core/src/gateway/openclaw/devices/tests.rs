use super::super::device_proof::DeviceKey;
use super::super::device_tokens::TokenError;
use super::super::paired_device::Seen;
use super::*;
use crate::gateway::config::Secret;
use crate::gateway::openclaw::device_request::Decision;
use serde_json::{Value, json};

pub(super) const BOUNDS: DeviceBounds =
    DeviceBounds { requests: 4, requests_per_address: 3, devices: 3 };
pub(super) const CHAT: Scopes = Scopes::READ.or(Scopes::WRITE);
pub(super) const OPERATOR: PeerRole = PeerRole::Operator;
pub(super) const OWNER: (Via, Scopes) = (Via::Owner, Scopes::ALL);

fn about(platform: &str) -> About {
    About {
        platform: platform.into(),
        family: Some("PC".into()),
        name: None,
        client: "cli".into(),
        mode: "cli".into(),
    }
}

/// Of the device with this number, from an address of its own.
pub(super) fn wish(number: u8, scopes: Scopes) -> Wish {
    Wish {
        key: DeviceKey([number; 32]),
        user: "ann".into(),
        about: about("linux"),
        role: OPERATOR,
        scopes,
        address: [10, 0, 0, number].into(),
    }
}

pub(super) fn name(number: u8) -> Arc<str> {
    DeviceKey([number; 32]).id()
}

fn ask(devices: &mut Devices, wish: Wish, id: &str, at: u64) -> Asked {
    devices.ask(wish, id.into(), &BOUNDS, at).expect("there is room")
}

/// None: nobody asks under that name.
fn approve(
    devices: &mut Devices,
    id: &str,
    by: (Via, Scopes),
    at: u64,
) -> Result<(DeviceRequest, PairedDevice), Option<AdmitError>> {
    let request = devices.request(id, at).ok_or(None)?.clone();
    let device = devices.admit(&request.wish, by, &BOUNDS, at).map_err(Some)?;
    assert!(devices.learn(device.clone()));
    assert_eq!(devices.settled(&device.id), std::slice::from_ref(&request));
    Ok((request, device))
}

pub(super) fn issue(
    devices: &mut Devices,
    (device, role): (&str, PeerRole),
    scopes: Scopes,
    random: &[u8; 32],
    at: u64,
) -> Option<String> {
    let token = devices.get_mut(device)?.issue(role, scopes, random, at);
    token.map(|(text, _)| text)
}

fn prove(
    devices: &Devices,
    (device, role): (&str, PeerRole),
    offered: &Secret,
    asked: Scopes,
) -> Result<u64, TokenError> {
    devices.get(device).ok_or(TokenError::Mismatch)?.prove(role, offered, asked)
}

/// With a device let in for chatting at time 1.
fn paired(number: u8) -> Devices {
    let mut devices = Devices::default();
    ask(&mut devices, wish(number, CHAT), "first", 0);
    approve(&mut devices, "first", OWNER, 1).expect("it waits");
    devices
}

#[test]
fn a_device_that_asks_is_in_when_somebody_says_so() {
    let mut devices = Devices::default();
    let standing =
        |devices: &Devices| devices.standing((&name(1), "ann"), OPERATOR, CHAT, &about("linux"));
    assert_eq!(standing(&devices), Standing::NotPaired);
    let asked = ask(&mut devices, wish(1, CHAT), "r", 5);
    assert!(asked.is_new && asked.superseded.is_none() && !asked.request.is_repair);
    assert_eq!(standing(&devices), Standing::NotPaired);
    let (request, device) = approve(&mut devices, "r", OWNER, 6).expect("it waits");
    assert_eq!((&request, device.created), (&asked.request, 6));
    assert_eq!(standing(&devices), Standing::Known);
    let again = approve(&mut devices, "r", OWNER, 7);
    assert_eq!(again.err(), Some(None));
}

#[test]
fn asking_for_more_or_as_another_is_not_covered() {
    let devices = paired(1);
    let standing = |role, scopes, platform| {
        devices.standing((&name(1), "ann"), role, scopes, &about(platform))
    };
    assert_eq!(standing(OPERATOR, Scopes::READ, " LINUX "), Standing::Known);
    assert_eq!(standing(OPERATOR, CHAT, ""), Standing::Known);
    assert_eq!(standing(OPERATOR, Scopes::TALK, "linux"), Standing::Known);
    assert_eq!(standing(OPERATOR, Scopes::PAIRING, "linux"), Standing::ScopeUpgrade);
    assert_eq!(standing(PeerRole::Node, Scopes::NONE, "linux"), Standing::RoleUpgrade);
    assert_eq!(standing(OPERATOR, CHAT, "darwin"), Standing::MetadataUpgrade);
    let other = devices.standing((&name(2), "ann"), OPERATOR, CHAT, &about("linux"));
    assert_eq!(other, Standing::NotPaired);
}

#[test]
fn the_same_wish_keeps_its_request_and_another_takes_its_place() {
    let mut devices = Devices::default();
    let first = ask(&mut devices, wish(1, CHAT), "a", 0).request;
    let same = ask(&mut devices, wish(1, CHAT), "b", 9);
    assert_eq!((same.is_new, &same.request), (false, &first));
    let more = ask(&mut devices, wish(1, Scopes::ADMIN), "c", 10);
    assert_eq!((more.is_new, more.superseded), (true, Some(first)));
    assert!(devices.request("a", 10).is_none() && devices.request("c", 10).is_some());
    // In another role it is another wish beside it.
    let node = ask(&mut devices, Wish { role: PeerRole::Node, ..wish(1, CHAT) }, "d", 11);
    assert!(node.is_new && node.superseded.is_none());
    for (id, other) in [
        ("e", Wish { user: "bob".into(), ..wish(1, Scopes::ADMIN) }),
        ("f", Wish { user: "bob".into(), about: about("darwin"), ..wish(1, Scopes::ADMIN) }),
    ] {
        assert!(ask(&mut devices, other, id, 12).superseded.is_some());
    }
}

#[test]
fn a_request_waits_five_minutes() {
    let mut devices = Devices::default();
    ask(&mut devices, wish(1, CHAT), "r", 7);
    let end = 7 + 5 * 60 * 1000;
    assert_eq!(devices.next_end(), Some(end));
    assert!(devices.request("r", end - 1).is_some() && devices.request("r", end).is_none());
    assert_eq!(devices.reject("r", end), None);
    assert_eq!(approve(&mut devices, "r", OWNER, end).err(), Some(None));
    assert!(ask(&mut devices, wish(1, CHAT), "s", end).is_new);
    devices.expire(u64::MAX);
    assert_eq!(devices.next_end(), None);
}

#[test]
fn requests_are_bounded_in_all_and_by_address() {
    let mut devices = Devices::default();
    for number in 0..3 {
        let near = Wish { address: [10, 0, 0, 1].into(), ..wish(number, CHAT) };
        ask(&mut devices, near, &format!("near {number}"), 0);
    }
    let near = Wish { address: [10, 0, 0, 1].into(), ..wish(3, CHAT) };
    assert_eq!(devices.ask(near.clone(), "x".into(), &BOUNDS, 0), Err(Crowded::Address));
    ask(&mut devices, wish(4, CHAT), "far", 0);
    assert_eq!(devices.ask(wish(5, CHAT), "x".into(), &BOUNDS, 0), Err(Crowded::Requests));
    // Who has a place may change the wish, and who goes makes room.
    let other = Wish { address: [10, 0, 0, 1].into(), ..wish(0, Scopes::READ) };
    assert_eq!(
        ask(&mut devices, other, "near", 0).superseded.map(|old| old.id),
        Some("near 0".into())
    );
    devices.reject("near 1", 0).expect("it waits");
    assert!(ask(&mut devices, near, "x", 0).is_new);
}

#[test]
fn nobody_lets_others_do_what_they_may_not_do_themselves() {
    let mut devices = Devices::default();
    ask(&mut devices, wish(1, CHAT.or(Scopes::APPROVALS)), "r", 0);
    for (by, missing) in [
        (Scopes::PAIRING, CHAT.or(Scopes::APPROVALS).implied()),
        (Scopes::PAIRING.or(Scopes::WRITE), Scopes::APPROVALS),
    ] {
        let approved = approve(&mut devices, "r", (Via::Owner, by), 1);
        assert_eq!(approved.err(), Some(Some(AdmitError::Scopes(missing))));
    }
    approve(&mut devices, "r", (Via::Owner, Scopes::ADMIN), 1).expect("it still waits");
    ask(&mut devices, wish(1, Scopes::ADMIN), "s", 2);
    let by = (Via::Owner, Scopes::ALL.without(Scopes::ADMIN));
    assert_eq!(
        approve(&mut devices, "s", by, 2).err(),
        Some(Some(AdmitError::Scopes(Scopes::ADMIN)))
    );
}

#[test]
fn an_upgrade_adds_and_keeps_the_tokens() {
    let mut devices = paired(1);
    let at = (&*name(1), OPERATOR);
    let token = Secret::new(&issue(&mut devices, at, CHAT, &[1; 32], 2).expect("allowed"));
    assert_eq!(issue(&mut devices, at, Scopes::PAIRING, &[2; 32], 2), None);
    let asked = ask(&mut devices, wish(1, Scopes::PAIRING), "more", 3);
    assert!(asked.request.is_repair);
    let (_, device) = approve(&mut devices, "more", OWNER, 4).expect("it waits");
    assert_eq!((device.created, device.approved), (1, 4));
    assert_eq!(device.scopes(), CHAT.or(Scopes::PAIRING));
    assert_eq!(prove(&devices, at, &token, Scopes::READ), Ok(2));
    assert_eq!(prove(&devices, at, &token, Scopes::PAIRING), Err(TokenError::Scopes));
    let node = (&*name(1), PeerRole::Node);
    assert_eq!(prove(&devices, node, &token, Scopes::NONE), Err(TokenError::Mismatch));
}

#[test]
fn a_device_let_in_for_another_user_begins_anew() {
    let mut devices = paired(1);
    let at = (&*name(1), OPERATOR);
    let token = Secret::new(&issue(&mut devices, at, CHAT, &[1; 32], 2).expect("allowed"));
    ask(&mut devices, Wish { user: "bob".into(), ..wish(1, Scopes::READ) }, "bob", 0);
    let (_, device) = approve(&mut devices, "bob", OWNER, 0).expect("it waits");
    assert_eq!((&*device.user, device.scopes()), ("bob", Scopes::READ));
    assert!(device.created > 1);
    assert_eq!(prove(&devices, at, &token, Scopes::NONE), Err(TokenError::Mismatch));
}

#[test]
fn devices_are_bounded_and_a_removed_one_makes_room() {
    let mut devices = Devices::default();
    for number in 1..=3 {
        ask(&mut devices, wish(number, CHAT), "r", 0);
        approve(&mut devices, "r", OWNER, 0).expect("there is room");
    }
    ask(&mut devices, wish(4, CHAT), "r", 0);
    let crowded = Some(Some(AdmitError::Crowded(Crowded::Devices)));
    assert_eq!(approve(&mut devices, "r", OWNER, 0).err(), crowded);
    ask(&mut devices, wish(2, Scopes::ADMIN), "more", 0);
    approve(&mut devices, "more", OWNER, 0).expect("it is there already");
    ask(&mut devices, wish(3, Scopes::ADMIN), "open", 0);
    let (gone, requests) = devices.remove(&name(3)).expect("it is there");
    assert_eq!((gone.id, requests.len(), &*requests[0].id), (name(3), 1, "open"));
    assert!(devices.request("open", 0).is_none() && devices.remove(&name(3)).is_none());
    approve(&mut devices, "r", OWNER, 0).expect("there is room now");
    assert_eq!(devices.devices.len(), 3);
}

#[test]
fn tokens_are_rotated_and_revoked_by_role() {
    let mut devices = paired(1);
    let at = (&*name(1), OPERATOR);
    let old = Secret::new(&issue(&mut devices, at, Scopes::READ, &[1; 32], 2).expect("allowed"));
    let device = devices.get_mut(&name(1)).expect("it is there");
    assert!(device.is_valid(OPERATOR, 2) && !device.is_valid(PeerRole::Node, 2));
    let (new, made) = device.rotate(OPERATOR, Scopes::READ, &[2; 32], 3).expect("allowed");
    assert!(!device.is_valid(OPERATOR, 2) && device.is_valid(OPERATOR, made));
    let new = Secret::new(&new);
    assert_eq!(prove(&devices, at, &old, Scopes::NONE), Err(TokenError::Mismatch));
    assert_eq!(prove(&devices, at, &new, Scopes::READ), Ok(made));
    let device = devices.get_mut(&name(1)).expect("it is there");
    assert_eq!(device.rotate(OPERATOR, Scopes::ADMIN, &[3; 32], 5), None);
    assert!(device.revoke(OPERATOR, 6) && !device.is_valid(OPERATOR, made));
    assert_eq!(device.prove(OPERATOR, &new, Scopes::NONE), Err(TokenError::Mismatch));
    assert!(!device.revoke(PeerRole::Node, 8));
    assert_eq!(device.rotate(PeerRole::Node, Scopes::NONE, &[3; 32], 8), None);
    assert_eq!(device.issue(PeerRole::Node, Scopes::NONE, &[3; 32], 8), None);
    let known = devices.standing((&name(1), "ann"), OPERATOR, CHAT, &about("linux"));
    assert_eq!(known, Standing::Known, "it is still let in");
}

#[test]
fn a_device_of_one_user_is_none_for_others() {
    let devices = paired(1);
    let standing = devices.standing((&name(1), "bob"), OPERATOR, CHAT, &about("linux"));
    assert_eq!(standing, Standing::NotPaired);
}

#[test]
fn what_a_device_is_let_in_for_settles_all_its_wishes_for_that() {
    let mut devices = paired(1);
    ask(&mut devices, wish(1, Scopes::ADMIN), "more", 2);
    let node = Wish { role: PeerRole::Node, ..wish(1, Scopes::NONE) };
    ask(&mut devices, node, "node", 2);
    assert!(devices.settled(&name(1)).is_empty());
    let silent = (Via::Silent, Scopes::ALL);
    let device = devices.admit(&wish(1, Scopes::ADMIN), silent, &BOUNDS, 3).expect("room");
    assert!(devices.settled(&name(1)).is_empty(), "it is not durable yet");
    assert!(devices.learn(device));
    let settled = devices.settled(&name(1));
    assert_eq!(settled.iter().map(|request| &*request.id).collect::<Vec<_>>(), ["more"]);
    // Another node may hear of the wish after its end.
    assert!(!devices.learn_request(settled[0].clone()));
    let late = DeviceRequest { id: "late".into(), ..settled[0].clone() };
    assert!(!devices.learn_request(late));
}

#[test]
fn another_node_learns_all_of_it() {
    let mut here = Devices::default();
    let mut there = Devices::default();
    let request = ask(&mut here, wish(1, CHAT), "r", 0).request;
    there.learn_request(request);
    assert!(there.request("r", 1).is_some());
    let (_, device) = approve(&mut here, "r", OWNER, 1).expect("it waits");
    assert!(there.learn(device) && there.settled(&name(1)).len() == 1);
    let token = issue(&mut here, (&name(1), OPERATOR), CHAT, &[1; 32], 2).expect("allowed");
    there.learn(here.get(&name(1)).expect("it is there").clone());
    let proved = prove(&there, (&name(1), OPERATOR), &Secret::new(&token), CHAT);
    assert_eq!(proved, Ok(2));
    assert!(there.request("r", 1).is_none());
    let (gone, _) = here.remove(&name(1)).expect("it is there");
    there.learn_removed(&gone.id, gone.created);
    assert!(there.get(&name(1)).is_none());
}

#[test]
fn news_that_come_late_bring_nothing_back() {
    let mut devices = paired(1);
    let old = devices.get(&name(1)).expect("it is there").clone();
    let request = ask(&mut devices, wish(1, Scopes::ADMIN), "r", 2).request;
    devices.remove(&name(1)).expect("it is there");
    devices.learn(old.clone());
    devices.learn_request(request);
    assert!(devices.get(&name(1)).is_none() && devices.request("r", 2).is_none());
    // Let in again, in the same millisecond: what concerns the former one does not concern it.
    ask(&mut devices, wish(1, Scopes::READ), "s", 1);
    approve(&mut devices, "s", OWNER, 1).expect("it waits");
    devices.learn(old.clone());
    devices.learn_removed(&old.id, old.created);
    assert_eq!(devices.get(&name(1)).map(PairedDevice::scopes), Some(Scopes::READ));
    // And who has not heard of it yet learns it before the former one's end.
    let new = devices.get(&name(1)).expect("it is there").clone();
    let mut other = paired(1);
    other.learn(new.clone());
    other.learn_removed(&old.id, old.created);
    other.learn(old);
    assert_eq!(other.get(&name(1)), Some(&new));
}

#[test]
fn of_two_wishes_at_two_nodes_the_younger_stays_at_both() {
    let (mut one, mut two) = (Devices::default(), Devices::default());
    let older = ask(&mut one, wish(1, CHAT), "z", 1).request;
    let younger = ask(&mut two, wish(1, Scopes::READ), "a", 2).request;
    one.learn_request(younger.clone());
    two.learn_request(older);
    for devices in [one, two] {
        assert_eq!(devices.request("a", 3), Some(&younger));
        assert!(devices.request("z", 3).is_none());
    }
}

#[test]
fn a_record_gives_back_the_device() {
    let mut devices = paired(1);
    issue(&mut devices, (&name(1), OPERATOR), Scopes::READ, &[1; 32], 2).expect("allowed");
    ask(&mut devices, Wish { role: PeerRole::Node, ..wish(1, Scopes::NONE) }, "node", 3);
    approve(&mut devices, "node", (Via::Silent, Scopes::NONE), 4).expect("it waits");
    let device = devices.get_mut(&name(1)).expect("it is there");
    let unseen = device.clone();
    device.seen(Seen::Connect, None, 9);
    for device in [&unseen, device] {
        let record = device.record();
        assert_eq!(PairedDevice::of(&record).as_ref(), Some(device));
        // A record under another name is not believed.
        let other = crate::gateway::Record { key: name(2), ..record };
        assert_eq!(PairedDevice::of(&other), None);
    }
}

#[test]
fn what_a_device_was_let_in_as_stays_and_the_rest_is_new() {
    let mut devices = paired(1);
    let device = devices.get_mut(&name(1)).expect("it is there");
    let now = About {
        name: Some("Ann's".into()),
        client: "openclaw-tui".into(),
        family: None,
        ..about("LINUX")
    };
    device.seen(Seen::Connect, Some(&now), 9);
    let seen = &device.about;
    assert_eq!((&*seen.platform, seen.family.as_deref()), ("linux", Some("PC")));
    assert_eq!((&*seen.client, seen.name.as_deref()), ("openclaw-tui", Some("Ann's")));
    device.seen(Seen::Disconnect, Some(&about("darwin")), 8);
    assert_eq!((&*device.about.platform, device.seen), ("linux", Some((9, Seen::Connect))));
}

#[test]
fn people_see_what_waits_and_what_is_in() {
    let mut devices = paired(1);
    issue(&mut devices, (&name(1), OPERATOR), Scopes::READ, &[1; 32], 2).expect("allowed");
    let request = ask(&mut devices, wish(2, Scopes::READ), "r", 3).request;
    let mut out = String::new();
    devices.write(|id| *id == *name(1), 4, &mut out);
    let list: Value = serde_json::from_str(&out).expect("JSON");
    let key = |number: u8| DeviceKey([number; 32]).text();
    let pending = json!({"requestId": "r", "deviceId": &*name(2), "userId": "ann",
        "publicKey": key(2),
        "platform": "linux", "deviceFamily": "PC", "clientId": "cli", "clientMode": "cli",
        "role": "operator", "roles": ["operator"], "scopes": ["operator.read"], "silent": false,
        "isRepair": false, "ts": 3});
    assert_eq!(list["pending"], json!([pending]));
    assert_eq!(
        list["paired"],
        json!([{"deviceId": &*name(1), "publicKey": key(1), "platform": "linux",
        "deviceFamily": "PC", "clientId": "cli", "clientMode": "cli", "role": "operator",
        "roles": ["operator"], "scopes": ["operator.read", "operator.write"],
        "approvedVia": "owner", "createdAtMs": 1, "approvedAtMs": 1, "connected": true,
        "tokens": [{"role": "operator", "scopes": ["operator.read"], "createdAtMs": 2}]}])
    );
    out.clear();
    request.write_resolved(Decision::Rejected, 5, &mut out);
    let resolved: Value = serde_json::from_str(&out).expect("JSON");
    let expected =
        json!({"requestId": "r", "deviceId": &*name(2), "decision": "rejected", "ts": 5});
    assert_eq!(resolved, expected);
    out.clear();
    devices.write(|_| false, u64::MAX, &mut out);
    assert!(out.starts_with(r#"{"pending":[],"#), "{out}");
}
