//! Purging states leaves all that the remaining ones need.

use hearth_store::{Backend, Batch};

use super::{ROOM, Room, states};
use crate::StateId;
use crate::state::{Marker, StateWriter, sweep};

#[tokio::test]
async fn a_sweep_keeps_what_the_remaining_states_need() {
    let mut room = Room::new();
    let mut made = vec![StateId::EMPTY];
    for member in 0..1_500 {
        let base = made[made.len() - 1 - usize::from(member % 10 == 3)];
        let state = room.join(base, member, member).await;
        made.push(state);
    }
    let before = room.table_bytes();
    let kept: Vec<StateId> = [1_500, 1_499, 1_300, 700, 16]
        .map(|at: usize| made[at])
        .to_vec();
    let snapshot = room.snapshot().await;
    let view = room.states.view(ROOM, snapshot.as_ref());
    let mut expected = Vec::new();
    for state in &kept {
        expected.push((
            view.entries(*state).await.unwrap(),
            view.diff(kept[0], *state).await.unwrap(),
        ));
    }

    let mut marker = Marker::new();
    marker.add(kept.iter().copied());
    let mut steps = 0;
    while !marker.step(&view, 300).await.unwrap() {
        steps += 1;
    }
    assert!(steps > 0, "the work is done in bounded steps");
    let ceiling = room.next;
    // Made while the job runs: above the ceiling, on a state that is kept.
    let late = room.join(kept[0], 5_000, 5_000).await;
    let mut from = Some(0);
    while let Some(at) = from {
        let mut batch = Batch::new();
        let snapshot = room.snapshot().await;
        from = sweep(
            snapshot.as_ref(),
            ROOM,
            (at, ceiling),
            (&marker, 500),
            &mut batch,
        )
        .await
        .unwrap();
        assert!(batch.ops().len() <= 500);
        room.store.commit(batch).await.unwrap();
    }
    println!("swept to {} of {before} bytes", room.table_bytes());
    assert!(room.table_bytes() < before / 2);

    let snapshot = room.snapshot().await;
    let fresh = states();
    let view = fresh.view(ROOM, snapshot.as_ref());
    for (state, (entries, diff)) in kept.iter().zip(expected) {
        assert_eq!(view.entries(*state).await.unwrap(), entries);
        assert_eq!(view.diff(kept[0], *state).await.unwrap(), diff);
    }
    assert_eq!(view.diff(kept[0], late).await.unwrap().len(), 1);
    let mut writer = StateWriter::new(&fresh, ROOM, snapshot.as_ref(), room.next);
    let user = "@new:b";
    let next = writer
        .set(kept[3], &[("m.room.member", user, Some(crate::EventNo(1)))])
        .await
        .unwrap();
    assert_eq!(
        writer.view().len(next).await.unwrap(),
        writer.view().len(kept[3]).await.unwrap() + 1
    );
}
