//! Who asks for metrics over HTTP, and for how long.
//!
//! Not the exporter's own listener, which keeps every connection for ever: each takes a file descriptor, of which the engine
//! beside it has as many as the process may have, and none was left once about a thousand had come.
//! Invariants: at most [`CONNECTIONS_MAX`] connections are open, each for one answer and at most [`ANSWER_MAX`]. Further ones wait
//! in the system's queue, where they take no descriptor. Threads: one, which also makes the answers.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at the same moment. A scraper has one.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// Longest that somebody who is connected may take to ask.
const QUESTION_MAX: Duration = Duration::from_secs(2);

/// Longest that a connection takes in all: by default Prometheus itself waits no longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Rest after a connection could not be taken: the process may have no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the runtime ends.
pub(super) async fn serve(listener: TcpListener, handle: PrometheusHandle) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let handle = handle.clone();
                tokio::spawn(async move {
                    answer(stream, &handle).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics cannot be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one question, or none: what goes wrong on the way to a scraper is the scraper's to say.
async fn answer(stream: TcpStream, handle: &PrometheusHandle) {
    let service = service_fn(|request: Request<Incoming>| {
        let is_health = request.uri().path() == "/health";
        let body = if is_health {
            "OK".to_owned()
        } else {
            handle.render()
        };
        let mut response = Response::new(body);
        let text = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, text);
        ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(ANSWER_MAX, connection).await {
        tracing::debug!(%error, "a question for metrics was not answered");
    }
}
