//! The bearer token that clients must send.

use std::fmt;
use std::path::Path;

use super::ServerError;

/// A bearer token. Only its BLAKE3 hash is stored, and it is never printed.
#[derive(Clone)]
pub struct BearerToken(blake3::Hash);

impl BearerToken {
    /// A token; whitespace around it is dropped.
    ///
    /// # Errors
    /// [`ServerError::Setting`], without the token, if it is empty or cannot be sent in a header.
    pub fn new(token: impl AsRef<str>) -> Result<Self, ServerError> {
        let token = token.as_ref().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let got = if token.is_empty() { "empty" } else { "a text with other characters" };
            return Err(ServerError::Setting {
                field: "token",
                got: got.into(),
                expected: "printable ASCII without spaces",
            });
        }
        Ok(Self(blake3::hash(token.as_bytes())))
    }

    /// Reads a token from a file that contains nothing else.
    ///
    /// # Errors
    /// [`ServerError::Io`], and those of [`BearerToken::new`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ServerError> {
        let path = path.as_ref();
        Self::new(
            std::fs::read_to_string(path).map_err(|cause| ServerError::Io { path: path.into(), cause })?,
        )
    }

    /// Whether an `authorization` header has the token. The time reveals nothing about the token, since
    /// hashes are compared, in constant time.
    pub(super) fn matches(&self, header: Option<&[u8]>) -> bool {
        let parts = header.and_then(|header| header.split_at_checked(7));
        parts.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && blake3::hash(token.trim_ascii()) == self.0
        })
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches() {
        let token = BearerToken::new(" secret-1\n").unwrap();
        for good in ["Bearer secret-1", "bearer secret-1", "BEARER  secret-1 "] {
            assert!(token.matches(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "Bearer secret-2",
            "Bearer secret-",
            "Bearer secret-11",
            "Bearer ",
            "Bearer",
            "secret-1",
            "Basic secret-1",
            "",
        ] {
            assert!(!token.matches(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!token.matches(None));
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = BearerToken::new("secret").unwrap();
        assert_eq!(format!("{token:?}"), "BearerToken([hidden])");
        let error = BearerToken::new("sec ret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sec ret"), "{error:?}");
        assert!(BearerToken::new("\n").unwrap_err().to_string().contains("empty"));
        assert!(matches!(BearerToken::read("nowhere"), Err(ServerError::Io { .. })));
    }
}
