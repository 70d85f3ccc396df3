//! Writes system messages for one reader, and the prompt that a Janus model receives.
//!
//!     cargo run -p janus-core --example system_message
#![expect(clippy::print_stdout, reason = "an example prints")]

use janus_core::{ChatTemplate, Composer, Dimension, Message, Preference, PreferenceSet, Taxonomy, stream};

fn main() -> Result<(), janus_core::Error> {
    // What this reader values: one preference for each dimension.
    let reader = PreferenceSet::new([
        Preference::new(Dimension::Style, "format", "bullet list", "Write the answer as a bullet list."),
        Preference::new(
            Dimension::BackgroundKnowledge,
            "novice",
            "first contact",
            "Explain every term that you use.",
        ),
        Preference::new(
            Dimension::Informativeness,
            "practicality",
            "something to try",
            "Give one thing to try at home.",
        ),
        Preference::new(
            Dimension::Harmlessness,
            "safety",
            "name the risk",
            "Name a risk and how to avoid it.",
        ),
    ])?;
    let composer = Composer::standard();
    for seed in 0..3 {
        println!("{}\n", composer.compose_set(&reader, seed));
    }

    // A reader drawn from the seed taxonomy, and the prompt as the model sees it.
    let somebody = Taxonomy::seed().sample(&mut stream(1, "example"))?;
    let messages =
        [Message::system(composer.compose_set(&somebody, 0)), Message::user("Why do leaves turn red?")];
    println!("{}", ChatTemplate::MistralInstruct.render(&messages)?.text());
    Ok(())
}
