//! What encrypted chats ask of a server: keys of many users, one-time keys, messages to many devices, and syncs of users
//! who have to hear of the changed keys of many others.

use std::{collections::HashSet, ops::Range};

use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Result,
    client::{User, escape, text},
    device::{Device, SIGNED_CURVE25519},
};

use super::{
    act::{Cost, measured, median, percentile},
    crowd,
    deliveries::Scene,
    table::{Row, SAME},
    target::Target,
};

/// Before the first message in a large room a person waits for both of these: together a third of a second at most.
const QUERY_P99_MS_MAX: f64 = 100.0;
const CLAIM_P99_MS_MAX: f64 = 200.0;
/// A claimed key is durable, but a thousand share one commit: far below a durable send.
const CLAIM_CPU_MS_MAX: f64 = 0.1;
const QUERY_CPU_MS_MAX: f64 = 0.05;
/// As for a hundred long-polls in a room, for each.
const DELIVERY_CPU_MS_MAX: f64 = 0.15;
const DELIVERIES_P99_MS_MAX: f64 = 200.0;
/// Messages to all devices in one run.
const SENDS: usize = 10;
/// The size of an encrypted room key.
const CIPHERTEXT_BYTES: usize = 900;

/// Queries of few and many users, and claims of few and many keys.
pub(super) async fn keys(target: &mut Target) -> Result<Vec<Row>> {
    let counts = target.options.sizes.keys;
    let asker = crowd::users(target, 1).await?.remove(0);
    let users = crowd::users(target, counts[1]).await?;
    crowd::upload_keys(&users).await?;
    let mut rows = queries(target, &asker, &users).await?;
    rows.extend(claims(target, &asker, &users).await?);
    Ok(rows)
}

async fn queries(target: &Target, asker: &User, users: &[User]) -> Result<Vec<Row>> {
    let counts = target.options.sizes.keys;
    let times = [
        target.options.sizes.requests,
        target.options.sizes.requests / 20,
    ];
    let mut figures = Figures::default();
    for run in 0..=target.options.runs {
        for (size, (count, times)) in counts.into_iter().zip(times).enumerate() {
            let mut latencies = Vec::new();
            let act = query(asker, &users[..count], times, &mut latencies);
            let cost = measured(target.process, act).await?;
            figures.add(run, size, cost, latencies);
        }
    }
    let goals = [QUERY_CPU_MS_MAX, QUERY_P99_MS_MAX];
    Ok(figures.rows(("keys/query", "users"), counts, goals))
}

/// Asks for the keys of these users, so many times; how many users were asked for in all.
async fn query(
    asker: &User,
    users: &[User],
    times: usize,
    latencies: &mut Vec<f64>,
) -> Result<usize> {
    let wanted = users.iter().map(|user| (user.id.clone(), json!([])));
    let body = json!({"device_keys": wanted.collect::<Map<String, Value>>()});
    for _ in 0..times {
        let began = Instant::now();
        let path = "/_matrix/client/v3/keys/query";
        let answer = asker.ask(Method::POST, path, &body).await?.ok()?;
        latencies.push(began.elapsed().as_secs_f64() * 1_000.0);
        let missing = users.iter().find(|user| {
            let path = format!("/device_keys/{}/{}/keys", user.id, user.device);
            answer.pointer(&path).is_none()
        });
        if let Some(missing) = missing {
            return Err(format!("the answer to a query has no keys of {}", missing.id).into());
        }
    }
    Ok(times * users.len())
}

async fn claims(target: &Target, asker: &User, users: &[User]) -> Result<Vec<Row>> {
    let counts = target.options.sizes.keys;
    let large = (target.options.sizes.requests / 100).max(1);
    let times = [large * 5, large];
    let mut figures = Figures::default();
    let (mut given, mut numbers) = (HashSet::new(), [0; 2]);
    for run in 0..=target.options.runs {
        for (size, (count, times)) in counts.into_iter().zip(times).enumerate() {
            // The small claims have keys of their own numbers: each key is there once.
            let next = numbers[size] + times;
            let shift = size * 500_000;
            stock(&users[..count], numbers[size] + shift..next + shift).await?;
            numbers[size] = next;
            let mut latencies = Vec::new();
            let act = claim(asker, &users[..count], times, (&mut latencies, &mut given));
            let cost = measured(target.process, act).await?;
            figures.add(run, size, cost, latencies);
        }
    }
    let goals = [CLAIM_CPU_MS_MAX, CLAIM_P99_MS_MAX];
    Ok(figures.rows(("keys/claim", "keys"), counts, goals))
}

