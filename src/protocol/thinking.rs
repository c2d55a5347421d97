//! The switches of thinking, in every spelling that clients send.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::{Reasoning, ReasoningFormat};
use crate::protocol::body::{BodyError, Integer};

/// The switches as sent. `null` is as good as left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawThinking {
    /// Variables of the template, vLLM's and llama-server's way.
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Alibaba's.
    enable_thinking: Option<Value>,
    /// Ollama's: a flag or an effort.
    think: Option<Value>,
    /// Anthropic's, and that of GLM and DeepSeek.
    thinking: Option<Value>,
    /// OpenAI's in Responses, and OpenRouter's.
    reasoning: Option<Value>,
    /// OpenAI's.
    reasoning_effort: Option<Value>,
    /// llama-server's.
    reasoning_format: Option<Value>,
    thinking_budget_tokens: Option<Value>,
    reasoning_budget_tokens: Option<Value>,
    thinking_budget: Option<Value>,
    reasoning_budget: Option<Value>,
    /// What the OpenAI SDK for Python puts at the top; other clients send it as it is.
    extra_body: Option<Box<RawThinking>>,
    /// An effort that stands elsewhere in the body, with its path.
    #[serde(skip)]
    effort: Option<(&'static str, Value)>,
}

/// Refuses bounds of the thoughts of a text that has none of its own: a completion's.
pub(super) fn refuse_budgets(
    reasoning_budget_tokens: Option<Integer>,
    thinking_budget_tokens: Option<Integer>,
) -> Result<(), BodyError> {
    for (name, budget) in [
        ("reasoning_budget_tokens", reasoning_budget_tokens),
        ("thinking_budget_tokens", thinking_budget_tokens),
    ] {
        if budget.is_some_and(|Integer(tokens)| tokens >= 0) {
            return Err(BodyError::unsupported(
                name,
                format!(
                    "a completion's text has no thoughts of its own: leave out `{name}`, or send \
                     a chat"
                ),
            ));
        }
    }
    Ok(())
}

/// What the switches say together.
#[derive(Debug, Default)]
struct Switches {
    thinks: Option<bool>,
    effort: Option<String>,
    /// `Some(None)`: without limit.
    budget: Option<Option<u32>>,
}

impl RawThinking {
    /// With the effort that a dialect has at another place.
    pub(super) fn with_effort(self, path: &'static str, effort: Option<Value>) -> Self {
        Self { effort: effort.filter(|effort| !effort.is_null()).map(|e| (path, e)), ..self }
    }

    /// Puts what the switches say into the template's variables, which hold those of the settings.
    /// Where they contradict each other, the more specific wins: `chat_template_kwargs`, then
    /// `enable_thinking`, `think`, `thinking`, `reasoning`, `reasoning_effort`; and the budgets
    /// with a name of their own before those in objects.
    pub(super) fn apply(self, kwargs: &mut Map<String, Value>) -> Result<Reasoning, BodyError> {
        let raw = self.with_extra_body();
        let mut switches = Switches::default();
        if let Some((path, effort)) = raw.effort {
            switches.effort(path, &effort)?;
        }
        if let Some(effort) = raw.reasoning_effort {
            switches.effort("reasoning_effort", &effort)?;
        }
        if let Some(reasoning) = raw.reasoning {
            switches.reasoning(&reasoning)?;
        }
        if let Some(thinking) = raw.thinking {
            switches.thinking(&thinking)?;
        }
        match raw.think {
            None => {}
            Some(Value::String(effort)) if flag("think", &effort.as_str().into()).is_err() => {
                switches.thinks = Some(true);
                switches.effort("think", &effort.into())?;
            }
            Some(think) => {
                let accepted = "true, false or an effort such as \"high\"";
                switches.thinks = Some(flag_or("think", &think, accepted)?);
            }
        }
        if let Some(enabled) = raw.enable_thinking {
            switches.thinks = Some(flag("enable_thinking", &enabled)?);
        }
        for (name, budget) in [
            ("reasoning_budget", raw.reasoning_budget),
            ("thinking_budget", raw.thinking_budget),
            ("reasoning_budget_tokens", raw.reasoning_budget_tokens),
            ("thinking_budget_tokens", raw.thinking_budget_tokens),
        ] {
            if let Some(budget) = budget {
                switches.budget = Some(tokens(name, &budget)?);
            }
        }
        let format = raw.reasoning_format.map(|format| format_of(&format)).transpose()?;

        let mut own = raw.chat_template_kwargs.unwrap_or_default();
        // Forms and environment variables hold texts only.
        for name in ["enable_thinking", "thinking"] {
            if let Some(value) = own.get_mut(name) {
                *value = flag(&format!("chat_template_kwargs.{name}"), value)?.into();
            }
        }
        if switches.thinks.is_none() && switches.budget == Some(Some(0)) {
            switches.thinks = Some(false);
        }
        if let Some(thinks) = switches.thinks {
            kwargs.insert("enable_thinking".to_owned(), thinks.into());
        }
        if let Some(effort) = switches.effort.filter(|_| switches.thinks != Some(false)) {
            kwargs.insert("reasoning_effort".to_owned(), effort.into());
        }
        if let Some(thinks) = own.get("thinking").filter(|_| !own.contains_key("enable_thinking")) {
            kwargs.insert("enable_thinking".to_owned(), thinks.clone());
        }
        kwargs.extend(own);
        Ok(Reasoning { format: format.unwrap_or_default(), budget: switches.budget.flatten() })
    }

