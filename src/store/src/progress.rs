//! How far a store has come, and what waits for it: one cell that both engines write after each commit.

use tokio::sync::watch;

use crate::{Error, Position, Result};

/// Tables that a store may have: a table is one byte.
const TABLES: usize = 256;

/// How far a store has come, as a whole and in each table.
#[derive(Debug)]
pub struct Progress(watch::Sender<Reached>);

#[derive(Debug)]
struct Reached {
    position: Position,
    tables: Box<[Position; TABLES]>,
    closed: bool,
}

impl Progress {
    /// A store that opens at a position. What its tables were written at is not known: it counts as written at that.
    pub fn new(position: Position) -> Self {
        let reached = Reached {
            position,
            tables: Box::new([position; TABLES]),
            closed: false,
        };
        Self(watch::Sender::new(reached))
    }

    /// Wakes whoever waits for a position, or for one of the tables that were written. To be called when the commit is
    /// visible, in the order of positions.
    pub fn advance(&self, position: Position, tables: impl IntoIterator<Item = u8>) {
        self.0.send_modify(|reached| {
            reached.position = position;
            for table in tables {
                reached.tables[usize::from(table)] = position;
            }
        });
    }

    /// Ends all waiting.
    pub fn close(&self) {
        self.0.send_modify(|reached| reached.closed = true);
    }

    /// See [`crate::Backend::wait_past`].
    pub async fn wait_past(&self, seen: Position) -> Result<Position> {
        self.wait(seen, |reached| reached.position).await
    }

    /// See [`crate::Backend::wait_past_in`].
    pub async fn wait_past_in(&self, tables: &[u8], seen: Position) -> Result<Position> {
        let newest = |reached: &Reached| {
            let tables = tables
                .iter()
                .map(|table| reached.tables[usize::from(*table)]);
            tables.max().unwrap_or(Position::ZERO)
        };
        self.wait(seen, newest).await
    }

    async fn wait(
        &self,
        seen: Position,
        newest: impl Fn(&Reached) -> Position,
    ) -> Result<Position> {
        let mut watched = self.0.subscribe();
        let reached = watched
            .wait_for(|reached| reached.closed || newest(reached) > seen)
            .await
            .map_err(|_| Error::Closed)?;
        match newest(&reached) {
            position if position > seen => Ok(position),
            _ => Err(Error::Closed),
        }
    }
}
