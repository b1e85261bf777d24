//! A room's worker: takes all that waits, decides each request on what its predecessors leave, commits once, answers.

use std::sync::Arc;

use hearth_data::{RoomNo, rooms};
use hearth_store::Durability;

use crate::queue::{Ask, Outcome};
use crate::stage::Stage;
use crate::view::RoomView;
use crate::{Error, Inner, Result};

/// How often a group is decided anew because another writer was first.
const CONFLICTS_MAX: u32 = 16;

/// Works until nobody waits for the room.
pub(crate) async fn run(inner: &Arc<Inner>, room: RoomNo) {
    let mut view = inner.views.take(room);
    while let Some(asks) = inner.queues.take(room) {
        view = group(inner, room, view, asks).await;
        if let Some(view) = &mut view {
            view.trim();
        }
    }
    if let Some(view) = view {
        // Should another worker have begun meanwhile, one of the two views is old, which shows at its next use.
        inner.views.put(view);
    }
}

/// What one commit has done.
struct Done {
    view: RoomView,
    /// Of the first requests, as many as the commit took.
    answers: Vec<Result<Outcome>>,
}

/// Why a commit did not come about.
enum Failure {
    /// Somebody else was first: decide again.
    Conflict,
    /// The caller's own expectation does not hold (its request was alone in the commit).
    Rider,
    /// The requests together are more than one commit takes.
    TooMany,
    /// Nothing can be written.
    Fatal(Error),
}

impl From<hearth_store::Error> for Failure {
    fn from(error: hearth_store::Error) -> Self {
        Self::Fatal(error.into())
    }
}

/// Decides and commits a group, in as many commits as it takes. Gives back what is known of the room.
async fn group(
    inner: &Arc<Inner>,
    room: RoomNo,
    mut view: Option<RoomView>,
    mut asks: Vec<Ask>,
) -> Option<RoomView> {
    let mut conflicts = 0;
    let mut most = asks.len();
    while !asks.is_empty() {
        match attempt(inner, room, view.take(), &asks[..most.min(asks.len())]).await {
            Ok(done) => {
                conflicts = 0;
                view = Some(done.view);
                answer_first(&mut asks, done.answers);
                if !asks.is_empty() {
                    // Others may have come in between, but these were first.
                    inner.queues.put_back(room, std::mem::take(&mut asks));
                }
            }
            Err(Failure::Conflict) if conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(Failure::Conflict) => answer_all(&mut asks, &Error::Contended),
            Err(Failure::Rider) => answer_first(&mut asks, vec![Err(Error::RiderConflict)]),
            Err(Failure::TooMany) => most = 1,
            Err(Failure::Fatal(error)) => answer_all(&mut asks, &error),
        }
    }
    view
}

/// Decides the first requests and commits them.
async fn attempt(
    inner: &Arc<Inner>,
    room: RoomNo,
    view: Option<RoomView>,
    asks: &[Ask],
) -> Result<Done, Failure> {
    let snapshot = inner.store.snapshot().await?;
    let head = rooms::head(&*snapshot, room)
        .await?
        .ok_or(Failure::Fatal(Error::NoSuchRoom))?;
    let seen = head.position;
    let view = match view.filter(|view| view.head.position == seen) {
        Some(view) => view,
        None => RoomView::new(room, head).map_err(Failure::Fatal)?,
    };
    let mut stage = Stage::new(inner, &*snapshot, view);
    let mut answers = Vec::with_capacity(asks.len());
    let mut has_rider = false;
    for ask in asks {
        // A rider's expectation must not fail others, so its request gets a commit of its own.
        has_rider = !ask.rider.is_empty();
        if !answers.is_empty() && (has_rider || !stage.has_space()) {
            has_rider = false;
            break;
        }
        stage.signed.clone_from(&ask.signed);
        answers.push(stage.decide(&ask.intent).await);
        if has_rider {
            stage.ride(&ask.rider);
            break;
        }
    }
    if !stage.is_written() && !has_rider {
        return Ok(Done {
            view: stage.into_view(),
            answers,
        });
    }
    if has_rider && answers.iter().any(Result::is_err) {
        return Ok(Done {
            view: stage.into_view(),
            answers,
        });
    }
    let mut decided = asks[..answers.len()].iter();
    let durability = match !has_rider && decided.all(|ask| ask.intent.is_preparation()) {
        true => Durability::Buffered,
        false => Durability::Synced,
    };
    match stage.commit(durability).await {
        Ok(view) => Ok(Done { view, answers }),
        Err(hearth_store::Error::Conflict) if has_rider => {
            let snapshot = inner.store.snapshot().await?;
            let head = rooms::head(&*snapshot, room).await?;
            let is_same = head.is_some_and(|head| head.position == seen);
            Err(if is_same {
                Failure::Rider
            } else {
                Failure::Conflict
            })
        }
        Err(hearth_store::Error::Conflict) => Err(Failure::Conflict),
        Err(hearth_store::Error::BatchTooLarge { .. }) if answers.len() > 1 => {
            Err(Failure::TooMany)
        }
        Err(error) => Err(error.into()),
    }
}

fn answer_first(asks: &mut Vec<Ask>, answers: Vec<Result<Outcome>>) {
    for (ask, mut answer) in asks.drain(..answers.len()).zip(answers) {
        if let Err(Error::Unsigned(unsigned)) = &mut answer {
            unsigned.ask = Some((ask.intent, ask.rider));
        }
        // Whoever does not wait any more has seen the connection close; the event stays.
        if ask.answer.send(answer).is_err() {
            tracing::debug!("a request was given up before its answer");
        }
    }
}

fn answer_all(asks: &mut Vec<Ask>, error: &Error) {
    let answers = asks.iter().map(|_| Err(error.clone())).collect();
    answer_first(asks, answers);
}
