//! `device_lists` in `/sync` and `/keys/changes`: exactly whose keys a client has to ask for anew, and whose it can
//! forget. What a reader who was connected all the time is told, what one is told whom the server does not remember, and
//! what `/keys/changes` tells are the same, and the same as a plain model says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::{Changed, changed};
use hearth_rooms::TargetChange;
use hearth_store::{Backend, Batch};
use hearth_sync::ask::KeyChangesAsk;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::house::{House, Options, ask, reader, user};

/// How long a poll waits that should be woken.
const LONG: Duration = Duration::from_secs(120);

impl House {
    /// The user's keys change, as by an upload of other ones.
    pub(crate) async fn keys_change(&self, name: &str) {
        let snapshot = self.store.snapshot().await.unwrap();
        let mut batch = Batch::new();
        let user = user(name).to_string();
        let change = changed(&*snapshot, &mut batch, &user, &[Changed::Device("PHONE")]).await;
        record(&mut batch, vec![change.unwrap(), Change::Keys { user }]);
        self.store.commit(batch).await.unwrap();
    }

    /// What a user is told since an earlier answer: by the sync that remembers her, which must be what one that
    /// remembers nothing and what `/keys/changes` tell her.
    async fn told(&self, name: &str, since: &Value) -> Lists {
        let answer = self.since(name, since).await;
        let told = Lists::of(&answer["device_lists"]);
        let fresh = ask(&self.fresh_sync(), name, Some(since), Options::default()).await;
        assert_eq!(told, Lists::of(&fresh["device_lists"]), "a fresh sync");
        let token = |answer: &Value| answer["next_batch"].as_str().unwrap().parse().ok();
        let asked = KeyChangesAsk {
            reader: reader(name),
            from: token(since),
            to: token(&answer),
        };
        let changes = self.sync.key_changes(asked).await.unwrap();
        let changes = Lists::of(&serde_json::from_slice(&changes).unwrap());
        assert_eq!(told, changes, "/keys/changes");
        told
    }
}

/// Names of users, without the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lists {
    changed: BTreeSet<String>,
    left: BTreeSet<String>,
}

impl Lists {
    fn of(section: &Value) -> Self {
        let names = |field: &str| {
            let users = section[field].as_array().into_iter().flatten();
            let users = users.map(|user| user.as_str().unwrap());
            users
                .map(|user| {
                    user.trim_start_matches('@')
                        .trim_end_matches(":house")
                        .to_owned()
                })
                .collect()
        };
        Self {
            changed: names("changed"),
            left: names("left"),
        }
    }

    fn new(changed: &[&str], left: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            changed: names(changed),
            left: names(left),
        }
    }
}

