//! Converts a file of records to the format that the name of the target implies: `cargo run -p janus-data
//! --example convert -- KIND FROM TO`, where KIND is `sft`, `pairs`, `reward` or `bench`. Every row is
//! checked.

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use janus_data::{ArrowRecord, Result, read_all, write_records};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn convert<T: ArrowRecord + Serialize + DeserializeOwned + 'static>(from: &str, to: &str) -> Result<()> {
    let rows: Vec<T> = read_all(from)?;
    write_records(to, &rows)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, from, to] = &arguments[..] else { return Err("give KIND FROM TO".into()) };
    match kind.as_str() {
        "sft" => convert::<SftRecord>(from, to)?,
        "pairs" => convert::<PairRecord>(from, to)?,
        "reward" => convert::<RewardRecord>(from, to)?,
        "bench" => convert::<BenchRecord>(from, to)?,
        _ => return Err(format!("unknown kind {kind}: expected sft, pairs, reward or bench").into()),
    }
    Ok(())
}
