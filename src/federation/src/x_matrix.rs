//! How servers sign requests (server-server API, "Request Authentication").

use bytes::Bytes;
use hearth_event::canonical::{self, Object, Strictness, Value};
use hearth_event::verify_json;
use ruma::{OwnedServerName, ServerName};

use crate::OwnKeys;

/// The name of the scheme.
const SCHEME: &str = "X-Matrix";
/// Longest header that is read. Names and signatures have no more than a few hundred characters.
const HEADER_BYTES_MAX: usize = 4_096;

/// What an `Authorization` header of the scheme says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// The sending server.
    pub origin: OwnedServerName,
    /// The receiving server; older servers leave it out.
    pub destination: Option<String>,
    /// The id of the key: `ed25519:…`.
    pub key_id: String,
    /// The signature in base64.
    pub signature: String,
}

/// A request as it is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `GET`, `PUT`, …
    pub method: &'a str,
    /// The path with the query, percent-encoded as sent.
    pub uri: &'a str,
    /// The JSON body, if there is one.
    pub body: Option<&'a Bytes>,
}

impl XMatrix {
    /// Reads a header. Parameters may be quoted or not, stand in any order and have names in any case; unknown ones are
    /// ignored. `None` if it is of another scheme or malformed.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let (scheme, parameters) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let (mut origin, mut destination, mut key_id, mut signature) = (None, None, None, None);
        for (name, value) in parse_parameters(parameters)? {
            let slot = match name.to_ascii_lowercase().as_str() {
                "origin" => &mut origin,
                "destination" => &mut destination,
                "key" => &mut key_id,
                // The specification's list calls it `signature`, its example and all servers `sig`.
                "sig" | "signature" => &mut signature,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self {
            origin: OwnedServerName::try_from(origin?).ok()?,
            destination,
            key_id: key_id?,
            signature: signature?,
        })
    }

    /// Signs a request of this server to `destination`, the name before any delegation. `None` if the body is not a
    /// JSON object.
    pub fn sign(
        keys: &OwnKeys,
        destination: &ServerName,
        request: SignedRequest<'_>,
    ) -> Option<Self> {
        let origin = keys.server_name().to_owned();
        let mut object = signed_object(&origin, destination, request)?;
        keys.sign(&mut object);
        let key_id = keys.key().key_id().to_owned();
        let signature = object
            .get("signatures")?
            .as_object()?
            .get(origin.as_str())?
            .as_object()?
            .get(&key_id)?
            .as_str()?
            .to_owned();
        Some(Self {
            origin,
            destination: Some(destination.to_string()),
            key_id,
            signature,
        })
    }

    /// The header's value, in the form that older servers understand too.
    pub fn to_header(&self) -> String {
        let destination = match &self.destination {
            Some(destination) => format!("destination=\"{destination}\","),
            None => String::new(),
        };
        format!(
            "{SCHEME} origin=\"{}\",{destination}key=\"{}\",sig=\"{}\"",
            self.origin, self.key_id, self.signature
        )
    }

    /// Whether the request was meant for this server: it says so, or does not say for whom.
    pub fn is_for(&self, server: &ServerName) -> bool {
        let destination = self.destination.as_deref();
        destination.is_none_or(|destination| destination == server.as_str())
    }

    /// Whether the signature is that of the request to `destination`, by this key.
    pub fn verifies(
        &self,
        destination: &ServerName,
        request: SignedRequest<'_>,
        public_key: &[u8; 32],
    ) -> bool {
        let Some(mut object) = signed_object(&self.origin, destination, request) else {
            return false;
        };
        let by_key = Object::from([(self.key_id.clone(), Value::String(self.signature.clone()))]);
        let signatures = Object::from([(self.origin.to_string(), Value::Object(by_key))]);
        object.insert("signatures".to_owned(), Value::Object(signatures));
        verify_json(&object, self.origin.as_str(), &self.key_id, public_key).is_ok()
    }
}

/// The object of which the signature is made.
fn signed_object(
    origin: &ServerName,
    destination: &ServerName,
    request: SignedRequest<'_>,
) -> Option<Object> {
    let text = |text: &str| Value::String(text.to_owned());
    let mut object = Object::from([
        ("destination".to_owned(), text(destination.as_str())),
        ("method".to_owned(), text(request.method)),
        ("origin".to_owned(), text(origin.as_str())),
        ("uri".to_owned(), text(request.uri)),
    ]);
    if let Some(body) = request.body {
        // Lenient, because transactions carry events of old room versions with numbers of any kind.
        let content = canonical::parse_object(body, Strictness::Lenient).ok()?;
        object.insert("content".to_owned(), Value::Object(content));
    }
    Some(object)
}

