//! Walks against naive closures, and hostile graphs against linear bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hearth_store::{Backend, Batch, BoxFuture, KeyRange, MemoryBackend, Position, Snapshot, Value};
use proptest::prelude::*;

use super::{AuthLinks, Indexed, Reach, ReachCache, ReachWriter, StateSets};
use crate::tables::AUTH_LINKS;
use crate::{EventNo, RoomNo};

const ROOM: RoomNo = RoomNo(300);

type Graph = Vec<Vec<u64>>;

async fn stored(graph: &Graph) -> MemoryBackend {
    let store = MemoryBackend::new();
    let cache = ReachCache::new(1 << 16);
    for (chunk, events) in graph.chunks(500).enumerate() {
        let snapshot = store.snapshot().await.unwrap();
        let mut writer = ReachWriter::new(ROOM, snapshot.as_ref(), &cache);
        for (event, auth) in events.iter().enumerate() {
            let number = EventNo((chunk * 500 + event) as u64);
            let auth: Vec<EventNo> = auth.iter().copied().map(EventNo).collect();
            assert_eq!(writer.append(number, &auth).await.unwrap(), Indexed::Done);
        }
        let mut batch = Batch::new();
        writer.flush(&mut batch);
        store.commit(batch).await.unwrap();
    }
    store
}

fn naive_chain(graph: &Graph, events: &[u64]) -> BTreeSet<u64> {
    let mut chain = BTreeSet::new();
    let mut open = events.to_vec();
    while let Some(event) = open.pop() {
        for auth in &graph[event as usize] {
            if chain.insert(*auth) {
                open.push(*auth);
            }
        }
    }
    chain
}

fn naive_difference(graph: &Graph, sets: &[Vec<u64>]) -> BTreeSet<u64> {
    let chains: Vec<BTreeSet<u64>> = sets.iter().map(|set| naive_chain(graph, set)).collect();
    let union: BTreeSet<u64> = chains.iter().flatten().copied().collect();
    union
        .into_iter()
        .filter(|event| !chains.iter().all(|chain| chain.contains(event)))
        .collect()
}

fn naive_paths(graph: &Graph, events: &[u64]) -> BTreeSet<u64> {
    let below = naive_chain(graph, events);
    let leads = |event: &u64| {
        naive_chain(graph, &[*event])
            .iter()
            .any(|auth| events.contains(auth))
    };
    below
        .into_iter()
        .filter(leads)
        .chain(events.iter().copied())
        .collect()
}

fn numbers(events: &[u64]) -> Vec<EventNo> {
    events.iter().copied().map(EventNo).collect()
}

fn plain(events: BTreeSet<EventNo>) -> BTreeSet<u64> {
    events.into_iter().map(|event| event.0).collect()
}

fn graphs() -> impl Strategy<Value = Graph> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec(picks, 2..60).prop_map(|events| {
        let pick = |at: usize, picks: &[prop::sample::Index]| {
            picks.iter().map(|pick| pick.index(at) as u64).collect()
        };
        events
            .iter()
            .enumerate()
            .map(|(at, picks)| if at == 0 { Vec::new() } else { pick(at, picks) })
            .collect()
    })
}

async fn check(graph: Graph, picks: Vec<Vec<prop::sample::Index>>) {
    let store = stored(&graph).await;
    let snapshot = store.snapshot().await.unwrap();
    let cache = ReachCache::new(1 << 16);
    let reach = Reach::new(ROOM, snapshot.as_ref(), &cache);
    let sets: Vec<Vec<u64>> = picks
        .iter()
        .map(|set| {
            set.iter()
                .map(|pick| pick.index(graph.len()) as u64)
                .collect()
        })
        .collect();
    let (common, own) = sets.split_at(1);
    let whole: Vec<Vec<u64>> = own
        .iter()
        .map(|set| [&common[0][..], set].concat())
        .collect();
    let asked = StateSets {
        common: numbers(&common[0]),
        own: own.iter().map(|set| numbers(set)).collect(),
    };
    assert_eq!(
        plain(reach.auth_difference(&asked).await.unwrap()),
        naive_difference(&graph, &whole)
    );
    for set in &sets {
        assert_eq!(
            plain(reach.auth_chain(&numbers(set)).await.unwrap()),
            naive_chain(&graph, set)
        );
        assert_eq!(
            plain(reach.paths_between(&numbers(set)).await.unwrap()),
            naive_paths(&graph, set)
        );
    }
    for (a, b) in sets[0].iter().zip(&sets[1]) {
        let expected = naive_chain(&graph, &[*b]).contains(a);
        assert_eq!(
            reach.in_auth_chain(EventNo(*a), EventNo(*b)).await.unwrap(),
            expected
        );
    }
}

proptest! {
    #[test]
    fn walks_find_what_naive_closures_find(
        graph in graphs(),
        picks in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..6), 3..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(graph, picks));
    }

    #[test]
    fn rows_are_written_as_they_are_read(bytes: Vec<u8>) {
        if let Ok(links) = AuthLinks::decode(&Bytes::from([&[1][..], &bytes].concat())) {
            prop_assert_eq!(AuthLinks::decode(&Bytes::from(links.encode())).unwrap(), links);
        }
    }
}

#[test]
fn rows_of_version_1_stay_readable() {
    let row = Bytes::from_static(&[1, 3, 0, 1, 0x95, 0x01]);
    let links = AuthLinks::decode(&row).unwrap();
    assert_eq!(
        (links.generation(), links.auth_events()),
        (3, &numbers(&[0, 1, 150])[..])
    );
    assert_eq!(links.encode(), row);
}

/// A snapshot that counts the rows read through it.
struct Counting(Arc<dyn Snapshot>, AtomicUsize);