/// Uploads one-time keys of these numbers for each user.
async fn stock(users: &[User], numbers: Range<usize>) -> Result<()> {
    let uploaded = crowd::each(users.to_vec(), 8, move |user| {
        let numbers = numbers.clone();
        async move {
            let keys = Device::of(&user).one_time_keys(numbers);
            let path = "/_matrix/client/v3/keys/upload";
            let body = json!({"one_time_keys": keys});
            user.ask(Method::POST, path, &body).await?.ok().map(drop)
        }
    });
    uploaded.await.map(drop)
}

/// Claims a key of each of these users, so many times; how many were claimed in all. No key may come twice.
async fn claim(
    asker: &User,
    users: &[User],
    times: usize,
    (latencies, given): (&mut Vec<f64>, &mut HashSet<String>),
) -> Result<usize> {
    let wanted = users.iter().map(|user| {
        let device = json!({user.device.as_str(): SIGNED_CURVE25519});
        (user.id.clone(), device)
    });
    let body = json!({"one_time_keys": wanted.collect::<Map<String, Value>>()});
    for _ in 0..times {
        let began = Instant::now();
        let path = "/_matrix/client/v3/keys/claim";
        let answer = asker.ask(Method::POST, path, &body).await?.ok()?;
        latencies.push(began.elapsed().as_secs_f64() * 1_000.0);
        for user in users {
            let path = format!("/one_time_keys/{}/{}", user.id, user.device);
            let keys = answer.pointer(&path).and_then(Value::as_object);
            let name = keys.and_then(|keys| keys.keys().next());
            let Some(name) = name else {
                return Err(format!("no key of {} was claimed", user.id).into());
            };
            if !given.insert(format!("{} {name}", user.id)) {
                return Err(format!("{name} of {} was given out twice", user.id).into());
            }
        }
    }
    Ok(times * users.len())
}

/// What acts of two sizes cost, run by run; the first run warms both sides.
#[derive(Default)]
struct Figures {
    costs: [Vec<Cost>; 2],
    latencies: Vec<f64>,
}

impl Figures {
    fn add(&mut self, run: usize, size: usize, cost: Cost, latencies: Vec<f64>) {
        if run == 0 {
            return;
        }
        self.costs[size].push(cost);
        if size == 1 {
            self.latencies.extend(latencies);
        }
    }

    fn rows(
        self,
        (what, items): (&str, &str),
        [few, many]: [usize; 2],
        [cpu_max, p99_max]: [f64; 2],
    ) -> Vec<Row> {
        let [small, large] = self.costs.map(median);
        vec![
            Row::at_most(
                format!("{what} of {many} {items}: server CPU for each"),
                large.cpu_ms_each(),
                cpu_max,
                "ms",
            ),
            Row::at_most(
                format!("{what} of {many} {items}: p99"),
                percentile(self.latencies, 0.99),
                p99_max,
                "ms",
            ),
            Row::compared(
                format!("{what} of {few} → {many} {items}, for each"),
                [&small, &large],
                SAME,
            ),
        ]
    }
}

/// A message to many devices, each in a long-poll.
pub(super) async fn to_device(target: &mut Target) -> Result<Vec<Row>> {
    let count = target.options.sizes.devices;
    let users = crowd::users(target, count + 1).await?;
    let (sender, pollers) = users.split_first().ok_or("no users")?;
    let content = json!({
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": Device::of(sender).public(),
        "ciphertext": "x".repeat(CIPHERTEXT_BYTES),
    });
    let recipients = pollers.iter().map(|user| {
        let device = json!({user.device.as_str(): content});
        (user.id.clone(), device)
    });
    let body = json!({"messages": recipients.collect::<Map<String, Value>>()});
    let mut scene = Scene::begin(pollers, "/to_device/events/0").await?;
    let (mut costs, mut worst) = (Vec::new(), Vec::new());
    for run in 0..=target.options.runs {
        let mut latencies = Vec::new();
        let act = async {
            let send = async |number: usize| {
                send_to_device(sender, &format!("{run}-{number}"), &body).await
            };
            latencies = scene.run(SENDS, send).await?;
            Ok(latencies.len())
        };
        let cost = measured(target.process, act).await?;
        if run > 0 {
            costs.push(cost);
            worst.push(percentile(latencies, 0.99));
        }
    }
    Ok(vec![
        Row::at_most(
            format!(
                "a message to {count} devices in long-polls, from the beginning of the send: p99"
            ),
            percentile(worst, 0.5),
            DELIVERIES_P99_MS_MAX,
            "ms",
        ),
        Row::at_most(
            format!("a message to {count} devices in long-polls: server CPU for each"),
            median(costs).cpu_ms_each(),
            DELIVERY_CPU_MS_MAX,
            "ms",
        ),
    ])
}

