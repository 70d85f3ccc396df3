//! Routing and access checks of requests.

use std::net::IpAddr;
use std::pin::{Pin, pin};

use hyper::header::{ALLOW, AUTHORIZATION, EXPECT, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use janus_core::ChatModel as _;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::answer::Protocol;
use super::body::{self, RequestBody};
use super::error::ApiError;
use super::generate::generate;
use super::reply::{self, ResponseBody};
use super::request;
use super::state::State;

/// The endpoint of a path.
#[derive(Debug, Clone, PartialEq)]
enum Route {
    Generate(Protocol),
    Models,
    Model(String),
    Health,
    Metrics,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Route::Generate(Protocol::Chat),
            "/v1/completions" => Route::Generate(Protocol::Completion),
            "/v1/models" => Route::Models,
            "/health" => Route::Health,
            "/metrics" => Route::Metrics,
            path => path.strip_prefix("/v1/models/").map_or(Route::Unknown, |name| {
                Route::Model(percent_decode_str(name).decode_utf8_lossy().into_owned())
            }),
        }
    }

    /// The path's label in metrics.
    fn label(&self) -> &'static str {
        match self {
            Route::Generate(Protocol::Chat) => "/v1/chat/completions",
            Route::Generate(Protocol::Completion) => "/v1/completions",
            Route::Models => "/v1/models",
            Route::Model(_) => "/v1/models/{model}",
            Route::Health => "/health",
            Route::Metrics => "/metrics",
            Route::Unknown => "other",
        }
    }

    fn method(&self) -> Method {
        if matches!(self, Route::Generate(_)) { Method::POST } else { Method::GET }
    }
}

/// Answers any request. With `local_only`, requests whose host is not `localhost` or a loopback address
/// are refused.
pub(super) async fn answer<B: RequestBody>(
    state: &State,
    local_only: bool,
    request: Request<B>,
) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let mut body = pin!(body);
    let route = Route::of(parts.uri.path());
    let response = match respond(state, local_only, &route, &parts, body.as_mut()).await {
        Ok(response) => response,
        Err(error) => {
            // A client that waits for "100 Continue" has not sent a body, and one that timed out is not
            // waited for any longer.
            if !parts.headers.contains_key(EXPECT) && error.status != StatusCode::REQUEST_TIMEOUT {
                body::drain(body.as_mut()).await;
            }
            let mut response = reply::error(&error);
            if error.status == StatusCode::METHOD_NOT_ALLOWED {
                let method = if route.method() == Method::POST { "POST" } else { "GET" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
            }
            response
        }
    };
    state.metrics.responded(route.label(), response.status().as_u16());
    response
}

async fn respond(
    state: &State,
    local_only: bool,
    route: &Route,
    parts: &Parts,
    body: Pin<&mut impl RequestBody>,
) -> Result<Response<ResponseBody>, ApiError> {
    if let Some(host) = parts.headers.get(HOST).filter(|host| local_only && !is_local(host.as_bytes())) {
        let host: String = String::from_utf8_lossy(host.as_bytes()).chars().take(200).collect();
        let message = format!(
            "this server has no token and accepts only localhost as host, not \"{host}\": use localhost, or set a token"
        );
        return Err(ApiError::new(StatusCode::FORBIDDEN, message).code("unknown_host"));
    }
    let header = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if *route != Route::Health && state.options.token.as_ref().is_some_and(|token| !token.matches(header)) {
        let message = if header.is_none() {
            "no bearer token was sent, and this server needs one"
        } else {
            "the bearer token is wrong"
        };
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"));
    }
    if *route == Route::Unknown {
        let message = format!(
            "unknown path {}: expected /v1/models, /v1/chat/completions, /v1/completions, /health or /metrics",
            path(parts)
        );
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).code("unknown_url"));
    }
    if parts.method != route.method() {
        let message = format!("{} accepts {}, not {}", path(parts), route.method(), parts.method);
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed"));
    }
    Ok(match route {
        Route::Generate(protocol) => return generate(state, *protocol, parts, body).await,
        Route::Models => reply::json(&json!({ "object": "list", "data": [state.model()] })),
        Route::Model(name) if name == state.engine.name() => reply::json(&state.model()),
        Route::Model(name) => return Err(request::no_model(name, state.engine.name())),
        Route::Health => reply::json(&json!({ "status": "ok" })),
        Route::Metrics | Route::Unknown => {
            let taken = state.options.queue - state.places.available_permits();
            reply::text(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                state.metrics.text(state.options.queue, taken),
            )
        }
    })
}

/// Whether the value of a `Host` header is `localhost` or a loopback address, with or without a port.
fn is_local(host: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(host).unwrap_or_default().parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The path for a message, shortened, since a client may send a very long one.
fn path(parts: &Parts) -> String {
    parts.uri.path().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_read_from_its_path() {
        assert_eq!(Route::of("/v1/models/a%2Fb%20c"), Route::Model("a/b c".into()));
        assert_eq!(Route::of("/v1/models/100%"), Route::Model("100%".into()));
        assert_eq!(Route::of("/v1/models/%zz%4"), Route::Model("%zz%4".into()));
        assert_eq!(Route::of("/v1/models/%ff"), Route::Model("\u{fffd}".into()));
        assert_eq!(Route::of("/v1"), Route::Unknown);
    }

    #[test]
    fn local_hosts_are_localhost_and_loopback_addresses() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]", "[::1]:80"] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "x",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:80",
            "a b",
            "\u{ff}",
        ] {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }
}
