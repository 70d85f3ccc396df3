//! Trains a tokenizer on a few conversations, packs them, and shows the loss mask:
//! `cargo run -p janus-data --example train_and_pack`. Brackets enclose the tokens that count in the loss.
#![expect(clippy::print_stdout, reason = "an example prints")]

use janus_core::{ChatTemplate, Message};
use janus_data::{Tokenizer, pack};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let template = ChatTemplate::MistralInstruct;
    let examples = [
        ("Answer like a pirate.", "What is a kite?", "Arr, a sail on a string, matey!"),
        ("Answer in one word.", "What flies a kite?", "Wind."),
        (
            "Answer for a child.",
            "Why does a kite fly?",
            "The wind pushes it up, and you hold it by the string.",
        ),
    ];
    let texts = examples.iter().flat_map(|&(system, user, answer)| [system, user, answer]);
    let tokenizer = Tokenizer::train(texts, 400, template.special_tokens())?;
    println!("{} tokens in the vocabulary", tokenizer.vocab_size());

    let conversations = examples.map(|(system, user, answer)| {
        vec![Message::system(system), Message::user(user), Message::assistant(answer)]
    });
    let rows = tokenizer.conversations(template, &conversations)?;
    for (index, row) in pack(&rows, 160)?.iter().enumerate() {
        println!("packed row {index}: {} tokens, cu_seqlens {:?}", row.ids.len(), row.cu_seqlens);
        for document in row.cu_seqlens.windows(2) {
            let document = document[0] as usize..document[1] as usize;
            let first = row.loss_mask[document.clone()].iter().take_while(|&&in_loss| !in_loss).count();
            let (prompt, response) = row.ids[document].split_at(first);
            println!("  {:?} [{:?}]", tokenizer.decode(prompt)?, tokenizer.decode(response)?);
        }
    }
    Ok(())
}
