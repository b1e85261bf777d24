//! What a JSON body has to be before anyone looks at its fields.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::ApiError;

/// How deep objects and arrays of a request body may be nested. Lower than the 128 at which `serde_json` gives up, so
/// that whatever is accepted can be read again inside an event, inside a transaction.
pub const JSON_DEPTH_MAX: usize = 100;

/// Refuses a body that is not JSON, not an object, or nested too deep. An empty body passes: it stands for `{}`.
///
/// Parts of a body are kept and handed on as raw text, whose inside no later parser sees before it is stored. So
/// everything is read once here: depth, escapes (no lone surrogates) and numbers.
pub(crate) fn check(body: &[u8]) -> Result<(), ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::not_json("body is not UTF-8"))?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let checked = Within(JSON_DEPTH_MAX)
        .deserialize(&mut parser)
        .and_then(|()| parser.end());
    match checked {
        Err(error) if error.is_data() => Err(ApiError::bad_json(error.to_string())),
        Err(error) => Err(ApiError::not_json(error.to_string())),
        Ok(()) if !text.trim_start().starts_with('{') => {
            Err(ApiError::bad_json("body is not a JSON object"))
        }
        Ok(()) => Ok(()),
    }
}

/// Reads a value and forgets it; containers may be nested this many levels from here.
#[derive(Clone, Copy)]
struct Within(usize);

impl Within {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self)
            .ok_or_else(|| E::custom(format!("nested deeper than {JSON_DEPTH_MAX} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while entries.next_key_seed(Within(0))?.is_some() {
            entries.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errcode(body: &[u8]) -> String {
        check(body).map_or_else(|error| error.errcode().to_owned(), |()| "ok".to_owned())
    }

    fn nested(depth: usize) -> Vec<u8> {
        format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
    }

    #[test]
    fn objects_pass_and_an_empty_body_stands_for_one() {
        for body in [
            "",
            " \n",
            "{}",
            r#" {"a":[1,-2,3.5,null,true,"\ud83d\ude00"],"b":{"":{}}} "#,
        ] {
            assert_eq!(errcode(body.as_bytes()), "ok", "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_no_object() {
        let not_json: [&[u8]; 7] = [
            b"{",
            b"{\"a\":}",
            b"{} {}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"nul",
            b"{\"a\":1e999}",
        ];
        for body in not_json {
            assert_eq!(errcode(body), "M_NOT_JSON", "{body:?}");
        }
        for body in ["[]", "1", "\"a\"", "null"] {
            assert_eq!(errcode(body.as_bytes()), "M_BAD_JSON", "{body}");
        }
    }

    #[test]
    fn s05_deep_nesting_is_refused_at_the_limit_and_far_beyond_it() {
        assert_eq!(errcode(&nested(JSON_DEPTH_MAX - 1)), "ok");
        assert_eq!(errcode(&nested(JSON_DEPTH_MAX)), "M_BAD_JSON");
        assert_eq!(errcode(&nested(10_000)), "M_BAD_JSON");
        assert_eq!(errcode("[".repeat(1_000_000).as_bytes()), "M_BAD_JSON");
    }
}
