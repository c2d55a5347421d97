//! From a checked request to sequences for the engine: rendering and tokenizing, both blocking.

use std::sync::Arc;

use super::conversation;
use super::task::Task;
use crate::api::error::ApiError;
use crate::api::model::LoadedModel;
use crate::chat::output::Opening;
use crate::chat::{Conversation, Rendered, Template};
use crate::engine::{GenerationRequest, SamplingParams, Token, Vocabulary};
use crate::protocol::{Bias, BiasTarget, Prompt, PromptPiece, Sampling};

/// A prompt that fits into a slot.
#[derive(Debug)]
pub(in crate::api) struct Tokenized {
    pub(super) tokens: Vec<Token>,
    /// Positions in `tokens` at which user messages begin.
    pub(super) message_starts: Vec<usize>,
    /// Positions in `tokens` at which a later prompt may begin to differ, ascending.
    pub(super) borders: Vec<usize>,
    /// What its beginning names its conversation.
    pub(super) conversation: u64,
    /// Text that each answer to this prompt begins with (`echo`).
    pub(super) preface: Option<String>,
    /// Its text, where the answer repeats it apart from what is generated.
    pub(super) shown: Option<String>,
    /// Tokens at the start that are not in the prompt's text.
    pub(super) added: usize,
    /// Where the output begins.
    pub(super) opening: Opening,
    /// Most tokens of its thinking block.
    pub(super) thinking_budget: Option<u32>,
}

impl Tokenized {
    /// How many tokens it has.
    pub(in crate::api) fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The same prompt, whose text the answer shall repeat.
    pub(in crate::api) fn showing(mut self, vocabulary: &Vocabulary) -> Self {
        let bytes = vocabulary.detokenize(&self.tokens);
        self.shown = Some(String::from_utf8_lossy(&bytes).into_owned());
        self
    }
}

/// Renders a conversation with the model's template. Many templates write the BOS token
/// themselves; where tokenizing adds it, it is left out, as a second one makes answers worse.
/// The text can then go to `/v1/completions` as it is.
pub(in crate::api) fn render(
    model: &LoadedModel,
    conversation: &Conversation,
) -> Result<Rendered, ApiError> {
    let template = model.template.as_ref().map_err(|why| ApiError::InvalidRequest {
        message: why.clone(),
        param: Some("messages".to_owned()),
        code: "no_chat_template",
    })?;
    let mut rendered = template.render(conversation).map_err(|error| {
        let path = error.message.map_or("messages".to_owned(), |i| format!("messages[{i}]"));
        ApiError::InvalidRequest {
            message: match error.message {
                Some(_) => format!("{path}: {error}"),
                None => error.to_string(),
            },
            param: Some(path),
            code: "template_error",
        }
    })?;
    let bos = model.engine.vocabulary().added_bos();
    // One that a message spells is none.
    let is_own = rendered.breaks.first().is_none_or(|&at| at >= bos.len());
    if !bos.is_empty() && is_own && rendered.prompt.starts_with(&bos) {
        rendered.prompt.drain(..bos.len());
        let Rendered { prompt: _, breaks, message_starts, borders, opening } = &mut rendered;
        for at in breaks.iter_mut().chain(message_starts).chain(borders).chain(opening) {
            *at = at.saturating_sub(bos.len());
        }
    }
    Ok(rendered)
}

/// An error about a message as one about what the client sent it as. `places` are the messages' paths
/// in the request, and `all` that of what holds them.
pub(in crate::api) fn relocated(error: ApiError, places: &[String], all: &str) -> ApiError {
    let ApiError::InvalidRequest { message, param: Some(param), code } = error else {
        return error;
    };
    let Some(index) = param.strip_prefix("messages") else {
        return ApiError::InvalidRequest { message, param: Some(param), code };
    };
    let index = index.strip_prefix('[').and_then(|i| i.strip_suffix(']')?.parse::<usize>().ok());
    let place = index.and_then(|i| places.get(i)).map_or(all, String::as_str);
    let message = match message.strip_prefix(&param) {
        Some(rest) => format!("{place}{rest}"),
        None => message,
    };
    ApiError::InvalidRequest { message, param: Some(place.to_owned()), code }
}

