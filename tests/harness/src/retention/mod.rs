//! kill -9 while messages that have come to their end are taken out of the store: what is kept stays whole, what has ended
//! is never served again, and the store can be read and gets smaller.
//!
//! Writers fill a room whose messages live for a few seconds, more than a chunk of the timeline at a time, and one whose
//! messages live for ever. The server is killed after a random number of steps of the removal, while others write and read.

mod judge;
mod writer;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    Result,
    client::User,
    server::{Server, Setup},
};
use judge::{Judge, Tally};
use writer::{Sent, Writer};

/// How long the messages of the room live, in milliseconds.
const LIFETIME_MS: u64 = 3_000;
/// Users that write at once.
const WRITERS: usize = 4;
/// The kill comes after so many steps of the removal, up to. A step takes at most 32 messages; a burst needs more.
const STEPS_MAX: usize = 24;
/// A round that has not come so far by then has failed.
const ROUND_SECONDS_MAX: u64 = 120;
/// A room is always left with so many messages at most: those of its newest chunk, and of the one before if that is not full.
const LEFT_MAX: u64 = 512;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Kills.
    pub rounds: usize,
    /// Of everything random.
    pub seed: u64,
}

/// The rooms, who writes into them, and what was written.
struct Stage {
    users: Vec<User>,
    rooms: Rooms,
    sent: Vec<Sent>,
}

/// The two rooms.
#[derive(Clone, Debug)]
struct Rooms {
    /// Whose messages end.
    short: String,
    /// Whose messages do not.
    kept: String,
}

/// What happened, for the report.
#[derive(Debug, Default)]
struct Summary {
    steps: usize,
    removed: u64,
    /// Kills before the server could tell that a round of the removal was over.
    in_the_middle: usize,
    served: u64,
}

/// Runs all rounds; an error is a finding.
pub async fn run(options: Options, folder: &Path) -> Result<String> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let setup = Setup::new(folder)?
        .with("HEARTH_RETENTION__MIN_LIFETIME", "1 s")
        .with("HEARTH_LOG__LEVEL", "info,hearth_rooms=debug")
        .with("HEARTH_LOG__FORMAT", "json");
    let server = Server::start(setup).await?;
    let mut stage = Stage::build(&server).await?;
    let mut setup = server.stop().await?;
    let mut summary = Summary::default();
    for round in 0..options.rounds {
        let steps = random.random_range(1..=STEPS_MAX);
        let done = stage.round(setup, (round, steps), &mut summary).await;
        setup = done.map_err(|error| format!("round {round}, seed {}: {error}", options.seed))?;
    }
    if summary.in_the_middle == 0 {
        return Err("no kill came while messages were being removed: this says nothing".into());
    }
    let (before, after) = stage.drain(setup, options.rounds).await?;
    Ok(format!(
        "{} kills, {} of them in the middle of a removal; {} messages of {} removed in {} steps; {} events served, none that had ended; \
         {before} rows of the timeline before the last removal, {after} after it; fsck clean",
        options.rounds,
        summary.in_the_middle,
        summary.removed,
        stage.ending(),
        summary.steps,
        summary.served
    ))
}

impl Stage {
    async fn build(server: &Server) -> Result<Self> {
        let mut users = Vec::new();
        for number in 0..WRITERS {
            users.push(server.http.register(&format!("writer{number}")).await?);
        }
        let policy = json!({"type": "m.room.retention", "state_key": "", "content": {"max_lifetime": LIFETIME_MS}});
        let rooms = Rooms {
            short: room(&users, &json!([policy])).await?,
            kept: room(&users, &json!([])).await?,
        };
        Ok(Self {
            users,
            rooms,
            sent: Vec::new(),
        })
    }

