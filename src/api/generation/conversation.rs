//! Which conversation a request belongs to, by what the client calls it or by its beginning.
//!
//! The numbers are written to disk, so they are hashes that stay the same.

use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::api::state::AppState;
use crate::chat::{Message, Role};
use crate::engine::{ConversationId, Token};
use crate::protocol::Options;

/// Claude Code's names of an agent and of the one that started it; its main agent has none.
const AGENT_ID: &str = "x-claude-code-agent-id";
const PARENT_AGENT_ID: &str = "x-claude-code-parent-agent-id";

/// Tokens at the beginning of a text that make it another text's continuation.
const FIRST_TOKENS: usize = 256;

/// How the client names the conversation: with `prompt_cache_key`, else as an agent's, else by its
/// session. `id` is 0 where it does not.
pub(in crate::api) fn named(
    state: &AppState,
    headers: &HeaderMap,
    options: &Options,
) -> ConversationId {
    ConversationId { owner: owner_of(state, headers), ..name(headers, options) }
}

fn name(headers: &HeaderMap, options: &Options) -> ConversationId {
    let session = options.session.as_deref().unwrap_or_default().as_bytes();
    let main = || (!session.is_empty()).then(|| hash("session", [session]));
    let agent = |header| {
        let id = headers.get(header)?.as_bytes();
        (!id.is_empty()).then(|| hash("agent", [session, id]))
    };
    let (id, parent) = match (&options.prompt_cache_key, agent(AGENT_ID)) {
        (Some(key), _) => (Some(hash("key", [key.as_bytes()])), None),
        (None, Some(id)) => (Some(id), agent(PARENT_AGENT_ID).or_else(main)),
        (None, None) => (main(), None),
    };
    ConversationId {
        id: id.unwrap_or(0),
        named: id.is_some(),
        parent: parent.filter(|parent| Some(*parent) != id).unwrap_or(0),
        owner: 0,
    }
}

/// The conversation, which a prompt's beginning names where the client does not.
pub(super) fn named_or(name: ConversationId, beginning: u64) -> ConversationId {
    if name.named { name } else { ConversationId { id: beginning, ..name } }
}

/// What names a chat: its messages up to the first of a user.
pub(super) fn of_messages(messages: &[Message]) -> u64 {
    let user = messages.iter().position(|message| message.role == Role::User);
    let first = &messages[..user.map_or(messages.len(), |at| at + 1)];
    let texts: Vec<String> = first.iter().map(Message::text).collect();
    let parts = first.iter().zip(&texts);
    hash(
        "chat",
        parts.flat_map(|(message, text)| [message.role.name().as_bytes(), text.as_bytes()]),
    )
}

/// What names a text: its first tokens.
pub(super) fn of_tokens(tokens: &[Token]) -> u64 {
    let bytes: Vec<u8> =
        tokens.iter().take(FIRST_TOKENS).flat_map(|token| token.to_le_bytes()).collect();
    hash("text", [bytes.as_slice()])
}

/// Who may use what is kept of the request: the hash of its API key, or 0 for everybody.
fn owner_of(state: &AppState, headers: &HeaderMap) -> u64 {
    let keys = state.http().keys();
    if !state.settings().cache.isolate_keys || keys.is_empty() {
        return 0;
    }
    // The key may have been withdrawn while the request was read: then it is nobody's.
    keys.admitted(headers).map_or(u64::MAX, |key| hash("owner", [key.as_slice()]))
}

/// A hash of `parts`, told apart from those of other kinds; never 0.
fn hash<'a>(kind: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Sha256::new();
    for part in std::iter::once(kind.as_bytes()).chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    u64::from_le_bytes(first).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Settings;
    use crate::protocol::FromJson;
    use crate::protocol::openai::ChatBody;

    fn of(headers: &[(&'static str, &'static str)], body: &str) -> ConversationId {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        let body = format!(r#"{{"messages":[{{"role":"user","content":"Q"}}]{body}}}"#);
        let call = ChatBody::from_json(body.as_bytes()).unwrap().check(&Settings::default());
        name(&HeaderMap::from_iter(headers), &call.unwrap().options)
    }

    const SESSION: &str = r#","metadata":{"user_id":"user_a_account_b_session_c"}"#;

    #[test]
    fn a_key_goes_before_an_agent_and_an_agent_before_a_session() {
        let agent = (AGENT_ID, "a1");
        let key = r#","prompt_cache_key":"k""#;
        let all = of(&[agent], &format!("{key}{SESSION}"));
        assert_eq!(all, of(&[], key));
        assert!(all.named && all.parent == 0);
        let by_agent = of(&[agent], SESSION);
        let by_session = of(&[], SESSION);
        assert_eq!(by_agent.parent, by_session.id);
        assert_eq!((by_session.named, by_session.parent), (true, 0));
        let ids = [all.id, by_agent.id, by_session.id, of(&[agent], "").id];
        assert!((1..4).all(|i| ids[i] != 0 && !ids[..i].contains(&ids[i])), "{ids:?}");
        assert_eq!(of(&[(AGENT_ID, "")], ""), ConversationId::default());
        assert_eq!(of(&[], r#","metadata":{"user_id":"alice"}"#), ConversationId::default());
    }

    #[test]
    fn a_sub_agents_parent_is_the_agent_that_it_names() {
        let parent = of(&[(AGENT_ID, "a1")], SESSION);
        let child = of(&[(AGENT_ID, "a2"), (PARENT_AGENT_ID, "a1")], SESSION);
        assert_eq!(child.parent, parent.id);
        assert_ne!(child.id, parent.id);
        let own = of(&[(AGENT_ID, "a1"), (PARENT_AGENT_ID, "a1")], "");
        assert_eq!(own.parent, 0);
        assert_eq!(of(&[(PARENT_AGENT_ID, "a1")], ""), ConversationId::default());
    }

    #[test]
    fn an_unnamed_conversation_is_known_by_its_beginning() {
        let of = |texts: &[(Role, &str)]| {
            let messages: Vec<Message> =
                texts.iter().map(|(role, text)| Message::new(role.clone(), text)).collect();
            of_messages(&messages)
        };
        let (system, user, assistant) = (Role::System, Role::User, Role::Assistant);
        let first = of(&[(system.clone(), "S"), (user.clone(), "Q")]);
        let rest =
            [(system.clone(), "S"), (user.clone(), "Q"), (assistant, "A"), (user.clone(), "R")];
        assert_eq!(of(&rest), first);
        assert_ne!(of(&[(system.clone(), "S"), (user.clone(), "q")]), first);
        assert_ne!(of(&[(system, "SQ"), (user.clone(), "")]), of(&[(user, "SQ")]));
        let tokens: Vec<Token> = (0..300).collect();
        assert_eq!(of_tokens(&tokens), of_tokens(&tokens[..256]));
        assert_ne!(of_tokens(&tokens), of_tokens(&tokens[..255]));
        let name = ConversationId { id: 5, named: true, ..ConversationId::default() };
        assert_eq!(named_or(name, 7).id, 5);
        assert_eq!(
            named_or(ConversationId { owner: 3, ..Default::default() }, 7),
            ConversationId { id: 7, owner: 3, ..Default::default() }
        );
    }

    /// What is on disk is found again by another build.
    #[test]
    fn hashes_stay_the_same() {
        assert_eq!(hash("key", [b"k".as_slice()]), 0x5fa409f9d4a94eaf);
    }
}
