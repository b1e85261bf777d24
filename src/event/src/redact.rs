//! The redaction algorithm of each room version.

use crate::canonical::Object;
use crate::{Pdu, PowerLevels, RoomVersion};

/// The event without what redaction takes away. Its event id stays the same; redacting twice changes nothing more.
#[expect(unused_variables, reason = "skeleton")]
pub fn redact(pdu: &Pdu) -> Pdu {
    unimplemented!()
}

/// Redacts an event in federation format.
#[expect(unused_variables, reason = "skeleton")]
pub fn redact_json(version: RoomVersion, event: &mut Object) {
    unimplemented!()
}

/// Whether an accepted redaction takes effect on its target, given the power levels at the redaction
/// ("Handling redactions"; from room version 3 on, before that it is an auth rule).
#[expect(unused_variables, reason = "skeleton")]
pub fn redaction_applies(redaction: &Pdu, target: &Pdu, power: &PowerLevels) -> bool {
    unimplemented!()
}
