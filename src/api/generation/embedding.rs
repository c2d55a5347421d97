//! Texts to vectors: tokenized off the reactor, and computed by the model that embeds or ranks.

use std::time::{Duration, Instant};

use super::blocking::off_the_reactor;
use crate::api::error::ApiError;
use crate::api::model::ServedEmbedding;
use crate::api::state::AppState;
use crate::engine::{EmbeddingEngine, EmbeddingError, Token};
use crate::http::{Error, RequestLog};
use crate::protocol::{EmbeddingText, EmbeddingTexts};

/// Seconds after which a full queue may have room.
const RETRY_AFTER: u64 = 2;

/// What became of the texts of a request.
pub(in crate::api) struct Embedded {
    /// Of each text, not normalized; of a reranker, its scores.
    pub(in crate::api) vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub(in crate::api) tokens: usize,
    /// How long the request waited for the model to be loaded.
    pub(in crate::api) load_time: Duration,
}

/// Waits for the model, tokenizes with `tokenize` off the reactor, and computes. `path` names the
/// field of the text at an index.
pub(in crate::api) async fn embed<F>(
    state: &AppState,
    served: &ServedEmbedding,
    log: &RequestLog,
    path: impl Fn(usize) -> String,
    tokenize: F,
) -> Result<Embedded, ApiError>
where
    F: FnOnce(&EmbeddingEngine) -> Result<Vec<Vec<Token>>, ApiError> + Send + 'static,
{
    log.model(served.name());
    let work = async {
        let began = Instant::now();
        let engine = served.loaded(state.http()).await?;
        let load_time = began.elapsed();
        let tokenizer = engine.clone();
        let texts = off_the_reactor(log.body_bytes(), move || tokenize(&tokenizer)).await?;
        let tokens = texts.iter().map(Vec::len).sum();
        log.prompt_tokens(tokens);
        state.energy().work_begins();
        let vectors = engine.embed(texts).await;
        let vectors = vectors.map_err(|error| refused(error, &engine, &path))?;
        Ok(Embedded { vectors, tokens, load_time })
    };
    match state.settings().limits.request_timeout {
        0 => work.await,
        timeout => {
            let deadline = log.start() + Duration::from_secs(timeout);
            tokio::time::timeout_at(deadline.into(), work)
                .await
                .map_err(|_| ApiError::DeadlineExceeded)?
        }
    }
}

fn refused(
    error: EmbeddingError,
    engine: &EmbeddingEngine,
    path: impl Fn(usize) -> String,
) -> ApiError {
    match error {
        EmbeddingError::TooLong { index, tokens, context } => ApiError::InvalidRequest {
            message: format!(
                "`{}` has {tokens} tokens, and the model takes {context} at most: send it in parts",
                path(index)
            ),
            param: Some(path(index)),
            code: "context_length_exceeded",
        },
        EmbeddingError::Empty { index } => {
            ApiError::invalid(path(index), format!("`{}` is empty: it has no tokens", path(index)))
        }
        EmbeddingError::UnknownToken { index, token } => {
            ApiError::invalid(path(index), outside(token.into(), engine))
        }
        EmbeddingError::Busy => {
            ApiError::QueueFull { waiting: engine.pending(), retry_after: RETRY_AFTER }
        }
        EmbeddingError::ShuttingDown => ApiError::shutting_down(),
        EmbeddingError::Compute => {
            Error::Internal("the model could not compute this request").into()
        }
    }
}

fn outside(token: i128, engine: &EmbeddingEngine) -> String {
    let len = engine.vocabulary().len();
    format!("token {token} is outside the vocabulary of {len} tokens")
}

/// The tokens of texts, with those that frame a text. Blocking. `truncate`: texts that are longer
/// than the context are cut.
pub(in crate::api) fn embedding_tokens(
    engine: &EmbeddingEngine,
    texts: &EmbeddingTexts,
    truncate: bool,
) -> Result<Vec<Vec<Token>>, ApiError> {
    let vocabulary = engine.vocabulary();
    let tokens = |(index, text): (usize, &EmbeddingText)| {
        let mut tokens = match text {
            EmbeddingText::Text(text) => vocabulary.tokenize(text, true, true),
            EmbeddingText::Tokens(ids) => ids
                .iter()
                .map(|&id| {
                    let token = Token::try_from(id).ok().filter(|&id| vocabulary.contains(id));
                    token.ok_or_else(|| ApiError::invalid(texts.path(index), outside(id, engine)))
                })
                .collect::<Result<_, _>>()?,
        };
        if truncate && tokens.len() > engine.context() {
            let end = tokens.last().copied();
            tokens.truncate(engine.context());
            // A text that is framed keeps the token that ends it.
            if let (Some(end), Some(last)) = (end, tokens.last_mut())
                && vocabulary.tokenize("", true, false).last() == Some(&end)
            {
                *last = end;
            }
        }
        Ok(tokens)
    };
    texts.texts.iter().enumerate().map(tokens).collect()
}
