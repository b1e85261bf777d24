//! The parts that deal with other servers.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_config::Config;
use hearth_e2ee::E2ee;
use hearth_federation::{Client, KeyRing, Notary, OwnKeys, Policy, Resolver, Sender, SenderParts};
use hearth_federation_api::{Door, Edus};
use hearth_ports::HttpOut;
use hearth_rooms::Rooms;
use hearth_rooms::remote::Federation;
use hearth_store::Backend;
use hearth_types::{Clock, Ids};
use ruma::{OwnedServerName, ServerName};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing, Result};
use crate::identity::Identity;

/// What everything about other servers is made of.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// Other servers, as this one knows and asks them.
pub(crate) struct Neighbours {
    pub(crate) own_keys: OwnKeys,
    pub(crate) client: Client,
    pub(crate) ring: KeyRing,
    pub(crate) notary: Notary,
    pub(crate) ground: Ground,
}

impl Neighbours {
    /// Before rooms, which ask them.
    pub(crate) fn new(
        ground: Ground,
        http: Arc<dyn HttpOut>,
        identity: &Identity,
        config: &Config,
    ) -> Result<Self> {
        let (clock, ids) = (ground.clock.clone(), ground.ids.clone());
        let own_keys = OwnKeys::new(
            identity.server_name.clone(),
            identity.key.clone(),
            identity.old_keys.clone(),
            clock.clone(),
        );
        let settings = &config.federation;
        let policy = match settings.enabled {
            true => Policy::on(&settings.allow, &settings.deny),
            false => Policy::off(),
        };
        let resolver = Resolver::new(http.clone(), clock.clone(), ids);
        let client = Client::new(http, resolver, own_keys.clone(), policy);
        let notaries = notaries(config)?;
        let store = ground.store.clone();
        let ring = KeyRing::new(store, clock, own_keys.clone(), client.clone(), notaries);
        Ok(Self {
            notary: Notary::new(ring.clone(), own_keys.clone()),
            own_keys,
            client,
            ring,
            ground,
        })
    }

    /// What rooms ask.
    pub(crate) fn for_rooms(&self) -> Federation {
        Federation {
            remote: Arc::new(self.client.clone()),
            keys: Arc::new(self.ring.clone()),
        }
    }

    /// What other servers ask.
    pub(crate) fn endpoints(
        &self,
        rooms: &Rooms,
        accounts: &Accounts,
        e2ee: &E2ee,
        sender: &Sender,
    ) -> hearth_federation_api::Parts {
        let (client, ring) = (self.client.clone(), self.ring.clone());
        hearth_federation_api::Parts {
            own_keys: self.own_keys.clone(),
            notary: self.notary.clone(),
            door: Door::new(client, ring, sender.clone()),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            e2ee: e2ee.clone(),
            edus: Edus::new(rooms.clone(), e2ee.clone(), self.ground.tasks.clone()),
            clock: self.ground.clock.clone(),
        }
    }

    /// After rooms, whose news it sends.
    pub(crate) fn sender(&self, rooms: &Rooms) -> Sender {
        let ground = self.ground.clone();
        Sender::new(SenderParts {
            store: ground.store,
            client: self.client.clone(),
            clock: ground.clock,
            ids: ground.ids,
            typing: Arc::new(rooms.typing().clone()),
            presence: Arc::new(rooms.presences().clone()),
            tasks: ground.tasks,
            shutdown: ground.shutdown,
        })
    }
}

fn notaries(config: &Config) -> Result<Vec<OwnedServerName>> {
    let names = config.federation.notaries.iter();
    names
        .map(|name| {
            ServerName::parse(name.as_str()).doing(format!(
                "federation.notaries: `{name}` is not a server name"
            ))
        })
        .collect()
}
