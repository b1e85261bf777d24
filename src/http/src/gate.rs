//! The state that the extractor needs.

use std::sync::Arc;

use hearth_ports::Authenticate;

/// What stands before every endpoint: who is asking, and how much of it is too much. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    authenticate: Arc<dyn Authenticate>,
    json_body_bytes_max: usize,
}

impl Gate {
    /// A gate with the given largest JSON body, in bytes.
    pub fn new(authenticate: Arc<dyn Authenticate>, json_body_bytes_max: usize) -> Self {
        Self(Arc::new(Inner {
            authenticate,
            json_body_bytes_max,
        }))
    }

    pub(crate) fn authenticate(&self) -> &dyn Authenticate {
        self.0.authenticate.as_ref()
    }

    pub(crate) fn json_body_bytes_max(&self) -> usize {
        self.0.json_body_bytes_max
    }
}
