//! One server.

use std::sync::Arc;

use hearth_accounts::{Accounts, NewDevice, NewUser, PasswordCost, Registration, RegistrationKind};
use hearth_data::meta;
use hearth_data::state::{HashKey, States};
use hearth_e2ee::E2ee;
use hearth_event::{RoomVersion, SigningKey};
use hearth_federation::{
    Client, KeyRing, Notary, OwnKeys, Policy, Resolver, Sender as Outbound, SenderParts,
};
use hearth_federation_api::{Door, Edus};
use hearth_rooms::remote::Federation;
use hearth_rooms::{Parts, Rooms, Sender, Settings};
use hearth_store::{Backend, Fault, MemoryBackend};
use hearth_sync::Sync;
use hearth_types::{Caller, Clock, Ids};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Net, SimClock};

/// The secret of all stores, so that runs are alike.
pub(crate) const HASH_SECRET: [u8; 16] = [7; 16];
/// The device of all users.
const DEVICE: &str = "PHONE";
/// More commits than any simulation has.
const NEVER: u64 = u64::MAX;

/// A server and what it is made of.
pub struct Node {
    /// Its name.
    pub name: OwnedServerName,
    /// Its rooms.
    pub rooms: Rooms,
    /// Its users.
    pub accounts: Accounts,
    /// Their keys.
    pub e2ee: E2ee,
    /// What its clients read.
    pub sync: Sync,
    pub(crate) store: MemoryBackend,
    reading: hearth_sync::Parts,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    net: Net,
    clock: SimClock,
    lives: u64,
}

impl Node {
    /// A server that starts on an empty store.
    pub async fn start(net: &Net, clock: SimClock, name: &str) -> Self {
        Self::on(net, clock, (name, 0), MemoryBackend::new()).await
    }

