//! A server with users whose devices have keys.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hearth_data::accounts::devices::{DeviceRow, device_delete, device_row};
use hearth_data::accounts::users::UserRow;
use hearth_data::e2ee::device_lists::{self, devices_gone};
use hearth_data::e2ee::keys::{self, KeyHeadRow};
use hearth_data::e2ee::to_device;
use hearth_data::federation::HomeRow;
use hearth_data::fsck::fsck;
use hearth_data::members::{MemberRow, UserRoomRow};
use hearth_data::tables as t;
use hearth_data::{EventNo, RoomNo};
use hearth_event::SigningKey;
use hearth_event::canonical::{Strictness, parse_object, to_string_without};
use hearth_ports::{NoRemoteKeys, RemoteKeys};
use hearth_store::{Backend, Batch, MemoryBackend, Position};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId, server_name};
use serde_json::{Map, Value, json};

use crate::{E2ee, KeyQuery, Parts};

pub(super) const ALICE: &str = "@alice:h.test";
pub(super) const BOB: &str = "@bob:h.test";
/// An algorithm whose keys are not signed.
pub(super) const UNSIGNED: &str = "org.example.plain";

/// A server.
pub(super) struct House {
    pub(super) e2ee: E2ee,
    pub(super) store: MemoryBackend,
    pub(super) clock: Arc<ManualClock>,
}

impl House {
    pub(super) fn new() -> Self {
        Self::with(Arc::new(NoRemoteKeys))
    }

    pub(super) fn with(remote: Arc<dyn RemoteKeys>) -> Self {
        let store = MemoryBackend::new();
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        Self {
            e2ee: handle(Arc::new(store.clone()), clock.clone(), remote),
            store,
            clock,
        }
    }

    /// Logs a user in on a device.
    pub(super) async fn device(&self, user: &str, id: &str) -> Device {
        let mut batch = Batch::new();
        t::USERS.put(&mut batch, &user.to_owned(), &UserRow::default());
        let row = DeviceRow {
            display_name: Some(format!("{id} of {user}")),
            ..DeviceRow::default()
        };
        t::DEVICES.put(&mut batch, &(user.to_owned(), id.to_owned()), &row);
        self.store.commit(batch).await.unwrap();
        Device::new(user, id)
    }

    /// The same with identity keys and some one-time keys.
    pub(super) async fn ready_device(&self, user: &str, id: &str, count: u32) -> Device {
        let device = self.device(user, id).await;
        let body = json!({
            "device_keys": device.keys(),
            "one_time_keys": device.one_time_keys(0..count),
        });
        self.upload(&device, &body).await.unwrap();
        device
    }

    pub(super) async fn upload(&self, device: &Device, body: &Value) -> crate::Result<Value> {
        let (caller, body) = (device.caller(), body.to_string());
        let counts = self.e2ee.keys_upload(&caller, body.as_bytes()).await;
        Ok(json!(counts?))
    }

    /// Logs a device out, as `accounts` does.
    pub(super) async fn remove(&self, device: &Device) {
        let snapshot = self.store.snapshot().await.unwrap();
        let row = device_row(&*snapshot, &device.user, &device.id)
            .await
            .unwrap();
        let mut batch = Batch::new();
        device_delete(&mut batch, &device.user, &device.id, &row.unwrap());
        let gone = [device.id.as_str()];
        devices_gone(&*snapshot, &mut batch, &device.user, &gone)
            .await
            .unwrap();
        self.store.commit(batch).await.unwrap();
    }

