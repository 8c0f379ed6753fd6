//! A password: never shown, and gone when it is dropped.
//!
//! It is stored as an argon2id hash with 19 MiB, two passes and one lane, the first choice of OWASP's Password Storage Cheat
//! Sheet (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>); hashing is done behind the
//! database's door, in `backend/sql/password.rs`.

use std::fmt;

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
}
