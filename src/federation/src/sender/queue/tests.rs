use super::*;

const NOW: UnixMs = UnixMs(1_000);

fn event(at: u64) -> Queued {
    Queued {
        at: Position(at),
        room: RoomNo(1),
        event: EventNo(at),
    }
}

fn taken(events: usize) -> Taken {
    Taken {
        events,
        outbox: None,
        items: events,
    }
}

fn positions(queue: &Queue) -> Vec<u64> {
    queue.events().map(|event| event.at.0).collect()
}

#[test]
fn what_is_pushed_is_sent_and_then_it_rests() {
    let mut queue = Queue::empty();
    assert_eq!(queue.todo(NOW), Todo::Rest);
    queue.push(event(5));
    queue.push(event(6));
    assert_eq!(queue.todo(NOW), Todo::Send);
    assert_eq!(queue.done_up_to(Position(9)), Position(4));
    queue.succeeded(&taken(1));
    assert_eq!(positions(&queue), [6]);
    queue.succeeded(&taken(1));
    assert_eq!(queue.todo(NOW), Todo::Rest);
    assert_eq!(queue.done_up_to(Position(9)), Position(9));
    assert_eq!(queue.row(), None);
}

#[test]
fn a_server_that_fails_is_caught_up_from_the_first_event_that_it_has_not() {
    let mut queue = Queue::empty();
    queue.push(event(5));
    queue.push(event(6));
    queue.failed(Position(6), UnixMs(2_000));
    assert_eq!(queue.todo(NOW), Todo::Wait(UnixMs(2_000)));
    queue.push(event(7));
    assert_eq!(
        positions(&queue),
        [0; 0],
        "nothing is queued for it meanwhile"
    );
    assert_eq!(queue.row().unwrap().cursor, 4);
    let mut queue = Queue::restored(&queue.row().unwrap());
    assert_eq!(queue.todo(UnixMs(2_000)), Todo::CatchUp(Position(4)));
    queue.begin_catch_up();
    queue.push(event(8));
    queue.caught_up(vec![event(6), event(7)], Position(7));
    assert_eq!(positions(&queue), [6, 7, 8]);
    queue.succeeded(&taken(1));
    assert_eq!(queue.row().unwrap().cursor, 6, "what it has it keeps");
    queue.succeeded(&taken(2));
    assert_eq!(queue.row(), None);
    assert_eq!(queue.todo(UnixMs(2_000)), Todo::Rest);
}

#[test]
fn s21_an_unreachable_server_takes_no_memory_and_a_slow_one_a_bounded_amount() {
    let mut queue = Queue::empty();
    for at in 1..=10_000 {
        queue.push(event(at));
        queue.push_passing(format!("typing {at}"), Bytes::from_static(b"{}"));
    }
    assert!(queue.events().count() <= QUEUE_MAX);
    assert!(queue.take_passing().len() <= PASSING_MAX);
    assert_eq!(queue.todo(NOW), Todo::CatchUp(Position(0)));
    queue.failed(Position(10_000), UnixMs(2_000));
    queue.push(event(10_001));
    queue.push_passing("typing".to_owned(), Bytes::from_static(b"{}"));
    assert_eq!(queue.events().count(), 0);
    assert!(queue.take_passing().is_empty());
}

#[test]
fn many_rooms_are_caught_up_part_by_part() {
    let mut queue = Queue::restored(&DestinationRow::default());
    let all: Vec<Queued> = (1..=1_000).map(event).collect();
    let mut sent = Vec::new();
    for _ in 0..100 {
        match queue.todo(NOW) {
            Todo::CatchUp(cursor) => {
                queue.begin_catch_up();
                let newest = all.iter().filter(|event| event.at > cursor).copied();
                queue.caught_up(newest.collect(), Position(1_000));
            }
            Todo::Send => {
                let count = queue.events().count().min(PDUS_MAX);
                sent.extend(queue.events().take(count).copied());
                queue.succeeded(&taken(count));
            }
            Todo::Rest => break,
            Todo::Wait(_) => panic!("nothing failed"),
        }
    }
    assert_eq!(sent, all);
    assert_eq!(queue.row(), None);
}

#[test]
fn a_refused_transaction_is_halved_until_the_bad_item_is_alone() {
    let mut queue = Queue::empty();
    for at in 1..=8 {
        queue.push(event(at));
    }
    assert!(!queue.refused(&taken(8)));
    assert_eq!(queue.items_max, 4);
    assert!(!queue.refused(&taken(4)));
    assert!(!queue.refused(&taken(2)));
    assert!(queue.refused(&taken(1)));
    assert_eq!(positions(&queue), (2..=8).collect::<Vec<_>>());
    queue.succeeded(&taken(1));
    assert_eq!(queue.items_max, 2);
}

#[test]
fn of_passing_edus_with_one_key_the_newest_counts() {
    let mut queue = Queue::empty();
    for (key, edu) in [("a", "1"), ("b", "2"), ("a", "3")] {
        queue.push_passing(key.to_owned(), Bytes::from(edu));
    }
    assert_eq!(queue.take_passing(), ["2", "3"]);
}
