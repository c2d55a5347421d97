//! Chat templates: any conversation renders or is refused, by templates in the styles of real
//! models; and any text is a template or is refused.
//!
//! The first byte chooses the template, the rest is a chat body. 0xFF: the rest is the template,
//! and the body behind a NUL.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use strixhalo::chat::Template;
use strixhalo::config::Settings;
use strixhalo::protocol::FromJson;
use strixhalo::protocol::openai::ChatBody;

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    [
        include_str!("../../src/chat/template/fixtures/chatml.jinja"),
        include_str!("../../src/chat/template/fixtures/headers.jinja"),
        include_str!("../../src/chat/template/fixtures/strict.jinja"),
        include_str!("../../src/chat/template/fixtures/thinking.jinja"),
        include_str!("../../src/chat/template/fixtures/xml.jinja"),
        include_str!("../../tools/models/chat_template.jinja"),
    ]
    .map(|source| {
        let specials = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"].map(str::to_owned);
        let template = Template::new(source, Some("<s>"), Some("</s>")).expect("a valid template");
        template.with_specials(specials)
    })
    .into()
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    if which != 0xff {
        render(&TEMPLATES[usize::from(which) % TEMPLATES.len()], rest);
        return;
    }
    let mut parts = rest.splitn(2, |&byte| byte == 0);
    let Ok(source) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    if let Ok(template) = Template::new(source, None, None) {
        render(&template, parts.next().unwrap_or_default());
    }
});

fn render(template: &Template, body: &[u8]) {
    let checked = ChatBody::from_json(body).and_then(|body| body.check_conversation(&SETTINGS));
    let Ok(conversation) = checked else { return };
    match template.render(&conversation) {
        Ok(rendered) => {
            let starts = &rendered.message_starts;
            assert!(starts.is_sorted());
            assert!(starts.iter().all(|&start| rendered.prompt.is_char_boundary(start)));
            let breaks = &rendered.breaks;
            assert!(breaks.is_sorted());
            assert!(breaks.iter().all(|&at| rendered.prompt.is_char_boundary(at)));
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}
