//! Who is there. In memory only: a restart forgets it, and clients say it again with their next sync.
//!
//! A user has a state on each device: one that syncs is online (or idle, if it says so) until some time after its last
//! sync. The user is shown the best of them; online without having done anything for some time is idle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hearth_data::RoomNo;
use hearth_data::federation;
use hearth_data::members::{self, UserRoomRow};
use hearth_ports::{BoxFuture, Presence, PresenceSource};
use hearth_types::{Clock, UnixMs};
use ruma::events::room::member::MembershipState;
use ruma::presence::PresenceState;
use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Error, Result, Rooms, Sender};

/// How long a device counts as connected after its last sync.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(30);
/// After how long without doing anything an online user is idle.
const IDLE_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long another server's user counts as there when her server says no more of her.
const REMOTE_OFFLINE_AFTER: Duration = Duration::from_secs(30 * 60);
/// Most rooms of a server in which its user is looked for.
const SHARED_ROOMS_MAX: usize = 1_000;
/// Longest message that goes with a presence, in bytes.
pub const STATUS_BYTES_MAX: usize = 2_048;
/// Most users whose presence is kept; beyond, those who are offline are forgotten, oldest first, and others not noted.
const PEOPLE_MAX: usize = 20_000;
/// Most devices of a user that count.
const DEVICES_MAX: usize = 16;
/// How many rooms of a user are looked through at once.
const ROOMS_AT_ONCE: usize = 1_000;

/// What another server says of its user.
#[derive(Clone, Debug)]
pub struct RemotePresence {
    /// Whether she is there.
    pub state: PresenceState,
    /// What she says of it.
    pub status_msg: Option<String>,
    /// How long ago she did something, in milliseconds.
    pub last_active_ago_ms: u64,
}

/// Who is there. Cheap to clone; all clones are one.
///
/// Every change that others are told of raises the version, which starts at the clock's milliseconds, so that a version
/// from before a restart is below all versions after it.
#[derive(Clone)]
pub struct Presences(Arc<Inner>);

struct Inner {
    // Held for a few map operations, never over an await.
    state: Mutex<State>,
    version: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Something falls due earlier than was thought.
    rescheduled: Notify,
}

#[derive(Default)]
struct State {
    people: HashMap<OwnedUserId, Person>,
    // The newest change of each user.
    by_version: BTreeMap<u64, OwnedUserId>,
    // When to look at whom again; one entry per user.
    due: BTreeSet<(Instant, OwnedUserId)>,
    is_expiring: bool,
}

struct Person {
    version: u64,
    shown: PresenceState,
    status_msg: Option<String>,
    devices: Vec<Device>,
    last_active: UnixMs,
    active_until: Instant,
    due: Option<Instant>,
}

struct Device {
    id: Option<OwnedDeviceId>,
    is_idle: bool,
    until: Instant,
}

impl Person {
    fn new(now: Instant) -> Self {
        Self {
            version: 0,
            shown: PresenceState::Offline,
            status_msg: None,
            devices: Vec::new(),
            last_active: UnixMs(0),
            active_until: now,
            due: None,
        }
    }

    /// What there is to be shown, and when that may change by itself.
    fn evaluate(&mut self, now: Instant) -> (PresenceState, Option<Instant>) {
        self.devices.retain(|device| device.until > now);
        let is_online = self.devices.iter().any(|device| !device.is_idle);
        let mut next = self.devices.iter().map(|device| device.until).min();
        let state = match (self.devices.is_empty(), is_online) {
            (true, _) => PresenceState::Offline,
            (false, true) if now < self.active_until => {
                next = next.map(|next| next.min(self.active_until));
                PresenceState::Online
            }
            _ => PresenceState::Unavailable,
        };
        (state, next)
    }

    /// Whether the device was not online before.
    fn connect(&mut self, device: Device) -> bool {
        match self.devices.iter_mut().find(|known| known.id == device.id) {
            Some(known) => {
                let begins = known.is_idle && !device.is_idle;
                known.until = known.until.max(device.until);
                known.is_idle = device.is_idle;
                begins
            }
            None => {
                let begins = !device.is_idle;
                if self.devices.len() >= DEVICES_MAX {
                    self.devices.remove(0);
                }
                self.devices.push(device);
                begins
            }
        }
    }
}

impl Presences {
    /// Nobody is there.
    pub fn new(clock: Arc<dyn Clock>, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let (version, _) = watch::channel(clock.now().0);
        Self(Arc::new(Inner {
            state: Mutex::default(),
            version,
            clock,
            tasks,
            shutdown,
            rescheduled: Notify::new(),
        }))
    }

