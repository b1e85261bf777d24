//! User-interactive authentication: the client is asked to pass one of several flows of stages before a request is
//! carried out (client-server API, "User-Interactive Authentication API").
//!
//! A session is bound to the method, path and user of its first call and keeps the body, because later calls may hold
//! nothing but `auth`. Sessions live in memory, within limits: after a restart the client begins again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hearth_types::{Caller, UnixMs};
use ruma::OwnedUserId;
use serde_json::{Map, Value};

use crate::{Accounts, Error, Identifier, Result};

/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How many sessions there are at most; the oldest go first.
const SESSIONS_MAX: usize = 10_000;

/// How much all kept bodies take at most, in bytes; the oldest sessions go first.
const BODIES_BYTES_MAX: usize = 16 << 20;

/// Largest body that is kept, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// How often a session can fail before it ends.
const FAILURES_MAX: u32 = 10;

/// A stage of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `m.login.password`
    Password,
    /// `m.login.dummy`
    Dummy,
    /// `m.login.registration_token`
    RegistrationToken,
    /// `m.login.terms`
    Terms,
}

impl Stage {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "m.login.password",
            Self::Dummy => "m.login.dummy",
            Self::RegistrationToken => "m.login.registration_token",
            Self::Terms => "m.login.terms",
        }
    }

    /// The stage of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Password,
            Self::Dummy,
            Self::RegistrationToken,
            Self::Terms,
        ]
        .into_iter()
        .find(|stage| stage.name() == name)
    }
}

/// The flows of which one has to be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows(pub &'static [&'static [Stage]]);

impl Flows {
    /// The caller's password.
    pub const PASSWORD: Self = Self(&[&[Stage::Password]]);
    /// Nothing.
    pub const DUMMY: Self = Self(&[&[Stage::Dummy]]);
    /// A registration token.
    pub const REGISTRATION_TOKEN: Self = Self(&[&[Stage::RegistrationToken]]);
    /// Agreement to the terms.
    pub const TERMS: Self = Self(&[&[Stage::Terms]]);
    /// A registration token, and agreement to the terms.
    pub const REGISTRATION_TOKEN_AND_TERMS: Self =
        Self(&[&[Stage::RegistrationToken, Stage::Terms]]);

    /// Whether a stage is part of any of the flows.
    pub fn contain(self, stage: Stage) -> bool {
        self.0.iter().any(|flow| flow.contains(&stage))
    }
}

/// A request that needs authentication.
#[derive(Clone, Copy, Debug)]
pub struct UiaCall<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's path.
    pub path: &'a str,
    /// Whose access token it has; `None` where it needs none.
    pub caller: Option<&'a Caller>,
    /// Its body: a JSON object or nothing.
    pub json: &'a [u8],
    /// What has to be passed.
    pub flows: Flows,
}

/// What comes of a call.
#[derive(Debug)]
pub enum UiaAnswer {
    /// It may be carried out.
    Passed(Passed),
    /// Something is missing: the client is told what.
    Challenged(Challenge),
}

/// An authenticated request.
#[derive(Debug)]
pub struct Passed {
    /// The body to carry out, without `auth`.
    pub body: Map<String, Value>,
    /// The registration token that was shown.
    pub registration_token: Option<String>,
}

/// What the client is told when something is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The session to go on with.
    pub session: String,
    /// The flows.
    pub flows: Flows,
    /// The stages passed.
    pub completed: Vec<Stage>,
    /// Why the stage that was tried is not among them.
    pub failure: Option<Failure>,
}

/// Why a stage was not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Wrong password.
    Credentials,
    /// The registration token is not valid.
    RegistrationToken,
    /// The session is unknown or over; a new one was begun.
    UnknownSession,
    /// The stage is in none of the flows.
    UnknownStage,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<String, Session>,
    // The sessions in the order of their beginning, with those that are over.
    order: VecDeque<(UnixMs, String)>,
    bodies_bytes: usize,
}

#[derive(Clone, Debug)]
struct Session {
    method: String,
    path: String,
    user: Option<OwnedUserId>,
    body: Map<String, Value>,
    body_bytes: usize,
    until: UnixMs,
    completed: Vec<Stage>,
    registration_token: Option<String>,
    failures: u32,
}

