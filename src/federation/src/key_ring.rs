//! Other servers' signing keys: in memory, in the store, asked of them, asked of notaries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hearth_data::federation::{self, ServerKeysRow};
use hearth_event::canonical::{self, Strictness, Value};
use hearth_event::{VerifyKey, verify_json};
use hearth_ports::{BoxFuture, KeySet, Keys, WantedKey};
use hearth_store::{Backend, Batch};
use hearth_types::{Clock, UnixMs};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Semaphore;

use crate::client::{Ask, Client};
use crate::{OwnKeys, Result, published};

/// However long a server says that its keys are valid, they are asked for again after seven days (room version 5,
/// "Signing key validity period").
const VALIDITY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many servers' keys are kept in memory.
const SERVERS_IN_MEMORY_MAX: usize = 4_096;
/// How many servers are remembered as asked lately.
const ASKED_MAX: usize = 10_000;
/// A server is not asked again for its keys before this time has passed, doubled with each failure.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// How many servers are asked at once.
const FETCHES_MAX: usize = 64;
/// How long a server, or a notary, may take to answer.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 256 << 10;
/// Most old keys that are remembered of a server beyond those that it publishes.
const OLD_KEYS_MAX: usize = 64;

/// The keys of all servers, this one's among them. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    store: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    own: OwnKeys,
    client: Client,
    notaries: Vec<OwnedServerName>,
    rows: Cache<OwnedServerName, Arc<ServerKeysRow>>,
    asked: Cache<OwnedServerName, Asked>,
    fetches: Semaphore,
    busy: Mutex<HashMap<OwnedServerName, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone, Copy)]
struct Asked {
    at: UnixMs,
    failures: u32,
}

impl Asked {
    fn may_ask_again(self, now: UnixMs) -> bool {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(12));
        now.since(self.at) >= pause.min(PAUSE_MAX)
    }
}

