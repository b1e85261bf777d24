//! Users' rows: devices, tokens, account data.

use std::collections::BTreeMap;

use super::{Check, Invariant};
use crate::Result;
use crate::accounts::devices::{DeviceRow, TokenHash};
use crate::tables as t;

impl Check<'_> {
    pub(super) async fn accounts(&mut self) -> Result<()> {
        self.devices().await?;
        self.access_tokens().await?;
        self.refresh_tokens().await?;
        self.account_data().await?;
        self.account_data_counts().await?;
        self.report_counts().await
    }

    async fn devices(&mut self) -> Result<()> {
        let mut range = t::DEVICES.prefix(&());
        while let Some(rows) = self.page(&t::DEVICES, &mut range).await? {
            for ((user, device), row) in rows {
                let known = self.row(&t::USERS, &user).await?.is_some();
                self.hold(known, Invariant::Accounts, || {
                    format!("device {device} of {user}, who is unknown")
                });
                for pair in [row.current, row.next].into_iter().flatten() {
                    let token = self.row(&t::ACCESS_TOKENS, &pair.access).await?;
                    let own =
                        token.is_some_and(|token| token.user == user && token.device == device);
                    self.hold(own, Invariant::Accounts, || {
                        format!(
                            "device {device} of {user}: its access token is missing or another's"
                        )
                    });
                }
            }
        }
        Ok(())
    }

    async fn access_tokens(&mut self) -> Result<()> {
        let mut range = t::ACCESS_TOKENS.prefix(&());
        while let Some(rows) = self.page(&t::ACCESS_TOKENS, &mut range).await? {
            for (token, row) in rows {
                let device = self
                    .row(&t::DEVICES, &(row.user.clone(), row.device.clone()))
                    .await?;
                let held = device.is_some_and(|device| holds(&device, |pair| pair.access == token));
                self.hold(held, Invariant::Accounts, || {
                    format!(
                        "an access token of {}, {}, which that device does not hold",
                        row.user, row.device
                    )
                });
            }
        }
        Ok(())
    }

    async fn refresh_tokens(&mut self) -> Result<()> {
        let mut range = t::REFRESH_TOKENS.prefix(&());
        while let Some(rows) = self.page(&t::REFRESH_TOKENS, &mut range).await? {
            for (token, row) in rows {
                let device = self
                    .row(&t::DEVICES, &(row.user.clone(), row.device.clone()))
                    .await?;
                let held = device.is_some_and(|device| {
                    holds(&device, |pair| pair.refresh == Some::<TokenHash>(token))
                });
                self.hold(held, Invariant::Accounts, || {
                    format!(
                        "a refresh token of {}, {}, which that device does not hold",
                        row.user, row.device
                    )
                });
            }
        }
        Ok(())
    }

    async fn account_data(&mut self) -> Result<()> {
        let mut range = t::ACCOUNT_DATA.prefix(&());
        while let Some(rows) = self.page(&t::ACCOUNT_DATA, &mut range).await? {
            for ((user, room, kind), row) in rows {
                let key = (user.clone(), row.position, (room, kind.clone()));
                let indexed = self.row(&t::ACCOUNT_DATA_AT, &key).await?.is_some();
                self.hold(indexed, Invariant::Accounts, || {
                    format!(
                        "account data {kind} of {user} is not in the index at {}",
                        row.position
                    )
                });
            }
        }
        let mut range = t::ACCOUNT_DATA_AT.prefix(&());
        while let Some(rows) = self.page(&t::ACCOUNT_DATA_AT, &mut range).await? {
            for ((user, position, (room, kind)), ()) in rows {
                let row = self
                    .row(&t::ACCOUNT_DATA, &(user.clone(), room, kind.clone()))
                    .await?;
                self.hold(
                    row.is_some_and(|row| row.position == position),
                    Invariant::Accounts,
                    || format!("no account data {kind} of {user} of position {position}"),
                );
            }
        }
        Ok(())
    }

    async fn account_data_counts(&mut self) -> Result<()> {
        // Rows of a user follow each other, so at most two users are held.
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut range = t::ACCOUNT_DATA.prefix(&());
        while let Some(rows) = self.page(&t::ACCOUNT_DATA, &mut range).await? {
            for ((user, _, _), _) in rows {
                if !counts.contains_key(&user) {
                    self.counted(std::mem::take(&mut counts)).await?;
                }
                *counts.entry(user).or_default() += 1;
            }
        }
        self.counted(counts).await
    }

    async fn report_counts(&mut self) -> Result<()> {
        // One number for each user who ever reported anything; reports are few.
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut range = t::REPORTS.prefix(&());
        while let Some(rows) = self.page(&t::REPORTS, &mut range).await? {
            for (_, row) in rows {
                *counts.entry(row.reporter).or_default() += 1;
            }
        }
        let mut range = t::REPORT_COUNTS.prefix(&());
        while let Some(rows) = self.page(&t::REPORT_COUNTS, &mut range).await? {
            for (user, said) in rows {
                let count = counts.remove(&user).unwrap_or(0);
                self.hold(said == count, Invariant::Accounts, || {
                    format!("{user} has made {count} reports, counted are {said}")
                });
            }
        }
        for (user, count) in counts {
            self.problem(
                Invariant::Accounts,
                format!("{user} has made {count} reports, which are not counted"),
            );
        }
        Ok(())
    }

    async fn counted(&mut self, counts: BTreeMap<String, i64>) -> Result<()> {
        for (user, count) in counts {
            let said = self.row(&t::ACCOUNT_DATA_COUNTS, &user).await?;
            self.hold(said == Some(count), Invariant::Accounts, || {
                format!("{user} has {count} rows of account data, counted are {said:?}")
            });
        }
        Ok(())
    }
}

fn holds(device: &DeviceRow, is_it: impl Fn(&crate::accounts::devices::TokenPair) -> bool) -> bool {
    [device.current, device.next].iter().flatten().any(is_it)
}
