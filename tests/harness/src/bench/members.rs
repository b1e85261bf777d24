//! Large rooms: joins, and sends that few of many members wait for.

use serde_json::json;

use crate::{Result, client::User};

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
