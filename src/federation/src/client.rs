//! Asks other servers: finds them, signs, sends, and reads what comes back.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hearth_ports::{HttpOut, OutBody, OutError, OutOptions, OutRequest, full_body, no_body};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use ruma::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::resolver::AGENT;
use crate::{Error, OwnKeys, Policy, Resolver, Result, Sender, SignedRequest, Target, XMatrix};

/// Largest answer that is read where the asker does not say, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long an answer may take where the asker does not say.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Longest part of another server's error message that is kept.
const MESSAGE_CHARS_MAX: usize = 200;

/// A question to a server.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET, PUT or POST.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub uri: String,
    /// A JSON object.
    pub body: Option<Bytes>,
    /// Largest answer, in bytes.
    pub bytes_max: u64,
    /// Longest time until the answer begins, and from there to its end.
    pub time_max: Duration,
    /// How many redirects are followed: for media only.
    pub redirects_max: u8,
}

impl Ask {
    /// A GET.
    pub fn get(uri: String) -> Self {
        Self::new(Method::GET, uri, None)
    }

    /// A PUT with a JSON object.
    pub fn put(uri: String, body: impl Into<Bytes>) -> Self {
        Self::new(Method::PUT, uri, Some(body.into()))
    }

    /// A POST with a JSON object.
    pub fn post(uri: String, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, uri, Some(body.into()))
    }

    fn new(method: Method, uri: String, body: Option<Bytes>) -> Self {
        Self {
            method,
            uri,
            body,
            bytes_max: ANSWER_BYTES_MAX,
            time_max: TIME_MAX,
            redirects_max: 0,
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Asks other servers. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: Arc<dyn HttpOut>,
    resolver: Resolver,
    keys: OwnKeys,
    policy: Policy,
    // Learns from answers that a server is there. Set once the sender is made, which itself needs the client.
    sender: OnceLock<Sender>,
}

impl Client {
    /// A client that signs with `keys` and asks whom `policy` permits.
    pub fn new(http: Arc<dyn HttpOut>, resolver: Resolver, keys: OwnKeys, policy: Policy) -> Self {
        Self(Arc::new(Inner {
            http,
            resolver,
            keys,
            policy,
            sender: OnceLock::new(),
        }))
    }

    /// With whom this server talks.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// This server's name.
    pub fn server_name(&self) -> &ServerName {
        self.0.keys.server_name()
    }

    pub(crate) fn set_sender(&self, sender: Sender) {
        // The first one stays; there is one sender to a client.
        if self.0.sender.set(sender).is_err() {
            tracing::debug!("a client was given a second sender");
        }
    }

    /// Asks a server, signed, and answers its JSON.
    pub async fn json<T: DeserializeOwned>(&self, server: &ServerName, ask: Ask) -> Result<T> {
        let answer = self.ask(server, ask).await?;
        serde_json::from_slice(&answer.body).map_err(|error| Error::Malformed {
            server: server.to_owned(),
            what: error.to_string(),
        })
    }

    /// Asks a server, signed. An answer that is no success is an error.
    pub async fn ask(&self, server: &ServerName, ask: Ask) -> Result<Answer> {
        let response = self.exchange(server, &ask, Signing::Signed).await?;
        self.read(server, response).await
    }

    /// Asks a server without a signature: for its keys, which it cannot ask us for before.
    pub(crate) async fn ask_unsigned(&self, server: &ServerName, ask: Ask) -> Result<Answer> {
        let response = self.exchange(server, &ask, Signing::Unsigned).await?;
        self.read(server, response).await
    }

    /// Asks a server, signed, and answers the head; the body is read as it is consumed. An answer that is no success is
    /// an error.
    pub async fn stream(&self, server: &ServerName, ask: Ask) -> Result<Response<OutBody>> {
        let response = self.exchange(server, &ask, Signing::Signed).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        match self.read(server, response).await {
            Err(error) => Err(error),
            Ok(_) => Err(self.malformed(server, "neither success nor error")),
        }
    }

    async fn read(&self, server: &ServerName, response: Response<OutBody>) -> Result<Answer> {
        let (parts, body) = response.into_parts();
        let response = hearth_ports::OutResponse {
            uri: Uri::default(),
            response: Response::new(body),
        };
        let body = response
            .bytes()
            .await
            .map_err(|cause| unreachable(server, cause))?;
        if parts.status.is_success() {
            return Ok(Answer {
                headers: parts.headers,
                body,
            });
        }
        Err(refused(server, parts.status, &body))
    }

    fn malformed(&self, server: &ServerName, what: &str) -> Error {
        Error::Malformed {
            server: server.to_owned(),
            what: what.to_owned(),
        }
    }

    /// One request, to the places where the server may be, one after the other. If all fail, and what was remembered of
    /// the server is out of date, again.
    pub(crate) async fn exchange(
        &self,
        server: &ServerName,
        ask: &Ask,
        signing: Signing,
    ) -> Result<Response<OutBody>> {
        if !self.0.policy.permits(server) || server == self.server_name() {
            return Err(Error::NotAllowed(server.to_owned()));
        }
        let find = || async {
            let target = self.0.resolver.target(server).await;
            target.map_err(|cause| unreachable(server, cause))
        };
        let target = find().await?;
        let result = self.try_target(server, ask, signing, &target).await;
        let result = match result {
            Err(failed) if may_have_moved(&failed) => {
                self.0.resolver.forget(server);
                match find().await? {
                    same if same == target => Err(failed),
                    moved => self.try_target(server, ask, signing, &moved).await,
                }
            }
            other => other,
        };
        let response = result.map_err(|cause| unreachable(server, cause))?;
        if let Some(sender) = self.0.sender.get()
            && !response.status().is_server_error()
        {
            sender.alive(server);
        }
        Ok(response)
    }

    async fn try_target(
        &self,
        server: &ServerName,
        ask: &Ask,
        signing: Signing,
        target: &Target,
    ) -> Result<Response<OutBody>, OutError> {
        let mut failed = OutError::Invalid("there is nowhere to connect to".to_owned());
        for connect in &target.connect {
            let request = OutRequest {
                request: self.request(server, ask, signing, &target.host)?,
                options: OutOptions {
                    connect: Some(connect.clone()),
                    tls_name: Some(target.tls_name.clone()),
                    redirects_max: ask.redirects_max,
                    head_time_max: ask.time_max,
                    body_time_max: ask.time_max,
                    body_bytes_max: ask.bytes_max,
                    ..OutOptions::default()
                },
            };
            match self.0.http.send(request).await {
                Ok(answer) => return Ok(answer.response),
                // Not sent, so another place may be tried.
                Err(error) if may_have_moved(&error) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    fn request(
        &self,
        server: &ServerName,
        ask: &Ask,
        signing: Signing,
        host: &str,
    ) -> Result<Request<OutBody>, OutError> {
        let invalid = |what: &dyn std::fmt::Display| OutError::Invalid(what.to_string());
        let uri = Uri::builder()
            .scheme("https")
            .authority(host)
            .path_and_query(ask.uri.as_str())
            .build()
            .map_err(|error| invalid(&error))?;
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(uri)
            .header(HOST, host)
            .header(USER_AGENT, AGENT);
        if signing == Signing::Signed {
            let signed = SignedRequest {
                method: ask.method.as_str(),
                uri: &ask.uri,
                body: ask.body.as_ref(),
            };
            let header = XMatrix::sign(&self.0.keys, server, signed)
                .ok_or_else(|| invalid(&"the body is not a JSON object"))?;
            request = request.header(AUTHORIZATION, header.to_header());
        }
        let request = match &ask.body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(full_body(body.clone())),
            None => request.body(no_body()),
        };
        request.map_err(|error| invalid(&error))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Signed,
    Unsigned,
}

/// Whether the request reached nobody, so that the server may be elsewhere.
fn may_have_moved(error: &OutError) -> bool {
    matches!(error, OutError::Connect(_) | OutError::Unresolved { .. })
}

fn unreachable(server: &ServerName, cause: OutError) -> Error {
    Error::Unreachable {
        server: server.to_owned(),
        cause: Arc::new(cause),
    }
}

fn refused(server: &ServerName, status: StatusCode, body: &[u8]) -> Error {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        errcode: String,
        #[serde(default)]
        error: String,
        #[serde(default)]
        room_version: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let short = |text: String| text.chars().take(MESSAGE_CHARS_MAX).collect::<String>();
    Error::Refused {
        server: server.to_owned(),
        status: status.as_u16(),
        errcode: short(body.errcode),
        message: short(body.error),
        room_version: body.room_version.map(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Here, Others, name};

    #[tokio::test]
    async fn requests_are_signed_for_the_undelegated_name_and_sent_to_the_delegated_one() {
        let here = Here::new(Others::new(|seen| match seen.uri.as_str() {
            "/.well-known/matrix/server" => Some((200, r#"{"m.server":"b.example:9"}"#.to_owned())),
            _ => Some((200, r#"{"ok":true}"#.to_owned())),
        }));
        let ask = Ask::put(
            "/_matrix/federation/v1/send/a%2Fb".to_owned(),
            r#"{"pdus":[]}"#,
        );
        let answer = here.client.ask(&name("a.example"), ask).await.unwrap();
        assert_eq!(&*answer.body, br#"{"ok":true}"#);
        let seen = here.others.seen().pop().unwrap();
        assert_eq!(seen.method, "PUT");
        assert_eq!(seen.headers[HOST], "b.example:9");
        assert_eq!(seen.connect.as_deref(), Some("b.example:9"));
        let header = XMatrix::parse(seen.headers[AUTHORIZATION].to_str().unwrap()).unwrap();
        assert_eq!(header.destination.as_deref(), Some("a.example"));
        let request = SignedRequest {
            method: &seen.method,
            uri: &seen.uri,
            body: Some(&seen.body),
        };
        let public = here.own.key().public_key_bytes();
        assert!(header.verifies(&name("a.example"), request, &public));
    }

    #[tokio::test]
    async fn refusals_say_what_the_server_said_cut_short() {
        let here = Here::new(Others::new(|_| {
            let long = "x".repeat(5_000);
            let body = format!(r#"{{"errcode":"M_FORBIDDEN","error":"{long}"}}"#);
            Some((403, body))
        }));
        let server = name("a.example:1");
        let error = here.client.ask(&server, Ask::get("/x".to_owned())).await;
        match error.unwrap_err() {
            Error::Refused {
                status,
                errcode,
                message,
                ..
            } => {
                assert_eq!((status, errcode.as_str()), (403, "M_FORBIDDEN"));
                assert_eq!(message.len(), MESSAGE_CHARS_MAX);
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_server_never_asks_itself_nor_whom_it_may_not() {
        let here = Here::new(Others::new(|_| Some((200, "{}".to_owned()))));
        let server = name("here.example");
        let own = here.client.ask(&server, Ask::get("/x".to_owned())).await;
        assert!(matches!(own, Err(Error::NotAllowed(_))));
        assert!(here.others.seen().is_empty());
    }
}
