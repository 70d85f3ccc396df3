//! `[train]` of a recipe: the trainer's own settings beside those that only a recipe has.

use std::fmt;

use janus_train::TrainConfig;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer, forward_to_deserialize_any};

/// How the model is trained.
#[derive(Debug, Clone)]
pub struct Train {
    /// Passes over the rows; what fills no whole step at their end is left out.
    pub epochs: u64,
    /// Share of the steps that are warm-up, in the place of `warmup_steps`.
    pub warmup_ratio: Option<f64>,
    /// Everything else. Its `steps` follow from the rows and the epochs, and are no key.
    pub settings: TrainConfig,
}

const EPOCHS: &str = "epochs";
const WARMUP_RATIO: &str = "warmup_ratio";
const STEPS: &str = "steps";

// serde's own `flatten` can neither refuse an unknown key nor say where it stands.
impl<'de> Deserialize<'de> for Train {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TrainVisitor)
    }
}

/// As a recipe has it, with every value that is set.
impl Serialize for Train {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serde_json::Map::from_iter([(EPOCHS.to_string(), self.epochs.into())]);
        table.extend(self.warmup_ratio.map(|ratio| (WARMUP_RATIO.to_string(), ratio.into())));
        let settings = serde_json::to_value(&self.settings).and_then(serde_json::from_value::<serde_json::Map<String, serde_json::Value>>);
        table.extend(settings.map_err(S::Error::custom)?);
        table.insert("dtype".into(), serde_json::to_value(self.settings.dtype).map_err(S::Error::custom)?);
        table.retain(|key, value| key != STEPS && !value.is_null());
        table.serialize(serializer)
    }
}

struct TrainVisitor;

impl<'de> Visitor<'de> for TrainVisitor {
    type Value = Train;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Train, A::Error> {
        let mut own = Own::default();
        let settings = TrainConfig::deserialize(Rest { map, own: &mut own })?;
        Ok(Train { epochs: own.epochs.ok_or_else(|| A::Error::missing_field(EPOCHS))?, warmup_ratio: own.warmup_ratio, settings })
    }
}

#[derive(Default)]
struct Own {
    epochs: Option<u64>,
    warmup_ratio: Option<f64>,
}

/// The table without the recipe's own keys.
struct Rest<'a, A> {
    map: A,
    own: &'a mut Own,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(self, _: &str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(Keys { map: self.map, own: self.own, fields, at: At::Start })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        self.deserialize_struct("", &[], visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// The keys of the settings: a number of steps, to be replaced, and then the table's; the recipe's own are taken out on the
/// way.
struct Keys<'a, A> {
    map: A,
    own: &'a mut Own,
    fields: &'static [&'static str],
    at: At,
}

#[derive(PartialEq)]
enum At {
    Start,
    Steps,
    Table,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Keys<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        if self.at == At::Start {
            self.at = At::Steps;
            return seed.deserialize(STEPS.into_deserializer()).map(Some);
        }
        self.at = At::Table;
        loop {
            match self.map.next_key_seed(KeySeed { seed, fields: self.fields })? {
                None => return Ok(None),
                Some(Key::Setting(key)) => return Ok(Some(key)),
                Some(Key::Epochs(back)) => (self.own.epochs, seed) = (Some(self.map.next_value()?), back),
                Some(Key::WarmupRatio(back)) => (self.own.warmup_ratio, seed) = (Some(self.map.next_value()?), back),
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        if self.at == At::Steps { seed.deserialize(1u64.into_deserializer()) } else { self.map.next_value_seed(seed) }
    }
}

/// Reads a key where it stands, so that an error has its place.
struct KeySeed<K> {
    seed: K,
    fields: &'static [&'static str],
}

enum Key<K, V> {
    Epochs(K),
    WarmupRatio(K),
    Setting(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let settings = || self.fields.iter().filter(|&&field| field != STEPS);
        match key {
            EPOCHS => Ok(Key::Epochs(self.seed)),
            WARMUP_RATIO => Ok(Key::WarmupRatio(self.seed)),
            _ if settings().any(|field| *field == key) => self.seed.deserialize(key.into_deserializer()).map(Key::Setting),
            _ => {
                let known: Vec<String> = [EPOCHS, WARMUP_RATIO].iter().chain(settings()).map(|field| format!("`{field}`")).collect();
                Err(E::custom(format!("unknown field `{key}`, expected one of {}", known.join(", "))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "epochs = 2\ntokens_per_micro_batch = 64\nlr = 0.1\nseed = 3\nwarmup_ratio = 0.5\ndtype = \"bf16\"\n";

    #[test]
    fn a_table_is_the_trainers_settings_and_the_recipes_own() {
        let train: Train = toml::from_str(TABLE).unwrap();
        let settings = TrainConfig { dtype: janus_train::WeightType::Bf16, ..TrainConfig::new(1, 64, 0.1, 3) };
        assert_eq!((train.epochs, train.warmup_ratio, train.settings), (2, Some(0.5), settings));
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        for (line, parts) in [
            ("learning_rate = 1", ["line 7", "unknown field `learning_rate`, expected one of `epochs`, `warmup_ratio`, `tokens_per"]),
            ("steps = 10", ["line 7", "unknown field `steps`"]),
            ("eps = \"small\"", ["line 7", "expected f64"]),
            ("early_stop = { metric = \"loss\", patience = 2, patients = 3 }", ["line 7", "patients"]),
        ] {
            let error = toml::from_str::<Train>(&format!("{TABLE}{line}\n")).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{line}: {error}");
        }
        for (without, part) in [("epochs = 2\n", "missing field `epochs`"), ("lr = 0.1\n", "missing field `lr`")] {
            let error = toml::from_str::<Train>(&TABLE.replace(without, "")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = toml::from_str::<Train>(&TABLE.replace("bf16", "f16")).unwrap_err().to_string();
        assert!(error.contains("`f32` or `bf16`") && error.contains("line 6"), "{error}");
    }
}
