//! Sends, the newest page, and syncs.

use std::path::Path;

use serde_json::json;

use crate::{
    Result,
    client::{Direction, Page, User, text},
};

use super::{
    act::{Cost, measured, median},
    crowd,
    table::{Row, SAME},
    target::{Target, sync_time},
};

const SEND_CPU_MS_MAX: f64 = 0.6;
const SENDS_PER_SECOND_MIN: f64 = 2_000.0;
const SENDERS: usize = 32;
/// How many of the newest messages are read.
const NEWEST: usize = 50;

/// Durable sends: 1 and 32 senders in 1 and 32 rooms.
pub(super) async fn sends(target: &mut Target, folder: &Path) -> Result<Vec<Row>> {
    let users = crowd::users(target, SENDERS).await?;
    let mut rooms = Vec::new();
    for _ in 0..SENDERS {
        let room = users[0]
            .create_room(&json!({"preset": "public_chat"}))
            .await?;
        crowd::join(&users[1..], &room).await?;
        rooms.push(room);
    }
    let mut rows = Vec::new();
    for (senders, room_count) in [(1, 1), (1, SENDERS), (SENDERS, 1), (SENDERS, SENDERS)] {
        let count = if senders == 1 {
            target.options.sizes.requests
        } else {
            target.options.sizes.requests * 5
        };
        let mut costs = Vec::new();
        let mut syncs = Vec::new();
        for run in 0..target.options.runs {
            syncs.push(sync_time(folder)?);
            let run = format!("{senders}-{room_count}-{run}");
            let talk = crowd::talk(&users[..senders], &rooms[..room_count], count, &run);
            costs.push(measured(target.process, talk).await?);
        }
        let cost = median(costs);
        let what = format!("a durable send, {senders} senders, {room_count} rooms");
        rows.push(Row::at_most(
            format!("{what}: server CPU"),
            cost.cpu_ms_each(),
            SEND_CPU_MS_MAX,
            "ms",
        ));
        rows.push(rate(
            &what,
            senders,
            &cost,
            super::act::percentile(syncs, 0.5),
        ));
    }
    Ok(rows)
}

fn rate(what: &str, senders: usize, cost: &Cost, sync_ms: f64) -> Row {
    let figure = format!(
        "{:.0} per second (the disk syncs {:.0} times per second)",
        cost.per_second(),
        1_000.0 / sync_ms
    );
    let mut row = Row::plain(format!("{what}: rate"), figure);
    if senders > 1 {
        row.goal = format!("≥ {SENDS_PER_SECOND_MIN:.0} per second");
        row.reached = Some(cost.per_second() >= SENDS_PER_SECOND_MIN);
    }
    row
}

/// The newest 50 messages of a small and a large room, as a page and in the first sync of a client.
pub(super) async fn messages(target: &mut Target) -> Result<Vec<Row>> {
    let users = crowd::users(target, SENDERS).await?;
    let mut rooms = Vec::new();
    for count in target.options.sizes.messages {
        let room = users[0]
            .create_room(&json!({"preset": "public_chat"}))
            .await?;
        crowd::join(&users[1..], &room).await?;
        crowd::talk(&users, std::slice::from_ref(&room), count, "fill").await?;
        rooms.push(room);
    }
    let reader = &users[0];
    let requests = target.options.sizes.requests;
    let [mut pages, mut syncs] = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..=target.options.runs {
        for (index, room) in rooms.iter().enumerate() {
            let act = newest_pages(reader, room, requests);
            pages[index].push(measured(target.process, act).await?);
            let act = first_syncs(reader, room, requests);
            syncs[index].push(measured(target.process, act).await?);
        }
    }
    let [few, many] = target.options.sizes.messages;
    let [pages, syncs] = [pages, syncs].map(|pair| pair.map(without_first));
    Ok(vec![
        Row::compared(
            format!("the newest 50 messages in a room of {few} → {many}"),
            [&pages[0], &pages[1]],
            SAME,
        ),
        Row::compared(
            format!("a first sync of 50 messages of a room of {few} → {many}"),
            [&syncs[0], &syncs[1]],
            SAME,
        ),
    ])
}

