//! Devices.

use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use hearth_accounts::{Accounts, Device};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use http::StatusCode;
use ruma::api::client::device::{
    delete_device, delete_devices, get_device, get_devices, update_device,
};
use serde_json::{Map, Value, json};

use super::error::accounts_error;
use super::uia::authenticated_unless_service;
use super::{answer, done};
use crate::unparsed::Unparsed;

/// How many devices are deleted by one request.
const DEVICES_DELETED_MAX: usize = 1_000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_devices::v3::Request, _, _, _>(router, devices);
    let router = route::<get_device::v3::Request, _, _, _>(router, device);
    let router = route::<update_device::v3::Request, _, _, _>(router, update);
    let router = route::<delete_device::v3::Request, _, _, _>(router, delete);
    route::<delete_devices::v3::Request, _, _, _>(router, delete_several)
}

/// GET /_matrix/client/v3/devices
async fn devices(
    State(accounts): State<Accounts>,
    request: Ruma<get_devices::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let devices = accounts
        .device_list(&caller.user)
        .await
        .map_err(accounts_error)?;
    let devices: Vec<Map<String, Value>> = devices.iter().map(shown).collect();
    answer(&json!({ "devices": devices }))
}

/// GET /_matrix/client/v3/devices/{deviceId}
async fn device(
    State(accounts): State<Accounts>,
    request: Ruma<get_device::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let found = accounts.device(&caller.user, &request.body.device_id).await;
    let found = found.map_err(accounts_error)?;
    answer(&shown(
        &found.ok_or_else(|| ApiError::not_found("Unknown device"))?,
    ))
}

fn shown(device: &Device) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("device_id".to_owned(), json!(device.device_id));
    if let Some(name) = &device.display_name {
        body.insert("display_name".to_owned(), json!(name));
    }
    if let Some(last_seen) = device.last_seen {
        body.insert("last_seen_ts".to_owned(), json!(last_seen.0));
    }
    body
}

/// PUT /_matrix/client/v3/devices/{deviceId}
///
/// Without a name nothing is changed, but the device has to be there. An application service makes one that is not.
async fn update(
    State(accounts): State<Accounts>,
    request: Ruma<update_device::v3::Request>,
) -> Result<Response, ApiError> {
    let caller = request.caller()?;
    let (user, device) = (&caller.user, &request.body.device_id);
    if caller.service.is_some() {
        let made = accounts
            .device_create(user, device, request.body.display_name.as_deref())
            .await
            .map_err(accounts_error)?;
        if made {
            return Ok((StatusCode::CREATED, done()).into_response());
        }
    }
    match &request.body.display_name {
        Some(name) => accounts
            .device_rename(user, device, name)
            .await
            .map_err(accounts_error)?,
        None => {
            let found = accounts
                .device(user, device)
                .await
                .map_err(accounts_error)?;
            found.ok_or_else(|| ApiError::not_found("Unknown device"))?;
        }
    }
    Ok(done().into_response())
}

/// DELETE /_matrix/client/v3/devices/{deviceId}
async fn delete(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<delete_device::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let passed = authenticated_unless_service((&gate, &accounts), &request).await?;
    accounts
        .device_delete(&caller.user, &[passed.request.device_id])
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/delete_devices
async fn delete_several(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<delete_devices::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let passed = authenticated_unless_service((&gate, &accounts), &request).await?;
    if passed.request.devices.len() > DEVICES_DELETED_MAX {
        return Err(ApiError::invalid_param("Too many devices at once"));
    }
    accounts
        .device_delete(&caller.user, &passed.request.devices)
        .await
        .map_err(accounts_error)?;
    Ok(done())
}
