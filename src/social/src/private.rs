//! Private groups: one room for one exact set of users.
//!
//! A group is found by looking at the current state of the user's own private groups, so that nothing derived can be
//! out of date. Of a group on another server only the invite is known: its create event names the set for which it was made, and
//! the state is looked at after joining. A row per set, written in the commit that makes a room, keeps two requests from making two.

use std::collections::BTreeSet;

use hearth_data::RoomNo;
use hearth_data::members;
use hearth_data::rooms;
use hearth_data::social::{self, PrivateGroupRow};
use hearth_rooms::Error as RoomsError;
use hearth_rooms::{NewRoom, Preset, Rider, RoomKind, TargetChange};
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomOrAliasId, UserId};
use serde_json::json;
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use crate::error::is_own;
use crate::facts::SET;
use crate::groups::{Group, check_name, may_make};
use crate::settle::TRIES_MAX;
use crate::{Error, Result, Social};

/// Most users besides the one who asks.
const OTHERS_MAX: usize = 50;
/// How many rows are taken from the store at once.
const FETCH: usize = 200;
/// How many members of a room are looked at, those included who have left.
const MEMBERS_MAX: usize = 2_000;

/// The users for whom a group is opened, the one who asks among them.
struct Wanted {
    set: BTreeSet<OwnedUserId>,
    /// The name of the set.
    key: String,
}

impl Wanted {
    fn has(&self, user: &str) -> bool {
        self.set.iter().any(|wanted| wanted.as_str() == user)
    }
}

/// A private group that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The group.
    pub group: Group,
    /// Whether it was made by this request.
    pub is_new: bool,
}