    async fn on(
        net: &Net,
        clock: SimClock,
        (name, lives): (&str, u64),
        store: MemoryBackend,
    ) -> Self {
        let ground = Ground::new(name, lives, clock, &store);
        for (meta_name, value) in [
            (meta::HASH_KEY, &HASH_SECRET[..]),
            (meta::SERVER_NAME, name.as_bytes()),
        ] {
            let made = meta::load_or_put(&*ground.store, meta_name, || value.to_vec());
            made.await.unwrap();
        }
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (client, ring, own_keys) = ground.neighbours(net);
        let rooms = ground.rooms((&client, &ring), (&tasks, &shutdown));
        let outbound = Outbound::new(SenderParts {
            store: ground.store.clone(),
            client: client.clone(),
            clock: ground.clock.clone(),
            ids: ground.ids.clone(),
            typing: Arc::new(rooms.typing().clone()),
            presence: Arc::new(rooms.presences().clone()),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        let accounts = ground.accounts();
        let e2ee = ground.e2ee(&client);
        let router = hearth_federation_api::router(hearth_federation_api::Parts {
            notary: Notary::new(ring.clone(), own_keys.clone()),
            own_keys,
            door: Door::new(client, ring, outbound.clone()),
            edus: Edus::new(rooms.clone(), e2ee.clone(), tasks.clone()),
            e2ee: e2ee.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            clock: ground.clock.clone(),
        });
        net.attach(name, lives, router);
        let reading = ground.reading(&rooms);
        let sync = follow(&reading, (&tasks, &shutdown));
        tasks.spawn(async move { outbound.run().await });
        let told = (e2ee.clone(), shutdown.clone());
        tasks.spawn(async move { told.0.run(told.1).await });
        // It may stop again before it has begun.
        let _stopped = rooms.resume_intakes().await.err();
        let _stopped = rooms.resume_partial_rooms().await.err();
        let jobs = (rooms.clone(), shutdown.clone());
        tasks.spawn(async move { jobs.0.run_jobs(jobs.1).await });
        Self {
            name: ground.name,
            rooms,
            accounts,
            e2ee,
            sync,
            store,
            reading,
            tasks,
            shutdown,
            net: net.clone(),
            clock,
            lives,
        }
    }

    /// Stops at once, as in a power loss, and starts on what was durable.
    pub async fn crash(&mut self) {
        self.net.detach(self.name.as_str());
        self.shutdown.cancel();
        let store = self.store.crash();
        let (name, lives) = (self.name.to_string(), self.lives + 1);
        *self = Self::on(&self.net, self.clock, (&name, lives), store).await;
    }

    /// Lets the store stop at a later commit: before it, or after it without an answer. The server is of no use then
    /// until [`Node::crash`] starts it again.
    pub fn plan_crash(&self, after: u64, fault: Fault) {
        self.store.plan_fault(after, fault);
    }

    /// Nothing is planned any longer.
    pub fn plan_nothing(&self) {
        self.store.plan_fault(NEVER, Fault::CrashBefore);
    }

    /// Whether its store has stopped. It is not reached any longer then.
    pub async fn has_stopped(&self) -> bool {
        let has_stopped = self.store.snapshot().await.is_err();
        if has_stopped {
            self.net.detach(self.name.as_str());
        }
        has_stopped
    }

    /// A reader for clients that remembers nothing.
    pub(crate) fn fresh_sync(&self) -> Sync {
        follow(&self.reading, (&self.tasks, &self.shutdown))
    }

    /// A reader for clients that has missing history fetched.
    pub fn far_sync(&self) -> Sync {
        self.fresh_sync().with_history(Arc::new(self.rooms.clone()))
    }

    /// A user of this server.
    pub fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name)).unwrap()
    }

    /// Registers a user, with the device of [`Node::caller`].
    pub async fn register(&self, localpart: &str) -> OwnedUserId {
        let new = NewUser {
            username: Some(localpart.to_owned()),
            password: None,
            displayname: None,
            kind: RegistrationKind::User,
            admin: false,
            ..NewUser::default()
        };
        let device = NewDevice {
            device_id: Some(DEVICE.into()),
            ..NewDevice::default()
        };
        let registered = self.accounts.register(new, Some(&device)).await;
        registered.unwrap().user_id
    }

    /// Registers a user on the device of [`Node::caller`], with keys of this name.
    pub async fn register_with_keys(&self, localpart: &str, name: &str) {
        self.register(localpart).await;
        self.upload_keys(localpart, name).await;
    }

    /// Puts keys of this name in place of those of a user's device.
    pub async fn upload_keys(&self, localpart: &str, name: &str) {
        let caller = self.caller(localpart);
        let keys = serde_json::json!({
            "user_id": caller.user,
            "device_id": "PHONE",
            "algorithms": [],
            // 32 bytes; nobody signs with it here.
            "keys": { "ed25519:PHONE": format!("{name:0>42}A") },
            "signatures": {},
        });
        let body = serde_json::json!({ "device_keys": keys }).to_string();
        let uploaded = self.e2ee.keys_upload(&caller, body.as_bytes()).await;
        uploaded.unwrap();
    }

    /// The keys of a user's device as a local user is told, without the padding of their name.
    pub async fn keys_of(&self, asker: &str, user: &UserId) -> Option<String> {
        let query = [(user.to_owned(), Vec::new())].into();
        let timeout = std::time::Duration::from_secs(10);
        let asker = self.user(asker);
        let told = self.e2ee.keys_query(&asker, query, timeout).await;
        let told: serde_json::Value = serde_json::from_str(&told.unwrap()).unwrap();
        let keys = &told["device_keys"][user.as_str()]["PHONE"]["keys"]["ed25519:PHONE"];
        let keys = keys.as_str()?.trim_start_matches('0');
        Some(keys.trim_end_matches('A').to_owned())
    }

    /// The devices of a user of another server as they are kept here.
    pub async fn known_keys_of(&self, user: &UserId) -> serde_json::Value {
        let known = self.e2ee.known_keys_of(user).await.unwrap();
        serde_json::from_str(&known).unwrap()
    }

    /// A user who makes requests.
    pub fn caller(&self, localpart: &str) -> Caller {
        Caller {
            user: self.user(localpart),
            device: Some(DEVICE.into()),
            is_guest: false,
            is_admin: false,
            is_suspended: false,
            service: None,
        }
    }

    /// The same, as a sender of events.
    pub fn sender(&self, localpart: &str) -> Sender {
        Sender::from(&self.caller(localpart))
    }
}

