//! The state that the extractor needs.

use std::sync::Arc;

use hearth_config::Config;
use hearth_ports::Authenticate;
use ruma::UserId;

use crate::ApiError;
use crate::rate_limit::{Class, Key, Limiter};

/// What stands before every endpoint: who is asking, and how much of it is too much. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    authenticate: Arc<dyn Authenticate>,
    json_body_bytes_max: usize,
    limiter: Limiter,
}

impl Gate {
    /// A gate without rate limits, with the given largest JSON body in bytes.
    pub fn new(authenticate: Arc<dyn Authenticate>, json_body_bytes_max: usize) -> Self {
        Self(Arc::new(Inner {
            authenticate,
            json_body_bytes_max,
            limiter: Limiter::default(),
        }))
    }

    /// A gate with the limits of the settings.
    pub fn with_limits(authenticate: Arc<dyn Authenticate>, config: &Config) -> Self {
        Self(Arc::new(Inner {
            authenticate,
            json_body_bytes_max: config.limits.body.as_usize(),
            limiter: Limiter::new(&config.rate_limits),
        }))
    }

    /// Counts an attempt to log in as `user`, whatever address it comes from: 429 when there are too many. The limit
    /// per address is applied by the extractor.
    pub fn count_login(&self, user: &UserId) -> Result<(), ApiError> {
        self.count(Class::Login, Key::User(user.to_owned()))
    }

    pub(crate) fn count(&self, class: Class, key: Key) -> Result<(), ApiError> {
        self.0
            .limiter
            .check(class, key)
            .map_err(ApiError::limit_exceeded)
    }

    pub(crate) fn authenticate(&self) -> &dyn Authenticate {
        self.0.authenticate.as_ref()
    }

    pub(crate) fn json_body_bytes_max(&self) -> usize {
        self.0.json_body_bytes_max
    }
}
