//! `speculation`: whether tokens may be guessed ahead for a request.

use serde_json::Value;

use super::body::{BodyError, Integer};
use crate::config::{Settings, Speculation};

/// Whether tokens may be guessed ahead: where the settings allow it, unless the field `speculation`
/// is `"off"` or `false`, or llama-server's `speculative.n_max` allows no tokens.
pub(super) fn speculation(
    sent: Option<&Value>,
    n_max: Option<Integer>,
    settings: &Settings,
) -> Result<bool, BodyError> {
    let wanted = match sent {
        None | Some(Value::Null) => true,
        Some(Value::Bool(on)) => *on,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => true,
            "off" => false,
            _ => {
                return Err(BodyError::value(
                    "speculation",
                    format!("`speculation` is \"auto\" or \"off\", not {word:?}"),
                ));
            }
        },
        Some(_) => {
            return Err(BodyError::wrong_type(
                "speculation",
                "`speculation` is \"auto\", \"off\", true or false",
            ));
        }
    };
    let allowed = n_max.is_none_or(|Integer(most)| most != 0);
    Ok(wanted && allowed && settings.context.speculation == Speculation::Auto)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_can_switch_it_off_and_never_on() {
        let mut settings = Settings::default();
        let read = |sent: Value, n_max: Option<i128>, settings: &Settings| {
            speculation(Some(&sent), n_max.map(Integer), settings)
        };
        for (sent, n_max, expected) in [
            (json!(null), None, true),
            (json!("auto"), None, true),
            (json!(true), Some(16), true),
            (json!("off"), None, false),
            (json!(false), Some(16), false),
            (json!("auto"), Some(0), false),
        ] {
            assert_eq!(read(sent.clone(), n_max, &settings), Ok(expected), "{sent} {n_max:?}");
        }
        assert_eq!(read(json!("of"), None, &settings).unwrap_err().code, "invalid_value");
        assert_eq!(read(json!(3), None, &settings).unwrap_err().code, "invalid_type");
        settings.context.speculation = Speculation::Off;
        assert_eq!(read(json!("auto"), None, &settings), Ok(false));
        assert_eq!(speculation(None, None, &settings), Ok(false));
    }
}
