//! All is healed; what must hold then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_data::append::Standing;
use ruma::{OwnedEventId, OwnedRoomId};

use crate::Sim;
use crate::client::Client;
use crate::look::Residence;
use crate::sim::USERS;

/// How often everybody speaks until all agree: what one has missed she hears of by what others say.
const ROUNDS_MAX: usize = 3;
/// How long servers get to come to terms after that, in steps.
const STEPS_MAX: u32 = 40;
/// One step.
const STEP: Duration = Duration::from_secs(20);
/// Between two that speak.
const BREATH: Duration = Duration::from_millis(100);
/// How many events of a timeline a client asks for in the end.
const LIMIT: u64 = 5;

/// Where users of servers are, by room and server.
type Residences = BTreeMap<(OwnedRoomId, usize), Residence>;

impl Sim {
    /// Heals everything, has everybody say something in each room, and waits until all agree; then takes the power from
    /// all servers, and looks at everything. Answers what is not as it should be.
    pub async fn settle(&mut self) -> Vec<String> {
        self.heal().await;
        let mut wrong = Vec::new();
        for round in 0..ROUNDS_MAX {
            let words = self.speak().await;
            wrong = self.come_to_terms(&words).await;
            if wrong.is_empty() {
                for node in &mut self.nodes {
                    node.crash().await;
                }
                wrong = self.come_to_terms(&words).await;
                self.story.push(format!("all agree after round {round}"));
                break;
            }
            self.story.push(format!("round {round}: {wrong:#?}"));
        }
        wrong.append(&mut self.complaints);
        let residences = self.residences().await;
        wrong.extend(self.lost(&residences).await);
        wrong.extend(self.pictures(&residences).await);
        for node in &self.nodes {
            for room in &self.rooms {
                for event in node.uninvited(room).await {
                    wrong.push(format!("{}: {room}: took {event}", node.name));
                }
            }
            let problems = node.problems().await;
            wrong.extend(
                problems
                    .iter()
                    .map(|problem| format!("{}: {problem}", node.name)),
            );
        }
        wrong
    }

    async fn heal(&mut self) {
        self.net.heal();
        for node in &mut self.nodes {
            node.plan_nothing();
            if node.has_stopped().await {
                node.crash().await;
            }
        }
        tokio::time::sleep(STEP).await;
    }

    /// Everybody says something, in all rooms at once. Answers what was said by whom.
    async fn speak(&mut self) -> Vec<(usize, OwnedRoomId, OwnedEventId)> {
        let before = self.acknowledged.len();
        for user in USERS {
            for at in 0..self.nodes.len() {
                for room in self.rooms.clone() {
                    // Whoever is not in the room says nothing.
                    let _refused = self.say(at, user, &room, "all is well").await.err();
                }
                tokio::time::sleep(BREATH).await;
            }
        }
        self.acknowledged[before..].to_vec()
    }