impl State {
    fn remove(&mut self, id: &str) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.bodies_bytes -= session.body_bytes;
        Some(session)
    }

    fn put(&mut self, id: String, session: Session) {
        self.bodies_bytes += session.body_bytes;
        self.sessions.insert(id, session);
    }

    fn finish(&mut self, id: &str, flows: Flows) -> Step {
        let Some(session) = self.sessions.get(id) else {
            return Step::Gone;
        };
        let complete = |flow: &&[Stage]| flow.iter().all(|stage| session.completed.contains(stage));
        match flows.0.iter().any(complete) {
            true => self
                .remove(id)
                .map_or(Step::Gone, |session| Step::Done(Box::new(session))),
            false => Step::Further,
        }
    }

    fn expire(&mut self, now: UnixMs) {
        while let Some((until, id)) = self.order.pop_front() {
            let full = self.order.len() >= SESSIONS_MAX || self.bodies_bytes > BODIES_BYTES_MAX;
            if until > now && !full {
                self.order.push_front((until, id));
                return;
            }
            self.remove(&id);
        }
    }
}

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a few map operations that do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, id: &str, session: Session, now: UnixMs) {
        let mut state = self.state();
        state.order.push_back((session.until, id.to_owned()));
        state.put(id.to_owned(), session);
        state.expire(now);
    }

    /// A session, if it is still on.
    fn load(&self, id: &str, now: UnixMs) -> Option<Session> {
        let state = self.state();
        let session = state.sessions.get(id)?;
        (session.until > now).then(|| session.clone())
    }

    fn keep_body(&self, id: &str, body: &Map<String, Value>, body_bytes: usize) {
        let mut state = self.state();
        if let Some(mut session) = state.remove(id) {
            session.body = body.clone();
            session.body_bytes = body_bytes;
            state.put(id.to_owned(), session);
        }
    }

    /// Notes a failure. Too many end the session.
    fn failed(&self, id: &str) {
        let mut state = self.state();
        let over = state.sessions.get_mut(id).is_some_and(|session| {
            session.failures += 1;
            session.failures >= FAILURES_MAX
        });
        if over {
            state.remove(id);
        }
    }

    /// Notes a stage as passed. If that completes a flow, the session is over and is returned.
    fn passed(&self, id: &str, stage: Stage, token: Option<String>, flows: Flows) -> Step {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(id) else {
            // Another call with the same session was first.
            return Step::Gone;
        };
        if !session.completed.contains(&stage) {
            session.completed.push(stage);
        }
        session.registration_token = token.or_else(|| session.registration_token.take());
        state.finish(id, flows)
    }

    /// Notes a stage as passed in a page of the browser; the session goes on with the client's next request.
    fn passed_aside(&self, id: &str, stage: Stage, token: Option<String>) {
        let mut state = self.state();
        if let Some(session) = state.sessions.get_mut(id) {
            if !session.completed.contains(&stage) {
                session.completed.push(stage);
            }
            session.registration_token = token.or_else(|| session.registration_token.take());
        }
    }

    /// The session, if its stages complete a flow: it is over then.
    fn complete(&self, id: &str, flows: Flows) -> Step {
        self.state().finish(id, flows)
    }

    /// How many sessions have shown a registration token and are not complete.
    pub(crate) fn pending(&self, token: &str, now: UnixMs) -> u64 {
        self.pending_but(token, None, now)
    }

    fn pending_but(&self, token: &str, but: Option<&str>, now: UnixMs) -> u64 {
        let state = self.state();
        let pending = state.sessions.iter().filter(|(id, session)| {
            but != Some(id.as_str())
                && session.until > now
                && session.registration_token.as_deref() == Some(token)
        });
        pending.count() as u64
    }
}

enum Step {
    Done(Box<Session>),
    Further,
    Gone,
}

impl Accounts {
    /// The flows of registration, unless it is closed.
    pub fn registration_flows(&self) -> Result<Flows> {
        let settings = &self.inner.settings;
        match (settings.registration, settings.terms.is_empty()) {
            (crate::Registration::Closed, _) => Err(Error::RegistrationClosed),
            (crate::Registration::Token, true) => Ok(Flows::REGISTRATION_TOKEN),
            (crate::Registration::Token, false) => Ok(Flows::REGISTRATION_TOKEN_AND_TERMS),
            (crate::Registration::Open, true) => Ok(Flows::DUMMY),
            (crate::Registration::Open, false) => Ok(Flows::TERMS),
        }
    }

