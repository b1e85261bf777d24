//! A transaction: what goes to a server at once, within limits by construction.

use bytes::Bytes;
use hearth_types::UnixMs;
use ruma::ServerName;

/// Most PDUs of a transaction (server-server API, "Transactions").
pub(crate) const PDUS_MAX: usize = 50;
/// Most EDUs.
pub(crate) const EDUS_MAX: usize = 100;
/// Most bytes of EDUs. With 50 PDUs of 64 KiB a transaction stays below 6 MiB.
const EDU_BYTES_MAX: usize = 2 << 20;

/// A transaction that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pdus: Vec<Bytes>,
    edus: Vec<Bytes>,
    edu_bytes: usize,
}

impl Transaction {
    /// Adds an event in federation format; says whether there was room.
    pub(crate) fn add_pdu(&mut self, pdu: Bytes) -> bool {
        let fits = self.pdus.len() < PDUS_MAX;
        if fits {
            self.pdus.push(pdu);
        }
        fits
    }

    /// Adds an EDU; says whether there was room.
    pub(crate) fn add_edu(&mut self, edu: Bytes) -> bool {
        let fits = self.edus.len() < EDUS_MAX && self.edu_bytes + edu.len() <= EDU_BYTES_MAX;
        if fits {
            self.edu_bytes += edu.len();
            self.edus.push(edu);
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pdus.is_empty() && self.edus.is_empty()
    }

    /// PDUs and EDUs.
    pub(crate) fn len(&self) -> usize {
        self.pdus.len() + self.edus.len()
    }

    /// The body: the events' own bytes, spliced.
    pub(crate) fn body(&self, origin: &ServerName, now: UnixMs) -> Bytes {
        let size: usize = self
            .pdus
            .iter()
            .chain(&self.edus)
            .map(|item| item.len() + 1)
            .sum();
        let mut body = Vec::with_capacity(size + 256);
        // A server name has no character that JSON would escape.
        let head = format!(
            "{{\"origin\":\"{origin}\",\"origin_server_ts\":{},\"pdus\":[",
            now.0
        );
        body.extend_from_slice(head.as_bytes());
        join(&mut body, &self.pdus);
        body.extend_from_slice(b"],\"edus\":[");
        join(&mut body, &self.edus);
        body.extend_from_slice(b"]}");
        body.into()
    }
}

fn join(body: &mut Vec<u8>, items: &[Bytes]) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn s06_no_transaction_exceeds_the_limits(
            pdus in proptest::collection::vec(2_usize..70_000, 0..120),
            edus in proptest::collection::vec(2_usize..70_000, 0..250),
        ) {
            let item = |size: usize| Bytes::from(format!("\"{}\"", "x".repeat(size - 2)));
            let mut transaction = Transaction::default();
            let added = pdus.iter().take_while(|size| transaction.add_pdu(item(**size))).count();
            for size in &edus {
                transaction.add_edu(item(*size));
            }
            prop_assert_eq!(added, pdus.len().min(PDUS_MAX));
            let origin: &ServerName = "a.example:8448".try_into().unwrap();
            let body = transaction.body(origin, UnixMs(7));
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let (pdus_in, edus_in) = (read["pdus"].as_array().unwrap(), read["edus"].as_array().unwrap());
            prop_assert!(pdus_in.len() <= 50 && edus_in.len() <= 100);
            prop_assert_eq!(pdus_in.len() + edus_in.len(), transaction.len());
            let edu_bytes: usize = edus_in.iter().map(|edu| edu.to_string().len()).sum();
            prop_assert!(edu_bytes <= 2 << 20);
            prop_assert_eq!(read["origin"].as_str(), Some("a.example:8448"));
        }
    }
}
