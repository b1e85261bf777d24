//! Who sent what, what was acknowledged, and whether the server still has it: exactly once, in order.
//!
//! Each sender writes numbered messages, 0, 1, 2, …, and goes on to the next number only when the last one was
//! acknowledged. So the judgement is simple: a sender's messages in her room are 0 to n, each once, in this order, with n at
//! least the last acknowledged, and those acknowledged have the event id that she was given.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    Result,
    client::{Direction, Page, User, text},
};

/// How many events a page of history is asked for.
const PAGE: usize = 200;
/// Paging ends in an error after as many pages.
const PAGES_MAX: usize = 100_000;

/// One message of a numbered sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose.
    pub sender: usize,
    /// Which, counted from 0.
    pub number: usize,
    /// Its event id.
    pub event_id: String,
}

impl Message {
    /// The text that a sender writes as her message number `number`.
    #[must_use]
    pub fn body(sender: usize, number: usize) -> String {
        format!("sender {sender} message {number}")
    }

    fn from_event(event: &Value) -> Option<Self> {
        let body = event.get("content")?.get("body")?.as_str()?;
        let (sender, number) = body.strip_prefix("sender ")?.split_once(" message ")?;
        let event_id = event.get("event_id")?.as_str()?.to_owned();
        Some(Self {
            sender: sender.parse().ok()?,
            number: number.parse().ok()?,
            event_id,
        })
    }
}

/// The messages among some events, in their order.
#[must_use]
pub fn messages(events: &[Value]) -> Vec<Message> {
    events.iter().filter_map(Message::from_event).collect()
}

/// What senders were told: per sender the event ids of her messages 0, 1, 2, …
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    acknowledged: HashMap<usize, Vec<String>>,
}

impl Ledger {
    /// The server answered message `number` with this event id.
    pub fn acknowledge(&mut self, sender: usize, number: usize, event_id: String) -> Result<()> {
        let mine = self.acknowledged.entry(sender).or_default();
        if mine.len() != number {
            return Err(format!("sender {sender} skipped from {} to {number}", mine.len()).into());
        }
        mine.push(event_id);
        Ok(())
    }

    /// How many messages were acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// Whether nothing was acknowledged yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges what is there of one room, oldest first, in which exactly `senders` write.
    pub fn judge(&self, found: &[Message], senders: &[usize]) -> Result<()> {
        let mut next: HashMap<usize, usize> = senders.iter().map(|sender| (*sender, 0)).collect();
        for message in found {
            let Message {
                sender,
                number,
                event_id,
            } = message;
            let wanted = next
                .get_mut(sender)
                .ok_or_else(|| format!("sender {sender} in a foreign room"))?;
            if number != wanted {
                let what = if number < wanted {
                    "doubled or out of order"
                } else {
                    "lost"
                };
                return Err(format!(
                    "sender {sender}: message {wanted} expected, {number} found: {what}"
                )
                .into());
            }
            let given = self
                .acknowledged
                .get(sender)
                .and_then(|mine| mine.get(*number));
            if given.is_some_and(|given| given != event_id) {
                return Err(format!(
                    "sender {sender}, message {number}: acknowledged as {given:?}, is {event_id}"
                )
                .into());
            }
            *wanted += 1;
        }
        for (sender, there) in next {
            let acknowledged = self.acknowledged.get(&sender).map_or(0, Vec::len);
            if there < acknowledged {
                return Err(format!(
                    "sender {sender}: {acknowledged} acknowledged, {there} there: lost"
                )
                .into());
            }
        }
        Ok(())
    }
}

/// The whole room, or what is newer than the event `known`, oldest first, paged back from its end.
pub async fn history(user: &User, room: &str, known: Option<&str>) -> Result<Vec<Value>> {
    let start = user
        .sync(
            None,
            0,
            &serde_json::json!({"room": {"rooms": [room], "timeline": {"limit": 1}}}),
        )
        .await?;
    let token = text(&start, "next_batch")?;
    back_from(user, room, token, known).await
}

/// The events before a token, oldest first, back to the beginning or to just behind the event `known`.
pub async fn back_from(
    user: &User,
    room: &str,
    mut token: String,
    known: Option<&str>,
) -> Result<Vec<Value>> {
    let mut newest_first = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = Page {
            from: Some(&token),
            direction: Direction::Back,
            limit: PAGE,
        };
        let mut answer = user.messages(room, page).await?;
        let chunk = answer
            .get_mut("chunk")
            .and_then(Value::as_array_mut)
            .map(std::mem::take)
            .unwrap_or_default();
        for event in chunk {
            if known.is_some() && event.get("event_id").and_then(Value::as_str) == known {
                newest_first.reverse();
                return Ok(newest_first);
            }
            newest_first.push(event);
        }
        match answer.get("end").and_then(Value::as_str) {
            Some(end) if end != token => token = end.to_owned(),
            _ if known.is_some() => {
                return Err(format!("{known:?} is not in the history of {room}").into());
            }
            _ => {
                newest_first.reverse();
                return Ok(newest_first);
            }
        }
    }
    Err(format!("paging back over {room} did not end").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(count: usize) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..count {
            ledger.acknowledge(1, number, format!("${number}")).unwrap();
        }
        ledger
    }

    fn found(numbers: &[usize]) -> Vec<Message> {
        let message = |number: &usize| Message {
            sender: 1,
            number: *number,
            event_id: format!("${number}"),
        };
        numbers.iter().map(message).collect()
    }

    fn verdict(numbers: &[usize]) -> std::result::Result<(), String> {
        ledger(3)
            .judge(&found(numbers), &[1])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn all_in_order_is_good_and_so_is_one_more_than_acknowledged() {
        assert_eq!(verdict(&[0, 1, 2]), Ok(()));
        assert_eq!(verdict(&[0, 1, 2, 3]), Ok(()));
    }

    #[test]
    fn lost_doubled_and_swapped_messages_are_found() {
        for (numbers, word) in [
            (&[0, 1][..], "lost"),
            (&[], "lost"),
            (&[0, 2][..], "lost"),
            (&[0, 1, 1, 2][..], "doubled"),
            (&[1, 0, 2][..], "expected"),
        ] {
            let told = verdict(numbers).unwrap_err();
            assert!(told.contains(word), "{numbers:?}: {told}");
        }
    }

    #[test]
    fn another_event_id_than_the_acknowledged_one_is_found() {
        let mut there = found(&[0, 1, 2]);
        there[1].event_id = "$other".to_owned();
        assert!(ledger(3).judge(&there, &[1]).is_err());
    }

    #[test]
    fn a_message_is_known_by_its_body() {
        let event =
            serde_json::json!({"event_id": "$a", "content": {"body": Message::body(3, 14)}});
        assert_eq!(
            messages(&[event, serde_json::json!({"event_id": "$b", "content": {}})]),
            [Message {
                sender: 3,
                number: 14,
                event_id: "$a".to_owned()
            }]
        );
    }
}
