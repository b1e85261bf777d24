//! Relations of an event that is being written: to what it relates, and what its redaction undoes.

use hearth_data::append::{EventRow, RelatesTo};
use hearth_data::relations::{self, Annotation, ThreadRow};
use hearth_data::{EventNo, Place};
use hearth_event::relations::{Relation, relation, relation_in};
use hearth_event::{Draft, Pdu, redact, redaction_applies};

use crate::stage::Stage;
use crate::{Error, Result};

/// Most events of a thread that are looked at to find the newest one left when the newest was redacted.
const THREAD_SCAN_MAX: usize = 200;

/// A relation to an event that is here, with what has to be written for it.
pub(crate) struct Relating {
    target: EventNo,
    rel_type: String,
    key: Option<String>,
    thread: Option<Option<ThreadRow>>,
}

impl Relating {
    pub(crate) fn row(&self) -> RelatesTo {
        RelatesTo {
            target: self.target,
            rel_type: self.rel_type.clone(),
            key: self.key.clone(),
            thread: self.thread.clone(),
        }
    }
}

/// A redaction that takes effect.
pub(crate) struct Redaction {
    place: Place,
    row: EventRow,
    target: Pdu,
    undone: Option<Undone>,
}

/// The relation that a redacted event has no more.
struct Undone {
    target: EventNo,
    annotation: Option<Annotation>,
    /// The thread before, and as it is without the event.
    thread: Option<(ThreadRow, Option<ThreadRow>)>,
}

/// The rules for relations that only hold for our own clients.
pub(crate) async fn check(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    let Some(relation) = relation_in(draft.content.get()) else {
        return Ok(());
    };
    let Some((_, row, target)) = stage.event(&relation.event_id).await? else {
        return Ok(());
    };
    if relation.rel_type == "m.thread" && hearth_event::relations::relation(&target).is_some() {
        return Err(Error::ThreadOnRelation);
    }
    let Some(annotation) = annotation(row.event, &relation, &draft.kind, draft.sender.as_str())
    else {
        return Ok(());
    };
    let is_staged = stage.annotations.contains(&annotation);
    let found = relations::annotation(stage.snapshot, stage.room(), &annotation).await?;
    if is_staged || found.is_some() && !stage.unannotated.contains(&annotation) {
        return Err(Error::DuplicateAnnotation);
    }
    Ok(())
}

fn annotation(
    target: EventNo,
    relation: &Relation,
    kind: &str,
    sender: &str,
) -> Option<Annotation> {
    let key = relation
        .key
        .as_ref()
        .filter(|_| relation.rel_type == "m.annotation")?;
    Some(Annotation {
        target,
        sender: sender.to_owned(),
        kind: kind.to_owned(),
        key: key.clone(),
    })
}

