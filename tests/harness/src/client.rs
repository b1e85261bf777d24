//! A minimal Matrix client: what the tests need of the client-server API, and the plain answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{Error, Result};

/// No answer of a server under test takes longer; a long-poll asks for less.
const ANSWER_SECONDS_MAX: u64 = 120;
/// No answer is larger.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Connections to one server, shared by all users of a test.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A status and a body, whatever they are.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, if the status is 200.
    pub fn ok(self) -> Result<Value> {
        if self.status != 200 {
            return Err(format!(
                "status {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
            .into());
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Http {
    /// Connections to the server at `base`, such as `http://127.0.0.1:8008`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// The same server over connections of its own: what breaks there is not noticed here.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::new(&self.base)
    }

    /// Sends a request as it is. An error means that no whole answer came: refused, reset, or too late.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&[u8]>,
        body: Bytes,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            let value = [b"Bearer ", token].concat();
            request = request.header(
                header::AUTHORIZATION,
                http::HeaderValue::from_bytes(&value)?,
            );
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await?
                .to_bytes();
            Ok::<_, Error>(Answer { status, body })
        };
        let patience = Duration::from_secs(ANSWER_SECONDS_MAX);
        tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| format!("{method} {path}: no answer in {ANSWER_SECONDS_MAX} s"))?
    }

    /// Sends JSON without a token.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, None, Bytes::from(serde_json::to_vec(body)?))
            .await
    }

    /// Whether the server answers `GET /_matrix/client/versions`.
    pub async fn is_up(&self) -> bool {
        let asked = self
            .send(Method::GET, "/_matrix/client/versions", None, Bytes::new())
            .await;
        asked.is_ok_and(|answer| answer.status == 200)
    }

    /// Registers a user with a password and gives her with her token.
    pub async fn register(&self, name: &str) -> Result<User> {
        let body = json!({"username": name, "password": "a long enough password", "auth": {"type": "m.login.dummy"}});
        let answer = self
            .json(Method::POST, "/_matrix/client/v3/register", &body)
            .await?
            .ok()?;
        Ok(User {
            http: self.clone(),
            id: text(&answer, "user_id")?,
            token: text(&answer, "access_token")?,
            device: text(&answer, "device_id")?,
        })
    }
}

/// A user with an access token.
#[derive(Clone, Debug)]
pub struct User {
    /// The connections to her server.
    pub http: Http,
    /// Her user id.
    pub id: String,
    /// Her access token.
    pub token: String,
    /// The device that the token stands for.
    pub device: String,
}

impl User {
    /// Any request with her token and a JSON body.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let body = if method == Method::GET {
            Bytes::new()
        } else {
            Bytes::from(serde_json::to_vec(body)?)
        };
        self.http
            .send(method, path, Some(self.token.as_bytes()), body)
            .await
    }

    /// GET with her token; the JSON of a 200.
    pub async fn read(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, &Value::Null).await?.ok()
    }

    /// Makes a room, public by default.
    pub async fn create_room(&self, options: &Value) -> Result<String> {
        let answer = self
            .ask(Method::POST, "/_matrix/client/v3/createRoom", options)
            .await?
            .ok()?;
        text(&answer, "room_id")
    }

    /// Joins a room.
    pub async fn join(&self, room: &str) -> Result<()> {
        let path = format!("/_matrix/client/v3/rooms/{}/join", escape(room));
        self.ask(Method::POST, &path, &json!({}))
            .await?
            .ok()
            .map(drop)
    }

    /// Sends a text message; the plain answer, for tests that want to see refusals.
    pub async fn try_send(&self, room: &str, txn: &str, body: &str) -> Result<Answer> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{}",
            escape(room),
            escape(txn)
        );
        self.ask(
            Method::PUT,
            &path,
            &json!({"msgtype": "m.text", "body": body}),
        )
        .await
    }

    /// Sends a text message; the event id.
    pub async fn send(&self, room: &str, txn: &str, body: &str) -> Result<String> {
        text(&self.try_send(room, txn, body).await?.ok()?, "event_id")
    }

    /// One page of history. `from` none: from the newest event backwards, or from the oldest forwards.
    pub async fn messages(&self, room: &str, page: Page<'_>) -> Result<Value> {
        let direction = match page.direction {
            Direction::Back => "b",
            Direction::Forward => "f",
        };
        let from = page
            .from
            .map(|token| format!("&from={}", escape(token)))
            .unwrap_or_default();
        let path = format!(
            "/_matrix/client/v3/rooms/{}/messages?dir={direction}&limit={}{from}",
            escape(room),
            page.limit
        );
        self.read(&path).await
    }

    /// One sync. `since` none: an initial one. The filter is inline JSON.
    pub async fn sync(
        &self,
        since: Option<&str>,
        timeout_ms: u32,
        filter: &Value,
    ) -> Result<Value> {
        let since = since
            .map(|token| format!("&since={}", escape(token)))
            .unwrap_or_default();
        let filter = escape(&filter.to_string());
        self.read(&format!(
            "/_matrix/client/v3/sync?timeout={timeout_ms}&filter={filter}{since}"
        ))
        .await
    }
}

/// What part of the history to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// A token, or none for the end of the room.
    pub from: Option<&'a str>,
    /// Into which direction.
    pub direction: Direction,
    /// How many events at most.
    pub limit: usize,
}

/// The two directions of history.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    /// Towards older events.
    Back,
    /// Towards newer events.
    Forward,
}

/// A path segment with everything escaped that could mean something.
#[must_use]
pub fn escape(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// A string field of an answer.
pub fn text(answer: &Value, field: &str) -> Result<String> {
    let found = answer.get(field).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("no `{field}` in {answer}").into())
}
