//! Whether a service can be reached (application service API, "Pinging"), and questions for names that are not there
//! ("Querying").

use std::time::Duration;

use hearth_ports::OutError;
use hearth_types::ServiceCaller;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ruma::RoomAliasId;
use serde_json::json;

use crate::call::{Call, PREFIX};
use crate::{AppServices, Error, PingError};

/// Longest part of a service's answer that is shown, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

impl AppServices {
    /// Pings a service, and answers how long it took. Only itself may ask.
    pub async fn ping(
        &self,
        caller: &ServiceCaller,
        id: &str,
        transaction_id: Option<&str>,
    ) -> Result<Duration, PingError> {
        if &*caller.id != id {
            return Err(PingError::Foreign);
        }
        if self
            .0
            .registrations
            .get(id)
            .is_none_or(|service| service.url.is_none())
        {
            return Err(PingError::NoUrl);
        }
        let body = match transaction_id {
            Some(transaction_id) => json!({ "transaction_id": transaction_id }),
            None => json!({}),
        };
        let call = Call {
            method: Method::POST,
            path: "ping".to_owned(),
            is_versioned_only: true,
            body: Some(body.to_string().into()),
        };
        let begun = self.0.parts.clock.now();
        let answered = self.send(id, PREFIX, &call).await;
        let answered = answered.map_err(|error| match error {
            Error::Unreachable(OutError::Timeout) => PingError::TimedOut,
            Error::Unreachable(error) => PingError::Unreachable(error),
            error => PingError::Unreachable(OutError::Invalid(error.to_string())),
        })?;
        let status = answered.response.status();
        if !status.is_success() {
            let body = answered.bytes().await.unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]);
            return Err(PingError::Status {
                status: status.as_u16(),
                body: body.into_owned(),
            });
        }
        // It is there: what waits for it need not wait longer.
        self.wake(id);
        Ok(self.0.parts.clock.now().since(begun))
    }

    /// Asks the services that hold an alias for its room, which they may make then. Answers whether one says that it did.
    pub async fn query_alias(&self, alias: &RoomAliasId) -> bool {
        let path = utf8_percent_encode(alias.as_str(), NON_ALPHANUMERIC);
        let path = format!("rooms/{path}");
        for service in self.0.registrations.iter() {
            if service.url.is_none() || !service.is_alias(alias.as_str()) {
                continue;
            }
            let call = Call {
                method: Method::GET,
                path: path.clone(),
                is_versioned_only: false,
                body: None,
            };
            match self.call(&service.id, call).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(service = &*service.id, %error, "no room for an alias");
                }
            }
        }
        false
    }
}