    /// With the fields of `extra_body` that are not at the top.
    fn with_extra_body(mut self) -> Self {
        let Some(extra) = self.extra_body.take() else { return self };
        let mut kwargs = extra.chat_template_kwargs;
        if let Some(own) = self.chat_template_kwargs {
            kwargs.get_or_insert_default().extend(own);
        }
        Self {
            chat_template_kwargs: kwargs,
            enable_thinking: self.enable_thinking.or(extra.enable_thinking),
            think: self.think.or(extra.think),
            thinking: self.thinking.or(extra.thinking),
            reasoning: self.reasoning.or(extra.reasoning),
            reasoning_effort: self.reasoning_effort.or(extra.reasoning_effort),
            reasoning_format: self.reasoning_format.or(extra.reasoning_format),
            thinking_budget_tokens: self.thinking_budget_tokens.or(extra.thinking_budget_tokens),
            reasoning_budget_tokens: self.reasoning_budget_tokens.or(extra.reasoning_budget_tokens),
            thinking_budget: self.thinking_budget.or(extra.thinking_budget),
            reasoning_budget: self.reasoning_budget.or(extra.reasoning_budget),
            extra_body: None,
            effort: self.effort,
        }
    }
}

impl Switches {
    fn effort(&mut self, name: &str, effort: &Value) -> Result<(), BodyError> {
        let Some(effort) = effort.as_str() else {
            return Err(BodyError::wrong_type(name, format!("`{name}` must be a string")));
        };
        match effort {
            "none" => self.thinks = Some(false),
            "minimal" | "low" | "medium" | "high" | "xhigh" | "max" => {
                self.effort = Some(effort.to_owned());
            }
            _ => {
                return Err(BodyError::value(
                    name,
                    format!("`{name}` must be none, minimal, low, medium, high, xhigh or max"),
                ));
            }
        }
        Ok(())
    }

    /// `{"effort": .., "enabled": .., "max_tokens": ..}`.
    fn reasoning(&mut self, reasoning: &Value) -> Result<(), BodyError> {
        let Some(fields) = reasoning.as_object() else {
            const ACCEPTED: &str = "true, false or an object such as {\"effort\": \"high\"}";
            self.thinks = Some(flag_or("reasoning", reasoning, ACCEPTED)?);
            return Ok(());
        };
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        if let Some(effort) = given("effort") {
            self.effort("reasoning.effort", effort)?;
        }
        if let Some(budget) = given("max_tokens") {
            self.budget = Some(tokens("reasoning.max_tokens", budget)?);
        }
        if let Some(enabled) = given("enabled") {
            self.thinks = Some(flag("reasoning.enabled", enabled)?);
        }
        match given("exclude").map(|exclude| flag("reasoning.exclude", exclude)).transpose()? {
            Some(true) => Err(BodyError::unsupported(
                "reasoning.exclude",
                "thoughts cannot be left out of the answer; turn thinking off with \
                 `\"reasoning\": {\"enabled\": false}`",
            )),
            _ => Ok(()),
        }
    }