    async fn come_to_terms(&mut self, words: &[(usize, OwnedRoomId, OwnedEventId)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for _ in 0..STEPS_MAX {
            tokio::time::sleep(STEP).await;
            wrong = self.disagreements(words).await;
            if wrong.is_empty() {
                wrong = self.letters_amiss().await;
            }
            if wrong.is_empty() {
                break;
            }
        }
        wrong
    }

    async fn residences(&self) -> Residences {
        let mut residences = Residences::new();
        for room in &self.rooms {
            for (at, node) in self.nodes.iter().enumerate() {
                if let Some(residence) = node.residence(room).await {
                    residences.insert((room.clone(), at), residence);
                }
            }
        }
        residences
    }

    /// Leaves out servers that the others in a room hold to be out of it, and that cannot know.
    async fn without_lonely(&self, mut residences: Residences) -> Residences {
        for room in &self.rooms {
            let of_room: Vec<(usize, &BTreeSet<String>)> = residences
                .iter()
                .filter(|((known, _), _)| known == room)
                .map(|((_, at), residence)| (*at, &residence.state))
                .collect();
            let agreeing = |state| of_room.iter().filter(|(_, other)| *other == state).count();
            let most = of_room.iter().map(|(_, state)| agreeing(*state)).max();
            // Where as many hold one thing as another, those are left out whom the others hold to be out.
            let mut lonely = Vec::new();
            for (one, of_one) in of_room
                .iter()
                .filter(|(_, state)| Some(agreeing(*state)) == most)
            {
                for (at, _) in of_room.iter().filter(|(_, state)| state != of_one) {
                    if self.nodes[*one].holds_out(&self.nodes[*at], room).await {
                        lonely.push(*at);
                    }
                }
                if !lonely.is_empty() {
                    break;
                }
            }
            for at in lonely {
                residences.remove(&(room.clone(), at));
            }
        }
        residences
    }

    /// Where states differ, and where what was said last is not known.
    async fn disagreements(&self, words: &[(usize, OwnedRoomId, OwnedEventId)]) -> Vec<String> {
        let residences = self.without_lonely(self.residences().await).await;
        let mut wrong = Vec::new();
        for room in &self.rooms {
            let mut first: Option<(usize, &BTreeSet<String>)> = None;
            for ((_, at), residence) in residences.iter().filter(|((known, _), _)| known == room) {
                match first {
                    None => first = Some((*at, &residence.state)),
                    Some((one, state)) if *state != residence.state => {
                        wrong.push(self.difference(room, (one, *at)).await);
                    }
                    Some(_) => {}
                }
            }
        }
        for ((room, at), residence) in &residences {
            for (by, _, event) in words.iter().filter(|(_, known, _)| known == room) {
                if !residences.contains_key(&(room.clone(), *by)) {
                    continue;
                }
                let standing = residence.placed.get(event.as_str());
                if standing != Some(&Standing::Accepted) {
                    let room = self.short(room);
                    wrong.push(format!(
                        "{at} has not {event} of {by} in {room}: {standing:?}"
                    ));
                }
            }
        }
        wrong
    }

    async fn difference(&self, room: &OwnedRoomId, (one, other): (usize, usize)) -> String {
        let of_one = self.nodes[one].state(room).await.unwrap_or_default();
        let of_other = self.nodes[other].state(room).await.unwrap_or_default();
        let keys: BTreeSet<_> = of_one.keys().chain(of_other.keys()).collect();
        let mut differing = Vec::new();
        for key in keys {
            let (here, there) = (of_one.get(key), of_other.get(key));
            if here != there {
                let mut said = Vec::new();
                for event in [here, there].into_iter().flatten() {
                    said.push(self.described(event, (one, other)).await);
                }
                differing.push(format!("{key:?}: {}", said.join(" or ")));
            }
        }
        format!(
            "{}: {one} and {other} differ: {differing:?}",
            self.short(room)
        )
    }

    /// An event as one of two servers has it, and how it stands on each.
    async fn described(&self, event: &str, (one, other): (usize, usize)) -> String {
        let Ok(event) = OwnedEventId::try_from(event) else {
            return event.to_owned();
        };
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        let text = match one.text(&event).await {
            Some(text) => Some(text),
            None => other.text(&event).await,
        };
        let (here, there) = (one.standing(&event).await, other.standing(&event).await);
        format!("{event} {} ({here:?}, {there:?})", text.unwrap_or_default())
    }

    /// Messages to devices that did not come, came twice or in another order. All clients ask for news first.
    async fn letters_amiss(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((at, user), client) in &mut self.clients {
            if let Err(error) = client.sync(&self.nodes[*at], LIMIT).await {
                wrong.push(format!("{user} of {at} cannot sync: {error}"));
            }
        }
        let none = Vec::new();
        for ((at, user), client) in &self.clients {
            let recipient = self.nodes[*at].user(user);
            for ((sender, _), written) in
                self.letters.iter().filter(|((_, to), _)| *to == recipient)
            {
                let came = client.letters.get(sender).unwrap_or(&none);
                // What was not acknowledged may have been sent or not.
                let is_sure = |number: &u64| written.contains(&(*number, true));
                let sure: Vec<u64> = written
                    .iter()
                    .filter(|(_, is_sure)| *is_sure)
                    .map(|(number, _)| *number)
                    .collect();
                let came_sure: Vec<u64> = came.iter().copied().filter(is_sure).collect();
                let once: BTreeSet<&u64> = came.iter().collect();
                if came_sure != sure || once.len() != came.len() {
                    wrong.push(format!(
                        "{recipient} got {came:?} of {written:?} from {sender}"
                    ));
                }
            }
        }
        wrong
    }

    /// What was acknowledged and is not there, where it was acknowledged and wherever nothing is known to be missing.
    async fn lost(&self, residences: &Residences) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_whole = |room: &OwnedRoomId, at: usize| {
            let residence = residences.get(&(room.clone(), at));
            residence.filter(|residence| !residence.has_gaps)
        };
        for (by, room, event) in &self.acknowledged {
            let standing = self.nodes[*by].standing(event).await;
            let short = self.short(room);
            if standing == Some(Standing::Rejected) && self.provisional.contains(event) {
                continue;
            }
            if standing != Some(Standing::Accepted) {
                wrong.push(format!(
                    "{by} acknowledged {event} in {short}: {standing:?}"
                ));
            }
            if is_whole(room, *by).is_none() {
                continue;
            }
            for at in 0..self.nodes.len() {
                let there = is_whole(room, at);
                if there.is_some_and(|there| !there.placed.contains_key(event.as_str())) {
                    wrong.push(format!("{at} has not {event} of {by} in {short}"));
                }
            }
        }
        wrong
    }

    /// Where the picture of a client is not that of its server.
    async fn pictures(&mut self, residences: &Residences) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((at, user), client) in &mut self.clients {
            let node = &self.nodes[*at];
            // Twice: a timeline may have shown what is not the state.
            let synced = match client.sync(node, LIMIT).await {
                Ok(()) => client.sync(node, LIMIT).await,
                Err(error) => Err(error),
            };
            let fresh = match synced {
                Ok(()) => {
                    client.forget_hidden(node).await;
                    Client::fresh(node, user).await
                }
                Err(error) => Err(error),
            };
            match fresh {
                Ok(fresh) => {
                    let differences = client.differences(&fresh);
                    wrong.extend(
                        differences
                            .into_iter()
                            .map(|what| format!("{user} of {at}: {what}")),
                    );
                }
                Err(error) => wrong.push(format!("{user} of {at} cannot sync: {error}")),
            }
            for (room, known) in &client.joined {
                let room = OwnedRoomId::try_from(room.as_str()).unwrap();
                let state: BTreeSet<&String> = known.state.values().collect();
                let residence = residences.get(&(room.clone(), *at));
                // What resolution took away without putting anything in its place stays with the client.
                let knows_all = |residence: &Residence| {
                    residence.state.iter().all(|event| state.contains(event))
                };
                if !residence.is_some_and(knows_all) {
                    wrong.push(format!("{user} of {at} does not know the state of {room}"));
                }
            }
            wrong.append(&mut client.complaints);
        }
        wrong
    }
}