    /// Notes that a device asks for news and waits for so long; in the state that it says it is in.
    pub fn seen(&self, who: &Sender, state: &PresenceState, waits: Duration) {
        let is_idle = match state {
            PresenceState::Online => false,
            PresenceState::Unavailable => true,
            // It does not want to be seen.
            _ => return,
        };
        let now = Instant::now();
        let device = Device {
            id: who.device.clone(),
            is_idle,
            until: now + waits + OFFLINE_AFTER,
        };
        let moment = self.0.clock.now();
        self.change(&who.user, now, |person| {
            if person.connect(device) {
                person.last_active = moment;
                person.active_until = now + IDLE_AFTER;
            }
        });
    }

    /// Sets the state of a device and the user's message.
    fn set(&self, who: &Sender, state: &PresenceState, status_msg: Option<String>) {
        let now = Instant::now();
        let moment = self.0.clock.now();
        let device = Device {
            id: who.device.clone(),
            is_idle: *state == PresenceState::Unavailable,
            until: now + OFFLINE_AFTER,
        };
        self.change(&who.user, now, |person| {
            person.status_msg = status_msg;
            person.last_active = moment;
            person.active_until = now + IDLE_AFTER;
            if *state == PresenceState::Offline {
                person.devices.retain(|known| known.id != device.id);
            } else {
                person.connect(device);
            }
        });
    }

    /// Notes what another server says of its user.
    fn told(&self, user: &UserId, said: &RemotePresence) {
        let now = Instant::now();
        let until = now + REMOTE_OFFLINE_AFTER;
        let last_active = UnixMs(self.0.clock.now().0.saturating_sub(said.last_active_ago_ms));
        self.change(user, now, |person| {
            person.devices.clear();
            person.status_msg.clone_from(&said.status_msg);
            person.last_active = last_active;
            // Whether she is idle is for her server to say.
            person.active_until = until;
            if said.state != PresenceState::Offline {
                person.connect(Device {
                    id: None,
                    is_idle: said.state == PresenceState::Unavailable,
                    until,
                });
            }
        });
    }

    /// Notes that a user does something.
    pub fn active(&self, user: &UserId) {
        if !self.state().people.contains_key(user) {
            return;
        }
        let now = Instant::now();
        let moment = self.0.clock.now();
        self.change(user, now, |person| {
            person.last_active = moment;
            person.active_until = now + IDLE_AFTER;
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, user: &UserId, now: Instant, change: impl FnOnce(&mut Person)) {
        let mut guard = self.state();
        let state = &mut *guard;
        if !state.people.contains_key(user) && !state.make_room() {
            return;
        }
        let person = state.people.entry(user.to_owned());
        let person = person.or_insert_with(|| Person::new(now));
        let before = person.status_msg.clone();
        change(person);
        let is_said = person.status_msg != before;
        self.settle(state, user, now, is_said);
        if !state.due.is_empty() && !std::mem::replace(&mut state.is_expiring, true) {
            let this = self.clone();
            self.0.tasks.spawn(async move { this.expire().await });
        }
    }

    /// Finds out what the user is shown now, and when to look again.
    fn settle(&self, state: &mut State, user: &UserId, now: Instant, is_said: bool) {
        let Some(person) = state.people.get_mut(user) else {
            return;
        };
        let (shown, next) = person.evaluate(now);
        if shown != person.shown || is_said {
            let version = *self.0.version.borrow() + 1;
            state.by_version.remove(&person.version);
            state.by_version.insert(version, user.to_owned());
            person.version = version;
            person.shown = shown;
            self.0.version.send_replace(version);
        }
        // What is due too early is only looked at in vain: activity need not move it each time.
        let is_earlier = match (person.due, next) {
            (Some(due), Some(next)) => next < due,
            (due, next) => due != next,
        };
        if is_earlier {
            if let Some(due) = person.due.take() {
                state.due.remove(&(due, user.to_owned()));
            }
            if let Some(next) = next {
                let is_first = state.due.first().is_none_or(|(first, _)| next < *first);
                person.due = Some(next);
                state.due.insert((next, user.to_owned()));
                if is_first {
                    self.0.rescheduled.notify_one();
                }
            }
        }
    }

    /// Ends what has timed out; ends itself when nobody is there.
    async fn expire(self) {
        while let Some(next) = self.expire_due() {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.0.rescheduled.notified() => {}
                () = self.0.shutdown.cancelled() => return,
            }
        }
    }

    /// Looks at those who are due; answers when the next one is.
    fn expire_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut guard = self.state();
        let state = &mut *guard;
        while let Some((due, _)) = state.due.first()
            && *due <= now
        {
            let Some((_, user)) = state.due.pop_first() else {
                break;
            };
            if let Some(person) = state.people.get_mut(&user) {
                person.due = None;
            }
            self.settle(state, &user, now, false);
        }
        let next = state.due.first().map(|(due, _)| *due);
        state.is_expiring = next.is_some();
        next
    }

