//! The row of an event and its bytes.

use bytes::Bytes;
use hearth_store::{Value, ValueError};

use crate::EventNo;
use crate::state::{Reader, put_varint};

/// The first byte of a row.
const VERSION: u8 = 1;

/// An event's auth events and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthLinks {
    pub(super) generation: u64,
    // Rising, each once.
    pub(super) auth: Vec<EventNo>,
}

impl AuthLinks {
    /// Zero without auth events, else one more than the greatest of theirs: greater than that of every event in the
    /// auth chain.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The auth events in rising order of their numbers.
    pub fn auth_events(&self) -> &[EventNo] {
        &self.auth
    }
}

impl Value for AuthLinks {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(self.generation, &mut out);
        let mut last = 0;
        for event in &self.auth {
            put_varint(event.0.saturating_sub(last), &mut out);
            last = event.0;
        }
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            version => return Err(ValueError(format!("auth links of version {version}"))),
        }
        let generation = reader.varint()?;
        let mut auth: Vec<EventNo> = Vec::new();
        while reader.end().is_err() {
            let step = reader.varint()?;
            let event = match auth.last() {
                Some(last) if step > 0 => last.0.checked_add(step),
                Some(_) => None,
                None => Some(step),
            };
            auth.push(EventNo(event.ok_or_else(|| {
                ValueError("auth events are not in order".to_owned())
            })?));
        }
        if (generation == 0) != auth.is_empty() {
            return Err(ValueError(format!(
                "generation {generation} with {} auth events",
                auth.len()
            )));
        }
        Ok(Self { generation, auth })
    }
}
