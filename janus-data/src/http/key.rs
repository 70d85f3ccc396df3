//! An API key that is never printed.

use std::fmt;

use super::HttpError;

/// An API key. It has no `Display`, its `Debug` does not show it, and it is only sent in one header.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key; white space around it is removed.
    ///
    /// # Errors
    /// [`HttpError::Setting`], without the key, if it is empty or not allowed in a header.
    pub fn new(key: impl AsRef<str>) -> Result<Self, HttpError> {
        let key = key.as_ref().trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HttpError::Setting {
                field: "key",
                got: "another text".into(),
                expected: "printable ASCII without spaces",
            });
        }
        Ok(Self(key.into()))
    }

    /// The key itself, for the header in which it is sent.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Replaces the key in a text of the server by `[key]`.
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
    fn a_key_is_never_printed() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert_eq!(key.secret(), "sk-secret");
        assert_eq!(format!("{key:?}"), "ApiKey([hidden])");
        assert_eq!(key.redact("Incorrect API key: sk-secret."), "Incorrect API key: [key].");
        let error = ApiKey::new("sk secret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