/// A conversation as tokens.
pub(in crate::api) fn chat_prompt(
    model: &LoadedModel,
    conversation: &Conversation,
    preface: Option<String>,
) -> Result<Tokenized, ApiError> {
    let rendered = render(model, conversation)?;
    let vocabulary = model.engine.vocabulary();
    let tokens = bounded(model, &rendered.prompt, &rendered.breaks, true, "messages")?;
    let added = usize::from(vocabulary.adds_bos() && !tokens.is_empty());
    let added_bytes = vocabulary.detokenize(&tokens[..added]).len();
    let positions = |offsets: &[usize]| {
        vocabulary.tokens_at_bytes(&tokens, offsets.iter().map(|&offset| offset + added_bytes))
    };
    let message_starts = positions(&rendered.message_starts);
    let borders = positions(&rendered.borders);
    let answer = rendered.opening.and_then(|opening| positions(&[opening]).pop());
    let borders = usable(borders, answer, tokens.len());
    let opening = opening(model, conversation, &rendered.prompt);
    let template = model.template.as_ref().ok();
    let thinking_budget = template.and_then(|template| template.thinking_budget(conversation));
    let prompt = Tokenized {
        tokens,
        message_starts,
        borders,
        conversation: conversation::of_messages(&conversation.messages),
        preface,
        shown: None,
        added,
        opening,
        thinking_budget,
    };
    check(model, prompt, "messages")
}

/// Tokens of a conversation's prompt, also of one that does not fit. Of a text of megabytes that is
/// sure not to, an estimate.
pub(in crate::api) fn count_tokens(
    model: &LoadedModel,
    conversation: &Conversation,
) -> Result<usize, ApiError> {
    match chat_prompt(model, conversation, None) {
        Ok(prompt) => Ok(prompt.tokens.len()),
        Err(ApiError::ContextLengthExceeded { tokens, .. }) => Ok(tokens),
        Err(error) => Err(error),
    }
}

/// The borders of a prompt of `n` tokens: those of its messages and of the opening of its answer,
/// at which something is before and behind. Where no opening is known, the last is so far before
/// the end as llama-server puts it.
fn usable(mut borders: Vec<usize>, opening: Option<usize>, n: usize) -> Vec<usize> {
    const TAIL: usize = 4;
    borders.push(opening.unwrap_or(n.saturating_sub(TAIL)));
    // A message may begin behind the tail.
    borders.sort_unstable();
    borders.dedup();
    borders.retain(|border| (1..n).contains(border));
    borders
}

/// Where the output begins behind the prompt of a conversation.
fn opening(model: &LoadedModel, conversation: &Conversation, prompt: &str) -> Opening {
    let continues_thoughts = conversation.continue_final_message
        && conversation.messages.last().is_some_and(|last| {
            last.text().is_empty() && last.reasoning_content.as_ref().is_some_and(|t| !t.is_empty())
        });
    let format = model.template.as_ref().ok().and_then(Template::format);
    match format {
        Some(_) if continues_thoughts => Opening::Thinking,
        Some(format) => Opening::of(format, prompt),
        None => Opening::Text,
    }
}

/// Text and token ids as tokens. `path` is the prompt's in the request.
pub(in crate::api) fn text_prompt(
    model: &LoadedModel,
    prompt: &Prompt,
    path: &str,
    echo: bool,
) -> Result<Tokenized, ApiError> {
    let vocabulary = model.engine.vocabulary();
    let mut tokens = Vec::new();
    let mut added = 0;
    for (i, piece) in prompt.iter().enumerate() {
        match piece {
            PromptPiece::Text(text) => {
                let first = i == 0;
                tokens.extend(bounded(model, text, &[], first, "prompt")?);
                if first && vocabulary.adds_bos() && !tokens.is_empty() {
                    added = 1;
                }
                // Many texts that are short enough by themselves may be too much together.
                fits(model, tokens.len(), "prompt")?;
            }
            PromptPiece::Token(id) => tokens.push(token(vocabulary, *id).ok_or_else(|| {
                let path = format!("{path}[{i}]");
                ApiError::invalid(path, outside(*id, vocabulary))
            })?),
        }
    }
    if tokens.is_empty() {
        // What the model takes for the beginning of a text, if it knows such a thing.
        tokens = vocabulary.tokenize("", true, true);
        added = tokens.len();
    }
    fits(model, tokens.len(), "prompt")?;
    let preface = echo.then(|| match prompt.as_slice() {
        [PromptPiece::Text(text)] => text.clone(),
        _ => String::from_utf8_lossy(&vocabulary.detokenize(&tokens[added..])).into_owned(),
    });
    check(model, of_text(tokens, preface, added), "prompt")
}