    /// One call of a request that needs authentication.
    pub async fn uia(&self, call: UiaCall<'_>) -> Result<UiaAnswer> {
        let mut body = parse_body(call.json)?;
        let auth = match body.remove("auth") {
            None | Some(Value::Null) => return Ok(self.begin(&call, body, None)),
            Some(Value::Object(auth)) => auth,
            Some(_) => return Err(Error::MalformedAuth("not an object".to_owned())),
        };
        let id = match text(&auth, "session")? {
            // Known clients send the first stage with the first call.
            None => self.begin_session(&call, body),
            Some(id) => match self.continued(&call, id, body)? {
                Continued::Known => id.to_owned(),
                Continued::Over(body) => {
                    return Ok(self.begin(&call, body, Some(Failure::UnknownSession)));
                }
            },
        };
        self.advance(&call, id, &auth).await
    }

    fn begin(
        &self,
        call: &UiaCall<'_>,
        body: Map<String, Value>,
        failure: Option<Failure>,
    ) -> UiaAnswer {
        let session = self.begin_session(call, body);
        UiaAnswer::Challenged(Challenge {
            session,
            flows: call.flows,
            completed: Vec::new(),
            failure,
        })
    }

    fn begin_session(&self, call: &UiaCall<'_>, body: Map<String, Value>) -> String {
        let now = self.inner.clock.now();
        let id = self.inner.ids.token(24);
        let session = Session {
            method: call.method.to_owned(),
            path: call.path.to_owned(),
            user: call.caller.map(|caller| caller.user.clone()),
            body,
            body_bytes: call.json.len(),
            until: now.after(SESSION_LIFETIME),
            completed: Vec::new(),
            registration_token: None,
            failures: 0,
        };
        self.inner.uia.begin(&id, session, now);
        id
    }

    /// Whether a call belongs to the session it names. A call with a body of its own replaces the body kept: clients
    /// ask for the flows with an empty one.
    fn continued(
        &self,
        call: &UiaCall<'_>,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<Continued> {
        let Some(session) = self.inner.uia.load(id, self.inner.clock.now()) else {
            return Ok(Continued::Over(body));
        };
        let same = session.path == call.path
            && session.method == call.method
            && session.user.as_ref() == call.caller.map(|caller| &caller.user);
        if !same {
            return Err(Error::UiaForeign("this session belongs to another request"));
        }
        if !body.is_empty() {
            self.inner.uia.keep_body(id, &body, call.json.len());
        }
        Ok(Continued::Known)
    }

    async fn advance(
        &self,
        call: &UiaCall<'_>,
        id: String,
        auth: &Map<String, Value>,
    ) -> Result<UiaAnswer> {
        let Some(kind) = text(auth, "type")? else {
            // The client asks how far it is, or goes on after a page in the browser.
            return Ok(match self.inner.uia.complete(&id, call.flows) {
                Step::Done(session) => passed(*session),
                Step::Further => self.challenge(call, id, None),
                Step::Gone => self.begin(call, Map::new(), Some(Failure::UnknownSession)),
            });
        };
        let stage = Stage::from_name(kind)
            .filter(|stage| call.flows.0.iter().any(|flow| flow.contains(stage)));
        let Some(stage) = stage else {
            return Ok(self.challenge(call, id, Some(Failure::UnknownStage)));
        };
        let token = match self.try_stage(call, stage, &id, auth).await? {
            Ok(token) => token,
            Err(failure) => {
                self.inner.uia.failed(&id);
                return Ok(self.challenge(call, id, Some(failure)));
            }
        };
        match self.inner.uia.passed(&id, stage, token, call.flows) {
            Step::Done(session) => Ok(passed(*session)),
            Step::Further => Ok(self.challenge(call, id, None)),
            Step::Gone => Ok(self.begin(call, Map::new(), Some(Failure::UnknownSession))),
        }
    }

    fn challenge(
        &self,
        call: &UiaCall<'_>,
        session: String,
        failure: Option<Failure>,
    ) -> UiaAnswer {
        let known = self.inner.uia.load(&session, self.inner.clock.now());
        UiaAnswer::Challenged(Challenge {
            session,
            flows: call.flows,
            completed: known.map(|known| known.completed).unwrap_or_default(),
            failure,
        })
    }

