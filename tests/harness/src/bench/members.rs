//! Large rooms: joins, and sends that few of many members wait for.

use std::path::Path;

use serde_json::json;

use crate::{Result, client::User, server::Server};

use super::{
    act::{Cost, measured, median},
    crowd, deliveries,
    table::{LITTLE_MORE, Row, SAME},
    target::Target,
};

/// The last joins of a small and of a large room, in as many rooms as there are runs.
pub(super) async fn joins(target: &mut Target) -> Result<Vec<Row>> {
    let [few, many] = target.options.sizes.joins;
    let window = target.options.sizes.join_window;
    let owner = crowd::users(target, 1).await?.remove(0);
    let users = crowd::users(target, many).await?;
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..target.options.runs {
        let room = owner.create_room(&json!({"preset": "public_chat"})).await?;
        let mut joined = 0;
        for (end, costs) in [few, many].into_iter().zip(&mut costs) {
            let begin = end - window;
            crowd::join(&users[joined..begin], &room).await?;
            costs.push(measured(target.process, join_one_by_one(&users[begin..end], &room)).await?);
            joined = end;
        }
    }
    let [early, late]: [Cost; 2] = costs.map(median);
    let what = format!(
        "a local join, joins {}–{few} → {}–{many} of a room",
        few - window + 1,
        many - window + 1
    );
    Ok(vec![Row::compared(what, [&early, &late], SAME)])
}

/// Tables of `hearth fsck` that hold room state.
const STATE_TABLES: [&str; 2] = ["state_nodes", "room_states"];
/// The table of events, each with its federation JSON, before any compression.
const EVENTS_TABLE: &str = "timeline";
const STATE_SHARE_MAX: f64 = 0.25;

/// State bytes after many joins of one room, as a share of the events' own, from a server that does nothing else.
/// Rooms with forks are measured by the tests of `data`: no client can make one.
pub(super) async fn state_bytes(target: &Target, folder: &Path) -> Result<Vec<Row>> {
    if target.server.is_none() {
        return Ok(Vec::new());
    }
    let folder = folder.join("state");
    std::fs::create_dir(&folder)?;
    let server = Server::start(super::setup(&folder)?).await?;
    let mut other = Target::own(server, target.options.clone());
    let joins = target.options.sizes.joins[1];
    let users = crowd::users(&mut other, joins + 1).await?;
    let room = users[0]
        .create_room(&json!({"preset": "public_chat"}))
        .await?;
    crowd::join(&users[1..], &room).await?;
    let server = other.server.take().ok_or("no server")?;
    let tables = server.stop().await?.fsck()?;
    let state: f64 = STATE_TABLES
        .iter()
        .map(|name| table_bytes(&tables, name))
        .sum();
    let events = table_bytes(&tables, EVENTS_TABLE);
    if state <= 0.0 || events <= 0.0 {
        return Err(format!("fsck tells nothing of state or events:\n{tables}").into());
    }
    let what = format!("state bytes after {joins} joins, as a share of the events' bytes");
    let mut row = Row::at_most(what, state / events, STATE_SHARE_MAX, "×");
    row.figure += &format!(" ({state} of {events} bytes)");
    Ok(vec![row])
}

/// The bytes of a table in a line such as `timeline: 10007 rows, 8123456 bytes`.
fn table_bytes(told: &str, table: &str) -> f64 {
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix(table)?.strip_prefix(": "));
    let bytes = line.and_then(|line| line.split_once(" rows, ")?.1.split_once(' '));
    bytes
        .and_then(|(bytes, _)| bytes.parse().ok())
        .unwrap_or(0.0)
}

async fn join_one_by_one(users: &[User], room: &str) -> Result<usize> {
    for user in users {
        user.join(room).await?;
    }
    Ok(users.len())
}

/// Sends into a room of few and one of many members, with the same number of members syncing.
pub(super) async fn sends(target: &mut Target) -> Result<Vec<Row>> {
    let [few, many] = target.options.sizes.members;
    let users = crowd::users(target, many + 1).await?;
    let mut costs = Vec::new();
    for members in [few, many] {
        let room = users[0]
            .create_room(&json!({"preset": "public_chat"}))
            .await?;
        crowd::join(&users[1..=members], &room).await?;
        costs.push(
            deliveries::sends_while_polling(target, &users, &room, target.options.runs).await?,
        );
    }
    let what = format!(
        "a send into a room of {few} → {many} members, {} of them syncing",
        target.options.sizes.syncing
    );
    Ok(vec![Row::compared(
        what,
        [&costs[0], &costs[1]],
        LITTLE_MORE,
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_bytes_are_read_from_what_fsck_tells() {
        let told =
            "room_states: 3 rows, 90 bytes\ntimeline: 10 rows, 1234 bytes\nthe store is clean\n";
        assert_eq!(table_bytes(told, "timeline"), 1234.0);
        assert_eq!(table_bytes(told, "state_nodes"), 0.0);
    }
}
