//! How much memory a body will take once it is parsed, seen from its bytes.

use super::Error;

/// Objects and arrays: a message has two or three, and takes a kilobyte and a half by the time it
/// is in a template.
const MAX_CONTAINERS: usize = 200_000;
/// All values: tokens, mostly, of which `/detokenize` takes a million.
const MAX_VALUES: usize = 1_200_000;

/// Refuses a body of more values than memory is taken for. Whether it is JSON is seen later.
pub(crate) fn check(body: &[u8]) -> Result<(), Error> {
    let (mut containers, mut values) = (0, 0);
    let mut rest = body.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'{' | b'[' => containers += 1,
            b',' => values += 1,
            _ => {}
        }
    }
    let (count, most, kind) = if containers > MAX_CONTAINERS {
        (containers, MAX_CONTAINERS, "objects and arrays")
    } else {
        (values, MAX_VALUES, "values")
    };
    if count <= most {
        return Ok(());
    }
    Err(Error::Invalid {
        message: format!("the body has {count} {kind}; {most} are the most that is read"),
        code: "too_many_values",
    })
}

fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_strings_hold_is_not() {
        let text = format!(r#"{{"a":"{}\"{}","b":[1,2]}}"#, "[{,".repeat(MAX_VALUES), r"\\");
        assert_eq!(check(text.as_bytes()), Ok(()));
        let refused = |body: String| check(body.as_bytes()).unwrap_err().to_string();
        let objects = refused(format!("[{}{{}}]", "{},".repeat(MAX_CONTAINERS)));
        assert!(objects.starts_with("the body has 200002 objects and arrays; 200000"), "{objects}");
        let numbers = refused(format!("[{}0]", "0,".repeat(MAX_VALUES + 1)));
        assert!(numbers.starts_with("the body has 1200001 values; 1200000"), "{numbers}");
        assert_eq!(check(format!("[{}0]", "0,".repeat(MAX_VALUES)).as_bytes()), Ok(()));
        assert_eq!(check(b"\"never closed\\"), Ok(()));
    }
}