/// A prompt without messages.
pub(super) fn of_text(tokens: Vec<Token>, preface: Option<String>, added: usize) -> Tokenized {
    Tokenized {
        borders: usable(Vec::new(), None, tokens.len()),
        conversation: conversation::of_tokens(&tokens),
        tokens,
        message_starts: Vec::new(),
        preface,
        shown: None,
        added,
        opening: Opening::Text,
        thinking_budget: None,
    }
}

/// Tokenizes a text, unless it is sure to be too long: of such a text only the beginning is read,
/// and the number of its tokens estimated from that.
fn bounded(
    model: &LoadedModel,
    text: &str,
    breaks: &[usize],
    add_special: bool,
    param: &'static str,
) -> Result<Vec<Token>, ApiError> {
    /// Shorter texts are always read whole, so that the number in the error is exact.
    const ALWAYS_READ: usize = 1 << 20;
    /// The first beginning that is tried has this many bytes, or as many for each token that fits:
    /// ordinary text has 3 to 5.
    const BEGINNING: usize = 256 << 10;
    const BYTES_PER_TOKEN: usize = 4;
    let vocabulary = model.engine.vocabulary();
    let n_ctx = n_ctx(model);
    // The word that a beginning ends in may have some tokens more than in the whole text.
    let too_many = n_ctx + n_ctx / 16 + 64;
    let mut bytes = n_ctx.saturating_mul(BYTES_PER_TOKEN).max(BEGINNING);
    while text.len() > ALWAYS_READ.max(bytes) {
        let end = (0..=bytes).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let begin = &text[..end];
        let tokens = vocabulary.tokenize(begin, add_special, true).len();
        if tokens > too_many {
            let tokens = (tokens as f64 * text.len() as f64 / begin.len() as f64) as usize;
            return Err(ApiError::ContextLengthExceeded { tokens, n_ctx, param });
        }
        // All beginnings together then cost a third of what the whole text does.
        bytes = bytes.saturating_mul(4);
    }
    Ok(vocabulary.tokenize_apart(text, breaks, add_special))
}

/// Tokens of a prompt and its answer together: a slot's context. The answer needs one.
pub(super) fn n_ctx(model: &LoadedModel) -> usize {
    model.engine.facts().n_ctx_slot as usize
}

pub(super) fn check(
    model: &LoadedModel,
    prompt: Tokenized,
    param: &'static str,
) -> Result<Tokenized, ApiError> {
    if prompt.tokens.is_empty() {
        return Err(ApiError::invalid(param, "the prompt is empty: it has no tokens"));
    }
    fits(model, prompt.tokens.len(), param)?;
    Ok(prompt)
}

fn fits(model: &LoadedModel, tokens: usize, param: &'static str) -> Result<(), ApiError> {
    let n_ctx = n_ctx(model);
    if tokens >= n_ctx {
        return Err(ApiError::ContextLengthExceeded { tokens, n_ctx, param });
    }
    Ok(())
}

fn token(vocabulary: &Vocabulary, id: i128) -> Option<Token> {
    Token::try_from(id).ok().filter(|&id| vocabulary.contains(id))
}

fn outside(id: i128, vocabulary: &Vocabulary) -> String {
    format!("token {id} is outside the vocabulary of {} tokens", vocabulary.len())
}

