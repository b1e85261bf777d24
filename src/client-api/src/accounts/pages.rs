//! Pages for clients that cannot log in, or pass a stage of authentication, by themselves. Nothing in them comes from
//! elsewhere, and nothing that a user wrote is shown.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hearth_accounts::{Accounts, Failure, Policy, Stage};
use hearth_http::{ApiError, Gate};
use http::{HeaderName, StatusCode, Uri, header};
use serde::Deserialize;

use super::error::accounts_error;

const LOGIN: &str = include_str!("../../pages/login.html");
const LOGIN_JS: &str = include_str!("../../pages/login.js");
const DONE_JS: &str = include_str!("../../pages/done.js");
const CSS: &str = include_str!("../../pages/page.css");

/// Scripts and styles from this server's files only, no frames, requests to this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Longest form that is read, in bytes.
const FORM_BYTES_MAX: usize = 4_096;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = ["r0", "v3"].iter().fold(Router::new(), |router, version| {
        let path = format!("/_matrix/client/{version}/auth/{{stage}}/fallback/web");
        router.route(&path, get(stage_page).post(stage_passed))
    });
    router
        .route("/_matrix/static/client/login", get(login_page))
        .route("/_matrix/static/client/login/", get(login_page))
        .route("/_matrix/static/hearth/page.css", get(css))
        .route("/_matrix/static/hearth/done.js", get(done_js))
        .route("/_matrix/static/hearth/login.js", get(login_js))
}

/// GET /_matrix/static/client/login/
async fn login_page() -> Response {
    page(StatusCode::OK, LOGIN.to_owned())
}

async fn css() -> Response {
    file("text/css; charset=utf-8", CSS)
}

async fn done_js() -> Response {
    file("text/javascript; charset=utf-8", DONE_JS)
}

async fn login_js() -> Response {
    file("text/javascript; charset=utf-8", LOGIN_JS)
}

#[derive(Deserialize)]
struct Asked {
    session: Option<String>,
}

#[derive(Deserialize)]
struct Form {
    session: String,
    #[serde(default)]
    answer: String,
}

/// GET /_matrix/client/v3/auth/{authType}/fallback/web
async fn stage_page(
    State(accounts): State<Accounts>,
    stage: StageName,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let stage = stage_of(stage)?;
    let session = asked
        .session
        .ok_or_else(|| ApiError::missing_param("Missing session"))?;
    Ok(match accounts.uia_session_user(&session) {
        Ok(_) => page(
            StatusCode::OK,
            form((stage, &session), &accounts.settings().terms, ""),
        ),
        Err(_) => over(),
    })
}

/// The form of that page, sent.
async fn stage_passed(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    stage: StageName,
    body: Bytes,
) -> Result<Response, ApiError> {
    let stage = stage_of(stage)?;
    let form_sent = parse(&body)?;
    let session = &*form_sent.session;
    let Ok(user) = accounts.uia_session_user(session) else {
        return Ok(over());
    };
    if let Some(user) = user {
        gate.count_login(&user)?;
    }
    let passed = accounts.uia_aside(session, stage, &form_sent.answer).await;
    Ok(match passed.map_err(accounts_error)? {
        Ok(()) => page(StatusCode::OK, done()),
        Err(Failure::UnknownSession) => over(),
        Err(failure) => {
            let problem = super::uia::failed(failure).1;
            let text = form((stage, session), &accounts.settings().terms, problem);
            page(StatusCode::UNAUTHORIZED, text)
        }
    })
}

/// What is percent-encoded in the path need not be text.
type StageName = Result<Path<String>, PathRejection>;

fn stage_of(name: StageName) -> Result<Stage, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::invalid_param("The stage is not UTF-8"))?;
    Stage::from_name(&name).ok_or_else(|| ApiError::not_found("There is no page for this stage"))
}

/// A form as browsers send it, which is a query without its question mark.
fn parse(body: &[u8]) -> Result<Form, ApiError> {
    if body.len() > FORM_BYTES_MAX {
        return Err(ApiError::too_large("The form is too large"));
    }
    let wrong = || ApiError::bad_request("The form cannot be read");
    let text = std::str::from_utf8(body).map_err(|_| wrong())?;
    let uri: Uri = format!("/?{text}").parse().map_err(|_| wrong())?;
    let Query(form) = Query::try_from_uri(&uri).map_err(|_| wrong())?;
    Ok(form)
}

/// What has to be done to pass a stage.
fn form((stage, session): (Stage, &str), terms: &[Policy], problem: &str) -> String {
    let (title, fields, button) = match stage {
        Stage::Dummy => ("Go on", String::new(), "Go on"),
        Stage::Terms => ("Terms", documents(terms), "I agree"),
        Stage::RegistrationToken => (
            "Registration token",
            "<label for=\"answer\">Token</label>\
             <input id=\"answer\" name=\"answer\" autocomplete=\"off\" required autofocus>"
                .to_owned(),
            "Go on",
        ),
        Stage::Password => (
            "Confirm that it is you",
            "<label for=\"answer\">Password</label>\
             <input id=\"answer\" name=\"answer\" type=\"password\" \
             autocomplete=\"current-password\" required autofocus>"
                .to_owned(),
            "Confirm",
        ),
    };
    let session = escaped(session);
    let problem = escaped(problem);
    html(
        title,
        &format!(
            "<form method=\"post\"><input type=\"hidden\" name=\"session\" value=\"{session}\">\
             {fields}<p role=\"alert\">{problem}</p><button>{button}</button></form>"
        ),
    )
}

fn documents(terms: &[Policy]) -> String {
    let items = terms.iter().map(|policy| {
        format!(
            "<li><a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\" lang=\"{}\">{}</a></li>",
            escaped(&policy.url),
            escaped(&policy.language),
            escaped(&policy.name)
        )
    });
    let items: String = items.collect();
    format!("<p>Please read and agree to:</p><ul>{items}</ul>")
}

fn done() -> String {
    html(
        "Done",
        "<p>You can close this page.</p>\
         <script src=\"/_matrix/static/hearth/done.js\" type=\"module\"></script>",
    )
}

fn over() -> Response {
    let text = html(
        "Please begin again",
        "<p role=\"alert\">This session is not known, or it is over.</p>",
    );
    page(StatusCode::BAD_REQUEST, text)
}

fn html(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"/_matrix/static/hearth/page.css\"></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}

fn page(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ];
    (status, headers, text).into_response()
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
