//! All parts of a server, put together.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hearth_accounts::{Accounts, GuestAccess, PasswordCost, Policy, Registration, Turn};
use hearth_client_api::discovery::{Contact, Discovery};
use hearth_config::Config;
use hearth_data::state::States;
use hearth_data::tables::CATALOGUE;
use hearth_e2ee::E2ee;
use hearth_event::RoomVersion;
use hearth_event::retention::{Bounds, Lifetime};
use hearth_federation::Sender;
use hearth_http::Gate;
use hearth_rooms::Rooms;
use hearth_social::Social;
use hearth_store::Backend;
use hearth_store_rocksdb::RocksBackend;
use hearth_sync::Sync;
use hearth_types::{Clock, Ids, SystemClock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing, Error, Result};
use crate::federation::{Ground, Neighbours};
use crate::identity::Identity;
use crate::media;
use crate::memory::Budget;
use crate::outside;
use crate::services;

/// How long credentials for a TURN server are good.
const TURN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long workers may take to end when the server stops.
const WORKERS_END_MAX: Duration = Duration::from_secs(5);

/// The parts, and what ends them.
pub(crate) struct House {
    pub(crate) store: Arc<RocksBackend>,
    pub(crate) handles: Handles,
    pub(crate) sender: Sender,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// What handlers take, by API.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) client: hearth_client_api::Parts,
    pub(crate) federation: hearth_federation_api::Parts,
}

/// Where the store is in a data folder.
pub(crate) fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

/// Makes a folder for its owner only, unless it is there.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(format!("could not make the folder {}", path.display()))
}

/// Opens the store of a data folder. Only one process can.
pub(crate) fn open_store(config: &Config) -> Result<RocksBackend> {
    private_folder(&config.data_dir)?;
    let path = store_path(&config.data_dir);
    let settings = hearth_store_rocksdb::Settings {
        memory_bytes: usize::try_from(Budget::of(config.memory_limit).store).unwrap_or(usize::MAX),
        sync: config.store.sync_writes,
        ..hearth_store_rocksdb::Settings::default()
    };
    RocksBackend::open(&path, CATALOGUE, &settings)
        .doing(format!("could not open the store {}", path.display()))
}