async fn send_to_device(sender: &User, txn: &str, body: &Value) -> Result<()> {
    let path = format!("/_matrix/client/v3/sendToDevice/m.room.encrypted/{txn}");
    sender.ask(Method::PUT, &path, body).await?.ok().map(drop)
}

/// A user who shares a room with others who have keys.
struct Tracker {
    user: User,
    other: User,
    since: String,
}

/// Syncs of users who share a room with few and with many others, each of whom has a device with keys.
pub(super) async fn tracked(target: &mut Target) -> Result<Vec<Row>> {
    let counts = target.options.sizes.tracked;
    let requests = target.options.sizes.requests;
    let (mut trackers, mut asked) = (Vec::new(), Vec::new());
    for count in counts {
        let mut users = crowd::users(target, count).await?;
        crowd::upload_keys(&users).await?;
        trackers.push(tracker(target, &users).await?);
        users.truncate(counts[0]);
        asked.push(users);
    }
    let [mut quiet, mut news, mut existing] = [const { [const { Vec::new() }; 2] }; 3];
    for run in 0..=target.options.runs {
        for (size, tracker) in trackers.iter_mut().enumerate() {
            let quietly = measured(target.process, sync_quietly(tracker, requests)).await?;
            let act = sync_news(tracker, requests / 4, run);
            let told = measured(target.process, act).await?;
            let mut latencies = Vec::new();
            let act = query(&tracker.user, &asked[size], requests, &mut latencies);
            let queried = measured(target.process, act).await?;
            if run > 0 {
                quiet[size].push(quietly);
                news[size].push(told);
                existing[size].push(queried);
            }
        }
    }
    let [few, many] = counts;
    let [existing, quiet, news] = [existing, quiet, news].map(|pair| pair.map(median));
    let told = format!("a device renamed and its change told in a sync, {few} → {many} tracked");
    Ok(vec![
        Row::compared(
            format!("a sync without news, {few} → {many} tracked devices"),
            [&quiet[0], &quiet[1]],
            SAME,
        ),
        Row::compared(told, [&news[0], &news[1]], SAME),
        Row::compared(
            format!("keys/query of {few} users of {few} → {many} in the room, for each"),
            [&existing[0], &existing[1]],
            SAME,
        ),
    ])
}

async fn tracker(target: &mut Target, others: &[User]) -> Result<Tracker> {
    let user = crowd::users(target, 1).await?.remove(0);
    let room = user.create_room(&json!({"preset": "public_chat"})).await?;
    crowd::join(others, &room).await?;
    let lazily = json!({"room": {"state": {"lazy_load_members": true}, "timeline": {"limit": 1}}});
    let first = user.sync(None, 0, &lazily).await?;
    Ok(Tracker {
        user,
        other: others.first().ok_or("no others")?.clone(),
        since: text(&first, "next_batch")?,
    })
}

async fn sync_quietly(tracker: &mut Tracker, times: usize) -> Result<usize> {
    for _ in 0..times {
        let since = Some(tracker.since.as_str());
        let answer = tracker.user.sync(since, 0, &json!({})).await?;
        tracker.since = text(&answer, "next_batch")?;
    }
    Ok(times)
}

async fn sync_news(tracker: &mut Tracker, times: usize, run: usize) -> Result<usize> {
    let device = escape(&tracker.other.device);
    let path = format!("/_matrix/client/v3/devices/{device}");
    for number in 0..times {
        let name = json!({"display_name": format!("phone {run}-{number}")});
        tracker.other.ask(Method::PUT, &path, &name).await?.ok()?;
        let since = Some(tracker.since.as_str());
        let answer = tracker.user.sync(since, 30_000, &json!({})).await?;
        let changed = answer.pointer("/device_lists/changed");
        if changed != Some(&json!([tracker.other.id])) {
            return Err(format!("not the one changed list is told: {answer}").into());
        }
        tracker.since = text(&answer, "next_batch")?;
    }
    Ok(times)
}