/// What happens between two syncs of ann, in three rooms; she made the first two, bob the third.
#[derive(Clone, Copy, Debug)]
enum Act {
    Join(&'static str, usize),
    Leave(&'static str, usize),
    Kick(&'static str, usize),
    Ban(&'static str, usize),
    Unban(&'static str, usize),
    Invite(&'static str, usize),
    Rename(&'static str, usize),
    Keys(&'static str),
}

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];
/// Who made the rooms.
const MAKERS: [&str; 3] = ["ann", "ann", "bob"];

struct World {
    house: House,
    rooms: Vec<OwnedRoomId>,
    model: Model,
}

/// Who is where, and whose keys changed.
#[derive(Clone, Debug, Default)]
struct Model {
    rooms: [BTreeSet<&'static str>; 3],
    keys: BTreeMap<&'static str, usize>,
}

impl Model {
    fn shares(&self, one: &str, other: &str) -> bool {
        let together = |room: &BTreeSet<&str>| room.contains(one) && room.contains(other);
        self.rooms.iter().any(together)
    }

    /// What a reader is to be told who knew the earlier one.
    fn told(&self, before: &Self, name: &str) -> Lists {
        let mut lists = Lists::default();
        for other in NAMES {
            let (was, is) = (before.shares(name, other), self.shares(name, other));
            let has_new_keys = self.keys.get(other) != before.keys.get(other);
            if (is && (!was || has_new_keys)) || (other == name && has_new_keys) {
                lists.changed.insert(other.to_owned());
            }
            if was && !is && other != name {
                lists.left.insert(other.to_owned());
            }
        }
        lists
    }
}

impl World {
    async fn new() -> Self {
        let house = House::new();
        let mut rooms = Vec::new();
        let mut model = Model::default();
        for (index, maker) in MAKERS.into_iter().enumerate() {
            rooms.push(house.public_room(maker).await);
            model.rooms[index].insert(maker);
        }
        Self {
            house,
            rooms,
            model,
        }
    }

    async fn act(&mut self, act: Act) {
        let room = |index: usize| -> &RoomId { &self.rooms[index] };
        let house = &self.house;
        match act {
            Act::Join(name, index) => {
                if house.try_join(name, room(index)).await.is_ok() {
                    self.model.rooms[index].insert(name);
                }
            }
            Act::Leave(name, index) => {
                if house
                    .rooms
                    .leave(&user(name), room(index), None)
                    .await
                    .is_ok()
                {
                    self.model.rooms[index].remove(name);
                }
            }
            Act::Kick(name, index) => self.remove(TargetChange::Kick, name, index).await,
            Act::Ban(name, index) => self.remove(TargetChange::Ban, name, index).await,
            Act::Unban(name, index) => self.remove(TargetChange::Unban, name, index).await,
            Act::Invite(name, index) => {
                // Refused where she is joined or banned; changes no sharing.
                let target = user(name);
                let change = (TargetChange::Invite, &*target);
                let by = user(MAKERS[index]);
                drop(
                    house
                        .rooms
                        .change_other(&by, room(index), change, None)
                        .await,
                );
            }
            Act::Rename(name, index) => {
                let content = json!({"membership": "join", "displayname": format!("{act:?}")});
                let key = user(name).to_string();
                let place = ("m.room.member", key.as_str());
                if self.model.rooms[index].contains(name) {
                    house
                        .try_put(name, room(index), place, &content)
                        .await
                        .unwrap();
                }
            }
            Act::Keys(name) => {
                house.keys_change(name).await;
                *self.model.keys.entry(name).or_default() += 1;
            }
        }
    }

    async fn remove(&mut self, change: TargetChange, name: &'static str, index: usize) {
        let target = user(name);
        let by = user(MAKERS[index]);
        let room = &self.rooms[index];
        let done = self
            .house
            .rooms
            .change_other(&by, room, (change, &*target), None);
        if done.await.is_ok() {
            self.model.rooms[index].remove(name);
        }
    }
}

/// Plays both parts and compares what ann is told after the second.
async fn play(before: &[Act], then: &[Act]) -> Lists {
    let mut world = World::new().await;
    for act in before {
        world.act(*act).await;
    }
    let first = world.house.initial("ann").await;
    let known = world.model.clone();
    for act in then {
        world.act(*act).await;
    }
    let told = world.house.told("ann", &first).await;
    assert_eq!(
        told,
        world.model.told(&known, "ann"),
        "{before:?}, {then:?}"
    );
    told
}

/// What was before, what happens then, who is changed and who has left.
type Case = (
    &'static [Act],
    &'static [Act],
    &'static [&'static str],
    &'static [&'static str],
);

const TOGETHER: &[Act] = &[Act::Join("bob", 0)];
const TWICE: &[Act] = &[Act::Join("bob", 0), Act::Join("bob", 1)];

const CASES: &[Case] = {
    use Act::{Ban, Invite, Join, Keys, Kick, Leave, Rename, Unban};
    &[
        (&[], &[Join("bob", 0)], &["bob"], &[]),
        (&[], &[Join("ann", 2)], &["bob"], &[]),
        (TOGETHER, &[Leave("bob", 0)], &[], &["bob"]),
        (TOGETHER, &[Kick("bob", 0)], &[], &["bob"]),
        (TOGETHER, &[Ban("bob", 0)], &[], &["bob"]),
        (TOGETHER, &[Leave("ann", 0)], &[], &["bob"]),
        (TOGETHER, &[Rename("bob", 0), Rename("ann", 0)], &[], &[]),
        (&[], &[Invite("bob", 0)], &[], &[]),
        // Once more in one gap: nothing is new unless the keys are.
        (TOGETHER, &[Leave("bob", 0), Join("bob", 0)], &[], &[]),
        (TOGETHER, &[Leave("ann", 0), Join("ann", 0)], &[], &[]),
        (
            TOGETHER,
            &[Leave("bob", 0), Keys("bob"), Join("bob", 0)],
            &["bob"],
            &[],
        ),
        (
            TOGETHER,
            &[Leave("ann", 0), Keys("bob"), Join("ann", 0)],
            &["bob"],
            &[],
        ),
        (
            TOGETHER,
            &[Keys("bob"), Leave("bob", 0), Join("bob", 0)],
            &["bob"],
            &[],
        ),
        (
            TOGETHER,
            &[Ban("bob", 0), Keys("bob"), Unban("bob", 0), Join("bob", 0)],
            &["bob"],
            &[],
        ),
        (&[], &[Join("bob", 0), Leave("bob", 0)], &[], &[]),
        (
            &[],
            &[Join("bob", 0), Keys("bob"), Leave("bob", 0)],
            &[],
            &[],
        ),
        // Another room is still shared.
        (TWICE, &[Leave("bob", 0)], &[], &[]),
        (TWICE, &[Leave("bob", 0), Leave("bob", 1)], &[], &["bob"]),
        (TWICE, &[Leave("bob", 0), Kick("bob", 1)], &[], &["bob"]),
        (TWICE, &[Leave("ann", 0), Leave("bob", 1)], &[], &["bob"]),
        (TOGETHER, &[Join("bob", 1), Leave("bob", 0)], &[], &[]),
        (TOGETHER, &[Join("ann", 2), Leave("ann", 0)], &[], &[]),
        (TOGETHER, &[Leave("bob", 0), Join("ann", 2)], &[], &[]),
        (
            TOGETHER,
            &[Leave("bob", 0), Keys("bob"), Join("ann", 2)],
            &["bob"],
            &[],
        ),
        // Keys of those who share no room concern nobody, her own do.
        (&[], &[Keys("bob")], &[], &[]),
        (&[], &[Keys("ann")], &["ann"], &[]),
        (TOGETHER, &[Keys("bob"), Leave("bob", 0)], &[], &["bob"]),
        (TOGETHER, &[Leave("bob", 0), Keys("bob")], &[], &["bob"]),
        (&[Invite("bob", 0)], &[Keys("bob")], &[], &[]),
        (&[Join("bob", 0), Leave("bob", 0)], &[Keys("bob")], &[], &[]),
    ]
};

#[tokio::test]
async fn who_comes_to_share_a_room_is_changed_and_who_ceases_to_is_left() {
    for (before, then, changed, left) in CASES {
        let told = play(before, then).await;
        assert_eq!(told, Lists::new(changed, left), "{before:?}, {then:?}");
    }
}

#[tokio::test]
async fn the_first_room_tells_a_user_of_herself() {
    let house = House::new();
    let room = house.public_room("bob").await;
    let first = house.initial("eve").await;
    house.join("eve", &room).await;
    assert_eq!(
        house.told("eve", &first).await,
        Lists::new(&["bob", "eve"], &[])
    );
    // The last one that she leaves does not: her own devices stay hers.
    let first = house.initial("eve").await;
    house.leave("eve", &room).await;
    assert_eq!(house.told("eve", &first).await, Lists::new(&[], &["bob"]));
}

#[tokio::test]
async fn a_stretch_of_the_past_is_told_as_it_was_then() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    house.leave("bob", &room).await;
    let second = house.since("ann", &first).await;
    house.join("bob", &room).await;
    house.join("cat", &room).await;
    let token = |answer: &Value| answer["next_batch"].as_str().unwrap().parse().ok();
    let asked = KeyChangesAsk {
        reader: reader("ann"),
        from: token(&first),
        to: token(&second),
    };
    let changes = house.sync.key_changes(asked).await.unwrap();
    let changes = Lists::of(&serde_json::from_slice(&changes).unwrap());
    assert_eq!(changes, Lists::new(&[], &["bob"]));
}

/// Each of these ends the long-poll of ann, and the answer says who it was.
#[tokio::test(start_paused = true)]
async fn s24_changed_lists_wake_those_who_share_a_room_and_nobody_else() {
    use Act::{Join, Keys, Kick, Leave};
    let together: &[Act] = &[Join("bob", 0)];
    let cases: &[(&[Act], Act, Option<Lists>)] = &[
        (together, Keys("bob"), Some(Lists::new(&["bob"], &[]))),
        (together, Keys("ann"), Some(Lists::new(&["ann"], &[]))),
        (together, Keys("cat"), None),
        (&[], Keys("bob"), None),
        (together, Leave("bob", 0), Some(Lists::new(&[], &["bob"]))),
        (together, Kick("bob", 0), Some(Lists::new(&[], &["bob"]))),
        (together, Join("cat", 2), None),
        (&[], Join("cat", 1), Some(Lists::new(&["cat"], &[]))),
        (&[], Join("ann", 2), Some(Lists::new(&["bob"], &[]))),
        (
            &[Join("bob", 0), Leave("bob", 0), Join("bob", 0)],
            Keys("bob"),
            Some(Lists::new(&["bob"], &[])),
        ),
        (&[Join("bob", 0), Leave("bob", 0)], Keys("bob"), None),
    ];
    for (before, act, expected) in cases {
        let mut world = World::new().await;
        for act in *before {
            world.act(*act).await;
        }
        let first = world.house.initial("ann").await;
        let first = world.house.since("ann", &first).await;
        let sync = world.house.sync.clone();
        let options = Options {
            timeout: LONG,
            ..Options::default()
        };
        let poll = ask(&sync, "ann", Some(&first), options);
        let acting = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            world.act(*act).await;
            tokio::time::Instant::now()
        };
        let (answer, acted) = tokio::join!(poll, acting);
        let is_woken = acted.elapsed() < Duration::from_secs(5);
        assert_eq!(is_woken, expected.is_some(), "{before:?}, {act:?}");
        let told = Lists::of(&answer["device_lists"]);
        let expected = expected.clone().unwrap_or_default();
        assert_eq!(told, expected, "{before:?}, {act:?}");
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let name = prop::sample::select(&NAMES[..]);
    (0..9_u8, name, 0..3_usize).prop_map(|(kind, name, room)| match kind {
        0..=2 => Act::Join(name, room),
        3 | 4 => Act::Leave(name, room),
        5 => Act::Kick(name, room),
        6 => Act::Rename(name, room),
        _ => Act::Keys(name),
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        rng_seed: RngSeed::Fixed(19),
        ..ProptestConfig::default()
    })]

    /// Every reader of every history is told what the model says, whatever she has missed.
    #[test]
    fn whatever_happens_the_lists_are_exact(
        acts in prop::collection::vec((any_act(), prop::sample::select(&[0_u8, 0, 0, 1][..])), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            let mut known = BTreeMap::new();
            for name in NAMES {
                known.insert(name, (world.house.initial(name).await, world.model.clone()));
            }
            for (index, (act, is_check)) in acts.iter().enumerate() {
                world.act(*act).await;
                let name = NAMES[index % NAMES.len()];
                let is_last = index + NAMES.len() >= acts.len();
                if *is_check == 1 || is_last {
                    let (since, before) = &known[name];
                    let told = world.house.told(name, since).await;
                    assert_eq!(told, world.model.told(before, name), "{name} after {act:?}");
                    let now = world.house.since(name, since).await;
                    known.insert(name, (now, world.model.clone()));
                }
            }
        });
    }
}
