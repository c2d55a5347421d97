//! What goes wrong with a template, in its own words.

use super::environment::Raised;

/// The template is not valid Jinja, or uses what we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// The template refused the messages or failed on them; the text is the template's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RenderError {
    /// What the template said, on one line.
    pub text: String,
    /// The index of the message at fault, where it can be told.
    pub message: Option<usize>,
}

/// What is said of a rendering that ran out of fuel.
pub(super) const TOO_LONG: &str = "the chat template takes too long on these messages";

/// What the template said, or where it failed, on one line.
pub(super) fn explain(error: &minijinja::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return one_line(message);
        }
        source = cause.source();
    }
    if error.kind() == minijinja::ErrorKind::OutOfFuel {
        return TOO_LONG.to_owned();
    }
    let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let code = error
        .range()
        .and_then(|range| error.template_source()?.get(range))
        .map(|code| format!(" (`{:.120}`)", code.trim()))
        .unwrap_or_default();
    one_line(&format!("the chat template fails{place}: {}{detail}{code}", error.kind()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