/// What the parts of a server stand on.
struct Ground {
    name: OwnedServerName,
    life: u64,
    key: SigningKey,
    store: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
}

impl Ground {
    fn new(name: &str, lives: u64, clock: SimClock, store: &MemoryBackend) -> Self {
        let seed = name
            .bytes()
            .fold(lives, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        Self {
            name: OwnedServerName::try_from(name).unwrap(),
            life: lives,
            key: SigningKey::generate([name.as_bytes()[0]; 32], "a").unwrap(),
            store: Arc::new(store.clone()),
            clock: Arc::new(clock),
            ids: Arc::new(Ids::seeded(seed)),
        }
    }

    fn neighbours(&self, net: &Net) -> (Client, KeyRing, OwnKeys) {
        let clock = self.clock.clone();
        let own_keys = OwnKeys::new(
            self.name.clone(),
            self.key.clone(),
            Vec::new(),
            clock.clone(),
        );
        let http = Arc::new(net.wire(self.name.as_str(), self.life));
        let resolver = Resolver::new(http.clone(), clock.clone(), self.ids.clone());
        let client = Client::new(http, resolver, own_keys.clone(), Policy::on(&[], &[]));
        let ring = KeyRing::new(
            self.store.clone(),
            clock,
            own_keys.clone(),
            client.clone(),
            Vec::new(),
        );
        (client, ring, own_keys)
    }

    fn rooms(
        &self,
        (client, ring): (&Client, &KeyRing),
        (tasks, shutdown): (&TaskTracker, &CancellationToken),
    ) -> Rooms {
        let parts = Parts {
            store: self.store.clone(),
            states: Arc::new(States::new(HashKey::new(HASH_SECRET), 1 << 20)),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let settings = Settings {
            server_name: self.name.clone(),
            key: self.key.clone(),
            default_version: RoomVersion::V11,
            view_cache_bytes_max: 1 << 20,
            retention: hearth_event::retention::Bounds::default(),
        };
        let federation = Federation {
            remote: Arc::new(client.clone()),
            keys: Arc::new(ring.clone()),
        };
        Rooms::federated(parts, settings, federation)
    }

    fn e2ee(&self, client: &Client) -> E2ee {
        E2ee::new(hearth_e2ee::Parts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            remote: Arc::new(client.clone()),
            server_name: self.name.clone(),
        })
    }

    fn accounts(&self) -> Accounts {
        let mut settings = hearth_accounts::Settings::new(self.name.clone());
        settings.registration = Registration::Open;
        settings.password_cost = PasswordCost::CHEAPEST;
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Accounts::new(store, clock, self.ids.clone(), settings)
    }

    /// What its clients read. They read what is here: nobody fetches history for them.
    fn reading(&self, rooms: &Rooms) -> hearth_sync::Parts {
        hearth_sync::Parts {
            store: self.store.clone(),
            states: Arc::new(States::new(HashKey::new(HASH_SECRET), 1 << 20)),
            typing: Arc::new(rooms.typing().clone()),
            presences: Arc::new(rooms.presences().clone()),
            clock: self.clock.clone(),
            settings: hearth_sync::Settings::default(),
        }
    }
}

/// A reader for clients, and its follower of the log.
fn follow(
    reading: &hearth_sync::Parts,
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
) -> Sync {
    let sync = Sync::new(reading.clone());
    let (notifier, shutdown) = (sync.notifier().clone(), shutdown.clone());
    tasks.spawn(async move { notifier.run(shutdown).await });
    sync
}
