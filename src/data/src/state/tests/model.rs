//! Any series of changes and forks reads as plain maps do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{ROOM, Room};
use crate::state::{Change, Entry, KeyedEvent, StateHash, StateView};
use crate::{EventNo, StateId};

type Model = BTreeMap<(String, String), EventNo>;

#[derive(Clone, Debug)]
struct Edit {
    /// Which of the states made so far it builds on, as a share of them.
    base: prop::sample::Index,
    changes: Vec<(u8, u8, Option<u8>)>,
}

const TYPES: [&str; 4] = [
    "m.room.member",
    "m.room.name",
    "org.example.custom",
    "org.example.other",
];

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let change = (0_u8..8, 0_u8..60, prop::option::weighted(0.85, 0_u8..4));
    let size = prop_oneof![8 => 1_usize..3, 3 => 1_usize..30, 1 => 60_usize..150];
    let changes = size.prop_flat_map(move |size| prop::collection::vec(change.clone(), size));
    let base = any::<prop::sample::Index>();
    prop::collection::vec(
        (base, changes).prop_map(|(base, changes)| Edit { base, changes }),
        1..60,
    )
}

fn texts(changes: &[(u8, u8, Option<u8>)]) -> Vec<(String, String, Option<EventNo>)> {
    changes
        .iter()
        .map(|(kind, key, event)| {
            // Half of the changes are members.
            let event_type = TYPES[usize::from(kind.saturating_sub(4))];
            let event = event.map(|event| EventNo(u64::from(event) + 4 * u64::from(*key)));
            (event_type.to_owned(), format!("@{key}:b"), event)
        })
        .collect()
}

fn borrowed(changes: &[(String, String, Option<EventNo>)]) -> Vec<KeyedEvent<'_>> {
    changes
        .iter()
        .map(|(kind, key, event)| (kind.as_str(), key.as_str(), *event))
        .collect()
}

fn model_entries<'a>(
    room: &Room,
    model: impl IntoIterator<Item = (&'a (String, String), &'a EventNo)>,
) -> Vec<Entry> {
    let hash = |key: &(String, String)| room.states.key().hash(&key.0, &key.1);
    let mut entries: Vec<Entry> = model
        .into_iter()
        .map(|(key, event)| Entry {
            hash: hash(key),
            event: *event,
        })
        .collect();
    entries.sort_unstable();
    entries
}

fn model_diff(room: &Room, a: &Model, b: &Model) -> Vec<Change> {
    let mut keys: BTreeMap<StateHash, &(String, String)> = BTreeMap::new();
    for key in a.keys().chain(b.keys()) {
        keys.insert(room.states.key().hash(&key.0, &key.1), key);
    }
    keys.into_iter()
        .map(|(hash, key)| Change {
            hash,
            before: a.get(key).copied(),
            after: b.get(key).copied(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

async fn check_state(room: &Room, view: &StateView<'_>, state: StateId, model: &Model) {
    assert_eq!(
        view.entries(state).await.unwrap(),
        model_entries(room, model)
    );
    assert_eq!(view.len(state).await.unwrap(), model.len() as u64);
    for event_type in TYPES {
        let (with, without): (Model, Model) = model
            .clone()
            .into_iter()
            .partition(|(key, _)| key.0 == event_type);
        assert_eq!(
            view.entries_of_type(state, event_type).await.unwrap(),
            model_entries(room, &with)
        );
        assert_eq!(
            view.entries_without_type(state, event_type).await.unwrap(),
            model_entries(room, &without)
        );
    }
    let keys: Vec<(String, String)> = TYPES
        .iter()
        .flat_map(|kind| {
            (0..62)
                .step_by(3)
                .map(|key| ((*kind).to_owned(), format!("@{key}:b")))
        })
        .collect();
    let asked: Vec<(&str, &str)> = keys
        .iter()
        .map(|(kind, key)| (kind.as_str(), key.as_str()))
        .collect();
    let expected: Vec<Option<EventNo>> = keys.iter().map(|key| model.get(key).copied()).collect();
    assert_eq!(view.lookup_many(state, &asked).await.unwrap(), expected);
    assert_eq!(
        view.lookup(state, asked[5].0, asked[5].1).await.unwrap(),
        expected[5]
    );
}

async fn play(edits: Vec<Edit>, mostly_newest: bool) {
    // Mostly on the newest state, so that chains get long, or on any, so that there are many forks.
    let mut room = Room::new();
    let mut made: Vec<(StateId, Model)> = vec![(StateId::EMPTY, Model::new())];
    for (step, edit) in edits.into_iter().enumerate() {
        let newest = mostly_newest && step % 5 != 4;
        let base = if newest {
            made.len() - 1
        } else {
            edit.base.index(made.len())
        };
        let (base, mut model) = made[base].clone();
        let changes = texts(&edit.changes);
        for (kind, key, event) in &changes {
            match event {
                Some(event) => model.insert((kind.clone(), key.clone()), *event),
                None => model.remove(&(kind.clone(), key.clone())),
            };
        }
        let same = made
            .iter()
            .any(|(state, before)| *state == base && *before == model);
        let state = room.set(base, &borrowed(&changes)).await;
        assert_eq!(state == base, same, "a new id exactly if something changed");
        made.push((state, model));
    }
    let snapshot = room.snapshot().await;
    let view = room.states.view(ROOM, snapshot.as_ref());
    for (state, model) in made.iter().step_by(7).chain(made.last()) {
        check_state(&room, &view, *state, model).await;
    }
    for (index, (a, left)) in made.iter().enumerate().step_by(5) {
        for (b, right) in made.iter().skip(index % 3).step_by(6) {
            let equal = view.fingerprint(*a).await.unwrap() == view.fingerprint(*b).await.unwrap();
            assert_eq!(equal, left == right);
            let expected = model_diff(&room, left, right);
            assert_eq!(view.diff(*a, *b).await.unwrap(), expected);
            assert_eq!(view.diff_by_trie(*a, *b).await.unwrap(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn states_read_as_the_maps_they_stand_for(edits in edits(), mostly_newest: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(edits, mostly_newest));
    }
}

#[tokio::test]
async fn one_batch_can_hold_states_that_build_on_each_other() {
    let room = Room::new();
    let snapshot = room.snapshot().await;
    let mut writer = crate::state::StateWriter::new(&room.states, ROOM, snapshot.as_ref(), 0);
    let mut state = StateId::EMPTY;
    for member in 0..300 {
        let user = format!("@{member}:b");
        state = writer
            .set(state, &[("m.room.member", &user, Some(EventNo(member)))])
            .await
            .unwrap();
        assert_eq!(
            writer
                .view()
                .lookup(state, "m.room.member", "@0:b")
                .await
                .unwrap(),
            Some(EventNo(0))
        );
    }
    assert_eq!(writer.view().len(state).await.unwrap(), 300);
    assert_eq!(
        room.states.cache().bytes(),
        0,
        "what is not committed is not cached"
    );
}