    /// `{"type": .., "budget_tokens": ..}`.
    fn thinking(&mut self, thinking: &Value) -> Result<(), BodyError> {
        let Some(fields) = thinking.as_object() else {
            const ACCEPTED: &str = "true, false or an object such as {\"type\": \"enabled\"}";
            self.thinks = Some(flag_or("thinking", thinking, ACCEPTED)?);
            return Ok(());
        };
        match fields.get("type").map(Value::as_str) {
            Some(Some("enabled")) => self.thinks = Some(true),
            Some(Some("disabled")) => self.thinks = Some(false),
            // The model decides, as it does by itself.
            Some(Some("adaptive" | "auto")) => {}
            None if fields.contains_key("budget_tokens") => {}
            None => return Err(BodyError::missing("thinking.type")),
            Some(_) => {
                return Err(BodyError::value(
                    "thinking.type",
                    "`thinking.type` must be enabled, disabled or adaptive",
                ));
            }
        }
        if let Some(budget) = fields.get("budget_tokens").filter(|budget| !budget.is_null()) {
            self.budget = Some(tokens("thinking.budget_tokens", budget)?);
        }
        Ok(())
    }
}

/// A boolean, also as a text.
fn flag(name: &str, value: &Value) -> Result<bool, BodyError> {
    flag_or(name, value, "true or false")
}

/// A boolean where something else may stand as well: `accepted` says what.
fn flag_or(name: &str, value: &Value, accepted: &str) -> Result<bool, BodyError> {
    let message = || format!("`{name}` must be {accepted}");
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Value::String(_) => Err(BodyError::value(name, message())),
        _ => Err(BodyError::wrong_type(name, message())),
    }
}

/// A number of tokens; -1 is no limit.
fn tokens(name: &str, value: &Value) -> Result<Option<u32>, BodyError> {
    let wrong = |_| BodyError::wrong_type(name, format!("`{name}` must be an integer"));
    match Integer::deserialize(value).map_err(wrong)?.0 {
        -1 => Ok(None),
        count if count < 0 => {
            Err(BodyError::value(name, format!("`{name}` must be -1 (no limit), 0 or more")))
        }
        count => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
    }
}

