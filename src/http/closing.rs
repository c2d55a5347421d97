//! The last answer on a connection, and closing it so that the answer is not lost.

use std::io;
use std::time::Duration;

use axum::response::IntoResponse;
use http::header::CONTENT_LENGTH;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Stream;
use super::{Context, Error};

/// Silence that ends the reading of a refused request's body.
pub(super) const LINGER_SILENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time to read a refused request's body.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Closing a socket with unread input makes the kernel reset the connection, and the client loses
/// the answer that refused its request. So the rest is read, within bounds.
pub(super) async fn linger(stream: &mut Stream, longest: Duration) {
    let mut sink = vec![0; 64 << 10];
    let drain = async {
        while let Ok(Ok(1..)) =
            tokio::time::timeout(LINGER_SILENCE_TIMEOUT, stream.read(&mut sink)).await
        {}
    };
    // Either way the connection is closed now.
    let _ = tokio::time::timeout(longest, drain).await;
}

/// Answers a connection without a look at its request, and closes it. Takes as long as `longest`
/// at most, whatever the client does.
pub(super) async fn turn_away(
    context: &Context,
    mut stream: Stream,
    error: Error,
    longest: Duration,
) {
    let answer = async {
        stream.write_all(&raw_answer(context, error)).await?;
        stream.shutdown().await?;
        linger(&mut stream, longest).await;
        io::Result::Ok(())
    };
    // The client may be gone.
    let _ = tokio::time::timeout(longest, answer).await;
}

/// An error as the last answer of a connection, where no request was read.
pub(super) fn raw_answer(context: &Context, error: Error) -> Vec<u8> {
    let body = context.error_body(None, &error.problem()).to_string();
    let response = error.into_response();
    let mut answer = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers().iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(
        format!(
            "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    answer
}
