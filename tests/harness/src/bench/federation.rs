//! From one server to another: how soon a message is there, how many a second, and how long a join takes.

use std::{path::Path, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    Result,
    client::{User, escape, text},
};

use super::{
    Options,
    act::{measured, percentile},
    crowd, deliveries,
    pair::{self, Side, join_over},
    table::Row,
};

const DELIVERY_MS_MAX: f64 = 5.0;
const JOIN_MS_MAX: f64 = 15.0;
const USABLE_MS_MAX: f64 = 2_000.0;
const GROWTH_MIB_MAX: f64 = 64.0;
/// Who sends at once where the rate is measured.
const SENDERS: usize = 32;
/// The state of a room of 10,000 members takes no longer, on any server.
const FULL_STATE_SECONDS_MAX: u64 = 1_800;
/// How often it is asked whether the state is there: far more seldom than would load the server.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// All of it, with two fresh servers or two peers.
pub(super) async fn run(options: &Options, folder: &Path) -> Result<Vec<Row>> {
    let folder = folder.join("federation");
    std::fs::create_dir(&folder)?;
    let [mut a, mut b] = pair::begin(options, &folder).await?;
    let mut rows = vec![latency(options, &mut a, &mut b).await?];
    rows.extend(rate(options, &mut a, &mut b).await?);
    rows.push(small_joins(options, &mut a, &mut b).await?);
    rows.extend(large_join(options, &mut a, &mut b).await?);
    Ok(rows)
}

/// From the beginning of a send on A until a member on B, who long-polls, has it.
async fn latency(options: &Options, a: &mut Side, b: &mut Side) -> Result<Row> {
    let (sender, receiver) = (a.user().await?, b.user().await?);
    let room = public_room(&sender, &[]).await?;
    join_over(&receiver, &room, &sender).await?;
    // When the room is whole the receiver's sync tells of it, which is no delivery.
    wait_for_members(&receiver, &room, 2).await?;
    let mut scene = deliveries::Scene::begin(&[receiver], deliveries::IN_ROOM).await?;
    scene
        .run(deliveries::SENDS, deliveries::say(&sender, &room, "warm"))
        .await?;
    let mut middle = Vec::new();
    for run in 0..options.runs {
        let name = format!("far-{run}");
        let say = deliveries::say(&sender, &room, &name);
        let latencies = scene.run(deliveries::SENDS, say).await?;
        middle.push(percentile(latencies, 0.5));
    }
    Ok(Row::at_most(
        "a message is with a member on the other server: median",
        percentile(middle, 0.5),
        DELIVERY_MS_MAX,
        "ms",
    ))
}

/// Many messages at once on A until the last is with a member on B.
async fn rate(options: &Options, a: &mut Side, b: &mut Side) -> Result<Vec<Row>> {
    let owner = a.user().await?;
    let room = public_room(&owner, &[]).await?;
    let receiver = b.user().await?;
    join_over(&receiver, &room, &owner).await?;
    let mut senders = vec![owner];
    while senders.len() < SENDERS {
        let sender = a.user().await?;
        sender.join(&room).await?;
        senders.push(sender);
    }
    let since = text(&receiver.sync(None, 0, &json!({})).await?, "next_batch")?;
    let count = options.sizes.requests;
    let cpu = [a.process.cpu_seconds()?, b.process.cpu_seconds()?];
    let rooms = [room.clone()];
    let act = async {
        let sent = crowd::talk(&senders, &rooms, count, "far").await?;
        // What one server sends of a room arrives in its order.
        let last = senders[0].send(&room, "far-last", "That was all").await?;
        receive(&receiver, since, &room, &last).await?;
        Ok(sent)
    };
    let cost = measured(a.process, act).await?;
    let each = |now: f64, before: f64| (now - before) * 1_000.0 / num(count);
    Ok(vec![Row::plain(
        format!("events from {SENDERS} senders to a member on the other server"),
        format!(
            "{:.0} per second; CPU each {:.3} ms here, {:.3} ms there",
            cost.per_second(),
            each(a.process.cpu_seconds()?, cpu[0]),
            each(b.process.cpu_seconds()?, cpu[1]),
        ),
    )])
}

