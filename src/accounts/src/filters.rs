//! Filters: kept under an id made of their content, so that the same filter is kept once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_data::accounts::filters::{self as data, FILTERS_MAX};
use hearth_data::row::Json;
use hearth_data::tables::FILTERS;
use hearth_store::Batch;
use ruma::UserId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{Accounts, Error, Result};

/// Largest filter, in bytes.
const FILTER_BYTES_MAX: usize = 64 << 10;

impl Accounts {
    /// A user's filter.
    pub async fn filter(&self, user: &UserId, filter_id: &str) -> Result<Option<Json>> {
        let snapshot = self.snapshot().await?;
        Ok(data::filter(&*snapshot, user.as_str(), filter_id).await?)
    }

    /// Keeps a filter and returns its id.
    pub async fn filter_put(&self, user: &UserId, filter: &Map<String, Value>) -> Result<String> {
        let text = serde_json::to_string(filter).map_err(|source| Error::Corrupt {
            what: "filter",
            source,
        })?;
        if text.len() > FILTER_BYTES_MAX {
            return Err(Error::TooMany {
                what: "bytes in a filter",
                max: FILTER_BYTES_MAX,
            });
        }
        // 96 bits of the hash: a user can only collide with herself.
        let filter_id = URL_SAFE_NO_PAD.encode(&Sha256::digest(text.as_bytes())[..12]);
        let (json, key) = (
            &Json::from_text(text),
            &(user.to_string(), filter_id.clone()),
        );
        self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            if data::filter(&*snapshot, &key.0, &key.1).await?.is_some() {
                return Ok((batch, ()));
            }
            if data::count(&*snapshot, &key.0).await? >= FILTERS_MAX {
                return Err(Error::TooMany {
                    what: "filters",
                    max: FILTERS_MAX,
                });
            }
            FILTERS.put(&mut batch, key, json);
            Ok((batch, ()))
        })
        .await?;
        Ok(filter_id)
    }
}
