//! A sound store is clean; each invariant, when it is broken, is reported.

mod derived;
mod encryption;
mod fixture;

use bytes::Bytes;
use hearth_store::{Backend, Batch, Op, Position, Value};

use self::fixture::{Fixture, ROOM};
use super::{Invariant, Report, decode, fsck};
use crate::append::Standing;
use crate::gaps::GapRow;
use crate::retention::RetentionRow;
use crate::rooms::RoomHead;
use crate::state::{Node, RoomItem};
use crate::tables as t;
use crate::timeline::{EventRef, Whereabouts};
use crate::{EventNo, Place, StateId};

async fn report(fixture: &Fixture) -> Report {
    let snapshot = fixture.store.snapshot().await.unwrap();
    fsck(snapshot.as_ref(), &mut |_| {}).await.unwrap()
}

/// Does this to a sound store; among the problems must be one of this invariant, and its words must have these.
async fn reported(
    invariant: Invariant,
    words: &str,
    breaks: impl AsyncFnOnce(&Fixture, &mut Batch),
) {
    let fixture = Fixture::new().await;
    let mut batch = Batch::new();
    breaks(&fixture, &mut batch).await;
    fixture.store.commit(batch).await.unwrap();
    let report = report(&fixture).await;
    let found = report
        .problems
        .iter()
        .any(|problem| problem.invariant == invariant && problem.detail.contains(words));
    assert!(
        found,
        "{invariant:?} with `{words}` is not in {:#?}",
        report.problems
    );
    assert_eq!(report.problem_count, report.problems.len() as u64);
}

async fn change_head(fixture: &Fixture, batch: &mut Batch, change: impl FnOnce(&mut RoomHead)) {
    let mut head = fixture.head().await;
    change(&mut head);
    t::ROOM_HEADS.put(batch, &ROOM, &head);
}

#[tokio::test]
async fn a_sound_store_is_clean() {
    let fixture = Fixture::new().await;
    let snapshot = fixture.store.snapshot().await.unwrap();
    let mut last = None;
    let report = fsck(snapshot.as_ref(), &mut |progress| last = Some(progress))
        .await
        .unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert!(report.rows > 300 && report.bytes > 10_000, "{report:?}");
    assert!(last.is_some_and(|progress| progress.rows > report.rows && progress.problems == 0));
}

#[test]
fn every_table_of_the_catalogue_is_read() {
    let read: Vec<u8> = decode::readers().iter().map(|(info, _)| info.id).collect();
    let all: Vec<u8> = t::CATALOGUE.iter().map(|info| info.id).collect();
    for id in &all {
        assert!(read.contains(id), "table {id:#x} is not read by fsck");
    }
    assert_eq!(read.len(), all.len());
}

#[tokio::test]
async fn a_row_of_no_table_is_reported() {
    reported(Invariant::KnownTable, "", async |_, batch| {
        let (key, value) = (Bytes::from_static(b"\xee1"), Bytes::new());
        batch.push(Op::Put { key, value });
    })
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_reported() {
    let fixture = Fixture::new().await;
    let mut batch = Batch::new();
    for table in t::CATALOGUE {
        let key = Bytes::copy_from_slice(&[table.id, 0xff, 0xff]);
        let value = Bytes::from_static(b"\xff");
        batch.push(Op::Put { key, value });
    }
    fixture.store.commit(batch).await.unwrap();
    let report = report(&fixture).await;
    for table in t::CATALOGUE {
        let found = report.problems.iter().any(|problem| {
            problem.invariant == Invariant::Readable && problem.detail.contains(table.name)
        });
        assert!(found, "`{}` is not in {:#?}", table.name, report.problems);
    }
}

#[tokio::test]
async fn a_lost_secret_is_reported() {
    reported(Invariant::Meta, "secret", async |_, batch| {
        t::META.delete(batch, &crate::meta::HASH_KEY.to_owned());
    })
    .await;
}

#[tokio::test]
async fn wrong_room_numbers_are_reported() {
    reported(
        Invariant::RoomNumber,
        "is !room:b, whose number is None",
        async |_, batch| {
            t::ROOM_NUMBERS.delete(batch, &"!room:b".to_owned());
        },
    )
    .await;
    reported(
        Invariant::RoomNumber,
        "names another room",
        async |_, batch| {
            t::ROOM_NUMBERS.put(batch, &"!other:b".to_owned(), &ROOM);
        },
    )
    .await;
    reported(Invariant::RoomNumber, "has no head", async |_, batch| {
        t::ROOM_HEADS.delete(batch, &ROOM);
    })
    .await;
}

#[tokio::test]
async fn wrong_heads_are_reported() {
    reported(
        Invariant::Head,
        "is not an accepted event",
        async |fixture, batch| {
            change_head(fixture, batch, |head| {
                head.extremities[0].event = EventNo(1)
            })
            .await;
        },
    )
    .await;
    reported(Invariant::Head, "0 extremities", async |fixture, batch| {
        change_head(fixture, batch, |head| head.extremities.clear()).await;
    })
    .await;
    reported(Invariant::Head, "depth 0", async |fixture, batch| {
        change_head(fixture, batch, |head| head.depth = 0).await;
    })
    .await;
    reported(
        Invariant::Head,
        "is not below the head's next",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.next_place = 2).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_wrong_current_state_is_reported() {
    reported(
        Invariant::CurrentState,
        "the head says",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.state = StateId(3)).await;
        },
    )
    .await;
    reported(Invariant::CurrentState, "is missing", async |_, batch| {
        t::ROOM_STATES.put(batch, &(ROOM, Position(1), ()), &StateId(1 << 40));
    })
    .await;
}

