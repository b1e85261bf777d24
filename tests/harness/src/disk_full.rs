//! The disk is full for a while: writes get 5xx, nothing acknowledged is lost, and the service goes on by itself.

use std::{path::Path, time::Duration};

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Result,
    client::text,
    ledger::Message,
    senders::{Cast, Sender},
    server::{Server, Setup},
    shim::Shim,
};

/// Messages before, and after.
const MESSAGES: usize = 100;
/// Tries on the full disk, per sender.
const TRIES_WHILE_FULL: usize = 20;
/// With space again, the service has to work within this time.
const RESUME_SECONDS_MAX: u64 = 60;
/// How often the disk gets full in one run.
const TIMES: usize = 3;

/// Runs it; an error is a finding.
pub async fn run(folder: &Path) -> Result<String> {
    let setup = Setup::new(folder)?;
    let shim = Shim::build(&setup)?;
    let server = Server::start(shim.preload(setup)).await?;
    let mut cast = Cast::gather(&server.http, 4, 2).await?;
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for _ in 0..TIMES {
        send_all(&mut cast, MESSAGES).await?;
        shim.fill_disk()?;
        let while_full = refusals(&mut cast).await;
        let reads = cast
            .follower
            .user
            .read("/_matrix/client/v3/account/whoami")
            .await;
        shim.free_disk()?;
        refused += while_full?;
        reads.map_err(|error| format!("reading while the disk is full: {error}"))?;
        slowest = slowest.max(resume(&mut cast).await?);
        send_all(&mut cast, MESSAGES).await?;
        cast.judge_history().await?;
    }
    let setup = server.kill()?;
    setup.fsck()?;
    let server = Server::start(setup).await?;
    cast.judge_history().await?;
    cast.follower.catch_up().await?;
    cast.judge_follower()?;
    let setup = server.stop().await?;
    setup.fsck()?;
    let panics = setup.panics()?;
    if !panics.is_empty() {
        return Err(format!("the server panicked: {panics:?}").into());
    }
    Ok(format!(
        "{TIMES} times full, {refused} writes refused with 5xx, service back within {} ms",
        slowest.as_millis()
    ))
}

/// One try of a sender's next message: acknowledged, or the status of the refusal.
async fn try_next(
    sender: &mut Sender,
    cast: &mut crate::ledger::Ledger,
) -> Result<std::result::Result<(), u16>> {
    let (txn, body) = (
        format!("t{}", sender.next),
        Message::body(sender.id, sender.next),
    );
    let answer = sender.user.try_send(&sender.room, &txn, &body).await?;
    if answer.status != 200 {
        return Ok(Err(answer.status));
    }
    cast.acknowledge(sender.id, sender.next, text(&answer.ok()?, "event_id")?)?;
    sender.next += 1;
    Ok(Ok(()))
}

async fn send_all(cast: &mut Cast, count: usize) -> Result<()> {
    for _ in 0..count {
        for sender in &mut cast.senders {
            if let Err(status) = try_next(sender, &mut cast.ledger).await? {
                return Err(format!("status {status} for a message though there is space").into());
            }
        }
    }
    Ok(())
}

/// Everyone tries while the disk is full. What is acknowledged is believed (and judged later); the rest must be 5xx.
async fn refusals(cast: &mut Cast) -> Result<usize> {
    let mut refused = 0;
    for _ in 0..TRIES_WHILE_FULL {
        for sender in &mut cast.senders {
            match try_next(sender, &mut cast.ledger).await? {
                Ok(()) => {}
                Err(500..=599) => refused += 1,
                Err(status) => {
                    return Err(format!("status {status} for a message on a full disk").into());
                }
            }
        }
    }
    let room = cast
        .follower
        .user
        .ask(Method::POST, "/_matrix/client/v3/createRoom", &json!({}))
        .await?;
    if refused == 0 || room.status < 500 {
        return Err(format!(
            "{refused} messages refused on a full disk; createRoom: {}",
            room.status
        )
        .into());
    }
    Ok(refused)
}

/// How long until everyone's message is accepted again.
async fn resume(cast: &mut Cast) -> Result<Duration> {
    let began = Instant::now();
    for sender in &mut cast.senders {
        while let Err(status) = try_next(sender, &mut cast.ledger).await? {
            if began.elapsed() > Duration::from_secs(RESUME_SECONDS_MAX) {
                return Err(format!(
                    "still status {status} {RESUME_SECONDS_MAX} s after there was space again"
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(began.elapsed())
}