fn format_of(format: &Value) -> Result<ReasoningFormat, BodyError> {
    let name = "reasoning_format";
    match format.as_str() {
        Some("auto" | "deepseek") => Ok(ReasoningFormat::Auto),
        Some("none") => Ok(ReasoningFormat::None),
        Some("deepseek-legacy") => Err(BodyError::unsupported(
            name,
            "`deepseek-legacy` gives thoughts twice; use `deepseek` or `none`",
        )),
        Some(_) => Err(BodyError::value(name, "`reasoning_format` must be auto, deepseek or none")),
        None => Err(BodyError::wrong_type(name, "`reasoning_format` must be a string")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(body: Value) -> Result<(Value, Reasoning), BodyError> {
        let raw: RawThinking = serde_json::from_value(body).unwrap();
        let mut kwargs = Map::new();
        let reasoning = raw.apply(&mut kwargs)?;
        Ok((Value::Object(kwargs), reasoning))
    }

    #[test]
    fn every_spelling_of_off_is_understood() {
        let off = json!({"enable_thinking": false});
        for body in [
            json!({"chat_template_kwargs": {"enable_thinking": "false"}}),
            json!({"enable_thinking": false}),
            json!({"enable_thinking": "False"}),
            json!({"think": false}),
            json!({"thinking": {"type": "disabled"}}),
            json!({"thinking": false}),
            json!({"reasoning": {"effort": "none"}}),
            json!({"reasoning": {"enabled": false}}),
            json!({"reasoning_effort": "none"}),
            json!({"extra_body": {"chat_template_kwargs": {"enable_thinking": false}}}),
            json!({"extra_body": {"think": false}}),
            json!({"enable_thinking": true, "chat_template_kwargs": {"enable_thinking": false}}),
            json!({"reasoning_effort": "high", "enable_thinking": false}),
        ] {
            let (kwargs, reasoning) = applied(body.clone()).unwrap();
            assert_eq!((kwargs, reasoning), (off.clone(), Reasoning::default()), "{body}");
        }
        let kwargs = json!({"chat_template_kwargs": {"thinking": "false"}});
        assert_eq!(
            applied(kwargs).unwrap().0,
            json!({"enable_thinking": false, "thinking": false})
        );
    }

    #[test]
    fn efforts_and_flags_reach_the_template() {
        for (body, kwargs) in [
            (json!({}), json!({})),
            (json!({"think": null, "enable_thinking": null}), json!({})),
            (json!({"think": "low"}), json!({"enable_thinking": true, "reasoning_effort": "low"})),
            (json!({"thinking": {"type": "adaptive"}}), json!({})),
            (json!({"reasoning_effort": "xhigh"}), json!({"reasoning_effort": "xhigh"})),
            (
                json!({"reasoning": {"effort": "high", "summary": "auto"}}),
                json!({"reasoning_effort": "high"}),
            ),
            (json!({"reasoning_effort": "none", "think": true}), json!({"enable_thinking": true})),
        ] {
            assert_eq!(applied(body.clone()).unwrap().0, kwargs, "{body}");
        }
    }

    #[test]
    fn budgets_bound_the_block() {
        for (body, budget) in [
            (json!({"thinking_budget": 100}), Some(100)),
            (
                json!({"thinking_budget_tokens": 7, "thinking": {"type": "enabled", "budget_tokens": 9}}),
                Some(7),
            ),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 9}}), Some(9)),
            (json!({"reasoning": {"max_tokens": 5}}), Some(5)),
            (json!({"reasoning_budget": -1}), None),
            (json!({"extra_body": {"reasoning_budget": 3}}), Some(3)),
        ] {
            assert_eq!(applied(body.clone()).unwrap().1.budget, budget, "{body}");
        }
        let (kwargs, reasoning) = applied(json!({"reasoning_budget": 0})).unwrap();
        assert_eq!((kwargs, reasoning.budget), (json!({"enable_thinking": false}), Some(0)));
        let none = applied(json!({"reasoning_format": "none"})).unwrap().1;
        assert_eq!(none.format, ReasoningFormat::None);
        assert_eq!(
            applied(json!({"reasoning_format": "deepseek"})).unwrap().1,
            Reasoning::default()
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (body, param) in [
            (
                json!({"chat_template_kwargs": {"enable_thinking": "no"}}),
                "chat_template_kwargs.enable_thinking",
            ),
            (json!({"enable_thinking": 0}), "enable_thinking"),
            (json!({"think": "lots"}), "think"),
            (json!({"thinking": {"type": "deep"}}), "thinking.type"),
            (json!({"thinking": {}}), "thinking.type"),
            (json!({"reasoning": "much"}), "reasoning"),
            (json!({"reasoning": {"effort": 5}}), "reasoning.effort"),
            (json!({"reasoning_effort": "huge"}), "reasoning_effort"),
            (json!({"reasoning_budget": -2}), "reasoning_budget"),
            (json!({"thinking_budget": "5"}), "thinking_budget"),
            (json!({"reasoning_format": "hidden"}), "reasoning_format"),
            (json!({"extra_body": {"think": 5}}), "think"),
        ] {
            assert_eq!(applied(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn what_is_accepted_is_said() {
        for (body, accepted) in [
            (json!({"reasoning": 5}), "`reasoning` must be true, false or an object such as"),
            (json!({"thinking": []}), "`thinking` must be true, false or an object such as"),
            (json!({"think": 5}), "`think` must be true, false or an effort such as"),
            (json!({"enable_thinking": 5}), "`enable_thinking` must be true or false"),
        ] {
            let error = applied(body).unwrap_err();
            assert!(error.message.starts_with(accepted), "{error}");
        }
    }
}
