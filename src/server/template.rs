//! The chat template: the model's own, or the one that the settings give in its place.

use std::path::Path;
use std::{fs, io};

use super::exit::{Exit, Failure};
use crate::chat::{self, Template};
use crate::config::{self, Settings};
use crate::engine::Engine;

/// The chat template, or what to do about its absence.
pub(super) fn template(engine: &Engine) -> Result<Template, String> {
    const WAY_OUT: &str = "set `model.chat_template_file` (--chat-template-file) to a Jinja template for this model, or use /v1/completions";
    let facts = engine.facts();
    let Some(source) = &facts.chat_template else {
        tracing::warn!(
            "the model has no chat template: /v1/completions works, chat does not; {WAY_OUT}"
        );
        return Err(format!("the model has no chat template: {WAY_OUT}"));
    };
    let template = Template::new(source, facts.bos_token.as_deref(), facts.eos_token.as_deref());
    let specials = engine.vocabulary().specials().map(str::to_owned);
    template.map(|template| template.with_specials(specials)).map_err(|error| {
        tracing::warn!("the chat template cannot be used: {error}; {WAY_OUT}");
        format!("the model's chat template cannot be used: {error}; {WAY_OUT}")
    })
}

/// The chat template that the settings give in place of the model's own. One that cannot be parsed
/// ends the start: unlike a template in a model file, it can be mended or left out.
pub(super) fn template_override(settings: &Settings) -> Result<Option<String>, Failure> {
    let model = &settings.model;
    let (key, source) = match (&model.chat_template_file, &model.chat_template) {
        (Some(path), _) => ("model.chat_template_file", read_template(path)?),
        (None, Some(text)) if text == config::CHATML => return Ok(Some(chat::CHATML.to_owned())),
        (None, Some(text)) => ("model.chat_template", text.clone()),
        (None, None) => return Ok(None),
    };
    match Template::new(&source, None, None) {
        Ok(_) => Ok(Some(source)),
        Err(error) => Err(Failure::new(
            Exit::Config,
            format!("{error}; fix `{key}`, or unset it to use the model's own template"),
        )),
    }
}

fn read_template(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::Missing,
            io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Config,
        };
        let message = format!(
            "cannot read the chat template {}: {error}; fix `model.chat_template_file`",
            path.display()
        );
        Failure::new(exit, message)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_cannot_be_parsed_ends_the_start() {
        let mut settings = Settings::default();
        assert_eq!(template_override(&settings).unwrap(), None);
        settings.model.chat_template = Some("{{ messages }}".to_owned());
        assert!(template_override(&settings).unwrap().is_some());
        settings.model.chat_template = Some("chatml".to_owned());
        assert!(template_override(&settings).unwrap().unwrap().contains("<|im_start|>"));
        settings.model.chat_template = Some("{% if %}".to_owned());
        let failure = template_override(&settings).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.contains("`model.chat_template`"), "{}", failure.message);
        assert!(!failure.message.contains('\n'));
    }
}
