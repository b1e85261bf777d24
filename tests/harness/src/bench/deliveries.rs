//! Long-polls: how soon after a send began everyone has it, and what a delivery costs.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    sync::{Barrier, mpsc},
    task::JoinSet,
    time::Instant,
};

use crate::{
    Result,
    client::{User, text},
};

use super::{
    act::{Cost, measured, median, percentile},
    crowd,
    table::Row,
    target::Target,
};

const P99_MS_MAX: f64 = 20.0;
const DELIVERY_CPU_MS_MAX: f64 = 0.15;
/// Sends in one run.
pub(super) const SENDS: usize = 40;
/// Where a message in a room shows.
pub(super) const IN_ROOM: &str = "/rooms/join";
/// After all have their answers they ask again; a send begins only when these polls surely wait.
const SETTLE: Duration = Duration::from_millis(60);
/// How long a delivery may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Many long-polls in one room.
pub(super) async fn polls(target: &mut Target) -> Result<Vec<Row>> {
    let count = target.options.sizes.polls;
    let users = crowd::users(target, count + 1).await?;
    let (sender, pollers) = users.split_first().ok_or("no users")?;
    let room = sender
        .create_room(&json!({"preset": "public_chat"}))
        .await?;
    crowd::join(pollers, &room).await?;
    let mut scene = Scene::begin(pollers, IN_ROOM).await?;
    scene.run(SENDS, say(sender, &room, "warm")).await?;
    let (mut costs, mut worst) = (Vec::new(), Vec::new());
    for run in 0..target.options.runs {
        let mut latencies = Vec::new();
        let act = async {
            let name = format!("poll-{run}");
            latencies = scene.run(SENDS, say(sender, &room, &name)).await?;
            Ok(latencies.len())
        };
        costs.push(measured(target.process, act).await?);
        worst.push(percentile(latencies, 0.99));
    }
    let cost = median(costs);
    Ok(vec![
        Row::at_most(
            format!("{count} long-polls, from the beginning of the send: p99"),
            percentile(worst, 0.5),
            P99_MS_MAX,
            "ms",
        ),
        Row::at_most(
            format!("{count} long-polls: server CPU per delivery"),
            cost.cpu_ms_each(),
            DELIVERY_CPU_MS_MAX,
            "ms",
        ),
    ])
}

/// What a send costs while some members of the room long-poll.
pub(super) async fn sends_while_polling(
    target: &Target,
    users: &[User],
    room: &str,
    runs: usize,
) -> Result<Cost> {
    let (sender, _) = users.split_first().ok_or("no users")?;
    let mut scene = Scene::begin(
        users
            .get(1..=target.options.sizes.syncing)
            .ok_or("too few users")?,
        IN_ROOM,
    )
    .await?;
    scene.run(SENDS, say(sender, room, "warm")).await?;
    let mut costs = Vec::new();
    for run in 0..runs {
        let name = format!("members-{run}");
        let act = async {
            let sent = scene.run(SENDS, say(sender, room, &name)).await;
            sent.map(|_| SENDS)
        };
        costs.push(measured(target.process, act).await?);
    }
    Ok(median(costs))
}

/// Sends a message into a room.
pub(super) fn say(sender: &User, room: &str, run: &str) -> impl AsyncFn(usize) -> Result<()> {
    async move |number: usize| {
        let txn = format!("{run}-{number}");
        sender.send(room, &txn, "to everybody").await.map(drop)
    }
}

/// Users who long-poll without end.
pub(super) struct Scene {
    pollers: usize,
    answered: mpsc::UnboundedReceiver<Instant>,
    again: Arc<Barrier>,
    /// Dropped with the scene, and the polls with it.
    _tasks: JoinSet<Result<()>>,
}

impl Scene {
    /// Long-polls that end with an answer in which something stands at `news`, a JSON pointer.
    pub(super) async fn begin(pollers: &[User], news: &'static str) -> Result<Self> {
        let (tell, answered) = mpsc::unbounded_channel();
        let again = Arc::new(Barrier::new(pollers.len() + 1));
        let mut tasks = JoinSet::new();
        for user in pollers.iter().cloned() {
            let first = user
                .sync(None, 0, &json!({"room": {"timeline": {"limit": 1}}}))
                .await?;
            tasks.spawn(poll(
                (user, news),
                text(&first, "next_batch")?,
                tell.clone(),
                Arc::clone(&again),
            ));
        }
        Ok(Self {
            pollers: pollers.len(),
            answered,
            again,
            _tasks: tasks,
        })
    }

    /// Some sends, each delivered to all; the latencies of all deliveries in ms.
    pub(super) async fn run(
        &mut self,
        sends: usize,
        send: impl AsyncFn(usize) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        for number in 0..sends {
            self.again.wait().await;
            tokio::time::sleep(SETTLE).await;
            let began = Instant::now();
            send(number).await?;
            for _ in 0..self.pollers {
                let answered = self.answered_after(began).await?;
                latencies.push(answered.duration_since(began).as_secs_f64() * 1_000.0);
            }
        }
        Ok(latencies)
    }

    /// The next answer, which has to be one to what was sent.
    async fn answered_after(&mut self, began: Instant) -> Result<Instant> {
        let answered = tokio::time::timeout(ANSWER_WAIT_MAX, self.answered.recv()).await?;
        let answered = answered.ok_or("a poll ended with an error")?;
        match answered >= began {
            true => Ok(answered),
            false => Err("a poll was answered before anything was sent".into()),
        }
    }
}

async fn poll(
    (user, news): (User, &'static str),
    mut since: String,
    tell: mpsc::UnboundedSender<Instant>,
    again: Arc<Barrier>,
) -> Result<()> {
    let filter = json!({"room": {"timeline": {"limit": 10}}});
    loop {
        again.wait().await;
        // Polls without a message (a room's late derived rows, say) are asked again until the message is there.
        loop {
            let answer = user.sync(Some(&since), 60_000, &filter).await?;
            since = text(&answer, "next_batch")?;
            if answer.pointer(news).is_some() {
                break;
            }
        }
        tell.send(Instant::now())?;
    }
}
