//! Tokenises and packs: `cargo bench -p janus-data --profile dev --bench tokens`.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use janus_core::{ChatTemplate, Message, stream};
use janus_data::{TokenRow, Tokenizer, pack};
use rand::Rng;

const WORDS: [&str; 12] =
    ["the", "kite", "flies", "over", "a", "green", "hill", "because", "wind", "lifts", "its", "sail"];

fn sentence(rng: &mut impl Rng, words: usize) -> String {
    (0..words).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn tokenising(criterion: &mut Criterion) {
    let mut rng = stream(1, "bench");
    let conversations: Vec<Vec<Message>> = (0..200)
        .map(|_| {
            vec![
                Message::system(sentence(&mut rng, 60)),
                Message::user(sentence(&mut rng, 30)),
                Message::assistant(sentence(&mut rng, 200)),
            ]
        })
        .collect();
    let template = ChatTemplate::MistralInstruct;
    let texts = conversations.iter().flatten().map(|message| message.content.as_str());
    let tokenizer = Tokenizer::train(texts, 400, template.special_tokens()).unwrap();
    let tokens = tokenizer
        .conversations(template, &conversations)
        .unwrap()
        .iter()
        .map(|row| row.ids.len() as u64)
        .sum();
    let mut group = criterion.benchmark_group("tokenise");
    group.throughput(Throughput::Elements(tokens));
    group.bench_function("conversations", |bench| {
        bench.iter(|| tokenizer.conversations(template, &conversations).unwrap())
    });
    group.finish();

    let rows: Vec<TokenRow> = (0..20_000)
        .map(|_| rng.random_range(20..2000))
        .map(|length| TokenRow { ids: vec![1; length], loss_mask: vec![true; length] })
        .collect();
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("20k rows into 8192", |bench| {
        bench.iter_batched(|| (), |()| pack(&rows, 8192).unwrap(), BatchSize::PerIteration)
    });
}

criterion_group!(benches, tokenising);
criterion_main!(benches);