/// Biases by token; a text's bias goes to each of its tokens, and those of one token add up.
fn biases(vocabulary: &Vocabulary, all: &[Bias]) -> Result<Arc<[(Token, f32)]>, ApiError> {
    let mut by_token: Vec<(Token, f32)> = Vec::with_capacity(all.len());
    for (target, bias) in all {
        match target {
            BiasTarget::Token(id) => {
                let id = token(vocabulary, *id)
                    .ok_or_else(|| ApiError::invalid("logit_bias", outside(*id, vocabulary)))?;
                by_token.push((id, *bias));
            }
            BiasTarget::Text(text) => {
                let tokens = vocabulary.tokenize(text, false, false);
                by_token.extend(tokens.into_iter().map(|id| (id, *bias)));
            }
        }
    }
    by_token.sort_by_key(|(id, _)| *id);
    by_token.dedup_by(|(id, bias), (kept, sum)| {
        let same = id == kept;
        if same {
            *sum += *bias;
        }
        same
    });
    Ok(by_token.into())
}

/// What the engine samples with; `logit_bias` is left empty.
pub(in crate::api) fn sampling_params(sampling: &Sampling) -> SamplingParams {
    SamplingParams {
        min_keep: sampling.min_keep,
        ignore_eos: sampling.ignore_eos,
        ..SamplingParams::from(&sampling.values)
    }
}

/// `n` sequences for each prompt, those of the first prompt first; without deadline.
pub(super) fn sequences(
    model: &LoadedModel,
    task: &Task,
    prompts: &[Tokenized],
) -> Result<Vec<GenerationRequest>, ApiError> {
    let options = &task.options;
    let vocabulary = model.engine.vocabulary();
    let mut common = sampling_params(&options.sampling);
    common.logit_bias = biases(vocabulary, &options.logit_bias)?;
    let slots = model.engine.facts().n_slots.max(1);
    let sequence = |prompt: &Tokenized, k: u32| {
        let mut sampling = common.clone();
        // Choices of one seed would all be the same text.
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(k));
        GenerationRequest {
            id: task.log.id().to_owned(),
            prompt: prompt.tokens.clone(),
            message_starts: prompt.message_starts.clone(),
            borders: prompt.borders.clone(),
            conversation: conversation::named_or(task.conversation, prompt.conversation),
            max_tokens: options.max_tokens,
            sampling,
            grammar: None,
            direct_grammar: None,
            thinking: None,
            visible: Arc::default(),
            stop: options.stop.clone(),
            top_logprobs: task.logprobs,
            prompt_logprobs: task.logprobs.filter(|_| task.echo_logprobs),
            cache_prompt: options.cache_prompt,
            speculation: options.speculation,
            progress: options.progress,
            id_slot: options.id_slot.map(|slot| slot % slots),
            max_predict_ms: options.max_predict_ms,
            deadline: None,
        }
    };
    Ok(prompts
        .iter()
        .flat_map(|p| (0..options.n).map(move |k| (p, k)))
        .map(|(p, k)| sequence(p, k))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_have_tokens_on_both_sides_and_end_before_the_answer() {
        assert_eq!(usable(vec![0, 5, 5, 20], Some(40), 44), [5, 20, 40]);
        assert_eq!(usable(vec![5, 44], None, 44), [5, 40]);
        assert_eq!(usable(vec![5, 42], None, 44), [5, 40, 42]);
        assert_eq!(usable(Vec::new(), None, 300), [296]);
        for n in 0..=4 {
            assert_eq!(usable(Vec::new(), None, n), [0_usize; 0]);
        }
    }

    #[test]
    fn an_error_about_a_message_names_its_item() {
        let places = ["instructions".to_owned(), "input[3]".to_owned()];
        let error = |param: &str, message: &str| ApiError::InvalidRequest {
            message: message.to_owned(),
            param: Some(param.to_owned()),
            code: "template_error",
        };
        let new = |param: &str, message: &str| relocated(error(param, message), &places, "input");
        assert_eq!(new("messages[1]", "messages[1]: no"), error("input[3]", "input[3]: no"));
        assert_eq!(new("messages[9]", "messages[9]: no"), error("input", "input: no"));
        assert_eq!(new("messages", "no"), error("input", "no"));
        assert_eq!(new("tools[0]", "no"), error("tools[0]", "no"));
    }
}
