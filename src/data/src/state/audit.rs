//! Whether a row is what it should be, for `fsck`.

use super::hash::StateHash;
use super::node::{Change, Inner, Node, Rest};
use super::view::{LoadedState, StateView};
use crate::Result;

/// What is wrong with a row, and what it sets.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// In words; empty if all is well.
    pub(crate) faults: Vec<String>,
    /// The changes that have to be checked against their events.
    pub(crate) changes: Vec<Change>,
}

impl StateView<'_> {
    /// Checks a row against those that it points to. If all rows of a room pass, all states are whole: each is
    /// what its parent is, with its changes, or was counted again in full.
    pub(crate) async fn audit(&self, number: u64, node: &Node) -> Result<Audit> {
        match node {
            Node::State(_) => self.audit_state(number).await,
            Node::Inner(inner) => self.audit_inner(number, inner).await,
            Node::Leaf(_) => Ok(Audit::default()),
        }
    }

    async fn audit_state(&self, number: u64) -> Result<Audit> {
        let row = self.as_state(number, self.load(number).await?)?;
        let parent = match row.parent() {
            Some(parent) if parent.0 > 0 => match self.load_if_present(parent.0).await? {
                Some(node) => Some(Some(self.as_state(parent.0, node)?)),
                // Swept; allowed where the row does not need it.
                None if matches!(row.state().rest, Rest::Plain { .. }) => {
                    return Err(self.corrupt(number, "its parent is missing"));
                }
                None => None,
            },
            Some(_) => Some(None),
            None => None,
        };
        match parent {
            Some(parent) => self.against_parent(&row, parent.as_ref()).await,
            None => self.counted_again(&row).await,
        }
    }

    async fn against_parent(
        &self,
        row: &LoadedState,
        parent: Option<&LoadedState>,
    ) -> Result<Audit> {
        let (len, fingerprint) = parent.map_or((0, 0), |parent| {
            (parent.state().len, parent.state().fingerprint)
        });
        let mut audit = Audit {
            faults: Vec::new(),
            changes: row.state().changes.clone(),
        };
        if super::writer::len_after(len, &audit.changes) != row.state().len {
            audit.faults.push(format!(
                "its length {} is not its parent's with its changes",
                row.state().len
            ));
        }
        if super::writer::print_after(self.states.key(), fingerprint, &audit.changes)
            != row.state().fingerprint
        {
            audit
                .faults
                .push("its fingerprint is not its parent's with its changes".to_owned());
        }
        let from = parent.map_or(crate::StateId::EMPTY, |parent| {
            crate::StateId(parent.number)
        });
        if self.diff_by_trie(from, crate::StateId(row.number)).await? != audit.changes {
            audit
                .faults
                .push("its entries are not its parent's with its changes".to_owned());
        }
        Ok(audit)
    }

    async fn counted_again(&self, row: &LoadedState) -> Result<Audit> {
        let entries = self.entries(crate::StateId(row.number)).await?;
        let changes: Vec<Change> = entries
            .iter()
            .map(|entry| Change {
                hash: entry.hash,
                before: None,
                after: Some(entry.event),
            })
            .collect();
        let mut faults = Vec::new();
        if entries.len() as u64 != row.state().len {
            faults.push(format!(
                "it has {} entries, not {}",
                entries.len(),
                row.state().len
            ));
        }
        if super::writer::print_after(self.states.key(), 0, &changes) != row.state().fingerprint {
            faults.push("its fingerprint is not that of its entries".to_owned());
        }
        Ok(Audit { faults, changes })
    }

    async fn audit_inner(&self, number: u64, inner: &Inner) -> Result<Audit> {
        let children: Vec<(u8, u64)> = inner.child_numbers(number).collect();
        let numbers: Vec<u64> = children.iter().map(|(_, child)| *child).collect();
        let mut audit = Audit::default();
        for ((nibble, child), node) in children.iter().zip(self.load_many(&numbers).await?) {
            let fits = |hash: StateHash| {
                hash.head(inner.at) == inner.prefix && hash.nibble(inner.at) == *nibble
            };
            let well = match node.as_ref() {
                Node::Leaf(entries) => entries.iter().all(|entry| fits(entry.hash)),
                Node::Inner(below) => below.at > inner.at && fits(below.prefix),
                Node::State(_) => false,
            };
            if !well {
                audit
                    .faults
                    .push(format!("its child {child} is not of its prefix"));
            }
        }
        Ok(audit)
    }
}