    async fn changed_past(&self, seen: u64) -> u64 {
        let mut versions = self.0.version.subscribe();
        let newer = versions.wait_for(|version| *version > seen).await;
        // The sender lives as long as this handle.
        newer.map_or(seen, |version| *version)
    }
}

impl State {
    /// Makes room for one more user. Whether there is.
    fn make_room(&mut self) -> bool {
        if self.people.len() < PEOPLE_MAX {
            return true;
        }
        let is_offline = |user: &OwnedUserId| {
            let person = self.people.get(user);
            person.is_none_or(|person| person.shown == PresenceState::Offline)
        };
        let mut by_age = self.by_version.iter();
        let Some((version, user)) = by_age.find(|(_, user)| is_offline(user)) else {
            return false;
        };
        let (version, user) = (*version, user.clone());
        self.by_version.remove(&version);
        if let Some(due) = self.people.remove(&user).and_then(|person| person.due) {
            self.due.remove(&(due, user));
        }
        true
    }
}

impl PresenceSource for Presences {
    fn version(&self) -> u64 {
        *self.0.version.borrow()
    }

    fn changed_since(&self, version: u64) -> Vec<(OwnedUserId, u64)> {
        let state = self.state();
        let changed = state.by_version.range(version.saturating_add(1)..);
        changed
            .map(|(version, user)| (user.clone(), *version))
            .collect()
    }

    fn presence(&self, user: &UserId) -> Option<Presence> {
        let state = self.state();
        let person = state.people.get(user)?;
        Some(Presence {
            state: person.shown.clone(),
            status_msg: person.status_msg.clone(),
            last_active: Some(person.last_active).filter(|at| at.0 > 0),
        })
    }

    fn wait_past(&self, seen: u64) -> BoxFuture<'_, u64> {
        Box::pin(self.changed_past(seen))
    }
}

impl Rooms {
    /// Sets the presence of the one who asks.
    pub fn set_presence(
        &self,
        who: &Sender,
        state: &PresenceState,
        status_msg: Option<String>,
    ) -> Result<()> {
        if status_msg
            .as_ref()
            .is_some_and(|text| text.len() > STATUS_BYTES_MAX)
        {
            return Err(Error::Invalid("the status message is too long"));
        }
        match state {
            PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline => {
                self.presences().set(who, state, status_msg);
                Ok(())
            }
            _ => Err(Error::Invalid("no such presence")),
        }
    }

    /// The presence of a user who is in a room with the one who asks, and how long ago she did something. Whether others
    /// exist is not to be found out.
    pub async fn presence(
        &self,
        reader: &UserId,
        user: &UserId,
    ) -> Result<(Presence, Option<Duration>)> {
        if reader != user && !self.shares_room(reader, user).await? {
            return Err(Error::Refused("you are in no room with that user"));
        }
        let presence = self.presences().presence(user).unwrap_or(Presence {
            state: PresenceState::Offline,
            status_msg: None,
            last_active: None,
        });
        let now = self.0.clock.now();
        let last_active_ago = presence.last_active.map(|at| now.since(at));
        Ok((presence, last_active_ago))
    }

    /// Takes in what another server says of its user. Of others, and of those who are in no room that is known here,
    /// nothing is noted.
    pub async fn receive_presence(
        &self,
        origin: &ServerName,
        user: &UserId,
        said: &RemotePresence,
    ) -> Result<()> {
        let is_known = matches!(
            said.state,
            PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline
        );
        let is_long = |text: &String| text.len() > STATUS_BYTES_MAX;
        if !is_known
            || user.server_name() != origin
            || said.status_msg.as_ref().is_some_and(is_long)
        {
            return Ok(());
        }
        let snapshot = self.snapshot().await?;
        let rooms =
            federation::rooms_of_server(&*snapshot, origin.as_str(), RoomNo(0), SHARED_ROOMS_MAX);
        for (room, _) in rooms.await?.iter().filter(|(_, joined)| *joined > 0) {
            let member = members::member(&*snapshot, *room, user.as_str()).await?;
            if member.is_some_and(|member| member.membership == MembershipState::Join) {
                self.presences().told(user, said);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn shares_room(&self, reader: &UserId, user: &UserId) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let mut after = RoomNo(0);
        loop {
            let page = members::rooms_of(&*snapshot, reader.as_str(), after, ROOMS_AT_ONCE).await?;
            let joined = page.iter().filter(|(_, row)| is_joined(row));
            for (room, _) in joined {
                let member = members::member(&*snapshot, *room, user.as_str()).await?;
                if member.is_some_and(|member| member.membership == MembershipState::Join) {
                    return Ok(true);
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == ROOMS_AT_ONCE => after = *last,
                _ => return Ok(false),
            }
        }
    }
}

fn is_joined(row: &UserRoomRow) -> bool {
    row.membership == MembershipState::Join
}
