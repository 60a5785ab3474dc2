//! What must be hard to guess.

use std::path::Path;

use anyhow::Context;
use rand::TryRngCore;
use rand::rngs::OsRng;

/// Lower case, as in RFC 4648, section 6.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// From the operating system, without which nothing here is safe.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// `chars` letters and digits, of five bits each.
pub fn word(chars: usize) -> String {
    (0..chars).map(|_| char::from(BASE32[usize::from(bytes::<1>()[0] & 31)])).collect()
}

/// The secret in the file, which is made, for its owner only, if it is not there.
pub fn kept_word(path: &Path, chars: usize) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= chars => Ok(text.trim().to_owned()),
        Ok(_) => anyhow::bail!("{} is damaged: remove it and start again", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let word = word(chars);
            write_private(path, format!("{word}\n").as_bytes())?;
            Ok(word)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Writes a new file that its owner alone may read.
pub fn write_private(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let write = || options.open(path)?.write_all(contents);
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// Compares without telling by its time where the difference is.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn w9_a_kept_secret_is_made_once_and_readable_by_its_owner_only() {
        let dir = Scratch::new("secret");
        let path = dir.path().join("ops-token");
        let made = kept_word(&path, 32).expect("made");
        assert_eq!(kept_word(&path, 32).expect("read"), made);
        assert_eq!(made.len(), 32);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "").expect("emptied");
        assert!(kept_word(&path, 32).is_err(), "an empty secret lets nobody in");
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"", b"a"));
    }
}
