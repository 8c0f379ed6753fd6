//! A text that never shows.

use std::fmt;

/// A password. `Debug` shows dots, and there is no `Display`; whoever connects asks with [`reveal`](Self::reveal).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text itself: only for handing it to a server.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}