impl Stage<'_> {
    /// To which event of this room an event relates, and how.
    pub(crate) async fn relating(&mut self, pdu: &Pdu) -> Result<Option<Relating>> {
        let Some(relation) = relation(pdu) else {
            return Ok(None);
        };
        let Some((_, row, _)) = self.event(&relation.event_id).await? else {
            return Ok(None);
        };
        let thread = match relation.rel_type == "m.thread" {
            true => Some(self.thread(row.event).await?),
            false => None,
        };
        Ok(Some(Relating {
            target: row.event,
            rel_type: relation.rel_type,
            key: relation.key,
            thread,
        }))
    }

    async fn thread(&self, root: EventNo) -> Result<Option<ThreadRow>> {
        match self.threads.get(&root) {
            Some(thread) => Ok(thread.clone()),
            None => Ok(relations::thread(self.snapshot, self.room(), root).await?),
        }
    }

    /// Notes a relation for those that come later in the same commit; `append` has written its rows.
    pub(crate) fn stage_relating(
        &mut self,
        relating: Relating,
        pdu: &Pdu,
        number: EventNo,
        place: Place,
    ) {
        if let Some(before) = relating.thread {
            let thread = ThreadRow {
                latest: number,
                latest_place: place,
                count: before.map_or(0, |thread| thread.count) + 1,
            };
            self.threads.insert(relating.target, Some(thread));
        }
        if relating.rel_type == "m.annotation"
            && let Some(key) = relating.key
        {
            let annotation = Annotation {
                target: relating.target,
                sender: pdu.sender().to_string(),
                kind: pdu.kind().to_owned(),
                key,
            };
            let room = self.room();
            relations::put_annotation(self.ops(), room, &annotation, number);
            self.unannotated.remove(&annotation);
            self.annotations.insert(annotation);
        }
    }

    /// Takes the content of a redacted event away, and its relation.
    pub(crate) fn redact(&mut self, redaction: Redaction, by: EventNo) {
        let Redaction {
            place,
            row,
            target,
            undone,
        } = redaction;
        self.replace(place, &row, &redact(&target), by);
        let Some(undone) = undone else { return };
        let room = self.room();
        relations::remove(self.ops(), room, undone.target, place);
        if let Some(annotation) = undone.annotation {
            relations::remove_annotation(self.ops(), room, &annotation);
            self.annotations.remove(&annotation);
            self.unannotated.insert(annotation);
        }
        if let Some((before, after)) = undone.thread {
            relations::replace_thread(self.ops(), room, undone.target, &before, after.as_ref());
            self.threads.insert(undone.target, after);
        }
    }

    async fn undone(&mut self, place: Place, row: &EventRow, pdu: &Pdu) -> Result<Option<Undone>> {
        let Some(relation) = relation(pdu) else {
            return Ok(None);
        };
        let Some((_, target, _)) = self.event(&relation.event_id).await? else {
            return Ok(None);
        };
        let annotation = annotation(target.event, &relation, pdu.kind(), pdu.sender().as_str());
        let thread = match relation.rel_type == "m.thread" {
            true => self.thread(target.event).await?,
            false => None,
        };
        let thread = match thread {
            Some(before) => {
                let after = self
                    .thread_without(target.event, &before, place, row)
                    .await?;
                Some((before, after))
            }
            None => None,
        };
        Ok(Some(Undone {
            target: target.event,
            annotation,
            thread,
        }))
    }

    /// A thread without one of its events; `None` if nothing is left.
    async fn thread_without(
        &self,
        root: EventNo,
        before: &ThreadRow,
        place: Place,
        row: &EventRow,
    ) -> Result<Option<ThreadRow>> {
        let count = before.count.saturating_sub(1);
        if count == 0 {
            return Ok(None);
        }
        if before.latest != row.event {
            let thread = ThreadRow {
                count,
                ..before.clone()
            };
            return Ok(Some(thread));
        }
        let range = Place::MIN..place;
        let rows =
            relations::backward(self.snapshot, self.room(), root, range, THREAD_SCAN_MAX).await?;
        let newest = rows.into_iter().find(|(_, row)| row.rel_type == "m.thread");
        Ok(newest.map(|(place, row)| ThreadRow {
            latest: row.event,
            latest_place: place,
            count,
        }))
    }
}

/// What a redaction takes away: `None` if the event is none, or has no effect here.
pub(crate) async fn redaction(stage: &mut Stage<'_>, pdu: &Pdu) -> Result<Option<Redaction>> {
    let Some(redacts) = pdu.redacts().filter(|_| pdu.kind() == "m.room.redaction") else {
        return Ok(None);
    };
    let Some((place, row, target)) = stage.event(redacts).await? else {
        return Ok(None);
    };
    stage
        .load(&[("m.room.create", ""), ("m.room.power_levels", "")])
        .await?;
    let applies = stage
        .view
        .power()
        .is_some_and(|power| redaction_applies(pdu, &target, &power));
    if !applies || row.redacted_by.is_some() {
        return Ok(None);
    }
    let undone = stage.undone(place, &row, &target).await?;
    Ok(Some(Redaction {
        place,
        row,
        target,
        undone,
    }))
}