    pub(super) async fn query(&self, asker: &str, user: &str) -> Value {
        let query: KeyQuery = [(user_id(user), vec![])].into();
        let timeout = std::time::Duration::from_secs(1);
        let answer = self.e2ee.keys_query(&user_id(asker), query, timeout).await;
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    /// Claims a key of a device: its name and the key.
    pub(super) async fn claim(&self, device: &Device) -> Option<(String, Value)> {
        self.claim_of(device, "signed_curve25519").await
    }

    pub(super) async fn claim_of(
        &self,
        device: &Device,
        algorithm: &str,
    ) -> Option<(String, Value)> {
        let wanted = [(device.id.as_str().into(), algorithm.to_owned())];
        let claims = [(user_id(&device.user), wanted.into())].into();
        let timeout = std::time::Duration::from_secs(1);
        let answer = self.e2ee.keys_claim(claims, timeout).await.unwrap();
        let answer: Value = serde_json::from_str(&answer.to_json()).unwrap();
        let keys = answer["one_time_keys"][&device.user][&device.id].as_object()?;
        let (name, key) = keys.iter().next()?;
        Some((name.clone(), key.clone()))
    }

    pub(super) async fn head(&self, device: &Device) -> KeyHeadRow {
        let snapshot = self.store.snapshot().await.unwrap();
        let head = keys::head(&*snapshot, &device.place()).await.unwrap();
        head.unwrap_or_default()
    }

    /// Whose lists changed after a position.
    pub(super) async fn lists_changed(&self, from: Position) -> Vec<String> {
        let snapshot = self.store.snapshot().await.unwrap();
        let changed = device_lists::changed_since(&*snapshot, from, Position::MAX, 100).await;
        changed.unwrap().into_iter().map(|(_, user)| user).collect()
    }

    pub(super) async fn position(&self) -> Position {
        self.store.snapshot().await.unwrap().position()
    }

    /// A room of a local user and of other servers.
    pub(super) async fn room_with(&self, user: &str, servers: &[&str]) {
        let mut batch = Batch::new();
        let row = UserRoomRow {
            membership: MembershipState::Join,
            event: EventNo(1),
            forgotten: false,
            position: Position::ZERO,
        };
        t::USER_ROOMS.put_position(&mut batch, &(user.to_owned(), RoomNo(1)), &row);
        for server in servers.iter().chain(&["h.test"]) {
            t::ROOM_SERVERS.add(&mut batch, &(RoomNo(1), (*server).to_owned()), 1);
        }
        self.store.commit(batch).await.unwrap();
    }

    /// A user, local or not, joins a room or leaves it. The first local one brings the server into it.
    pub(super) async fn moves(&self, user: &str, room: RoomNo, membership: MembershipState) {
        let mut batch = Batch::new();
        let event = EventNo(1);
        let row = MemberRow {
            membership: membership.clone(),
            event,
            position: Position::ZERO,
        };
        t::MEMBERS.put_position(&mut batch, &(room, user.to_owned()), &row);
        if user.ends_with(":h.test") {
            let row = UserRoomRow {
                membership: membership.clone(),
                event,
                forgotten: false,
                position: Position::ZERO,
            };
            t::USER_ROOMS.put_position(&mut batch, &(user.to_owned(), room), &row);
            if membership == MembershipState::Join {
                let row = HomeRow {
                    event,
                    position: Position::ZERO,
                };
                t::HOME_SINCE.put_position(&mut batch, &room, &row);
            }
        }
        self.store.commit(batch).await.unwrap();
    }

    /// The same for several who join.
    pub(super) async fn join(&self, users: &[&str], room: RoomNo) {
        for user in users {
            self.moves(user, room, MembershipState::Join).await;
        }
    }

    /// The contents of the messages that wait for a device.
    pub(super) async fn waiting(&self, device: &Device) -> Vec<Value> {
        let snapshot = self.store.snapshot().await.unwrap();
        let range = (Position::ZERO, Position::MAX);
        let waiting = to_device::waiting(&*snapshot, &device.place(), range, 1_000).await;
        let messages = waiting.unwrap().into_iter();
        messages
            .map(|(_, message)| serde_json::from_str(message.text()).unwrap())
            .collect()
    }

    /// No invariant of the store is broken.
    pub(super) async fn assert_sound(&self) {
        let snapshot = self.store.snapshot().await.unwrap();
        let report = fsck(&*snapshot, &mut |_| {}).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

/// A handle on a store, as after a start.
pub(super) fn handle(
    store: Arc<dyn Backend>,
    clock: Arc<ManualClock>,
    remote: Arc<dyn RemoteKeys>,
) -> E2ee {
    E2ee::new(Parts {
        store,
        clock,
        ids: Arc::new(Ids::seeded(7)),
        remote,
        server_name: server_name!("h.test").to_owned(),
    })
}

pub(super) fn user_id(text: &str) -> OwnedUserId {
    UserId::parse(text).unwrap()
}

/// A client's device with its secrets.
pub(super) struct Device {
    pub(super) user: String,
    pub(super) id: String,
    pub(super) key: SigningKey,
}

impl Device {
    pub(super) fn new(user: &str, id: &str) -> Self {
        Self::with_identity(user, id, 1)
    }

    /// The same device with another identity for another number.
    pub(super) fn with_identity(user: &str, id: &str, number: u8) -> Self {
        let mut seed = [number; 32];
        for (slot, byte) in seed.iter_mut().zip(format!("{user}{id}").bytes().rev()) {
            *slot ^= byte;
        }
        Self {
            user: user.to_owned(),
            id: id.to_owned(),
            key: SigningKey::generate(seed, id).unwrap(),
        }
    }

    pub(super) fn place(&self) -> (String, String) {
        (self.user.clone(), self.id.clone())
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            user: user_id(&self.user),
            device: Some(self.id.as_str().into()),
            is_guest: false,
            is_admin: false,
            is_suspended: false,
            service: None,
        }
    }

    pub(super) fn key_id(&self) -> String {
        format!("ed25519:{}", self.id)
    }

    pub(super) fn sign(&self, value: &mut Value) {
        sign(&self.key, &self.user, &self.key_id(), value);
    }

    /// Identity keys as a client uploads them.
    pub(super) fn keys(&self) -> Value {
        let mut keys = json!({
            "user_id": self.user,
            "device_id": self.id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                self.key_id(): self.key.public_key(),
                format!("curve25519:{}", self.id): self.key.public_key(),
            },
        });
        self.sign(&mut keys);
        keys
    }

    pub(super) fn one_time_key(&self, number: u32) -> Value {
        // Nobody computes with it: any 32 bytes are a key.
        let key = [number.to_be_bytes(); 8].concat();
        let mut key = json!({ "key": STANDARD_NO_PAD.encode(key) });
        self.sign(&mut key);
        key
    }

    pub(super) fn one_time_keys(&self, numbers: std::ops::Range<u32>) -> Value {
        let keys = numbers.map(|number| {
            let name = format!("signed_curve25519:AAA{number:04}");
            (name, self.one_time_key(number))
        });
        Value::Object(keys.collect::<Map<String, Value>>())
    }

    /// Keys of an algorithm that nobody signs: making and checking signatures takes most of a test's time.
    pub(super) fn unsigned_keys(numbers: std::ops::Range<u32>) -> Value {
        let keys = numbers.map(|number| (format!("{UNSIGNED}:{number:04}"), json!("key")));
        Value::Object(keys.collect::<Map<String, Value>>())
    }

    pub(super) fn fallback_key(&self, number: u32) -> Value {
        let mut key = self.one_time_key(number);
        key["fallback"] = json!(true);
        key.as_object_mut().unwrap().remove("signatures");
        self.sign(&mut key);
        json!({ format!("signed_curve25519:F{number}"): key })
    }
}

/// Adds a signature to an object.
pub(super) fn sign(key: &SigningKey, user: &str, key_id: &str, value: &mut Value) {
    let object = parse_object(value.to_string().as_bytes(), Strictness::Strict).unwrap();
    let message = to_string_without(&object, &["signatures", "unsigned"]);
    value["signatures"][user][key_id] = json!(key.sign_bytes(message.as_bytes()));
}