/// Syncs until an event is there.
async fn receive(user: &User, mut since: String, room: &str, event_id: &str) -> Result<()> {
    let filter = json!({"room": {"timeline": {"limit": 10}}});
    let timeline = format!("/rooms/join/{}/timeline/events", room.replace('/', "~1"));
    loop {
        let answer = user.sync(Some(&since), 30_000, &filter).await?;
        since = text(&answer, "next_batch")?;
        let events = answer.pointer(&timeline).and_then(Value::as_array);
        let is_there =
            |event: &Value| event.get("event_id").and_then(Value::as_str) == Some(event_id);
        if events.is_some_and(|events| events.iter().any(is_there)) {
            return Ok(());
        }
    }
}

/// Joins of rooms with some state, each by a user whose server is not in it yet.
async fn small_joins(options: &Options, a: &mut Side, b: &mut Side) -> Result<Row> {
    let [state, _] = options.sizes.federated;
    let owner = a.user().await?;
    let mut times = Vec::new();
    for _ in 0..options.runs.max(5) {
        let events: Vec<Value> = (0..state)
            .map(|number| json!({"type": "org.example.state", "state_key": number.to_string(), "content": {"number": number}}))
            .collect();
        let room = public_room(&owner, &events).await?;
        let user = b.user().await?;
        let began = Instant::now();
        join_over(&user, &room, &owner).await?;
        times.push(ms_since(began));
    }
    Ok(Row::at_most(
        format!("a join over federation into a room with {state} state events: median"),
        percentile(times, 0.5),
        JOIN_MS_MAX,
        "ms",
    ))
}

/// A join of a room with many members: when it can be used, when its state is whole, and what memory that took.
async fn large_join(options: &Options, a: &mut Side, b: &mut Side) -> Result<Vec<Row>> {
    let [_, members] = options.sizes.federated;
    let owner = a.user().await?;
    let room = public_room(&owner, &[]).await?;
    let names = (1..members).map(|_| a.fresh_name()).collect();
    crowd::join(&crowd::registered(&a.http, names).await?, &room).await?;
    let user = b.user().await?;
    let before = b.process.memory_mib()?;
    b.process.forget_peak()?;
    let began = Instant::now();
    join_over(&user, &room, &owner).await?;
    user.send(&room, "first", "Hello everybody").await?;
    let usable = ms_since(began);
    wait_for_members(&user, &room, members + 1).await?;
    let full = began.elapsed().as_secs_f64();
    let growth = (b.process.memory_peak_mib()? - before).max(0.0);
    Ok(vec![
        Row::at_most(
            format!(
                "a join over federation into a room of {members} members, until a message could be sent"
            ),
            usable,
            USABLE_MS_MAX,
            "ms",
        ),
        Row::plain(
            "the same, until its state was whole",
            format!("{full:.2} s"),
        ),
        Row::at_most(
            "the same, peak memory above that of before",
            growth,
            GROWTH_MIB_MAX,
            "MiB",
        ),
    ])
}

/// Asks until the member list is whole.
async fn wait_for_members(user: &User, room: &str, wanted: usize) -> Result<()> {
    let path = format!("/_matrix/client/v3/rooms/{}/joined_members", escape(room));
    let deadline = Instant::now() + Duration::from_secs(FULL_STATE_SECONDS_MAX);
    loop {
        let answer = user.ask(Method::GET, &path, &Value::Null).await?;
        if answer.status == 200 {
            let answer = answer.ok()?;
            let joined = answer.get("joined").and_then(Value::as_object);
            if joined.is_some_and(|joined| joined.len() >= wanted) {
                return Ok(());
            }
        }
        if Instant::now() > deadline {
            return Err(
                format!("the members are not there after {FULL_STATE_SECONDS_MAX} s").into(),
            );
        }
        sleep(ASK_EVERY).await;
    }
}

async fn public_room(owner: &User, state: &[Value]) -> Result<String> {
    owner
        .create_room(&json!({"preset": "public_chat", "initial_state": state}))
        .await
}

fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1_000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^52"
)]
fn num(count: usize) -> f64 {
    count as f64
}