#[tokio::test]
async fn numbers_and_rows_that_differ_are_reported() {
    reported(
        Invariant::EventNumber,
        "is not where it should be",
        async |_, batch| {
            t::TIMELINE.delete(batch, &(ROOM, Place(7)));
        },
    )
    .await;
    reported(
        Invariant::EventNumber,
        "event 8 follows 6",
        async |_, batch| {
            t::WHEREABOUTS.delete(batch, &(ROOM, EventNo(7)));
        },
    )
    .await;
    reported(
        Invariant::EventNumber,
        "the head's next",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.next_event += 1).await;
        },
    )
    .await;
    reported(
        Invariant::EventNumber,
        "but its number leads to",
        async |fixture, batch| {
            let row = fixture.row(Place(7)).await;
            t::TIMELINE.put(batch, &(ROOM, Place(400)), &row);
        },
    )
    .await;
    reported(
        Invariant::EventNumber,
        "is not where it should be",
        async |_, batch| {
            t::WHEREABOUTS.put(batch, &(ROOM, EventNo(7)), &Whereabouts::Outlier);
        },
    )
    .await;
}

#[tokio::test]
async fn ids_that_lead_elsewhere_are_reported() {
    reported(
        Invariant::EventId,
        "which is another or none",
        async |fixture, batch| {
            let id = fixture.row(Place(7)).await.event_id.to_string();
            let event = EventRef {
                room: ROOM,
                event: EventNo(3),
            };
            t::EVENT_IDS.put(batch, &id, &event);
        },
    )
    .await;
    reported(
        Invariant::EventId,
        "its id leads to None",
        async |fixture, batch| {
            let id = fixture.row(Place(7)).await.event_id.to_string();
            t::EVENT_IDS.delete(batch, &id);
        },
    )
    .await;
}

#[tokio::test]
async fn changed_json_is_reported() {
    async fn with_json(fixture: &Fixture, batch: &mut Batch, from: &str, to: &str) {
        let mut row = fixture.row(fixture.message).await;
        let text = String::from_utf8(row.json.to_vec()).unwrap();
        assert!(text.contains(from));
        row.json = text.replace(from, to).into();
        t::TIMELINE.put(batch, &(ROOM, fixture.message), &row);
    }
    // The content is not part of the reference hash, but of the content hash.
    reported(
        Invariant::EventJson,
        "not what was hashed",
        async |fixture, batch| {
            with_json(fixture, batch, "hello", "hullo").await;
        },
    )
    .await;
    reported(
        Invariant::EventJson,
        "its JSON is that of",
        async |fixture, batch| {
            with_json(fixture, batch, "\"depth\":", "\"depth\":1").await;
        },
    )
    .await;
    reported(
        Invariant::EventJson,
        "event is not valid JSON",
        async |fixture, batch| {
            with_json(fixture, batch, "{", "[").await;
        },
    )
    .await;
    reported(
        Invariant::EventJson,
        "it should be redacted",
        async |fixture, batch| {
            let mut row = fixture.row(fixture.message).await;
            row.redacted_by = Some(EventNo(2));
            t::TIMELINE.put(batch, &(ROOM, fixture.message), &row);
        },
    )
    .await;
    reported(
        Invariant::EventJson,
        "which is missing",
        async |fixture, batch| {
            let mut row = fixture.row(fixture.redacted).await;
            row.redacted_by = Some(EventNo(5_000));
            t::TIMELINE.put(batch, &(ROOM, fixture.redacted), &row);
        },
    )
    .await;
}

#[tokio::test]
async fn wrong_states_of_events_are_reported() {
    reported(
        Invariant::EventState,
        "is missing",
        async |fixture, batch| {
            let mut row = fixture.row(Place(7)).await;
            row.state_before = StateId(1 << 30);
            t::TIMELINE.put(batch, &(ROOM, Place(7)), &row);
        },
    )
    .await;
    reported(
        Invariant::EventState,
        "in its place",
        async |fixture, batch| {
            let mut row = fixture.row(Place(7)).await;
            row.state_after = row.state_before;
            t::TIMELINE.put(batch, &(ROOM, Place(7)), &row);
        },
    )
    .await;
    reported(
        Invariant::EventState,
        "not an accepted state event",
        async |fixture, batch| {
            let mut row = fixture.row(fixture.message).await;
            row.state_after = StateId(1);
            t::TIMELINE.put(batch, &(ROOM, fixture.message), &row);
        },
    )
    .await;
}

