//! `/tokenize` and `/detokenize`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::off_the_reactor;
use crate::api::state::AppState;
use crate::engine::{Token, Vocabulary};
use crate::http::RequestLog;
use crate::protocol::llama_server::{
    DetokenizeRequest, TextOrToken, TokenizeContent, TokenizeRequest,
};

pub(in crate::api) async fn tokenize(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(request): JsonBody<TokenizeRequest>,
) -> Result<Response, ApiError> {
    let vocabulary = vocabulary(&state, request.model.as_deref()).await?;
    off_the_reactor(log.body_bytes(), move || {
        let tokens = tokens_of(&vocabulary, &request)?;
        Ok(if request.with_pieces {
            Json(Tokens { tokens: Pieces { vocabulary: &vocabulary, tokens } }).into_response()
        } else {
            Json(Tokens { tokens }).into_response()
        })
    })
    .await
}

#[derive(Serialize)]
struct Tokens<T> {
    tokens: T,
}

/// Tokens with their texts, which are made one by one as the answer is written: all of them
/// together would take a hundred times the memory of the text.
struct Pieces<'a> {
    vocabulary: &'a Vocabulary,
    tokens: Vec<Token>,
}

impl Serialize for Pieces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.tokens
                .iter()
                .map(|&id| WithPiece { id, piece: piece(self.vocabulary.piece(id, true)) }),
        )
    }
}

#[derive(Serialize)]
struct WithPiece {
    id: Token,
    piece: Value,
}

/// `{"content"}`; bytes that are no text become U+FFFD.
pub(in crate::api) async fn detokenize(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    JsonBody(request): JsonBody<DetokenizeRequest>,
) -> Result<Json<Value>, ApiError> {
    let vocabulary = vocabulary(&state, request.model.as_deref()).await?;
    off_the_reactor(log.body_bytes(), move || {
        for (i, &token) in request.tokens.iter().enumerate() {
            check(&vocabulary, token, || format!("tokens[{i}]"))?;
        }
        let bytes = vocabulary.detokenize(&request.tokens);
        Ok(json!({"content": String::from_utf8_lossy(&bytes)}))
    })
    .await
    .map(Json)
}

/// That of the model asked for, which may be one that embeds or ranks.
async fn vocabulary(state: &AppState, asked: Option<&str>) -> Result<Vocabulary, ApiError> {
    if let Some(served) = asked.and_then(|name| state.models().find_beside(name)) {
        return Ok(served.loaded(state.http()).await?.vocabulary().clone());
    }
    Ok(state.resolve(asked)?.loaded(state.http()).await?.engine.vocabulary().clone())
}

fn tokens_of(vocabulary: &Vocabulary, request: &TokenizeRequest) -> Result<Vec<Token>, ApiError> {
    let parts = match &request.content {
        TokenizeContent::Text(text) => {
            return Ok(vocabulary.tokenize(text, request.add_special, request.parse_special));
        }
        TokenizeContent::Mixed(parts) => parts,
    };
    let mut tokens = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        match part {
            // The start of the text is the start of its first part alone.
            TextOrToken::Text(text) => tokens.extend(vocabulary.tokenize(
                text,
                request.add_special && i == 0,
                request.parse_special,
            )),
            &TextOrToken::Token(token) => {
                check(vocabulary, token, || format!("content[{i}]"))?;
                tokens.push(token);
            }
        }
    }
    Ok(tokens)
}

fn check(
    vocabulary: &Vocabulary,
    token: Token,
    param: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    if vocabulary.contains(token) {
        return Ok(());
    }
    let message = format!(
        "token {token} is not in the vocabulary; ids go from 0 to {}",
        vocabulary.len().saturating_sub(1)
    );
    Err(ApiError::invalid(param(), message))
}

/// Text where the bytes are whole characters, else the bytes themselves, as llama-server has it.
fn piece(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(text),
        Err(error) => json!(error.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_are_no_text_are_byte_arrays() {
        assert_eq!(piece(b"ab".to_vec()), json!("ab"));
        assert_eq!(piece(vec![0xe2, 0x82]), json!([0xe2, 0x82]));
    }
}
