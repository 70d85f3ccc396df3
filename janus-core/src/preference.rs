//! What one user values.

use serde::{Deserialize, Serialize};

use crate::{Dimension, Error, Result};

/// A quality that a response should have for one user. Field names are the released datasets'.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Preference {
    /// One of the four dimensions.
    pub dimension: Dimension,
    /// The kind of quality within the dimension; an open vocabulary.
    pub subdimension: String,
    /// A short label.
    #[serde(rename = "preference")]
    pub name: String,
    /// What it means for a response, in a sentence or a few.
    pub description: String,
}

impl Preference {
    /// A preference from its parts.
    pub fn new(dimension: Dimension, subdimension: impl Into<String>, name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { dimension, subdimension: subdimension.into(), name: name.into(), description: description.into() }
    }
}

/// Exactly one preference for each dimension, in the order in which they were given.
///
/// The rule is checked when a set is made or read; a set that exists keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Preference>", into = "Vec<Preference>")]
pub struct PreferenceSet(Vec<Preference>);

impl PreferenceSet {
    /// A set of four preferences, one for each dimension.
    ///
    /// # Errors
    /// [`Error::DoubledDimension`], [`Error::MissingDimension`] or [`Error::EmptyField`].
    ///
    /// ```
    /// use janus_core::{Dimension, Preference, PreferenceSet};
    /// let style = Preference::new(Dimension::Style, "tone", "warm", "Be warm.");
    /// let error = PreferenceSet::new(vec![style.clone(), style]).unwrap_err();
    /// assert!(error.to_string().contains("two style preferences"));
    /// ```
    pub fn new(preferences: Vec<Preference>) -> Result<Self> {
        for (index, preference) in preferences.iter().enumerate() {
            if preference.subdimension.trim().is_empty() {
                return Err(Error::EmptyField { field: "subdimension" });
            }
            if preference.name.trim().is_empty() {
                return Err(Error::EmptyField { field: "preference" });
            }
            if let Some(first) = preferences[..index].iter().find(|p| p.dimension == preference.dimension) {
                return Err(Error::DoubledDimension {
                    dimension: preference.dimension,
                    first: first.name.clone(),
                    second: preference.name.clone(),
                });
            }
        }
        match Dimension::ALL.into_iter().find(|&d| !preferences.iter().any(|p| p.dimension == d)) {
            Some(dimension) => Err(Error::MissingDimension { dimension }),
            None => Ok(Self(preferences)),
        }
    }

    /// The preference of a dimension.
    pub fn get(&self, dimension: Dimension) -> &Preference {
        self.0.iter().find(|preference| preference.dimension == dimension).unwrap_or(&self.0[0])
    }

    /// The four preferences in the order in which they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, Preference> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a PreferenceSet {
    type Item = &'a Preference;
    type IntoIter = std::slice::Iter<'a, Preference>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Preference>> for PreferenceSet {
    type Error = Error;

    fn try_from(preferences: Vec<Preference>) -> Result<Self> {
        Self::new(preferences)
    }
}

impl From<PreferenceSet> for Vec<Preference> {
    fn from(set: PreferenceSet) -> Self {
        set.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn preference(dimension: Dimension) -> Preference {
        Preference::new(dimension, "kind", format!("a {dimension}"), "text")
    }

    #[test]
    fn what_is_missing_is_named() {
        let three: Vec<_> = Dimension::ALL[..3].iter().map(|&d| preference(d)).collect();
        assert_eq!(PreferenceSet::new(three).unwrap_err(), Error::MissingDimension { dimension: Dimension::Harmlessness });
    }

    #[test]
    fn an_empty_label_is_refused() {
        let mut all: Vec<_> = Dimension::ALL.iter().map(|&d| preference(d)).collect();
        all[2].name = " ".into();
        assert_eq!(PreferenceSet::new(all).unwrap_err(), Error::EmptyField { field: "preference" });
    }

    #[test]
    fn two_styles_in_a_file_are_an_error_that_says_so() {
        let json = r#"[{"dimension":"style","subdimension":"tone","preference":"warm","description":""},
                       {"dimension":"style","subdimension":"tone","preference":"cold","description":""}]"#;
        let error = serde_json::from_str::<PreferenceSet>(json).unwrap_err().to_string();
        assert!(error.contains("two style preferences, \"warm\" and \"cold\""), "{error}");
    }

    proptest! {
        #[test]
        fn a_set_exists_exactly_when_each_dimension_stands_once(picks in prop::collection::vec(0usize..4, 0..6)) {
            let preferences: Vec<_> = picks.iter().map(|&i| preference(Dimension::ALL[i])).collect();
            let right = picks.len() == 4 && (0..4).all(|i| picks.contains(&i));
            match PreferenceSet::new(preferences.clone()) {
                Ok(set) => {
                    prop_assert!(right);
                    for dimension in Dimension::ALL {
                        prop_assert_eq!(set.get(dimension).dimension, dimension);
                    }
                    prop_assert_eq!(Vec::from(set), preferences);
                }
                Err(_) => prop_assert!(!right),
            }
        }
    }
}
