//! Compares what clients know with what the model says, and looks for what they should not have heard.

use std::collections::BTreeSet;

use hearth_sync::ask::{
    ContextAsk, Direction, Page, RelationDepth, RelationsAsk, ThreadsAsk, ThreadsIncluded,
};

use super::act::History;
use super::client::{Client, Paging, Picture, Room, ignored, text};
use super::model::{Bundle, Event, user_id};
use super::steps::{Asking, NAMES, ROOMS};
use super::wish::Wish;
use crate::house::reader;

/// How the clients ask before they are compared.
const LAST: Asking = Asking {
    limit: 3,
    state_after: false,
    full_state: false,
    lost: 0,
    forward: false,
};

/// How it is tried whether the whole history is found from its beginning.
const FORWARD: Paging = Paging {
    direction: Direction::Forward,
    limit: 7,
};

impl History {
    /// All clients ask for news, and what they know is looked at.
    pub(super) async fn check(&mut self) {
        let fresh_server = self.house.fresh_sync();
        for (who, name) in NAMES.into_iter().enumerate() {
            // Twice: a timeline may have shown what is not the state.
            self.clients[who].sync(&self.server, LAST).await;
            self.clients[who].sync(&self.server, LAST).await;
            self.look_everywhere(who).await;
            self.check_words(who);
            let mut fresh = Client::new(name, self.clients[who].wish.clone());
            fresh.forgotten = self.clients[who].forgotten.clone();
            fresh.sync(&fresh_server, LAST).await;
            fresh.sync(&fresh_server, LAST).await;
            let heard = std::mem::take(&mut fresh.heard);
            self.clients[who].heard.extend(heard);
            self.check_words(who);
            let wish = &fresh.wish;
            let wants = |room: &str, event: &Event| {
                wish.wants_event(room, &event.kind, &user_id(event.sender))
            };
            let expected = self.model.picture(who, wish.threads, &wants);
            self.compare(
                who,
                "the incremental picture",
                &self.clients[who],
                &expected,
            );
            self.compare(who, "the fresh picture", &fresh, &expected);
            self.compare_bundles(who, &fresh);
            let expected = self.shown(who, &fresh, expected);
            self.compare_from_beginning(who, &mut fresh, &expected)
                .await;
        }
    }

    /// Asks for all that a user may try to see of rooms, whether or not she is in them.
    async fn look_everywhere(&mut self, who: usize) {
        for room in 0..ROOMS {
            let events = &self.model.rooms[room].events;
            let related = events.iter().filter_map(|event| event.relation.as_ref());
            let targets = related.map(|(_, target)| *target).take(2);
            let indexes: BTreeSet<usize> = targets.chain([events.len() - 1]).collect();
            let threads = ThreadsAsk {
                reader: reader(NAMES[who]),
                room_id: self.rooms[room].clone(),
                include: ThreadsIncluded::All,
                from: None,
                limit: None,
            };
            let mut answers = vec![self.server.threads(threads).await];
            for index in indexes {
                let context = ContextAsk {
                    reader: reader(NAMES[who]),
                    room_id: self.rooms[room].clone(),
                    event_id: self.event_id(room, index),
                    limit: Some(6),
                    filter: None,
                };
                answers.push(self.server.context(context).await);
                let relations = RelationsAsk {
                    reader: reader(NAMES[who]),
                    room_id: self.rooms[room].clone(),
                    event_id: self.event_id(room, index),
                    rel_type: None,
                    event_type: None,
                    page: Page {
                        from: None,
                        to: None,
                        direction: Direction::Backward,
                        limit: Some(20),
                    },
                    depth: RelationDepth::Recursive,
                };
                answers.push(self.server.relations(relations).await);
            }
            let heard = answers.into_iter().flatten();
            let heard = heard.map(|json| String::from_utf8_lossy(&json).into_owned());
            self.clients[who].heard.extend(heard);
        }
    }

    /// Whatever a client heard, it may hear.
    pub(super) fn check_words(&mut self, who: usize) {
        let heard = std::mem::take(&mut self.clients[who].heard);
        self.check_heard(who, heard);
    }

    fn check_heard(&self, who: usize, heard: Vec<String>) {
        for heard in heard {
            let pieces = heard.split(|character: char| !character.is_ascii_alphanumeric());
            for (room, index) in pieces.filter_map(|word| self.words.get(word)) {
                let model = &self.model.rooms[*room];
                let name = NAMES[who];
                assert!(
                    model.may_know(who, *index),
                    "{name} heard of event {index} of room {room}: {:?} in {heard}",
                    model.events[*index],
                );
            }
        }
    }

    /// Paging forward from the beginning finds what the model says.
    async fn compare_from_beginning(&self, who: usize, client: &mut Client, expected: &Picture) {
        let server = &self.server;
        let joined = expected.joined.iter();
        let joined = joined.map(|(id, room)| (id, &room.timeline));
        let ignored = ignored(expected.data.get("m.ignored_user_list"));
        for (id, timeline) in joined.chain(&expected.left) {
            let found = client.pages(server, id, (None, None), FORWARD).await;
            let room = self.rooms.iter().position(|room| room.as_str() == id);
            let room = room.expect("a room");
            let ids = found.iter().map(|event| text(&event["event_id"]));
            let ids: Vec<_> = ids
                .filter(|event| !self.is_hidden(room, event, &ignored))
                .collect();
            let expected: Vec<_> = timeline.iter().map(|seen| seen.id.clone()).collect();
            assert_eq!(ids, expected, "{} from the beginning of {id}", NAMES[who]);
        }
        self.check_heard(who, std::mem::take(&mut client.heard));
    }