    /// One start, much writing and reading, one kill in the middle of the removal, one check of the store.
    async fn round(
        &mut self,
        setup: Setup,
        (round, steps): (usize, usize),
        summary: &mut Summary,
    ) -> Result<Setup> {
        let before = removal(&setup)?;
        let server = Server::start(setup).await?;
        let judge = Judge::new(server.http.clone(), &self.users[0], &self.rooms);
        summary.served += judge.all(&self.sent).await?.served;
        let mut writing = JoinSet::new();
        for (number, user) in self.users.iter().enumerate() {
            let mut writer = Writer::new(&server.http, user, &self.rooms, (round, number));
            writing.spawn(async move { writer.write().await });
        }
        let reading = judge.clone();
        let mut reader = JoinSet::new();
        reader.spawn(async move { reading.follow().await });
        let deadline = Instant::now() + Duration::from_secs(ROUND_SECONDS_MAX);
        while removal(&server.setup)?.steps < before.steps + steps {
            if Instant::now() > deadline {
                let done = removal(&server.setup)?.steps - before.steps;
                return Err(format!("{done} of {steps} steps in {ROUND_SECONDS_MAX} s").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let setup = server.kill()?;
        while let Some(done) = writing.join_next().await {
            self.sent.extend(done??);
        }
        while let Some(done) = reader.join_next().await {
            summary.served += done??.served;
        }
        let after = removal(&setup)?;
        summary.steps += after.steps - before.steps;
        summary.removed = after.removed;
        summary.in_the_middle += usize::from(after.is_running);
        setup.fsck()?;
        no_panics(&setup)?;
        Ok(setup)
    }

    /// Lets the removal come to its end, undisturbed. The rows of the timeline before and after it.
    async fn drain(&self, setup: Setup, rounds: usize) -> Result<(u64, u64)> {
        let kept = self.sent.iter().filter(|sent| !sent.ends).count();
        // Nobody was told of what was written at a kill; the rest is what makes two rooms.
        let stays = (kept + WRITERS * (rounds + 8)) as u64 + LEFT_MAX;
        let (before, begun) = (timeline_rows(&setup.fsck()?)?, removal(&setup)?.removed);
        let server = Server::start(setup).await?;
        let judge = Judge::new(server.http.clone(), &self.users[0], &self.rooms);
        let deadline = Instant::now() + Duration::from_secs(ROUND_SECONDS_MAX);
        loop {
            let removed = removal(&server.setup)?.removed - begun;
            if before <= stays + removed {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("{before} rows, only {removed} of them removed").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // All has been written long ago, so all has ended.
        tokio::time::sleep(Duration::from_millis(LIFETIME_MS)).await;
        let Tally { living, .. } = judge.all(&self.sent).await?;
        if living > 0 {
            return Err(format!("{living} messages live on after all have ended").into());
        }
        let setup = server.stop().await?;
        let after = timeline_rows(&setup.fsck()?)?;
        no_panics(&setup)?;
        match after <= stays {
            true => Ok((before, after)),
            false => Err(format!("{after} rows of the timeline, {stays} have to stay").into()),
        }
    }

    /// How many of the messages that were acknowledged come to an end.
    fn ending(&self) -> u64 {
        self.sent.iter().filter(|sent| sent.ends).count() as u64
    }
}

/// A room in which all are members and may set its state.
async fn room(users: &[User], state: &Value) -> Result<String> {
    let wanted = json!({
        "preset": "public_chat",
        "initial_state": state,
        "power_level_content_override": {"state_default": 0},
    });
    let room = users[0].create_room(&wanted).await?;
    for user in &users[1..] {
        user.join(&room).await?;
    }
    Ok(room)
}

/// How far the removal has come, by what the server tells of it.
#[derive(Clone, Copy, Debug, Default)]
struct Removal {
    steps: usize,
    removed: u64,
    /// Whether the last step was not the end of a round.
    is_running: bool,
}

fn removal(setup: &Setup) -> Result<Removal> {
    let log = std::fs::read(setup.log())?;
    let log = String::from_utf8_lossy(&log);
    let mut found = Removal::default();
    for line in log.lines() {
        if line.contains("took out messages that had ended") {
            found.is_running = false;
        }
        if !line.contains("took out messages of a chunk") {
            continue;
        }
        // The last line may be half written.
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        found.steps += 1;
        found.is_running = true;
        let count = line.pointer("/fields/count").or_else(|| line.get("count"));
        found.removed += count
            .and_then(Value::as_u64)
            .ok_or("a step without count")?;
    }
    Ok(found)
}

/// The rows of the timeline, as `hearth fsck` counts them.
fn timeline_rows(told: &str) -> Result<u64> {
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("timeline: "));
    let rows = line.and_then(|line| line.split(' ').next());
    Ok(rows.ok_or("fsck does not count the timeline")?.parse()?)
}

fn no_panics(setup: &Setup) -> Result<()> {
    match setup.panics()? {
        panics if panics.is_empty() => Ok(()),
        panics => Err(format!("the server panicked: {panics:?}").into()),
    }
}

/// The machine's clock, in milliseconds since 1970: the server, beside us, goes by the same.
#[expect(
    clippy::disallowed_methods,
    reason = "what the server says of its time is judged by it"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
