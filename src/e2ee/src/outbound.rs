//! Changes of local users' device lists, told to the servers that share a room with them: a follower takes entries from
//! the log, puts an EDU for each of these servers into its outbox, and removes the entries. A server is told how a device
//! is when its turn comes; of two changes in a row it may hear the newer one twice.
//!
//! The same follower tells servers of the devices of a user who came into a room with them and shared none with them
//! before.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_data::changes::record;
use hearth_data::e2ee::device_lists::{self, DeviceListEntry, NewcomerRow};
use hearth_data::federation::{self, put_edu};
use hearth_data::row::Json;
use hearth_data::{RoomNo, members, tables as t};
use hearth_store::{Batch, Position, Snapshot};
use ruma::events::room::member::MembershipState;
use tokio_util::sync::CancellationToken;

use crate::json::{Object, array};
use crate::query::{Viewer, user_keys};
use crate::remote::joined_rooms;
use crate::to_device::edu_json;
use crate::{E2ee, Error, Result};

/// The tables in which comes what is to be told.
const FOLLOWED: [u8; 2] = [t::DEVICE_LIST_LOG.info().id, t::NEWCOMERS.info().id];
/// How many entries are looked at once.
const ENTRIES_AT_ONCE: usize = 64;
/// How many servers are told in one commit.
const SERVERS_PER_COMMIT: usize = 400;
/// How many EDUs are put into outboxes in one commit, unless one server alone gets more.
const EDUS_PER_COMMIT: usize = 400;
/// How many devices of a newcomer are told of. Servers that do not know her list fetch all of it at the first.
const DEVICES_TOLD_MAX: usize = 100;
/// In how many other rooms of a newcomer it is looked which servers are there; those of others are told once too often.
const ROOMS_LOOKED_AT_MAX: usize = 200;
/// How long changes are gathered before servers are told.
const GATHERED_FOR: Duration = Duration::from_millis(50);
/// Pause after the store failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl E2ee {
    /// Tells other servers of changed device lists until shutdown. To be run once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut seen = Position::ZERO;
        loop {
            let told = async {
                while self.tell_servers().await? {}
                while self.tell_of_newcomers().await? {}
                let moved = self.inner.parts.store.wait_past_in(&FOLLOWED, seen).await?;
                tokio::time::sleep(GATHERED_FOR).await;
                Ok::<_, Error>(moved)
            };
            let told = tokio::select! {
                () = shutdown.cancelled() => return,
                told = told => told,
            };
            match told {
                Ok(position) => seen = position,
                Err(Error::Store(hearth_store::Error::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "could not tell other servers of device lists");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                    }
                }
            }
        }
    }

    /// Puts the oldest changes of local lists into the outboxes of the servers concerned. Answers whether there may be
    /// more.
    pub async fn tell_servers(&self) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let start = (Position::ZERO, 0);
        let entries = device_lists::log_after(&*snapshot, start, ENTRIES_AT_ONCE).await?;
        for entry in &entries {
            let servers = self.servers_of(&*snapshot, &entry.user).await?;
            let edu = match servers.is_empty() {
                true => None,
                false => Some(device_list_edu(&*snapshot, entry).await?),
            };
            let servers: Vec<String> = servers.into_iter().collect();
            let mut chunks = servers.chunks(SERVERS_PER_COMMIT).peekable();
            while let (Some(servers), Some(edu)) = (chunks.next(), &edu) {
                let mut batch = Batch::new();
                let told = servers.iter();
                let changes = told.filter_map(|server| put_edu(&mut batch, server, 0, edu));
                let changes = changes.collect();
                record(&mut batch, changes);
                if chunks.peek().is_none() {
                    t::DEVICE_LIST_LOG.delete(&mut batch, &((), entry.at.0, entry.at.1));
                }
                self.inner.parts.store.commit(batch).await?;
            }
            if edu.is_none() {
                let mut batch = Batch::buffered();
                t::DEVICE_LIST_LOG.delete(&mut batch, &((), entry.at.0, entry.at.1));
                self.inner.parts.store.commit(batch).await?;
            }
        }
        Ok(entries.len() == ENTRIES_AT_ONCE)
    }

    /// Tells servers of the devices of local users who came into their rooms. Answers whether there may be more.
    pub async fn tell_of_newcomers(&self) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let newcomers = device_lists::newcomers(&*snapshot, ENTRIES_AT_ONCE).await?;
        for (at, newcomer) in &newcomers {
            let servers = self.new_servers(&*snapshot, *at, newcomer).await?;
            let edus = match servers.is_empty() {
                true => Vec::new(),
                false => device_edus(&*snapshot, &newcomer.user).await?,
            };
            let servers: Vec<String> = servers.into_iter().collect();
            for servers in servers.chunks((EDUS_PER_COMMIT / edus.len().max(1)).max(1)) {
                let mut batch = Batch::new();
                let mut changes = Vec::new();
                for server in servers {
                    let put = (0..)
                        .zip(&edus)
                        .filter_map(|(index, edu)| put_edu(&mut batch, server, index, edu));
                    // One for each server: it says that there is something.
                    changes.extend(put.last());
                }
                record(&mut batch, changes);
                if !batch.is_empty() {
                    self.inner.parts.store.commit(batch).await?;
                }
            }
            let mut batch = Batch::buffered();
            device_lists::newcomer_done(&mut batch, *at);
            self.inner.parts.store.commit(batch).await?;
        }
        Ok(newcomers.len() == ENTRIES_AT_ONCE)
    }

    /// The servers that are to be told of a newcomer: those that are named, if they share a room with her; otherwise those
    /// in her room that share no other one with her that she was in before.
    async fn new_servers(
        &self,
        snapshot: &dyn Snapshot,
        (came_at, _): (Position, u32),
        newcomer: &NewcomerRow,
    ) -> Result<BTreeSet<String>> {
        let user = newcomer.user.as_str();
        if !newcomer.servers.is_empty() {
            let mut servers = self.servers_of(snapshot, user).await?;
            servers.retain(|server| newcomer.servers.contains(server));
            return Ok(servers);
        }
        let row = members::user_room(snapshot, user, newcomer.room).await?;
        if row.is_none_or(|row| row.membership != MembershipState::Join) {
            return Ok(BTreeSet::new());
        }
        let servers = federation::servers(snapshot, newcomer.room).await?;
        let mut servers: BTreeSet<String> = servers.into_iter().collect();
        servers.remove(self.inner.parts.server_name.as_str());
        let rooms = members::rooms_of(snapshot, user, RoomNo(0), ROOMS_LOOKED_AT_MAX).await?;
        let earlier = rooms.into_iter().filter(|(room, row)| {
            *room != newcomer.room
                && row.membership == MembershipState::Join
                && row.position < came_at
        });
        for (room, _) in earlier {
            if servers.is_empty() {
                break;
            }
            for known in federation::servers(snapshot, room).await? {
                servers.remove(&known);
            }
        }
        Ok(servers)
    }

    /// The other servers that share a room with a local user.
    async fn servers_of(&self, snapshot: &dyn Snapshot, user: &str) -> Result<BTreeSet<String>> {
        let mut servers = BTreeSet::new();
        for room in joined_rooms(snapshot, user).await? {
            servers.extend(federation::servers(snapshot, room).await?);
        }
        servers.remove(self.inner.parts.server_name.as_str());
        Ok(servers)
    }
}

