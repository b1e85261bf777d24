//! `hearth serve`: from an empty process to a server, and in order back.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hearth_config::Config;
use hearth_http::{ApiError, Frame, Metrics, Server};
use hearth_web::Source;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::socket;
use crate::error::{Doing, Result};
use crate::house::{House, open_store};
use crate::metrics;
use crate::services;

/// How the path of the endpoint ends that waits for news.
const LONG_POLL: &str = "/sync";

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn serve(config: &Config) -> Result<()> {
    // Before anything is written: a second server stops here.
    let counters = Metrics::new();
    let server = Server::bind(config, counters.clone()).doing("could not begin to serve")?;
    let operators = match config.metrics_address {
        Some(address) => {
            let server = Server::bind_plain(&[address], config, counters.clone());
            Some(server.doing("could not serve metrics")?)
        }
        None => None,
    };
    let stop = stop_signal()?;

    let store = open_store(config)?;
    let house = House::build(store, config).await?;
    metrics::register(&counters, &house.store);
    let client = &house.handles.client;
    services::make_users(&client.services, &client.accounts).await?;
    start_workers(&house);
    let rooms = &house.handles.client.rooms;
    rooms
        .resume_intakes()
        .await
        .doing("could not go on with what other servers sent")?;
    rooms
        .resume_partial_rooms()
        .await
        .doing("could not go on with joins of rooms")?;
    let socket = socket::listen(&config.data_dir)?;
    house.tasks.spawn(socket::run(
        socket,
        house.operator(config),
        house.shutdown.clone(),
    ));

    let frame = Frame::new(counters, &config.trusted_proxies);
    let handles = house.handles.clone();
    let (door, media) = (
        handles.federation.door.clone(),
        handles.client.media.clone(),
    );
    let routes = hearth_client_api::router(handles.client)
        .merge(hearth_federation_api::media_router(door, media))
        .merge(hearth_federation_api::router(handles.federation))
        .layer(from_fn_with_state(Arc::new(stop.clone()), end_long_polls))
        .merge(web_client(&config.web));
    let addresses = server.addresses().doing("could not begin to serve")?;
    let servers = TaskTracker::new();
    servers.spawn(server.run(frame.around(routes), stop.clone()));
    if let Some(operators) = operators {
        servers.spawn(operators.run(frame.operators_only(), stop.clone()));
    }
    announce(config, &addresses);

    stop.cancelled().await;
    tracing::info!("stopping");
    servers.close();
    servers.wait().await;
    house.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// The web client at `/`, or nothing there.
fn web_client(settings: &hearth_config::Web) -> Router {
    let source = match &settings.folder {
        _ if !settings.enabled => return Router::new(),
        Some(folder) => Source::Folder(folder.clone()),
        None => Source::BuiltIn,
    };
    hearth_web::router(source)
}

/// What runs besides requests.
fn start_workers(house: &House) {
    let (notifier, shutdown) = (
        house.handles.client.sync.notifier().clone(),
        house.shutdown.clone(),
    );
    house
        .tasks
        .spawn(async move { notifier.run(shutdown).await });
    let sender = house.sender.clone();
    house.tasks.spawn(async move { sender.run().await });
    let services = house.handles.client.services.clone();
    house.tasks.spawn(async move { services.run().await });
    let (rooms, shutdown) = (house.handles.client.rooms.clone(), house.shutdown.clone());
    house
        .tasks
        .spawn(async move { rooms.run_jobs(shutdown).await });
    let (rooms, shutdown) = (house.handles.client.rooms.clone(), house.shutdown.clone());
    house
        .tasks
        .spawn(async move { rooms.run_retention(shutdown).await });
    let (media, shutdown) = (house.handles.client.media.clone(), house.shutdown.clone());
    house.tasks.spawn(media.run(shutdown));
    let (accounts, shutdown) = (
        house.handles.client.accounts.clone(),
        house.shutdown.clone(),
    );
    house
        .tasks
        .spawn(async move { accounts.run_jobs(shutdown).await });
    let (e2ee, shutdown) = (house.handles.client.e2ee.clone(), house.shutdown.clone());
    house.tasks.spawn(async move { e2ee.run(shutdown).await });
    let (social, shutdown) = (house.handles.client.social.clone(), house.shutdown.clone());
    house.tasks.spawn(async move { social.run(shutdown).await });
    let (social, shutdown) = (house.handles.client.social.clone(), house.shutdown.clone());
    house
        .tasks
        .spawn(async move { social.run_acts(shutdown).await });
}

/// Whoever waits for news when the server is told to stop is sent away, to come back later. (A token is copied under a
/// lock, and every request copies what its layers hold.)
async fn end_long_polls(
    State(stop): State<Arc<CancellationToken>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    if !path.is_some_and(|path| path.as_str().ends_with(LONG_POLL)) {
        return next.run(request).await;
    }
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = stop.cancelled() => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            ApiError::new(status, "M_UNKNOWN", "The server is stopping")
                .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response()
        }
    }
}

fn announce(config: &Config, addresses: &[SocketAddr]) {
    let scheme = if config.listen.is_empty() {
        "https"
    } else {
        "http"
    };
    let at = match (&config.well_known.client, addresses.first()) {
        (Some(url), _) => url.clone(),
        (None, Some(address)) => format!("{scheme}://{address}"),
        (None, None) => String::new(),
    };
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        addresses = all.join(" "),
        "serving `{}`",
        config.server_name
    );
    if config.web.enabled {
        println!("Hearth is ready. Open {at} in a browser, or point a Matrix client at it");
    } else {
        println!("Hearth is ready. Point a Matrix client at {at}");
    }
}

/// A token that the first SIGTERM or SIGINT cancels.
fn stop_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).doing("could not listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).doing("could not listen for signals")?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    TaskTracker::new().spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    Ok(stop)
}
