//! What people type.

/// Trimmed; as typed otherwise. Refused: control characters, and more than `chars_max`.
pub(crate) fn line(text: &str, chars_max: usize) -> Result<String, String> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("at most {chars_max} characters, and this has {chars}"));
    }
    match text.chars().find(|char| char.is_control()) {
        Some(control) => Err(format!("control character U+{:04X}", u32::from(control))),
        None => Ok(text.to_owned()),
    }
}

/// A line that says something.
pub(crate) fn name(text: &str, chars_max: usize) -> Result<String, String> {
    let name = line(text, chars_max)?;
    // Zero-width and direction marks alone would make an invisible participant.
    if name.chars().any(char::is_alphanumeric) {
        Ok(name)
    } else {
        Err("at least one letter or digit".to_owned())
    }
}

/// The digits of a code as people type it; None: not a code.
pub(crate) fn code(text: &str) -> Option<String> {
    let separator = |char: char| char.is_whitespace() || char == '-';
    let digits: String = text.chars().take(64).filter(|&char| !separator(char)).collect();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_typed_and_trimmed() {
        for (typed, kept) in [
            (" Ada ", Ok("Ada")),
            ("李小龍", Ok("李小龍")),
            ("<b>Bob</b>", Ok("<b>Bob</b>")),
            ("O'Neil 2", Ok("O'Neil 2")),
            ("", Err("at least one letter or digit")),
            ("\u{200b}\u{202e}", Err("at least one letter or digit")),
            ("a\u{7}b", Err("control character U+0007")),
            ("a\nb", Err("control character U+000A")),
        ] {
            assert_eq!(name(typed, 64), kept.map(str::to_owned).map_err(str::to_owned), "{typed:?}");
        }
        assert!(name(&"x".repeat(64), 64).is_ok());
        assert_eq!(name(&"x".repeat(65), 64).unwrap_err(), "at most 64 characters, and this has 65");
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        for (typed, read) in [
            ("123 456 789", Some("123456789")),
            ("123-456-789", Some("123456789")),
            ("", None),
            (" - ", None),
            ("12a", None),
            ("١٢٣", None),
        ] {
            assert_eq!(code(typed).as_deref(), read, "{typed:?}");
        }
    }
}
