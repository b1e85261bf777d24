//! What users do at random, and what goes wrong meanwhile.

use std::time::Duration;

use hearth_e2ee::ToDevice;
use hearth_rooms::{Error, NewState, RedactOf, RedactRequest, TargetChange};
use hearth_store::Fault;
use ruma::OwnedRoomId;
use serde_json::json;

use crate::sim::{USERS, raw};
use crate::{Faults, Sim};

/// How long the longest act takes.
const ACT_TIME_MAX: Duration = Duration::from_secs(600);
/// At which of the next commits a store stops at the latest.
const CRASH_AFTER_MAX: u64 = 40;
/// The longest pause between two acts.
const PAUSE_MS_MAX: u64 = 400;

impl Sim {
    /// One random act.
    pub async fn act(&mut self, number: usize) {
        let dice = self.net.pick(1_000);
        let weights = self.weights;
        if dice < weights.faults {
            self.disturb();
        } else if dice < weights.faults + weights.cuts {
            self.cut_or_heal();
        } else if dice < weights.faults + weights.cuts + weights.crash {
            self.crash_one().await;
        } else {
            let done = tokio::time::timeout(ACT_TIME_MAX, self.do_something(number));
            if done.await.is_err() {
                self.complaints.push(format!("act {number} did not end"));
            }
        }
        self.tend().await;
        if self.net.pick(3) == 0 {
            self.sync_somebody().await;
        }
        let pause = self.net.pick(PAUSE_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    fn tell(&mut self, what: String) {
        let line = self.story.len();
        self.story.push(format!("{line}: {what}"));
    }

    fn pick_node(&self) -> usize {
        self.pick(self.nodes.len())
    }

    fn pick(&self, end: usize) -> usize {
        usize::try_from(self.net.pick(end as u64)).unwrap()
    }

    fn pick_user(&self) -> &'static str {
        USERS[self.pick(USERS.len())]
    }

    fn disturb(&mut self) {
        let most = |most: u64| self.net.pick(most);
        let faults = match self.net.pick(3) {
            0 => Faults::default(),
            _ => Faults {
                lost: most(200),
                unanswered: most(200),
                doubled: most(300),
                delay_ms_max: most(1_500),
            },
        };
        self.net.set_faults(faults);
        self.tell(format!("{faults:?}"));
    }

    fn cut_or_heal(&mut self) {
        let servers = self.nodes.len();
        let name = |at: usize| self.nodes[at].name.as_str();
        match self.net.pick(4) {
            0 => {
                self.net.heal();
                self.tell("all is healed".to_owned());
            }
            1 => {
                let parts: Vec<u64> = (0..servers).map(|_| self.net.pick(2)).collect();
                for (one, other) in
                    (0..servers).flat_map(|one| (0..one).map(move |other| (one, other)))
                {
                    if parts[one] != parts[other] {
                        self.net.cut(name(one), name(other));
                    }
                }
                self.tell(format!("the servers are parted: {parts:?}"));
            }
            _ => {
                let (one, other) = (self.pick_node(), self.pick_node());
                if one != other {
                    self.net.cut(name(one), name(other));
                    self.tell(format!("{one} and {other} are parted"));
                }
            }
        }
    }

    async fn crash_one(&mut self) {
        let at = self.pick_node();
        let after = self.net.pick(CRASH_AFTER_MAX);
        match self.net.pick(3) {
            0 => {
                self.nodes[at].crash().await;
                self.tell(format!("{at} crashes"));
            }
            kind => {
                let fault = match kind {
                    1 => Fault::CrashBefore,
                    _ => Fault::CrashAfter,
                };
                self.nodes[at].plan_crash(after, fault);
                self.tell(format!("{at} is to crash after {after} commits: {fault:?}"));
            }
        }
    }

    /// Starts servers again whose stores have stopped, most of them later.
    async fn tend(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].has_stopped().await && self.net.pick(4) == 0 {
                self.nodes[at].crash().await;
                self.tell(format!("{at} has crashed and starts"));
            }
        }
    }

    async fn sync_somebody(&mut self) {
        let (at, user) = (self.pick_node(), self.pick_user());
        let limit = 1 + self.net.pick(8);
        self.sync(at, user, limit).await;
    }

    /// Has a user's client ask for news, with a timeline of so many events.
    pub async fn sync(&mut self, at: usize, user: &'static str, limit: u64) {
        if let Some(client) = self.clients.get_mut(&(at, user)) {
            // With a server that has stopped it knows what it knew.
            let _stopped = client.sync(&self.nodes[at], limit).await.err();
        }
    }

    async fn do_something(&mut self, number: usize) {
        let (at, user) = (self.pick_node(), self.pick_user());
        let room = self.rooms[self.pick(self.rooms.len())].clone();
        if self.nodes[at].has_stopped().await {
            return;
        }
        let (what, done) = match self.net.pick(20) {
            0..=7 => {
                let text = format!("message {number}");
                let said = self.say(at, user, &room, &text).await;
                ("says".to_owned(), said.map(|id| id.to_string()))
            }
            8 => {
                let topic = ("m.room.topic", json!({"topic": format!("topic {number}")}));
                (
                    "sets the topic".to_owned(),
                    self.set(at, user, &room, topic).await,
                )
            }
            9..=10 => self.set_levels(at, user, &room).await,
            11..=12 => {
                let via = self.pick_node();
                let joined = self.join(at, user, &room, via).await;
                (format!("joins over {via}"), joined.map(|_| String::new()))
            }
            13 => {
                let node = &self.nodes[at];
                let left = node.rooms.leave(&node.user(user), &room, None).await;
                ("leaves".to_owned(), left.map(|()| String::new()))
            }
            14 => self.redact_something(at, user, number).await,
            15..=17 => self.change_somebody(at, user, &room).await,
            _ => self.write_letter(at, user, number).await,
        };
        let room = self.short(&room);
        let done = match done {
            Ok(id) => id,
            Err(error) => format!("refused: {error}"),
        };
        self.tell(format!("{user} of {at} {what} in {room}: {done}"));
    }

    async fn set(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
        (kind, content): (&str, serde_json::Value),
    ) -> Result<String, Error> {
        let node = &self.nodes[at];
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(&content),
        };
        let sent = node
            .rooms
            .put_state(&node.sender(user), room, state)
            .await?;
        self.acknowledge(at, room, &sent).await;
        Ok(sent.to_string())
    }

    async fn set_levels(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
    ) -> (String, Result<String, Error>) {
        let mut users = serde_json::Map::new();
        for node in &self.nodes {
            for name in USERS {
                let level = [0, 50, 100][self.pick(3)];
                users.insert(node.user(name).to_string(), level.into());
            }
        }
        // Whoever sets them keeps her own.
        users.insert(self.nodes[at].user(user).to_string(), 100.into());
        // In version 12 the creator has none; she is the first user of the server that the room was made on.
        let number = self.rooms.iter().position(|known| known == room).unwrap();
        if number % 3 == 1 {
            let creator = self.nodes[number % self.nodes.len()].user(USERS[0]);
            users.remove(creator.as_str());
        }
        let levels =
            json!({"users": users, "invite": 0, "ban": 50, "kick": 50, "state_default": 50});
        let what = format!("sets the levels {levels}");
        let set = self.set(at, user, room, ("m.room.power_levels", levels));
        (what, set.await)
    }

    async fn change_somebody(
        &mut self,
        at: usize,
        user: &str,
        room: &OwnedRoomId,
    ) -> (String, Result<String, Error>) {
        let node = &self.nodes[at];
        let whom = self.nodes[self.pick_node()].user(self.pick_user());
        let change = match self.net.pick(5) {
            0 => TargetChange::Kick,
            1 => TargetChange::Ban,
            2 => TargetChange::Unban,
            _ => TargetChange::Invite,
        };
        let what = format!("{change:?} {whom}");
        let changed = node
            .rooms
            .change_other(&node.user(user), room, (change, &whom), None)
            .await;
        (what, changed.map(|()| String::new()))
    }

    async fn redact_something(
        &mut self,
        at: usize,
        user: &str,
        number: usize,
    ) -> (String, Result<String, Error>) {
        let index = self.pick(self.acknowledged.len());
        let Some((_, room, target)) = self.acknowledged.get(index).cloned() else {
            return ("redacts nothing".to_owned(), Ok(String::new()));
        };
        let node = &self.nodes[at];
        let txn_id = format!("redact {number}");
        let request = RedactRequest {
            reason: None,
            txn_id: &txn_id,
            of: RedactOf::default(),
        };
        let sender = node.sender(user);
        let sent = node.rooms.redact(&sender, &room, &target, request).await;
        if let Ok(sent) = &sent {
            self.acknowledge(at, &room, sent).await;
        }
        let what = format!("redacts {target}");
        (what, sent.map(|sent| sent.to_string()))
    }

    /// A message to somebody's device.
    async fn write_letter(
        &mut self,
        at: usize,
        user: &str,
        number: usize,
    ) -> (String, Result<String, Error>) {
        let whom = self.nodes[self.pick_node()].user(self.pick_user());
        let node = &self.nodes[at];
        let content = json!({ "number": number }).to_string();
        let letter = ToDevice {
            event_type: "chat.hearth.letter".to_owned(),
            txn_id: format!("letter {number}"),
            messages: [(whom.clone(), [("*".to_owned(), content)].into())].into(),
        };
        let sent = node.e2ee.send_to_device(&node.caller(user), letter).await;
        let between = (node.user(user).to_string(), whom.to_string());
        let written = self.letters.entry(between).or_default();
        written.push((number as u64, sent.is_ok()));
        let what = format!("writes to {whom}");
        let said = match sent {
            Ok(()) => "sent".to_owned(),
            Err(error) => error.to_string(),
        };
        (what, Ok(said))
    }
}
