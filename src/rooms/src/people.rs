//! The directory of users: whom one may find by name (client-server API, "User Directory").
//!
//! Names are those of profiles, never those that somebody has in one room only; of other servers' users only the ids are
//! known here, in rooms that are shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hearth_data::accounts::profiles::{self, ProfileRow};
use hearth_data::{RoomNo, members, rooms};
use hearth_store::Snapshot;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};

use crate::read::Look;
use crate::{Result, Rooms, content};

/// How many users are shown when the client does not say.
const LIMIT_DEFAULT: usize = 10;
/// How many at most.
const LIMIT_MAX: usize = 100;
/// How many profiles are looked through.
const PROFILES_MAX: usize = 50_000;
/// How many users with a fitting name are looked at more closely.
const CANDIDATES_MAX: usize = 1_000;
/// How many rooms of a user are looked at to find out whether somebody may know of her.
const ROOMS_MAX: usize = 500;
/// How many members of the asking user's rooms are looked through.
const MEMBERS_MAX: usize = 10_000;
/// How many rows are read at once.
const PAGE: usize = 1_000;

/// A user who was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Her id.
    pub user_id: OwnedUserId,
    /// Her display name, if it is known.
    pub displayname: Option<String>,
    /// Her avatar, if it is known.
    pub avatar_url: Option<String>,
}

/// Who was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// The best first.
    pub found: Vec<Person>,
    /// There are more.
    pub is_limited: bool,
}

/// How well a name fits: the smaller the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is the term.
    Whole,
    /// It begins with it.
    Start,
    /// A word of it begins with it.
    Word,
    /// The term is somewhere in it.
    Inside,
}

impl Rooms {
    /// Users whose id or display name has a term in it, in any case, and of whom the asking user may know: those with
    /// whom she shares a room, and those in rooms that everybody may join or read.
    pub async fn find_people(
        &self,
        asking: &UserId,
        term: &str,
        limit: Option<u64>,
    ) -> Result<People> {
        let limit = limit.map_or(LIMIT_DEFAULT, |limit| {
            usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)
        });
        let term = term.trim().to_lowercase();
        let mut people = People::default();
        if term.is_empty() {
            return Ok(people);
        }
        let snapshot = self.snapshot().await?;
        let mut search = Search {
            rooms: self,
            asking,
            public: HashMap::new(),
            snapshot,
        };
        let mut candidates = search.local(&term).await?;
        candidates.extend(search.remote(&term).await?);
        for ((_, user), profile) in candidates {
            let Ok(user_id) = UserId::parse(&*user) else {
                continue;
            };
            let is_local = self.0.is_local(&user_id);
            if is_local && !search.may_know(&user).await? {
                continue;
            }
            if people.found.len() == limit {
                people.is_limited = true;
                break;
            }
            people.found.push(Person {
                user_id,
                displayname: profile.displayname().map(ToOwned::to_owned),
                avatar_url: profile.avatar_url().map(ToOwned::to_owned),
            });
        }
        Ok(people)
    }
}

/// By how well they fit, then by id.
type Candidates = BTreeMap<(Fit, String), ProfileRow>;

struct Search<'a> {
    rooms: &'a Rooms,
    asking: &'a UserId,
    /// Whether everybody may join or read a room.
    public: HashMap<RoomNo, bool>,
    snapshot: std::sync::Arc<dyn Snapshot>,
}

impl Search<'_> {
    async fn local(&self, term: &str) -> Result<Candidates> {
        let mut found = Candidates::new();
        let mut after = String::new();
        for _ in 0..PROFILES_MAX / PAGE {
            let page = profiles::after(&*self.snapshot, &after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after.clone_from(last);
            for (user, profile) in page {
                let name = profile.displayname().and_then(|name| fit(name, term));
                let fit = [name, fit_id(&user, term)].into_iter().flatten().min();
                if let Some(fit) = fit {
                    found.insert((fit, user), profile);
                }
            }
            while found.len() > CANDIDATES_MAX {
                found.pop_last();
            }
        }
        Ok(found)
    }

    /// Other servers' users in the rooms of the asking one.
    async fn remote(&self, term: &str) -> Result<Candidates> {
        let snapshot = &*self.snapshot;
        let mut found = BTreeSet::new();
        let mut seen = 0;
        let joined = self.joined(self.asking.as_str()).await?;
        for room in joined {
            let mut after = String::new();
            while seen < MEMBERS_MAX {
                let page = members::members_after(snapshot, room, &after, PAGE).await?;
                let Some((last, _)) = page.last() else {
                    break;
                };
                after.clone_from(last);
                seen += page.len();
                found.extend(page.into_iter().filter_map(|(user, row)| {
                    let user_id = <&UserId>::try_from(&*user).ok()?;
                    let is_remote = !self.rooms.0.is_local(user_id);
                    let is_in = row.membership == MembershipState::Join;
                    let fit = fit_id(&user, term).filter(|_| is_remote && is_in)?;
                    Some((fit, user))
                }));
            }
        }
        let found = found.into_iter().take(CANDIDATES_MAX);
        Ok(found.map(|key| (key, ProfileRow::default())).collect())
    }

    async fn joined(&self, user: &str) -> Result<Vec<RoomNo>> {
        let rooms = members::rooms_of(&*self.snapshot, user, RoomNo(0), ROOMS_MAX).await?;
        let joined = rooms
            .into_iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        Ok(joined.map(|(room, _)| room).collect())
    }

    async fn may_know(&mut self, user: &str) -> Result<bool> {
        let joined = self.joined(user).await?;
        // Herself she finds if others can.
        let is_other = user != self.asking.as_str();
        for room in joined.iter().filter(|_| is_other) {
            let row = members::member(&*self.snapshot, *room, self.asking.as_str()).await?;
            if row.is_some_and(|row| row.membership == MembershipState::Join) {
                return Ok(true);
            }
        }
        for room in joined {
            if self.is_public(room).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_public(&mut self, room: RoomNo) -> Result<bool> {
        if let Some(known) = self.public.get(&room) {
            return Ok(*known);
        }
        let is_public = match self.rooms.look(self.snapshot.clone(), room).await? {
            Some(look) => open_to_all(&look).await?,
            None => false,
        };
        self.public.insert(room, is_public);
        Ok(is_public)
    }
}

async fn open_to_all(look: &Look) -> Result<bool> {
    let rule = look.current("m.room.join_rules").await?;
    let rule = rule.and_then(|event| content::text(&event, "join_rule"));
    Ok(rule.as_deref() == Some("public")
        || look.is_world_readable().await?
        || rooms::is_published(&*look.snapshot, look.room).await?)
}

fn fit(name: &str, term: &str) -> Option<Fit> {
    let name = name.to_lowercase();
    if name == term {
        return Some(Fit::Whole);
    }
    if name.starts_with(term) {
        return Some(Fit::Start);
    }
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    if words.any(|word| word.starts_with(term)) {
        return Some(Fit::Word);
    }
    name.contains(term).then_some(Fit::Inside)
}

/// The same for ids, with and without the sign before them.
fn fit_id(user: &str, term: &str) -> Option<Fit> {
    let whole = fit(user, term);
    let bare = user.strip_prefix('@').and_then(|bare| fit(bare, term));
    [whole, bare].into_iter().flatten().min()
}
