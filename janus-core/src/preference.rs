//! What one user values.

use serde::{Deserialize, Serialize};

use crate::{Dimension, Error, Result};

/// A quality that a response should have for one user. The serialised field names are those of the
/// paper's released datasets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Preference {
    /// One of the four dimensions.
    pub dimension: Dimension,
    /// The kind of quality within the dimension; an open vocabulary.
    pub subdimension: String,
    /// A short label.
    #[serde(rename = "preference")]
    pub name: String,
    /// What it means for a response, in one or a few sentences.
    pub description: String,
}

impl Preference {
    /// A preference from its parts.
    pub fn new(
        dimension: Dimension,
        subdimension: impl Into<String>,
        name: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        Self {
            dimension,
            subdimension: subdimension.into(),
            name: name.into(),
            description: description.into(),
        }
    }
}

/// What one user values: one to four preferences, at most one for each dimension, in the order in which they
/// were given.
///
/// The paper's sets are [complete](Self::complete): they have one preference for each dimension. The records
/// of its datasets require that; a chat may have fewer.
///
/// The rule is checked when a set is constructed or deserialized, so every value of this type satisfies it.
/// The order matters: files, construction prompts and the message that [`Composer`](crate::Composer) writes
/// depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Preference>", into = "Vec<Preference>")]
pub struct PreferenceSet(Vec<Preference>);

impl PreferenceSet {
    /// A set of preferences of different dimensions.
    ///
    /// # Errors
    /// [`Error::NoPreference`], [`Error::DoubledDimension`] or [`Error::EmptyField`].
    ///
    /// ```
    /// use janus_core::{Dimension, Preference, PreferenceSet};
    /// let warm = Preference::new(Dimension::Style, "tone", "warm", "Be warm.");
    /// let set = PreferenceSet::new([warm.clone()])?;
    /// assert_eq!(set.get(Dimension::Style), Some(&warm));
    /// assert_eq!(set.get(Dimension::Harmlessness), None);
    ///
    /// let error = PreferenceSet::new([warm.clone(), warm]).unwrap_err();
    /// assert!(error.to_string().contains("two style preferences"));
    /// # Ok::<(), janus_core::Error>(())
    /// ```
    pub fn new(preferences: impl Into<Vec<Preference>>) -> Result<Self> {
        let preferences = preferences.into();
        if preferences.is_empty() {
            return Err(Error::NoPreference);
        }
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
        Ok(Self(preferences))
    }

    /// The preference of a dimension.
    pub fn get(&self, dimension: Dimension) -> Option<&Preference> {
        self.0.iter().find(|preference| preference.dimension == dimension)
    }

    /// The four preferences in the order of [`Dimension::ALL`], if each dimension has one: the paper's rule.
    ///
    /// # Errors
    /// [`Error::MissingDimension`] names the first dimension without a preference.
    pub fn complete(&self) -> Result<[&Preference; 4]> {
        let of = |dimension| self.get(dimension).ok_or(Error::MissingDimension { dimension });
        let [a, b, c, d] = Dimension::ALL;
        Ok([of(a)?, of(b)?, of(c)?, of(d)?])
    }

    /// Whether each of the four dimensions has a preference.
    pub fn is_complete(&self) -> bool {
        self.complete().is_ok()
    }

    /// The preferences in the order in which they were given.
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
    fn a_missing_dimension_is_named() {
        let three: Vec<_> = Dimension::ALL[..3].iter().map(|&d| preference(d)).collect();
        let set = PreferenceSet::new(three).unwrap();
        assert_eq!(
            set.complete().unwrap_err(),
            Error::MissingDimension { dimension: Dimension::Harmlessness }
        );
        assert_eq!(set.get(Dimension::Harmlessness), None, "no other preference replaces it");
        assert_eq!(PreferenceSet::new([]).unwrap_err(), Error::NoPreference);
    }

    #[test]
    fn an_empty_label_is_rejected() {
        let mut all: Vec<_> = Dimension::ALL.iter().map(|&d| preference(d)).collect();
        all[2].name = " ".into();
        assert_eq!(PreferenceSet::new(all).unwrap_err(), Error::EmptyField { field: "preference" });
    }

    #[test]
    fn two_style_preferences_in_a_file_are_named_in_the_error() {
        let json = r#"[{"dimension":"style","subdimension":"tone","preference":"warm","description":""},
                       {"dimension":"style","subdimension":"tone","preference":"cold","description":""}]"#;
        let error = serde_json::from_str::<PreferenceSet>(json).unwrap_err().to_string();
        assert!(error.contains("two style preferences, \"warm\" and \"cold\""), "{error}");
    }

    proptest! {
        #[test]
        fn a_set_is_valid_exactly_when_no_dimension_occurs_twice(picks in prop::collection::vec(0usize..4, 0..6)) {
            let preferences: Vec<_> = picks.iter().map(|&i| preference(Dimension::ALL[i])).collect();
            let count = |i: usize| picks.iter().filter(|&&pick| pick == i).count();
            let right = !picks.is_empty() && (0..4).all(|i| count(i) <= 1);
            match PreferenceSet::new(preferences.clone()) {
                Ok(set) => {
                    prop_assert!(right);
                    for (i, dimension) in Dimension::ALL.into_iter().enumerate() {
                        let expected = (count(i) == 1).then_some(dimension);
                        prop_assert_eq!(set.get(dimension).map(|preference| preference.dimension), expected);
                    }
                    prop_assert_eq!(set.is_complete(), picks.len() == 4);
                    if let Ok(all) = set.complete() {
                        prop_assert_eq!(all.map(|preference| preference.dimension), Dimension::ALL);
                    }
                    prop_assert_eq!(Vec::from(set), preferences);
                }
                Err(_) => prop_assert!(!right),
            }
        }
    }
}
