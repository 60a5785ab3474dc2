//! What people type.

/// Trimmed; as typed otherwise. Refused: control characters, and more than `chars_max`.
pub(crate) fn line(text: &str, chars_max: usize) -> Result<String, String> {
    let text = text.trim();
    check(text, chars_max, &[])?;
    Ok(text.to_owned())
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

/// Several lines, as typed.
pub(crate) fn passage(text: &str, chars_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("at least one character".to_owned());
    }
    check(text, chars_max, &['\n', '\t'])
}

/// One line while it is being typed; it may be empty.
pub(crate) fn typed(text: &str, chars_max: usize) -> Result<(), String> {
    check(text, chars_max, &['\t'])
}

/// Nothing is taken out, so that what is refused is told, and what is taken stays as it was: marks
/// of direction and of width too, which pages show as inert text (W6).
fn check(text: &str, chars_max: usize, controls: &[char]) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("at most {chars_max} characters, and this has {chars}"));
    }
    match text.chars().find(|char| char.is_control() && !controls.contains(char)) {
        Some(control) => Err(format!("control character U+{:04X}", u32::from(control))),
        None => Ok(()),
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
    fn w6_what_is_said_is_taken_as_it_is_or_refused() {
        let markup = "<img src=x onerror=alert(1)> \u{202e}gnp.exe\u{200b}\u{2066}";
        for (text, several, one) in [
            (" Ada\n\tBo ", Ok(()), Err("control character U+000A")),
            ("a\tb", Ok(()), Ok(())),
            (markup, Ok(()), Ok(())),
            ("", Err("at least one character"), Ok(())),
            ("a\r\nb", Err("control character U+000D"), Err("control character U+000D")),
            ("\u{1b}[31m", Err("control character U+001B"), Err("control character U+001B")),
            ("\u{85}", Err("control character U+0085"), Err("control character U+0085")),
            ("\u{0}", Err("control character U+0000"), Err("control character U+0000")),
        ] {
            assert_eq!(passage(text, 64), several.map_err(str::to_owned), "{text:?}");
            assert_eq!(typed(text, 64), one.map_err(str::to_owned), "{text:?}");
        }
        // Characters count, not bytes.
        assert!(passage(&"€".repeat(64), 64).is_ok() && typed(&"€".repeat(64), 64).is_ok());
        assert!(passage(&"€".repeat(65), 64).is_err() && typed(&"€".repeat(65), 64).is_err());
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
