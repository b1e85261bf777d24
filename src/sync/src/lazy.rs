//! Which members a device was told of, for lazy loading.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hearth_data::RoomNo;
use hearth_store::Position;

use crate::ask::Reader;

/// How many devices are remembered.
const DEVICES_MAX: usize = 4_000;
/// How many members per device; beyond, all are forgotten and told again.
const MEMBERS_MAX: usize = 5_000;

type Rooms = HashMap<RoomNo, HashMap<Box<str>, Position>>;

/// What one device was told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rooms: Rooms,
    count: usize,
}

impl Told {
    /// Whether a client at `since` knows of a member. What it was told in an answer that it has not taken up, it may
    /// not have got.
    pub(crate) fn knows(&self, room: RoomNo, member: &str, since: Position) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = inner
            .rooms
            .get(&room)
            .and_then(|members| members.get(member));
        told.is_some_and(|at| *at <= since)
    }

    /// Notes that an answer up to `at` tells of members.
    pub(crate) fn note<'m>(
        &self,
        room: RoomNo,
        members: impl Iterator<Item = &'m str>,
        at: Position,
    ) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for member in members {
            if inner.count >= MEMBERS_MAX {
                *inner = Inner::default();
            }
            let told = inner.rooms.entry(room).or_default();
            if !told.contains_key(member) {
                told.insert(member.into(), at);
                inner.count += 1;
            }
        }
    }

    /// The client begins with this room anew.
    pub(crate) fn forget_room(&self, room: RoomNo) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = inner.rooms.remove(&room) {
            inner.count -= members.len();
        }
    }
}

/// What the devices that asked last were told.
pub(crate) struct LazyCache(quick_cache::sync::Cache<(String, String), Arc<Told>>);

impl LazyCache {
    pub(crate) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(DEVICES_MAX))
    }

    /// What a device was told.
    pub(crate) fn of(&self, reader: &Reader) -> Arc<Told> {
        let key = key(reader);
        match self.0.get(&key) {
            Some(told) => told,
            None => {
                let told = Arc::new(Told::default());
                self.0.insert(key, told.clone());
                told
            }
        }
    }

    /// The device begins anew.
    pub(crate) fn forget(&self, reader: &Reader) {
        self.0.remove(&key(reader));
    }
}

fn key(reader: &Reader) -> (String, String) {
    let device = reader.device.as_ref().map(ToString::to_string);
    (reader.user.to_string(), device.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_in_a_lost_answer_is_told_again() {
        let told = Told::default();
        told.note(RoomNo(1), ["@a:x"].into_iter(), Position(7));
        assert!(!told.knows(RoomNo(1), "@a:x", Position(6)));
        assert!(told.knows(RoomNo(1), "@a:x", Position(7)));
        assert!(!told.knows(RoomNo(2), "@a:x", Position(7)));
        told.forget_room(RoomNo(1));
        assert!(!told.knows(RoomNo(1), "@a:x", Position(7)));
    }

    #[test]
    fn the_memory_of_a_device_is_bounded() {
        let told = Told::default();
        let names: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("@{n}:x")).collect();
        told.note(RoomNo(1), names.iter().map(String::as_str), Position(1));
        assert!(!told.knows(RoomNo(1), "@0:x", Position(1)));
        assert!(told.knows(RoomNo(1), &names[MEMBERS_MAX], Position(1)));
    }
}
