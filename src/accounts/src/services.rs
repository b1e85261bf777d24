//! Application services: who they act as, and the users that they make (application service API, "Identity assertion"
//! and "Server admin style permissions").

use std::sync::Arc;

use hearth_data::accounts::devices::{DeviceRow, device_row};
use hearth_data::accounts::users::user;
use hearth_data::tables::DEVICES;
use hearth_ports::{Acting, AuthFailure};
use hearth_store::Batch;
use hearth_types::{Caller, ServiceCaller};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::authenticate::internal;
use crate::sessions::DEVICE_BYTES_MAX;
use crate::{
    Accounts, Error, Identifier, NewDevice, NewUser, Registered, RegistrationKind, Result, Session,
    sessions,
};

const NOT_IN_NAMESPACE: AuthFailure =
    AuthFailure::NotInNamespace("The application service cannot act as this user");
const NOT_REGISTERED: AuthFailure =
    AuthFailure::NotInNamespace("The application service has not registered this user");

impl Accounts {
    /// The caller in whose name an application service asks.
    pub(crate) async fn service_caller(
        &self,
        token: &str,
        acting: Acting<'_>,
    ) -> Result<Caller, AuthFailure> {
        let namespaces = &self.inner.namespaces;
        let service = namespaces
            .service_of_token(token)
            .ok_or(AuthFailure::Unknown { soft_logout: false })?;
        let user_id = match acting.user_id {
            Some(user_id) => UserId::parse(user_id).map_err(|_| NOT_IN_NAMESPACE)?,
            None => service.sender,
        };
        if !self.is_local(&user_id) || !namespaces.may_be(&service.caller.id, &user_id) {
            return Err(NOT_IN_NAMESPACE);
        }
        let snapshot = self.snapshot().await.map_err(internal)?;
        let found = user(&*snapshot, user_id.as_str()).await.map_err(internal)?;
        let row = found.filter(|row| !row.deactivated).ok_or(NOT_REGISTERED)?;
        let device = match acting.device_id {
            Some(device) => {
                let found = device_row(&*snapshot, user_id.as_str(), device).await;
                found.map_err(internal)?.ok_or(AuthFailure::UnknownDevice)?;
                Some(OwnedDeviceId::from(device))
            }
            None => None,
        };
        let caller = Caller {
            device,
            service: Some(service.caller),
            ..sessions::caller(user_id, OwnedDeviceId::from(""), &row)
        };
        match row.locked {
            true => Err(AuthFailure::Locked {
                caller: Box::new(caller),
            }),
            false => Ok(caller),
        }
    }

    /// Registers a user of an application service, also where registration is closed, and begins a session if a device is
    /// given. A name outside of its namespaces is [`Error::Exclusive`].
    pub async fn register_by_service(
        &self,
        service: &ServiceCaller,
        username: Option<String>,
        device: Option<&NewDevice>,
    ) -> Result<Registered> {
        let username = username.ok_or(Error::IncompleteAuth("username"))?;
        self.register(of_service(service.id.clone(), username), device)
            .await
    }

    /// Begins a session of a user of an application service.
    pub(crate) async fn login_by_service(
        &self,
        service: &ServiceCaller,
        identifier: &Identifier,
        device: &NewDevice,
    ) -> Result<Session> {
        let user_id = self.identify(identifier).await?;
        let user_id = user_id.ok_or(Error::BadCredentials)?;
        if !self.inner.namespaces.may_be(&service.id, &user_id) {
            return Err(Error::Exclusive);
        }
        let user_id = &user_id;
        self.decide(|snapshot| async move {
            let row = user(&*snapshot, user_id.as_str()).await?;
            let row = row.ok_or(Error::BadCredentials)?;
            let mut batch = Batch::new();
            let owner = (&**user_id, &row);
            let session = self.mint(&*snapshot, &mut batch, owner, device).await?;
            Ok((batch, session))
        })
        .await
    }

    /// Makes the user that an application service is when it does not say, unless she is there.
    pub async fn ensure_service_user(&self, service: &str, user_id: &UserId) -> Result<()> {
        let new = of_service(service.into(), user_id.localpart().to_owned());
        match self.register(new, None).await {
            Ok(_) | Err(Error::UserInUse) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a device without a token, for an application service. Answers whether it is new.
    pub async fn device_create(
        &self,
        user: &UserId,
        device: &DeviceId,
        name: Option<&str>,
    ) -> Result<bool> {
        let name_length = name.map_or(0, str::len);
        if device.as_str().is_empty() || device.as_str().len().max(name_length) > DEVICE_BYTES_MAX {
            return Err(Error::InvalidDevice {
                max: DEVICE_BYTES_MAX,
            });
        }
        self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            if device_row(&*snapshot, user.as_str(), device.as_str())
                .await?
                .is_some()
            {
                return Ok((batch, false));
            }
            let key = (user.to_string(), device.to_string());
            DEVICES.expect(&mut batch, &key, None);
            let row = DeviceRow {
                display_name: name.map(str::to_owned),
                created: self.inner.clock.now(),
                current: None,
                next: None,
            };
            DEVICES.put(&mut batch, &key, &row);
            Ok((batch, true))
        })
        .await
    }

    /// Whether a user id may be registered: by this service, or by nobody's.
    pub(crate) fn check_reserved(
        &self,
        user_id: OwnedUserId,
        service: Option<&str>,
    ) -> Result<OwnedUserId> {
        let namespaces = &self.inner.namespaces;
        let is_outside = service.is_some_and(|service| !namespaces.may_be(service, &user_id));
        if is_outside || namespaces.is_user_reserved(&user_id, service) {
            return Err(Error::Exclusive);
        }
        Ok(user_id)
    }
}

/// A user to be who belongs to an application service.
fn of_service(service: Arc<str>, username: String) -> NewUser {
    NewUser {
        username: Some(username),
        kind: RegistrationKind::ByService,
        service: Some(service),
        ..NewUser::default()
    }
}