impl Snapshot for Counting {
    fn position(&self) -> Position {
        self.0.position()
    }
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, hearth_store::Result<Option<Bytes>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(key)
    }
    fn get_many<'a>(
        &'a self,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, hearth_store::Result<Vec<Option<Bytes>>>> {
        self.1.fetch_add(keys.len(), Ordering::Relaxed);
        self.0.get_many(keys)
    }
    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, hearth_store::Result<Vec<(Bytes, Bytes)>>> {
        Box::pin(async move {
            let rows = self.0.range(range, reverse, limit).await?;
            self.1.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(rows)
        })
    }
}

const SIZE: u64 = 6_000;

/// Graphs that make indexes of pairs, of chains or of bitmaps grow with the square of their size.
fn hostile() -> Vec<(&'static str, Graph)> {
    let last_ten = |at: u64| (at.saturating_sub(10)..at).collect();
    let ladder = (0..SIZE).map(last_ten).collect();
    // A hundred chains; each event refers to its predecessor and to the newest events of nine other chains.
    let braid = (0..SIZE)
        .map(|at| {
            (0..10)
                .filter_map(|other| at.checked_sub(100 - other * 7))
                .collect()
        })
        .collect();
    // Each refers to pseudo-random earlier ones.
    let scattered = (0..SIZE)
        .map(|at| {
            (1..=10)
                .filter(|_| at > 0)
                .map(|salt| (at * 7_919 + salt * 104_729) % at.max(1))
                .collect()
        })
        .collect();
    // All refer to the first half: wide.
    let wide = (0..SIZE)
        .map(|at| {
            (0..10)
                .filter(|_| at >= SIZE / 2)
                .map(|salt| (at * 31 + salt * 577) % (SIZE / 2))
                .collect()
        })
        .collect();
    vec![
        ("ladder", ladder),
        ("braid", braid),
        ("scattered", scattered),
        ("wide", wide),
    ]
}

#[tokio::test]
async fn s04_hostile_graphs_cost_linear_space_and_time() {
    for (name, graph) in hostile() {
        let links: usize = graph.iter().map(Vec::len).sum();
        let store = stored(&graph).await;
        let bytes = store.table_bytes(AUTH_LINKS.info().id);
        // Key at most eight bytes, version and generation four, each link at most three.
        assert!(
            bytes <= 12 * SIZE + 3 * links as u64,
            "{name}: {bytes} bytes"
        );
        let snapshot = Counting(store.snapshot().await.unwrap(), AtomicUsize::new(0));
        let mut read = BTreeMap::new();
        let newest = EventNo(SIZE - 1);
        let set = |step| {
            (0..SIZE)
                .rev()
                .step_by(step)
                .take(20)
                .map(EventNo)
                .collect()
        };
        let sets = StateSets {
            common: (0..SIZE).step_by(3).map(EventNo).collect(),
            own: vec![set(1), set(2), set(50)],
        };
        for question in ["chain", "member", "difference", "paths"] {
            // A cache that holds all rows: rows read are events looked at. With a small one see below.
            let cache = ReachCache::new(1 << 24);
            let reach = Reach::new(ROOM, &snapshot, &cache);
            match question {
                "chain" => drop(reach.auth_chain(&[newest]).await.unwrap()),
                "member" => drop(reach.in_auth_chain(EventNo(1), newest).await.unwrap()),
                "difference" => drop(reach.auth_difference(&sets).await.unwrap()),
                _ => drop(reach.paths_between(&sets.own[2]).await.unwrap()),
            }
            let rows = snapshot.1.swap(0, Ordering::Relaxed);
            read.insert(question, rows);
            assert!(
                rows as u64 <= 2 * SIZE,
                "{name}: {question} read {rows} rows"
            );
        }
        println!(
            "{name}: {SIZE} events, {links} links, {} bytes; rows read: {read:?}",
            bytes
        );
        // Without any cache each link costs at most one read.
        let cache = ReachCache::new(0);
        let reach = Reach::new(ROOM, &snapshot, &cache);
        reach.auth_difference(&sets).await.unwrap();
        let rows = snapshot.1.swap(0, Ordering::Relaxed);
        assert!(
            rows <= 4 * (links + SIZE as usize),
            "{name}: {rows} rows without a cache"
        );
    }
}

#[tokio::test]
async fn an_event_waits_for_its_auth_events() {
    let store = MemoryBackend::new();
    let snapshot = store.snapshot().await.unwrap();
    let cache = ReachCache::new(1 << 16);
    let mut writer = ReachWriter::new(ROOM, snapshot.as_ref(), &cache);
    let missing = |event| Indexed::AuthMissing(EventNo(event));
    assert_eq!(
        writer.append(EventNo(1), &numbers(&[1])).await.unwrap(),
        missing(1),
        "itself"
    );
    assert_eq!(
        writer.append(EventNo(1), &numbers(&[2])).await.unwrap(),
        missing(2)
    );
    assert_eq!(writer.append(EventNo(2), &[]).await.unwrap(), Indexed::Done);
    assert_eq!(
        writer.append(EventNo(1), &numbers(&[2, 2])).await.unwrap(),
        Indexed::Done
    );
    assert_eq!(
        writer.append(EventNo(2), &numbers(&[1])).await.unwrap(),
        Indexed::Done,
        "as before"
    );
    assert!(
        !writer
            .view()
            .in_auth_chain(EventNo(1), EventNo(2))
            .await
            .unwrap()
    );
    assert!(
        writer
            .view()
            .in_auth_chain(EventNo(2), EventNo(1))
            .await
            .unwrap()
    );
    assert_eq!(cache.bytes(), 0, "what is not committed is not cached");
}
