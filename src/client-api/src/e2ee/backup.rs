//! Key backup.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_e2ee::{BackupPlace, E2ee, NewBackup};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_types::Caller;
use ruma::api::client::backup as api;
use serde_json::json;

use super::{answer, api_error, done};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    E2ee: FromRef<S>,
{
    let router = Router::new();
    let router = route::<api::create_backup_version::v3::Request, _, _, _>(router, create);
    let router = route::<api::get_latest_backup_info::v3::Request, _, _, _>(router, latest);
    let router = route::<api::get_backup_info::v3::Request, _, _, _>(router, info);
    let router = route::<api::update_backup_version::v3::Request, _, _, _>(router, update);
    let router = route::<api::delete_backup_version::v3::Request, _, _, _>(router, delete);
    let router = route::<api::add_backup_keys::v3::Request, _, _, _>(router, put_all);
    let router = route::<api::add_backup_keys_for_room::v3::Request, _, _, _>(router, put_room);
    let router =
        route::<api::add_backup_keys_for_session::v3::Request, _, _, _>(router, put_session);
    let router = route::<api::get_backup_keys::v3::Request, _, _, _>(router, get_all);
    let router = route::<api::get_backup_keys_for_room::v3::Request, _, _, _>(router, get_room);
    let router =
        route::<api::get_backup_keys_for_session::v3::Request, _, _, _>(router, get_session);
    let router = route::<api::delete_backup_keys::v3::Request, _, _, _>(router, delete_all);
    let router =
        route::<api::delete_backup_keys_for_room::v3::Request, _, _, _>(router, delete_room);
    route::<api::delete_backup_keys_for_session::v3::Request, _, _, _>(router, delete_session)
}

/// POST /_matrix/client/v3/room_keys/version
async fn create(
    State(e2ee): State<E2ee>,
    request: Ruma<api::create_backup_version::v3::Request>,
) -> Result<RawJson, ApiError> {
    let new = NewBackup::parse(&request.json).map_err(api_error)?;
    let version = e2ee.backup_create(request.caller()?, &new).await;
    let version = version.map_err(api_error)?.to_string();
    Ok(answer(json!({ "version": version }).to_string()))
}

/// GET /_matrix/client/v3/room_keys/version
async fn latest(
    State(e2ee): State<E2ee>,
    request: Ruma<api::get_latest_backup_info::v3::Request>,
) -> Result<RawJson, ApiError> {
    let found = e2ee.backup(&request.caller()?.user, None).await;
    Ok(answer(found.map_err(api_error)?.to_json()))
}

/// GET /_matrix/client/v3/room_keys/version/{version}
async fn info(
    State(e2ee): State<E2ee>,
    request: Ruma<api::get_backup_info::v3::Request>,
) -> Result<RawJson, ApiError> {
    let version = Some(request.body.version.as_str());
    let found = e2ee.backup(&request.caller()?.user, version).await;
    Ok(answer(found.map_err(api_error)?.to_json()))
}

/// PUT /_matrix/client/v3/room_keys/version/{version}
async fn update(
    State(e2ee): State<E2ee>,
    request: Ruma<api::update_backup_version::v3::Request>,
) -> Result<RawJson, ApiError> {
    let version = &request.body.version;
    let updated = e2ee.backup_update(request.caller()?, version, &request.json);
    updated.await.map(|()| done()).map_err(api_error)
}

/// DELETE /_matrix/client/v3/room_keys/version/{version}
async fn delete(
    State(e2ee): State<E2ee>,
    request: Ruma<api::delete_backup_version::v3::Request>,
) -> Result<RawJson, ApiError> {
    let deleted = e2ee.backup_delete(request.caller()?, &request.body.version);
    deleted.await.map(|()| done()).map_err(api_error)
}

async fn put(
    e2ee: &E2ee,
    (caller, json): (&Caller, &[u8]),
    version: &str,
    place: BackupPlace,
) -> Result<RawJson, ApiError> {
    let state = e2ee.backup_keys_put(caller, version, &place, json).await;
    Ok(answer(state.map_err(api_error)?.to_json()))
}

async fn get(
    e2ee: &E2ee,
    caller: &Caller,
    version: &str,
    place: BackupPlace,
) -> Result<RawJson, ApiError> {
    let found = e2ee.backup_keys(&caller.user, version, &place).await;
    found.map(answer).map_err(api_error)
}

async fn remove(
    e2ee: &E2ee,
    caller: &Caller,
    version: &str,
    place: BackupPlace,
) -> Result<RawJson, ApiError> {
    let state = e2ee.backup_keys_delete(caller, version, &place).await;
    Ok(answer(state.map_err(api_error)?.to_json()))
}

/// PUT /_matrix/client/v3/room_keys/keys
async fn put_all(
    State(e2ee): State<E2ee>,
    request: Ruma<api::add_backup_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    let by = (request.caller()?, &*request.json);
    put(&e2ee, by, &request.body.version, BackupPlace::Everything).await
}

/// PUT /_matrix/client/v3/room_keys/keys/{roomId}
async fn put_room(
    State(e2ee): State<E2ee>,
    request: Ruma<api::add_backup_keys_for_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let by = (request.caller()?, &*request.json);
    let place = BackupPlace::Room(request.body.room_id.to_string());
    put(&e2ee, by, &request.body.version, place).await
}

/// PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
async fn put_session(
    State(e2ee): State<E2ee>,
    request: Ruma<api::add_backup_keys_for_session::v3::Request>,
) -> Result<RawJson, ApiError> {
    let by = (request.caller()?, &*request.json);
    let body = &request.body;
    let place = BackupPlace::Session(body.room_id.to_string(), body.session_id.clone());
    put(&e2ee, by, &body.version, place).await
}

/// GET /_matrix/client/v3/room_keys/keys
async fn get_all(
    State(e2ee): State<E2ee>,
    request: Ruma<api::get_backup_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    let version = &request.body.version;
    get(&e2ee, request.caller()?, version, BackupPlace::Everything).await
}

/// GET /_matrix/client/v3/room_keys/keys/{roomId}
async fn get_room(
    State(e2ee): State<E2ee>,
    request: Ruma<api::get_backup_keys_for_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let place = BackupPlace::Room(request.body.room_id.to_string());
    get(&e2ee, request.caller()?, &request.body.version, place).await
}

/// GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
async fn get_session(
    State(e2ee): State<E2ee>,
    request: Ruma<api::get_backup_keys_for_session::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let place = BackupPlace::Session(body.room_id.to_string(), body.session_id.clone());
    get(&e2ee, request.caller()?, &body.version, place).await
}

/// DELETE /_matrix/client/v3/room_keys/keys
async fn delete_all(
    State(e2ee): State<E2ee>,
    request: Ruma<api::delete_backup_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    let version = &request.body.version;
    remove(&e2ee, request.caller()?, version, BackupPlace::Everything).await
}

/// DELETE /_matrix/client/v3/room_keys/keys/{roomId}
async fn delete_room(
    State(e2ee): State<E2ee>,
    request: Ruma<api::delete_backup_keys_for_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let place = BackupPlace::Room(request.body.room_id.to_string());
    remove(&e2ee, request.caller()?, &request.body.version, place).await
}

/// DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
async fn delete_session(
    State(e2ee): State<E2ee>,
    request: Ruma<api::delete_backup_keys_for_session::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let place = BackupPlace::Session(body.room_id.to_string(), body.session_id.clone());
    remove(&e2ee, request.caller()?, &body.version, place).await
}
