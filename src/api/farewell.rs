//! The last that a connection hears, and closing it without losing that.

use std::io;
use std::time::Duration;

use axum::response::IntoResponse;
use http::header;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ApiError;
use super::socket::Stream;

/// Silence that ends the reading of a refused request's body.
pub(super) const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Longest time to read a refused request's body.
pub(super) const LINGER: Duration = Duration::from_secs(30);

/// Closing a socket with unread input makes the kernel reset the connection, and the client loses
/// the answer that refused its request. So the rest is read, within bounds.
pub(super) async fn linger(stream: &mut Stream, longest: Duration) {
    let mut sink = vec![0; 64 << 10];
    let drain = async {
        while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_SILENCE, stream.read(&mut sink)).await {
        }
    };
    // Either way the connection is closed now.
    let _ = tokio::time::timeout(longest, drain).await;
}

/// Answers a connection without a look at its request, and closes it. Takes as long as `longest`
/// at most, whatever the client does.
pub(super) async fn turn_away(mut stream: Stream, error: ApiError, longest: Duration) {
    let answer = async {
        stream.write_all(&raw_answer(error)).await?;
        stream.shutdown().await?;
        linger(&mut stream, longest).await;
        io::Result::Ok(())
    };
    // The client may be gone.
    let _ = tokio::time::timeout(longest, answer).await;
}

/// An error as the last answer of a connection, where no request was read.
pub(super) fn raw_answer(error: ApiError) -> Vec<u8> {
    let body = error.body().to_string();
    let response = error.into_response();
    let mut answer = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    if !response.headers().contains_key(header::CONTENT_LENGTH) {
        answer.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    answer.extend_from_slice(format!("connection: close\r\n\r\n{body}").as_bytes());
    answer
}