    /// Whose session it is, to be told before a stage is passed in a page of the browser. `Ok(None)`: of nobody who is
    /// logged in. `Err(UnknownSession)` if it is not known or over.
    pub fn uia_session_user(&self, session: &str) -> Result<Option<OwnedUserId>, Failure> {
        let known = self.inner.uia.load(session, self.inner.clock.now());
        known
            .map(|session| session.user)
            .ok_or(Failure::UnknownSession)
    }

    /// Passes a stage in a page of the browser. `text` is what the page asked for: a password or a token.
    pub async fn uia_aside(
        &self,
        id: &str,
        stage: Stage,
        answer: &str,
    ) -> Result<Result<(), Failure>> {
        let user = match self.uia_session_user(id) {
            Ok(user) => user,
            Err(failure) => return Ok(Err(failure)),
        };
        let tried = match (stage, user) {
            (Stage::Dummy | Stage::Terms, _) => Ok(None),
            (Stage::RegistrationToken, _) => {
                match self.registration_token_free(answer, id).await? {
                    true => Ok(Some(answer.to_owned())),
                    false => Err(Failure::RegistrationToken),
                }
            }
            (Stage::Password, None) => Err(Failure::UnknownStage),
            (Stage::Password, Some(user)) => {
                let identifier = Identifier::User(user.to_string());
                match self.verify_password(&identifier, answer).await {
                    Ok(_) => Ok(None),
                    Err(Error::BadCredentials | Error::Deactivated) => Err(Failure::Credentials),
                    Err(error) => return Err(error),
                }
            }
        };
        match tried {
            Ok(token) => {
                self.inner.uia.passed_aside(id, stage, token);
                Ok(Ok(()))
            }
            Err(failure) => {
                self.inner.uia.failed(id);
                Ok(Err(failure))
            }
        }
    }

    /// Tries one stage: the registration token that it showed, or why it failed.
    async fn try_stage(
        &self,
        call: &UiaCall<'_>,
        stage: Stage,
        id: &str,
        auth: &Map<String, Value>,
    ) -> Result<Result<Option<String>, Failure>> {
        match stage {
            Stage::Dummy | Stage::Terms => Ok(Ok(None)),
            Stage::Password => self.try_password(call.caller, auth).await,
            Stage::RegistrationToken => {
                let token = text(auth, "token")?;
                let token = token.ok_or_else(|| Error::IncompleteAuth("token"))?;
                Ok(match self.registration_token_free(token, id).await? {
                    true => Ok(Some(token.to_owned())),
                    false => Err(Failure::RegistrationToken),
                })
            }
        }
    }

    async fn try_password(
        &self,
        caller: Option<&Caller>,
        auth: &Map<String, Value>,
    ) -> Result<Result<Option<String>, Failure>> {
        let password = text(auth, "password")?;
        let password = password.ok_or_else(|| Error::IncompleteAuth("password"))?;
        let identifier = Identifier::from_json(auth)?;
        match self.verify_password(&identifier, password).await {
            Ok((user, _)) if caller.is_some_and(|caller| caller.user == user) => Ok(Ok(None)),
            Ok(_) => Err(Error::UiaForeign("authenticated as another user")),
            Err(Error::BadCredentials | Error::Deactivated) => Ok(Err(Failure::Credentials)),
            Err(error) => Err(error),
        }
    }

    /// Whether a registration token is valid and not all taken by other sessions.
    async fn registration_token_free(&self, token: &str, id: &str) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let found = hearth_data::accounts::users::registration_token(&*snapshot, token).await?;
        let now = self.inner.clock.now();
        Ok(found.is_some_and(|row| {
            let pending = self.inner.uia.pending_but(token, Some(id), now);
            crate::registration_tokens::is_good(&row, pending, now)
        }))
    }
}

/// The end of a session.
fn passed(session: Session) -> UiaAnswer {
    UiaAnswer::Passed(Passed {
        body: session.body,
        registration_token: session.registration_token,
    })
}

enum Continued {
    Known,
    Over(Map<String, Value>),
}

fn parse_body(json: &[u8]) -> Result<Map<String, Value>> {
    if json.len() > BODY_BYTES_MAX {
        return Err(Error::UiaTooLarge {
            max: BODY_BYTES_MAX,
        });
    }
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    serde_json::from_slice(json).map_err(|error| Error::MalformedAuth(error.to_string()))
}

pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::MalformedAuth(format!("{name} is not a string"))),
    }
}
