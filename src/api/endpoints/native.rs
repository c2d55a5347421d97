//! `/completion` and `/infill`, llama-server's own forms.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::{Value, json};

use super::body::JsonBody;
use super::sampling::sampling;
use crate::api::error::ApiError;
use crate::api::generation::{
    Task, infill_prompt, named_conversation, sampling_params, start, text_prompt,
};
use crate::api::reply::{ReplyOptions, llama_server, respond};
use crate::api::state::AppState;
use crate::chat::ResponseFormat;
use crate::http::RequestLog;
use crate::protocol::llama_server::{InfillBody, NativeBody};
use crate::protocol::{BiasTarget, Options};

/// Also `/completions`.
pub(in crate::api) async fn completion(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<NativeBody>,
) -> Result<Response, ApiError> {
    let call = body.check(&state.settings())?;
    let (task, dialect, reply) =
        prepare(&state, log, &headers, call.options, call.response_fields)?;
    let loading = task.model.is_loading();
    let work = start(state.clone(), task, move |model| {
        let path = |i: usize| {
            if call.single { "prompt".to_owned() } else { format!("prompt[{i}]") }
        };
        let vocabulary = model.engine.vocabulary();
        let prompts = call.prompts.iter().enumerate();
        prompts
            .map(|(i, prompt)| Ok(text_prompt(model, prompt, &path(i), false)?.showing(vocabulary)))
            .collect()
    });
    respond(dialect, reply, loading, work).await
}

pub(in crate::api) async fn infill(
    State(state): State<AppState>,
    Extension(log): Extension<RequestLog>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<InfillBody>,
) -> Result<Response, ApiError> {
    let settings = state.settings();
    let call = body.check(&settings)?;
    let (batch, max_tokens) = (settings.context.batch, call.options.max_tokens);
    let (task, dialect, reply) =
        prepare(&state, log, &headers, call.options, call.response_fields)?;
    let loading = task.model.is_loading();
    let work = start(state.clone(), task, move |model| {
        let prompt = infill_prompt(model, &call.infill, batch, max_tokens)?;
        Ok(vec![prompt.showing(model.engine.vocabulary())])
    });
    respond(dialect, reply, loading, work).await
}

fn prepare(
    state: &AppState,
    log: RequestLog,
    headers: &HeaderMap,
    options: Options,
    response_fields: Vec<String>,
) -> Result<(Task, llama_server::Native, ReplyOptions), ApiError> {
    let model = state.resolve(options.model.as_deref())?;
    log.model(model.name());
    let reply = ReplyOptions::new(&options, options.n_probs);
    let settings = generation_settings(&options);
    let dialect = llama_server::Native::new(model.name(), reply, settings, response_fields);
    let task = Task {
        conversation: named_conversation(state, headers, &options),
        model: model.clone(),
        logprobs: options.n_probs,
        options,
        log,
        echo_logprobs: false,
        chat: None,
    };
    Ok((task, dialect, reply))
}

/// What an answer is made with, under llama-server's names.
fn generation_settings(options: &Options) -> Value {
    let mut settings = sampling(&sampling_params(&options.sampling));
    let most = options.max_tokens.map_or(-1, i64::from);
    let bias = |target: &BiasTarget| match target {
        BiasTarget::Token(id) => json!(i64::try_from(*id).unwrap_or(-1)),
        BiasTarget::Text(text) => json!(text),
    };
    let biases: Vec<Value> = options
        .logit_bias
        .iter()
        .map(|(target, value)| json!({"token": bias(target), "bias": value}))
        .collect();
    let grammar = match &options.format {
        ResponseFormat::Grammar(grammar) => grammar.as_str(),
        _ => "",
    };
    let own = json!({
        "n_predict": most,
        "max_tokens": most,
        "n_probs": options.n_probs.unwrap_or(0),
        "stop": options.stop,
        "stream": options.stream,
        "grammar": grammar,
        "logit_bias": biases,
        "timings_per_token": options.timings_per_token,
        "post_sampling_probs": false,
        "lora": [],
    });
    if let (Value::Object(settings), Value::Object(own)) = (&mut settings, own) {
        settings.extend(own);
    }
    settings
}
