//! Third-party identifiers: what is kept of them, and removing them.

use hearth_data::accounts::users::{threepid_list, threepid_owner};
use hearth_data::tables::{THREEPID_OWNERS, THREEPIDS};
use hearth_store::Batch;
use hearth_types::UnixMs;
use ruma::UserId;

use crate::{Accounts, Result};

/// How many third-party identifiers a user can have.
pub(crate) const THREEPIDS_MAX: usize = 50;

impl Accounts {
    /// A local user's third-party identifiers as (medium, address, validated at, added at).
    pub async fn threepid_list(
        &self,
        user: &UserId,
    ) -> Result<Vec<(String, String, UnixMs, UnixMs)>> {
        let snapshot = self.snapshot().await?;
        let rows = threepid_list(&*snapshot, user.as_str(), THREEPIDS_MAX).await?;
        Ok(rows
            .into_iter()
            .map(|(medium, address, row)| (medium, address, row.validated_at, row.added_at))
            .collect())
    }

    /// Removes a third-party identifier from a user's account. One that is not hers is passed over.
    pub async fn threepid_delete(&self, user: &UserId, medium: &str, address: &str) -> Result<()> {
        // Addresses are kept in lower case, which telephone numbers do not have.
        let address = &address.to_lowercase();
        self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            let rows = threepid_list(&*snapshot, user.as_str(), THREEPIDS_MAX).await?;
            let row = rows
                .into_iter()
                .find(|row| row.0 == medium && row.1 == *address);
            let Some((medium, address, row)) = row else {
                return Ok((batch, ()));
            };
            let key = (user.to_string(), medium.clone(), address.clone());
            THREEPIDS.expect(&mut batch, &key, Some(&row));
            THREEPIDS.delete(&mut batch, &key);
            let owner = threepid_owner(&*snapshot, &medium, &address).await?;
            if owner.as_deref() == Some(user.as_str()) {
                THREEPID_OWNERS.delete(&mut batch, &(medium, address));
            }
            Ok((batch, ()))
        })
        .await
    }
}