impl KeyRing {
    /// A ring that keeps keys in `store` and asks with `client`; `notaries` are asked for keys of servers that do not
    /// answer.
    pub fn new(
        store: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        own: OwnKeys,
        client: Client,
        notaries: Vec<OwnedServerName>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            own,
            client,
            notaries,
            rows: Cache::new(SERVERS_IN_MEMORY_MAX),
            asked: Cache::new(ASKED_MAX),
            fetches: Semaphore::new(FETCHES_MAX),
            busy: Mutex::default(),
        }))
    }

    /// A key with which a server may sign requests at this moment: one in use, no old one.
    pub async fn request_key(&self, server: &ServerName, key_id: &str) -> Result<Option<[u8; 32]>> {
        let now = self.0.clock.now();
        let usable = |row: &ServerKeysRow| {
            let found = row.verify_keys.iter().find(|(id, _)| id == key_id);
            found
                .filter(|_| capped(row) >= now)
                .map(|(_, public_key)| *public_key)
        };
        if let Some(row) = self.row(server).await?
            && let Some(key) = usable(&row)
        {
            return Ok(Some(key));
        }
        let row = self.refresh(server).await?;
        Ok(row.and_then(|row| usable(&row)))
    }

    /// What is known of a server, asked again if it is not good until `valid_until` or half of its life is over.
    pub(crate) async fn fresh_row(
        &self,
        server: &ServerName,
        valid_until: UnixMs,
    ) -> Result<Option<Arc<ServerKeysRow>>> {
        let row = self.row(server).await?;
        let now = self.0.clock.now();
        if let Some(row) = &row {
            let half = row.valid_until.since(row.fetched_at) / 2;
            if row.valid_until >= valid_until && now < row.fetched_at.after(half) {
                return Ok(Some(row.clone()));
            }
        }
        self.refresh(server).await
    }

    /// What is known of a server, from memory or store.
    async fn row(&self, server: &ServerName) -> Result<Option<Arc<ServerKeysRow>>> {
        if let Some(row) = self.0.rows.get(server) {
            return Ok(Some(row));
        }
        let snapshot = self.0.store.snapshot().await?;
        let row = federation::server_keys(&*snapshot, server.as_str()).await?;
        let row = row.map(Arc::new);
        if let Some(row) = &row {
            self.0.rows.insert(server.to_owned(), row.clone());
        }
        Ok(row)
    }

    /// Asks for a server's keys, unless that was done a moment ago. Answers what is known then.
    async fn refresh(&self, server: &ServerName) -> Result<Option<Arc<ServerKeysRow>>> {
        let turn = {
            let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.entry(server.to_owned()).or_default().clone()
        };
        let guard = turn.lock().await;
        let now = self.0.clock.now();
        let asked = self.0.asked.get(server);
        let refreshed = match asked {
            Some(asked) if !asked.may_ask_again(now) => self.row(server).await,
            _ => self.ask_everybody(server, asked).await,
        };
        drop(guard);
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // Two owners: the map and this function. With more, somebody still waits.
        if Arc::strong_count(&turn) <= 2 {
            busy.remove(server);
        }
        drop(busy);
        refreshed
    }

    async fn ask_everybody(
        &self,
        server: &ServerName,
        asked: Option<Asked>,
    ) -> Result<Option<Arc<ServerKeysRow>>> {
        // The semaphore is never closed.
        let _permit = self.0.fetches.acquire().await;
        let fetched = match self.ask_server(server).await {
            Some(row) => Some(row),
            None => self.ask_notaries(server).await,
        };
        let at = self.0.clock.now();
        let failures = match &fetched {
            Some(_) => 0,
            None => asked.map_or(0, |asked| asked.failures).saturating_add(1),
        };
        let asked = Asked { at, failures };
        self.0.asked.insert(server.to_owned(), asked);
        match fetched {
            Some(row) => self.keep(server, row).await.map(Some),
            None => self.row(server).await,
        }
    }

    async fn ask_server(&self, server: &ServerName) -> Option<ServerKeysRow> {
        let ask = Ask {
            bytes_max: DOCUMENT_BYTES_MAX,
            time_max: FETCH_TIME_MAX,
            ..Ask::get("/_matrix/key/v2/server".to_owned())
        };
        let answer = match self.0.client.ask_unsigned(server, ask).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "could not fetch the keys of `{server}`");
                return None;
            }
        };
        match published::read_text(server, &answer.body, self.0.clock.now()) {
            Ok(row) => Some(row),
            Err(reason) => {
                tracing::debug!(reason, "the keys of `{server}` are no good");
                None
            }
        }
    }

    async fn ask_notaries(&self, server: &ServerName) -> Option<ServerKeysRow> {
        for notary in &self.0.notaries {
            if notary == server {
                continue;
            }
            if let Some(row) = self.ask_notary(notary, server).await {
                return Some(row);
            }
        }
        None
    }

    /// Keys as a notary tells them: signed by the server itself and by the notary, whose own key is fetched of it.
    async fn ask_notary(&self, notary: &ServerName, server: &ServerName) -> Option<ServerKeysRow> {
        let own = self.ask_server(notary).await?;
        let now = self.0.clock.now();
        let criteria = serde_json::json!({ "server_keys": { server.as_str(): {} } });
        let ask = Ask {
            bytes_max: DOCUMENT_BYTES_MAX,
            time_max: FETCH_TIME_MAX,
            ..Ask::post("/_matrix/key/v2/query".to_owned(), criteria.to_string())
        };
        let answer = self.0.client.ask_unsigned(notary, ask).await.ok()?;
        let body = canonical::parse_object(&answer.body, Strictness::Lenient).ok()?;
        let documents = body.get("server_keys")?.as_array()?;
        let is_vouched_for = |document: &canonical::Object| {
            let mut keys = own.verify_keys.iter();
            keys.any(|(id, key)| verify_json(document, notary.as_str(), id, key).is_ok())
        };
        documents
            .iter()
            .filter_map(Value::as_object)
            .filter(|document| is_vouched_for(document))
            .find_map(|document| published::read(server, document, now).ok())
    }

    /// Writes what a server publishes. Keys that it had before and names no more stay, as old ones.
    async fn keep(
        &self,
        server: &ServerName,
        mut row: ServerKeysRow,
    ) -> Result<Arc<ServerKeysRow>> {
        if let Some(before) = self.row(server).await? {
            merge(&mut row, &before);
        }
        let mut batch = Batch::new();
        federation::put_server_keys(&mut batch, server.as_str(), &row);
        self.0.store.commit(batch).await?;
        let row = Arc::new(row);
        self.0.rows.insert(server.to_owned(), row.clone());
        Ok(row)
    }

    async fn collect(&self, wanted: &[WantedKey], fetch: Fetch) -> KeySet {
        let mut by_server = BTreeMap::<&ServerName, Vec<&WantedKey>>::new();
        for key in wanted {
            by_server.entry(&key.server).or_default().push(key);
        }
        let mut set = KeySet::default();
        for (server, keys) in by_server {
            if server == self.0.own.server_name() {
                for key in keys {
                    if let Some(own) = self.0.own.verify_key(&key.key_id) {
                        set.insert(server.to_owned(), key.key_id.clone(), own);
                    }
                }
                continue;
            }
            match self.row_for(server, &keys, fetch).await {
                Ok(Some(row)) => add(&mut set, server, &row),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "could not read the keys of `{server}`"),
            }
        }
        set
    }

    async fn row_for(
        &self,
        server: &ServerName,
        keys: &[&WantedKey],
        fetch: Fetch,
    ) -> Result<Option<Arc<ServerKeysRow>>> {
        let row = self.row(server).await?;
        let has_all = |row: &ServerKeysRow| {
            let known = all_keys(row);
            let is_known = |wanted: &&WantedKey| {
                let found = known.get(wanted.key_id.as_str());
                found.is_some_and(|key| key.valid_until >= wanted.at)
            };
            keys.iter().all(is_known)
        };
        if fetch == Fetch::No || row.as_ref().is_some_and(|row| has_all(row)) {
            return Ok(row);
        }
        self.refresh(server).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fetch {
    Yes,
    No,
}

impl Keys for KeyRing {
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(self.collect(wanted, Fetch::No))
    }

    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(self.collect(wanted, Fetch::Yes))
    }
}

