//! The load generator: what each act of a client costs the server, in CPU seconds and memory read from `/proc`.
//!
//! Machines are noisy, so that a figure is the median of several runs, two rooms that are compared are measured in turn, and
//! the disk's own sync time is measured in the same run. "The same" means server CPU within 20 %, "little more" at most 1.5
//! times. The same generator measures another homeserver with `--peer URL --peer-pid PID`.

mod act;
mod crowd;
mod deliveries;
mod encryption;
mod federation;
mod life;
mod members;
mod pair;
mod rooms;
mod table;
mod target;

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::{
    Result,
    server::{Server, Setup},
};
pub use table::{Row, Table};
use target::Target;

/// What can be measured by itself, in the order in which it is measured: the large rooms come late, memory and start last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Memory of an idle server.
    Idle,
    /// Durable sends: 1 and 32 senders in 1 and 32 rooms.
    Sends,
    /// The newest 50 messages of a small and a large room.
    Messages,
    /// Many long-polls in one room.
    Polls,
    /// Syncs with few and many joined rooms.
    Sync,
    /// Keys of few and many users: asked for and claimed.
    Keys,
    /// A message to many devices, each in a long-poll.
    ToDevice,
    /// Sends into rooms of few and many members.
    Members,
    /// Joins into a small and a large room.
    Joins,
    /// Syncs of users who share a room with few and many who have keys.
    Tracked,
    /// Bytes of room state on the disk.
    State,
    /// Memory after everything.
    Memory,
    /// Start with an empty and a full store.
    Start,
    /// Two servers: delivery from one to the other, and joins over federation.
    Federation,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which parts, in this order.
    pub parts: Vec<Part>,
    /// How large everything is.
    pub sizes: Sizes,
    /// A figure is the median of so many runs.
    pub runs: usize,
    /// Another homeserver, measured with the same load: its URL and process id.
    pub peer: Option<(String, u32)>,
    /// Two other homeservers that federate, for [`Part::Federation`]: URL and process id of each.
    pub peers: Vec<(String, u32)>,
    /// Where to write the figures as JSON.
    pub json: Option<PathBuf>,
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Messages of the small and the large room.
    pub messages: [usize; 2],
    /// Joined rooms of the two syncing users.
    pub rooms: [usize; 2],
    /// After how many joins the two windows end.
    pub joins: [usize; 2],
    /// Joins in one window.
    pub join_window: usize,
    /// Members of the two rooms that are sent into.
    pub members: [usize; 2],
    /// Who syncs in each of these two.
    pub syncing: usize,
    /// Long-polls in one room.
    pub polls: usize,
    /// Users whose keys are asked for and claimed at once.
    pub keys: [usize; 2],
    /// Devices that long-poll for one message.
    pub devices: usize,
    /// Others with a device in the rooms of the two syncing users.
    pub tracked: [usize; 2],
    /// Requests in one run of a cheap act; sends are a part of it.
    pub requests: usize,
    /// State events of the room that is joined over federation, and members of the large one.
    pub federated: [usize; 2],
}

impl Sizes {
    /// The sizes of the goals.
    pub const FULL: Self = Self {
        messages: [1_000, 300_000],
        rooms: [10, 1_000],
        joins: [200, 10_000],
        join_window: 200,
        members: [20, 2_000],
        syncing: 20,
        polls: 100,
        keys: [10, 1_000],
        devices: 1_000,
        tracked: [10, 10_000],
        requests: 2_000,
        federated: [100, 10_000],
    };
    /// Small enough for a look while working; its figures prove nothing about the goals.
    pub const QUICK: Self = Self {
        messages: [500, 5_000],
        rooms: [10, 100],
        joins: [100, 500],
        join_window: 100,
        members: [20, 200],
        syncing: 20,
        polls: 50,
        keys: [10, 100],
        devices: 100,
        tracked: [10, 200],
        requests: 400,
        federated: [100, 500],
    };
}

/// Runs the parts and gives the table; goals that are not reached are no error.
pub async fn run(options: Options, folder: &Path) -> Result<Table> {
    let mut table = Table::default();
    if let Some((url, pid)) = &options.peer {
        let mut target = Target::peer(url, *pid, options.clone());
        all_parts(&mut target, folder, &mut table).await?;
    } else {
        let setup = setup(folder)?;
        let mut target = Target::own(Server::start(setup).await?, options.clone());
        all_parts(&mut target, folder, &mut table).await?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&table.rows)?)?;
    }
    Ok(table)
}

/// Cheap password hashes: thousands of users are registered, and logging in is none of the goals.
fn setup(folder: &Path) -> Result<Setup> {
    let setup = Setup::new(folder)?.with("HEARTH_PASSWORD__ITERATIONS", "1");
    Ok(setup.with("HEARTH_PASSWORD__MEMORY", "64 KiB"))
}

async fn all_parts(target: &mut Target, folder: &Path, table: &mut Table) -> Result<()> {
    table.add(Row::of_disk(target::sync_time(folder)?));
    for part in target.options.parts.clone() {
        eprintln!("measuring {part:?} …");
        let rows = match part {
            Part::Idle => life::idle(target).await?,
            Part::Sends => rooms::sends(target, folder).await?,
            Part::Messages => rooms::messages(target).await?,
            Part::Polls => deliveries::polls(target).await?,
            Part::Sync => rooms::syncs(target).await?,
            Part::Joins => members::joins(target).await?,
            Part::Keys => encryption::keys(target).await?,
            Part::ToDevice => encryption::to_device(target).await?,
            Part::Tracked => encryption::tracked(target).await?,
            Part::Members => members::sends(target).await?,
            Part::State => members::state_bytes(target, folder).await?,
            Part::Memory => life::memory(target)?,
            Part::Start => life::starts(target, folder).await?,
            Part::Federation => federation::run(&target.options, folder).await?,
        };
        for row in rows {
            eprintln!("  {row}");
            table.add(row);
        }
    }
    Ok(())
}
