//! A query with a document, as a reranker reads them.

use super::Vocabulary;
use crate::engine::Token;

impl Vocabulary {
    /// The tokens of a query with a document, framed as llama-server does it: by the model's own
    /// template for it, or with the tokens that end a text and part two. Blocking.
    pub fn tokenize_pair(&self, query: &str, document: &str) -> Vec<Token> {
        if let Ok(template) = self.model.meta_val_str("tokenizer.chat_template.rerank") {
            return self.tokenize(&filled(&template, query, document), false, true);
        }
        let vocab = self.model.vocab();
        let known = |token: Token| self.contains(token).then_some(token);
        let separator = known(vocab.sep().0);
        let end = known(vocab.eos().0).or(separator).filter(|_| vocab.should_add_eos());
        let begin = known(vocab.bos().0).filter(|_| vocab.should_add_bos());
        let mut tokens: Vec<Token> = begin.into_iter().collect();
        tokens.extend(self.tokenize(query, false, false));
        tokens.extend(end);
        tokens.extend(separator.filter(|_| vocab.should_add_sep()));
        tokens.extend(self.tokenize(document, false, false));
        tokens.extend(end);
        tokens
    }
}

/// The template with the texts in the places of `{query}` and `{document}`. What stands in the texts
/// themselves is no place.
fn filled(template: &str, query: &str, document: &str) -> String {
    let mut text = String::with_capacity(template.len() + query.len() + document.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let places = [("{query}", query), ("{document}", document)];
        let place = places.into_iter().find(|(name, _)| from.starts_with(name));
        let (name, value) = place.unwrap_or(("{", "{"));
        text.push_str(value);
        rest = &from[name.len()..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn a_template_takes_both_texts_and_no_text_takes_the_other() {
        let template = "<q>{query}{ {x}<d>{document}|{query}";
        assert_eq!(
            filled(template, "a {document}", "{query}"),
            "<q>a {document}{ {x}<d>{query}|a {document}"
        );
        assert_eq!(filled("no place", "a", "b"), "no place");
    }
}