/// Until when the keys in use may be used without asking again.
fn capped(row: &ServerKeysRow) -> UnixMs {
    row.valid_until.min(row.fetched_at.after(VALIDITY_MAX))
}

/// All keys of a server by id; of one id the one that is valid longer.
fn all_keys(row: &ServerKeysRow) -> HashMap<&str, VerifyKey> {
    let mut keys = HashMap::new();
    for (id, key, expired) in &row.old_verify_keys {
        let key = VerifyKey {
            key: *key,
            valid_until: *expired,
        };
        keys.insert(id.as_str(), key);
    }
    for (id, key) in &row.verify_keys {
        let key = VerifyKey {
            key: *key,
            valid_until: capped(row),
        };
        keys.insert(id.as_str(), key);
    }
    keys
}

fn add(set: &mut KeySet, server: &ServerName, row: &ServerKeysRow) {
    for (id, key) in all_keys(row) {
        set.insert(server.to_owned(), id.to_owned(), key);
    }
}

fn merge(row: &mut ServerKeysRow, before: &ServerKeysRow) {
    let until = capped(before);
    let in_use = before.verify_keys.iter().map(|(id, key)| (id, key, until));
    let old = before
        .old_verify_keys
        .iter()
        .map(|(id, key, expired)| (id, key, *expired));
    for (id, key, expired) in in_use.chain(old) {
        let is_named = row.verify_keys.iter().any(|(named, _)| named == id)
            || row.old_verify_keys.iter().any(|(named, ..)| named == id);
        if !is_named && row.old_verify_keys.len() < OLD_KEYS_MAX {
            row.old_verify_keys.push((id.clone(), *key, expired));
        }
    }
}

#[cfg(test)]
mod tests;
