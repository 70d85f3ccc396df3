//! One question of Multifaceted Mini under three system messages, with gold responses and grades.
//!
//!     cargo run -p janus-data --example mini
#![expect(clippy::print_stdout, reason = "an example prints")]

use janus_data::mini::{Mini, Split, grade};

fn main() -> Result<(), janus_data::Error> {
    let records = Mini::new(1).eval(Split::Dev, 1);
    for (record, other) in records.iter().zip(records.iter().cycle().skip(1)) {
        println!("system: {}\nuser:   {}\n\n{}\n", record.system, record.prompt, record.reference_answer);
        for (what, response) in
            [("this response", &record.reference_answer), ("the next one's", &other.reference_answer)]
        {
            let grades = grade(record, response)?;
            let scores: Vec<String> =
                grades.iter().map(|grade| format!("{} ({})", grade.score, grade.why)).collect();
            println!("{what}: {}", scores.join("; "));
        }
        println!("\n---\n");
    }
    Ok(())
}
