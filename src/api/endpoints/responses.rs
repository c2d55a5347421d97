//! `/v1/responses`: makes, shows and forgets responses, and counts the tokens of a request.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::generation::{
    Task, Tokenized, chat_prompt, note_skipped_tools, off_the_reactor, relocated, start,
};
use crate::api::model::LoadedModel;
use crate::api::reply::responses::{Keep, Responses};
use crate::api::reply::{ReplyOptions, respond};
use crate::api::state::AppState;
use crate::api::stored_responses::{self, Owner};
use crate::chat::{Conversation, Message, Role};
use crate::http::RequestLog;
use crate::protocol::openai::responses::{Encoder, Head, History, ResponsesBody, ResponsesCall};

/// Letters and digits of a response's id: enough that nobody guesses one.
const ID_CHARS: usize = 24;
/// Longest part of an unknown id that an error repeats.
const MAX_ID_CHARS: usize = 100;

/// `POST /v1/responses`.
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ResponsesBody>,
) -> Result<Response, ApiError> {
    let owner = owner(&state, &headers);
    let previous = body.previous_response_id().map(str::to_owned);
    let history = history(&state, &body, owner).await?;
    let mut call = body.check(&state.settings(), history)?;
    let model = state.resolve(call.options.model.as_deref())?;
    log.model(model.name());
    note_skipped_tools(&log, &call.skipped_tools);
    let store = state.responses();
    let keep = (call.store && store.is_on()).then(|| Keep {
        store: store.clone(),
        owner,
        previous,
        // Values have string keys and a Vec takes every write: there is no way to fail.
        input: serde_json::to_vec(&call.input).unwrap_or_default(),
    });
    call.echo.insert("store".to_owned(), keep.is_some().into());
    let head = Head {
        random: (0..ID_CHARS).map(|_| fastrand::alphanumeric()).collect(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        model: model.name().to_owned(),
        echo: std::mem::take(&mut call.echo),
    };
    let encoder = Encoder::new(head, std::mem::take(&mut call.names), call.summarizes);
    let reply = ReplyOptions::new(&call.options, None);
    let task = Task::new(&state, &headers, model.clone(), call.options.clone(), log)
        .answering(&call.conversation);
    let work = start(state.clone(), task, move |model| Ok(vec![prompt(model, call)?]));
    respond(Responses::new(encoder, keep), reply, model.is_loading(), work).await
}

/// `GET /v1/responses/{id}`: as it was sent.
pub(in crate::api) async fn stored(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = named(id);
    if query.is_some_and(|query| query.split('&').any(|part| part == "stream=true")) {
        return Err(ApiError::InvalidRequest {
            message: "a stored response cannot be streamed again; leave out `stream`".to_owned(),
            param: Some("stream".to_owned()),
            code: "unsupported_value",
        });
    }
    let owner = owner(&state, &headers);
    let response = state.responses().get(&id, owner).ok_or_else(|| unknown(&id))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], response).into_response())
}

/// `DELETE /v1/responses/{id}`.
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = named(id);
    match state.responses().delete(&id, owner(&state, &headers)) {
        true => Ok(Json(json!({"id": id, "object": "response", "deleted": true}))),
        false => Err(unknown(&id)),
    }
}

/// `POST /v1/responses/input_tokens`: how many tokens the prompt of a request has, also of one that is
/// too long.
pub(in crate::api) async fn input_tokens(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ResponsesBody>,
) -> Result<Json<Value>, ApiError> {
    let served = state.resolve(body.model())?.clone();
    log.model(served.name());
    let history = history(&state, &body, owner(&state, &headers)).await?;
    let call = body.check(&state.settings(), history)?;
    let model = served.loaded(state.http()).await?;
    let count = off_the_reactor(log.body_bytes(), move || match prompt(&model, call) {
        Ok(prompt) => Ok(prompt.token_count()),
        Err(ApiError::ContextLengthExceeded { tokens, .. }) => Ok(tokens),
        Err(error) => Err(error),
    })
    .await?;
    Ok(Json(json!({"object": "response.input_tokens", "input_tokens": count})))
}

/// A path that is not UTF-8 names no response.
fn named(id: Result<Path<String>, PathRejection>) -> String {
    id.map(|Path(id)| id).unwrap_or_default()
}

fn unknown(id: &str) -> ApiError {
    ApiError::NoResponse { id: id.chars().take(MAX_ID_CHARS).collect() }
}

/// Whose the request's responses are. The key may have been withdrawn while the request was read:
/// then they are nobody's.
fn owner(state: &AppState, headers: &HeaderMap) -> Owner {
    let keys = state.http().keys();
    (!keys.is_empty()).then(|| keys.admitted(headers).unwrap_or_default())
}