    fn compare(&self, who: usize, what: &str, client: &Client, expected: &Picture) {
        let name = NAMES[who];
        let found = self.shown(who, client, client.picture.clone());
        let expected = self.shown(who, client, expected.clone());
        assert_eq!(found.data, expected.data, "{what} of {name}: account data");
        assert_eq!(found.invited, expected.invited, "{what} of {name}: invites");
        assert_eq!(found.knocked, expected.knocked, "{what} of {name}: knocks");
        let ids = |picture: &Picture| picture.joined.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            ids(&found),
            ids(&expected),
            "{what} of {name}: joined rooms"
        );
        for (id, found) in &found.joined {
            let expected = &expected.joined[id];
            let what = format!("{what} of {name} in {id}");
            assert_eq!(found.timeline, expected.timeline, "{what}: timeline");
            assert_eq!(found.state, expected.state, "{what}: state");
            assert_eq!(found.receipts, expected.receipts, "{what}: receipts");
            assert_eq!(found.data, expected.data, "{what}: account data");
            assert_eq!(found.summary, expected.summary, "{what}: summary");
            assert_eq!(found.counts, expected.counts, "{what}: counts");
        }
        assert_eq!(found.left, expected.left, "{what} of {name}: rooms left");
    }

    /// A picture as far as it can be compared and as its user is shown it.
    fn shown(&self, who: usize, client: &Client, mut picture: Picture) -> Picture {
        let ignored = ignored(picture.data.get("m.ignored_user_list"));
        take_unwanted_out(&client.wish, &mut picture);
        picture
            .invited
            .retain(|_, inviter| !ignored.contains(inviter));
        for (room, model) in self.model.rooms.iter().enumerate() {
            let id = &model.id;
            // Of a room that was once forgotten a client does not know what it was before.
            let is_pending = matches!(model.members[who].as_str(), "invite" | "knock");
            if is_pending || client.forgotten.contains(id) || !client.wish.knows_left(id) {
                picture.left.remove(id);
            }
            // Of what was redacted after she left, or by somebody whom she ignores, she does not hear.
            let is_deaf = ignored.contains(&user_id(0));
            let joined = picture.joined.get_mut(id).filter(|_| is_deaf);
            let joined = joined.map(|room| &mut room.timeline);
            let timelines = joined.into_iter().chain(picture.left.get_mut(id));
            for seen in timelines.flatten() {
                let event = model.events.iter().find(|event| event.id == seen.id);
                if event.is_some_and(|event| event.is_redacted) {
                    seen.body = None;
                }
            }
            let timeline = picture.left.get_mut(id);
            let joined = picture.joined.get_mut(id).map(|room| &mut room.timeline);
            for timeline in [timeline, joined].into_iter().flatten() {
                timeline.retain(|seen| !self.is_hidden(room, &seen.id, &ignored));
                if !client.wish.wants("timeline", id, "m.room.redaction") {
                    // It does not hear of redactions.
                    timeline.iter_mut().for_each(|seen| seen.body = None);
                }
            }
            let Some(known) = picture.joined.get_mut(id) else {
                continue;
            };
            if !self.model.is_sure(who, id) {
                known.counts.clear();
            }
            if client.wish.is_lazy() {
                self.take_members_out(room, known);
            }
        }
        picture
    }

    fn is_hidden(&self, room: usize, id: &str, ignored: &BTreeSet<String>) -> bool {
        let events = &self.model.rooms[room].events;
        let event = events.iter().find(|event| event.id == id);
        let event = event.expect("an event of the room");
        event.state_key.is_none() && ignored.contains(&user_id(event.sender))
    }

    /// Who loads members lazily need not know all; those that she knows have to be right.
    fn take_members_out(&self, room: usize, known: &mut Room) {
        let right = self.model.rooms[room].members_known();
        known.state.retain(|(kind, key), id| {
            if kind == "m.room.member" {
                assert_eq!(Some(&*id), right.get(key), "the member event of {key}");
            }
            kind != "m.room.member"
        });
    }

    fn compare_bundles(&self, who: usize, fresh: &Client) {
        for (room, model) in self.model.rooms.iter().enumerate() {
            if !model.is_joined(who) {
                continue;
            }
            for (index, event) in model.events.iter().enumerate() {
                if let Some(told) = fresh.bundles.get(&event.id) {
                    let expected = self.model.bundle(who, room, index);
                    assert_eq!(Bundle::told(told), expected, "{} at {index}", NAMES[who]);
                }
            }
        }
    }
}

/// Leaves only what the client asked for.
fn take_unwanted_out(wish: &Wish, picture: &mut Picture) {
    picture.joined.retain(|id, _| wish.wants_room(id));
    picture.left.retain(|id, _| wish.wants_room(id));
    picture.invited.retain(|id, _| wish.wants_room(id));
    picture.knocked.retain(|id| wish.wants_room(id));
    for (id, room) in &mut picture.joined {
        // Of what is not wanted as state the client knows what happens to be in timelines.
        room.state
            .retain(|(kind, _), _| wish.wants("state", id, kind));
        if !wish.wants("ephemeral", id, "m.receipt") {
            room.receipts.clear();
        }
        room.data
            .retain(|kind, _| wish.wants("account_data", id, kind));
    }
}
