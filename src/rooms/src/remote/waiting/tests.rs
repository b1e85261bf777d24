use hearth_store::Position;
use ruma::EventId;

use super::*;

fn key(number: u64) -> InboxKey {
    (Position(number), 0)
}

fn id(name: &str) -> OwnedEventId {
    EventId::parse(format!("${name}")).unwrap()
}

fn parked(origin: &str, name: &str, lacks: &[&str]) -> Parked {
    Parked {
        origin: origin.try_into().unwrap(),
        event_id: Some(id(name)),
        lack: Lack::Events(lacks.iter().map(|name| id(name)).collect()),
    }
}

#[test]
fn what_arrives_makes_those_ready_that_lack_it_and_those_that_lack_these() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    waiting.park(key(3), parked("far", "c", &["b"]), now);
    waiting.park(key(2), parked("far", "b", &["a"]), now);
    waiting.park(key(4), parked("far", "d", &["x"]), now);
    assert!(!waiting.arrived(&id("elsewhere")));
    assert!(waiting.arrived(&id("a")));
    assert_eq!(waiting.take_ready(10), [key(2), key(3)]);
    assert!(!waiting.has_ready());
    waiting.settle(key(2));
    waiting.still_ready(&[key(2), key(3)]);
    assert_eq!(waiting.take_ready(10), [key(3)]);
}

#[test]
fn what_lacks_something_that_is_kept_from_us_holds_up_nothing_after_it() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    let far = "far".try_into().unwrap();
    waiting.park(key(1), parked("far", "a", &["x"]), now);
    waiting.park(key(2), parked("far", "b", &["a"]), now);
    for number in [1, 2] {
        assert_eq!(
            waiting.next_fetch(now).map(|(key, _)| key),
            Some(key(number))
        );
        waiting.fetched_in_vain(key(number), now);
        waiting.end_fetch(key(number), &far);
    }
    let later = now + RETRY;
    assert_eq!(waiting.next_fetch(later).map(|(key, _)| key), Some(key(1)));
    let mut kept = parked("far", "a", &[]);
    kept.lack = Lack::Kept(vec![id("x")]);
    waiting.park(key(1), kept, later);
    waiting.fetched_in_vain(key(1), later);
    waiting.end_fetch(key(1), &far);
    assert_eq!(waiting.next_fetch(later).map(|(key, _)| key), Some(key(2)));
    assert!(waiting.arrived(&id("x")));
}

#[test]
fn one_server_has_one_event_fetched_for_at_a_time_and_another_does_not_wait_for_it() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    waiting.park(key(1), parked("far", "a", &["x"]), now);
    waiting.park(key(2), parked("far", "b", &["a"]), now);
    waiting.park(key(3), parked("far", "c", &["y"]), now);
    waiting.park(key(4), parked("other", "d", &["a"]), now);
    let (first, origin) = waiting.next_fetch(now).unwrap();
    assert_eq!(first, key(1));
    // What waits for another server's event is fetched for all the same.
    assert_eq!(waiting.next_fetch(now).map(|(key, _)| key), Some(key(4)));
    assert_eq!(waiting.next_fetch(now), None);
    waiting.end_fetch(first, &origin);
    // The one that comes with the first is not fetched for, the independent one is.
    waiting.settle(first);
    waiting.park(first, parked("far", "a", &["x"]), now + RETRY);
    let (independent, origin) = waiting.next_fetch(now).unwrap();
    assert_eq!(independent, key(3));
    waiting.end_fetch(independent, &origin);
    // When the first was fetched for in vain, the other is tried once for itself.
    let later = now + RETRY;
    assert_eq!(waiting.next_fetch(later).map(|(key, _)| key), Some(first));
    waiting.fetched_in_vain(first, later);
    waiting.end_fetch(first, &origin);
    assert_eq!(waiting.next_fetch(later).map(|(key, _)| key), Some(key(2)));
    waiting.fetched_in_vain(key(2), later);
    waiting.end_fetch(key(2), &origin);
    waiting.fetched_in_vain(key(3), later);
    assert_eq!(
        waiting.next_fetch(later + RETRY).map(|(key, _)| key),
        Some(first)
    );
    waiting.fetched_in_vain(first, later);
    waiting.end_fetch(first, &origin);
    assert_eq!(
        waiting.next_fetch(later + RETRY).map(|(key, _)| key),
        Some(key(3))
    );
}

#[test]
fn an_event_is_tried_for_a_week_and_then_let_go() {
    let mut now = Instant::now();
    let begin = now;
    let mut waiting = Waiting::default();
    waiting.park(key(1), parked("far", "a", &["x"]), now);
    for tries in 1.. {
        now = waiting.next_due().unwrap().max(now);
        let (at, origin) = waiting.next_fetch(now).unwrap();
        waiting.end_fetch(at, &origin);
        if waiting.fetched_in_vain(at, now) == Kept::No {
            assert_eq!(tries, TRIES_MAX);
            break;
        }
    }
    assert!(waiting.is_empty() && waiting.by_lack.is_empty() && waiting.by_id.is_empty());
    let days = (now - begin).as_secs() / 86_400;
    assert_eq!(days, 7);
}

#[test]
fn what_arrives_while_it_is_fetched_is_not_forgotten() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    waiting.park(key(1), parked("far", "a", &["x"]), now);
    let (at, origin) = waiting.next_fetch(now).unwrap();
    waiting.arrived(&id("x"));
    assert_eq!(waiting.take_ready(10), [], "it is in other hands");
    waiting.park(at, parked("far", "a", &["x"]), now);
    waiting.end_fetch(at, &origin);
    assert_eq!(waiting.take_ready(10), [at]);
}

#[test]
fn keys_that_came_make_those_ready_that_lack_some() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    let unchecked = Parked {
        event_id: None,
        lack: Lack::Keys,
        ..parked("far", "a", &[])
    };
    waiting.park(key(1), unchecked, now);
    waiting.park(key(2), parked("far", "b", &["x"]), now);
    waiting.keys_arrived();
    assert_eq!(waiting.take_ready(10), [key(1)]);
}