impl Social {
    /// Opens the group of exactly these users and the caller; makes it if there is none.
    pub async fn open_private_group(
        &self,
        caller: &Caller,
        others: Vec<OwnedUserId>,
        name: Option<String>,
    ) -> Result<Opened> {
        may_make(caller)?;
        if let Some(name) = &name {
            check_name(name)?;
        }
        if others.len() > OTHERS_MAX {
            return Err(Error::Invalid("`members` has at most 50 users"));
        }
        let user = &*caller.user;
        let mut set: BTreeSet<OwnedUserId> = others.into_iter().collect();
        set.insert(user.to_owned());
        if set.len() < 2 {
            return Err(Error::Invalid("`members` names nobody but yourself"));
        }
        let key = key_of(&set);
        let wanted = Wanted { set, key };
        for _ in 0..TRIES_MAX {
            let snapshot = self.snapshot().await?;
            let claim = social::private_group(&*snapshot, &wanted.key).await?;
            if let Some(claim) = claim.as_ref().filter(|claim| !claim.is_complete) {
                self.complete(claim, &wanted).await?;
                continue;
            }
            if let Some((room, membership)) = self.find(&*snapshot, user, &wanted).await? {
                if membership != MembershipState::Join {
                    let join = <&RoomOrAliasId>::from(&*room);
                    self.0.rooms.join(caller, join, None).await?;
                    // If it was another server's, it can be looked at only now.
                    continue;
                }
                let group = self.group(user, &room).await?;
                return Ok(Opened {
                    group,
                    is_new: false,
                });
            }
            let others = wanted.set.iter().filter(|other| *other != user);
            let others: Vec<OwnedUserId> = others.cloned().collect();
            self.check_circle(user, &others).await?;
            match self.make(user, (&wanted.key, claim.as_ref()), &name).await {
                Ok((room, claim)) => {
                    self.complete(&claim, &wanted).await?;
                    let group = self.group(user, &room).await?;
                    return Ok(Opened {
                        group,
                        is_new: true,
                    });
                }
                Err(Error::Rooms(RoomsError::RiderConflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// The user's private group with exactly this set; of several the one with the smallest id.
    async fn find(
        &self,
        snapshot: &dyn Snapshot,
        user: &UserId,
        wanted: &Wanted,
    ) -> Result<Option<(OwnedRoomId, MembershipState)>> {
        let mut found: Option<(OwnedRoomId, MembershipState)> = None;
        let mut after = RoomNo(0);
        loop {
            let page = members::rooms_of(snapshot, user.as_str(), after, FETCH).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after = *last;
            for (room, row) in page {
                if !is_present(&row.membership) || !self.is_of(snapshot, user, room, wanted).await?
                {
                    continue;
                }
                let Some(head) = rooms::head(snapshot, room).await? else {
                    continue;
                };
                if found.as_ref().is_none_or(|(id, _)| head.room_id < *id) {
                    found = Some((head.room_id, row.membership));
                }
            }
        }
    }

    /// Whether a room is a private group of exactly this set.
    async fn is_of(
        &self,
        snapshot: &dyn Snapshot,
        user: &UserId,
        room: RoomNo,
        wanted: &Wanted,
    ) -> Result<bool> {
        let made = self.made(snapshot, room, Some(user.as_str())).await?;
        let made = made.filter(|made| made.kind == Some(RoomKind::PrivateGroup));
        let Some(made) = made else {
            return Ok(false);
        };
        if members::members_after(snapshot, room, "", 1)
            .await?
            .is_empty()
        {
            let invite = self.own_member(snapshot, room, user.as_str()).await?;
            let is_of_them = invite.is_some_and(|invite| wanted.has(invite.sender().as_str()));
            return Ok(is_of_them && made.set.as_ref() == Some(&wanted.key));
        }
        let mut there = 0;
        let mut after = String::new();
        for _ in 0..MEMBERS_MAX / FETCH {
            let page = members::members_after(snapshot, room, &after, FETCH).await?;
            let Some((last, _)) = page.last() else {
                return Ok(there == wanted.set.len());
            };
            after.clone_from(last);
            for (member, row) in page {
                if !is_present(&row.membership) {
                    continue;
                }
                if !wanted.has(&member) {
                    return Ok(false);
                }
                there += 1;
            }
        }
        Ok(false)
    }

    async fn make(
        &self,
        user: &UserId,
        (key, before): (&str, Option<&PrivateGroupRow>),
        name: &Option<String>,
    ) -> Result<(OwnedRoomId, PrivateGroupRow)> {
        let content = to_raw_value(&json!({ SET: key })).expect("an object of one text is JSON");
        let room = NewRoom {
            kind: Some(RoomKind::PrivateGroup),
            creation_content: Some(content),
            preset: Some(Preset::PrivateChat),
            name: name.clone(),
            ..NewRoom::default()
        };
        let claim = |room_id: &ruma::RoomId| PrivateGroupRow {
            room_id: room_id.to_owned(),
            creator: user.to_string(),
            is_complete: false,
        };
        let made = self.0.rooms.create_riding(user, room, |_, room_id| {
            let mut rider = Rider::new();
            social::put_private_group(&mut rider, key, before, &claim(room_id));
            rider
        });
        let room_id = made.await?;
        let claim = claim(&room_id);
        Ok((room_id, claim))
    }

    /// Invites those of a new group who never were, and notes that this is done. Whoever opens the group next does
    /// it if the request that made the room did not come so far.
    async fn complete(&self, claim: &PrivateGroupRow, wanted: &Wanted) -> Result<()> {
        let mut failed = None;
        let _turn = self.0.turns.take(&wanted.key, "").await;
        if let Some(creator) = self.local(&claim.creator) {
            for user in wanted.set.iter().filter(|user| **user != creator) {
                let membership = self.0.rooms.membership(user, &claim.room_id).await;
                if membership?.is_some() {
                    continue;
                }
                let change = (TargetChange::Invite, &**user);
                let invited = self
                    .0
                    .rooms
                    .change_other(&creator, &claim.room_id, change, None)
                    .await;
                match invited {
                    Ok(()) | Err(RoomsError::AlreadyJoined) => {}
                    Err(error) if is_own(&error) => return Err(error.into()),
                    Err(error) => failed = Some(error),
                }
            }
        }
        let mut batch = Batch::new();
        let complete = PrivateGroupRow {
            is_complete: true,
            ..claim.clone()
        };
        social::put_private_group(&mut batch, &wanted.key, Some(claim), &complete);
        match self.0.store.commit(batch).await {
            Ok(_) => {}
            // Somebody else has done it.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

fn is_present(membership: &MembershipState) -> bool {
    matches!(membership, MembershipState::Join | MembershipState::Invite)
}

/// The name of a set: the hash of its users in order. No user id holds a line feed.
fn key_of(set: &BTreeSet<OwnedUserId>) -> String {
    let mut hash = Sha256::new();
    for user in set {
        hash.update(user.as_str());
        hash.update("\n");
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