#[tokio::test]
async fn wrong_positions_are_reported() {
    reported(
        Invariant::Position,
        "0 rows among the positions",
        async |fixture, batch| {
            let position = fixture.row(Place(7)).await.position;
            let range = t::ROOM_POSITIONS.prefix(&(ROOM, position));
            t::ROOM_POSITIONS.delete_range(batch, range);
        },
    )
    .await;
    reported(
        Invariant::Position,
        "no accepted event of it at place 900",
        async |_, batch| {
            t::ROOM_POSITIONS.put(batch, &(ROOM, Position(2), 9), &Place(900));
        },
    )
    .await;
    reported(
        Invariant::Position,
        "1 rows among the positions, not 0",
        async |fixture, batch| {
            let mut row = fixture.row(fixture.message).await;
            row.standing = Standing::SoftFailed;
            t::TIMELINE.put(batch, &(ROOM, fixture.message), &row);
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_emptied_rooms_is_reported() {
    let emptied = |floor: i64, dropped: u64| RetentionRow {
        floor: Place::of_chunk(floor),
        dropped,
        ..RetentionRow::default()
    };
    let found: [(_, _, RetentionRow); 3] = [
        (Invariant::Retention, "which was emptied", emptied(1, 0)),
        (Invariant::Retention, "cannot have been", emptied(9, 0)),
        (Invariant::EventNumber, "3 were dropped", emptied(0, 3)),
    ];
    for (invariant, words, row) in found {
        reported(invariant, words, async |_, batch| {
            t::RETENTION.put(batch, &ROOM, &row);
        })
        .await;
    }
    reported(
        Invariant::Retention,
        "below the floor",
        async |fixture, batch| {
            let gap = GapRow {
                next: Place(-3),
                floor: Place::MIN,
                awaited: Vec::new(),
            };
            t::RETENTION.put(batch, &ROOM, &emptied(0, 0));
            t::GAPS.put(batch, &(ROOM, fixture.message), &gap);
        },
    )
    .await;
}

#[tokio::test]
async fn a_damaged_state_structure_is_reported() {
    let fixture = Fixture::new().await;
    let nodes = fixture.nodes().await;
    let mut kinds = std::collections::BTreeSet::new();
    for (key, node) in nodes {
        // One of each kind, each removed and each changed in its numbers.
        let bytes = node.encode();
        if !kinds.insert(bytes[0]) {
            continue;
        }
        reported(Invariant::StateNodes, "is missing", async |_, batch| {
            t::STATE_NODES.delete(batch, &key);
        })
        .await;
        if let Node::State(_) = node {
            // The fingerprint is the last field of fixed size before the changes.
            for (at, words) in [(2, "length"), (5, "fingerprint")] {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                reported(Invariant::StateNodes, words, async |_, batch| {
                    let value = changed.into();
                    batch.push(Op::Put {
                        key: t::STATE_NODES.raw_key(&key),
                        value,
                    });
                })
                .await;
            }
        }
        if let Node::Leaf(entries) = &node {
            let mut other = entries.clone();
            other[0].event.0 += 1;
            let other = Node::Leaf(other);
            reported(
                Invariant::StateNodes,
                "not its parent's with its changes",
                async |_, batch| {
                    t::STATE_NODES.put(batch, &key, &other);
                },
            )
            .await;
        }
    }
    assert_eq!(kinds.len(), 5, "plain, run, full, inner, leaf");
    reported(
        Invariant::StateNodes,
        "the head's next number",
        async |fixture, batch| {
            change_head(fixture, batch, |head| head.next_state = 2).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_state_entry_of_another_event_is_reported() {
    reported(
        Invariant::StateEntry,
        "event 3 is missing or not of this type",
        async |fixture, batch| {
            // As if the third event were the message.
            let message = fixture.row(fixture.message).await;
            let mut row = fixture.row(Place(3)).await;
            row.json = message.json;
            t::TIMELINE.put(batch, &(ROOM, Place(3)), &row);
        },
    )
    .await;
}

#[tokio::test]
async fn wrong_auth_links_are_reported() {
    let key = |number| RoomItem { room: ROOM, number };
    let put = |batch: &mut Batch, number, bytes: &'static [u8]| {
        batch.push(Op::Put {
            key: t::AUTH_LINKS.raw_key(&key(number)),
            value: bytes.into(),
        });
    };
    reported(
        Invariant::AuthLinks,
        "has no auth links",
        async |_, batch| {
            t::AUTH_LINKS.delete(batch, &key(3));
        },
    )
    .await;
    reported(
        Invariant::AuthLinks,
        "no links of its auth event 2",
        async |_, batch| {
            t::AUTH_LINKS.delete(batch, &key(2));
        },
    )
    .await;
    reported(Invariant::AuthLinks, "but refers to", async |_, batch| {
        put(batch, 3, &[1, 1, 1])
    })
    .await;
    reported(Invariant::AuthLinks, "generation 9", async |_, batch| {
        put(batch, 2, &[1, 9, 1])
    })
    .await;
    reported(
        Invariant::AuthLinks,
        "auth links of no event",
        async |_, batch| put(batch, 4_000, &[1, 0]),
    )
    .await;
}
