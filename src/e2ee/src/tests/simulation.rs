//! A store that loses commits and answers, a server that starts again each time, and clients that try again: no one-time
//! key is given out twice, and each message arrives once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use hearth_data::e2ee::to_device;
use hearth_ports::NoRemoteKeys;
use hearth_store::{
    Backend, Batch, BoxFuture, Error as StoreError, Limits, MemoryBackend, Position, Result,
    Snapshot,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, handle, user_id};
use crate::{Claims, E2ee, ToDevice};

/// What becomes of commits, one after the other.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Done and answered.
    Done,
    /// Done, but the server stops before it says so.
    Unanswered,
    /// The server stops before.
    Lost,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate =
        prop_oneof![3 => Just(Fate::Done), 1 => Just(Fate::Unanswered), 1 => Just(Fate::Lost)];
    prop::collection::vec(fate, 1..60)
}

struct Crashing {
    store: MemoryBackend,
    fates: Mutex<Vec<Fate>>,
}

impl Backend for Crashing {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        self.store.snapshot()
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async move {
            let fate = self.fates.lock().unwrap().pop().unwrap_or(Fate::Done);
            match fate {
                Fate::Done => self.store.commit(batch).await,
                Fate::Lost => Err(StoreError::Closed),
                Fate::Unanswered => {
                    self.store.commit(batch).await?;
                    Err(StoreError::Closed)
                }
            }
        })
    }

    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>> {
        self.store.wait_past(seen)
    }

    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>> {
        self.store.wait_past_in(tables, seen)
    }

    fn limits(&self) -> Limits {
        // So small that what these tests send takes several commits.
        Limits {
            batch_ops_max: 24,
            ..self.store.limits()
        }
    }
}

/// A house whose server stops now and then.
struct Fragile {
    house: House,
    backend: Arc<Crashing>,
}

impl Fragile {
    fn new(fates: Vec<Fate>) -> Self {
        let house = House::new();
        let backend = Arc::new(Crashing {
            store: house.store.clone(),
            fates: Mutex::new(fates),
        });
        Self { house, backend }
    }

    /// The server after a start.
    fn started(&self) -> E2ee {
        let remote = Arc::new(NoRemoteKeys);
        handle(self.backend.clone(), self.house.clock.clone(), remote)
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// A client that reads its messages, loses answers, and tries again.
#[derive(Default)]
struct Client {
    token: Position,
    got: Vec<Value>,
}

impl Client {
    async fn sync(&mut self, server: &E2ee, store: &MemoryBackend, device: &Device, page: usize) {
        // An acknowledgement that fails fails the whole request.
        if server
            .acknowledge(&device.caller(), self.token)
            .await
            .is_err()
        {
            return;
        }
        let snapshot = store.snapshot().await.unwrap();
        let range = (self.token, snapshot.position());
        let waiting = to_device::waiting(&*snapshot, &device.place(), range, page)
            .await
            .unwrap();
        let is_answer_lost = page == 3;
        if is_answer_lost {
            return;
        }
        self.token = match waiting.len() < page {
            true => snapshot.position(),
            false => waiting.last().unwrap().0,
        };
        let messages = waiting.iter().map(|(_, message)| message.text());
        self.got
            .extend(messages.map(|text| serde_json::from_str::<Value>(text).unwrap()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn messages_arrive_once_and_in_order_whatever_is_lost(
        fates in fates(),
        pages in prop::collection::vec(1_usize..6, 1..40),
    ) {
        run(async {
            let world = Fragile::new(fates);
            let house = &world.house;
            let alice = house.device(ALICE, "A").await;
            let devices = [house.device(BOB, "B1").await, house.device(BOB, "B2").await];
            // So many that a message takes several commits.
            for number in 0..12 {
                house.device(BOB, &format!("C{number:02}")).await;
            }
            let mut clients = [Client::default(), Client::default()];
            let mut pages = pages.iter().cycle();
            for number in 0..12 {
                let message = ToDevice {
                    event_type: "m.test".to_owned(),
                    txn_id: number.to_string(),
                    messages: [(
                        user_id(BOB),
                        [("*".to_owned(), json!({ "n": number }).to_string())].into(),
                    )]
                    .into(),
                };
                loop {
                    let server = world.started();
                    for (client, device) in clients.iter_mut().zip(&devices) {
                        client.sync(&server, &house.store, device, *pages.next().unwrap()).await;
                    }
                    if server.send_to_device(&alice.caller(), message.clone()).await.is_ok() {
                        break;
                    }
                }
            }
            let expected: Vec<Value> = (0..12).map(|number| json!({ "n": number })).collect();
            for (mut client, device) in clients.into_iter().zip(&devices) {
                for _ in 0..40 {
                    client.sync(&world.started(), &house.store, device, 2).await;
                }
                let got: Vec<Value> =
                    client.got.iter().map(|message| message["content"].clone()).collect();
                assert_eq!(got, expected);
                assert!(house.waiting(device).await.is_empty());
            }
            house.assert_sound().await;
        });
    }

    #[test]
    fn no_one_time_key_is_given_out_twice_whatever_is_lost(
        fates in fates(),
        steps in prop::collection::vec((any::<bool>(), 0_u32..4, 1_u32..4), 1..60),
    ) {
        run(async {
            let world = Fragile::new(fates);
            let house = &world.house;
            let device = house.ready_device(ALICE, "A", 0).await;
            let mut next = 0;
            let mut got: BTreeMap<String, Value> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for (is_upload, _, count) in steps {
                if is_upload {
                    let keys = device.one_time_keys(next..next + count);
                    let body = json!({ "one_time_keys": keys }).to_string();
                    // The client sends the same keys until it is answered; meanwhile others claim some.
                    while world.started().keys_upload(&device.caller(), body.as_bytes()).await.is_err() {
                        take(&world, &device, &mut got, &mut seen).await;
                    }
                    next += count;
                } else {
                    take(&world, &device, &mut got, &mut seen).await;
                }
            }
            house.assert_sound().await;
        });
    }
}

/// Claims a key; one that was lost on the way is lost.
async fn take(
    world: &Fragile,
    device: &Device,
    got: &mut BTreeMap<String, Value>,
    seen: &mut BTreeSet<String>,
) {
    let wanted = [(device.id.as_str().into(), "signed_curve25519".to_owned())];
    let claims: Claims = [(user_id(&device.user), wanted.into())].into();
    let timeout = std::time::Duration::from_secs(1);
    let Ok(answer) = world.started().keys_claim(claims, timeout).await else {
        return;
    };
    let answer: Value = serde_json::from_str(&answer.to_json()).unwrap();
    let Some(keys) = answer["one_time_keys"][&device.user][&device.id].as_object() else {
        return;
    };
    for (name, key) in keys {
        assert!(seen.insert(name.clone()), "{name} was given out twice");
        got.insert(name.clone(), key.clone());
    }
}
