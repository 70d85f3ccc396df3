//! Reading the bodies of requests, with limits of size and time.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Bytes};

use super::ServerOptions;
use super::error::ApiError;

/// The most bytes of a refused body that are read and dropped: a client reads the response only after it
/// has sent the body.
const DRAIN_BYTES: usize = 16 << 20;
/// The most time for that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A request's body.
pub(super) trait RequestBody:
    Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send
{
}
impl<B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send> RequestBody for B {}

/// Reads the whole body.
pub(super) async fn read(
    body: Pin<&mut impl RequestBody>,
    options: &ServerOptions,
) -> Result<Bytes, ApiError> {
    let limit = options.body_bytes;
    let too_large = || {
        let message = format!("the body has more than {limit} bytes, the limit of this server");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(options.body_timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}")))
        }
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", options.body_timeout);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message).code("request_timeout"))
        }
    }
}

/// Reads and drops the rest of a refused body, within limits of size and time.
pub(super) async fn drain(body: Pin<&mut impl RequestBody>) {
    let mut rest = Limited::new(body, DRAIN_BYTES);
    let all = async { while let Some(Ok(_)) = rest.frame().await {} };
    // A client that sends more may not get to read the response.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, all).await;
}
