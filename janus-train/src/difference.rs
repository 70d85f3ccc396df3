//! The settings in which two runs differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// A setting that differs between two runs, displayed as `train.lr was 0.1, is 0.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The setting's key: `train.lr`, `objective.beta`, `lora.rank`.
    pub key: String,
    /// The value in the earlier run; `None` if it was not set.
    pub was: Option<String>,
    /// The value in this run; `None` if it is not set.
    pub is: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        write!(f, "{} was {}, is {}", self.key, text(&self.was), text(&self.is))
    }
}

impl Difference {
    /// The keys in which two tables differ, in their order.
    pub(crate) fn between(was: &Value, is: &Value) -> Vec<Self> {
        let (was, is) = (flat(was), flat(is));
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let differs = keys.into_iter().filter(|key| was.get(*key) != is.get(*key));
        differs
            .map(|key| Self { key: key.clone(), was: was.get(key).cloned(), is: is.get(key).cloned() })
            .collect()
    }
}

/// Every value of a nested table by its dotted key: `train.lr`. Null values are left out.
fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((key, value)) = open.pop() {
        match value {
            Value::Object(table) => {
                let below =
                    |name: &String| if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                open.extend(table.iter().map(|(name, value)| (below(name), value)));
            }
            Value::Null => {}
            value => drop(values.insert(key, value.to_string())),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_its_key_and_both_values() {
        let (was, is) = (
            json!({ "train": { "lr": 0.1, "seed": 1, "clip_norm": null } }),
            json!({ "train": { "lr": 0.2, "seed": 1 }, "lora": { "rank": 2 } }),
        );
        let texts: Vec<String> = Difference::between(&was, &is).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["lora.rank was not set, is 2", "train.lr was 0.1, is 0.2"]);
    }
}