/// `name=value` pairs between commas (RFC 9110, section 11.2), with colons and slashes also in unquoted values.
fn parse_parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        // Empty list elements are allowed.
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
            continue;
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = parse_value(after.trim_start())?;
        parameters.push((name.to_owned(), value));
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    Some(parameters)
}

/// A value and what follows it.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|character: char| character == ',' || character.is_ascii_whitespace())
            .unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let is_plain = !value.is_empty() && !value.contains(['"', '\\']);
        return is_plain.then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_event::SigningKey;
    use hearth_types::{ManualClock, UnixMs};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> OwnedServerName {
        text.try_into().unwrap()
    }

    fn keys() -> OwnKeys {
        let key = SigningKey::generate([7; 32], "one").unwrap();
        let clock = Arc::new(ManualClock::at(UnixMs(0)));
        OwnKeys::new(name("a.example:8448"), key, Vec::new(), clock)
    }

    #[test]
    fn headers_are_read_in_every_allowed_form() {
        let expected = XMatrix {
            origin: name("a.example:80"),
            destination: Some("b.example".to_owned()),
            key_id: "ed25519:k1".to_owned(),
            signature: "abc/+=".to_owned(),
        };
        for header in [
            r#"X-Matrix origin="a.example:80",destination="b.example",key="ed25519:k1",sig="abc/+=""#,
            r#"x-matrix origin=a.example:80,destination=b.example,key=ed25519:k1,sig=abc/+="#,
            "X-Matrix   SIG=\"abc/+=\" \t,\tKey=ed25519:k1 , Destination=b.example,ORIGIN=\"a.example:80\"",
            r#"X-Matrix origin="a\.example:80",destination="b.example",key="ed25519:k1",sig="abc/+=",extra="x,\"y""#,
            r#"X-Matrix origin="a.example:80",,destination="b.example",key="ed25519:k1",signature="abc/+=","#,
        ] {
            assert_eq!(XMatrix::parse(header).as_ref(), Some(&expected), "{header}");
        }
    }

    #[test]
    fn headers_that_say_too_little_or_two_things_are_refused() {
        for header in [
            "",
            "X-Matrix",
            "Bearer abc",
            "X-Matrix origin=a.example,key=ed25519:1",
            "X-Matrix origin=\"a.example\" key=\"ed25519:1\",sig=\"x\"",
            "X-Matrix origin=a.example,origin=b.example,key=ed25519:1,sig=x",
            "X-Matrix origin=\"a.example,key=ed25519:1,sig=x",
            "X-Matrix origin=\"a/b\",key=ed25519:1,sig=x",
            "X-Matrix origin=a.example,key=,sig=x",
        ] {
            assert_eq!(XMatrix::parse(header), None, "{header}");
        }
        let long = format!("X-Matrix origin=a.example,key=k,sig={}", "x".repeat(5_000));
        assert_eq!(XMatrix::parse(&long), None);
    }

    #[test]
    fn a_signature_is_good_for_its_request_only() {
        let keys = keys();
        let public = keys.key().public_key_bytes();
        let (to, other) = (name("b.example"), name("c.example"));
        let body = Bytes::from_static(br#"{"b":1,"a":[1.5,true]}"#);
        let same = Bytes::from_static(b"{ \"a\" : [1.5,true], \"b\":1 }");
        let changed = Bytes::from_static(br#"{"b":2,"a":[1.5,true]}"#);
        let request = |method, uri, body| SignedRequest { method, uri, body };
        let put = request("PUT", "/_matrix/x?y=%20", Some(&body));
        let header = XMatrix::sign(&keys, &to, put).unwrap().to_header();
        let read = XMatrix::parse(&header).unwrap();
        assert!(read.is_for(&to) && !read.is_for(&other));
        assert!(read.verifies(&to, put, &public));
        assert!(read.verifies(
            &to,
            request("PUT", "/_matrix/x?y=%20", Some(&same)),
            &public
        ));
        for (to, request) in [
            (&other, put),
            (&to, request("POST", "/_matrix/x?y=%20", Some(&body))),
            (&to, request("PUT", "/_matrix/x?y= ", Some(&body))),
            (&to, request("PUT", "/_matrix/x?y=%20", Some(&changed))),
            (&to, request("PUT", "/_matrix/x?y=%20", None)),
        ] {
            assert!(!read.verifies(to, request, &public), "{request:?}");
        }
        assert!(!read.verifies(&to, put, &[1; 32]));
        let foreign = XMatrix {
            origin: other.clone(),
            ..read
        };
        assert!(!foreign.verifies(&to, put, &public));
    }

    proptest! {
        #[test]
        fn s05_no_header_makes_the_parser_panic(text in "(X-Matrix )?[ -~\\PC]{0,80}") {
            let _ = XMatrix::parse(&text);
        }
    }
}