/// What the request names of earlier responses.
async fn history(
    state: &AppState,
    body: &ResponsesBody,
    owner: Owner,
) -> Result<History, ApiError> {
    const PREVIOUS: &str = "previous_response_id";
    let store = state.responses();
    let refused = |message: String, code| {
        Err(ApiError::InvalidRequest { message, param: Some(PREVIOUS.to_owned()), code })
    };
    let chain = match body.previous_response_id() {
        None => Vec::new(),
        Some(_) if !store.is_on() => {
            let message = "no responses are kept here (`server.responses_store_mib` is 0); send all items \
                           in `input`";
            return refused(message.to_owned(), "unsupported_value");
        }
        Some(id) => match store.chain(id, owner) {
            Ok(chain) => chain,
            Err(lost) => {
                let error = unknown(&lost);
                return refused(format!("`{PREVIOUS}`: {error}"), "previous_response_not_found");
            }
        },
    };
    let ids = body.references();
    let holders = store.with_items(&ids, owner);
    if chain.is_empty() && holders.is_empty() {
        return Ok(History::default());
    }
    let bytes =
        chain.iter().map(|stored| stored.input.len() + stored.response.len()).sum::<usize>()
            + holders.iter().map(|response| response.len()).sum::<usize>();
    off_the_reactor(bytes, move || {
        let mut history = History::default();
        for stored in chain {
            let input: Vec<Value> = serde_json::from_slice(&stored.input).unwrap_or_default();
            history.items.extend(input);
            history.items.extend(stored_responses::output(&stored.response));
        }
        let items = holders.iter().flat_map(|response| stored_responses::output(response));
        for item in items {
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            history.found.insert(id, item);
        }
        Ok(history)
    })
    .await
}

/// The request's prompt; with `truncation: "auto"` without as many of the oldest turns as are too
/// much.
fn prompt(model: &LoadedModel, mut call: ResponsesCall) -> Result<Tokenized, ApiError> {
    loop {
        match chat_prompt(model, &call.conversation, None) {
            Err(ApiError::ContextLengthExceeded { tokens, n_ctx, .. }) => {
                let excess = tokens.saturating_sub(n_ctx) as f64 / tokens.max(1) as f64;
                if !(call.truncates
                    && drop_oldest(&mut call.conversation, &mut call.places, excess))
                {
                    let param = "input";
                    return Err(ApiError::ContextLengthExceeded { tokens, n_ctx, param });
                }
            }
            Err(error) => return Err(relocated(error, &call.places, "input")),
            Ok(prompt) => return Ok(prompt),
        }
    }
}

/// Leaves out the oldest turns, at least one and about this share of the texts; whether there was one
/// besides the last.
fn drop_oldest(conversation: &mut Conversation, places: &mut Vec<String>, share: f64) -> bool {
    let messages = &mut conversation.messages;
    let is_instruction = |m: &Message| matches!(m.role, Role::System | Role::Developer);
    let Some(first) = messages.iter().position(|m| !is_instruction(m)) else { return false };
    let sizes: Vec<usize> = messages.iter().map(size).collect();
    let wanted = sizes.iter().sum::<usize>() as f64 * share;
    let mut dropped = sizes.get(first).copied().unwrap_or_default();
    let mut end = None;
    for (i, message) in messages.iter().enumerate().skip(first + 1) {
        if message.role == Role::User {
            end = Some(i);
            if dropped as f64 >= wanted {
                break;
            }
        }
        dropped += sizes[i];
    }
    let Some(end) = end else { return false };
    // Instructions between the turns stay.
    let mut index = 0;
    let mut goes = |stays: bool| {
        index += 1;
        stays || index <= first || index > end
    };
    let kept: Vec<bool> = messages.iter().map(|m| goes(is_instruction(m))).collect();
    let mut keep = kept.iter();
    messages.retain(|_| keep.next() == Some(&true));
    let mut keep = kept.iter();
    places.retain(|_| keep.next() == Some(&true));
    true
}

/// Bytes of a message's texts.
fn size(message: &Message) -> usize {
    let calls = message.tool_calls.iter().flatten();
    let calls: usize = calls.map(|call| call.function.arguments.to_string().len()).sum();
    message.text().len() + message.reasoning_content.as_ref().map_or(0, String::len) + calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: &[(Role, &str)]) -> (Conversation, Vec<String>) {
        let messages = turns.iter().map(|(role, text)| Message::new(role.clone(), text)).collect();
        let places = (0..turns.len()).map(|i| format!("input[{i}]")).collect();
        (Conversation { messages, ..Conversation::default() }, places)
    }

    #[test]
    fn the_oldest_turns_go_and_instructions_and_the_last_turn_stay() {
        let turns = [
            (Role::System, "S"),
            (Role::User, "aaaaaaaaaa"),
            (Role::Assistant, "bbbbbbbbbb"),
            (Role::Developer, "D"),
            (Role::User, "cccccccccc"),
            (Role::Assistant, "dddddddddd"),
            (Role::User, "eeeeeeeeee"),
            (Role::Tool, "f"),
        ];
        let left = |share: f64, times: usize| {
            let (mut all, mut places) = conversation(&turns);
            let done = (0..times).all(|_| drop_oldest(&mut all, &mut places, share));
            let texts: String = all.messages.iter().map(|m| m.text().remove(0)).collect();
            assert_eq!(places.len(), all.messages.len());
            (texts, done)
        };
        assert_eq!(left(0.1, 1), ("SDcdef".to_owned(), true));
        assert_eq!(left(0.5, 1), ("SDef".to_owned(), true));
        assert_eq!(left(0.99, 1), ("SDef".to_owned(), true));
        assert_eq!(left(0.1, 3), ("SDef".to_owned(), false));
    }
}