/// What a server is told of a change: how the device or the keys are now.
async fn device_list_edu(snapshot: &dyn Snapshot, entry: &DeviceListEntry) -> Result<Json> {
    let user = entry.user.as_str();
    let mut content = Object::new();
    content.text("user_id", user);
    let Some(device) = &entry.device else {
        let shown = user_keys(snapshot, user, &[], Viewer::Server).await?;
        for usage in ["master", "self_signing"] {
            if let Some(key) = shown.cross_signing.get(usage) {
                content.raw(&format!("{usage}_key"), key);
            }
        }
        return Ok(edu_json("m.signing_key_update", &content.finish()));
    };
    content.text("device_id", device);
    stream(&mut content, entry.stream_id, entry.previous);
    let named = [device.as_str().into()];
    let shown = user_keys(snapshot, user, &named, Viewer::Server).await?;
    let keys = shown.devices.get(device);
    if let Some(keys) = keys {
        content.raw("keys", keys);
    }
    let place = (user.to_owned(), device.clone());
    let row = t::DEVICES.get(snapshot, &place).await?;
    if row.is_none() && keys.is_none() {
        content.raw("deleted", "true");
    }
    if let Some(name) = row.and_then(|row| row.display_name) {
        content.text("device_display_name", &name);
    }
    Ok(edu_json("m.device_list_update", &content.finish()))
}

fn stream(content: &mut Object, id: u64, previous: Option<u64>) {
    content.raw("stream_id", &id.to_string());
    let previous = previous.map(|previous| previous.to_string());
    content.raw("prev_id", &array(previous.as_deref().into_iter()));
}

/// All devices of a user as they are now. They follow nothing, so that who does not know the list fetches it; who knows
/// it up to here has nothing to do.
async fn device_edus(snapshot: &dyn Snapshot, user: &str) -> Result<Vec<Json>> {
    let newest = device_lists::newest(snapshot, user).await?;
    let stream_id = newest.map_or(0, |newest| newest.stream_id());
    let shown = user_keys(snapshot, user, &[], Viewer::Server).await?;
    let range = t::DEVICES.prefix(&user.to_owned());
    let devices = t::DEVICES.range(snapshot, range, DEVICES_TOLD_MAX).await?;
    let told = devices.into_iter().map(|((_, device), row)| {
        let mut content = Object::new();
        content.text("user_id", user);
        content.text("device_id", &device);
        stream(&mut content, stream_id, None);
        if let Some(keys) = shown.devices.get(&device) {
            content.raw("keys", keys);
        }
        if let Some(name) = &row.display_name {
            content.text("device_display_name", name);
        }
        edu_json("m.device_list_update", &content.finish())
    });
    Ok(told.collect())
}
