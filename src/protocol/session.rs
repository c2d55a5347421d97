//! The session that Anthropic's clients name in `metadata.user_id`.

use serde_json::Value;

/// The session in a `metadata.user_id`: Claude Code writes `user_.._account_.._session_ID`, or an
/// object's text that has `session_id`. `None`: it names a user, as the field's name says, whose
/// conversations are many.
pub(super) fn session(user_id: &str) -> Option<String> {
    let named = |session: &str| (!session.is_empty()).then(|| session.to_owned());
    if let Ok(Value::Object(object)) = serde_json::from_str(user_id) {
        return object.get("session_id")?.as_str().and_then(named);
    }
    named(user_id.strip_prefix("user_")?.rsplit_once("_session_")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_names_a_conversation_and_a_user_does_not() {
        let of = |user_id: &str| session(user_id);
        assert_eq!(of("user_0a1b_account__session_5e-55").as_deref(), Some("5e-55"));
        assert_eq!(of("user_0a_account_c-d_session_e-f").as_deref(), Some("e-f"));
        let object = r#"{"device_id":"d","account_uuid":"","session_id":"e-f"}"#;
        assert_eq!(of(object).as_deref(), Some("e-f"));
        for user in [
            "",
            "alice",
            "user_0a1b",
            "user_0a_session_",
            "in_session_5",
            "{}",
            "5",
            "[1]",
            r#"{"session_id":""}"#,
            r#"{"session_id":5}"#,
        ] {
            assert_eq!(of(user), None, "{user}");
        }
    }
}
