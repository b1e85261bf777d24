//! Changes of local users' device lists, for those who tell other servers.

use crate::{BoxError, BoxFuture};

/// Where a change stands in the log: a commit and an index in it.
pub type LogPlace = (u64, u32);

/// The log of changes of local users' devices and cross-signing keys. Asked by `federation`, answered by `e2ee`.
pub trait DeviceListLog: Send + Sync {
    /// The place of the newest change.
    fn newest(&self) -> BoxFuture<'_, Result<LogPlace, BoxError>>;

    /// The changes after a place, oldest first, at most `limit`.
    fn after(
        &self,
        place: LogPlace,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeviceListNews>, BoxError>>;
}

/// A change of a device list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceListNews {
    /// Where it stands.
    pub at: LogPlace,
    /// Whose list.
    pub user: String,
    /// What other servers are told: a JSON object of `edu_type` and `content`.
    pub edu: String,
}

/// For a server without encryption.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDeviceLists;

impl DeviceListLog for NoDeviceLists {
    fn newest(&self) -> BoxFuture<'_, Result<LogPlace, BoxError>> {
        Box::pin(async { Ok((0, 0)) })
    }

    fn after(&self, _: LogPlace, _: usize) -> BoxFuture<'_, Result<Vec<DeviceListNews>, BoxError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