async fn first_syncs(reader: &User, room: &str, times: usize) -> Result<usize> {
    let filter = json!({"room": {"rooms": [room], "timeline": {"limit": NEWEST}}});
    for _ in 0..times {
        let answer = reader.sync(None, 0, &filter).await?;
        let timeline = answer["rooms"]["join"][room]["timeline"]["events"].as_array();
        let count = timeline.map_or(0, Vec::len);
        if count != NEWEST {
            return Err(format!("the first sync holds {count} of {NEWEST} events").into());
        }
    }
    Ok(times)
}

/// The first run warms the caches of both sides.
fn without_first(costs: Vec<Cost>) -> Cost {
    median(costs.into_iter().skip(1).collect())
}

async fn newest_pages(reader: &User, room: &str, times: usize) -> Result<usize> {
    for _ in 0..times {
        let answer = reader
            .messages(
                room,
                Page {
                    from: None,
                    direction: Direction::Back,
                    limit: NEWEST,
                },
            )
            .await?;
        let chunk = answer.get("chunk").and_then(serde_json::Value::as_array);
        let count = chunk.map_or(0, Vec::len);
        if count != NEWEST {
            return Err(format!("the newest page holds {count} of {NEWEST} events").into());
        }
    }
    Ok(times)
}

struct Syncer {
    user: User,
    since: String,
    room: String,
}

/// Syncs without news and with one new event, with few and many joined rooms.
pub(super) async fn syncs(target: &mut Target) -> Result<Vec<Row>> {
    let talker = crowd::users(target, 1).await?.remove(0);
    let mut syncers = Vec::new();
    for count in target.options.sizes.rooms {
        syncers.push(syncer(target, &talker, count).await?);
    }
    let requests = target.options.sizes.requests;
    let [mut quiet, mut alone, mut both] = [const { [const { Vec::new() }; 2] }; 3];
    for run in 0..=target.options.runs {
        for (index, syncer) in syncers.iter_mut().enumerate() {
            quiet[index].push(measured(target.process, sync_quietly(syncer, requests)).await?);
            let (room, name) = ([syncer.room.clone()], format!("alone-{index}-{run}"));
            let talk = crowd::talk(std::slice::from_ref(&talker), &room, requests / 4, &name);
            alone[index].push(measured(target.process, talk).await?);
            sync_quietly(syncer, 1).await?;
            let act = sync_news(syncer, &talker, requests / 4, run);
            both[index].push(measured(target.process, act).await?);
        }
    }
    let [few, many] = target.options.sizes.rooms;
    let [quiet, alone, both] = [quiet, alone, both].map(|pair| pair.map(without_first));
    let news = [both[0].without(&alone[0]), both[1].without(&alone[1])];
    Ok(vec![
        Row::compared(
            format!("a sync without news, {few} → {many} rooms"),
            [&quiet[0], &quiet[1]],
            SAME,
        ),
        Row::compared(
            format!("a sync with one new event, {few} → {many} rooms"),
            [&news[0], &news[1]],
            SAME,
        ),
    ])
}

async fn syncer(target: &mut Target, talker: &User, count: usize) -> Result<Syncer> {
    let user = crowd::users(target, 1).await?.remove(0);
    let mut room = String::new();
    for _ in 0..count {
        room = user.create_room(&json!({"preset": "public_chat"})).await?;
    }
    talker.join(&room).await?;
    let first = user.sync(None, 0, &json!({})).await?;
    Ok(Syncer {
        user,
        since: text(&first, "next_batch")?,
        room,
    })
}

async fn sync_quietly(syncer: &mut Syncer, times: usize) -> Result<usize> {
    for _ in 0..times {
        let answer = syncer.user.sync(Some(&syncer.since), 0, &json!({})).await?;
        syncer.since = text(&answer, "next_batch")?;
    }
    Ok(times)
}

async fn sync_news(syncer: &mut Syncer, talker: &User, times: usize, run: usize) -> Result<usize> {
    for number in 0..times {
        let event = talker
            .send(&syncer.room, &format!("news-{run}-{number}"), "news")
            .await?;
        let answer = syncer
            .user
            .sync(Some(&syncer.since), 30_000, &json!({}))
            .await?;
        if !answer.to_string().contains(&event) {
            return Err(format!("the sync does not hold the new event {event}").into());
        }
        syncer.since = text(&answer, "next_batch")?;
    }
    Ok(times)
}
