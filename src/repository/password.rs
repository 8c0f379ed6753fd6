//! A password: never shown, and gone when it is dropped.
//!
//! It is stored as an argon2id hash with 19 MiB, two passes and one lane, the first choice of OWASP's Password Storage Cheat
//! Sheet (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>); hashing is done behind the
//! database's door, in `backend/sql/password.rs`.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Fewest characters of a new password (NIST SP 800-63B, section 5.1.1.2).
pub const MIN_PASSWORD: usize = 8;
/// Most bytes of a password.
pub const MAX_PASSWORD: usize = 1024;

/// A password. `Debug` shows dots and there is no `Display`; its bytes are overwritten when it is dropped.
pub struct Password(Vec<u8>);

impl Password {
    /// Takes a text as it is: nothing is trimmed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_bytes())
    }

    /// Returns its bytes: only for comparing it with what is stored.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Finds out whether it may become somebody's: asks no database.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with the bounds; names no password.
    pub fn check(&self) -> Result<(), Error> {
        let characters = String::from_utf8_lossy(&self.0).chars().count();
        if characters >= MIN_PASSWORD && self.0.len() <= MAX_PASSWORD {
            return Ok(());
        }
        let why = format!("a password has at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes");
        Err(Error::new(ErrorKind::Configuration, why))
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.fill(0);
        // So that the compiler does not leave the writing out.
        std::hint::black_box(&self.0);
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::new("correct horse")), "...");
    }

    #[test]
    fn a_password_counts_in_characters_and_is_bounded_in_bytes() {
        for good in ["correct horse", &"ü".repeat(8), &"x".repeat(1024)] {
            assert!(Password::new(good).check().is_ok());
        }
        for bad in ["", "1234567", &"x".repeat(1025)] {
            assert!(Password::new(bad).check().is_err());
        }
    }
}
