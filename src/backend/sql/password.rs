//! Hashes passwords, a few at a time, and compares without telling how far it came.
//!
//! A hash costs 15 ms of a processor (`cargo bench --bench repository -- --only password`) and 19 MiB: that is its purpose,
//! and a flood of sign-ins must not turn it into all processors and all memory. So a few run at once and the others wait. A
//! name that is not known costs the same as one that is: it is compared with a hash that nothing fits.

use std::sync::OnceLock;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::turns::Turns;
use crate::error::{Error, ErrorKind};
use crate::repository::{MAX_PASSWORD, Password};

/// See `repository/password.rs` for where they come from.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Most hashes at once, if there are so many processors.
const MOST_AT_ONCE: usize = 4;

#[derive(Debug)]
pub(crate) struct Hasher {
    turns: Turns,
    /// The hash that nothing fits.
    dummy: OnceLock<String>,
}

impl Default for Hasher {
    fn default() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
        Self { turns: Turns::new(most), dummy: OnceLock::new() }
    }
}

impl Hasher {
    /// Returns the hash under which a password is stored.
    pub(crate) fn hash(&self, password: &Password) -> Result<String, Error> {
        password.check()?;
        self.hash_bytes(password.reveal())
    }

    fn hash_bytes(&self, bytes: &[u8]) -> Result<String, Error> {
        let failed = |what: String| Error::new(ErrorKind::System, format!("hash a password: {what}"));
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| failed(error.to_string()))?;
        let salt = SaltString::encode_b64(&salt).map_err(|error| failed(error.to_string()))?;
        let _turn = self.turns.take();
        let hash = argon2()?.hash_password(bytes, &salt).map_err(|error| failed(error.to_string()))?;
        Ok(hash.to_string())
    }

    /// Returns whether the password has this hash; `None` is nobody's, and takes as long.
    pub(crate) fn fits(&self, password: &Password, hash: Option<&str>) -> Result<bool, Error> {
        if password.reveal().len() > MAX_PASSWORD {
            return Ok(false);
        }
        if self.dummy.get().is_none() {
            // Two threads may make one each; one of them is kept.
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)
                .map_err(|error| Error::new(ErrorKind::System, "draw a random number").because(error))?;
            let dummy = self.hash_bytes(&secret)?;
            self.dummy.get_or_init(|| dummy);
        }
        let dummy = self.dummy.get().map_or("", String::as_str);
        // The cause is left out: it could name a part of the hash.
        let stored = PasswordHash::new(hash.unwrap_or(dummy))
            .map_err(|_| Error::new(ErrorKind::Database, "a stored password hash is none; set the password anew"))?;
        let _turn = self.turns.take();
        // `verify_password` compares in constant time.
        let fits = argon2()?.verify_password(password.reveal(), &stored).is_ok();
        Ok(fits && hash.is_some())
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::new(ErrorKind::System, format!("hash a password: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only_and_hashes_are_salted() {
        let hasher = Hasher::default();
        let password = Password::new("correct horse");
        let hash = hasher.hash(&password).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash(&password).unwrap());
        assert!(hasher.fits(&password, Some(&hash)).unwrap());
        assert!(!hasher.fits(&Password::new("correct horsf"), Some(&hash)).unwrap());
        assert!(!hasher.fits(&Password::new(""), Some(&hash)).unwrap());
        assert!(!hasher.fits(&password, None).unwrap());
    }

    #[test]
    fn a_stored_hash_that_is_none_is_an_error_that_does_not_show_it() {
        let error = Hasher::default().fits(&Password::new("x"), Some("secret")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn more_than_a_few_at_once_wait_for_their_turn_and_all_have_it() {
        let hasher = Hasher::default();
        let hash = hasher.hash(&Password::new("correct horse")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..MOST_AT_ONCE * 2 {
                scope.spawn(|| assert!(hasher.fits(&Password::new("correct horse"), Some(&hash)).unwrap()));
            }
        });
        assert!(hasher.turns.take_within(std::time::Duration::ZERO).is_some());
    }
}
