//! Reading the bodies of requests, within limits of size and time.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Bytes};

use super::ServerOptions;
use super::error::ApiError;

/// Bytes of a refused body that are read and dropped, so that the client, which is still sending, gets to read why.
const DRAINED: usize = 16 << 20;
/// Time for that.
const DRAINING: Duration = Duration::from_secs(5);

/// A request's body.
pub(super) trait RequestBody: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send {}
impl<B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send> RequestBody for B {}

/// The whole body.
pub(super) async fn read(body: Pin<&mut impl RequestBody>, options: &ServerOptions) -> Result<Bytes, ApiError> {
    let limit = options.body_bytes;
    let too_large = || {
        let message = format!("the body has more than {limit} bytes, which is the most that is read here");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(options.body_timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", options.body_timeout);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message).code("request_timeout"))
        }
    }
}

/// Reads what is left of a refused body, as far as limits of size and time allow.
pub(super) async fn drain(body: Pin<&mut impl RequestBody>) {
    let mut rest = Limited::new(body, DRAINED);
    let all = async { while let Some(Ok(_)) = rest.frame().await {} };
    // Whoever sends more does not get to read the answer.
    let _ = tokio::time::timeout(DRAINING, all).await;
}
