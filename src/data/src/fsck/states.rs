//! The state structure: each row against the one it was made from, each trie node against its children, each
//! entry against its event.

use hearth_store::Error;

use super::{Check, Invariant};
use crate::state::{Audit, Change, Entry, Node, RoomItem, StateHash};
use crate::tables::{ROOM_HEADS, STATE_NODES};
use crate::{EventNo, Result, RoomNo, StateId};

impl Check<'_> {
    pub(super) async fn states(&mut self) -> Result<()> {
        let mut range = STATE_NODES.prefix(&());
        while let Some(rows) = self.page(&STATE_NODES, &mut range).await? {
            for (key, node) in rows {
                self.node(key, &node).await?;
            }
        }
        let mut range = ROOM_HEADS.prefix(&());
        while let Some(rows) = self.page(&ROOM_HEADS, &mut range).await? {
            for (room, head) in rows {
                self.whole_state(room, head.state).await?;
            }
        }
        Ok(())
    }

    async fn node(&mut self, key: RoomItem, node: &Node) -> Result<()> {
        let at = format!("room {}, node {}", key.room.0, key.number);
        let next = self.room_head(key.room).await?.map(|head| head.next_state);
        self.hold(
            next.is_some_and(|next| key.number < next),
            Invariant::StateNodes,
            || format!("{at}: the head's next number is {next:?}"),
        );
        let audit = self
            .states
            .view(key.room, self.snapshot)
            .audit(key.number, node)
            .await;
        match audit {
            Ok(Audit { faults, changes }) => {
                for fault in faults {
                    self.problem(Invariant::StateNodes, format!("{at}: {fault}"));
                }
                for change in changes {
                    self.change(key.room, &change, &at).await?;
                }
                Ok(())
            }
            Err(error @ Error::Corrupt { .. }) => {
                self.problem(Invariant::StateNodes, format!("{at}: {error}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn change(&mut self, room: RoomNo, change: &Change, at: &str) -> Result<()> {
        if let Some(event) = change.after {
            self.entry(room, change.hash, event, at).await?;
        }
        Ok(())
    }

    async fn entry(
        &mut self,
        room: RoomNo,
        hash: StateHash,
        event: EventNo,
        at: &str,
    ) -> Result<()> {
        let pdu = self.pdu(room, event).await?;
        let own = pdu
            .as_ref()
            .and_then(|pdu| pdu.state_key_pair())
            .map(|(kind, state_key)| self.states.key().hash(kind, state_key));
        self.hold(own == Some(hash), Invariant::StateEntry, || {
            format!(
                "{at}: event {} is missing or not of this type and state key",
                event.0
            )
        });
        Ok(())
    }

    /// The current state of a room, read as a whole and counted again.
    async fn whole_state(&mut self, room: RoomNo, state: StateId) -> Result<()> {
        let at = format!("room {}, state {}", room.0, state.0);
        let view = self.states.view(room, self.snapshot);
        let read = async {
            let entries = view.entries(state).await?;
            Ok((
                entries,
                view.len(state).await?,
                view.fingerprint(state).await?,
            ))
        };
        let read: Result<(Vec<Entry>, u64, u128)> = read.await;
        let (entries, len, fingerprint) = self.read(read, Invariant::StateNodes)?;
        let key = self.states.key();
        let sum = entries.iter().fold(0_u128, |sum, entry| {
            sum.wrapping_add(key.entry_print(entry.hash, entry.event))
        });
        self.hold(
            sum == fingerprint && entries.len() as u64 == len,
            Invariant::StateNodes,
            || {
                format!(
                    "{at}: {} entries that do not make its fingerprint or number {len}",
                    entries.len()
                )
            },
        );
        for entry in entries {
            self.entry(room, entry.hash, entry.event, &at).await?;
        }
        Ok(())
    }
}