impl House {
    /// Builds all parts on an open store. Nothing runs yet but what a request starts.
    pub(crate) async fn build(store: RocksBackend, config: &Config) -> Result<Self> {
        let (store, tasks) = (Arc::new(store), TaskTracker::new());
        let backend: Arc<dyn Backend> = store.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids = Arc::new(Ids::from_system());
        let identity = Identity::load(&*backend, &ids, &config.server_name).await?;
        let budget = Budget::of(config.memory_limit);
        let states = Arc::new(States::new(identity.hash_key.clone(), budget.states));
        let shutdown = CancellationToken::new();
        let ground = Ground {
            store: backend.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let http = outside::http(config, &tasks, &shutdown)?;
        let neighbours = Neighbours::new(ground.clone(), http.clone(), &identity, config)?;
        let registrations = Arc::new(services::registrations(config, &identity.server_name)?);
        let accounts = Accounts::beside_services(
            (backend.clone(), clock.clone(), ids.clone()),
            accounts_settings(config, &identity)?,
            registrations.clone(),
        );
        let e2ee = e2ee(&neighbours, &identity);
        let rooms = Rooms::federated(
            hearth_rooms::Parts {
                store: backend.clone(),
                states: states.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            rooms_settings(config, identity, budget)?,
            neighbours.for_rooms(),
        );
        let sender = neighbours.sender(&rooms);
        let federation = neighbours.endpoints(&rooms, &accounts, &e2ee, &sender);
        let social = social((&backend, &states), &rooms, &clock);
        let services = services::open(registrations, (&ground, &states), (&http, config))?;
        let settings = sync_settings(config, budget.sync);
        let sync = reader((backend, states, clock), &rooms, settings);
        let handles = Handles {
            client: hearth_client_api::Parts {
                gate: Gate::with_limits(Arc::new(accounts.clone()), config),
                accounts,
                e2ee,
                rooms,
                social,
                sync,
                media: media::open(config, ground, http, &neighbours)?,
                services,
                federation: neighbours.client,
                discovery: discovery(config),
            },
            federation,
        };
        Ok(Self {
            store,
            handles,
            sender,
            tasks,
            shutdown,
        })
    }

    /// Ends all workers and closes the store, so that the next start knows that nothing is missing.
    pub(crate) async fn close(self) -> Result<()> {
        self.shutdown.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(WORKERS_END_MAX, self.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!(workers = self.tasks.len(), "workers did not end in time");
        }
        drop(self.handles);
        self.store.close().await.doing("could not close the store")
    }
}

fn e2ee(neighbours: &Neighbours, identity: &Identity) -> E2ee {
    let ground = &neighbours.ground;
    E2ee::new(hearth_e2ee::Parts {
        store: ground.store.clone(),
        clock: ground.clock.clone(),
        ids: ground.ids.clone(),
        remote: Arc::new(neighbours.client.clone()),
        server_name: identity.server_name.clone(),
    })
}

/// Friends and groups, on the rooms.
fn social(
    (store, states): (&Arc<dyn Backend>, &Arc<States>),
    rooms: &Rooms,
    clock: &Arc<dyn Clock>,
) -> Social {
    Social::new(hearth_social::Parts {
        store: store.clone(),
        states: states.clone(),
        rooms: rooms.clone(),
        clock: clock.clone(),
    })
}

/// The reader for clients, which has missing history fetched by `rooms`.
fn reader(
    (store, states, clock): (Arc<dyn Backend>, Arc<States>, Arc<dyn Clock>),
    rooms: &Rooms,
    settings: hearth_sync::Settings,
) -> Sync {
    let parts = hearth_sync::Parts {
        store,
        states,
        typing: Arc::new(rooms.typing().clone()),
        presences: Arc::new(rooms.presences().clone()),
        clock,
        settings,
    };
    Sync::new(parts).with_history(Arc::new(rooms.clone()))
}

fn accounts_settings(config: &Config, identity: &Identity) -> Result<hearth_accounts::Settings> {
    let registration = match &config.registration {
        registration if !registration.open => Registration::Closed,
        registration if registration.token_required => Registration::Token,
        _ => Registration::Open,
    };
    let memory_kib = u32::try_from(config.password.memory.bytes() >> 10)
        .map_err(|_| Error::refused("password.memory is too large"))?;
    let shared_secret = config.registration.shared_secret.as_ref();
    let mut settings = hearth_accounts::Settings::new(identity.server_name.clone());
    settings.registration = registration;
    if config.registration.guests {
        settings.guests = GuestAccess::Allowed;
    }
    settings.terms = config.terms.iter().map(policy).collect();
    settings.turn = config.turn.shared_secret.as_ref().map(|secret| Turn {
        uris: config.turn.uris.clone(),
        shared_secret: secret.expose().to_owned(),
        lifetime: TURN_LIFETIME,
    });
    settings.shared_secret = shared_secret.map(|secret| secret.expose().to_owned());
    settings.password_cost = PasswordCost {
        memory_kib,
        passes: config.password.iterations,
        lanes: 1,
    };
    settings.password_length_min = config.password.min_length as usize;
    Ok(settings)
}

fn policy(policy: &hearth_config::Policy) -> Policy {
    Policy {
        id: policy.id.clone(),
        version: policy.version.clone(),
        language: policy.language.clone(),
        name: policy.name.clone(),
        url: policy.url.clone(),
    }
}

fn discovery(config: &Config) -> Discovery {
    Discovery {
        client: config.well_known.client.clone(),
        server: config.well_known.server.clone(),
        support_page: config.well_known.support_page.clone(),
        contacts: contacts(config),
    }
}

fn contacts(config: &Config) -> Vec<Contact> {
    let contacts = config.well_known.contacts.iter();
    let contacts = contacts.map(|contact| Contact {
        role: contact.role.clone(),
        matrix_id: contact.matrix_id.clone(),
        email_address: contact.email_address.clone(),
    });
    contacts.collect()
}

fn sync_settings(config: &Config, cache_bytes_max: u64) -> hearth_sync::Settings {
    hearth_sync::Settings {
        timeout_max: Duration::from_secs(config.limits.long_poll_seconds_max),
        cache_bytes_max,
        retention: retention(config),
    }
}

/// How long messages are kept.
fn retention(config: &Config) -> Bounds {
    let lifetime = |time: hearth_config::Lifetime| {
        let seconds = time.seconds();
        seconds.map_or(Lifetime::FOREVER, |seconds| {
            Lifetime::millis(seconds * 1_000)
        })
    };
    Bounds {
        default: lifetime(config.retention.default_lifetime),
        min: lifetime(config.retention.min_lifetime),
        max: lifetime(config.retention.max_lifetime),
    }
}

fn rooms_settings(
    config: &Config,
    identity: Identity,
    budget: Budget,
) -> Result<hearth_rooms::Settings> {
    let version = &config.room.default_version;
    let default_version = RoomVersion::parse(version)
        .ok_or_else(|| Error::refused(format!("room.default_version `{version}` is unknown")))?;
    Ok(hearth_rooms::Settings {
        server_name: identity.server_name,
        key: identity.key,
        default_version,
        view_cache_bytes_max: budget.rooms,
        retention: retention(config),
    })
}
