//! The example settings file.

use serde_json::Value;

use super::catalogue::{Key, Kind, keys, sections};

/// A complete settings file: every key with its documentation, commented out at its default.
pub fn example() -> String {
    let mut out = String::from(
        "# Settings of strixhalo. Every value here is the default; remove the # before a key to\n\
         # change it. Variables (STRIXHALO_SECTION__KEY) and flags win over this file; see\n\
         # `strixhalo config show` for what is in effect, and `strixhalo config check FILE`.\n",
    );
    for section in sections() {
        out.push('\n');
        comment(&mut out, &section.doc);
        out.push_str(&format!("[{}]\n", section.name));
        for key in keys().iter().filter(|key| key.section() == section.name) {
            out.push('\n');
            comment(&mut out, &key.doc);
            if let Kind::Choice(names) | Kind::ChoiceList(names) = &key.kind {
                comment(&mut out, &format!("Values: {}.", names.join(", ")));
            }
            match toml_text(&key.default) {
                Some(text) => out.push_str(&format!("#{} = {text}\n", key.name())),
                None => out.push_str(&format!("# Example: {} = {}\n", key.name(), sample(key))),
            }
        }
    }
    out
}

/// What a key without a default could be set to.
fn sample(key: &Key) -> &'static str {
    match key.name() {
        "path" => "\"Qwen3-Coder-Next-Q8_0-00001-of-00003.gguf\"",
        "models_dir" => "\"/var/lib/strixhalo/models\"",
        "chat_template" => "\"{{ messages[-1].content }}\"",
        "disk_dir" => "\"/var/cache/strixhalo/prompts\"",
        _ => "\"/etc/strixhalo/file\"",
    }
}

/// Appends `text` as comment lines of at most 92 characters.
fn comment(out: &mut String, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 88 {
            out.push_str(&format!("# {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("# {line}\n"));
    }
}

/// The value as TOML on one line; none for null. JSON's text of all but filled objects, which no
/// default is, is TOML as well, and never a string of several lines.
fn toml_text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layers::merge;
    use super::super::{Settings, file};
    use super::*;

    #[test]
    fn the_example_is_the_defaults_with_and_without_its_comment_signs() {
        let text = example();
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect();
        for text in [&text, &uncommented] {
            let assignments = file::parse(Path::new("example.toml"), text).unwrap();
            assert_eq!(merge(assignments, Vec::new()).unwrap().settings, Settings::default());
        }
        let set = file::parse(Path::new("example.toml"), &uncommented).unwrap();
        let unset = keys().iter().filter(|key| key.default.is_null()).count();
        assert_eq!(set.len() + unset, keys().len());
        assert!(keys().iter().all(|key| text.contains(key.name())));
    }
}
