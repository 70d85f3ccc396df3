//! A key that is never shown.

use std::fmt;

use super::HttpError;

/// An API key. It has no `Display`, its `Debug` does not show it, and it is sent in one header only.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key; white space around it is dropped.
    ///
    /// # Errors
    /// [`HttpError::Setting`], without the key, if it is empty or cannot stand in a header.
    pub fn new(key: impl AsRef<str>) -> Result<Self, HttpError> {
        let key = key.as_ref().trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HttpError::Setting { field: "key", got: "another text".into(), expected: "printable ASCII without spaces" });
        }
        Ok(Self(key.into()))
    }

    /// The key itself, for the one header that it is sent in.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// A text of the server, with the key redacted.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert_eq!(key.secret(), "sk-secret");
        assert_eq!(format!("{key:?}"), "ApiKey([hidden])");
        assert_eq!(key.redact("Incorrect API key: sk-secret."), "Incorrect API key: [key].");
        let error = ApiKey::new("sk secret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
