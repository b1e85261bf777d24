//! Many users at once: registering, joining, sending.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::{
    Result,
    client::{Http, User},
    device::Device,
};

use super::target::Target;

/// Requests in flight while a scene is built.
const AT_ONCE: usize = 32;

/// Registers so many users.
pub(super) async fn users(target: &mut Target, count: usize) -> Result<Vec<User>> {
    let names = (0..count).map(|_| target.fresh_name()).collect();
    registered(&target.http, names).await
}

/// Registers users of these names.
pub(super) async fn registered(http: &Http, names: Vec<String>) -> Result<Vec<User>> {
    let http = http.clone();
    // Users are alike, so that it does not matter that they come back in another order.
    each(names, 8, move |name| {
        let http = http.clone();
        async move { http.register(&name).await }
    })
    .await
}

/// All join a room.
pub(super) async fn join(users: &[User], room: &str) -> Result<()> {
    let room = room.to_owned();
    let joined = each(users.to_vec(), AT_ONCE, move |user| {
        let room = room.clone();
        async move { user.join(&room).await }
    });
    joined.await.map(drop)
}

/// All upload identity keys.
pub(super) async fn upload_keys(users: &[User]) -> Result<()> {
    let uploaded = each(users.to_vec(), AT_ONCE, |user| async move {
        Device::of(&user).upload(&user, 0).await
    });
    uploaded.await.map(drop)
}

/// `count` messages by all of these users, each into the rooms in turn; every user has one message in flight.
pub(super) async fn talk(
    users: &[User],
    rooms: &[String],
    count: usize,
    run: &str,
) -> Result<usize> {
    let next = Arc::new(AtomicUsize::new(0));
    let rooms: Arc<[String]> = rooms.into();
    let run = run.to_owned();
    let sent = each(
        users.iter().cloned().enumerate().collect(),
        users.len(),
        move |(index, user)| {
            talk_one(
                user,
                Arc::clone(&rooms),
                Work {
                    index,
                    count,
                    next: Arc::clone(&next),
                    run: run.clone(),
                },
            )
        },
    );
    Ok(sent.await?.into_iter().sum())
}

struct Work {
    index: usize,
    count: usize,
    next: Arc<AtomicUsize>,
    run: String,
}

async fn talk_one(user: User, rooms: Arc<[String]>, work: Work) -> Result<usize> {
    let mut sent = 0;
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= work.count {
            return Ok(sent);
        }
        let room = &rooms[(work.index + sent) % rooms.len()];
        user.send(
            room,
            &format!("{}-{number}", work.run),
            "What shall we have for dinner tonight, and who cooks?",
        )
        .await?;
        sent += 1;
    }
}

/// Does something for each item, `at_once` at a time.
pub(super) async fn each<T, R, F>(
    items: Vec<T>,
    at_once: usize,
    act: impl Fn(T) -> F,
) -> Result<Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = Result<R>> + Send + 'static,
{
    let mut waiting = items.into_iter();
    let mut running = JoinSet::new();
    let mut results = Vec::new();
    loop {
        while running.len() < at_once
            && let Some(item) = waiting.next()
        {
            running.spawn(act(item));
        }
        match running.join_next().await {
            Some(ended) => results.push(ended??),
            None => return Ok(results),
        }
    }
}
